"""OpenAdapter's Parakeet WebSocket: audio in, final transcripts out.

The server greets with ``{"status": "listening"}``, takes binary PCM16 mono 16 kHz in pieces of
any size, and sends ``{"text": ..., "is_final": true}`` for each utterance whose end it finds, or
at once for ``{"action": "finalize"}``, which it then answers with ``{"status": "finalized"}``. The
socket lives on for further utterances. Interim transcripts (``is_final`` false) are a profile's
option that the real service does not have. An utterance in which no word is heard has no final.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Coroutine
from typing import Final

import numpy as np
from aiohttp import WSMsgType, web

from harness.gateway.context import (
    NS_PER_S,
    Call,
    Gateway,
    begin,
    early_fault,
    reset_connection,
)
from harness.gateway.distributions import Draws
from harness.gateway.endpointing import Endpointer
from harness.gateway.engines.recogniser import Hearing, StableWords
from harness.gateway.engines.replies import nonsense
from harness.gateway.faults import CONNECTION_FAULTS, STAGE_FAULTS, FaultKind, Stage
from harness.gateway.pcm import HEARD_RATE, Samples
from harness.gateway.profiles import Interims, SttProfile

__all__ = ["audio_stream"]

_SLICE = HEARD_RATE // 50
_PREROLL = HEARD_RATE * 3 // 10
_LONGEST = 60 * HEARD_RATE
# Silence before an endpoint's timer is set: pauses within words are shorter.
_TIMER_SILENCE = HEARD_RATE // 10
# How far the audio may lag behind or run ahead of the clock before the audio decides.
_SLACK = HEARD_RATE * 6 // 100
# Less loud audio than this is a click or a cough of the line, not an utterance.
_SHORTEST_LOUD_MS = 120
_FAULT_AFTER_NS = 300_000_000
_DROP_AFTER_NS = 100_000_000
_OVERSIZED_BYTES = 4 * 1024 * 1024
_LOUD = 330
_UTTERANCE_FAULTS: Final = STAGE_FAULTS[Stage.STT] - CONNECTION_FAULTS
_MAX_MESSAGE = 16 * 1024 * 1024


async def audio_stream(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /parakeet/v1/audio/stream`` (a WebSocket)."""
    received_ns = time.perf_counter_ns()
    profile = gateway.profile(request, Stage.STT, request.query.get("model"))
    settings = profile.stt
    assert settings is not None
    call = begin(gateway, request, Stage.STT, "parakeet", profile.name, received_ns=received_ns)
    draws = gateway.draws(profile.name, Stage.STT, b"connection")
    fault = settings.faults.only(CONNECTION_FAULTS).draw(draws)
    refused = early_fault(call, request, fault, settings.faults)
    if refused is not None:
        return refused
    # Compression is never agreed to: it doubles a client's work and blurs the first byte.
    socket = web.WebSocketResponse(
        compress=False, max_msg_size=_MAX_MESSAGE, autoping=True, timeout=1.0
    )
    await socket.prepare(request)
    session = _Session(call, request, socket, settings)
    hello_ns = draws.delay_ns(settings.hello, "hello")
    if fault is FaultKind.SLOW_HELLO:
        call.fault(fault)
        hello_ns += round(settings.faults.slow_hello_s * NS_PER_S)
    try:
        await session.run(hello_ns)
    finally:
        await session.close()
    return socket


class _Utterance:
    """One utterance being heard: its audio from shortly before the first speech sample."""

    def __init__(
        self,
        call: Call,
        hearing: Hearing,
        preroll: Samples,
        speech_start: int,
        fault: FaultKind | None,
    ) -> None:
        self.call = call
        self.hearing = hearing
        self.pcm = bytearray(preroll.tobytes())
        self.speech_start = speech_start
        self.fault = fault
        self.over = False
        hearing.feed(bytes(self.pcm))

    def feed(self, samples: Samples) -> None:
        data = samples.tobytes()
        self.pcm += data
        self.hearing.feed(data)

    def content(self) -> bytes:
        """Return the loud part of the audio, whatever silence the client sent around it."""
        samples = np.frombuffer(bytes(self.pcm), dtype="<i2")
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= _LOUD)
        if not len(loud):
            return samples.tobytes()
        return samples[loud[0] : loud[-1] + 1].tobytes()


