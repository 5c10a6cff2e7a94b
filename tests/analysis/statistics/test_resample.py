"""Resampling of whole utterances, by a seed that the data decide."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.analysis.statistics.resample import (
    cluster_weights,
    content_seed,
    estimate_ratio_of_sums,
    percentile_interval,
)


def test_the_seed_follows_the_content() -> None:
    """Equal data give equal seeds; another value, type, shape or split gives another."""
    data = np.arange(6.0)
    seeds = {
        content_seed("a", data),
        content_seed("b", data),
        content_seed("a", data + 1),
        content_seed("a", data.astype(np.float32)),
        content_seed("a", data.reshape(2, 3)),
        content_seed("a", data[:3], data[3:]),
        content_seed("ab"),
        content_seed("a", "b"),
    }
    assert len(seeds) == 8
    assert content_seed("a", data) == content_seed("a", data.copy())
    assert content_seed("turnbench") == 5_353_304_854_228_173_303


def test_weights_draw_as_many_clusters_as_there_are() -> None:
    """Each resample has k utterances, each drawn once on average."""
    weights = cluster_weights(24, 4_000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 24).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(24), abs=0.1)
    with pytest.raises(ValueError, match="cluster"):
        cluster_weights(0, 1, np.random.default_rng(0))


def test_few_clusters_widen_the_interval() -> None:
    """The same draws from five clusters tell less than from five hundred."""
    draws = np.random.default_rng(0).normal(size=20_000)
    few = percentile_interval(draws, confidence=0.95, clusters=5)
    many = percentile_interval(draws, confidence=0.95, clusters=500)
    assert few[0] < many[0] < many[1] < few[1]
    assert many[1] == pytest.approx(1.97, abs=0.1)
    with pytest.raises(ValueError, match="two clusters"):
        percentile_interval(draws, confidence=0.95, clusters=1)


def test_the_ratio_interval_covers_the_truth() -> None:
    """With 30 utterances of unlike difficulty, 95 % intervals cover in at least 91 %."""
    random = np.random.default_rng(8)
    hits = 0
    for _ in range(200):
        words = random.integers(3, 15, size=30)
        difficulty = random.beta(2, 18, size=30)
        errors = random.binomial(words, difficulty)
        result = estimate_ratio_of_sums(errors, words)
        assert isinstance(result, Estimate)
        assert not isinstance(result.high, TimedOut)
        hits += result.low <= 0.1 <= result.high
    assert hits / 200 >= 0.91


def test_no_error_at_all_still_has_an_upper_bound() -> None:
    """Zero errors in 160 words do not prove a rate of zero: as if of 80 that err alone."""
    result = estimate_ratio_of_sums(np.zeros(20), np.full(20, 8))
    assert isinstance(result, Estimate)
    assert result.low == result.point == 0.0
    few = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 19)) ** 2
    assert result.effective_n == pytest.approx(80 * few)
    assert result.high == pytest.approx(-np.log(0.025) / result.effective_n)


def test_one_more_error_never_lowers_the_bound() -> None:
    """Errors added one at a time, at random, never lower the upper bound by more than a 20th.

    Of the first that are made it does not fall at all: no error is never worse than one.
    """
    random = np.random.default_rng(10)
    words, clusters = np.full(120, 10.0), np.repeat(np.arange(24), 5)
    for _ in range(20):
        errors, bound = np.zeros(120), 0.0
        for made in range(60):
            result = estimate_ratio_of_sums(errors, words, clusters=clusters)
            assert isinstance(result, Estimate)
            assert isinstance(result.high, float)
            assert result.high >= bound * (1.0 if made < 2 else 0.95)
            bound = result.high
            errors[random.integers(120)] += 1


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.03, 0.1])
@pytest.mark.parametrize(("utterances", "repeats"), [(24, 5), (80, 1)])
def test_rare_errors_are_covered(rate: float, utterances: int, repeats: int) -> None:
    """Where utterances differ in difficulty and repeats agree, 95 % intervals cover in 93 %."""
    random = np.random.default_rng([11, int(1_000 * rate), utterances])
    clusters = np.repeat(np.arange(utterances), repeats)
    hits = 0
    for _ in range(300):
        words = random.integers(3, 21, utterances)
        difficulty = random.beta(10 * rate, 10 * (1 - rate), utterances)
        errors = random.binomial(words[:, None], difficulty[:, None], (utterances, repeats))
        result = estimate_ratio_of_sums(
            errors.ravel(), np.repeat(words, repeats), clusters=clusters
        )
        assert isinstance(result, Estimate)
        assert isinstance(result.high, float)
        hits += result.low <= rate <= result.high
    assert hits >= stats.binom.ppf(0.001, 300, 0.93)


def test_the_same_trials_give_the_same_interval_in_any_order() -> None:
    """The seed is a digest of the sums by utterance, not of the order of the rows."""
    random = np.random.default_rng(9)
    errors, words = random.integers(0, 4, 60), random.integers(4, 12, 60)
    clusters = np.repeat(np.arange(12), 5)
    order = random.permutation(60)
    assert estimate_ratio_of_sums(errors, words, clusters=clusters) == estimate_ratio_of_sums(
        errors[order], words[order], clusters=clusters[order]
    )


def test_what_has_no_ratio_is_unsupported_or_refused() -> None:
    """No words, one utterance, negative counts and unequal lengths."""
    assert isinstance(estimate_ratio_of_sums([1.0, 1.0], [0.0, 0.0]), Unsupported)
    single = estimate_ratio_of_sums([1.0, 1.0], [4.0, 4.0], clusters=[1, 1])
    assert isinstance(single, Unsupported)
    assert single.observed == 0.25
    with pytest.raises(ValueError, match="negative"):
        estimate_ratio_of_sums([-1.0], [1.0])
    with pytest.raises(ValueError, match="equally long"):
        estimate_ratio_of_sums([1.0], [1.0, 2.0])
