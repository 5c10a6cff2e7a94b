"""Speko's ``POST /v1/transcribe``: a recording in, events out.

``meta`` and ``transcript`` are due when the recogniser's answer is: the router may still change to
another upstream until an upstream has said something.
"""

import asyncio
import json
import re
import time
from typing import Any, Final

import numpy as np
import soundfile as sf
from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.replying import HTML_PAGE, Reply, guarded
from harness.gateway.calls.routed import note_asked
from harness.gateway.engines.endpointing import holds_speech
from harness.gateway.engines.pcm import HEARD_RATE, Samples, decode, resample
from harness.gateway.engines.replies import nonsense
from harness.gateway.profiles.faults import FaultKind, Stage
from harness.gateway.profiles.profiles import SttProfile
from harness.gateway.protocols.listening_faults import DROP_AFTER_NS
from harness.gateway.protocols.speko.wire import (
    Opening,
    Problem,
    event,
    intent_of,
    json_body,
    opening,
    route_facts,
)

__all__ = ["transcribe"]

_SPLICE = 32_000
_PCM: Final = re.compile(r"^audio/pcm;\s*rate=(\d+)$")
_ENCODED: Final = ("audio/wav", "audio/x-wav", "audio/wave", "audio/mpeg", "audio/mp3")


def _options(request: web.Request) -> dict[str, Any]:
    given = request.headers.get("X-Speko-Stt-Options")
    if given is None:
        return {}
    options = json_body(given, "X-Speko-Stt-Options")
    keywords = options.get("keywords", [])
    if not isinstance(keywords, list) or not all(isinstance(each, str) for each in keywords):
        raise Problem(400, "X-Speko-Stt-Options.keywords must be a list of strings")
    if not isinstance(options.get("language", ""), str):
        raise Problem(400, "X-Speko-Stt-Options.language must be a string")
    return options


def _decoded(data: bytes, content_type: str) -> Samples:
    pcm = _PCM.match(content_type)
    if pcm is not None:
        samples = np.frombuffer(data[: len(data) - len(data) % 2], dtype="<i2")
        return resample(samples, int(pcm[1]), HEARD_RATE)
    return decode(data, HEARD_RATE)


