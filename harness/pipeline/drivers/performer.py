"""What both drivers share: clients, how a trial is performed and told, failures."""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livekit.agents import utils

from harness.domain.boot import Boot, Tell
from harness.domain.driver import PlayableBargeIn, PlayableUtterance, ReplyAudio
from harness.domain.suite import Candidate, StageSettings, Suite
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import (
    FailedTrial,
    Failure,
    FailureKind,
    Request,
    Trial,
    TrialKey,
    Turn,
)
from harness.pacing import Pacer
from harness.pipeline.drivers.assembly import Schedule, assemble
from harness.pipeline.drivers.boots import boots_seen, sleepers, wake
from harness.pipeline.drivers.clients import Clients, quiet_livekit
from harness.pipeline.line.reply_check import reply_fault
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.line.source import PIPELINE_RATE, Line, PacedInput, room_tone
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch, health
from harness.pipeline.recording.recording import CURRENT_RECORDER, Recorder
from harness.pipeline.transport.failures import failure_of
from harness.pipeline.transport.sending import note_speech_sent

__all__ = [
    "Base",
    "Performance",
    "audio_failure",
    "line_for",
    "primary_failure",
    "wait_until",
]

_NS = 1_000_000_000
ASK_S = 30.0
"""How long a deployment's answer is waited for before it is asked for again."""
_WARM_UP_S = 1.0
"""How long clients get to connect before a trial that is to find them warm."""
LEAD_IN_MS = 300
"""Open line before the recording: connections are made in it, as before a caller's first word."""


def line_for(utterance: PlayableUtterance, suite: Suite) -> Line:
    """Return the caller's line for an utterance."""
    trailing = room_tone(PIPELINE_RATE) if suite.trailing == "room" else b""
    return Line(
        pcm=utterance.pcm,
        frame_ms=suite.frame_ms,
        lead_in_frames=LEAD_IN_MS // suite.frame_ms,
        trailing=trailing,
    )


@dataclass(slots=True)
class _Collector:
    """The garbage collector, whose pauses fall upon every candidate's trials alike.

    Attributes:
        playing: trials under way in this process, whoever performs them.
    """

    playing: int = 0

    def settle(self, *, first: bool) -> None:
        """Collect between trials, so that a collection's pause seldom falls into one.

        What survives a performer's first collection is the program itself; freezing it makes later
        collections short. The collector stays on: an agent's own garbage is part of what is
        measured.
        """
        if self.playing:
            return
        gc.collect()
        if first:
            gc.freeze()


_COLLECTOR = _Collector()


def primary_failure(recorder: Recorder, turn: Turn, redact: Callable[[str], str]) -> Failure | None:
    """Return the first cause of a trial's failure.

    A request that failed tells more than livekit's error of it; errors that no request explains
    come next.
    """
    failed = [
        each
        for each in turn.requests
        # Without its detector of interruptions livekit goes on by voice activity.
        if each.failure is not None and not each.cancelled and each.stage is not Stage.INTERRUPTION
    ]
    if failed:
        first = min(failed, key=_begin)
        assert first.failure is not None
        # A reset that livekit's own time-out caused is a time-out.
        for problem in recorder.turn_problems():
            described = failure_of(problem.stage, problem.error, redact)
            if problem.stage is first.stage and described.kind is FailureKind.TIMEOUT:
                return described
        return first.failure
    problems = recorder.turn_problems()
    if problems:
        first_problem = min(problems, key=lambda problem: problem.at_ns)
        return failure_of(first_problem.stage, first_problem.error, redact)
    return None


def audio_failure(turn: Turn, pcm: bytes) -> Failure | None:
    """Return why the reply's audio cannot be speech, or None."""
    reply = turn.reply
    if reply is None or reply.interrupted:
        return None
    if reply.leading_silence >= reply.samples:
        return Failure(
            stage=Stage.TTS, kind=FailureKind.SILENT, message="the reply's audio is silent"
        )
    text = "".join(
        each.text for each in turn.requests if each.stage is Stage.TTS and not each.cancelled
    )
    found = reply_fault(pcm, reply.sample_rate, text)
    if found is None:
        return None
    kind, message = found
    return Failure(stage=Stage.TTS, kind=FailureKind(kind), message=message)


