"""Exchange tests of two sides that performed the same utterances.

If nothing changed, it is chance which of an utterance's trials carry which side's name. Exchanging
the names gives the distribution of any statistic under "no change", whatever shape the latencies
have: the test is exact (Fisher; Lehmann & Romano, *Testing Statistical Hypotheses*, 15.2). Two
kinds of exchange:

* ``trials``: names are exchanged among the trials of each utterance. Right when repeats of an
  utterance on one side are independent given the utterance.
* ``utterances``: the two sides of a whole utterance are swapped. Right also when the repeats of one
  side hang together (a cached prompt, a model that likes some utterances); it needs some ten
  utterances before it can be sure of anything. Where an utterance was performed under several
  conditions, trials are paired within each recording, but all its recordings are swapped together.

``auto`` takes ``trials`` unless utterances disagree by more than chance (:func:`overdispersed`).

Failures are +inf. Two failures are tied.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.distributions import chi_squared_sf
from harness.analysis.statistics.estimate import Sample

__all__ = [
    "Blocks",
    "Sides",
    "exchange_tail",
    "failure_tail",
    "gap",
    "middle",
    "overdispersed",
    "pair_gaps",
    "pair_up",
    "rank_scores",
    "rank_variances",
    "swap_signs",
    "swap_tail",
    "tail_rank",
]

Blocks = Literal["auto", "trials", "utterances"]

_OVERDISPERSION_LEVEL = 0.05
_SEED = 0x7475726E
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Trials of both sides over the utterances that both performed.

    Attributes:
        candidate: values, failures +inf; shape (a,), grouped by utterance.
        reference: the same of the other side; shape (b,).
        candidate_of: the utterance of each, 0..utterances-1, ascending; shape (a,).
        reference_of: shape (b,).
        utterances: how many both performed.
        unpaired: trials left out because only one side performed their utterance.
        blocks: what is swapped as one, 0 upwards without a gap; shape (utterances,). Of recordings,
            the utterance that they are of.
    """

    candidate: NDArray[np.float64]
    reference: NDArray[np.float64]
    candidate_of: NDArray[np.int64]
    reference_of: NDArray[np.int64]
    utterances: int
    unpaired: int
    blocks: NDArray[np.int64]

    @property
    def swapped(self) -> int:
        """How many blocks there are."""
        return int(np.unique(self.blocks).size)

    def map_candidate(self, values: NDArray[np.float64]) -> "Sides":
        """Return the same pairing with other candidate values."""
        return replace(self, candidate=values)

    def by_block(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over each block of what is known by utterance; shape (swapped,)."""
        return np.bincount(self.blocks, weights=scores).astype(np.float64)


def pair_up(
    candidate: Sample,
    reference: Sample,
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> Sides:
    """Pair two samples by utterance; trials of utterances without partner are left out.

    Args:
        candidate: the side in question.
        reference: the other; equal clusters name what is paired.
        wholes: by cluster, the number of what is swapped as one, where that is more than what is
            paired: for a recording its utterance. One that is not there is swapped alone.
    """
    common = np.intersect1d(candidate.clusters, reference.clusters)

    def take(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        keep = np.isin(sample.clusters, common)
        index = np.searchsorted(common, sample.clusters[keep]).astype(np.int64)
        values = sample.ranked[keep]
        # The order of the trials must decide nothing, so that a seed gives one answer.
        order = np.lexsort((values, index))
        return values[order], index[order]

    a, a_of = take(candidate)
    b, b_of = take(reference)
    return Sides(
        candidate=a,
        reference=b,
        candidate_of=a_of,
        reference_of=b_of,
        utterances=int(common.size),
        unpaired=candidate.n + reference.n - int(a.size + b.size),
        blocks=np.unique(
            np.array([wholes.get(each, each) for each in common.tolist()], dtype=np.int64),
            return_inverse=True,
        )[1].astype(np.int64),
    )


def gap(
    candidate: NDArray[np.float64] | float, reference: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return candidate - reference, where two failures are tied at 0."""
    with np.errstate(invalid="ignore"):
        result = np.subtract(candidate, reference)
    return np.where(np.isnan(result), 0.0, result)


def pair_gaps(sides: Sides) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the gap of every pair of trials of one utterance, and its utterance."""
    gaps, owners = [], []
    for u in range(sides.utterances):
        a = sides.candidate[sides.candidate_of == u]
        b = sides.reference[sides.reference_of == u]
        gaps.append(gap(a[:, None], b[None, :]).ravel())
        owners.append(np.full(a.size * b.size, u, dtype=np.int64))
    return np.concatenate(gaps), np.concatenate(owners)


def middle(ordered: NDArray[np.float64]) -> float:
    """Return the median of sorted gaps; monotone also where infinities meet in the middle."""
    low, high = float(ordered[(ordered.size - 1) // 2]), float(ordered[ordered.size // 2])
    if math.isinf(low) and math.isinf(high) and low != high:
        return 0.0
    if math.isinf(low):
        return low
    return high if math.isinf(high) or low == high else 0.5 * (low + high)


def rank_scores(
    gaps: NDArray[np.float64], owners: NDArray[np.int64], utterances: int, shift: float = 0.0
) -> NDArray[np.float64]:
    """Return each utterance's Wilcoxon score: pairs above the shift less those below, halved."""
    signs = np.sign(gap(gaps, shift))
    return 0.5 * np.bincount(owners, weights=signs, minlength=utterances).astype(np.float64)


def rank_variances(sides: Sides) -> NDArray[np.float64]:
    """Return the variance of each utterance's score under exchange of its trials.

    That of untied trials: ties make it smaller, but then a candidate that breaks a tie by becoming
    slower could become less significant.
    """
    a = np.bincount(sides.candidate_of, minlength=sides.utterances)
    b = np.bincount(sides.reference_of, minlength=sides.utterances)
    variances: NDArray[np.float64] = a * b * (a + b + 1) / 12.0
    return variances


def overdispersed(scores: NDArray[np.float64], variances: NDArray[np.float64]) -> bool:
    """Whether utterances disagree by more than exchanged trials would, at the 5 % level.

    The scores' spread around their mean against chi-squared. A common slowdown moves all scores
    alike and does not count.
    """
    live = variances > 0
    count = int(np.count_nonzero(live))
    if count < 4:
        return False
    standard = scores[live] / np.sqrt(variances[live])
    spread = float(((standard - standard.mean()) ** 2).sum())
    tail = chi_squared_sf(spread, count - 1)
    return tail < _OVERDISPERSION_LEVEL


def failure_tail(
    observed: int,
    failures: NDArray[np.int64],
    sizes: NDArray[np.int64],
    totals: NDArray[np.int64],
) -> float:
    """Return P(candidate's failures >= observed) when names are exchanged within utterances; exact.

    Args:
        observed: failures of the candidate.
        failures: of both sides by utterance.
        sizes: the candidate's trials by utterance.
        totals: both sides' trials by utterance.
    """
    mass = np.ones(1)
    for bad, ours, n in zip(failures.tolist(), sizes.tolist(), totals.tolist(), strict=True):
        if bad:
            ways = np.array(
                [
                    math.comb(bad, i) * math.comb(n - bad, ours - i) if i <= ours else 0
                    for i in range(bad + 1)
                ],
                dtype=np.float64,
            ) / math.comb(n, ours)
            mass = np.convolve(mass, ways)
    return min(1.0, float(mass[observed:].sum()))


def swap_tail(scores: NDArray[np.float64], total: float) -> float:
    """Return P(sum of scores with random signs >= total); exact up to 16 utterances."""
    if scores.size == 0:
        return 1.0
    tolerance = 1e-9 * max(1.0, float(np.abs(scores).sum()))
    if scores.size <= 16:
        sums = np.zeros(1)
        for value in scores:
            sums = np.concatenate((sums + value, sums - value))
        return float(np.mean(sums >= total - tolerance))
    draws = 49_999
    sums = _signed_sums(_packed_signs(int(scores.size), draws), scores)
    return (1 + int(np.count_nonzero(sums >= total - tolerance))) / (1 + draws)


@lru_cache(maxsize=32)
def swap_signs(utterances: int, draws: int, *, salt: int = 0) -> NDArray[np.float64]:
    """Return random signs, shape (draws, utterances): the sides of each utterance swapped or not.

    The seed is constant: one data set has one answer.
    """
    random = np.random.Generator(np.random.PCG64([_SEED, utterances, draws, salt]))
    return random.integers(0, 2, size=(draws, utterances)).astype(np.float64) * 2.0 - 1.0


@lru_cache(maxsize=4)
def _packed_signs(utterances: int, draws: int) -> NDArray[np.uint8]:
    """Return :func:`swap_signs` as bits, eight utterances to a byte; shape (bytes, draws)."""
    random = np.random.Generator(np.random.PCG64([_SEED, utterances, draws, 0]))
    # In blocks: all signs of 10,000 utterances at once would take 4 GB.
    size = max(1, _BLOCK // utterances)
    packed = [
        np.packbits(
            random.integers(0, 2, size=(min(size, draws - start), utterances)) > 0,
            axis=1,
            bitorder="little",
        )
        for start in range(0, draws, size)
    ]
    return np.ascontiguousarray(np.concatenate(packed).T)


def _signed_sums(packed: NDArray[np.uint8], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of scores under each draw's signs: eight scores at a time from a table."""
    sums = np.zeros(packed.shape[1])
    for place, octet in enumerate(packed):
        table = np.zeros(1)
        for value in scores[8 * place : 8 * place + 8]:
            table = np.concatenate((table - value, table + value))
        sums += table[octet]
    return sums


def tail_rank(n: int, p: float) -> int:
    """Return which largest value the p-quantile of n trials is, counted from 1 at the top."""
    return n - max(1, math.ceil(n * p - 1e-9)) + 1


def exchange_tail(
    sides: Sides, p: float, *, draws: int, blocks: Literal["trials", "utterances"], salt: int = 0
) -> NDArray[np.float64]:
    """Return the gap between the sides' p-quantiles under random exchange; shape (draws,).

    Only the upper tail is drawn: going down the pooled values, each is given to a side with the
    chance that the names left in its utterance leave it, until both quantiles are reached. So a
    draw costs the size of the tail, not of the run.
    """
    random = np.random.Generator(np.random.PCG64([_SEED, draws, 1 + salt]))
    values = np.concatenate((sides.candidate, sides.reference))
    owner = np.concatenate((sides.candidate_of, sides.reference_of))
    ours = np.arange(values.size) < sides.candidate.size
    order = np.lexsort((owner, -values))
    values, owner, ours = values[order], owner[order], ours[order]
    names = np.bincount(owner[ours], minlength=sides.utterances)
    totals = np.bincount(owner, minlength=sides.utterances)
    if blocks == "trials":
        want_a = np.full(draws, tail_rank(sides.candidate.size, p))
        want_b = np.full(draws, tail_rank(sides.reference.size, p))
        left = np.tile(names.astype(np.int32), (draws, 1))
        swapped = np.zeros((0, 0), dtype=np.bool_)
    else:
        swapped = random.integers(0, 2, size=(draws, sides.swapped)).astype(np.bool_)
        swapped = swapped[:, sides.blocks]
        size_a = names.sum() + swapped @ (totals - 2 * names)
        want_a = np.array([tail_rank(int(n), p) for n in size_a])
        want_b = np.array([tail_rank(int(values.size - n), p) for n in size_a])
        left = np.zeros((0, 0), dtype=np.int32)
    seen = np.zeros(sides.utterances, dtype=np.int64)
    quantile_a, quantile_b = np.full(draws, np.nan), np.full(draws, np.nan)
    count_a = np.zeros(draws, dtype=np.int64)
    for index, value in enumerate(values):
        u = owner[index]
        if blocks == "trials":
            to_a = random.random(draws, dtype=np.float32) * (totals[u] - seen[u]) < left[:, u]
            left[:, u] -= to_a
            seen[u] += 1
        else:
            to_a = swapped[:, u] ^ ours[index]
        count_a += to_a
        count_b = index + 1 - count_a
        quantile_a[(count_a == want_a) & to_a] = value
        quantile_b[(count_b == want_b) & ~to_a] = value
        if (count_a >= want_a).all() and (count_b >= want_b).all():
            break
    return gap(quantile_a, quantile_b)