async def transcribe(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /v1/transcribe``."""
    data = await request.read()
    received_ns = time.perf_counter_ns()
    raw_intent = request.headers.get("X-Speko-Intent")
    if raw_intent is None:
        raise Problem(400, "the header X-Speko-Intent is required")
    raw_constraints = request.headers.get("X-Speko-Constraints")
    intent = intent_of(
        json_body(raw_intent, "X-Speko-Intent"),
        None if raw_constraints is None else json_body(raw_constraints, "X-Speko-Constraints"),
        Stage.STT,
    )
    options = _options(request)
    content_type = request.headers.get("Content-Type", "audio/wav").lower()
    if _PCM.match(content_type) is None and content_type.split(";")[0] not in _ENCODED:
        raise Problem(400, f"Content-Type {content_type} is not audio", "INVALID_AUDIO")
    try:
        samples = await asyncio.to_thread(_decoded, data, content_type)
    except (sf.SoundFileError, ValueError):
        raise Problem(400, "The audio could not be decoded", "INVALID_AUDIO") from None
    if not len(samples):
        raise Problem(400, "The audio is empty", "INVALID_AUDIO")
    profile = gateway.profile(request, Stage.STT)
    assert profile.stt is not None
    call = begin(gateway, request, Stage.STT, "speko-stt", profile.name, received_ns=received_ns)
    call.mark("audio_received", received_ns, samples=len(samples), kind="first")
    note_asked(
        call,
        None,
        {
            "intent": json.loads(raw_intent),
            "constraints": None if raw_constraints is None else json.loads(raw_constraints),
            "options": options,
            "contentType": content_type,
        },
    )
    start = opening(call, request, profile, intent, samples.tobytes(), profile.stt.faults)
    if isinstance(start, web.Response):
        return start
    if start.fault is not None:
        call.fault(start.fault)
    hearing = _Hearing(call, request, start, samples, profile.stt.faults.stall_s)
    return await guarded(call, hearing.answer())


class _Hearing:
    def __init__(
        self,
        call: Call,
        request: web.Request,
        start: Opening,
        samples: Samples,
        stall_s: float,
    ) -> None:
        self._call = call
        self._start = start
        self._samples = samples
        self._stall_s = stall_s
        wrong = start.fault is FaultKind.WRONG_CONTENT_TYPE
        self._http = Reply(call, request, "text/html" if wrong else "text/event-stream")

    async def answer(self) -> web.StreamResponse:
        call, start = self._call, self._start
        settings: SttProfile = start.route.settings
        gateway = call.gateway
        data = self._samples.tobytes()
        audio_s = len(self._samples) / HEARD_RATE
        computing = start.draws.delay_ns(settings.compute, "compute") + round(
            settings.compute_ms_per_audio_s * audio_s * 1e6
        )
        due = call.base_ns + computing
        call.mark("endpoint_detected", call.received_ns, kind="batch", injected_ns=0)
        hearing = gateway.recogniser(settings).listen()
        for position in range(0, len(data), _SPLICE):
            hearing.feed(data[position : position + _SPLICE])
        recognition = await hearing.finish(start.draws)
        call.engine_ready(recognition.engine, due, recognition.detail)
        text = recognition.text if holds_speech(self._samples) else ""
        if start.fault is FaultKind.NONSENSE:
            text = nonsense(start.draws.key)
        elif start.fault is FaultKind.EMPTY:
            text = ""
        elif start.fault is FaultKind.OVERSIZED:
            text = "x" * OVERSIZED_BYTES
        await self._tell(text, due)
        return self._http.response

    async def _tell(self, text: str, due: int) -> None:
        call, http, fault = self._call, self._http, self._start.fault
        facts = route_facts(self._start.route, call.profile)
        await http.start(due)
        if fault is FaultKind.WRONG_CONTENT_TYPE:
            await http.send(HTML_PAGE, due)
            await http.end()
            return
        await http.send(event("meta", facts), due)
        if await self._broken(text, due):
            return
        final = {"text": text, "isFinal": True, "confidence": 0.97 if text else None}
        injected = due - call.received_ns
        if text:
            sent = await http.send(event("transcript", final), due)
            call.mark("final_sent", sent, due_ns=due, injected_ns=injected, detail=text[:2000])
        if fault is FaultKind.DUPLICATE_FINAL:
            await http.send(event("transcript", final), due)
        if fault is FaultKind.LATE_FINAL:
            late_ns = round(0.2 * NS_PER_S)
            await http.send(event("transcript", {**final, "text": "okay"}), due + late_ns)
        done = {"text": text, "confidence": final["confidence"], **facts}
        sent = await http.send(event("done", done), due)
        call.mark("done_sent", sent, due_ns=due, injected_ns=injected)
        await http.end()
        if fault is FaultKind.DROP_BETWEEN_TURNS:
            # Once the answer has been read: a reset may overtake it.
            await call.gateway.pacer.until(time.perf_counter_ns() + DROP_AFTER_NS)
            http.reset()

    async def _broken(self, text: str, due: int) -> bool:
        """Let a fault strike between the first event and the transcript."""
        http, fault, pacer = self._http, self._start.fault, self._call.gateway.pacer
        if fault is FaultKind.RESET:
            http.reset()
        elif fault is FaultKind.STALL:
            await pacer.until(due + round(self._stall_s * NS_PER_S))
            http.reset()
        elif fault is FaultKind.TRUNCATION:
            await http.end()
        elif fault is FaultKind.MALFORMED:
            whole = event("done", {"text": text, "confidence": None})
            await http.send(whole[: len(whole) // 2] + b"\n\n", due)
            await http.end()
        elif fault is FaultKind.MID_STREAM_ERROR:
            said = {"error": "The upstream provider failed", "code": "TRANSCRIBE_FAILED"}
            await http.send(event("error", said), due)
            await http.end()
        else:
            return False
        return True
