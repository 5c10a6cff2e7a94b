"""What both drivers share: clients, how a trial is performed and told, failures."""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livekit.agents import utils

from harness.domain.boot import Boot, Tell
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.request import Failure
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey, Turn
from harness.pacing import Pacer
from harness.pipeline.drivers.assembly import assemble
from harness.pipeline.drivers.blame import audio_failure, primary_failure
from harness.pipeline.drivers.boots import boots_seen, sleepers, wake
from harness.pipeline.drivers.clients import Clients, quiet_livekit
from harness.pipeline.drivers.performance import Performance, line_for
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.line.source import PacedInput
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch, health
from harness.pipeline.recording.recording import CURRENT_RECORDER, Recorder
from harness.pipeline.transport.sending import note_speech_sent

__all__ = ["Base"]

ASK_S = 30.0
"""How long a deployment's answer is waited for before it is asked for again."""
_WARM_UP_S = 1.0
"""How long clients get to connect before a trial that is to find them warm."""


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


class Base:
    """The part of a performer that does not depend on how a turn is played.

    A driver says in :meth:`_play` how an utterance is played, and where it differs from the
    default, in :meth:`_turns` what turns came of it and in :meth:`_verdict` whether they ended
    well.

    Attributes:
        driver: its name.
        history: what an agent with a growing context has been told so far; handed on from trial to
            trial.
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
        self.history: Any = None
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