class _Timer:
    """A pending endpoint after one particular last sample of speech."""

    def __init__(self, ended_at: int, silence_ns: int, due_ns: int) -> None:
        self.ended_at = ended_at
        self.silence_ns = silence_ns
        self.due_ns = due_ns
        self.overdue = False

    @property
    def silence(self) -> int:
        """Return the silence that ends the utterance, in samples."""
        return self.silence_ns * HEARD_RATE // NS_PER_S


class _Session:
    """One connection."""

    def __init__(
        self, call: Call, request: web.Request, socket: web.WebSocketResponse, settings: SttProfile
    ) -> None:
        self._call = call
        self._request = request
        self._socket = socket
        self._settings = settings
        self._gateway = call.gateway
        self._recogniser = self._gateway.recogniser(settings)
        self._endpointer = Endpointer()
        self._preroll: deque[Samples] = deque()
        self._arrivals: deque[tuple[int, int]] = deque()
        self._second = 0
        self._utterances = 0
        self._utterance: _Utterance | None = None
        self._timer: _Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_final: asyncio.Task[None] | None = None

    async def run(self, hello_ns: int) -> None:
        """Serve until either side closes."""
        call = self._call
        due = call.received_ns + hello_ns
        hello = {"status": "listening", "request_id": call.request, "sample_rate": HEARD_RATE}
        self._spawn(self._say(call, hello, due, "hello_sent", injected_ns=hello_ns))
        async for message in self._socket:
            arrived_ns = time.perf_counter_ns()
            if message.type is WSMsgType.BINARY:
                self._on_audio(message.data, arrived_ns)
            elif message.type is WSMsgType.TEXT:
                await self._on_text(message.data, arrived_ns)
        kind = "reset" if self._socket.close_code in (None, 1006) else "client"
        call.mark("closed", time.perf_counter_ns(), kind=kind)

    async def close(self) -> None:
        """End what is still under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._utterance is not None:
            self._utterance.hearing.abandon()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _say(
        self,
        call: Call,
        message: dict[str, object],
        due_ns: int,
        event: str,
        *,
        injected_ns: int | None = None,
        detail: str | None = None,
    ) -> None:
        data = json.dumps(message, ensure_ascii=False)
        await self._gateway.pacer.until(due_ns)
        sent_ns = time.perf_counter_ns()
        with contextlib.suppress(ConnectionError):
            await self._socket.send_str(data)
            call.mark(event, sent_ns, due_ns=due_ns, injected_ns=injected_ns, detail=detail)

    # What the client sends.

    def _on_audio(self, data: bytes, arrived_ns: int) -> None:
        samples = np.frombuffer(data[: len(data) - len(data) % 2], dtype="<i2")
        if not self._endpointer.received:
            self._call.mark("audio_received", arrived_ns, samples=0, kind="first")
        end = self._endpointer.received + len(samples)
        self._arrivals.append((end, arrived_ns))
        while self._arrivals[0][0] < end - 4 * HEARD_RATE and len(self._arrivals) > 1:
            self._arrivals.popleft()
        for start in range(0, len(samples), _SLICE):
            self._hear(samples[start : start + _SLICE], arrived_ns)
        if end // HEARD_RATE > self._second:
            self._second = end // HEARD_RATE
            self._call.mark("audio_received", arrived_ns, samples=end, kind="second")

    def _arrival_of(self, sample: int) -> int:
        """Return when the message that held a sample arrived."""
        for end, arrived_ns in self._arrivals:
            if sample < end:
                return arrived_ns
        return self._arrivals[-1][1]

    def _hear(self, samples: Samples, arrived_ns: int) -> None:
        endpointer = self._endpointer
        before = endpointer.received
        endpointer.feed(samples)
        utterance = self._utterance
        if utterance is None:
            self._preroll.append(samples)
            while len(self._preroll) * _SLICE > _PREROLL + _SLICE:
                self._preroll.popleft()
            if endpointer.started_at is not None:
                self._begin_utterance(endpointer.started_at)
            return
        utterance.feed(samples)
        if before - utterance.speech_start > _LONGEST:
            self._endpoint("length", arrived_ns, arrived_ns, 0)
        elif endpointer.silence >= _TIMER_SILENCE:
            self._check_silence(utterance, arrived_ns)

    def _begin_utterance(self, started_at: int) -> None:
        self._utterances += 1
        call = Call(
            gateway=self._gateway,
            stage=Stage.STT,
            protocol="parakeet",
            profile=self._call.profile,
            connection=self._call.connection,
            request=f"{self._call.connection}-u{self._utterances}",
            client_request=self._call.client_request,
            received_ns=self._arrival_of(started_at),
        )
        draws = self._gateway.draws(call.profile, Stage.STT, b"utterance")
        fault = self._settings.faults.only(_UTTERANCE_FAULTS).draw(draws)
        call.mark("audio_received", call.received_ns, samples=started_at, kind="speech_start")
        preroll = np.concatenate(tuple(self._preroll))
        self._preroll.clear()
        utterance = _Utterance(call, self._recogniser.listen(), preroll, started_at, fault)
        self._utterance = utterance
        if self._settings.interims is not None:
            self._spawn(self._interims(utterance, self._settings.interims, draws))
        if fault in (FaultKind.RESET, FaultKind.MID_STREAM_ERROR):
            self._spawn(self._break(call, fault))

    def _check_silence(self, utterance: _Utterance, arrived_ns: int) -> None:
        """Set or fire the timer of the endpoint.

        The clock decides while the audio keeps pace with it: the endpoint is due a fixed time
        after the last speech sample arrived. Audio that comes in a burst, or stops, decides itself.
        """
        endpointer = self._endpointer
        assert endpointer.ended_at is not None
        timer = self._timer
        if timer is None or timer.ended_at != endpointer.ended_at:
            draws = self._gateway.draws(
                utterance.call.profile, Stage.STT, utterance.content(), again=True
            )
            silence_ns = draws.delay_ns(self._settings.endpoint_silence, "endpoint_silence")
            due_ns = self._arrival_of(endpointer.ended_at) + silence_ns
            timer = _Timer(endpointer.ended_at, silence_ns, due_ns)
            self._timer = timer
            self._spawn(self._wait(timer))
        if endpointer.silence >= timer.silence + _SLACK:
            self._endpoint("silence", min(arrived_ns, timer.due_ns), arrived_ns, timer.silence_ns)
        elif timer.overdue and endpointer.silence >= timer.silence - _SLACK:
            self._endpoint("silence", arrived_ns, arrived_ns, timer.silence_ns)

    async def _wait(self, timer: _Timer) -> None:
        await self._gateway.pacer.until(timer.due_ns)
        if self._timer is not timer or self._endpointer.ended_at != timer.ended_at:
            return
        if self._endpointer.silence >= timer.silence - _SLACK:
            now = time.perf_counter_ns()
            self._endpoint("silence", timer.due_ns, now, timer.silence_ns)
        else:
            timer.overdue = True

    async def _on_text(self, data: str, arrived_ns: int) -> None:
        try:
            action = json.loads(data).get("action")
        except (ValueError, AttributeError):
            action = None
        if action != "finalize":
            await self._socket.send_str(
                json.dumps({"status": "error", "error": "unknown message", "code": 400})
            )
            return
        self._call.mark("finalize_received", arrived_ns, samples=self._endpointer.received)
        if self._utterance is not None:
            self._endpoint("finalize", arrived_ns, arrived_ns, 0)
        self._spawn(self._finalized(self._last_final, arrived_ns))

    async def _finalized(self, final: "asyncio.Task[None] | None", asked_ns: int) -> None:
        if final is not None:
            await asyncio.wait((final,))
        await self._say(self._call, {"status": "finalized"}, asked_ns, "finalized_sent")

    # What becomes of an utterance.

    def _endpoint(self, kind: str, due_ns: int, now_ns: int, silence_ns: int) -> None:
        utterance, endpointer = self._utterance, self._endpointer
        assert utterance is not None
        assert endpointer.ended_at is not None
        ended_at = endpointer.ended_at
        last_arrival = self._arrival_of(ended_at)
        utterance.over = True
        utterance.call.mark("audio_received", last_arrival, samples=ended_at, kind="speech_end")
        utterance.call.mark(
            "endpoint_detected",
            now_ns,
            kind="click" if endpointer.loud_ms < _SHORTEST_LOUD_MS else kind,
            due_ns=due_ns,
            injected_ns=silence_ns,
        )
        speech_s = (ended_at - utterance.speech_start + 1) / HEARD_RATE
        is_click = endpointer.loud_ms < _SHORTEST_LOUD_MS
        self._utterance = None
        self._timer = None
        endpointer.reset()
        if is_click:
            utterance.hearing.abandon()
            return
        self._last_final = self._spawn(
            self._final(utterance, due_ns, silence_ns, speech_s, self._last_final)
        )

    async def _final(
        self,
        utterance: _Utterance,
        endpoint_ns: int,
        silence_ns: int,
        speech_s: float,
        previous: "asyncio.Task[None] | None",
    ) -> None:
        settings, call = self._settings, utterance.call
        draws = self._gateway.draws(call.profile, Stage.STT, utterance.content())
        compute_ns = draws.delay_ns(settings.compute, "compute") + round(
            settings.compute_ms_per_audio_s * speech_s * 1e6
        )
        due_ns = endpoint_ns + compute_ns
        recognition = await utterance.hearing.finish(draws)
        call.engine_ready(recognition.engine, due_ns, recognition.detail)
        if previous is not None:
            await asyncio.wait((previous,))
        text = nonsense(draws.key) if utterance.fault is FaultKind.NONSENSE else recognition.text
        if utterance.fault is not None:
            await self._gateway.pacer.until(due_ns)
            if not await self._fault_at_final(utterance, text, draws):
                return
        if text:
            await self._say(
                call,
                {"text": text, "is_final": True},
                due_ns,
                "final_sent",
                injected_ns=silence_ns + compute_ns,
                detail=text,
            )
        if utterance.fault is not None:
            await self._fault_after_final(utterance, text)

    async def _interims(self, utterance: _Utterance, interims: Interims, draws: Draws) -> None:
        stable, sent = StableWords(), ""
        first_ns = draws.delay_ns(interims.first, "first_interim")
        due_ns = utterance.call.received_ns + first_ns
        number = 0
        while not utterance.over:
            await self._gateway.pacer.until(due_ns)
            hypothesis = utterance.hearing.hypothesis()
            text = stable.update(hypothesis) if interims.stable else hypothesis
            if text and text != sent and not utterance.over:
                sent = text
                sent_ns = time.perf_counter_ns()
                with contextlib.suppress(ConnectionError):
                    await self._socket.send_str(
                        json.dumps({"text": text, "is_final": False}, ensure_ascii=False)
                    )
                    utterance.call.mark(
                        "interim_sent", sent_ns, index=number, due_ns=due_ns, detail=text
                    )
                number += 1
            due_ns += round(interims.interval_ms * 1e6)

    # Faults.

    async def _break(self, call: Call, fault: FaultKind) -> None:
        """Strike in the middle of the utterance."""
        await self._gateway.pacer.until(call.received_ns + _FAULT_AFTER_NS)
        call.fault(fault)
        if fault is FaultKind.RESET:
            reset_connection(self._request)
            return
        with contextlib.suppress(ConnectionError):
            await self._socket.send_str(
                json.dumps({"status": "error", "error": "internal error", "code": 500})
            )
        await self._socket.close(code=1011, message=b"internal error")

    async def _fault_at_final(self, utterance: _Utterance, text: str, draws: Draws) -> bool:
        """Strike in place of the final; return whether the final follows nevertheless."""
        fault, call = utterance.fault, utterance.call
        assert fault is not None
        if fault in (FaultKind.RESET, FaultKind.MID_STREAM_ERROR):
            return False
        call.fault(fault)
        if fault is FaultKind.TRUNCATION:
            await self._socket.close()
        elif fault is FaultKind.STALL:
            stalled_ns = time.perf_counter_ns() + round(self._settings.faults.stall_s * NS_PER_S)
            await self._gateway.pacer.until(stalled_ns)
            reset_connection(self._request)
        elif fault is FaultKind.EMPTY:
            await self._socket.send_str(json.dumps({"text": "", "is_final": True}))
        elif fault is FaultKind.MALFORMED:
            await self._socket.send_str('{"text": "' + text[: len(text) // 2])
        elif fault is FaultKind.WRONG_CONTENT_TYPE:
            await self._socket.send_bytes(draws.key.encode())
        elif fault is FaultKind.OVERSIZED:
            await self._socket.send_str(
                json.dumps({"text": "x" * _OVERSIZED_BYTES, "is_final": True})
            )
        else:
            return True
        return False

    async def _fault_after_final(self, utterance: _Utterance, text: str) -> None:
        fault, pacer = utterance.fault, self._gateway.pacer
        now = time.perf_counter_ns()
        if fault is FaultKind.DROP_BETWEEN_TURNS:
            await pacer.until(now + _DROP_AFTER_NS)
            reset_connection(self._request)
        elif fault is FaultKind.DUPLICATE_FINAL:
            again = {"text": text, "is_final": True}
            await self._say(utterance.call, again, now, "final_sent", detail=text)
        elif fault is FaultKind.LATE_FINAL:
            due = now + round(self._settings.faults.late_final_s * NS_PER_S)
            late = {"text": "okay", "is_final": True}
            await self._say(utterance.call, late, due, "final_sent", detail="okay")
