"""Transcription of a whole file: OpenAI's ``/v1/audio/transcriptions`` and Parakeet's REST form.

The text is due `compute + compute_ms_per_audio_s * audio` after the request arrived; the embedded
recogniser may need longer (about 0.15 s for a second of audio), which the truth then says.
"""

import asyncio
import json
import time
from typing import Final

import soundfile as sf
from aiohttp import web
from aiohttp.web_request import FileField

from harness.gateway.calls.context import NS_PER_S, Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.refusals import Refusal, error_body
from harness.gateway.calls.replying import HTML_PAGE, Reply, early_fault, guarded
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import NO_HEADERS, note_asked, routed_by_headers
from harness.gateway.engines.endpointing import holds_speech
from harness.gateway.engines.pcm import HEARD_RATE, Samples, decode
from harness.gateway.engines.replies import nonsense
from harness.gateway.profiles.faults import FaultKind, Stage
from harness.gateway.profiles.profiles import Profile

__all__ = ["ROUTES", "parakeet_transcriptions", "transcriptions"]

_FORMATS = ("json", "verbose_json", "text")
_SPLICE = 320


async def transcriptions(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/audio/transcriptions``."""
    return await _transcribe(gateway, request, "openai-transcriptions")


async def parakeet_transcriptions(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /parakeet/v1/audio/transcriptions``."""
    return await _transcribe(gateway, request, "parakeet-rest")


async def _transcribe(gateway: Gateway, request: web.Request, protocol: str) -> web.StreamResponse:
    if request.content_type != "multipart/form-data":
        raise Refusal(400, "The body of the request must be multipart/form-data")
    try:
        form = await request.post()
    except ValueError as error:
        raise Refusal(400, f"The multipart body cannot be read: {error}") from None
    received_ns = time.perf_counter_ns()
    file = form.get("file")
    if not isinstance(file, FileField):
        raise Refusal(400, "'file' must be a file")
    answer_format = str(form.get("response_format", "json"))
    if answer_format not in _FORMATS:
        raise Refusal(400, f"'response_format' must be one of {', '.join(_FORMATS)}")
    profile = gateway.profile(request, Stage.STT, form.get("model"))
    data = file.file.read()
    try:
        samples = await asyncio.to_thread(decode, data, HEARD_RATE)
    except sf.SoundFileError:
        raise Refusal(
            400, "The audio file could not be decoded or its format is not supported"
        ) from None
    call = begin(gateway, request, Stage.STT, protocol, profile.name, received_ns=received_ns)
    call.mark("audio_received", received_ns, samples=len(samples), kind="first")
    asked = {key: value for key, value in form.items() if isinstance(value, str)}
    note_asked(call, request, asked)
    batch = _Batch(call, request, profile, samples, answer_format)
    return await guarded(call, batch.answer())


class _Batch:
    def __init__(
        self,
        call: Call,
        request: web.Request,
        profile: Profile,
        samples: Samples,
        answer_format: str,
    ) -> None:
        self._call = call
        self._request = request
        assert profile.stt is not None
        self._profile = profile
        self._settings = profile.stt
        self._headers = NO_HEADERS
        self._samples = samples
        self._format = answer_format

    async def answer(self) -> web.StreamResponse:
        call, settings = self._call, self._settings
        gateway = call.gateway
        data = self._samples.tobytes()
        draws = gateway.draws(call.profile, Stage.STT, data)
        fault = settings.faults.draw(draws)
        refused = early_fault(call, self._request, fault, settings.faults)
        if refused is not None:
            return refused
        if fault is not None:
            call.fault(fault)
        if fault is FaultKind.SLOW_HELLO:
            call.held_ns = round(settings.faults.slow_hello_s * NS_PER_S)
        route = routed_by_headers(call, self._profile, self._request, draws)
        settings, self._headers = route.settings, route.headers
        assert settings is not None
        audio_s = len(self._samples) / HEARD_RATE
        injected = draws.delay_ns(settings.compute, "compute") + round(
            settings.compute_ms_per_audio_s * audio_s * 1e6
        )
        due = call.base_ns + injected
        call.mark("endpoint_detected", call.received_ns, kind="batch", injected_ns=0)
        hearing = gateway.recogniser(settings).listen()
        for start in range(0, len(data), _SPLICE * 100):
            hearing.feed(data[start : start + _SPLICE * 100])
        recognition = await hearing.finish(draws)
        call.engine_ready(recognition.engine, due, recognition.detail)
        text = recognition.text if holds_speech(self._samples) else ""
        if fault is FaultKind.NONSENSE:
            text = nonsense(draws.key)
        if fault is FaultKind.EMPTY:
            text = ""
        body, content_type = self._body(text, audio_s)
        if fault is FaultKind.WRONG_CONTENT_TYPE:
            body, content_type = HTML_PAGE.decode(), "text/html"
        if fault is FaultKind.MID_STREAM_ERROR:
            body = json.dumps(error_body(500, "The upstream provider failed"))
        if fault is FaultKind.OVERSIZED:
            body, _ = self._body("x" * OVERSIZED_BYTES, audio_s)
        return await self._send(body.encode(), content_type, due, fault)

    async def _send(
        self, body: bytes, content_type: str, due: int, fault: FaultKind | None
    ) -> web.StreamResponse:
        call = self._call
        http = Reply(call, self._request, content_type, self._headers)
        await http.start(due)
        if fault is FaultKind.RESET:
            http.reset()
            return http.response
        if fault is FaultKind.STALL:
            await call.gateway.pacer.until(due + round(self._settings.faults.stall_s * NS_PER_S))
            http.reset()
            return http.response
        if fault in (FaultKind.TRUNCATION, FaultKind.MALFORMED):
            body = body[: len(body) // 2]
        sent = await http.send(body, due)
        call.mark(
            "final_sent",
            sent,
            due_ns=due,
            injected_ns=due - call.received_ns,
            detail=body.decode(errors="replace")[:2000],
        )
        await http.end()
        return http.response

    def _body(self, text: str, audio_s: float) -> tuple[str, str]:
        if self._format == "text":
            return text + "\n", "text/plain; charset=utf-8"
        body: dict[str, object] = {"text": text}
        if self._format == "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": audio_s, "text": text}
            body = {
                "task": "transcribe",
                "language": "english",
                "duration": audio_s,
                "text": text,
                "segments": [segment] if text else [],
            }
        return json.dumps(body, ensure_ascii=False), "application/json"


ROUTES: Final = (
    Route(method="POST", path="/parakeet/v1/audio/transcriptions", handler=parakeet_transcriptions),
    Route(method="POST", path="/v1/audio/transcriptions", handler=transcriptions),
)
