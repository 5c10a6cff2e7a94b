"""Where a lane's trials are performed: on a real clock, or on a virtual one.

On the real clock one loop serves all trials of the lane, and its gateway is a process of its own:
what the gateway does must not delay the agent. On the virtual clock each trial has a loop, a
gateway and clients of its own, which begin at an instant that the plan gives; the engines behind
the gateway are kept.
"""

import asyncio
import gc
import json
import os
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.domain.boot import Boot
from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.gateway.calls.context import Trial as GatewayTrial
from harness.gateway.engines.remembered import RememberedWorker
from harness.gateway.engines.worker import BlockingWorker
from harness.gateway.process import GatewayProcess, start_gateway
from harness.gateway.server import TRIAL_PATH, Engines, build_app
from harness.lanes.job import LaneJob
from harness.lanes.manifest import Gateway
from harness.lanes.parts import performer_for, performing
from harness.loops.accounting import AccountedLoop, Owner, context_of
from harness.loops.errors import VirtualClockError
from harness.loops.interrupting import interrupting
from harness.loops.virtual import VirtualLoop
from harness.pipeline.transport.names import begin_names
from harness.runner.ledger import trial_deadline_s

__all__ = ["RealStage", "VirtualStage", "draws_of", "instant_of", "stage_for"]

Played = tuple[Trial | FailedTrial, ReplyAudio | None, tuple[Boot, ...]]

_NS = 1_000_000_000
# All trials begin at multiples of 128 s between 2**20 and 2**21 seconds, where a second is the same
# grid of binary fractions: what a trial does rounds alike wherever it begins.
_FIRST_S = 2**20
_APART_S = 128
_SHAPES = 8192
_HOST, _PORT = "127.0.0.1", 1


def draws_of(key: TrialKey) -> str:
    """Return what a trial's draws depend on: what is played and when, not who plays it."""
    parts = (key.utterance, key.condition, key.barge_in, key.repeat, "w" if key.warmup else "")
    return "\0".join(str(each) for each in parts)


def instant_of(key: TrialKey) -> int:
    """Return when a trial begins on its virtual clock, in nanoseconds."""
    place = (3 * key.order + key.attempt) % _SHAPES
    return (_FIRST_S + _APART_S * place) * _NS


def _given_up(  # noqa: PLR0917  # what a failed trial is made of
    key: TrialKey, driver: str, begun: int, ended: int, kind: FailureKind, message: str
) -> Played:
    failed = FailedTrial(
        key=key,
        driver=driver,
        started_ns=begun,
        ended_ns=max(begun, ended),
        failure=Failure(stage=Stage.HARNESS, kind=kind, message=message),
    )
    return failed, None, ()


class RealStage:
    """Performs trials on the real clock.

    Args:
        job: the run.
    """

    def __init__(self, job: LaneJob) -> None:
        self._job = job
        self._runner = asyncio.Runner(loop_factory=AccountedLoop)
        self._open = ExitStack()
        self._process: GatewayProcess | None = None
        gateway = None
        if job.gateway is not None:
            self._process = self._open.enter_context(start_gateway(job.gateway))
            gateway = Gateway(url=f"http://127.0.0.1:{self._process.port}", key=self._process.key)
        self._parts = performing(job.suite, gateway, run=job.run)
        self._performing = self._runner.run(self._enter())
        self._performers: dict[str, Any] = {}

    async def _enter(self) -> Any:
        return await self._parts.__aenter__()

    def _performer(self, name: str) -> Any:
        found = self._performers.get(name)
        if found is None:
            candidate = next(each for each in self._job.suite.candidates if each.name == name)
            found = self._performers[name] = performer_for(
                candidate, self._job.suite, self._performing
            )
        return found

    def start(self, candidate: str) -> Mapping[str, Any]:
        """Open a candidate's clients; return what is known of its endpoints."""
        found: Mapping[str, Any] = self._runner.run(self._performer(candidate).start())
        return found

    def boot(self, candidate: str, tell: Callable[[str], None]) -> tuple[Boot, ...]:
        """Wake a candidate's deployments."""
        found: tuple[Boot, ...] = self._runner.run(self._performer(candidate).boot(tell))
        return found

    def perform(self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance) -> Played:
        """Perform a trial."""
        if self._process is not None:
            _announce(self._process, key)
        performer = self._performer(key.candidate)
        trial, audio = self._runner.run(performer.perform(key, candidate, utterance))
        return _weighed(trial), audio, performer.boots_seen(trial)

    def close(self) -> None:
        """Close clients and gateway."""

        async def close() -> None:
            for performer in self._performers.values():
                await performer.aclose()
            await self._parts.__aexit__(None, None, None)

        self._runner.run(close())
        self._open.close()


