"""What is said over a reply: metrics whose failures rank last, rates, comparison and gate."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_within
from harness.analysis.gate.baseline import build_baseline
from harness.analysis.gate.verdict import judge
from harness.analysis.statistics.estimate import Estimate, TimedOut
from harness.analysis.statistics.gate_rule import Verdict
from harness.analysis.summary.interruptions import event_rate
from harness.analysis.summary.samples import make_rows, sample_of
from harness.analysis.summary.summary import statistics_of, summarise
from harness.analysis.turn.definitions import EVENTS, OVER_THE_REPLY
from harness.analysis.turn.disturbance import select
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure
from harness.domain.barge_in import BargeIn, Expects
from harness.domain.reply import Overlap
from harness.domain.request import Cause, Failure, FailureKind, Request
from harness.domain.suite import Budget, BudgetKind, SessionOptions
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from tests.synthetic import MS, make_failed, make_suite, make_trial, make_utterance, make_utterances

UTTERANCES = {each.id: each for each in make_utterances(40)}


def spoken_over(
    stop_ms: int | None,
    *,
    expects: Expects = Expects.INTERRUPTS,
    candidate: str = "a",
    utterance: str = "u1",
    order: int = 0,
    fell_back: str = "",
    begun: bool = True,
) -> Trial:
    """Return a trial over whose reply something is said, and whose reply stops after so long."""
    trial = make_trial(candidate=candidate, utterance=utterance, order=order)
    turn = trial.turns[0]
    start = turn.marks[Mark.FIRST_AUDIBLE] + 1_200 * MS
    marks = dict(turn.marks)
    if begun:
        marks |= {Mark.OVERLAP_START: start, Mark.OVERLAP_END: start + 900 * MS}
    if stop_ms is not None:
        stop = start + stop_ms * MS
        marks |= {Mark.INTERRUPTION_DETECTED: stop - 2 * MS, Mark.REPLY_STOPPED: stop}
    windows = tuple(
        Request(
            id=f"overlap{number}",
            stage=Stage.INTERRUPTION,
            cause=Cause.OVERLAP,
            marks={
                Mark.WINDOW_SENT: start + number * 100 * MS,
                Mark.VERDICT_RECEIVED: start + (number * 100 + 40 + number) * MS,
            },
        )
        for number in range(3)
    )
    overlap = Overlap(recording="wait", expects=expects, detector="adaptive", fell_back=fell_back)
    key = replace(trial.key, barge_in=expects.value, expects=expects)
    changed = replace(turn, marks=marks, requests=(*turn.requests, *windows), overlap=overlap)
    return replace(trial, key=key, turns=(changed,))


def failed_over(expects: Expects, utterance: str = "u1", order: int = 0) -> FailedTrial:
    """Return a trial that failed before anything was said over its reply."""
    trial = make_failed(utterance=utterance, order=order)
    return replace(trial, key=replace(trial.key, barge_in=expects.value, expects=expects))


def value(metric_id: str, trial: Trial | FailedTrial) -> Measurement | Missing:
    """Return a metric of a trial of u1."""
    return measure(metric_id, trial, make_utterance("u1"))


def run_of(trials: Sequence[Trial | FailedTrial], *budgets: Budget) -> MeasuredRun:
    """Return a run of candidates a and b."""
    suite = replace(
        make_suite(),
        session=SessionOptions(vad=True, interruptions=True),
        barge_ins=(BargeIn(name="interrupts", path="x", expect=Expects.INTERRUPTS),),
        budgets=budgets,
    )
    return MeasuredRun(name="run", suite=suite, utterances=UTTERANCES, trials=trials)


def test_spans_lie_between_their_marks() -> None:
    """Interruption, detection and the median verdict are what the marks say."""
    trial = spoken_over(540)
    assert value("interruption", trial) == Measurement(value=540.0)
    assert value("interruption_detection", trial) == Measurement(value=538.0)
    assert value("interruption_verdict", trial) == Measurement(value=41.0)


@pytest.mark.parametrize(
    ("expects", "stop_ms", "missed", "false"),
    [
        (Expects.INTERRUPTS, 500, 0.0, None),
        (Expects.INTERRUPTS, None, 1.0, None),
        (Expects.BACKCHANNEL, 500, None, 1.0),
        (Expects.BACKCHANNEL, None, None, 0.0),
    ],
)
def test_each_speech_asks_its_own_question(
    expects: Expects, stop_ms: int | None, missed: float | None, false: float | None
) -> None:
    """Whoever wants the floor can be missed, whoever listens can be cut for; never the other."""
    trial = spoken_over(stop_ms, expects=expects)
    for metric_id, wanted in (("missed_interruptions", missed), ("false_interruptions", false)):
        found = value(metric_id, trial)
        if wanted is None:
            assert isinstance(found, Missing)
            assert found.failure is None
        else:
            assert found == Measurement(value=wanted)


def test_an_undetected_interruption_ranks_slower_than_every_stop() -> None:
    """It is a failure of the metric, so the percentile among such trials is no number."""
    trials = [spoken_over(500, utterance=f"u{n}", order=n) for n in range(1, 5)]
    trials += [spoken_over(None, utterance=f"u{n}", order=n) for n in range(5, 13)]
    rows = make_rows(trials, UTTERANCES)
    sample = sample_of("interruption", rows)
    assert (sample.n, sample.failures) == (12, 8)
    assert isinstance(statistics_of("interruption", rows).p50, TimedOut)


@pytest.mark.parametrize("metric_id", sorted(OVER_THE_REPLY))
def test_a_turn_without_speech_over_its_reply_has_none(metric_id: str) -> None:
    """Neither an ordinary trial nor an ordinary failure counts for or against these metrics."""
    rows = make_rows([make_trial(), make_failed(order=1)], UTTERANCES)
    for row in rows:
        found = row.found[metric_id]
        assert isinstance(found, Missing)
        assert found.failure is None
    whole = summarise([make_trial()], UTTERANCES, make_suite())
    assert whole.candidates["a"].events.keys() == {"cut_ins"}


@pytest.mark.parametrize("metric_id", ["interruption", "missed_interruptions"])
def test_speech_after_the_reply_is_no_sample(metric_id: str) -> None:
    """What was to be said when the reply was over is missing, with the reason, and no failure."""
    found = value(metric_id, spoken_over(None, begun=False))
    assert isinstance(found, Missing)
    assert found.failure is None
    assert "over" in found.reason


def test_a_failed_trial_counts_as_the_worst_of_what_it_asked() -> None:
    """Without a reply the interruption is missed, and the backchannel has stopped it."""
    rows = make_rows(
        [failed_over(Expects.INTERRUPTS), failed_over(Expects.BACKCHANNEL, order=1)], UTTERANCES
    )
    for metric_id in ("missed_interruptions", "false_interruptions"):
        rate = event_rate(metric_id, [*rows, *rows])
        assert rate is not None
        failures = [row.found[metric_id] for row in rows]
        assert sum(isinstance(each, Missing) and each.failure is not None for each in failures) == 1


def test_a_fall_back_is_noted_and_counted() -> None:
    """A stop that voice activity made says so, and the rate of falls back has it."""
    trial = spoken_over(700, fell_back="refused")
    found = value("interruption", trial)
    assert found == Measurement(value=700.0, note="fell back to voice activity")
    rate = event_rate("interruption_fallbacks", make_rows([trial, spoken_over(500)], UTTERANCES))
    assert rate is not None


def test_a_detector_that_was_not_asked_is_noted() -> None:
    """Where no window was sent, as in the reply's first second, voice activity decided."""
    trial = spoken_over(700)
    turn = trial.turns[0]
    kept = tuple(each for each in turn.requests if each.stage is not Stage.INTERRUPTION)
    found = value("interruption", replace(trial, turns=(replace(turn, requests=kept),)))
    assert isinstance(found, Measurement)
    assert found.note == "voice activity decided, the detector was not asked"


