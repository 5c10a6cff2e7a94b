"""``tts_wer`` beside the other metrics: summary, comparison, gate, baseline, front."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.compare.changes import Comparison, RateFinding
from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_runs, compare_within
from harness.analysis.compare.standings import contenders
from harness.analysis.gate.baseline import build_baseline
from harness.analysis.gate.verdict import judge
from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.statistics.paired import RateChange
from harness.analysis.summary.intelligibility import HeardReply
from harness.analysis.summary.summary import summarise
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure
from harness.domain.reply import HeardAgain
from harness.domain.suite import Budget, BudgetKind
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.store.runs.baselines import read_baseline, write_baseline
from harness.store.runs.heard_replies import append_heard, with_heard
from tests.synthetic import make_failed, make_run, make_suite, make_trial, make_utterances

UTTERANCES = {each.id: each for each in make_utterances(30)}
SPOKEN = "your table is booked now"
WHISPER = "openai · whisper-1 · live"


def again(
    trial: Trial | FailedTrial,
    words: str | None,
    *,
    recogniser: str = WHISPER,
    reason: str | None = None,
) -> Trial | FailedTrial:
    """Return a trial whose reply of five words was heard again."""
    if isinstance(trial, FailedTrial):
        return trial
    turn = trial.turns[0]
    assert turn.reply is not None
    heard = HeardAgain(spoken=SPOKEN, heard=words, recogniser=recogniser, reason=reason)
    return replace(trial, turns=(replace(turn, reply=replace(turn.reply, again=heard)),))


def heard_run(
    *wrong: str,
    text: str = "your cable is cooked now",
    right: str | None = SPOKEN,
    recogniser: str = WHISPER,
    seed: int = 1,
) -> list[Trial | FailedTrial]:
    """Return a run in which a recogniser mishears the replies of some candidates."""
    return [
        again(each, text if each.key.candidate in wrong else right, recogniser=recogniser)
        for each in make_run(utterances=12, repeats=3, seed=seed)
    ]


def measured(
    trials: Sequence[Trial | FailedTrial], *budgets: Budget, name: str = "run"
) -> MeasuredRun:
    """Return a run."""
    return MeasuredRun(
        name=name,
        suite=replace(make_suite(), budgets=budgets),
        utterances=UTTERANCES,
        trials=trials,
        datasets={"starter": "a" * 64},
        machine={"cpu": "x"},
    )


def words_of(found: Comparison) -> RateFinding:
    """Return what a comparison says of the replies' words."""
    return next(each for each in found.pairs[0].rates if each.rate == "tts_wer")


class TestValue:
    """One reply's figure."""

    def test_errors_over_words(self) -> None:
        """Two of five words misheard are 0.4; none heard is every word unheard."""
        for words, value in ((SPOKEN, 0.0), ("your cable is cooked now", 0.4), (None, 1.0)):
            found = measure("tts_wer", again(make_trial(), words), UTTERANCES["u1"])
            assert found == Measurement(value=value)

    def test_missing(self) -> None:
        """Without a recogniser, or where it failed, there is no figure, and it says why."""
        plain = measure("tts_wer", make_trial(), UTTERANCES["u1"])
        assert plain == Missing(reason="no recogniser has heard the reply")
        broken = again(make_trial(), None, reason="stt timeout")
        found = measure("tts_wer", broken, UTTERANCES["u1"])
        assert found == Missing(reason="the recogniser failed: stt timeout")

    def test_read_with_the_run(self, tmp_path: Path) -> None:
        """What was stored beside a run comes back with its trials, by the trial's id."""
        trials = (make_trial(order=1), make_trial(order=2, utterance="u2"), make_failed(order=3))
        assert with_heard(tmp_path, trials) == trials
        used = {"provider": "openai", "model": "whisper-1", "profile": None, "via": "live"}
        append_heard(
            tmp_path,
            HeardReply(
                trial="t00002", candidate="a", utterance="u2", spoken=SPOKEN, heard="your table"
            ),
            used,
        )
        first, second, third = with_heard(tmp_path, trials)
        assert (first, third) == (trials[0], trials[2])
        reply = second.turns[0].reply
        assert reply is not None
        assert reply.again == HeardAgain(spoken=SPOKEN, heard="your table", recogniser=WHISPER)


