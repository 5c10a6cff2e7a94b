"""How far one side lies above another: the tests behind ``paired`` and ``gate_rule``.

A :class:`Shift` answers "is the candidate more than so much above the reference?" for every amount;
its interval holds the amounts that are not rejected. Scale is linear here: ratios are shifts of
logs. See ``paired`` for the choice of the statistics.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.distributions import normal_quantile, normal_sf
from harness.analysis.statistics.exchange import (
    Sides,
    exchange_tail,
    failure_tail,
    gap,
    rank_scores,
    swap_tail,
)
from harness.analysis.statistics.quantile import quantile

__all__ = ["AT", "FIRST_DRAWS", "LARGE_TAIL", "MOST_PAIRS", "Scale", "Shift"]

Scale = Literal["ratio", "difference"]

FIRST_DRAWS = 1_999
_MOST_DRAWS = 99_999
_INTERVAL_DRAWS = 1_999
MOST_PAIRS = 200_000
AT = 2.58
# A tail of so many trials a side is drawn no more than for its deviation: the limit is normal.
LARGE_TAIL = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shift:
    """How far the candidate lies above the reference on one scale, ready to be tested.

    Attributes:
        sides: the paired trials on that scale (log for ratios).
        share: which percentile.
        blocks: the exchange in use.
        point: the shift; infinite among failures.
        deviation: its standard deviation under no change.
        gaps, owners: within-utterance gaps, sorted, with their utterances.
        variances: of the rank scores by utterance.
        weight: pairs that one gap stands for; 1 unless they were thinned.
    """

    sides: Sides
    share: float
    blocks: Literal["trials", "utterances"]
    point: float
    deviation: float
    gaps: NDArray[np.float64]
    owners: NDArray[np.int64]
    variances: NDArray[np.float64]
    weight: float

    def p_above(self, shift: float = 0.0, *, alpha: float = 0.01) -> float:
        """Return the one-sided p-value of "the candidate lies at most this far above".

        Args:
            shift: the shift under test.
            alpha: the level that the value will be held against: draws are added until it is
                resolved.
        """
        if self.share == 0.5:
            return self._p_rank(shift)
        if math.isinf(quantile(self.sides.candidate, self.share)):
            return self._p_failures()
        if self._large:
            return self._p_normal(shift)
        sides = self.sides.map_candidate(self.sides.candidate - shift)
        observed = float(gap(self.point, shift))
        tolerance = 1e-12 * max(1.0, abs(observed)) if math.isfinite(observed) else 0.0
        for draws in (FIRST_DRAWS, min(_MOST_DRAWS, max(9_999, math.ceil(20.0 / alpha)))):
            null = exchange_tail(sides, self.share, draws=draws, blocks=self.blocks)
            count = int(np.count_nonzero(null >= observed - tolerance))
            if count > max(20.0, 4.0 * alpha * draws):
                break
        return (1 + count) / (1 + draws)

    @property
    def _large(self) -> bool:
        smaller = min(self.sides.candidate.size, self.sides.reference.size)
        return (1.0 - self.share) * smaller > LARGE_TAIL and math.isfinite(self.deviation)

    def _p_normal(self, shift: float) -> float:
        observed = float(gap(self.point, shift))
        if self.deviation == 0.0 or math.isinf(observed):
            return 1.0 if observed <= 0 else 0.0
        return normal_sf(observed / self.deviation)

    def _p_failures(self) -> float:
        """Return the p-value of a percentile that timed out: that of so many failures.

        Among failures the percentile says nothing of how many there are: 13 of 240 time it out as
        200 do. Exchanges are therefore ordered by the percentile, then by the failures.
        """
        ours = np.isinf(self.sides.candidate)
        theirs = np.isinf(self.sides.reference)
        k = self.sides.utterances
        a = np.bincount(self.sides.candidate_of[ours], minlength=k)
        b = np.bincount(self.sides.reference_of[theirs], minlength=k)
        if self.blocks == "utterances":
            gaps = self.sides.by_block((a - b).astype(np.float64))
            return swap_tail(gaps[gaps != 0], float(gaps.sum()))
        sizes = np.bincount(self.sides.candidate_of, minlength=k)
        totals = sizes + np.bincount(self.sides.reference_of, minlength=k)
        return failure_tail(int(a.sum()), a + b, sizes, totals)

    def _p_rank(self, shift: float) -> float:
        scores = self.weight * rank_scores(self.gaps, self.owners, self.sides.utterances, shift)
        total = float(scores.sum())
        if self.blocks == "utterances":
            scores = self.sides.by_block(scores)
            return swap_tail(scores[scores != 0], total)
        return self.p_exchange(total)

    def p_exchange(self, total: float | None = None) -> float:
        """Return the p-value of the rank test by exchange of trials, monotone in the candidate.

        Args:
            total: the rank statistic; that of no shift when absent.
        """
        if total is None:
            scores = rank_scores(self.gaps, self.owners, self.sides.utterances)
            total = self.weight * float(scores.sum())
        deviation = math.sqrt(float(self.variances.sum()))
        return 1.0 if deviation == 0.0 else normal_sf((total - 0.5) / deviation)

    @property
    def least_p(self) -> float:
        """The smallest p-value that so many trials can give: every pair on one side."""
        if self.blocks == "utterances":
            return 0.5**self.sides.swapped
        deviation = math.sqrt(float(self.variances.sum()))
        pairs = self.weight * self.gaps.size
        return 1.0 if deviation == 0.0 else normal_sf((pairs - 0.5) / deviation)

    def reversed(self) -> "Shift":
        """Return the shift of the reference above the candidate."""
        sides = replace(
            self.sides,
            candidate=self.sides.reference,
            reference=self.sides.candidate,
            candidate_of=self.sides.reference_of,
            reference_of=self.sides.candidate_of,
        )
        return Shift(
            sides=sides,
            share=self.share,
            blocks=self.blocks,
            point=-self.point,
            deviation=self.deviation,
            gaps=-self.gaps[::-1],
            owners=self.owners[::-1],
            variances=self.variances,
            weight=self.weight,
        )

    def critical(self, alpha: float) -> float:
        """Return how far above 0 the point must lie to be significant; inf when nothing can be."""
        usual = normal_quantile(1.0 - alpha) * self.deviation
        return max(usual, self.point - self.low(alpha)) if self.share == 0.5 else usual

    def low(self, alpha: float) -> float:
        """Return the lower bound at one-sided level alpha; -inf when there is none."""
        if self.share != 0.5:
            return self._low_tail(alpha)
        if self.blocks == "utterances":
            return self._low_swapped(alpha)
        n = self.gaps.size
        spread = math.sqrt(float(self.variances.sum()))
        count = n / 2 + (normal_quantile(1.0 - alpha) * spread + 0.5) / self.weight
        index = n - math.ceil(count)
        return float(self.gaps[index]) if 0 <= index < n else -math.inf

    def _low_swapped(self, alpha: float) -> float:
        first, last = -1, (self.gaps.size - 1) // 2
        if not math.isfinite(float(self.gaps[last])):
            return -math.inf
        while last - first > 1:
            index = (first + last) // 2
            if (
                math.isinf(float(self.gaps[index]))
                or self._p_rank(float(self.gaps[index])) <= alpha
            ):
                first = index
            else:
                last = index
        return float(self.gaps[last]) if first >= 0 else -math.inf

    def _low_tail(self, alpha: float) -> float:
        """Bisect for the shift that the exchange test just accepts."""
        reach = self.deviation if self.deviation > 0 else 0.0
        if not math.isfinite(self.point) or not math.isfinite(reach):
            return -math.inf
        if reach == 0.0:
            return self.point
        if self._large:
            return self.point - normal_quantile(1.0 - alpha) * reach
        inside, outside = self.point, self.point - 3.0 * normal_quantile(1 - alpha) * reach
        if self._p_tail(outside, alpha) > alpha:
            return -math.inf
        for _ in range(12):
            half = 0.5 * (inside + outside)
            if self._p_tail(half, alpha) <= alpha:
                outside = half
            else:
                inside = half
        return inside

    def _p_tail(self, shift: float, alpha: float) -> float:
        sides = self.sides.map_candidate(self.sides.candidate - shift)
        draws = max(_INTERVAL_DRAWS, math.ceil(20.0 / alpha))
        null = exchange_tail(sides, self.share, draws=draws, blocks=self.blocks)
        observed = self.point - shift
        return (1 + int(np.count_nonzero(null >= observed - 1e-12 * abs(observed)))) / (1 + draws)
