"""Resampling of whole utterances, by a seed that the data decide."""

import numpy as np
import pytest

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
        result = estimate_ratio_of_sums(errors, words, resamples=1_000)
        assert isinstance(result, Estimate)
        assert not isinstance(result.high, TimedOut)
        hits += result.low <= 0.1 <= result.high
    assert hits / 200 >= 0.91


def test_no_error_at_all_still_has_an_upper_bound() -> None:
    """Zero errors in 20 utterances do not prove a rate of zero."""
    result = estimate_ratio_of_sums(np.zeros(20), np.full(20, 8))
    assert isinstance(result, Estimate)
    assert result.low == result.point == 0.0
    assert result.high == pytest.approx(1 - 0.025 ** (1 / 20))


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