class TestSummary:
    """A candidate's figure."""

    def test_pooled(self) -> None:
        """Summary and front have the pooled figure where a recogniser heard the replies."""
        summary = summarise(heard_run("b"), UTTERANCES, make_suite())
        found = summary.candidates["b"].spoken
        assert found is not None
        assert isinstance(found.rate, Estimate)
        assert found.rate.point == pytest.approx(0.4)
        assert summary.candidates["b"].metrics["tts_wer"].main.n == 36
        front = {each.name: each.objectives["tts_wer"] for each in contenders(summary)}
        assert isinstance(front["a"], Estimate)
        assert front["a"].point == 0.0

    def test_absent(self) -> None:
        """Without a recogniser it is nowhere, a failure of the TTS included."""
        summary = summarise(make_run(failed={"a": 3}), UTTERANCES, make_suite())
        assert summary.candidates["a"].spoken is None
        assert "tts_wer" not in summary.candidates["a"].metrics
        assert all("tts_wer" not in each.objectives for each in contenders(summary))
        rates = compare_within(measured(make_run())).pairs[0].rates
        assert [each.rate for each in rates] == ["wer", "failures", "cut_ins"]


class TestComparison:
    """Voices against each other."""

    def test_found(self) -> None:
        """The voice that is misheard more often is found, in points of the rate."""
        found = words_of(compare_within(measured(heard_run("b"))))
        assert isinstance(found.change, RateChange)
        assert found.change.difference.point == pytest.approx(0.4)
        assert found.finding == "slower"

    def test_unfit_recogniser(self) -> None:
        """One that understands neither side cannot tell them apart, however they differ."""
        trials = heard_run("b", text="nothing at all like it", right="hm hm")
        found = words_of(compare_within(measured(trials)))
        assert isinstance(found.change, Unsupported)
        assert "not fit" in found.change.reason
        assert found.p is None

    def test_two_recognisers(self) -> None:
        """Runs heard by different recognisers are not compared in it, and both are named."""
        mine = measured(heard_run(), name="new")
        theirs = measured(heard_run(recogniser="openadapter · live", seed=2), name="old")
        pair = compare_runs(mine, theirs).pairs[0]
        assert "tts_wer" not in {each.rate for each in pair.rates}
        assert f"tts_wer: replies heard by {WHISPER} in new" in pair.refused[-1]

    def test_a_run_that_is_older_than_the_metric(self) -> None:
        """A run measured before the metric was defined is compared in all it has."""
        mine = measured(heard_run())
        digests = {key: mine.definitions[key] for key in METRICS if key != "tts_wer"}
        pair = compare_runs(mine, replace(mine, name="old", definitions=digests)).pairs[0]
        assert pair.refused == ()


def limit(kind: BudgetKind, value: float, **rest: object) -> Budget:
    """Return a budget on the replies' words."""
    plain = Budget(metric="tts_wer", statistic="rate", limit=value, kind=kind, mde=3.0)
    return replace(plain, **rest)  # type: ignore[arg-type]


class TestGate:
    """Budgets."""

    def test_absolute(self) -> None:
        """A voice beyond its limit fails; one within passes."""
        budget = limit(BudgetKind.ABSOLUTE, 0.1, candidate="b")
        assert judge(measured(heard_run("b"), budget)).verdict.value == "FAIL"
        kept = limit(BudgetKind.ABSOLUTE, 0.3, candidate="a")
        assert judge(measured(heard_run("b"), kept)).verdict.value == "PASS"

    def test_against_a_candidate(self) -> None:
        """Against a reference of the run it is the difference that counts."""
        budget = limit(BudgetKind.RELATIVE, 1.1, candidate="b", reference="a")
        found = judge(measured(heard_run("b", right="your cable is booked now"), budget))
        assert found.verdict.value == "FAIL"

    def test_never_heard(self) -> None:
        """A budget on replies that nobody heard is misuse, and says what to do."""
        budget = limit(BudgetKind.ABSOLUTE, 0.1)
        with pytest.raises(ConfigurationError, match=r"under \[intelligibility\]"):
            judge(measured(make_run(), budget))

    def test_percentiles_do_not_gate(self) -> None:
        """It is limited as a pooled rate alone."""
        budget = limit(BudgetKind.ABSOLUTE, 0.1, statistic="p95")
        with pytest.raises(ConfigurationError, match='tts_wer is limited by statistic = "rate"'):
            judge(measured(heard_run(), budget))

    def test_baseline_of_another_recogniser(self, tmp_path: Path) -> None:
        """A stored figure of another recogniser is misuse; the file keeps who heard it."""
        runs = [measured(heard_run(seed=seed), name=f"r{seed}") for seed in range(5)]
        path = tmp_path / "voices.json"
        write_baseline(path, build_baseline("voices", runs))
        stored = read_baseline(path).baseline
        assert stored.recogniser == WHISPER
        assert stored.get("a", "tts_wer", "rate") == (0.0,) * 5
        budget = limit(BudgetKind.RELATIVE, 1.5, candidate="a")
        other = measured(heard_run(recogniser="openadapter · live", seed=9), budget)
        with pytest.raises(ConfigurationError, match="replies heard by openadapter"):
            judge(other, baseline=stored)
        same = measured(heard_run(seed=9), budget)
        assert judge(same, baseline=stored).verdict.value in {"PASS", "INCONCLUSIVE"}
