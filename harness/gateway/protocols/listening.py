"""A speech recognition session over a WebSocket, whatever the messages look like.

What the services have in common stands here: audio comes in, the end of an utterance is found by
silence or asked for, the final leaves when the profile says, and faults strike. What their messages
look like is a :class:`Wire`'s business; what the client may send, that of the protocol's module.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from typing import Final

import numpy as np
from aiohttp import web

from harness.gateway.calls.context import Call
from harness.gateway.calls.utterance import Ended, EndpointTimer, Utterance
from harness.gateway.engines.endpointing import SHORTEST_LOUD_MS, Endpointer
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from harness.gateway.engines.recogniser import StableWords
from harness.gateway.engines.replies import nonsense
from harness.gateway.engines.transcripts import Heard, SpokenWord, Wire
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import CONNECTION_FAULTS, STAGE_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import Interims, SttProfile
from harness.gateway.protocols.listening_faults import ListeningFaults

__all__ = ["Heard", "ListeningSession", "SpokenWord", "Wire"]

_SLICE = HEARD_RATE // 50
_PREROLL = HEARD_RATE * 3 // 10
_LONGEST = 60 * HEARD_RATE
# Silence before an endpoint's timer is set: pauses within words are shorter.
_TIMER_SILENCE = HEARD_RATE // 10
# How far the audio may lag behind or run ahead of the clock before the audio decides.
_SLACK = HEARD_RATE * 6 // 100
_UTTERANCE_FAULTS: Final = STAGE_FAULTS[Stage.STT] - CONNECTION_FAULTS


class ListeningSession:
    """One connection of one client.

    Args:
        call: the connection's call.
        request: the upgrade request.
        socket: the connection.
        settings: the profile.
        wire: the messages.
        interims: when to send interim transcripts; None for never.
        silence_ms: the silence that ends an utterance, where the client states it; None for the
            profile's.
    """

    def __init__(
        self,
        call: Call,
        request: web.Request,
        socket: web.WebSocketResponse,
        settings: SttProfile,
        wire: Wire,
        *,
        interims: Interims | None = None,
        silence_ms: float | None = None,
    ) -> None:
        self._call = call
        self._socket = socket
        self._settings = settings
        self._wire = wire
        self._interim_plan = interims
        self._silence_ms = silence_ms
        self._gateway = call.gateway
        self._faults = ListeningFaults(
            request=request,
            socket=socket,
            settings=settings,
            wire=wire,
            send=self.send,
            say=self.say,
        )
        self._recogniser = self._gateway.recogniser(settings)
        self._endpointer = Endpointer()
        self._preroll: deque[Samples] = deque()
        self._arrivals: deque[tuple[int, int]] = deque()
        self._second = 0
        self._utterances = 0
        self._utterance: Utterance | None = None
        self._timer: EndpointTimer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_final: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End what is still under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._utterance is not None:
            self._utterance.hearing.abandon()

    def spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something that ends with the connection."""
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def send(self, message: str) -> int | None:
        """Send a message now; return the instant, or None where the client has gone."""
        sent_ns = time.perf_counter_ns()
        try:
            await self._socket.send_str(message)
        except ConnectionError:
            return None
        return sent_ns

    async def say(
        self,
        call: Call,
        message: str,
        due_ns: int,
        event: str,
        *,
        injected_ns: int | None = None,
        detail: str | None = None,
        kind: str | None = None,
    ) -> None:
        """Send a message at its deadline and keep that in the truth."""
        await self._gateway.pacer.until(due_ns)
        sent_ns = await self.send(message)
        if sent_ns is not None:
            call.mark(
                event, sent_ns, due_ns=due_ns, injected_ns=injected_ns, detail=detail, kind=kind
            )

    # What the client sends.

    def states_silence(self, silence_ms: float) -> None:
        """Take the silence that ends an utterance from the client."""
        self._silence_ms = silence_ms

    def feed(self, samples: Samples, arrived_ns: int, *, through: int | None = None) -> None:
        """Take audio at 16 kHz that arrived in one message.

        Args:
            samples: what is to be heard of it now.
            arrived_ns: when it arrived.
            through: how many samples have arrived so far, where a resampler holds some of them
                back; None where all of them are heard.
        """
        if not self._endpointer.received:
            self._call.mark("audio_received", arrived_ns, samples=0, kind="first")
        end = self._endpointer.received + len(samples)
        self._arrivals.append((end if through is None else through, arrived_ns))
        while self._arrivals[0][0] < end - 4 * HEARD_RATE and len(self._arrivals) > 1:
            self._arrivals.popleft()
        for start in range(0, len(samples), _SLICE):
            self._hear(samples[start : start + _SLICE], arrived_ns)
        if end // HEARD_RATE > self._second:
            self._second = end // HEARD_RATE
            self._call.mark("audio_received", arrived_ns, samples=end, kind="second")

    def finalize(self, arrived_ns: int) -> bool:
        """End the utterance because the client asks for it; return whether there was one."""
        self._call.mark("finalize_received", arrived_ns, samples=self._endpointer.received)
        if self._utterance is None:
            return False
        return self._endpoint("finalize", arrived_ns, arrived_ns, 0)

    async def settled(self) -> None:
        """Return when the finals of all utterances that have ended are out."""
        if self._last_final is not None:
            await asyncio.wait((self._last_final,))

    @property
    def received_s(self) -> float:
        """Return how much audio has come, in seconds."""
        return self._endpointer.received / HEARD_RATE

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
            protocol=self._call.protocol,
            profile=self._call.profile,
            connection=self._call.connection,
            request=f"{self._call.connection}-u{self._utterances}",
            client_request=self._call.client_request,
            received_ns=self._arrival_of(started_at),
        )
        draws = self._gateway.draws(call.profile, Stage.STT, b"utterance", "utterance")
        fault = self._settings.faults.only(_UTTERANCE_FAULTS).draw(draws)
        call.mark("audio_received", call.received_ns, samples=started_at, kind="speech_start")
        preroll = np.concatenate(tuple(self._preroll))
        self._preroll.clear()
        utterance = Utterance(call, self._recogniser.listen(), preroll, started_at, fault)
        self._utterance = utterance
        if self._interim_plan is not None:
            self.spawn(self._interims(utterance, self._interim_plan, draws))
        if fault in (FaultKind.RESET, FaultKind.MID_STREAM_ERROR):
            self.spawn(self._faults.in_the_middle(call, fault))

    def _check_silence(self, utterance: Utterance, arrived_ns: int) -> None:
        """Set or fire the timer of the endpoint.

        The clock decides while the audio keeps pace with it: the endpoint is due a fixed time
        after the last speech sample arrived. Audio that comes in a burst, or stops, decides itself.
        """
        endpointer = self._endpointer
        assert endpointer.ended_at is not None
        timer = self._timer
        if timer is None or timer.ended_at != endpointer.ended_at:
            silence_ns = self._silence_ns(utterance)
            due_ns = self._arrival_of(endpointer.ended_at) + silence_ns
            timer = EndpointTimer(endpointer.ended_at, silence_ns, due_ns)
            self._timer = timer
            self.spawn(self._wait(timer))
            if self._interim_plan is not None:
                self.spawn(self._preflight(utterance))
        if endpointer.silence >= timer.silence + _SLACK:
            self._endpoint("silence", min(arrived_ns, timer.due_ns), arrived_ns, timer.silence_ns)
        elif timer.overdue and endpointer.silence >= timer.silence - _SLACK:
            self._endpoint("silence", arrived_ns, arrived_ns, timer.silence_ns)

    def _silence_ns(self, utterance: Utterance) -> int:
        if self._silence_ms is not None:
            return round(self._silence_ms * 1e6)
        draws = self._gateway.draws(
            utterance.call.profile, Stage.STT, utterance.content(), again=True
        )
        return draws.delay_ns(self._settings.endpoint_silence, "endpoint_silence")

    async def _wait(self, timer: EndpointTimer) -> None:
        await self._gateway.pacer.until(timer.due_ns)
        if self._timer is not timer or self._endpointer.ended_at != timer.ended_at:
            return
        if self._endpointer.silence >= timer.silence - _SLACK:
            now = time.perf_counter_ns()
            self._endpoint("silence", timer.due_ns, now, timer.silence_ns)
        else:
            timer.overdue = True

    # What becomes of an utterance.

    def _endpoint(self, kind: str, due_ns: int, now_ns: int, silence_ns: int) -> bool:
        """End the utterance; return whether it was one, and not a click."""
        utterance, endpointer = self._utterance, self._endpointer
        assert utterance is not None
        assert endpointer.ended_at is not None
        ended_at = endpointer.ended_at
        is_click = endpointer.loud_ms < SHORTEST_LOUD_MS
        utterance.over = True
        utterance.call.mark(
            "audio_received", self._arrival_of(ended_at), samples=ended_at, kind="speech_end"
        )
        utterance.call.mark(
            "endpoint_detected",
            now_ns,
            kind="click" if is_click else kind,
            due_ns=due_ns,
            injected_ns=silence_ns,
        )
        self._utterance = None
        self._timer = None
        endpointer.reset()
        if is_click:
            utterance.hearing.abandon()
            return False
        ended = Ended(
            utterance=utterance,
            number=self._utterances - 1,
            endpoint_ns=due_ns,
            silence_ns=silence_ns,
            start_s=utterance.speech_start / HEARD_RATE,
            end_s=(ended_at + 1) / HEARD_RATE,
            asked=kind == "finalize",
        )
        self._last_final = self.spawn(self._final(ended, self._last_final))
        return True

    async def _final(self, ended: Ended, previous: "asyncio.Task[None] | None") -> None:
        settings, utterance = self._settings, ended.utterance
        call = utterance.call
        draws = self._gateway.draws(call.profile, Stage.STT, utterance.content())
        compute_ns = draws.delay_ns(settings.compute, "compute") + round(
            settings.compute_ms_per_audio_s * (ended.end_s - ended.start_s) * 1e6
        )
        due_ns = ended.endpoint_ns + compute_ns
        recognition = await utterance.hearing.finish(draws)
        call.engine_ready(recognition.engine, due_ns, recognition.detail)
        if previous is not None:
            await asyncio.wait((previous,))
        text = nonsense(draws.key) if utterance.fault is FaultKind.NONSENSE else recognition.text
        if utterance.fault is not None:
            await self._gateway.pacer.until(due_ns)
            if not await self._faults.at_final(ended, text, draws):
                return
        if text:
            await self.say(
                call,
                self._wire.final(ended.heard(text)),
                due_ns,
                "final_sent",
                injected_ns=ended.silence_ns + compute_ns,
                detail=text,
            )
        if utterance.fault is not None:
            await self._faults.after_final(ended, text)

    def _so_far(self, utterance: Utterance, text: str) -> Heard:
        ended_at = self._endpointer.ended_at
        end = self._endpointer.received if ended_at is None else ended_at + 1
        return Heard(
            text=text,
            start_s=utterance.speech_start / HEARD_RATE,
            end_s=max(end, utterance.speech_start + 1) / HEARD_RATE,
            request=utterance.call.request,
            number=self._utterances - 1,
        )

    async def _preflight(self, utterance: Utterance) -> None:
        """Send what has been heard as probably final: speech has paused."""
        text = utterance.hearing.hypothesis()
        message = self._wire.preflight(self._so_far(utterance, text)) if text else None
        if message is not None and not utterance.over:
            now = time.perf_counter_ns()
            await self.say(
                utterance.call, message, now, "interim_sent", kind="preflight", detail=text
            )

    async def _interims(self, utterance: Utterance, interims: Interims, draws: Draws) -> None:
        onset = self._wire.onset()
        if onset is not None:
            await self.send(onset)
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
                sent_ns = await self.send(self._wire.interim(self._so_far(utterance, text)))
                if sent_ns is not None:
                    utterance.call.mark(
                        "interim_sent", sent_ns, index=number, due_ns=due_ns, detail=text
                    )
                number += 1
            due_ns += round(interims.interval_ms * 1e6)