def test_a_detector_that_failed_has_no_verdict() -> None:
    """Its failure is the metric's."""
    trial = spoken_over(700, fell_back="refused")
    turn = trial.turns[0]
    why = Failure(stage=Stage.INTERRUPTION, kind=FailureKind.REFUSED, message="no")
    broken = Request(id="x", stage=Stage.INTERRUPTION, cause=Cause.OVERLAP, failure=why)
    changed = replace(trial, turns=(replace(turn, requests=(*turn.requests, broken)),))
    found = value("interruption_verdict", changed)
    assert isinstance(found, Missing)
    assert found.failure == why


def test_barge_ins_of_one_utterance_are_trials_of_their_own() -> None:
    """The same utterance with two barge-ins is two planned trials, not one and its re-run."""
    trials = [spoken_over(500), spoken_over(None, expects=Expects.BACKCHANNEL, order=1)]
    chosen = select(trials)
    assert len(chosen.main) == 2
    assert chosen.reruns == 0


def two_sides(missed: int) -> list[Trial | FailedTrial]:
    """Return 40 interruptions of each candidate, of which b misses some."""
    return [
        spoken_over(
            None if name == "b" and number <= missed else 500 + number,
            candidate=name,
            utterance=f"u{number}",
            order=2 * number + (name == "b"),
        )
        for number in range(1, 41)
        for name in ("a", "b")
    ]