def _begin(request: Request) -> int:
    return request.marks.get(Mark.LLM_REQUEST) or request.marks.get(Mark.TTS_REQUEST) or 0


async def wait_until(
    condition: Callable[[], bool], *, until_ns: int, poll_s: float = 0.005
) -> bool:
    """Poll a condition until an instant; return whether it came true.

    Polling, because what is waited for happens inside livekit, which offers no event for it.
    """
    while not condition():
        if time.perf_counter_ns() >= until_ns:
            return False
        await asyncio.sleep(poll_s)
    return True


@dataclass(slots=True, kw_only=True)
class Performance:
    """A trial under way: what it is played with and what it leaves behind.

    Attributes:
        key: which trial of the plan.
        candidate: whose trial it is.
        utterance: what is played.
        clients: what it is played with.
        cold: its connections are not yet there.
        recorder: what the probes write down.
        source: the caller's microphone.
        sink: the caller's ear.
        origin_ns: when the recording's first sample is due; the trial's begin until that is known.
        emulated: the stages of a user's own agent that a gateway answered; None for candidates of
            the suite's own.
    """

    key: TrialKey
    candidate: Candidate
    utterance: PlayableUtterance
    clients: Clients
    cold: bool
    recorder: Recorder
    source: PacedInput
    sink: PlayoutClock
    origin_ns: int
    emulated: frozenset[Stage] | None = None

    @property
    def barge_in(self) -> PlayableBargeIn | None:
        """What is to be said over the reply, if anything."""
        return self.utterance.barge_ins.get(self.key.barge_in)

    @property
    def audio_end_ns(self) -> int:
        """When the recording's last sample is due."""
        return self.origin_ns + len(self.utterance.pcm) // 2 * _NS // PIPELINE_RATE

    def schedule(self) -> Schedule:
        """Return when the utterance was due."""
        origin = self.origin_ns
        start, end = self.utterance.speech_start_ns, self.utterance.speech_end_ns
        return Schedule(
            origin_ns=origin,
            audio_end_ns=self.audio_end_ns,
            speech_start_ns=None if start is None else origin + start,
            speech_end_ns=None if end is None else origin + end,
            released=self.source.speech_released,
            released_due_ns=self.source.speech_released_due,
        )


