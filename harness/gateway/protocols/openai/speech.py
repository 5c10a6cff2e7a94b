"""OpenAI's speech synthesis: ``POST /v1/audio/speech`` in the audio and the sse form.

Chunk `i` is due at `first_byte + realtime_factor * (audio between the end of the first chunk and
the end of chunk i)` after the request. Encoded formats leave in proportion to their bytes. The
header of a WAV leaves with the first chunk but as a piece of its own.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from aiohttp import web

from harness.gateway.calls.context import (
    NS_PER_S,
    Call,
    Gateway,
    Refusal,
    Reply,
    begin,
    early_fault,
    error_body,
    guarded,
)
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked, routed_by_headers
from harness.gateway.engines.pcm import SPOKEN_RATE, wav_header
from harness.gateway.engines.synthesiser import Speech
from harness.gateway.engines.worker import WorkerDied
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import SAMPLES_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import TtsProfile

__all__ = ["MIDDLE_FAULTS", "ROUTES", "Chunk", "Order", "Synthesis", "chunks_of", "speech", "spoil"]

_CONTENT_TYPES: Final = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
}
_MAX_INPUT = 4096
_WRONG_RATE = 16_000
_OVERSIZED_BYTES = 4 * 1024 * 1024
_HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
MIDDLE_FAULTS: Final = frozenset(
    {
        FaultKind.MID_STREAM_ERROR,
        FaultKind.RESET,
        FaultKind.TRUNCATION,
        FaultKind.STALL,
        FaultKind.MALFORMED,
    }
)
"""Faults that strike in the middle of the audio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the client wants spoken, checked."""

    text: str
    voice: str
    speed: float
    container: str
    sse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the audio, when it is due after the request, and which samples it ends before."""

    data: bytes
    due_ns: int
    end_sample: int


def _order(body: Any) -> Order:
    if not isinstance(body, dict):
        raise Refusal(400, "The body of the request must be a JSON object")
    text, voice = body.get("input"), body.get("voice")
    if not isinstance(text, str) or not text.strip():
        raise Refusal(400, "'input' must be a string that is not empty")
    if len(text) > _MAX_INPUT:
        raise Refusal(400, f"'input' must have at most {_MAX_INPUT} characters")
    if not isinstance(voice, str):
        raise Refusal(400, "'voice' must be a string")
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "you must provide a model parameter")
    container = body.get("response_format", "mp3")
    if not isinstance(container, str) or container not in _CONTENT_TYPES:
        raise Refusal(400, f"'response_format' must be one of {', '.join(_CONTENT_TYPES)}")
    speed = body.get("speed", 1.0)
    if not isinstance(speed, int | float) or isinstance(speed, bool) or not 0.25 <= speed <= 4:
        raise Refusal(400, "'speed' must lie within 0.25 and 4")
    form = body.get("stream_format", "audio")
    if form not in ("audio", "sse"):
        raise Refusal(400, "'stream_format' must be audio or sse")
    return Order(text=text, voice=voice, speed=float(speed), container=container, sse=form == "sse")


def chunks_of(
    spoken: Speech, settings: TtsProfile, first_byte_ns: int, *, sample_aligned: bool
) -> Iterator[Chunk]:
    """Cut the audio into the profile's chunks."""
    total = spoken.samples
    first = max(1, round(settings.first_chunk_ms * SPOKEN_RATE / 1000))
    step = max(1, round(settings.chunk_ms * SPOKEN_RATE / 1000))
    start, end, sent = 0, min(first, total), 0
    while start < total:
        if sample_aligned:
            cut = end * 2
        else:
            cut = len(spoken.data) if end == total else len(spoken.data) * end // total
        behind = max(0, end - first) / SPOKEN_RATE * settings.realtime_factor
        yield Chunk(
            data=spoken.data[sent:cut],
            due_ns=first_byte_ns + round(behind * NS_PER_S),
            end_sample=end,
        )
        sent = cut
        start, end = end, min(end + step, total)


