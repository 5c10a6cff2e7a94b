"""Tails and quantiles of the distributions that the statistics rest on.

``scipy.special`` computes them; it is imported at the first call, because commands that print what
is stored need none of it and start faster without.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "beta_cdf",
    "beta_quantile",
    "binomial_tails",
    "chi_squared_sf",
    "gamma_cdf",
    "gamma_quantile",
    "normal_quantile",
    "normal_sf",
    "student_quantile",
    "student_sf",
]

_STANDARD = NormalDist()


def normal_quantile(probability: float) -> float:
    """Return z with P(Z <= z) = probability, for 0 < probability < 1."""
    if probability > 0.5:  # the lower tail keeps its digits where 1 - p has lost them
        return -_STANDARD.inv_cdf(1.0 - probability)
    return _STANDARD.inv_cdf(probability)


def normal_sf(z: float) -> float:
    """Return P(Z > z) of the standard normal, without cancellation in the tail."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return P(X <= x) of the Beta(a, b) distribution; a and b positive."""
    from scipy.special import betainc

    if a <= 0 or b <= 0:
        raise ValueError(f"a beta distribution needs positive parameters, got {a} and {b}")
    return float(betainc(a, b, min(1.0, max(0.0, x))))


@lru_cache(maxsize=65_536)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with P(X <= x) = probability for X ~ Beta(a, b)."""
    from scipy.special import betaincinv

    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability lies in [0, 1], got {probability}")
    return float(betaincinv(a, b, probability))


def binomial_tails(n: int, p: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P(X <= k) and P(X > k) of X ~ Binomial(n, p) for k = 0..n-1."""
    from scipy.special import bdtr, bdtrc

    counts = np.arange(n)
    return bdtr(counts, n, p), bdtrc(counts, n, p)


def chi_squared_sf(x: float, degrees: float) -> float:
    """Return P(X > x) of chi-squared with the given degrees of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees, x))


def gamma_cdf(x: float, shape: float) -> float:
    """Return P(X <= x) of X ~ Gamma(shape, 1); P(N >= shape) of N ~ Poisson(x); 1 of no shape."""
    from scipy.special import gammainc

    return 1.0 if shape <= 0 else float(gammainc(shape, x))


@lru_cache(maxsize=65_536)
def gamma_quantile(probability: float, shape: float) -> float:
    """Return x with P(X <= x) = probability for X ~ Gamma(shape, 1); 0 of no shape."""
    from scipy.special import gammaincinv

    return 0.0 if shape <= 0 else float(gammaincinv(shape, probability))


def student_sf(t: float, degrees: float) -> float:
    """Return P(T > t) of Student's t with the given degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))


@lru_cache(maxsize=65_536)
def student_quantile(probability: float, degrees: float) -> float:
    """Return t with P(T <= t) = probability for Student's t; 0 < probability < 1."""
    from scipy.special import stdtrit

    if degrees <= 0:
        raise ValueError(f"Student's t needs positive degrees of freedom, got {degrees}")
    return float(stdtrit(degrees, probability))