def test_rates_are_compared_by_utterance() -> None:
    """An agent that misses half of what the other hears gets a finding; an equal one gets none."""
    for missed, finding in ((20, {"faster", "slower"}), (0, {"no detectable difference"})):
        compared = compare_within(run_of(two_sides(missed)))
        found = next(
            each for each in compared.pairs[0].rates if each.rate == "missed_interruptions"
        )
        assert found.finding in finding
        assert any(each.metric == "interruption" for each in compared.pairs[0].metrics)


@pytest.mark.parametrize(("missed", "verdict"), [(0, Verdict.PASS), (20, Verdict.FAIL)])
def test_a_gate_limits_missed_interruptions(missed: int, verdict: Verdict) -> None:
    """An absolute limit of their rate passes an agent that misses none, and fails one that does."""
    budget = Budget(
        metric="missed_interruptions",
        statistic="rate",
        limit=0.2,
        kind=BudgetKind.ABSOLUTE,
        candidate="b",
        mde=3.0,
    )
    judged = judge(run_of(two_sides(missed), budget))
    assert judged.verdict is verdict
    measured = judged.budgets[0].measured
    assert isinstance(measured, Estimate)
    assert measured.point == missed / 40


def test_a_gate_asks_for_speech_over_the_reply() -> None:
    """A budget of what the run cannot have is a mistake with its mend, never a pass."""
    budget = Budget(metric="interruption", statistic="p50", limit=800, kind=BudgetKind.ABSOLUTE)
    trials = [make_trial(candidate=name, order=n) for n, name in enumerate(("a", "b"))]
    with pytest.raises(ConfigurationError, match=r"\[\[barge_in\]\]"):
        judge(run_of(trials, budget))


@pytest.mark.parametrize("metric_id", EVENTS)
def test_a_rate_has_no_percentile_to_gate(metric_id: str) -> None:
    """A share of trials is limited as a rate."""
    budget = Budget(metric=metric_id, statistic="p95", limit=0.1, kind=BudgetKind.ABSOLUTE)
    with pytest.raises(ConfigurationError, match="rate"):
        judge(run_of(two_sides(0), budget))


def test_a_baseline_keeps_the_rates() -> None:
    """What a later gate is held against has missed interruptions by their rate."""
    kept = build_baseline("kept", [run_of(two_sides(20))])
    assert kept.get("b", "missed_interruptions", "rate") == (0.5,)
    assert kept.get("a", "missed_interruptions", "rate") == (0.0,)
