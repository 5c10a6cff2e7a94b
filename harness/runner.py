"""Performs a plan: interleaved trials, limits, re-runs, and an end that comes whatever happens.

The runner knows neither livekit nor files. It is given a performer for each candidate and a sink
for what they return, and keeps these promises:

* every planned trial is performed, or the outcome says why not;
* nothing hangs: a trial that outlives every one of its time-outs becomes a failed trial;
* a stop (Ctrl-C, a limit, a full disk) loses no trial that has ended;
* the sink is called by one thread at a time, away from the event loop that stamps the marks.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from harness.clock import Clock, MonotonicClock
from harness.domain.boot import Boot, Bootable, Tell
from harness.domain.costs import estimate, trial_cost
from harness.domain.driver import Performer, PlayableUtterance, ReplyAudio
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import Driver, Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError, HarnessError

__all__ = ["End", "Outcome", "Progress", "Sink", "run_suite", "trial_deadline_s"]

Sink = Callable[[Trial | FailedTrial, ReplyAudio | None], None]
"""Stores one trial; raises ConfigurationError when it cannot, which stops the run."""

NANOSECONDS = 1_000_000_000
PIPELINE_RATE = 16_000
MAX_RERUNS = 2
BACKSTOP_S = 15.0
CANCEL_GRACE_S = 0.4
CLOSE_GRACE_S = 3.0
START_GRACE_S = 300.0
BOOT_GRACE_S = 30.0
_ASLEEP = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.REFUSED,
        FailureKind.RESET,
        FailureKind.SERVER_ERROR,
        FailureKind.NO_TRANSCRIPT,
        FailureKind.RATE_LIMITED,
    }
)
# What a deployment that is scaled to zero looks like from outside.


class End(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    """every trial was performed, but for candidates that ended early"""
    INTERRUPTED = "interrupted"
    """it was asked to stop"""
    STOPPED = "stopped"
    """a limit was reached"""
    FAILED = "failed"
    """what had been measured could not be stored"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: planned trials that have ended, those of an earlier start included.
        total: planned trials.
        failed: failed trials among those of this start.
        reruns: trials performed again because they were disturbed.
        running: trials under way.
        last: the trial that ended just now; None at a trial's start.
    """

    done: int
    total: int
    failed: int
    reruns: int
    running: tuple[TrialKey, ...]
    last: Trial | FailedTrial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        end: in a word.
        reason: in a sentence; "" where it simply finished.
        performed: trials stored by this start, re-runs included.
        failed: failed trials among them.
        reruns: trials performed again because they were disturbed.
        remaining: planned trials without a stored one.
        ended: candidates that ended early, and why.
        spent: by the suite's prices; None where none applied.
    """

    end: End
    reason: str
    performed: int
    failed: int
    reruns: int
    remaining: int
    ended: Mapping[str, str]
    spent: float | None


def _audio_s(utterance: PlayableUtterance) -> float:
    return len(utterance.pcm) / 2 / PIPELINE_RATE


def trial_deadline_s(suite: Suite, utterance: PlayableUtterance) -> float:
    """Return the seconds after which a trial is given up whatever its driver thinks.

    The sum of all time-outs that a driver keeps by itself, and a margin: it strikes only when a
    driver has failed to keep them.
    """
    limits = suite.timeouts
    own = limits.connect_s + limits.transcript_s + limits.reply_s + limits.playout_s
    if suite.driver is Driver.STAGE:
        # The LLM and the TTS have a reply's time each.
        own = limits.transcript_s + 2 * limits.reply_s
    return _audio_s(utterance) + own + BACKSTOP_S


@dataclass(slots=True)
class _State:
    """What changes while a run goes on; touched by its event loop alone."""

    suite: Suite
    total: int
    done: int
    spent: float | None
    performed: int = 0
    failed: int = 0
    reruns: int = 0
    end: End | None = None
    reason: str = ""
    ended: dict[str, str] = field(default_factory=dict)
    streak: dict[str, tuple[Stage, FailureKind, int]] = field(default_factory=dict)
    running: dict[TrialKey, None] = field(default_factory=dict)
    dearest: dict[str, float] = field(default_factory=dict)