def _announce(process: GatewayProcess, key: TrialKey) -> None:
    """Tell a gateway's process which trial comes next."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{process.port}{TRIAL_PATH}",
        data=json.dumps({"name": draws_of(key), "id": key.id}).encode(),
        headers={"Authorization": f"Bearer {process.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass


class VirtualStage:
    """Performs trials on a virtual clock.

    Args:
        job: the run.
    """

    def __init__(self, job: LaneJob) -> None:
        assert job.gateway is not None, "live suites have the real clock"
        self._job = job
        self._config = replace(job.gateway, recogniser_workers=1)
        self._engines = Engines.of(
            self._config,
            worker=BlockingWorker,
            recogniser=partial(RememberedWorker, memory=job.heard),
        )
        asyncio.run(self._engines.start())
        self._settled = False
        self._histories: dict[str, Any] = {}

    def _sleeps(self, candidate: Candidate) -> bool:
        """Return whether a profile behind a candidate boots when it is first asked."""
        settings = (candidate.stt, candidate.llm, candidate.tts)
        named = [each.profile for each in settings if each is not None]
        profiles = [self._engines.profiles.get(name) for name in named if name is not None]
        return any(each is not None and each.boot is not None for each in profiles)

    def _play(self, work: Callable[[], Awaitable[Any]], start_ns: int) -> tuple[Any, VirtualLoop]:
        """Run a coroutine on a loop of its own to its end."""
        loop = VirtualLoop(start_ns=start_ns)
        asyncio.set_event_loop(loop)
        try:
            with interrupting(loop):
                return loop.run_until_complete(work()), loop
        finally:
            _end(loop)
            asyncio.set_event_loop(None)
            if self._engines.pool is not None:
                self._engines.pool.recall()

    async def _with(
        self, candidate: str, trial: GatewayTrial, use: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Open a gateway and a candidate's performer, use it, and close both."""
        suite = self._job.suite
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        context = context_of(Owner.GATEWAY)
        runner = web.AppRunner(build_app(self._config, self._engines, trial), access_log=None)
        await loop.create_task(runner.setup(), context=context)
        assert runner.server is not None
        loop.switchboard.listen(_HOST, _PORT, runner.server, context)
        gateway = Gateway(url=f"http://{_HOST}:{_PORT}", key=self._config.key)
        begin_names(trial.id)
        async with AsyncExitStack() as stack:
            parts = await stack.enter_async_context(
                performing(suite, gateway, run=self._job.run, machine=False)
            )
            chosen = next(each for each in suite.candidates if each.name == candidate)
            performer = performer_for(chosen, suite, parts)
            try:
                return await use(performer)
            finally:
                await performer.aclose()
                await loop.create_task(runner.cleanup(), context=context)

    def start(self, candidate: str) -> Mapping[str, Any]:
        """Open a candidate's clients once; return what is known of its endpoints."""
        work = partial(
            self._with,
            candidate,
            GatewayTrial(name="start", id=f"start-{candidate}"),
            lambda performer: performer.start(),
        )
        found: Mapping[str, Any] = self._play(work, _FIRST_S * _NS)[0]
        return found

    def boot(self, candidate: str, tell: Callable[[str], None]) -> tuple[Boot, ...]:
        """Wake a candidate's deployments, to tell how long that takes."""

        async def use(performer: Any) -> Any:
            await performer.start()
            return await performer.boot(tell)

        trial = GatewayTrial(name="boot", id=f"boot-{candidate}")
        found: tuple[Boot, ...] = self._play(
            partial(self._with, candidate, trial, use), _FIRST_S * _NS
        )[0]
        return found

    def perform(self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance) -> Played:
        """Perform a trial; what the virtual clock cannot account for is a failed one."""
        suite = self._job.suite
        begun = instant_of(key)
        limit_s = trial_deadline_s(suite, utterance)

        async def use(performer: Any) -> Played:
            await performer.start()
            if self._sleeps(candidate):
                await performer.boot(lambda _: None)
            if suite.session.connection == "warm":
                await performer.warm_up()
            performer.history = self._histories.get(key.candidate)
            try:
                async with asyncio.timeout(limit_s):
                    trial, audio = await performer.perform(key, candidate, utterance)
            except TimeoutError:
                ended = round(asyncio.get_running_loop().time() * _NS)
                message = f"the trial did not end within {limit_s:.0f} s and was given up"
                return _given_up(key, performer.driver, begun, ended, FailureKind.TIMEOUT, message)
            self._histories[key.candidate] = performer.history
            return trial, audio, performer.boots_seen(trial)

        warm = suite.session.connection == "warm"
        gateway_trial = GatewayTrial(
            name=draws_of(key),
            id=key.id,
            # As the trials before have left it: they began their prompts alike.
            instructions=candidate.instructions if warm and candidate.agent is None else None,
        )
        if not self._settled:
            self._settled = True
            gc.collect()
            gc.freeze()
        try:
            played, loop = self._play(partial(self._with, key.candidate, gateway_trial, use), begun)
        except VirtualClockError as error:
            return _given_up(
                key, suite.driver.value, begun, begun, FailureKind.INTERNAL, str(error)
            )
        message = loop.blocked
        if loop.uncounted is not None:
            message = f"the thread {loop.uncounted} is not counted by the virtual clock"
        if message is not None:
            return _given_up(
                key, suite.driver.value, begun, loop.now_ns(), FailureKind.INTERNAL, message
            )
        trial, audio, boots = played
        return _weighed(trial), audio, boots

    def close(self) -> None:
        """End the engines."""
        asyncio.run(self._engines.stop())


def _end(loop: VirtualLoop) -> None:
    """Cancel what is left on a loop and close it; what resists is left behind."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=5))
        loop.run_until_complete(loop.shutdown_asyncgens())
    except VirtualClockError:
        pass
    finally:
        loop.close()


def _weighed(trial: Trial | FailedTrial) -> Trial | FailedTrial:
    """Return the trial with the memory that the lane takes after it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return trial
    return replace(trial, lane_bytes=pages * os.sysconf("SC_PAGE_SIZE"))


def stage_for(job: LaneJob) -> RealStage | VirtualStage:
    """Return where a run's trials are performed."""
    return VirtualStage(job) if job.virtual else RealStage(job)