def spoil(spoken: Speech, fault: FaultKind | None, draws: Draws) -> Speech:
    """Replace the samples where a fault wants silence or noise."""
    if fault is FaultKind.SILENT_AUDIO:
        return Speech(
            data=bytes(spoken.samples * 2),
            samples=spoken.samples,
            audible=None,
            engine=spoken.engine,
        )
    if fault is FaultKind.NONSENSE:
        noise = np.random.default_rng(draws.seed_of("noise")).normal(size=spoken.samples)
        data = np.clip(noise * 3000.0, -32768, 32767).astype("<i2").tobytes()
        return Speech(data=data, samples=spoken.samples, audible=0, engine=spoken.engine)
    return spoken


async def speech(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/audio/speech``."""
    data = await request.read()
    received_ns = time.perf_counter_ns()
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None
    order = _order(body)
    profile = gateway.profile(request, Stage.TTS, body["model"])
    settings = profile.tts
    assert settings is not None
    if order.voice not in settings.voices:
        known = ", ".join(settings.voices)
        raise Refusal(400, f"Voice '{order.voice}' not found; known voices: {known}")
    call = begin(
        gateway, request, Stage.TTS, "openai-speech", profile.name, received_ns=received_ns
    )
    salient = f"{order.voice}\0{order.speed}\0{order.text}".encode(errors="surrogatepass")
    draws = gateway.draws(profile.name, Stage.TTS, salient)
    note_asked(call, request, {key: body[key] for key in body if key != "input"})
    faults = settings.faults if order.sse else settings.faults.only(SAMPLES_FAULTS)
    fault = faults.draw(draws)
    refused = early_fault(call, request, fault, settings.faults)
    if refused is not None:
        return refused
    if fault is FaultKind.SLOW_HELLO:
        call.held_ns = round(settings.faults.slow_hello_s * NS_PER_S)
    if fault is not None and fault not in MIDDLE_FAULTS:
        call.fault(fault)
    route = routed_by_headers(call, profile, request, draws)
    settings = route.settings
    assert settings is not None
    first_byte_ns = draws.delay_ns(settings.first_byte, "first_byte")
    headers_ns = min(draws.delay_ns(settings.headers, "headers"), first_byte_ns)
    synthesis = Synthesis(
        call, request, order=order, settings=settings, fault=fault, headers=route.headers
    )
    if fault in (FaultKind.EMPTY, FaultKind.WRONG_CONTENT_TYPE):
        return await guarded(call, synthesis.nothing(call.base_ns + headers_ns))
    return await guarded(call, synthesis.spoken(draws, headers_ns, first_byte_ns))


class Synthesis:
    """One answer with speech in it, by a schedule drawn beforehand."""

    def __init__(
        self,
        call: Call,
        request: web.Request,
        *,
        order: Order,
        settings: TtsProfile,
        fault: FaultKind | None,
        headers: Mapping[str, str],
    ) -> None:
        self._call = call
        self._order = order
        self._settings = settings
        self._fault = fault
        self._padded = False
        content_type = "text/event-stream" if order.sse else _CONTENT_TYPES[order.container]
        if fault is FaultKind.WRONG_CONTENT_TYPE:
            content_type = "text/html"
        self.http = Reply(call, request, content_type, headers)

    async def nothing(self, due_ns: int) -> web.StreamResponse:
        """A 200 that holds nothing, or a page of HTML."""
        await self.http.start(due_ns)
        if self._fault is FaultKind.WRONG_CONTENT_TYPE:
            await self.http.send(_HTML, due_ns)
        await self.http.end()
        return self.http.response

    async def _speak(self, draws: Draws, due_ns: int) -> Speech:
        spoiled = self._fault in (FaultKind.SILENT_AUDIO, FaultKind.NONSENSE)
        container = "pcm" if self._order.container == "wav" else self._order.container
        spoken = await self._call.gateway.synthesiser.speak(
            self._order.text,
            voice=self._order.voice,
            speed=self._order.speed,
            container="pcm" if spoiled else container,
            lead=round(self._settings.leading_silence_ms * SPOKEN_RATE / 1000),
            rate=_WRONG_RATE if self._fault is FaultKind.WRONG_RATE else SPOKEN_RATE,
        )
        if spoiled:
            spoken = spoil(spoken, self._fault, draws)
            if container != "pcm":
                encoded = await self._call.gateway.synthesiser.encode(spoken.data, container)
                spoken = Speech(
                    data=encoded,
                    samples=spoken.samples,
                    audible=spoken.audible,
                    engine=spoken.engine,
                )
        self._call.engine_ready(spoken.engine, due_ns)
        return spoken

    def _wrap(self, data: bytes) -> bytes:
        if not self._order.sse:
            return data
        event = {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
        if self._fault is FaultKind.OVERSIZED and not self._padded:
            self._padded = True
            event["padding"] = "x" * _OVERSIZED_BYTES
        return b"data: " + json.dumps(event).encode() + b"\n\n"

    async def spoken(self, draws: Draws, headers_ns: int, first_byte_ns: int) -> web.StreamResponse:
        """Speak the text.

        Args:
            draws: the request's random numbers.
            headers_ns: when the headers leave, after the call's base.
            first_byte_ns: likewise the first byte of audio.

        Raises:
            Refusal: 500 when the synthesiser crashed on the text.
        """
        call = self._call
        base = call.base_ns
        try:
            spoken = await self._speak(draws, base + first_byte_ns)
        except WorkerDied:
            raise Refusal(500, "The gateway's synthesiser failed") from None
        chunks = list(
            chunks_of(
                spoken,
                self._settings,
                first_byte_ns,
                sample_aligned=self._order.container in ("pcm", "wav"),
            )
        )
        pieces = [self._wrap(chunk.data) for chunk in chunks]
        await self.http.start(base + headers_ns)
        if self._order.container == "wav":
            header = self._wrap(wav_header(SPOKEN_RATE, None))
            sent = await self.http.send(header, base + first_byte_ns)
            call.mark("envelope_sent", sent, n_bytes=44)
        break_at = len(chunks) // 2 if self._fault in MIDDLE_FAULTS else None
        audible = spoken.audible
        for index, (chunk, piece) in enumerate(zip(chunks, pieces, strict=True)):
            due = base + chunk.due_ns
            if index == break_at:
                await self._break(due)
                return self.http.response
            sent = await self.http.send(piece, due)
            injected = due - call.received_ns
            call.mark(
                "audio_sent",
                sent,
                index=index,
                n_bytes=len(chunk.data),
                samples=chunk.end_sample,
                due_ns=due,
                injected_ns=injected,
            )
            if audible is not None and audible < chunk.end_sample:
                call.mark(
                    "first_nonsilent_audio_sent",
                    sent,
                    index=index,
                    samples=audible,
                    due_ns=due,
                    injected_ns=injected,
                )
                audible = None
        if self._order.sse:
            words = len(self._order.text.split())
            usage = {
                "input_tokens": words,
                "output_tokens": len(chunks),
                "total_tokens": words + len(chunks),
            }
            done = {"type": "speech.audio.done", "usage": usage}
            await self.http.send(b"data: " + json.dumps(done).encode() + b"\n\n", 0)
        done_ns = time.perf_counter_ns()
        await self.http.end()
        call.mark("done_sent", done_ns)
        return self.http.response

    async def _break(self, due_ns: int) -> None:
        """Let a fault strike in the middle of the audio."""
        fault, pacer = self._fault, self._call.gateway.pacer
        assert fault is not None
        await pacer.until(due_ns)
        self._call.fault(fault)
        if fault is FaultKind.RESET:
            self.http.reset()
        elif fault is FaultKind.STALL:
            await pacer.until(due_ns + round(self._settings.faults.stall_s * NS_PER_S))
            self.http.reset()
        elif fault is FaultKind.TRUNCATION:
            await self.http.end()
        elif fault is FaultKind.MALFORMED:
            broken = b'data: {"type": "speech.audio.delta", "audio": "!!!\n\n'
            await self.http.send(broken if self._order.sse else b"\x7f\x80\x7f", due_ns)
            await self.http.end()
        elif self._order.sse:
            error = {"type": "error", **error_body(500, "The upstream provider failed")}
            await self.http.send(b"data: " + json.dumps(error).encode() + b"\n\n", due_ns)
            await self.http.end()
        else:
            # Bytes of audio have no words for an error: the body breaks off.
            self.http.hang_up()


ROUTES: Final = (Route(method="POST", path="/v1/audio/speech", handler=speech),)
