"""The distribution functions against scipy's own distributions, and when scipy is loaded."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics.distributions import (
    beta_cdf,
    beta_quantile,
    normal_quantile,
    normal_sf,
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


def test_the_analysis_is_there_before_scipy() -> None:
    """Neither the command line nor the analysis loads scipy before a number is computed."""
    program = (
        "import sys, harness.cli, harness.analysis.gate.verdict; print('scipy' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"False"


def test_illegal_parameters_are_refused() -> None:
    """A negative shape, a share above 1 and no degrees of freedom have no answer."""
    with pytest.raises(ValueError, match="positive"):
        beta_cdf(0.5, -1.0, 2.0)
    with pytest.raises(ValueError, match="probability"):
        beta_quantile(1.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="degrees"):
        student_quantile(0.9, 0.0)
    assert math.isclose(beta_quantile(0.0, 2.0, 2.0), 0.0)
