"""OpenAI's speech synthesis: ``POST /v1/audio/speech`` in the audio and the sse form.

Chunk `i` is due at `first_byte + realtime_factor * (audio between the end of the first chunk and
the end of chunk i)` after the request. Encoded formats leave in proportion to their bytes. The
header of a WAV leaves with the first chunk but as a piece of its own.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.refusals import Refusal, error_body
from harness.gateway.calls.replying import HTML_PAGE, Reply, early_fault, guarded
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked, routed_by_headers
from harness.gateway.engines.pcm import SPOKEN_RATE, wav_header
from harness.gateway.engines.worker import WorkerDied
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import MIDDLE_FAULTS, SAMPLES_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import TtsProfile
from harness.gateway.protocols.pouring import NO_AUDIO, Pouring, chunks_of, spoken_for

__all__ = ["ROUTES", "Order", "Synthesis", "speech"]

_CONTENT_TYPES: Final = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
}
_MAX_INPUT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the client wants spoken, checked."""

    text: str
    voice: str
    speed: float
    container: str
    sse: bool


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
            await self.http.send(HTML_PAGE, due_ns)
        await self.http.end()
        return self.http.response

    def _wrap(self, data: bytes) -> bytes:
        if not self._order.sse:
            return data
        event = {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
        if self._fault is FaultKind.OVERSIZED and not self._padded:
            self._padded = True
            event["padding"] = "x" * OVERSIZED_BYTES
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
            spoken = await spoken_for(
                call,
                self._settings,
                draws,
                self._fault,
                text=self._order.text,
                voice=self._order.voice,
                speed=self._order.speed,
                container=self._order.container,
                due_ns=base + first_byte_ns,
            )
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
        pouring = Pouring(self.http, call)
        for index, (chunk, piece) in enumerate(zip(chunks, pieces, strict=True)):
            if index == break_at:
                await self._break(base + chunk.due_ns)
                return self.http.response
            await pouring.send(index, chunk, piece, spoken)
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
        assert self._fault is not None
        self._call.fault(self._fault)
        error = {"type": "error", **error_body(500, "The upstream provider failed")}
        broken = b'data: {"type": "speech.audio.delta", "audio": "!!!\n\n'
        await self.http.break_off(
            self._fault,
            due_ns,
            stall_s=self._settings.faults.stall_s,
            malformed=broken if self._order.sse else NO_AUDIO,
            # Bytes of audio have no words for an error: the body breaks off.
            error=b"data: " + json.dumps(error).encode() + b"\n\n" if self._order.sse else None,
        )


ROUTES: Final = (Route(method="POST", path="/v1/audio/speech", handler=speech),)
