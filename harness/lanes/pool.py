"""The lanes of a run, as the main process has them: lent to one trial at a time.

All start at once, in parallel; a trial waits for the first that is free. A lane whose process ends
costs the trial that it had, not the run: it is started anew for the next one.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from harness.clock import MonotonicClock
from harness.domain.boot import Boot, Tell
from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError, HarnessError
from harness.gateway.engines.worker import Worker, WorkerDied
from harness.lanes.job import LaneJob, pack_values, unpack_values

__all__ = ["LanePerformer", "Lanes"]


class Lanes:
    """Processes that perform trials.

    Args:
        job: the run.
        number: how many.
    """

    def __init__(self, job: LaneJob, number: int) -> None:
        self._job = job
        self._lanes = [_Lane(replace(job, number=index)) for index in range(number)]
        self._free: deque[_Lane] = deque(self._lanes)
        self._waiting: deque[asyncio.Future[_Lane]] = deque()
        self._opening: list[asyncio.Task[None]] = []

    def performers(self) -> dict[str, "LanePerformer"]:
        """Return a performer for each candidate of the suite."""
        return {each.name: LanePerformer(self, each.name) for each in self._job.suite.candidates}

    @property
    def suite(self) -> Suite:
        """The suite that they perform."""
        return self._job.suite

    def open(self) -> None:
        """Begin to start them all; who borrows one waits until it is ready."""
        for lane in self._lanes:
            self._opening.append(asyncio.create_task(lane.open()))

    async def borrow(self) -> "_Lane":
        """Return a lane that nobody uses."""
        if self._free:
            return self._free.popleft()
        future: asyncio.Future[_Lane] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return await future

    def give_back(self, lane: "_Lane") -> None:
        """Return a borrowed lane."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(lane)
                return
        self._free.append(lane)

    async def aclose(self, *, at_once: bool = False) -> None:
        """End all processes; at once where nothing that they do is wanted any more."""
        if at_once:
            for lane in self._lanes:
                lane.kill()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(lane.aclose() for lane in self._lanes))


class _Lane:
    """One process, and what it has been told since it was started."""

    def __init__(self, job: LaneJob) -> None:
        self._job = job
        self._worker = Worker("harness.lanes.lane", job.suite.clock.value, log=job.log)
        self._opening = asyncio.Lock()
        self._generation = -1
        self._started: set[str] = set()

    async def open(self) -> None:
        """Start the process and tell it of the run, unless it has been told."""
        async with self._opening:
            await self._worker.start()
            if self._generation == self._worker.generation:
                return
            self._started.clear()
            generation = self._worker.generation
            await self._told({"op": "open"}, self._job)
            self._generation = generation

    async def start(self, candidate: str) -> Mapping[str, Any]:
        """Open a candidate's clients; return what is known of its endpoints."""
        await self.open()
        (facts,) = await self._told({"op": "start", "candidate": candidate})
        self._started.add(candidate)
        found: Mapping[str, Any] = facts
        return found

    async def boot(self, candidate: str, tell: Tell) -> tuple[Boot, ...]:
        """Wake a candidate's deployments."""
        await self._ready(candidate)
        identity = self._worker.subscribe(lambda header, _: tell(header.get("text", "")))
        try:
            (boots,) = await self._told({"op": "boot", "candidate": candidate, "tell": identity})
        finally:
            self._worker.unsubscribe(identity)
        found: tuple[Boot, ...] = boots
        return found

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None, tuple[Boot, ...]]:
        """Perform a trial."""
        await self._ready(key.candidate)
        trial, audio, boots = await self._told({"op": "perform"}, key, candidate, utterance)
        return trial, audio, boots

    async def _ready(self, candidate: str) -> None:
        await self.open()
        if candidate not in self._started:
            await self.start(candidate)

    async def _told(self, header: dict[str, Any], *values: Any) -> Any:
        answer, payload = await self._worker.ask(header, pack_values(*values) if values else b"")
        kind = answer.get("error")
        if kind is None:
            return unpack_values(payload)
        lines = [str(each) for each in answer["lines"]]
        if kind == "configuration":
            raise ConfigurationError(lines)
        raise HarnessError("; ".join(lines))

    async def aclose(self) -> None:
        """End the process; a log in which nothing stands is removed."""
        await self._worker.stop()
        log = self._job.log
        if log is not None:
            with suppress(OSError):
                if log.stat().st_size == 0:
                    log.unlink()

    def kill(self) -> None:
        """End the process at once: what it does is not wanted any more."""
        self._worker.kill()


class LanePerformer:
    """Performs one candidate's trials in whatever lane is free.

    Args:
        lanes: the lanes.
        candidate: its name.
    """

    def __init__(self, lanes: Lanes, candidate: str) -> None:
        self._lanes = lanes
        self._candidate = candidate
        self._clock = MonotonicClock()
        self._boots: dict[str, tuple[Boot, ...]] = {}

    async def start(self) -> Mapping[str, Any]:
        """Open the candidate's clients in one lane; others open theirs with their first trial."""
        lane = await self._lanes.borrow()
        try:
            return await lane.start(self._candidate)
        except WorkerDied as error:
            raise HarnessError("the lane's process ended while it started") from error
        finally:
            self._lanes.give_back(lane)

    async def boot(self, tell: Tell) -> tuple[Boot, ...]:
        """Wake the deployments that the candidate needs, if any of them may sleep."""
        lane = await self._lanes.borrow()
        try:
            return await lane.boot(self._candidate, tell)
        finally:
            self._lanes.give_back(lane)

    def boots_seen(self, trial: Trial | FailedTrial) -> tuple[Boot, ...]:
        """Return the boots that a trial itself waited out."""
        return self._boots.pop(trial.key.id, ())

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        """Perform a trial; a lane that dies of it makes it a failed one."""
        lane = await self._lanes.borrow()
        begun = self._clock.now_ns()
        ended = False
        try:
            trial, audio, self._boots[key.id] = await lane.perform(key, candidate, utterance)
            ended = True
        except WorkerDied:
            ended = True
            failure = Failure(
                stage=Stage.HARNESS,
                kind=FailureKind.INTERNAL,
                message="the lane's process ended during the trial",
            )
            died = FailedTrial(
                key=key,
                driver=self._lanes.suite.driver.value,
                started_ns=begun,
                ended_ns=self._clock.now_ns(),
                failure=failure,
            )
            return died, None
        except HarnessError:
            ended = True
            raise
        finally:
            if not ended:
                # Given up: the process may be busy with it for ever.
                with suppress(ProcessLookupError):
                    lane.kill()
            self._lanes.give_back(lane)
        return trial, audio

    async def aclose(self) -> None:
        """Leave the lanes to who opened them."""
