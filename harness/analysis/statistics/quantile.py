"""The one definition of a percentile, and its interval.

**Definition.** The p-quantile of n trials is the k-th smallest with k = ceil(n p): the smallest
value that at least the share p of all trials kept to (the inverse of the empirical distribution
function; type 1 of Hyndman & Fan, 1996; ``numpy.quantile(method="inverted_cdf")``). Failures rank
slower than every success.

It is chosen over the interpolating definitions because

* it is the reading that a service level has: "p95 <= 1200 ms" holds exactly when at least 95 % of
  the trials answered within 1200 ms;
* it is a trial that took place, so a report can open "the p95 turn" and show its waterfall;
* it commutes with every monotone change of scale: the log of a percentile is that of the logs;
* it meets failures without arithmetic on infinities: type 7 at the edge of the failures is neither
  a success nor a time-out, and the Harrell-Davis estimate is infinite with one failure anywhere.

For an even n the median is therefore the lower of the two in the middle.

**Interval.** By order statistics: the number of trials below the true quantile is Binomial(n, p)
whatever the distribution of the values, so the ends are order statistics with exact tails (David &
Nagaraja, *Order Statistics*, 7.1). n supports a percentile when both ends exist: the two-sided 95 %
interval of p95 needs 72 independent trials, a one-sided bound 59; p99 368 and 299.

Repeats of an utterance are not independent. The share of trials beyond the estimated quantile has
a design effect over the utterances; n divided by it is the effective n, which takes n's place in
the tails and in the support rule, corrected by Student's t for the number of utterances (Woodruff,
1952; Korn & Graubard, 1998).
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.distributions import (
    beta_quantile,
    binomial_tails,
    student_quantile,
)
from harness.analysis.statistics.estimate import (
    Estimate,
    Sample,
    TimedOut,
    Unsupported,
    design_effect,
)

__all__ = [
    "Sides",
    "estimate_quantile",
    "estimate_quantiles",
    "quantile",
    "quantile_index",
    "trials_needed",
]

Sides = Literal["two", "upper", "lower"]

# n p is computed in binary: 0.95 * 60 must not become the 58th of 60.
_ROUNDING = 1e-9


def quantile_index(n: int, p: float) -> int:
    """Return the zero-based index of the p-quantile among n sorted trials."""
    if n < 1:
        raise ValueError("a quantile needs a trial")
    if not 0.0 < p < 1.0:
        raise ValueError(f"a quantile's share lies between 0 and 1, got {p}")
    return min(n - 1, max(0, math.ceil(n * p - _ROUNDING) - 1))


def quantile(ranked: NDArray[np.float64], p: float) -> float:
    """Return the p-quantile of values in which failures are +inf; +inf if it is one of them."""
    index = quantile_index(ranked.size, p)
    return float(np.partition(ranked, index)[index])


@lru_cache(maxsize=1_024)
def trials_needed(p: float, *, confidence: float = 0.95, sides: Sides = "two") -> int:
    """Return how many independent trials the interval of the p-quantile needs.

    The upper end exists when p**n <= alpha, the lower one when (1-p)**n <= alpha, with half of
    1 - confidence on each side of a two-sided interval.
    """
    alpha = (1.0 - confidence) / (2.0 if sides == "two" else 1.0)
    base = {"two": max(p, 1.0 - p), "upper": p, "lower": 1.0 - p}[sides]
    return max(1, math.ceil(math.log(alpha) / math.log(base) - _ROUNDING))


@lru_cache(maxsize=65_536)
def _shares(
    effective: float, p: float, alpha_low: float, alpha_high: float
) -> tuple[float, float] | None:
    """Return the interval's ends as shares of the sample, or None beyond the support of n.

    For an integer effective n the binomial tail decides exactly: the lower end is the l-th order
    statistic with P(Bin <= l - 1) <= alpha, the upper the u-th with P(Bin >= u) <= alpha. With the
    beta function the same holds for fractions of a trial: I_p(l, n - l + 1) = P(Bin >= l).
    """
    n = math.floor(effective + _ROUNDING)
    if (alpha_high and p**n > alpha_high * (1 + _ROUNDING)) or (
        alpha_low and (1.0 - p) ** n > alpha_low * (1 + _ROUNDING)
    ):
        return None
    k = n * p
    low = beta_quantile(alpha_low, k, n - k + 1.0) if alpha_low else 0.0
    high = beta_quantile(1.0 - alpha_high, k + 1.0, n - k) if alpha_high else 1.0
    return low, high


@lru_cache(maxsize=65_536)
def _exact_ranks(n: int, p: float, alpha_low: float, alpha_high: float) -> tuple[int, int] | None:
    """Return the one-based ranks (l, u) of the exact interval of n independent trials.

    0 or n + 1 where the side is open. None when n does not support a wanted side.
    """
    at_most, more = binomial_tails(n, p)
    slack = 1 + 1e-9
    lower, upper = 0, n + 1
    if alpha_low:
        # The l-th value lies above the quantile with P(Bin <= l - 1).
        lower = int(np.searchsorted(at_most, alpha_low * slack, side="right"))
        if lower < 1:
            return None
    if alpha_high:
        # The u-th lies below it with P(Bin >= u), which is P(Bin > u - 1).
        fits = np.flatnonzero(more <= alpha_high * slack)
        if not fits.size:
            return None
        upper = int(fits[0]) + 1
    return lower, upper


def estimate_quantile(
    sample: Sample, p: float, *, confidence: float = 0.95, sides: Sides = "two"
) -> Estimate | TimedOut | Unsupported:
    """Return the p-quantile of a sample with its interval.

    Returns:
        :class:`Unsupported` when the (effective) n cannot carry it, :class:`TimedOut` when it falls
        among the failures.
    """
    return estimate_quantiles(sample, (p,), confidence=confidence, sides=sides)[0]


def estimate_quantiles(
    sample: Sample,
    shares: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99),
    *,
    confidence: float = 0.95,
    sides: Sides = "two",
) -> tuple[Estimate | TimedOut | Unsupported, ...]:
    """Return several quantiles of one sample, sorting it once; see :func:`estimate_quantile`."""
    ordered = np.sort(sample.ranked)
    groups = int(np.unique(sample.clusters).size)
    return tuple(
        _one(sample, ordered, groups, p, confidence=confidence, sides=sides) for p in shares
    )


def _effective(
    sample: Sample, point: float, groups: int, confidence: float, sides: Sides
) -> tuple[float, float]:
    """Return the effective n at this quantile, and the one to take tails with."""
    if groups == sample.n:
        return float(sample.n), float(sample.n)
    beyond = (sample.ranked > point).astype(np.float64)
    if not beyond.any():
        beyond = (sample.ranked >= point).astype(np.float64)
    effective = sample.n / design_effect(beyond, sample.clusters)
    if groups < 2:
        return effective, effective
    tail = 0.5 + confidence / 2.0 if sides == "two" else confidence
    correction = student_quantile(tail, sample.n - 1) / student_quantile(tail, groups - 1)
    return effective, effective * correction**2


def _one(
    sample: Sample,
    ordered: NDArray[np.float64],
    groups: int,
    p: float,
    *,
    confidence: float,
    sides: Sides,
) -> Estimate | TimedOut | Unsupported:
    n, failures = sample.n, sample.failures
    needed = trials_needed(p, confidence=confidence, sides=sides)
    if n == 0:
        return Unsupported(
            reason="no trial", needed=needed, n=0, effective_n=0.0, failures=0, observed=None
        )
    point = float(ordered[quantile_index(n, p)])
    effective, working = _effective(sample, point, groups, confidence, sides)
    share = (1.0 - confidence) / (2.0 if sides == "two" else 1.0)
    alpha_low = 0.0 if sides == "upper" else share
    alpha_high = 0.0 if sides == "lower" else share
    name = f"p{100 * p:g}"
    if groups == n:
        ranks = _exact_ranks(n, p, alpha_low, alpha_high)
        method = f"{name}, order statistics (binomial)"
    else:
        # The support rule asks the effective n itself; the tails ask the corrected one.
        ends = (
            _shares(working, p, alpha_low, alpha_high)
            if working >= 1 and effective >= needed
            else None
        )
        ranks = (
            None
            if ends is None
            else (
                math.floor(ends[0] * n) if alpha_low else 0,
                math.ceil(ends[1] * n) + 1 if alpha_high else n + 1,
            )
        )
        if ranks is not None and ((alpha_low and ranks[0] < 1) or (alpha_high and ranks[1] > n)):
            ranks = None
        method = f"{name}, order statistics at the effective n of {groups} utterances"
    observed = TimedOut(n=n, failures=failures) if math.isinf(point) else point
    if ranks is None:
        return Unsupported(
            reason=f"{name} needs {needed} independent trials, these are worth {effective:.0f}",
            needed=needed,
            n=n,
            effective_n=effective,
            failures=failures,
            observed=observed,
        )
    if isinstance(observed, TimedOut):
        return observed
    low = float(ordered[ranks[0] - 1]) if alpha_low else -math.inf
    high = float(ordered[ranks[1] - 1]) if alpha_high else math.inf
    among = alpha_high and math.isinf(high)
    return Estimate(
        point=point,
        low=min(low, point),
        high=TimedOut(n=n, failures=failures) if among else max(high, point),
        confidence=confidence,
        n=n,
        effective_n=effective,
        failures=failures,
        method=method,
    )
