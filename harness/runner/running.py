"""Performs a plan: interleaved trials, limits, re-runs, and an end that comes whatever happens.

The runner knows neither livekit nor files. It is given a performer for each candidate and a sink
for what they return, and keeps these promises:

* every planned trial is performed, or the outcome says why not;
* nothing hangs: a trial that outlives every one of its time-outs becomes a failed trial;
* a stop (Ctrl-C, a limit, a full disk) loses no trial that has ended;
* the sink is called by one thread at a time, away from the event loop that stamps the marks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from harness.clock import Clock, MonotonicClock
from harness.domain.boot import Tell
from harness.domain.driver import Performer, PlayableUtterance, ReplyAudio
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.runner.ensemble import Ensemble
from harness.runner.ledger import State, trial_deadline_s
from harness.runner.outcome import End, Outcome, Progress, Sink

__all__ = ["run_suite"]


NANOSECONDS = 1_000_000_000
MAX_RERUNS = 2


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
    state = State(suite=suite, total=len(plan), done=len({key.order for key in done}), spent=spent)
    ensemble = Ensemble(
        state=state,
        performers=performers,
        redact=redact,
        tell=tell or (lambda _: None),
        stop=stop or asyncio.Event(),
        clock=clock or MonotonicClock(),
    )
    run = _Runner(
        state=state,
        ensemble=ensemble,
        utterances=utterances,
        sink=sink,
        disturbed=disturbed,
        progress=progress,
        max_reruns=max_reruns,
        clock=ensemble.clock,
        sleep=sleep,
    )
    run.check(plan)
    run.state.expect_costs(plan, utterances)
    finished = {key.order for key in done}
    todo = [key for key in plan if key.order not in finished]
    try:
        facts = await ensemble.start({key.candidate for key in todo}, keep_going=keep_going)
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
        await ensemble.close()
        run.pool.shutdown(wait=True)
    return run.outcome()


def _next_attempt(key: TrialKey, done: Collection[TrialKey]) -> int:
    attempts = [each.attempt for each in done if each.order == key.order]
    return max(attempts, default=-1) + 1


@dataclass(slots=True, kw_only=True)
class _Runner:
    state: State
    ensemble: Ensemble
    utterances: Mapping[str, PlayableUtterance]
    sink: Sink
    disturbed: Callable[[Trial | FailedTrial], object] | None
    progress: Callable[[Progress], None] | None
    max_reruns: int | None
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    driver: str = ""
    next_start_ns: int | None = None
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="turnbench-store")
    )

    def check(self, plan: Sequence[TrialKey]) -> None:
        """Refuse a plan of unknown candidates or utterances."""
        self.driver = self.state.suite.driver.value
        problems = [
            f"plan: there is no candidate {name!r}"
            for name in sorted({key.candidate for key in plan} - set(self.ensemble.performers))
        ]
        problems += [
            f"plan: there is no utterance {name!r}"
            for name in sorted({key.recording for key in plan} - set(self.utterances))
        ]
        if problems:
            raise ConfigurationError(problems)

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
            if self.ensemble.stopping():
                return
            assert enough is not None
            reason = await asyncio.to_thread(enough, repeats)
            if reason:
                self.state.end, self.state.reason = End.FINISHED, reason
                return
            before = repeats
        await self.perform([key for key in keys if key.repeat >= before])

    async def _work(self, queue: deque[TrialKey]) -> None:
        while queue and not self.ensemble.stopping():
            key = queue.popleft()
            attempt = key.attempt
            while not self.ensemble.stopping() and key.candidate not in self.state.ended:
                if not self.state.affords(key.candidate):
                    return
                await self._keep_rate()
                if self.ensemble.stopping():
                    return
                trial = await self._trial(key)
                if trial is None or not self._again(trial, key.attempt - attempt):
                    break
                key = replace(key, attempt=key.attempt + 1)
                self.state.reruns += 1

    async def _keep_rate(self) -> None:
        rate = self.state.suite.limits.trials_per_minute
        if rate is None:
            return
        now = self.clock.now_ns()
        due = now if self.next_start_ns is None else max(now, self.next_start_ns)
        self.next_start_ns = due + round(60 * NANOSECONDS / rate)
        while not self.ensemble.stopping() and (left := due - self.clock.now_ns()) > 0:
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
            trial = await self.ensemble.woken(key, trial)
            try:
                await asyncio.get_running_loop().run_in_executor(self.pool, self.sink, trial, audio)
            except ConfigurationError as error:
                state.end, state.reason = End.FAILED, str(error)
                return None
            state.count(key, trial, self.utterances[key.recording])
        finally:
            state.running.pop(key, None)
        self._tell(trial)
        return trial

    async def _perform(self, key: TrialKey) -> tuple[Trial | FailedTrial, ReplyAudio | None] | None:
        suite = self.state.suite
        candidate = next(each for each in suite.candidates if each.name == key.candidate)
        utterance = self.utterances[key.recording]
        performer = self.ensemble.performers[key.candidate]
        begun = self.clock.now_ns()
        deadline_s = trial_deadline_s(suite, utterance)
        task = asyncio.ensure_future(performer.perform(key, candidate, utterance))
        ended = await self.ensemble.or_stop(task, deadline_s)
        if ended:
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, Exception):
                raise error
            kind, message = FailureKind.INTERNAL, self.ensemble.message(error)
        elif self.ensemble.stop.is_set():
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
