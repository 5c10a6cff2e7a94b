"""What is paired with what: the same utterance under the same condition, and nothing else."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.compare.changes import Comparison, MetricChange
from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_within
from harness.analysis.gate.verdict import judge
from harness.analysis.statistics import exchange
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.statistics.paired import Change, RateChange, compare_rates
from harness.domain.condition import Condition
from harness.domain.suite import Budget, BudgetKind
from harness.domain.trial import FailedTrial, Trial
from tests.synthetic import Script, draw_scripts, make_suite, make_trial, make_utterances

UTTERANCES = {each.id: each for each in make_utterances(12)}
NOISY = 400_000_000


def heard(
    candidate: str,
    condition: str,
    *,
    order: int,
    utterance: str,
    script: Script,
    repeat: int = 0,
    text: str = "turn on the kitchen lights",
) -> Trial:
    """Return a trial under a condition; noise makes the recogniser 400 ms slower."""
    slow = replace(script, stt=script.stt + NOISY) if condition == "noise" else script
    plain = make_trial(slow, candidate=candidate, utterance=utterance, order=order, text=text)
    return replace(plain, key=replace(plain.key, condition=condition, repeat=repeat))


def run_of(trials: Sequence[Trial | FailedTrial], *budgets: Budget) -> MeasuredRun:
    """Return a run of two conditions."""
    suite = replace(
        make_suite(),
        conditions=(Condition(name="clean"), Condition(name="noise")),
        budgets=budgets,
    )
    return MeasuredRun(name="run", suite=suite, utterances=UTTERANCES, trials=trials)


def unequal(*, extra: int = 4) -> list[Trial | FailedTrial]:
    """Return a run in which candidate b was heard more often in noise; the two are alike."""
    rng = random.Random(3)
    trials: list[Trial | FailedTrial] = []
    for number in range(12):
        for condition in ("clean", "noise"):
            for candidate in ("a", "b"):
                more = extra if (candidate, condition) == ("b", "noise") else 0
                for repeat, script in enumerate(draw_scripts(2 + more, rng, sigma=0.05)):
                    trials.append(
                        heard(
                            candidate,
                            condition,
                            order=len(trials),
                            utterance=f"u{number + 1}",
                            script=script,
                            repeat=repeat,
                        )
                    )
    return trials


def typical(found: Comparison, metric: str = "response") -> MetricChange:
    """Return the typical change of a metric."""
    return next(
        each for each in found.pairs[0].metrics if each.metric == metric and each.share == 0.5
    )


class TestConditions:
    """A condition is paired with itself."""

    def test_more_noise_on_one_side_is_no_change(self) -> None:
        """A candidate that was heard in noise more often does not become slower by it."""
        found = typical(compare_within(run_of(unequal())))
        assert isinstance(found.change, Change)
        assert isinstance(found.change.difference, Estimate)
        assert abs(found.change.difference.point) < 20
        assert found.finding == "no detectable difference"

    def test_recordings_are_counted(self) -> None:
        """Twelve utterances under two conditions are twenty-four pairs, each with its point."""
        found = typical(compare_within(run_of(unequal(extra=0))))
        assert isinstance(found.change, Change)
        assert found.change.utterances == 24
        assert len(found.points) == 24
        assert [name for name, _ in found.points[:2]] == ["u1/clean", "u1/noise"]

    def test_one_condition_on_one_side(self) -> None:
        """What only one side was heard under has no partner and is left out."""
        trials = [
            each
            for each in unequal(extra=0)
            if (each.key.candidate, each.key.condition) != ("b", "noise")
        ]
        found = typical(compare_within(run_of(trials)))
        assert isinstance(found.change, Change)
        assert found.change.utterances == 12
        assert found.change.unpaired == 24

    def test_the_gate_pairs_alike(self) -> None:
        """A budget against a candidate of the run is not broken by how often noise was played."""
        budget = Budget(
            metric="response",
            statistic="p50",
            limit=1.1,
            kind=BudgetKind.RELATIVE,
            candidate="b",
            reference="a",
            mde=1.5,
        )
        found = judge(run_of(unequal(), budget))
        assert found.verdict.value == "PASS", found.reason


class TestRates:
    """Word errors are paired by recording and swapped by utterance."""

    def test_conditions_of_one_utterance_are_one_swap(self) -> None:
        """Six utterances that err under four conditions each are six swaps, not twenty-four."""
        recordings = list(range(24))
        errors, words = [1.0] * 24, [5.0] * 24
        none = [0.0] * 24
        alone = compare_rates((errors, words, recordings), (none, words, recordings))
        blocks = {each: 100 + each // 4 for each in recordings}
        whole = compare_rates((errors, words, recordings), (none, words, recordings), wholes=blocks)
        assert isinstance(alone, RateChange)
        assert isinstance(whole, RateChange)
        assert whole.difference.point == pytest.approx(alone.difference.point)
        assert (alone.utterances, whole.utterances) == (24, 6)
        assert whole.p_value == pytest.approx(2 * 0.5**6)
        assert alone.p_value < 1e-4

    def test_errors_of_a_run(self) -> None:
        """A candidate that mishears four utterances under both conditions is four swaps."""
        misheard = {"u1", "u2", "u3", "u4"}
        trials = [
            heard(
                "b",
                each.key.condition,
                order=each.key.order,
                utterance=each.key.utterance,
                script=Script(),
                repeat=each.key.repeat,
                text="burn the chicken tights",
            )
            if each.key.candidate == "b" and each.key.utterance in misheard
            else each
            for each in unequal(extra=0)
        ]
        rates = {each.rate: each for each in compare_within(run_of(trials)).pairs[0].rates}
        change = rates["wer"].change
        assert isinstance(change, RateChange)
        assert change.utterances == 12
        assert change.p_value == pytest.approx(2 * 0.5**4)


def test_signs_drawn_in_blocks_are_the_signs_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much memory a draw may take decides nothing: the packed signs are the plain ones."""
    monkeypatch.setattr(exchange, "_BLOCK", 1_000)
    plain = exchange.swap_signs(33, 499) > 0
    packed = exchange._packed_signs.__wrapped__(33, 499)
    assert (np.unpackbits(packed.T, axis=1, count=33, bitorder="little") == plain).all()
