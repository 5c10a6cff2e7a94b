"""The runner: order, limits, re-runs, and an end that comes whatever happens."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.domain.driver import ReplyAudio
from harness.domain.plan import make_plan
from harness.domain.request import FailureKind
from harness.domain.suite import Driver, Limits, Price, Suite, Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError, InvariantError, ProviderError
from harness.runner.ledger import trial_deadline_s
from harness.runner.outcome import End, Outcome, Progress
from harness.runner.running import run_suite
from tests.runner.scripted_performer import (
    ScriptedPerformer,
    failed_of,
    playable,
    suite_of,
    trial_of,
)

QUICK = Timeouts(connect_s=0.01, transcript_s=0.01, reply_s=0.01, playout_s=0.01)


class Stored:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.trials: list[Trial | FailedTrial] = []

    def __call__(self, trial: Trial | FailedTrial, _: ReplyAudio | None) -> None:
        self.trials.append(trial)

    def keys(self, candidate: str) -> list[TrialKey]:
        return [trial.key for trial in self.trials if trial.key.candidate == candidate]


async def run(
    suite: Suite,
    performers: dict[str, ScriptedPerformer],
    *,
    ids: tuple[str, ...] = ("u", "v"),
    stored: Stored | None = None,
    **options: Any,
) -> tuple[Outcome, Stored]:
    """Run a suite's plan over some utterances."""
    sink = stored or Stored()
    options.setdefault("sink", sink)
    outcome = await run_suite(
        suite,
        make_plan(suite, ids, 1),
        performers=performers,
        utterances=playable(*ids),
        **options,
    )
    return outcome, sink


async def test_every_trial_in_order() -> None:
    """Every planned trial is performed once and stored, in the plan's order."""
    suite = suite_of("a", "b", repeats=2)
    performers = {"a": ScriptedPerformer(), "b": ScriptedPerformer()}
    outcome, stored = await run(suite, performers)
    assert [trial.key for trial in stored.trials] == list(make_plan(suite, ("u", "v"), 1))
    assert outcome.end is End.FINISHED
    assert (outcome.performed, outcome.failed, outcome.remaining) == (10, 0, 0)
    assert all((each.started, each.closed) == (1, 1) for each in performers.values())


async def test_concurrency() -> None:
    """So many trials are under way at once, never more; no measured one beside a warm-up."""
    suite = suite_of("a", repeats=6, warmups=2, concurrency=3)
    beside: list[tuple[bool, int]] = []
    performer = ScriptedPerformer(takes_s=0.01)

    def script(key: TrialKey) -> Trial:
        beside.append((key.warmup, performer.at_once))
        return trial_of(key)

    performer.script = script
    await run(suite, {"a": performer})
    assert performer.most_at_once == 3
    assert beside[0] == (True, 1)
    assert beside[2] == (False, 1)


async def test_failures_are_stored_and_the_run_goes_on() -> None:
    """A failed trial is a stored trial, and no reason to end."""
    suite = suite_of("a", repeats=3, warmups=0)
    performer = ScriptedPerformer(
        script=lambda key: failed_of(key) if key.order % 2 else trial_of(key)
    )
    outcome, stored = await run(suite, {"a": performer})
    assert outcome.end is End.FINISHED
    assert (outcome.performed, outcome.failed) == (6, 3)
    assert sum(isinstance(each, FailedTrial) for each in stored.trials) == 3
    assert outcome.ended == {}


async def test_the_same_failure_ends_a_candidate() -> None:
    """A candidate that only fails alike ends early and says why; the others go on."""
    suite = suite_of("a", "b", repeats=10, limits=Limits(same_failures=3))
    bad = ScriptedPerformer(script=failed_of)
    outcome, stored = await run(suite, {"a": bad, "b": ScriptedPerformer()})
    assert len(stored.keys("a")) == 3
    assert len(stored.keys("b")) == 21
    assert outcome.ended == {"a": "3 trials in a row failed alike: llm timeout: it took too long"}
    assert outcome.end is End.FINISHED
    assert outcome.remaining == 18


