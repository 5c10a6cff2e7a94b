"""How far two sides' percentiles lie apart, as resampling leaves it open.

The exchange tests of ``shift`` ask whether anything changed and, for an interval, take the whole
distribution as moved alike. A percentile may move further than the rest does: where the share of
slow answers grows, the median jumps from one mode to the other while the typical pair hardly moves.
What bounds the gap between the two percentiles themselves is therefore resampled: whole utterances,
both sides' trials together, from eight on; of fewer, the trials within each utterance, so that the
bound speaks of these utterances only.
"""

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.exchange import Sides, gap
from harness.analysis.statistics.resample import (
    cluster_weights,
    generator,
    percentile_interval,
    weighted_quantiles,
)

__all__ = ["FEW_UTTERANCES", "QuantileGap", "quantile_gap"]

#: Below so many utterances a number speaks of these utterances only.
FEW_UTTERANCES = 8

# So many pieces show which way a median may lie: 2**-5 is below 5 %.
_FEWEST = 5
_DRAWS = 1_999
_BLOCK = 4_000_000


class QuantileGap:
    """The gap between two percentiles under resampling.

    Attributes:
        draws: candidate minus reference, sorted; +inf where the candidate's lies among failures.
        pieces: how many pieces were resampled: utterances, or what the trials of few are worth.
    """

    __slots__ = ("draws", "pieces")

    def __init__(self, draws: NDArray[np.float64], pieces: int) -> None:
        self.draws = np.sort(draws)
        self.pieces = pieces

    def upper(self, confidence: float) -> float:
        """Return the one-sided upper bound of the gap."""
        return percentile_interval(
            self.draws, confidence=2.0 * confidence - 1.0, clusters=self.pieces
        )[1]

    @property
    def deviation(self) -> float:
        """The standard deviation, with the outer 2 % drawn in; inf where they are failures."""
        low, high = np.quantile(self.draws, (0.01, 0.99), method="inverted_cdf")
        if not (np.isfinite(low) and np.isfinite(high)):
            return float("inf")
        widened = np.sqrt(self.pieces / (self.pieces - 1))
        return float(np.clip(self.draws, low, high).std() * widened)


def quantile_gap(sides: Sides, share: float) -> QuantileGap | None:
    """Resample the gap between the sides' percentiles; None of too few trials.

    Args:
        sides: the paired trials, on the scale of the gap (logs for a ratio).
        share: which percentile.
    """
    random = generator("quantile gap", sides.candidate, sides.reference, str(share))
    few = sides.swapped < FEW_UTTERANCES
    counts = [
        np.bincount(of, minlength=sides.utterances)
        for of in (sides.candidate_of, sides.reference_of)
    ]
    within = few and min(int(each.min()) for each in counts) > 1
    if within:
        pieces = max(2, min(sides.candidate.size, sides.reference.size) - sides.utterances + 1)
    else:
        pieces = sides.swapped
    if pieces < _FEWEST:
        return None
    size = max(1, _BLOCK // max(sides.candidate.size, sides.reference.size))
    found: list[NDArray[np.float64]] = []
    for start in range(0, _DRAWS, size):
        draws = min(size, _DRAWS - start)
        if within:
            ours = _within(sides.candidate_of, counts[0], draws, random)
            theirs = _within(sides.reference_of, counts[1], draws, random)
        else:
            weights = cluster_weights(sides.swapped, draws, random)
            ours = weights[:, sides.blocks[sides.candidate_of]]
            theirs = weights[:, sides.blocks[sides.reference_of]]
        found.append(
            gap(
                weighted_quantiles(sides.candidate, ours, share),
                weighted_quantiles(sides.reference, theirs, share),
            )
        )
    return QuantileGap(np.concatenate(found), pieces)


def _within(
    owner: NDArray[np.int64],
    counts: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return how often each trial is drawn from its own utterance's: shape (draws, trials)."""
    weights = np.empty((draws, owner.size))
    for utterance, count in enumerate(counts.tolist()):
        weights[:, owner == utterance] = cluster_weights(count, draws, random)
    return weights
