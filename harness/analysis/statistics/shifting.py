"""The shift between two samples, from pairs of their values."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.estimate import Sample, Unsupported
from harness.analysis.statistics.exchange import (
    Blocks,
    Sides,
    exchange_tail,
    gap,
    middle,
    overdispersed,
    pair_gaps,
    pair_up,
    rank_scores,
    rank_variances,
)
from harness.analysis.statistics.quantile import quantile, trials_needed
from harness.analysis.statistics.shift import AT, FIRST_DRAWS, LARGE_TAIL, MOST_PAIRS, Scale, Shift

__all__ = ["shift_of"]


# Below the logarithm of every positive number that a clock gives, and still a number.
_BOTTOM = -700.0


def _scaled(sample: Sample, scale: Scale) -> Sample:
    """Return the sample in logs for ratios, with what has no logarithm tied at the bottom.

    Ranks need no logarithm: an answer before the end of speech is faster than every other.
    """
    if scale == "difference":
        return sample
    positive = ~sample.failed & (sample.values > 0)
    return Sample.of(
        np.where(positive, np.log(np.where(positive, sample.values, 1.0)), _BOTTOM),
        failed=sample.failed,
        clusters=sample.clusters,
    )


def shift_of(
    candidate: Sample,
    reference: Sample,
    *,
    share: float,
    scale: Scale = "ratio",
    blocks: Blocks = "auto",
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> Shift | Unsupported:
    """Measure how far the candidate lies above the reference.

    Args:
        candidate: one metric of the side in question.
        reference: the same of the other side; equal clusters name equal utterances.
        share: 0.5 for the typical change, else a percentile of the tail.
        scale: ``ratio`` works in logs.
        blocks: what is exchanged; see ``harness.analysis.statistics.exchange``.
        wholes: what is swapped as one, by cluster; see ``pair_up``.
    """
    a, b = _scaled(candidate, scale), _scaled(reference, scale)
    n = candidate.n + reference.n
    failures = candidate.failures + reference.failures
    sides = pair_up(a, b, wholes)
    needed = trials_needed(share, sides="upper") if share != 0.5 else 2
    if min(sides.candidate.size, sides.reference.size) < needed:
        return _unsupported(
            f"p{100 * share:g} needs {needed} trials of each side on common utterances, there are "
            f"{sides.candidate.size} and {sides.reference.size}",
            needed,
            n,
            failures,
        )
    lowest = min(quantile(each, share) for each in (sides.candidate, sides.reference))
    if scale == "ratio" and lowest <= _BOTTOM:
        return _unsupported(
            f"p{100 * share:g} is not positive, so there is no ratio", 0, n, failures
        )
    gaps, owners = _bounded_gaps(sides)
    weight = _pairs(sides) / gaps.size
    variances = rank_variances(sides)
    chosen: Literal["trials", "utterances"]
    if blocks == "auto":
        scores = weight * rank_scores(gaps, owners, sides.utterances)
        # An utterance that a side likes shows in each of its recordings, and plainest in their sum.
        spread = overdispersed(scores, variances) or (
            sides.swapped < sides.utterances
            and overdispersed(sides.by_block(scores), sides.by_block(variances))
        )
        chosen = "utterances" if spread else "trials"
    else:
        chosen = blocks
    order = np.argsort(gaps, kind="stable")
    gaps, owners = gaps[order], owners[order]
    typical = middle(gaps)
    if share == 0.5:
        point = typical
        deviation = _rank_deviation(
            gaps,
            owners,
            variances=variances,
            sides=sides,
            blocks=chosen,
            point=point,
            weight=weight,
        )
    else:
        point = float(gap(quantile(sides.candidate, share), quantile(sides.reference, share)))
        deviation = _tail_deviation(sides, share, typical, chosen)
    return Shift(
        sides=sides,
        share=share,
        blocks=chosen,
        point=point,
        deviation=deviation,
        gaps=gaps,
        owners=owners,
        variances=variances,
        weight=weight,
    )


def _unsupported(reason: str, needed: int, n: int, failures: int) -> Unsupported:
    return Unsupported(
        reason=reason, needed=needed, n=n, effective_n=float(n), failures=failures, observed=None
    )


def _bounded_gaps(sides: Sides) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the pair gaps, of every k-th sorted trial where all pairs would be too many."""
    counts = np.bincount(sides.candidate_of) * np.bincount(sides.reference_of)
    step = math.ceil(math.sqrt(float(counts.sum()) / MOST_PAIRS))
    if step == 1:
        return pair_gaps(sides)
    # Values are sorted within their utterance, so every k-th keeps the distribution's shape.
    offset = step // 2
    thin = replace(
        sides,
        candidate=sides.candidate[offset::step],
        reference=sides.reference[offset::step],
        candidate_of=sides.candidate_of[offset::step],
        reference_of=sides.reference_of[offset::step],
    )
    return pair_gaps(thin)


def _rank_deviation(
    gaps: NDArray[np.float64],
    owners: NDArray[np.int64],
    *,
    variances: NDArray[np.float64],
    sides: Sides,
    blocks: Literal["trials", "utterances"],
    point: float,
    weight: float,
) -> float:
    """Return the standard deviation of the typical change, from the slope of the rank test.

    Half the distance between the gaps that the test still accepts at 2.58 deviations to each side
    (the level at which a gate looks), over 2.58; inf when there are too few pairs to reject any.
    """
    if blocks == "trials":
        spread = math.sqrt(float(variances.sum()))
    else:
        scores = sides.by_block(weight * rank_scores(gaps, owners, sides.utterances, point))
        spread = math.sqrt(float(scores @ scores))
    steps = AT * spread / weight
    low = math.floor(gaps.size / 2 - steps - 0.5)
    high = math.ceil(gaps.size / 2 + steps - 0.5)
    if low < 0 or high >= gaps.size:
        return math.inf
    return abs(float(gap(float(gaps[high]), float(gaps[low])))) / (2.0 * AT)


def _pairs(sides: Sides) -> float:
    return float(
        (
            np.bincount(sides.candidate_of, minlength=sides.utterances)
            * np.bincount(sides.reference_of, minlength=sides.utterances)
        ).sum()
    )


def _tail_deviation(
    sides: Sides, share: float, typical: float, blocks: Literal["trials", "utterances"]
) -> float:
    """Return the standard deviation of the tail's shift under no change.

    Of the exchange distribution after the typical shift is taken out, with its outer 2 % drawn in;
    there is none (inf) where that lies among the failures. Taking out the tail's own shift instead
    gives about a sixth too little: it fits the two tails to each other.
    """
    if math.isfinite(typical):
        sides = sides.map_candidate(sides.candidate - typical)
    large = (1.0 - share) * min(sides.candidate.size, sides.reference.size) > LARGE_TAIL
    draws = 499 if large else FIRST_DRAWS
    null = exchange_tail(sides, share, draws=draws, blocks=blocks, salt=1)
    low, high = np.quantile(null, (0.01, 0.99), method="inverted_cdf")
    if not (math.isfinite(low) and math.isfinite(high)):
        return math.inf
    return float(np.std(np.clip(null, low, high)))
