"""What changed between two sides that performed the same utterances.

**The typical change (p50).** The median, over all pairs of one trial of each side of the same
utterance, of the pair's log-ratio: the stratified Hodges-Lehmann estimate, with the interval that
inverts the stratified Wilcoxon test (Hollander, Wolfe & Chicken, 6.5; van Elteren, 1960). "A trial
of the candidate takes this many times as long as one of the reference on the same utterance."

**The tail (p90, p95, p99).** The ratio of the two sides' percentiles (``quantile``'s definition),
tested by exchanging the sides' names within utterances; the interval holds the factors that, taken
out of the candidate, leave a difference that exchange explains.

**Rates (word errors, failures).** The difference of the pooled rates, tested by swapping whole
utterances, because the same utterance fails the same way each time.

Chosen by simulation (24 utterances x 5 repeats a side, one-sided level 1 %; all the figures are in
``bench/CALIBRATION.md``). Found of +20 % against a 10 % budget on p50, lognormal with p95/p50 = 1.8
and bimodal: this 98 % and 98 %; the mean over utterances of median log-ratios 91 % and 38 %; the
mean log-ratio with Student's t 99 % and 75 %. Found of +50 % against a 20 % budget on p95, the same
lognormal and with 1 % of stalls: exchange 99 % and 90 %; the normal interval from a bootstrap of
utterances 95 % and 67 %. Centring the sides before the exchange finds more of a stretched tail, but
alarms falsely in up to 5 % where 1 % is allowed.

Laws: ``compare(x, x)`` is exactly no change; swapping the sides inverts the ratio; scaling both
sides changes no ratio; making any trial of the candidate slower never lowers the point.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.statistics.distributions import normal_quantile
from harness.analysis.statistics.estimate import Estimate, Sample, Statistic, TimedOut, Unsupported
from harness.analysis.statistics.exchange import Blocks, swap_tail
from harness.analysis.statistics.quantile import quantile
from harness.analysis.statistics.shift import Shift
from harness.analysis.statistics.shifting import shift_of

__all__ = [
    "POWER",
    "Change",
    "RateChange",
    "compare",
    "compare_rates",
    "holm",
]

#: The power at which "the smallest change that this run could have caught" is stated.
POWER = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One statistic of the candidate against the reference.

    Attributes:
        share: which percentile, 0 to 1.
        ratio: candidate over reference; above 1 is slower. :class:`Unsupported` when a value is
            not positive (an answer before the end of speech has no ratio).
        difference: candidate minus reference in the samples' unit.
        p_value: two-sided, of "no change". Not corrected; see :func:`holm`.
        p_slower: one-sided, of "not slower".
        detectable_ratio: the smallest slowdown that this run would have called significant with
            power 0.9 at the interval's confidence; inf where none.
        utterances: how many both sides performed; with conditions, recordings.
        unpaired: trials left out because only one side performed their utterance.
        method: statistic, test and exchange by name.
        deviation: of the log of the ratio under no change; inf where it cannot be told.
        least_p: the smallest one-sided p-value that this many trials can give.
    """

    share: float
    ratio: Statistic
    difference: Statistic
    p_value: float
    p_slower: float
    detectable_ratio: float
    utterances: int
    unpaired: int
    method: str
    deviation: float = math.inf
    least_p: float = 0.0

    def corrected(self, tests: int, confidence: float) -> "Change":
        """Return the change with what it would have found as one of a family of so many tests.

        At the level of Holm's first step, where the smallest p-value of the family is judged.
        """
        alpha = (1.0 - confidence) / 2.0 / tests
        found = math.inf
        if self.least_p <= alpha:
            reach = (normal_quantile(1.0 - alpha) + normal_quantile(POWER)) * self.deviation
            found = math.exp(reach) if reach < 700 else math.inf
        return replace(self, detectable_ratio=max(found, self.detectable_ratio))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChange:
    """A pooled rate of the candidate against that of the reference.

    Attributes:
        candidate: its pooled rate.
        reference: the other's.
        difference: candidate minus reference, in rate (0.01 is one point).
        p_value: two-sided, of "no change".
        p_higher: one-sided, of "not higher".
        detectable: the smallest increase that would have been significant with power 0.9.
        utterances: how many both sides performed.
        resolution: the rate that one event in one utterance makes.
        method: by name.
        deviation: of the difference under no change.
    """

    candidate: float
    reference: float
    difference: Estimate
    p_value: float
    p_higher: float
    detectable: float
    utterances: int
    resolution: float
    method: str
    deviation: float = math.inf

    def corrected(self, tests: int, confidence: float) -> "RateChange":
        """Return the change with what it would have found as one of a family of so many tests."""
        alpha = (1.0 - confidence) / 2.0 / tests
        found = detectable_rate(self.deviation, self.utterances, 1.0 / self.resolution, alpha)
        return replace(self, detectable=max(found, self.detectable))


