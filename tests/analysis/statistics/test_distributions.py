"""The distribution functions against scipy, which is no dependency at run time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics.distributions import (
    beta_cdf,
    beta_quantile,
    normal_quantile,
    normal_sf,
    signed_rank_critical,
    signed_rank_sf,
    student_quantile,
    student_sf,
)

shapes = st.floats(min_value=0.5, max_value=5_000.0)
shares = st.floats(min_value=1e-5, max_value=1 - 1e-5)


@given(x=shares, a=shapes, b=shapes)
def test_the_incomplete_beta_function_agrees_with_scipy(x: float, a: float, b: float) -> None:
    """beta_cdf is scipy's to 1e-9, absolutely."""
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-9)


@given(share=shares, a=shapes, b=shapes)
def test_a_beta_quantile_is_where_the_distribution_has_its_share(
    share: float, a: float, b: float
) -> None:
    """beta_quantile inverts the distribution function, and agrees with scipy's."""
    x = beta_quantile(share, a, b)
    assert stats.beta.cdf(x, a, b) == pytest.approx(share, rel=1e-6, abs=1e-9)


@given(share=shares, degrees=st.floats(min_value=1, max_value=2_000))
def test_student_quantiles_agree_with_scipy(share: float, degrees: float) -> None:
    """student_quantile is scipy's, in both tails."""
    expected = stats.t.ppf(share, degrees)
    assert student_quantile(share, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert student_sf(expected, degrees) == pytest.approx(1 - share, rel=1e-6, abs=1e-9)


@given(share=st.floats(min_value=1e-9, max_value=1 - 1e-9))
def test_normal_quantiles_agree_with_scipy(share: float) -> None:
    """normal_quantile is scipy's."""
    assert normal_quantile(share) == pytest.approx(stats.norm.ppf(share), rel=1e-8, abs=1e-9)


def test_the_normal_tail_keeps_its_digits_far_out() -> None:
    """At eight deviations the tail is 6e-16 and not 0."""
    assert normal_sf(8.0) == pytest.approx(stats.norm.sf(8.0), rel=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5, 12, 24])
def test_the_signed_rank_tail_counts_subsets(n: int) -> None:
    """P(W >= w) is the share of the 2**n sign patterns whose positive ranks sum to w or more."""
    counts = {0: 1}
    for rank in range(1, n + 1):
        following = dict(counts)
        for total, ways in counts.items():
            following[total + rank] = following.get(total + rank, 0) + ways
        counts = following
    for w in range(n * (n + 1) // 2 + 2):
        exact = sum(ways for total, ways in counts.items() if total >= w) / 2**n
        assert signed_rank_sf(w, n) == pytest.approx(exact, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("n", [1, 4, 7, 24, 150, 250])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.01 / 24])
def test_the_critical_value_is_the_first_that_is_rare_enough(n: int, alpha: float) -> None:
    """At the critical value the tail is at most alpha, one below it is above."""
    w = signed_rank_critical(alpha, n)
    assert signed_rank_sf(w, n) <= alpha
    assert signed_rank_sf(w - 1, n) > alpha
    if 2.0**-n > alpha:
        assert w == n * (n + 1) // 2 + 1


def test_illegal_parameters_are_refused() -> None:
    """A negative shape, a share above 1 and no degrees of freedom have no answer."""
    with pytest.raises(ValueError, match="positive"):
        beta_cdf(0.5, -1.0, 2.0)
    with pytest.raises(ValueError, match="probability"):
        beta_quantile(1.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="degrees"):
        student_quantile(0.9, 0.0)
    assert math.isclose(beta_quantile(0.0, 2.0, 2.0), 0.0)
