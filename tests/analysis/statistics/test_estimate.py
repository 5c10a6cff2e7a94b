"""Means, rates and what counts as a trial's worth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics.estimate import (
    Estimate,
    Sample,
    TimedOut,
    Unsupported,
    design_effect,
    estimate_mean,
    estimate_rate,
)


def estimate(**changes: object) -> Estimate:
    """Make a legal estimate, changed."""
    fields: dict[str, object] = {
        "point": 1.0,
        "low": 0.5,
        "high": 2.0,
        "confidence": 0.95,
        "n": 10,
        "effective_n": 10.0,
        "failures": 0,
        "method": "test",
    }
    return Estimate(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"point": 3.0},
        {"low": 1.5},
        {"point": math.inf, "high": math.inf},
        {"confidence": 1.0},
        {"failures": 11},
    ],
)
def test_an_illegal_estimate_does_not_exist(changes: dict[str, object]) -> None:
    """A point outside its interval, an infinite point, a full confidence are refused."""
    with pytest.raises(ValueError, match=r"."):
        estimate(**changes)


def test_an_upper_end_may_lie_among_the_failures() -> None:
    """The interval of a percentile close to the failures has no number for its upper end."""
    assert estimate(high=TimedOut(n=10, failures=1)).point == 1.0


def test_a_sample_refuses_an_answer_without_a_value() -> None:
    """NaN is no latency: the trial is a failure or it has a number."""
    with pytest.raises(ValueError, match="finite"):
        Sample.of([1.0, math.nan])
    sample = Sample.of([1.0, math.nan], failed=[False, True])
    assert sample.failures == 1
    assert sample.ranked[1] == math.inf


def test_a_sample_refuses_unequal_lengths() -> None:
    """One flag and one utterance per trial."""
    with pytest.raises(ValueError, match="equally long"):
        Sample.of([1.0, 2.0], failed=[False])


def test_a_sample_cannot_be_changed() -> None:
    """The arrays of a sample are read-only and do not share the caller's memory."""
    source = np.array([1.0, 2.0])
    sample = Sample.of(source)
    source[0] = 9.0
    assert sample.values[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        sample.ranked[0] = 0.0


def test_equal_repeats_are_worth_one_trial() -> None:
    """When repeats of an utterance agree exactly, n trials are worth as many as utterances."""
    clusters = np.repeat(np.arange(20), 5)
    values = np.repeat(np.linspace(0.0, 1.0, 20), 5)
    assert design_effect(values, clusters) == pytest.approx(5.0, rel=0.06)


def test_unrelated_repeats_are_worth_themselves() -> None:
    """When repeats have nothing in common, the design effect is near 1."""
    random = np.random.default_rng(1)
    effects = [
        design_effect(random.normal(size=400), np.repeat(np.arange(100), 4)) for _ in range(100)
    ]
    assert np.mean(effects) == pytest.approx(1.05, abs=0.08)
    assert min(effects) >= 1.0


def test_the_mean_of_independent_trials_has_the_textbook_interval() -> None:
    """Without repeats it is Student's t interval of the mean."""
    values = np.random.default_rng(2).lognormal(size=40)
    result = estimate_mean(Sample.of(values))
    assert isinstance(result, Estimate)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert [result.low, result.high] == pytest.approx([low, high])
    assert result.gateable


def test_a_mean_with_failures_says_so_and_cannot_gate() -> None:
    """The mean of the survivors is named as that, and no budget may rest on it."""
    result = estimate_mean(Sample.of([1.0, 2.0, 3.0, 0.0], failed=[False, False, False, True]))
    assert isinstance(result, Estimate)
    assert result.point == 2.0
    assert not result.gateable
    assert "of the answered" in result.method
    assert result.failures == 1


def test_a_mean_of_one_utterance_has_no_interval() -> None:
    """Five repeats of one utterance do not tell how utterances differ."""
    result = estimate_mean(Sample.of([1.0, 2.0, 3.0, 4.0, 5.0], clusters=[7] * 5))
    assert isinstance(result, Unsupported)
    assert result.observed == 3.0


def test_repeats_widen_the_interval_of_a_mean() -> None:
    """Five equal repeats of 12 utterances tell what the 12 alone tell."""
    values = np.random.default_rng(3).normal(size=12)
    alone = estimate_mean(Sample.of(values))
    repeated = estimate_mean(Sample.of(np.repeat(values, 5), clusters=np.repeat(np.arange(12), 5)))
    assert isinstance(alone, Estimate)
    assert isinstance(repeated, Estimate)
    assert repeated.low == pytest.approx(alone.low)
    assert repeated.effective_n == pytest.approx(12, rel=0.1)


@given(n=st.integers(1, 400), hits=st.integers(0, 400))
def test_a_rate_of_independent_trials_has_the_exact_interval(n: int, hits: int) -> None:
    """Clopper-Pearson, as scipy computes it."""
    hits = min(hits, n)
    result = estimate_rate([True] * hits + [False] * (n - hits))
    assert isinstance(result, Estimate)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert result.low == pytest.approx(expected.low, abs=1e-9)
    assert result.high == pytest.approx(expected.high, abs=1e-9)


def test_no_failure_in_repeats_bounds_the_rate_by_utterances() -> None:
    """Zero of 24 x 5 is known no better than zero of 24: failures may come by utterance."""
    result = estimate_rate([False] * 120, clusters=np.repeat(np.arange(24), 5))
    assert isinstance(result, Estimate)
    assert result.high == pytest.approx(1 - 0.025 ** (1 / 24))


def test_a_rate_of_nothing_is_unsupported() -> None:
    """No trial, no rate."""
    assert isinstance(estimate_rate([]), Unsupported)


def test_the_clustered_rate_covers_the_truth() -> None:
    """With utterances that fail together, 95 % intervals cover the true rate in at least 93 %."""
    random = np.random.default_rng(4)
    clusters = np.repeat(np.arange(24), 5)
    hits = 0
    for _ in range(300):
        utterance = random.beta(2, 8, size=24)
        result = estimate_rate(random.random(120) < utterance[clusters], clusters=clusters)
        assert isinstance(result, Estimate)
        assert not isinstance(result.high, TimedOut)
        hits += result.low <= 0.2 <= result.high
    assert hits / 300 >= 0.93
