"""Speko's ``POST /v1/synthesize``: a text in, audio out, as the chosen upstream packs it.

Chunks leave as in the speech protocol. The headers name the route, so they are due when an upstream
has answered.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Call, Gateway, begin
from harness.gateway.calls.replying import HTML_PAGE, Reply, guarded
from harness.gateway.calls.routed import note_asked
from harness.gateway.engines.pcm import SPOKEN_RATE, wav_header
from harness.gateway.engines.synthesiser import Speech
from harness.gateway.engines.worker import WorkerDied
from harness.gateway.profiles.faults import MIDDLE_FAULTS, SAMPLES_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import TtsProfile
from harness.gateway.profiles.routing import AudioForm
from harness.gateway.protocols.pouring import NO_AUDIO, Chunk, Pouring, chunks_of, spoken_for
from harness.gateway.protocols.speko.wire import (
    Opening,
    Problem,
    intent_of,
    json_body,
    opening,
    route_facts,
    text_of,
)

__all__ = ["synthesize"]

_LONGEST = 50_000
_CONTENT_TYPES: Final[dict[AudioForm, str]] = {
    "pcm": f"audio/pcm;rate={SPOKEN_RATE}",
    "wav": "audio/wav",
    "mpeg": "audio/mpeg",
}
_CONTAINERS: Final[dict[AudioForm, str]] = {"pcm": "pcm", "wav": "pcm", "mpeg": "mp3"}
_KNOWN: Final = frozenset(
    {"text", "intent", "voice", "model", "speed", "instructions", "spokenForm", "constraints"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    text: str
    voice: str
    speed: float


def _order(body: dict[str, Any], settings: TtsProfile) -> _Order:
    unknown = set(body) - _KNOWN
    if unknown:
        raise Problem(400, f"unknown field {min(unknown)!r}")
    text = text_of(body, "text", _LONGEST)
    voice = body.get("voice", settings.voices[0])
    if voice not in settings.voices:
        raise Problem(400, f"voice {voice!r} is not known")
    speed = body.get("speed", 1.0)
    if not isinstance(speed, int | float) or isinstance(speed, bool) or not 0.5 <= speed <= 2:
        raise Problem(400, "speed must lie within 0.5 and 2")
    for name in ("model", "instructions"):
        if not isinstance(body.get(name, ""), str):
            raise Problem(400, f"{name} must be a string")
    return _Order(text=text, voice=voice, speed=float(speed))


async def synthesize(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/synthesize``."""
    data = await request.read()
    received_ns = time.perf_counter_ns()
    body = json_body(data, "the body of the request")
    intent = intent_of(body.get("intent"), body.get("constraints"), Stage.TTS)
    profile = gateway.profile(request, Stage.TTS)
    settings = profile.tts
    assert settings is not None
    order = _order(body, settings)
    call = begin(gateway, request, Stage.TTS, "speko-tts", profile.name, received_ns=received_ns)
    note_asked(call, None, {key: body[key] for key in body if key != "text"})
    content = f"{order.voice}\0{order.speed}\0{order.text}".encode(errors="surrogatepass")
    faults = settings.faults.only(SAMPLES_FAULTS)
    start = opening(call, request, profile, intent, content, faults)
    if isinstance(start, web.Response):
        return start
    if start.fault is not None:
        call.fault(start.fault)
    synthesis = _Synthesis(call, request, start, order, faults.stall_s)
    return await guarded(call, synthesis.run())


class _Synthesis:
    def __init__(
        self,
        call: Call,
        request: web.Request,
        start: Opening,
        order: _Order,
        stall_s: float,
    ) -> None:
        self._call = call
        self._start = start
        self._order = order
        self._stall_s = stall_s
        self._settings: TtsProfile = start.route.settings
        chosen = start.route.chosen
        self._form: AudioForm = "pcm" if chosen is None else chosen.upstream.audio
        facts = route_facts(start.route, call.profile)
        content_type = _CONTENT_TYPES[self._form]
        if start.fault is FaultKind.WRONG_CONTENT_TYPE:
            content_type = "text/html"
        headers = {
            "X-Speko-Audio-Format": content_type,
            "X-Speko-Provider": facts["provider"],
            "X-Speko-Model": facts["model"],
            "X-Speko-Failover-Count": str(facts["failoverCount"]),
        }
        if facts["scoresRunId"] is not None:
            headers["X-Speko-Scores-Run-Id"] = facts["scoresRunId"]
        self._http = Reply(call, request, content_type, headers)

    async def run(self) -> web.StreamResponse:
        call, http, draws, fault = self._call, self._http, self._start.draws, self._start.fault
        base = call.base_ns
        first_byte_ns = draws.delay_ns(self._settings.first_byte, "first_byte")
        headers_ns = min(draws.delay_ns(self._settings.headers, "headers"), first_byte_ns)
        if fault in (FaultKind.EMPTY, FaultKind.WRONG_CONTENT_TYPE):
            await http.start(base + headers_ns)
            if fault is FaultKind.WRONG_CONTENT_TYPE:
                await http.send(HTML_PAGE, base + headers_ns)
            await http.end()
            return http.response
        try:
            spoken = await spoken_for(
                call,
                self._settings,
                draws,
                fault,
                text=self._order.text,
                voice=self._order.voice,
                speed=self._order.speed,
                container=_CONTAINERS[self._form],
                due_ns=base + first_byte_ns,
            )
        except WorkerDied:
            raise Problem(500, "The synthesiser failed", "SYNTHESIZE_FAILED") from None
        chunks = list(
            chunks_of(spoken, self._settings, first_byte_ns, sample_aligned=self._form != "mpeg")
        )
        await http.start(base + headers_ns)
        if self._form == "wav":
            sent = await http.send(wav_header(SPOKEN_RATE, None), base + first_byte_ns)
            call.mark("envelope_sent", sent, n_bytes=44)
        await self._send(spoken, chunks)
        return http.response

    async def _send(self, spoken: Speech, chunks: list[Chunk]) -> None:
        call, http, fault = self._call, self._http, self._start.fault
        pouring = Pouring(http, call)
        for index, chunk in enumerate(chunks):
            if index == len(chunks) // 2 and fault in MIDDLE_FAULTS:
                assert fault is not None
                await http.break_off(
                    fault,
                    call.base_ns + chunk.due_ns,
                    stall_s=self._stall_s,
                    malformed=NO_AUDIO,
                    # Bytes of audio have no words for an error: the body breaks off.
                    error=None,
                )
                return
            await pouring.send(index, chunk, chunk.data, spoken)
        call.mark("done_sent", time.perf_counter_ns())
        await http.end()