class Base:
    """The part of a performer that does not depend on how a turn is played.

    A driver says in :meth:`_play` how an utterance is played, and where it differs from the
    default, in :meth:`_turns` what turns came of it and in :meth:`_verdict` whether they ended
    well.
    """

    driver = ""

    def __init__(
        self,
        candidate: Candidate,
        suite: Suite,
        *,
        place: Place,
        watch: Watch,
        redact: Callable[[str], str],
    ) -> None:
        self._candidate = candidate
        self._suite = suite
        self._place = place
        self._watch = watch
        self._redact = redact
        self._clients = Clients(candidate, place)
        self._settled = False
        self._pacer: Pacer | None = None

    async def start(self) -> Mapping[str, Any]:
        """Open the clients."""
        quiet_livekit()
        self._pacer = Pacer()
        if self._candidate.agent is None:
            self._clients.open()
        return self._clients.describe()

    async def warm_up(self) -> None:
        """Leave the clients as earlier trials would: connected, where they connect beforehand."""
        for client in (self._clients.stt, self._clients.llm, self._clients.tts):
            prewarm = getattr(client, "prewarm", None)
            if prewarm is not None:
                prewarm()
        await asyncio.sleep(_WARM_UP_S)
        self._clients.used = True

    async def boot(self, tell: Tell) -> tuple[Boot, ...]:
        """Wake the deployments that the candidate needs, if any of them may sleep."""
        stages = self._sleepers()
        if not stages:
            return ()
        # Clients of its own: the others may be in use, and keep the connections that they have.
        clients = Clients(self._candidate, self._place)
        clients.open()
        try:
            return await wake(
                clients,
                stages,
                limit_s=self._suite.timeouts.boot_s,
                ask_s=max(self._suite.session.request_timeout_s, ASK_S),
                tell=tell,
            )
        finally:
            await clients.aclose()

    def boots_seen(self, trial: Trial | FailedTrial) -> tuple[Boot, ...]:
        """Return the boots that a trial itself waited out."""
        return boots_seen(trial, self._sleepers())

    def _sleepers(self) -> dict[Stage, StageSettings]:
        if self._candidate.agent is not None:
            return {}
        return sleepers(self._candidate, emulated=self._place.emulated)

    async def aclose(self) -> None:
        """Close the clients."""
        await self._clients.aclose()
        if self._pacer is not None:
            self._pacer.close()
            self._pacer = None

    def line(self, utterance: PlayableUtterance) -> PacedInput:
        """Return the caller's microphone for an utterance."""
        assert self._pacer is not None, "start() comes first"
        return PacedInput(line_for(utterance, self._suite), self._pacer, utterance.speech_end_ns)

    def _clients_for(self, key: TrialKey) -> Clients:
        """Return a trial's clients: those of the trials before, unless it is to be cold."""
        if self._suite.session.connection != "cold" or key.warmup or not self._clients.used:
            return self._clients
        clients = Clients(self._candidate, self._place)
        if self._candidate.agent is None:
            clients.open()
        return clients

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        """Play one utterance and return what happened; provider failures never raise."""
        clients = self._clients_for(key)
        cold = not clients.used
        clients.used = True
        _COLLECTOR.settle(first=not self._settled)
        self._settled = True
        _COLLECTOR.playing += 1
        try:
            # A task of its own: what it puts into its context is the trial's alone.
            return await asyncio.create_task(
                self._perform(key, candidate, utterance, clients, cold=cold)
            )
        finally:
            _COLLECTOR.playing -= 1
            if clients is not self._clients:
                await clients.aclose()

    async def _perform(
        self,
        key: TrialKey,
        candidate: Candidate,
        utterance: PlayableUtterance,
        clients: Clients,
        *,
        cold: bool,
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        recorder = Recorder(key.id)
        CURRENT_RECORDER.set(recorder)
        started = time.perf_counter_ns()
        performance = Performance(
            key=key,
            candidate=candidate,
            utterance=utterance,
            clients=clients,
            cold=cold,
            recorder=recorder,
            source=self.line(utterance),
            sink=PlayoutClock(),
            origin_ns=started,
        )
        source, sink = performance.source, performance.sink
        try:
            async with utils.http_context.open():
                failure = await self._play(performance)
        finally:
            source.close()
            await sink.aclose()
        ended = time.perf_counter_ns()
        turns = self._turns(performance)
        failure = self._verdict(performance, turns, failure)
        reply = (
            ReplyAudio(pcm=sink.pcm(), sample_rate=sink.rate)
            if self._suite.keep_audio and sink.rate
            else None
        )
        common: dict[str, Any] = {
            "key": key,
            "driver": self.driver,
            "started_ns": started,
            "ended_ns": ended,
            "turns": turns,
            "health": health(source.lateness, self._watch, started, ended),
            "cold": cold,
            "emulated": performance.emulated,
        }
        if failure is not None:
            return FailedTrial(failure=failure, **common), reply
        return Trial(**common), reply

    async def _play(self, performance: Performance) -> Failure | None:
        """Play the utterance until its turn has ended; return why it did not, if it did not.

        Sets the performance's ``origin_ns``. What it opens it closes; the source and the sink are
        closed by the caller at the latest.
        """
        raise NotImplementedError

    def _turns(self, performance: Performance) -> tuple[Turn, ...]:
        """Return the turns that the probes saw: one."""
        note_speech_sent(performance.recorder, performance.source)
        return (
            assemble(
                recorder=performance.recorder,
                schedule=performance.schedule(),
                options=self._suite.session,
                sink=performance.sink,
                utterance=performance.utterance.utterance.id,
                redact=self._redact,
                idle=self._watch.idle_between(performance.origin_ns, time.perf_counter_ns()),
            ),
        )

    def _verdict(
        self, performance: Performance, turns: tuple[Turn, ...], failure: Failure | None
    ) -> Failure | None:
        """Return the first cause of failure, or None for a trial that ended well.

        Args:
            performance: the trial.
            turns: what came of it.
            failure: what :meth:`_play` returned.
        """
        turn = turns[0]
        return (
            primary_failure(performance.recorder, turn, self._redact)
            or failure
            or audio_failure(turn, performance.sink.pcm())
        )