async def test_different_failures_do_not_end_a_candidate() -> None:
    """Failures that differ in stage or kind, or a success between them, end nothing."""
    suite = suite_of("a", repeats=8, limits=Limits(same_failures=3))
    kinds = [FailureKind.TIMEOUT, FailureKind.TIMEOUT, FailureKind.RESET]
    performer = ScriptedPerformer(script=lambda key: failed_of(key, kind=kinds[key.order % 3]))
    outcome, _ = await run(suite, {"a": performer})
    assert outcome.ended == {}
    assert outcome.failed == 17


async def test_a_raising_performer() -> None:
    """An exception within a trial is a failed trial of the harness, free of secrets."""
    suite = suite_of("a", warmups=0)
    performer = ScriptedPerformer(script=lambda key: ValueError(f"key\nis sk-1 {key.utterance}"))
    outcome, stored = await run(
        suite, {"a": performer}, redact=lambda text: text.replace("sk-1", "…")
    )
    assert outcome.failed == 2
    for trial in stored.trials:
        assert isinstance(trial, FailedTrial)
        failure = trial.failure
        assert (failure.stage, failure.kind) == (Stage.HARNESS, FailureKind.INTERNAL)
        assert failure.message == f"ValueError: key is … {trial.key.utterance}"


@pytest.mark.realtime
@pytest.mark.parametrize("deaf", [False, True])
async def test_a_trial_that_never_ends(monkeypatch: pytest.MonkeyPatch, *, deaf: bool) -> None:
    """A trial that outlives all its time-outs becomes a failed trial, even if it will not stop."""
    monkeypatch.setattr("harness.runner.ledger.BACKSTOP_S", 0.05)
    monkeypatch.setattr("harness.runner.ensemble.CANCEL_GRACE_S", 0.05)
    suite = suite_of("a", warmups=0, timeouts=QUICK)
    performer = ScriptedPerformer(script=lambda _: None, deaf=deaf)
    outcome, stored = await run(suite, {"a": performer})
    assert outcome.failed == 2
    (first, _) = stored.trials
    assert isinstance(first, FailedTrial)
    assert (first.failure.stage, first.failure.kind) == (Stage.HARNESS, FailureKind.TIMEOUT)
    performer.deaf = False


def test_the_backstop_lies_beyond_all_time_outs() -> None:
    """The backstop never strikes before a driver's own time-outs could have."""
    suite = suite_of("a")
    limits = suite.timeouts
    own = limits.connect_s + limits.transcript_s + limits.reply_s + limits.playout_s
    assert trial_deadline_s(suite, playable("u")["u"]) > own + 0.1
    limits = Timeouts(connect_s=1, transcript_s=2, reply_s=60, playout_s=3)
    suite = suite_of("a", driver=Driver.STAGE, timeouts=limits)
    assert trial_deadline_s(suite, playable("u")["u"]) > limits.transcript_s + 120 + 0.1


@pytest.mark.realtime
@pytest.mark.timing
@pytest.mark.parametrize("deaf", [False, True])
async def test_stop(*, deaf: bool) -> None:
    """A stop ends the run within a second, keeps what has ended, and drops what has not."""
    suite = suite_of("a", repeats=5, concurrency=2)
    performer = ScriptedPerformer(
        script=lambda key: trial_of(key) if key.order < 4 else None, deaf=deaf
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, stop.set)
    begun = time.monotonic()
    outcome, stored = await run(suite, {"a": performer}, stop=stop)
    assert time.monotonic() - begun < 1.1
    assert outcome.end is End.INTERRUPTED
    assert [trial.key.order for trial in stored.trials] == [0, 1, 2, 3]
    assert outcome.remaining == 7
    performer.deaf = False


async def test_stop_before_the_start() -> None:
    """A stop that came before the first trial performs none."""
    stop = asyncio.Event()
    stop.set()
    outcome, stored = await run(suite_of("a"), {"a": ScriptedPerformer()}, stop=stop)
    assert (outcome.end, stored.trials) == (End.INTERRUPTED, [])


async def test_resume() -> None:
    """What an earlier start has stored is not performed again; new connections are warmed up."""
    suite = suite_of("a", "b", repeats=2)
    plan = make_plan(suite, ("u", "v"), 1)
    done = [*plan[:5], replace(plan[4], attempt=1)]
    performers = {"a": ScriptedPerformer(), "b": ScriptedPerformer()}
    progress: list[Progress] = []
    outcome, stored = await run(suite, performers, done=done, progress=progress.append)
    keys = [trial.key for trial in stored.trials]
    assert [key for key in keys if not key.warmup] == list(plan[5:])
    assert [(key.warmup, key.attempt, key.order) for key in keys[:2]] == [
        (True, 1, 0),
        (True, 1, 1),
    ]
    assert outcome.remaining == 0
    assert progress[-1].done == progress[-1].total == 10