async def run_suite(
    suite: Suite,
    plan: Sequence[TrialKey],
    *,
    performers: Mapping[str, Performer],
    utterances: Mapping[str, PlayableUtterance],
    sink: Sink,
    done: Collection[TrialKey] = (),
    spent: float | None = None,
    disturbed: Callable[[Trial | FailedTrial], object] | None = None,
    redact: Callable[[str], str] = str,
    progress: Callable[[Progress], None] | None = None,
    tell: Tell | None = None,
    started: Callable[[Mapping[str, Mapping[str, Any]]], None] | None = None,
    stop: asyncio.Event | None = None,
    keep_going: bool = False,
    max_reruns: int | None = None,
    looks: Sequence[int] = (),
    enough: Callable[[int], str] | None = None,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Outcome:
    """Perform a plan's trials in their order, ``suite.concurrency`` at once.

    Warm-ups come first; no measured trial starts before they have ended. A disturbed trial is
    performed again at once, twice at most, each time as a trial of its own.

    Args:
        suite: limits, time-outs and prices.
        plan: every trial in its order.
        performers: one for each candidate.
        utterances: what the plan plays, by the name of the recording (``TrialKey.recording``).
        sink: stores a trial.
        done: trials of the plan that an earlier start has stored.
        spent: what these have cost.
        disturbed: true where the machine spoilt a trial (``harness.analysis.summary.validity``).
        redact: takes secrets out of the message of an unexpected exception.
        progress: told when a trial starts or ends; must return at once.
        tell: told in words what is waited for before the first trial, and what was.
        started: told what each performer says of its endpoints, before the first trial.
        stop: set from outside to end the run within a second.
        keep_going: a candidate whose performer cannot start ends early instead of the run.
        max_reruns: of the whole run; None allows two for every trial.
        looks: numbers of repeats after which ``enough`` is asked, ascending.
        enough: told how many repeats have been performed, all of them stored; returns why no more
            are needed, or "". Called in a thread while nothing is measured.
        clock: the run's clock.
        sleep: waits for the rate limit.

    Returns:
        How the run ended; provider failures are failed trials in the sink, never exceptions.

    Raises:
        ConfigurationError: a performer cannot start (one line for each), or the plan names a
            candidate or an utterance that is not there. Nothing has been performed then.
    """
    run = _Runner(
        state=_State(
            suite=suite, total=len(plan), done=len({key.order for key in done}), spent=spent
        ),
        performers=performers,
        utterances=utterances,
        sink=sink,
        disturbed=disturbed,
        redact=redact,
        progress=progress,
        tell=tell or (lambda _: None),
        stop=stop or asyncio.Event(),
        max_reruns=max_reruns,
        clock=clock or MonotonicClock(),
        sleep=sleep,
    )
    run.check(plan)
    run.expect_costs(plan)
    finished = {key.order for key in done}
    todo = [key for key in plan if key.order not in finished]
    try:
        facts = await run.start({key.candidate for key in todo}, keep_going=keep_going)
        if started is not None and run.state.end is None:
            started(facts)
        # A resumed run has new connections, which its first trials would find cold.
        warm = {key.candidate for key in todo if key.warmup}
        again = [
            replace(key, attempt=_next_attempt(key, done))
            for key in plan
            if finished
            and key.warmup
            and key.candidate not in warm
            and any(each.candidate == key.candidate for each in todo)
        ]
        await run.perform([*(key for key in todo if key.warmup), *again])
        await run.measure([key for key in todo if not key.warmup], looks, enough)
    finally:
        await run.close()
    return run.outcome()


def _next_attempt(key: TrialKey, done: Collection[TrialKey]) -> int:
    attempts = [each.attempt for each in done if each.order == key.order]
    return max(attempts, default=-1) + 1


@dataclass(slots=True, kw_only=True)
class _Runner:
    state: _State
    performers: Mapping[str, Performer]
    utterances: Mapping[str, PlayableUtterance]
    sink: Sink
    disturbed: Callable[[Trial | FailedTrial], object] | None
    redact: Callable[[str], str]
    progress: Callable[[Progress], None] | None
    tell: Tell
    stop: asyncio.Event
    max_reruns: int | None
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    driver: str = ""
    next_start_ns: int | None = None
    open: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    booted: dict[str, tuple[int, tuple[Boot, ...]]] = field(default_factory=dict)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="turnbench-store")
    )

    def check(self, plan: Sequence[TrialKey]) -> None:
        """Refuse a plan of unknown candidates or utterances."""
        self.driver = self.state.suite.driver.value
        problems = [
            f"plan: there is no candidate {name!r}"
            for name in sorted({key.candidate for key in plan} - set(self.performers))
        ]
        problems += [
            f"plan: there is no utterance {name!r}"
            for name in sorted({key.recording for key in plan} - set(self.utterances))
        ]
        if problems:
            raise ConfigurationError(problems)

    def expect_costs(self, plan: Sequence[TrialKey]) -> None:
        """Expect of each candidate's first trial what the plan's estimate says that it costs."""
        state = self.state
        durations = {name: _audio_s(each) for name, each in self.utterances.items()}
        for row in estimate(state.suite, plan, durations).candidates:
            if row.cost is not None and row.trials:
                state.dearest[row.candidate] = row.cost / row.trials

    async def start(
        self, candidates: Collection[str], *, keep_going: bool
    ) -> dict[str, Mapping[str, Any]]:
        """Start the performers in turn; a stop cuts it short."""
        facts: dict[str, Mapping[str, Any]] = {}
        problems: list[str] = []
        for name in (each for each in self.performers if each in candidates):
            task = asyncio.ensure_future(self.performers[name].start())
            self.open.append(name)
            if not await self._or_stop(task, START_GRACE_S):
                if self._stopping():
                    return facts
                lines = [f"did not start within {START_GRACE_S:.0f} s"]
            elif (error := task.exception()) is None:
                boots = await self._boot(name)
                facts[name] = {**task.result(), **({"boots": boots} if boots else {})}
                if self._stopping():
                    return facts
                continue
            elif isinstance(error, ConfigurationError):
                lines = list(error.problems)
            elif isinstance(error, Exception):
                lines = [self._message(error)]
            else:
                raise error
            found = [f"candidate {name!r}: {self.redact(line)}" for line in lines]
            if keep_going:
                self.state.ended[name] = "; ".join(self.redact(line) for line in lines)
            problems.extend(found)
        if problems and not (keep_going and facts):
            raise ConfigurationError(problems)
        return facts

    async def _boot(self, name: str) -> tuple[Boot, ...]:
        """Wake a candidate's deployments; none where it has none that sleep."""
        performer = self.performers[name]
        if not isinstance(performer, Bootable):
            return ()
        task = asyncio.ensure_future(performer.boot(self.tell))
        limit = self.state.suite.timeouts.boot_s + BOOT_GRACE_S
        if not await self._or_stop(task, limit):
            return ()
        error = task.exception()
        if error is None:
            boots = task.result()
            if not all(each.ready for each in boots):
                self.gone.add(name)
            if any(each.cold or not each.ready for each in boots):
                self.tell("; ".join(each.text for each in boots))
            return boots
        if not isinstance(error, Exception):
            raise error
        self.tell(f"{name}: {self._message(error)}")
        return ()

    async def _woken(self, key: TrialKey, trial: Trial | FailedTrial) -> Trial | FailedTrial:
        """Return the trial with the boots that explain it, after these have ended."""
        performer = self.performers[key.candidate]
        # What did not come up is not waited for again: its failures speak for themselves.
        if not isinstance(performer, Bootable) or self._stopping() or key.candidate in self.gone:
            return trial
        seen = performer.boots_seen(trial)
        if seen:
            return replace(trial, boots=seen)
        if not isinstance(trial, FailedTrial) or trial.failure.kind not in _ASLEEP:
            return trial
        boots = await self._boot(key.candidate)
        cold = tuple(each for each in boots if each.cold and each.ready)
        if cold:
            self.booted[key.candidate] = (self.clock.now_ns(), cold)
            return replace(trial, boots=cold)
        # Trials at once meet the same boot: who fails last may find the deployment up already.
        ended_ns, shared = self.booted.get(key.candidate, (trial.started_ns, ()))
        if trial.started_ns < ended_ns:
            shared = tuple(each for each in shared if each.stage is trial.failure.stage)
            return replace(trial, boots=shared)
        return trial

    def _message(self, error: Exception) -> str:
        text = self.redact(" ".join(str(error).split()))
        if isinstance(error, HarnessError):
            return text
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    async def _or_stop(self, task: "asyncio.Future[Any]", timeout_s: float) -> bool:
        """Wait for a task; cancel it at a stop or after the time-out. True where it ended."""
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait(
                {task, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                # A task that ignores its cancellation is left behind rather than waited for.
                await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        return task.done() and not task.cancelled()

    def _stopping(self) -> bool:
        state = self.state
        if state.end is None and self.stop.is_set():
            state.end, state.reason = End.INTERRUPTED, "it was interrupted"
        return state.end is not None

    async def perform(self, keys: Sequence[TrialKey]) -> None:
        """Perform trials in order, several at once, until they or the run end."""
        queue = deque(keys)
        count = min(self.state.suite.concurrency, len(queue))
        workers = [asyncio.ensure_future(self._work(queue)) for _ in range(count)]
        try:
            if workers:
                await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def measure(
        self, keys: Sequence[TrialKey], looks: Sequence[int], enough: Callable[[int], str] | None
    ) -> None:
        """Perform the measured trials, look by look, until no more are needed."""
        before = 0
        for repeats in looks if enough is not None else ():
            await self.perform([key for key in keys if before <= key.repeat < repeats])
            if self._stopping():
                return
            assert enough is not None
            reason = await asyncio.to_thread(enough, repeats)
            if reason:
                self.state.end, self.state.reason = End.FINISHED, reason
                return
            before = repeats
        await self.perform([key for key in keys if key.repeat >= before])

    async def _work(self, queue: deque[TrialKey]) -> None:
        while queue and not self._stopping():
            key = queue.popleft()
            attempt = key.attempt
            while not self._stopping() and key.candidate not in self.state.ended:
                if not self._affordable(key.candidate):
                    return
                await self._keep_rate()
                if self._stopping():
                    return
                trial = await self._trial(key)
                if trial is None or not self._again(trial, key.attempt - attempt):
                    break
                key = replace(key, attempt=key.attempt + 1)
                self.state.reruns += 1

    def _affordable(self, candidate: str) -> bool:
        """Stop the run where the dearest trial so far might pass the spending limit."""
        state = self.state
        limit = state.suite.limits.spend
        if limit is None:
            return True
        spent = state.spent or 0.0
        underway = sum(state.dearest.get(key.candidate, 0.0) for key in state.running)
        if spent + underway + state.dearest.get(candidate, 0.0) <= limit:
            return True
        state.end = End.STOPPED
        state.reason = f"the spending limit of {limit:g} would be passed; {spent:.4g} are spent"
        return False

    async def _keep_rate(self) -> None:
        rate = self.state.suite.limits.trials_per_minute
        if rate is None:
            return
        now = self.clock.now_ns()
        due = now if self.next_start_ns is None else max(now, self.next_start_ns)
        self.next_start_ns = due + round(60 * NANOSECONDS / rate)
        while not self._stopping() and (left := due - self.clock.now_ns()) > 0:
            await self.sleep(min(left / NANOSECONDS, 0.25))

    async def _trial(self, key: TrialKey) -> Trial | FailedTrial | None:
        """Perform and store one trial; None where the run ended first."""
        state = self.state
        state.running[key] = None
        self._tell(None)
        try:
            result = await self._perform(key)
            if result is None:
                return None
            trial, audio = result
            trial = await self._woken(key, trial)
            try:
                await asyncio.get_running_loop().run_in_executor(self.pool, self.sink, trial, audio)
            except ConfigurationError as error:
                state.end, state.reason = End.FAILED, str(error)
                return None
            self._count(key, trial)
        finally:
            state.running.pop(key, None)
        self._tell(trial)
        return trial

    async def _perform(self, key: TrialKey) -> tuple[Trial | FailedTrial, ReplyAudio | None] | None:
        suite = self.state.suite
        candidate = next(each for each in suite.candidates if each.name == key.candidate)
        utterance = self.utterances[key.recording]
        performer = self.performers[key.candidate]
        begun = self.clock.now_ns()
        deadline_s = trial_deadline_s(suite, utterance)
        task = asyncio.ensure_future(performer.perform(key, candidate, utterance))
        ended = await self._or_stop(task, deadline_s)
        if ended:
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, Exception):
                raise error
            kind, message = FailureKind.INTERNAL, self._message(error)
        elif self.stop.is_set():
            return None
        else:
            kind = FailureKind.TIMEOUT
            message = f"the trial did not end within {deadline_s:.0f} s and was given up"
        return (
            FailedTrial(
                key=key,
                driver=self.driver,
                started_ns=begun,
                ended_ns=self.clock.now_ns(),
                failure=Failure(stage=Stage.HARNESS, kind=kind, message=message),
            ),
            None,
        )

    def _count(self, key: TrialKey, trial: Trial | FailedTrial) -> None:
        """Account for a stored trial, and end its candidate where it only repeats a failure."""
        state = self.state
        state.performed += 1
        if key.attempt == 0:
            state.done += 1
        candidate = next(each for each in state.suite.candidates if each.name == key.candidate)
        audio_s = _audio_s(self.utterances[key.recording])
        cost = trial_cost(state.suite, candidate, trial, audio_s)
        if cost is not None:
            state.spent = (state.spent or 0.0) + cost
            state.dearest[key.candidate] = max(cost, state.dearest.get(key.candidate, 0.0))
        if isinstance(trial, Trial):
            state.streak.pop(key.candidate, None)
            return
        state.failed += 1
        if trial.boots:
            return
        failure = trial.failure
        stage, kind, count = state.streak.get(key.candidate, (failure.stage, failure.kind, 0))
        count = count + 1 if (stage, kind) == (failure.stage, failure.kind) else 1
        state.streak[key.candidate] = (failure.stage, failure.kind, count)
        if count >= state.suite.limits.same_failures:
            state.ended.setdefault(
                key.candidate,
                f"{count} trials in a row failed alike: {failure.stage.value} "
                f"{failure.kind.value}: {failure.message}",
            )

    def _again(self, trial: Trial | FailedTrial, reruns: int) -> bool:
        """Tell whether a disturbed trial is to be performed once more."""
        if self.disturbed is None or trial.key.warmup:
            return False
        if isinstance(trial, FailedTrial) and not trial.boots:
            return False
        if reruns >= MAX_RERUNS:
            return False
        if self.max_reruns is not None and self.state.reruns >= self.max_reruns:
            return False
        return bool(self.disturbed(trial))

    def _tell(self, last: Trial | FailedTrial | None) -> None:
        if self.progress is not None:
            state = self.state
            self.progress(
                Progress(
                    done=state.done,
                    total=state.total,
                    failed=state.failed,
                    reruns=state.reruns,
                    running=tuple(state.running),
                    last=last,
                )
            )

    async def close(self) -> None:
        """Close the performers, waiting for none of them long."""
        tasks = [asyncio.ensure_future(self.performers[name].aclose()) for name in self.open]
        if tasks:
            grace = CANCEL_GRACE_S if self.stop.is_set() else CLOSE_GRACE_S
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            for task in tasks:
                if task.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        task.exception()
        self.pool.shutdown(wait=True)

    def outcome(self) -> Outcome:
        """Return how the run ended."""
        state = self.state
        return Outcome(
            end=state.end or End.FINISHED,
            reason=state.reason,
            performed=state.performed,
            failed=state.failed,
            reruns=state.reruns,
            remaining=state.total - state.done,
            ended=dict(state.ended),
            spent=state.spent,
        )