def compare(
    candidate: Sample,
    reference: Sample,
    *,
    share: float = 0.5,
    confidence: float = 0.95,
    blocks: Blocks = "auto",
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> Change | Unsupported:
    """Return the change of one statistic, paired by utterance.

    Args:
        candidate: one metric of the side in question.
        reference: the same of the other side; equal cluster numbers name one utterance.
        share: 0.5 for the typical change, else the percentile whose ratio is wanted.
        confidence: of the two-sided intervals; give 1 - 0.05 / m for a family of m (Bonferroni).
        blocks: what is exchanged, see ``harness.analysis.statistics.exchange``.
        wholes: what is swapped as one, by cluster: for a recording its utterance. One that is not
            there is swapped alone.

    Returns:
        :class:`Unsupported` when fewer trials than the percentile needs were performed on
        utterances that both sides have.
    """
    in_units = shift_of(
        candidate, reference, share=share, scale="difference", blocks=blocks, wholes=wholes
    )
    if isinstance(in_units, Unsupported):
        return in_units
    in_logs = shift_of(
        candidate, reference, share=share, scale="ratio", blocks=blocks, wholes=wholes
    )
    lead = in_units if isinstance(in_logs, Unsupported) else in_logs
    alpha = (1.0 - confidence) / 2.0
    up, down = lead.p_above(alpha=alpha), lead.reversed().p_above(alpha=alpha)
    two_sided = 1.0 if lead.point == 0.0 else min(1.0, 2.0 * min(up, down))
    name = "typical pair (Hodges-Lehmann)" if share == 0.5 else f"p{100 * share:g}"
    method = f"{name}, exchange of {lead.blocks} in {lead.sides.swapped} utterances"
    if isinstance(in_logs, Unsupported):
        ratio: Statistic = in_logs
        detectable = math.inf
    else:
        ratio = _interval(in_logs, confidence, f"ratio of {method}", log=True)
        reach = in_logs.critical(alpha) + normal_quantile(POWER) * in_logs.deviation
        detectable = math.exp(reach) if reach < 700 else math.inf
    return Change(
        share=share,
        ratio=ratio,
        difference=_interval(in_units, confidence, f"difference of {method}", log=False),
        p_value=two_sided,
        p_slower=up,
        detectable_ratio=detectable,
        utterances=lead.sides.utterances,
        unpaired=lead.sides.unpaired,
        method=method,
        deviation=math.inf if isinstance(in_logs, Unsupported) else in_logs.deviation,
        least_p=lead.least_p,
    )


def _interval(shift: Shift, confidence: float, method: str, *, log: bool) -> Statistic:
    """Return a shift with its interval, as a ratio or a difference."""
    ours, theirs = shift.sides.candidate, shift.sides.reference
    n = int(ours.size + theirs.size)
    lost = int(np.count_nonzero(np.isinf(ours)))
    failures = lost + int(np.count_nonzero(np.isinf(theirs)))
    if shift.point == math.inf or math.isinf(quantile(ours, shift.share)):
        return TimedOut(n=int(ours.size), failures=lost)
    if math.isinf(shift.point) or math.isinf(quantile(theirs, shift.share)):
        return Unsupported(
            reason="the reference's value falls among its failures",
            needed=0,
            n=n,
            effective_n=float(n),
            failures=failures,
            observed=None,
        )
    alpha = (1.0 - confidence) / 2.0
    low, high = shift.low(alpha), -shift.reversed().low(alpha)
    point = shift.point
    low, high = min(low, point), max(high, point)
    if log:
        point, low = math.exp(point), math.exp(low) if low > -700 else 0.0
        high = math.exp(high) if high < 700 else math.inf
    among = math.isinf(high) and lost > 0
    return Estimate(
        point=point,
        low=low,
        high=TimedOut(n=int(ours.size), failures=lost) if among else high,
        confidence=confidence,
        n=n,
        effective_n=float(n),
        failures=failures,
        method=method,
    )


def compare_rates(
    candidate: tuple[ArrayLike, ArrayLike, ArrayLike],
    reference: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    confidence: float = 0.95,
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> RateChange | Unsupported:
    """Return the change of a pooled rate, paired by utterance.

    Args:
        candidate: (events, opportunities, utterance) per trial: word errors, reference words,
            utterance; or failed as 0 and 1, ones, utterance.
        reference: the same of the other side.
        confidence: of the two-sided interval.
        wholes: as :func:`compare` takes it.

    Each utterance counts by its mean over repeats, so unequal repeats do not tilt the rate.
    """
    sides = [_by_utterance(*side) for side in (candidate, reference)]
    common = sorted(sides[0].keys() & sides[1].keys())
    swapped: dict[int, list[float]] = {}
    for each in common:
        row = swapped.setdefault(wholes.get(each, each), [0.0] * 4)
        for place, value in enumerate((*sides[0][each], *sides[1][each])):
            row[place] += value
    table = np.array(list(swapped.values()), dtype=np.float64).reshape(len(swapped), 4)
    weights = 0.5 * (table[:, 1] + table[:, 3])
    total = float(weights.sum())
    if len(swapped) < 2 or total <= 0:
        return Unsupported(
            reason="a rate needs two utterances with something to count on both sides",
            needed=2,
            n=len(swapped),
            effective_n=float(len(swapped)),
            failures=0,
            observed=None,
        )
    gaps = (table[:, 0] - table[:, 2]) / total
    portions = weights / total
    point = math.fsum(gaps)
    alpha = (1.0 - confidence) / 2.0
    up, down = _p_rate(gaps), _p_rate(-gaps)
    low = min(point, _rate_bound(gaps, portions, alpha))
    high = max(point, -_rate_bound(-gaps, portions, alpha))
    method = f"pooled rate, exchange of {len(swapped)} utterances"
    deviation = math.sqrt(float(((gaps - point * portions) ** 2).sum()))
    return RateChange(
        candidate=float(table[:, 0].sum()) / total,
        reference=float(table[:, 2].sum()) / total,
        difference=Estimate(
            point=point,
            # A test of counts resolves no less than one event.
            low=min(low, point - 1.0 / total),
            high=max(high, point + 1.0 / total),
            confidence=confidence,
            n=len(swapped),
            effective_n=float(len(swapped)),
            failures=0,
            method=f"difference of {method}",
        ),
        p_value=1.0 if not gaps.any() else min(1.0, 2.0 * min(up, down)),
        p_higher=up,
        detectable=detectable_rate(deviation, len(swapped), total, alpha),
        utterances=len(swapped),
        resolution=1.0 / total,
        method=method,
        deviation=deviation,
    )


def detectable_rate(deviation: float, utterances: int, total: float, alpha: float) -> float:
    """Return the smallest increase of a rate that the exchange of utterances finds.

    At least so many utterances must become worse, each by one event, that equal signs are rare
    enough (2**-m <= alpha); inf when there are fewer.
    """
    fewest = math.ceil(math.log2(1.0 / alpha))
    if fewest > utterances:
        return math.inf
    z = normal_quantile(1.0 - alpha) + normal_quantile(POWER)
    return max(fewest / total, z * deviation)


def _by_utterance(
    events: ArrayLike, opportunities: ArrayLike, utterances: ArrayLike
) -> dict[int, tuple[float, float]]:
    top = np.asarray(events, dtype=np.float64)
    bottom = np.asarray(opportunities, dtype=np.float64)
    groups = np.asarray(utterances, dtype=np.int64)
    if top.ndim != 1 or top.shape != bottom.shape or groups.shape != top.shape:
        raise ValueError("events, opportunities and utterances are equally long")
    names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    tops = np.bincount(index, weights=top, minlength=names.size) / counts
    bottoms = np.bincount(index, weights=bottom, minlength=names.size) / counts
    return {int(u): (float(t), float(b)) for u, t, b in zip(names, tops, bottoms, strict=True)}


def _p_rate(gaps: NDArray[np.float64]) -> float:
    return swap_tail(gaps[gaps != 0], math.fsum(gaps))


def _rate_bound(gaps: NDArray[np.float64], portions: NDArray[np.float64], alpha: float) -> float:
    """Bisect for the difference that the swap test just accepts; -1 when all are accepted."""
    inside, outside = math.fsum(gaps), -1.0
    if _p_rate(gaps - outside * portions) > alpha:
        return outside
    for _ in range(24):
        half = 0.5 * (inside + outside)
        if _p_rate(gaps - half * portions) <= alpha:
            outside = half
        else:
            inside = half
    return inside


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for their family (Holm, 1979), in the order given.

    Comparing each to a level keeps the chance of any false finding in the family below it.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return tuple(corrected)
