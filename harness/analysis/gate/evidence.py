"""What a run says about a budget, in the form that the gate's rule judges.

One function for each kind of budget:

* :func:`paired_evidence`: a percentile against a reference measured in the same run, interleaved.
* :func:`baseline_evidence`: a percentile against several stored runs.
* :func:`absolute_evidence`: a percentile against a fixed limit.
* :func:`rate_evidence`: failures or word errors against a reference, paired by utterance.
* :func:`failure_evidence`, :func:`pooled_evidence`: failures or word errors against a fixed limit.

The suspicion (see ``gate_rule``) is for p50 the rank test by exchange of trials, whose statistic
grows with each trial of the candidate while its null distribution stays; for everything else, a
point beyond the limit. A bound from the reference's own spread was tried for tails: it let a point
beyond the budget pass where chance explains it, but found only 68 % instead of 88 % of +50 % on p95
among stalls.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from harness.analysis.statistics.distributions import (
    beta_cdf,
    beta_quantile,
    gamma_cdf,
    gamma_quantile,
    normal_quantile,
    student_quantile,
    student_sf,
)
from harness.analysis.statistics.estimate import (
    Estimate,
    Sample,
    TimedOut,
    Unsupported,
    estimate_rate,
)
from harness.analysis.statistics.exchange import Blocks, Sides, gap
from harness.analysis.statistics.gate_rule import ALPHA, PASS_CONFIDENCE, Evidence, Limit
from harness.analysis.statistics.paired import POWER, RateChange, detectable_rate
from harness.analysis.statistics.quantile import estimate_quantile, quantile
from harness.analysis.statistics.quantile_gap import quantile_gap
from harness.analysis.statistics.shift import Scale
from harness.analysis.statistics.shifting import shift_of

__all__ = [
    "FEWEST_RUNS",
    "absolute_evidence",
    "baseline_evidence",
    "failure_evidence",
    "paired_evidence",
    "pooled_evidence",
    "rate_evidence",
]

#: Stored runs that a baseline needs to know how runs differ.
FEWEST_RUNS = 5


def paired_evidence(
    candidate: Sample,
    reference: Sample,
    limit: Limit,
    *,
    share: float = 0.5,
    budgets: int = 1,
    alpha: float = ALPHA,
    blocks: Blocks = "auto",
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> Evidence | Unsupported:
    """Return the evidence on a relative limit from sides measured together, interleaved.

    Args:
        candidate: one metric of the candidate.
        reference: the same of the reference, in the same run.
        limit: of kind ``ratio``, or ``increase`` in the metric's unit ("no more than 50 ms
            slower"), which also serves metrics that may be negative.
        share: 0.5, or the percentile that is limited.
        budgets: how many the gate has in all; the level is alpha over it.
        alpha: of the whole gate; in sequential mode that of the present look.
        blocks: what is exchanged, see ``harness.analysis.statistics.exchange``.
        wholes: what is swapped as one, by cluster: for a recording its utterance.
    """
    if limit.kind == "absolute":
        raise ValueError("sides measured together are judged by a ratio or an increase")
    level = alpha / budgets
    scale: Scale = "ratio" if limit.kind == "ratio" else "difference"
    shift = shift_of(candidate, reference, share=share, scale=scale, blocks=blocks, wholes=wholes)
    if isinstance(shift, Unsupported):
        return shift
    gone = math.isinf(quantile(shift.sides.candidate, share))
    if gone and math.isinf(quantile(shift.sides.reference, share)):
        return Unsupported(
            reason=f"p{100 * share:g} falls among the failures on both sides: nothing to compare",
            needed=0,
            n=candidate.n + reference.n,
            effective_n=float(shift.sides.candidate.size),
            failures=candidate.failures + reference.failures,
            observed=None,
        )
    shown, bar = (_exp, math.log(limit.limit)) if scale == "ratio" else (float, limit.limit)
    point = math.inf if gone else _gap_of(shift.sides, share)
    beyond = point > bar
    suspicious = beyond and (share != 0.5 or shift.p_exchange() <= level)
    open_ = quantile_gap(shift.sides, share)
    spread = math.inf if open_ is None else open_.deviation
    upper = math.inf if open_ is None else open_.upper(PASS_CONFIDENCE)
    if share != 0.5:
        # A few values alone carry the resampled tail; the exchange knows of both sides' together.
        spread = max(spread, shift.deviation)
        upper = max(upper, point + normal_quantile(PASS_CONFIDENCE) * shift.deviation)
    power = normal_quantile(POWER)
    return Evidence(
        point=shown(point),
        # Draws are spent where they can decide something.
        p_value=shift.p_above(alpha=level if beyond else 0.01),
        suspicious=suspicious,
        detectable=shown(
            max(bar + power * spread, shift.critical(level) + power * shift.deviation)
        ),
        upper=shown(max(upper, point)),
        alpha=level,
        method=f"p{100 * share:g} {scale}, exchange of {shift.blocks} in "
        f"{shift.sides.swapped} utterances",
    )


def _gap_of(sides: Sides, share: float) -> float:
    return float(gap(quantile(sides.candidate, share), quantile(sides.reference, share)))


def _exp(log: float) -> float:
    """Return e**log, +inf beyond what a float holds."""
    return math.exp(log) if log < 700 else math.inf


def baseline_evidence(
    candidate: float | TimedOut,
    runs: Sequence[float],
    limit: Limit,
    *,
    budgets: int = 1,
    alpha: float = ALPHA,
) -> Evidence | Unsupported:
    """Return the evidence on a ``ratio`` limit against a stored baseline of several runs.

    The prediction interval of one more run: Student's t with runs - 1 degrees of freedom, on the
    logs, with the spread between the runs. It carries what differs from day to day and what one
    run's sampling leaves open, in one number, and asks nothing of how trials are distributed. It is
    wide: prefer a reference measured again.

    Args:
        candidate: the statistic in the new run.
        runs: the same statistic in each stored run, all of the same plan as the new one.
        limit: of kind ``ratio``.
        budgets: how many the gate has in all.
        alpha: of the whole gate.
    """
    if limit.kind != "ratio":
        raise ValueError(f"a baseline of runs is judged by a ratio, not by {limit.kind}")
    count = len(runs)
    if count < FEWEST_RUNS or any(not value > 0 or math.isinf(value) for value in runs):
        return Unsupported(
            reason=f"a baseline needs {FEWEST_RUNS} runs with a positive value, there are "
            f"{sum(value > 0 and math.isfinite(value) for value in runs)}",
            needed=FEWEST_RUNS,
            n=count,
            effective_n=float(count),
            failures=0,
            observed=None,
        )
    if isinstance(candidate, float) and candidate <= 0:
        return Unsupported(
            reason="the candidate's value is not positive, so there is no ratio",
            needed=0,
            n=count,
            effective_n=float(count),
            failures=0,
            observed=candidate,
        )
    level = alpha / budgets
    logs = np.log(np.asarray(runs, dtype=np.float64))
    deviation = float(logs.std(ddof=1)) * math.sqrt(1.0 + 1.0 / count)
    point = (
        math.inf if isinstance(candidate, TimedOut) else math.log(candidate) - float(logs.mean())
    )
    critical = student_quantile(1.0 - level, count - 1) * deviation
    bar = math.log(limit.limit)
    if deviation > 0 and math.isfinite(point):
        p_value = student_sf(point / deviation, count - 1)
    else:
        p_value = 0.0 if point > 0 else 1.0
    reach = max(bar, critical) + normal_quantile(POWER) * deviation
    return Evidence(
        point=_exp(point),
        p_value=p_value,
        suspicious=point > max(bar, critical),
        detectable=_exp(reach),
        upper=_exp(point + student_quantile(PASS_CONFIDENCE, count - 1) * deviation),
        alpha=level,
        method=f"prediction interval of a run from {count} stored runs",
    )


def absolute_evidence(
    candidate: Sample,
    limit: Limit,
    *,
    share: float,
    budgets: int = 1,
    alpha: float = ALPHA,
) -> Evidence | Unsupported:
    """Return the evidence on an ``absolute`` limit of a percentile.

    The limit is broken when the one-sided lower bound lies above it. For a percentile that means:
    more trials were slower than the limit than chance allows, and so the p-value is the binomial
    tail of their number, at the effective n.
    """
    _only_absolute(limit)
    level = alpha / budgets
    support = estimate_quantile(candidate, share, confidence=PASS_CONFIDENCE, sides="upper")
    if not candidate.n:
        assert isinstance(support, Unsupported)
        return support
    over = (candidate.ranked > limit.limit).astype(np.float64)
    point = quantile(candidate.ranked, share)
    effective = float(candidate.n) if isinstance(support, TimedOut) else support.effective_n
    scale = effective / candidate.n
    count, n = float(over.sum()) * scale, effective
    allowed = 1.0 - share
    p_value = _at_least(count, n, allowed)
    upper = math.inf
    if isinstance(support, Estimate) and isinstance(support.high, float):
        upper = support.high
    # The bound lies within what is allowed where too few trials lie beyond that: told of more
    # trials than the ends of an interval are.
    beyond = estimate_rate(candidate.ranked > limit.mde, clusters=candidate.clusters)
    if isinstance(beyond, Estimate) and _upper_rate(beyond) <= allowed:
        upper = min(upper, limit.mde)
    broken = point > limit.limit and p_value <= level
    if isinstance(support, Unsupported) and math.isinf(upper) and not broken:
        # Too few to say where the percentile lies may be enough to say that it is too high.
        return support
    bound = estimate_quantile(candidate, share, confidence=1.0 - level, sides="lower")
    detectable = math.inf
    if isinstance(bound, Estimate) and isinstance(support, Estimate):
        # A candidate slower by a factor is caught when its bound passes the limit. The bound lies
        # as far below the point as here, in proportion, and the point itself varies.
        stretch = 1.0 + normal_quantile(POWER) / normal_quantile(1.0 - level)
        if bound.low > 0 and limit.limit > 0:
            detectable = limit.limit * (support.point / bound.low) ** stretch
        else:
            detectable = limit.limit + (support.point - bound.low) * stretch
    return Evidence(
        point=point,
        p_value=p_value,
        suspicious=p_value <= level,
        detectable=detectable,
        upper=upper,
        alpha=level,
        method=f"p{100 * share:g}, order statistics",
    )


def rate_evidence(
    change: RateChange, limit: Limit, *, budgets: int = 1, alpha: float = ALPHA
) -> Evidence:
    """Return the evidence on an ``increase`` or ``ratio`` limit of a rate, paired by utterance.

    A ratio of a reference without any event has no answer but INCONCLUSIVE: limit its increase.
    """
    if limit.kind == "absolute":
        raise ValueError("a paired rate is judged by an increase or a ratio")
    level = alpha / budgets
    low, high = change.difference.low, change.difference.high
    assert isinstance(high, float)
    z = normal_quantile(0.5 + change.difference.confidence / 2.0)
    deviation = max(change.difference.point - low, high - change.difference.point) / z
    total = 1.0 / change.resolution
    reach = detectable_rate(deviation, change.utterances, total, level)
    increase = change.difference.point
    if limit.kind == "ratio":
        if change.reference == 0:
            point = math.inf if increase > 0 else 1.0
            bar, detectable = 0.0, math.inf
        else:
            point = change.candidate / change.reference
            bar = (limit.limit - 1.0) * change.reference
            detectable = 1.0 + max(reach, bar + normal_quantile(POWER) * deviation) / (
                change.reference
            )
    else:
        point, bar = increase, limit.limit
        detectable = max(reach, bar + normal_quantile(POWER) * deviation)
    spread = normal_quantile(PASS_CONFIDENCE) * deviation
    return Evidence(
        point=point,
        p_value=change.p_higher,
        suspicious=increase > bar,
        detectable=detectable,
        upper=point + (spread / change.reference if limit.kind == "ratio" else spread)
        if change.reference > 0 or limit.kind != "ratio"
        else math.inf,
        alpha=level,
        method=change.method,
        endless="the reference had none at all, and the candidate has some",
    )


def failure_evidence(
    estimate: Estimate, limit: Limit, *, budgets: int = 1, alpha: float = ALPHA
) -> Evidence:
    """Return the evidence on an ``absolute`` limit of a rate of events, from ``estimate_rate``.

    The exact binomial tail at the estimate's effective n.
    """
    _only_absolute(limit)
    level = alpha / budgets
    n = estimate.effective_n
    hits = estimate.point * n
    bar = min(max(limit.limit, 0.0), 1.0)
    needed = next((k for k in range(1, math.floor(n) + 1) if _at_least(k, n, bar) <= level), None)
    p_value = _at_least(hits, n, bar)
    return Evidence(
        point=estimate.point,
        p_value=p_value,
        suspicious=p_value <= level,
        detectable=math.inf if needed is None else _rate_for(needed, n),
        upper=_upper_rate(estimate),
        alpha=level,
        method=f"{estimate.method}, binomial tail",
    )


def _upper_rate(estimate: Estimate) -> float:
    """Return the upper bound of a rate of events, Clopper and Pearson's at the effective n.

    Without any event nothing tells whether repeats agree; they count as independent, as those with
    one event do, so that no event is never worse than one.
    """
    n = float(estimate.n) if estimate.point == 0.0 else estimate.effective_n
    hits = estimate.point * n
    return 1.0 if hits >= n else beta_quantile(PASS_CONFIDENCE, hits + 1.0, n - hits)


def _at_least(hits: float, n: float, rate: float) -> float:
    """Return P(Bin(n, rate) >= hits), with the beta function for fractions of a trial."""
    if hits <= 0:
        return 1.0
    return beta_cdf(rate, hits, max(n - hits, 0.0) + 1.0)


def _rate_for(hits: int, n: float) -> float:
    """Return the rate at which so many events are reached with the stated power."""
    return beta_quantile(POWER, float(hits), max(n - hits, 0.0) + 1.0)


def pooled_evidence(
    estimate: Estimate, limit: Limit, *, budgets: int = 1, alpha: float = ALPHA
) -> Evidence | Unsupported:
    """Return the evidence on an ``absolute`` limit of a pooled rate, such as the word error rate.

    The Poisson tail at the estimate's effective n.
    """
    _only_absolute(limit)
    if not estimate.gateable or not isinstance(estimate.high, float):
        return Unsupported(
            reason="a number that leaves failures out cannot gate",
            needed=0,
            n=estimate.n,
            effective_n=estimate.effective_n,
            failures=estimate.failures,
            observed=estimate.point,
        )
    level = alpha / budgets
    n = estimate.effective_n
    hits = estimate.point * n
    allowed = max(limit.limit, 0.0) * n
    p_value = gamma_cdf(allowed, hits)
    needed = 1
    while gamma_cdf(allowed, float(needed)) > level:
        needed *= 2
    low = needed // 2
    while needed - low > 1:
        half = (low + needed) // 2
        low, needed = (half, needed) if gamma_cdf(allowed, float(half)) > level else (low, half)
    return Evidence(
        point=estimate.point,
        p_value=p_value,
        suspicious=p_value <= level,
        detectable=gamma_quantile(POWER, float(needed)) / n,
        upper=gamma_quantile(PASS_CONFIDENCE, hits + 1.0) / n,
        alpha=level,
        method=f"{estimate.method}, its tail",
    )


def _only_absolute(limit: Limit) -> None:
    if limit.kind != "absolute":
        raise ValueError(f"one side alone is judged by an absolute limit, not by {limit.kind}")
