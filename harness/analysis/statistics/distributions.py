"""Quantiles of the beta, Student and signed-rank distributions, without scipy.

scipy costs most of a second to import and 100 MB to install; the statistics here need four
functions of it. They are tested against it (``tests/analysis/statistics/test_distributions.py``):
relative error at most 1e-9 for the beta and Student functions, exact for the signed-rank
distribution.

Sources: the incomplete beta function is Lentz's continued fraction (Press et al., *Numerical
Recipes*, 3rd ed., 6.4); the signed-rank distribution is the generating function of the subsets of
1..n (Hollander, Wolfe & Chicken, *Nonparametric Statistical Methods*, 3.1).
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "beta_cdf",
    "beta_quantile",
    "normal_quantile",
    "normal_sf",
    "signed_rank_critical",
    "signed_rank_sf",
    "student_quantile",
    "student_sf",
]

_STANDARD = NormalDist()
_TINY = 1e-300
_EXACT_SIGNED_RANK = 200


def normal_quantile(probability: float) -> float:
    """Return z with P(Z <= z) = probability, for 0 < probability < 1."""
    if probability > 0.5:  # the lower tail keeps its digits where 1 - p has lost them
        return -_STANDARD.inv_cdf(1.0 - probability)
    return _STANDARD.inv_cdf(probability)


def normal_sf(z: float) -> float:
    """Return P(Z > z) of the standard normal, without cancellation in the tail."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Lentz's evaluation of the incomplete beta function's continued fraction."""
    qab, qap, qam = a + b, a + 1.0, a - 1.0
    c = 1.0
    d = 1.0 - qab * x / qap
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    h = d
    for m in range(1, 20_000):
        m2 = 2 * m
        for numerator in (
            m * (b - m) * x / ((qam + m2) * (a + m2)),
            -(a + m) * (qab + m) * x / ((a + m2) * (qap + m2)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + numerator / c
            c = c if abs(c) > _TINY else _TINY
            step = d * c
            h *= step
        if abs(step - 1.0) < 1e-15:
            break
    return h


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return P(X <= x) of the Beta(a, b) distribution; a and b positive."""
    if a <= 0 or b <= 0:
        raise ValueError(f"a beta distribution needs positive parameters, got {a} and {b}")
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _continued_fraction(a, b, x) / a
    return 1.0 - front * _continued_fraction(b, a, 1.0 - x) / b


@lru_cache(maxsize=65_536)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with P(X <= x) = probability for X ~ Beta(a, b).

    Newton steps kept inside a shrinking bracket, so that it always ends.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability lies in [0, 1], got {probability}")
    if probability in (0.0, 1.0):
        return probability
    low, high = 0.0, 1.0
    x = a / (a + b)
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(200):
        error = beta_cdf(x, a, b) - probability
        if error > 0:
            high = x
        else:
            low = x
        density = math.exp(log_norm + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = error / density if density > _TINY else math.inf
        proposal = x - step
        if not low < proposal < high:
            proposal = 0.5 * (low + high)
        if abs(proposal - x) <= 1e-14 * proposal or proposal in (0.0, 1.0):
            return proposal
        x = proposal
    return x


def student_sf(t: float, degrees: float) -> float:
    """Return P(T > t) of Student's t with the given degrees of freedom."""
    if t < 0:
        return 1.0 - student_sf(-t, degrees)
    return 0.5 * beta_cdf(degrees / (degrees + t * t), degrees / 2.0, 0.5)


def student_quantile(probability: float, degrees: float) -> float:
    """Return t with P(T <= t) = probability for Student's t; 0 < probability < 1."""
    if degrees <= 0:
        raise ValueError(f"Student's t needs positive degrees of freedom, got {degrees}")
    if probability == 0.5:
        return 0.0
    tail = min(probability, 1.0 - probability)
    x = beta_quantile(2.0 * tail, degrees / 2.0, 0.5)
    size = math.sqrt(degrees * (1.0 - x) / x)
    return size if probability > 0.5 else -size


@lru_cache(maxsize=1_024)
def _signed_rank_tail(n: int) -> NDArray[np.float64]:
    """Return P(W >= w) for w = 0..n(n+1)/2 of n signed ranks."""
    mass = np.zeros(n * (n + 1) // 2 + 1)
    mass[0] = 1.0
    top = 0
    for rank in range(1, n + 1):
        mass[rank : top + rank + 1] += mass[: top + 1].copy()
        mass *= 0.5
        top += rank
    tail: NDArray[np.float64] = np.cumsum(mass[::-1])[::-1]
    return tail


def signed_rank_sf(statistic: float, n: int) -> float:
    """Return P(W >= statistic) for W, the sum of the positive ranks of n untied differences.

    Exact to n = 200, beyond it by the normal approximation with continuity correction.
    """
    if n > _EXACT_SIGNED_RANK:
        mean = n * (n + 1) / 4.0
        deviation = math.sqrt(n * (n + 1) * (2 * n + 1) / 24.0)
        return normal_sf((statistic - 0.5 - mean) / deviation)
    index = math.ceil(statistic - 1e-9)
    total = n * (n + 1) // 2
    if index <= 0:
        return 1.0
    return 0.0 if index > total else min(1.0, float(_signed_rank_tail(n)[index]))


@lru_cache(maxsize=65_536)
def signed_rank_critical(alpha: float, n: int) -> int:
    """Return the smallest w with P(W >= w) <= alpha; n(n+1)/2 + 1 when no value is that rare."""
    total = n * (n + 1) // 2
    if n > _EXACT_SIGNED_RANK:
        low, high = 0, total + 1
        while low < high:
            middle = (low + high) // 2
            if signed_rank_sf(middle, n) <= alpha:
                high = middle
            else:
                low = middle + 1
        return low
    rare = np.flatnonzero(_signed_rank_tail(n) <= alpha)
    return int(rare[0]) if rare.size else total + 1