async def test_resume_of_a_finished_run() -> None:
    """Nothing is performed, and nobody started, where everything is done."""
    suite = suite_of("a")
    performer = ScriptedPerformer()
    outcome, stored = await run(suite, {"a": performer}, done=make_plan(suite, ("u", "v"), 1))
    assert (outcome.end, stored.trials, performer.started) == (End.FINISHED, [], 0)


async def test_disturbed_trials_are_performed_again() -> None:
    """A disturbed trial is performed again at once, twice at most, and never a warm-up."""
    suite = suite_of("a", repeats=1)
    always, once = "u", "v"

    def disturbed(trial: Trial) -> bool:
        key = trial.key
        return key.utterance == always or (key.utterance == once and key.attempt == 0)

    outcome, stored = await run(suite, {"a": ScriptedPerformer()}, disturbed=disturbed)
    attempts: dict[str, list[int]] = {}
    for trial in stored.trials:
        if not trial.key.warmup:
            attempts.setdefault(trial.key.utterance, []).append(trial.key.attempt)
    assert attempts == {always: [0, 1, 2], once: [0, 1]}
    assert outcome.reruns == 3
    assert outcome.remaining == 0


async def test_reruns_are_limited_for_the_run() -> None:
    """A machine that disturbs everything cannot make a run three times as long."""
    suite = suite_of("a", repeats=10)
    outcome, _ = await run(
        suite, {"a": ScriptedPerformer()}, disturbed=lambda _: True, max_reruns=4
    )
    assert outcome.reruns == 4
    assert outcome.performed == 25


async def test_failed_trials_are_not_performed_again() -> None:
    """A failure is a result; no stall of milliseconds explains it away."""
    suite = suite_of("a", warmups=0)
    outcome, _ = await run(
        suite, {"a": ScriptedPerformer(script=failed_of)}, disturbed=lambda _: True
    )
    assert (outcome.reruns, outcome.performed) == (0, 2)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ProviderError("cannot connect to 127.0.0.1:9", kind="refused"), "cannot connect"),
        (ConfigurationError(["KEY: not set", "OTHER: not set"]), "KEY: not set"),
        (OSError("no route"), "OSError: no route"),
    ],
)
async def test_a_performer_that_cannot_start(error: Exception, told: str) -> None:
    """A candidate that cannot start is told before any trial, and everything is closed."""
    performers = {"a": ScriptedPerformer(), "b": ScriptedPerformer(start_error=error)}
    stored = Stored()
    with pytest.raises(ConfigurationError) as caught:
        await run(suite_of("a", "b"), performers, stored=stored)
    assert caught.value.problems[0].startswith(f"candidate 'b': {told}")
    assert stored.trials == []
    assert all(each.closed == 1 for each in performers.values())


async def test_going_on_without_a_candidate() -> None:
    """Asked to, the run leaves out a candidate that cannot start and says so."""
    broken = ScriptedPerformer(start_error=ProviderError("cannot connect", kind="refused"))
    facts: dict[str, Any] = {}
    outcome, stored = await run(
        suite_of("a", "b"),
        {"a": ScriptedPerformer(), "b": broken},
        keep_going=True,
        started=facts.update,
    )
    assert outcome.ended == {"b": "cannot connect"}
    assert len(stored.trials) == len(stored.keys("a")) == 3
    assert facts == {"a": {"llm": {"model": "scripted"}}}
    with pytest.raises(ConfigurationError):
        await run(suite_of("b"), {"b": broken}, keep_going=True)


async def test_a_sink_that_cannot_store() -> None:
    """A full disk ends the run with its line; no further trial starts."""
    kept: list[Trial | FailedTrial] = []

    def sink(trial: Trial | FailedTrial, _: ReplyAudio | None) -> None:
        if len(kept) == 3:
            raise ConfigurationError("no space left")
        kept.append(trial)

    performer = ScriptedPerformer()
    outcome, _ = await run(suite_of("a", repeats=5), {"a": performer}, sink=sink)
    assert (outcome.end, outcome.reason) == (End.FAILED, "no space left")
    assert len(kept) == outcome.performed == 3
    assert len(performer.performed) == 4


