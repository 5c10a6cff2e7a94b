"""Percentiles: one definition, failures last, and an honest interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics.estimate import Estimate, Sample, Statistic, TimedOut, Unsupported
from harness.analysis.statistics.quantile import (
    Sides,
    estimate_quantile,
    estimate_quantiles,
    quantile,
    quantile_index,
    trials_needed,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)
shares = st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])


class TestLaws:
    """A percentile is a trial: the smallest value that the share p of all trials kept to."""

    @given(data=values, p=shares)
    def test_it_is_the_inverse_of_the_distribution_function(
        self, data: list[float], p: float
    ) -> None:
        """At least the share p is at or below it, and less than p is strictly below."""
        point = quantile(np.array(data), p)
        assert point in data
        n = len(data)
        assert sum(x <= point for x in data) >= n * p - 1e-9
        assert sum(x < point for x in data) < n * p

    @given(data=values, p=shares)
    def test_it_is_what_numpy_calls_inverted_cdf(self, data: list[float], p: float) -> None:
        """Anyone can check it with numpy, where n p is not blurred by binary fractions."""
        n = len(data)
        if abs(n * p - round(n * p)) > 1e-6 or p in (0.25, 0.5, 0.75):
            assert quantile(np.array(data), p) == np.quantile(data, p, method="inverted_cdf")

    @given(data=values, p=shares, q=shares)
    def test_it_is_monotone_in_the_share(self, data: list[float], p: float, q: float) -> None:
        """A higher percentile is not faster."""
        low, high = sorted((p, q))
        assert quantile(np.array(data), low) <= quantile(np.array(data), high)

    @given(data=values, p=shares, seed=st.integers(0, 99))
    def test_it_does_not_depend_on_the_order(self, data: list[float], p: float, seed: int) -> None:
        """Permuting the trials changes neither point nor interval, with repeats or without."""
        order = np.random.default_rng(seed).permutation(len(data))
        clusters = np.arange(len(data)) // 3
        one = estimate_quantile(Sample.of(data, clusters=clusters), p)
        other = estimate_quantile(Sample.of(np.array(data)[order], clusters=clusters[order]), p)
        assert one == other

    @given(data=values, p=shares, scale=st.sampled_from([0.5, 2.0, 1024.0]))
    def test_it_scales_with_the_unit(self, data: list[float], p: float, scale: float) -> None:
        """Milliseconds or nanoseconds: the same percentile."""
        assert quantile(np.array(data) * scale, p) == quantile(np.array(data), p) * scale

    @given(data=values, p=shares, worse=st.integers(0, 199))
    def test_a_failure_is_slower_than_every_success(
        self, data: list[float], p: float, worse: int
    ) -> None:
        """Turning any answer into a failure never lowers a percentile."""
        failed = np.zeros(len(data), dtype=bool)
        failed[worse % len(data)] = True
        before = quantile(Sample.of(data).ranked, p)
        assert quantile(Sample.of(data, failed=failed).ranked, p) >= before

    def test_binary_fractions_do_not_move_the_index(self) -> None:
        """95 % of 60 is the 57th and 95 % of 20 the 19th, whatever 0.95 is in binary."""
        assert quantile_index(60, 0.95) == 56
        assert quantile_index(20, 0.95) == 18
        assert quantile_index(100, 0.99) == 98
        assert quantile_index(10, 0.9) == 8


class TestSupport:
    """A percentile that n cannot support is not printed as if it were."""

    def test_the_numbers_of_trials_are_the_known_ones(self) -> None:
        """p95: 59 and 72 trials; p99: 299 and 368."""
        assert trials_needed(0.95, sides="upper") == 59
        assert trials_needed(0.95) == 72
        assert trials_needed(0.99, sides="upper") == 299
        assert trials_needed(0.99) == 368
        assert trials_needed(0.5) == 6

    @pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
    def test_it_begins_exactly_at_the_needed_trial(self, p: float) -> None:
        """One trial fewer is unsupported, and says how many are needed."""
        every: tuple[Sides, ...] = ("two", "upper", "lower")
        for sides in every:
            needed = trials_needed(p, sides=sides)
            enough = estimate_quantile(Sample.of(np.arange(needed)), p, sides=sides)
            assert isinstance(enough, Estimate)
            if needed > 1:
                short = estimate_quantile(Sample.of(np.arange(needed - 1)), p, sides=sides)
                assert isinstance(short, Unsupported)
                assert short.needed == needed

    def test_equal_repeats_do_not_add_support(self) -> None:
        """24 utterances, each answered five times alike, do not carry a p95."""
        data = np.repeat(np.random.default_rng(5).normal(size=24), 5)
        result = estimate_quantile(Sample.of(data, clusters=np.repeat(np.arange(24), 5)), 0.95)
        assert isinstance(result, Unsupported)
        assert result.effective_n < 30

    def test_a_percentile_among_the_failures_is_no_number(self) -> None:
        """With 6 % of failures the p95 is timed out, while the p90 has an upper end that is."""
        failed = np.arange(1000) < 60
        sample = Sample.of(np.arange(1000.0), failed=failed)
        p50, p90, p94, p95 = estimate_quantiles(sample, (0.5, 0.9, 0.94, 0.95))
        assert isinstance(p50, Estimate)
        assert isinstance(p50.high, float)
        assert isinstance(p90, Estimate)
        assert p95 == TimedOut(n=1000, failures=60)
        assert isinstance(p94, Estimate)
        assert p94.high == TimedOut(n=1000, failures=60)

    def test_all_failed_is_timed_out_everywhere(self) -> None:
        """A candidate that never answers has no number at all."""
        sample = Sample.of(np.zeros(80), failed=np.ones(80, dtype=bool))
        assert set(estimate_quantiles(sample, (0.5, 0.9))) == {TimedOut(n=80, failures=80)}

    def test_no_trial_is_unsupported(self) -> None:
        """An empty sample answers, it does not crash."""
        assert isinstance(estimate_quantile(Sample.of([]), 0.5), Unsupported)


def covers(result: Statistic, truth: float) -> bool:
    """Whether the interval holds the truth."""
    assert isinstance(result, Estimate)
    return result.low <= truth <= (math.inf if isinstance(result.high, TimedOut) else result.high)


class TestInterval:
    """The interval covers the truth as often as it says."""

    @given(n=st.integers(72, 3_000), p=st.sampled_from([0.5, 0.9, 0.95]))
    def test_its_ends_have_the_exact_binomial_tails(self, n: int, p: float) -> None:
        """Neither end is missed with more than 2.5 %, and one rank further in would be."""
        result = estimate_quantile(Sample.of(np.arange(1, n + 1)), p)
        assert isinstance(result, Estimate)
        assert isinstance(result.high, float)
        low, high = int(result.low), int(result.high)
        assert stats.binom.cdf(low - 1, n, p) <= 0.025 + 1e-9
        assert stats.binom.cdf(low, n, p) > 0.025 - 1e-9
        assert stats.binom.sf(high - 1, n, p) <= 0.025 + 1e-9
        assert stats.binom.sf(high - 2, n, p) > 0.025 - 1e-9

    @pytest.mark.parametrize(("between", "p", "truth"), [(0.0, 0.5, 0.0), (0.6, 0.9, None)])
    def test_it_covers_with_repeats(self, between: float, p: float, truth: float | None) -> None:
        """40 utterances x 5 repeats, alike or not: at least 93 % of 95 % intervals cover."""
        random = np.random.default_rng(6)
        clusters = np.repeat(np.arange(40), 5)
        sigma = math.hypot(1.0, between)
        target = stats.norm.ppf(p) * sigma if truth is None else truth
        hits = 0
        for _ in range(400):
            data = random.normal(size=200) + between * random.normal(size=40)[clusters]
            hits += covers(estimate_quantile(Sample.of(data, clusters=clusters), p), target)
        assert hits / 400 >= 0.93

    def test_one_sided_bounds_leave_the_other_side_open(self) -> None:
        """An upper bound for an absolute budget says nothing of the lower end."""
        upper = estimate_quantile(Sample.of(np.arange(100)), 0.95, sides="upper")
        lower = estimate_quantile(Sample.of(np.arange(100)), 0.95, sides="lower")
        assert isinstance(upper, Estimate)
        assert isinstance(lower, Estimate)
        assert upper.low == -math.inf
        assert lower.high == math.inf