async def test_a_defect_in_the_sink_is_not_hidden() -> None:
    """An invariant that breaks in storing ends the run with its own error, everything closed."""

    def sink(trial: Trial | FailedTrial, _: ReplyAudio | None) -> None:
        raise InvariantError("two turns with one index")

    performer = ScriptedPerformer()
    with pytest.raises(InvariantError):
        await run(suite_of("a", concurrency=2), {"a": performer}, sink=sink)
    assert performer.closed == 1


def spending(limit: float) -> dict[str, Any]:
    """Return the part of a suite that limits spending; a trial costs 1."""
    price = Price(per_million_input_tokens=1e4, per_million_output_tokens=0.0)
    return {
        "limits": Limits(spend=limit),
        "prices": {"openadapter/Kimi-K2.5": price},
    }


async def test_spending_limit() -> None:
    """The run stops before the limit is passed: each trial costs 1, and 4.5 may be spent."""
    outcome, stored = await run(
        suite_of("a", repeats=5, **spending(4.5)), {"a": ScriptedPerformer()}
    )
    assert outcome.end is End.STOPPED
    assert "spending limit of 4.5" in outcome.reason
    assert outcome.spent == pytest.approx(4.0)
    assert len(stored.trials) == 4


async def test_spending_limit_with_trials_under_way() -> None:
    """Trials under way count as spent, so concurrency does not pass the limit."""
    outcome, _ = await run(
        suite_of("a", repeats=9, concurrency=6, **spending(4.5)),
        {"a": ScriptedPerformer(takes_s=0.001)},
    )
    assert outcome.spent is not None
    assert outcome.spent <= 4.5


async def test_spending_of_an_earlier_start_counts() -> None:
    """A resumed run goes on with what has been spent."""
    outcome, stored = await run(
        suite_of("a", repeats=5, **spending(4.5)), {"a": ScriptedPerformer()}, spent=4.4
    )
    assert (outcome.end, stored.trials) == (End.STOPPED, [])


class FakeClock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        await asyncio.sleep(0)


async def test_rate_limit() -> None:
    """Trials start at an absolute rhythm: 30 a minute is one every two seconds."""
    clock = FakeClock()
    starts: list[float] = []

    def script(key: TrialKey) -> Trial:
        starts.append(clock.ns / 1e9)
        clock.ns += 700_000_000
        return trial_of(key)

    suite = suite_of("a", repeats=3, warmups=0, limits=Limits(trials_per_minute=30))
    await run(suite, {"a": ScriptedPerformer(script=script)}, clock=clock, sleep=clock.sleep)
    assert starts == pytest.approx([0, 2, 4, 6, 8, 10])


async def test_progress() -> None:
    """Progress is told when a trial starts and when it ends, and adds up."""
    seen: list[Progress] = []
    suite = suite_of("a", warmups=0)
    await run(suite, {"a": ScriptedPerformer(script=failed_of)}, progress=seen.append)
    assert [(each.done, each.failed, len(each.running)) for each in seen] == [
        (0, 0, 1),
        (1, 1, 0),
        (1, 1, 1),
        (2, 2, 0),
    ]
    assert all(each.total == 2 for each in seen)
    assert seen[0].last is None
    assert seen[-1].last is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda performers, _: performers.pop("a"), "no candidate 'a'"),
        (lambda _, utterances: utterances.pop("u"), "no utterance 'u'"),
    ],
)
async def test_a_plan_of_something_else(
    change: Callable[[dict[str, Any], dict[str, Any]], object], told: str
) -> None:
    """A plan that names what is not there is refused before anything starts."""
    suite = suite_of("a")
    performers, utterances = {"a": ScriptedPerformer()}, playable("u", "v")
    change(performers, utterances)
    with pytest.raises(ConfigurationError, match=told):
        await run_suite(
            suite,
            make_plan(suite, ("u", "v"), 1),
            performers=performers,
            utterances=utterances,
            sink=Stored(),
        )
