"""Seeded resampling of whole utterances, and ratios of sums over them.

Repeats of one utterance are alike, so utterances are drawn with replacement and bring all their
trials (cluster bootstrap; Davison & Hinkley, *Bootstrap Methods*, 3.8). The seed is a digest of the
data, so the same trials give the same interval on every machine and in every order of calls, and
nobody can draw until they like the result.
"""

import hashlib
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.statistics.distributions import (
    gamma_quantile,
    normal_quantile,
    student_quantile,
)
from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.statistics.quantile import quantile_index

__all__ = [
    "cluster_weights",
    "content_seed",
    "estimate_ratio_of_sums",
    "generator",
    "percentile_interval",
    "weighted_quantiles",
]


def content_seed(*parts: str | bytes | NDArray[np.generic]) -> int:
    """Return a 64-bit seed from what is to be resampled.

    Arrays count by dtype, shape and bytes; the order of the parts counts.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            data = part.encode()
        elif isinstance(part, bytes):
            data = part
        else:
            data = f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest()[:8], "little")


def generator(*parts: str | bytes | NDArray[np.generic]) -> np.random.Generator:
    """Return a generator seeded by :func:`content_seed` of the parts."""
    return np.random.Generator(np.random.PCG64(content_seed(*parts)))


def cluster_weights(
    clusters: int, resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return how often each cluster is drawn: shape (resamples, clusters), rows sum to clusters."""
    if clusters < 1:
        raise ValueError("resampling needs a cluster")
    share = np.full(clusters, 1.0 / clusters)
    return random.multinomial(clusters, share, size=resamples).astype(np.float64)


def percentile_interval(
    draws: NDArray[np.float64], *, confidence: float, clusters: int
) -> tuple[float, float]:
    """Return the percentile interval of bootstrap draws, widened for few clusters.

    The bootstrap of k clusters has a variance (k-1)/k too small and normal tails; the shares are
    moved so that a normal draw would give Student's t interval with k - 1 degrees of freedom (the
    expanded percentile interval of Hesterberg, *What Teachers Should Know about the Bootstrap*,
    2015, 5.3).
    """
    if clusters < 2:
        raise ValueError("an interval needs at least two clusters")
    tail = (1.0 - confidence) / 2.0
    t = student_quantile(tail, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    share = 0.5 * math.erfc(-t / math.sqrt(2.0))
    low, high = np.quantile(draws, (share, 1.0 - share), method="inverted_cdf")
    return float(low), float(high)


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """Return the percentile of each resample; shape (draws,).

    Args:
        values: shape (n,); failures are +inf.
        weights: how often each value was drawn; shape (draws, n), every row of positive sum.
        share: which percentile.
    """
    order = np.argsort(values, kind="stable")
    totals = np.cumsum(weights[:, order], axis=1)
    ranks = np.array([quantile_index(int(n), share) + 1 for n in totals[:, -1]])
    found: NDArray[np.float64] = values[order][np.argmax(totals >= ranks[:, None], axis=1)]
    return found


def estimate_ratio_of_sums(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    method: str = "ratio of sums",
) -> Estimate | Unsupported:
    """Return sum(numerators) / sum(denominators) with the interval of a count that hangs together.

    A pooled word error rate is such a ratio: errors over reference words. The interval is that of a
    Poisson count at the effective n (Korn & Graubard, *Survey Methodology* 24, 1998, with a rate
    that may pass 1): the denominators' sum over the design effect of the utterances, which a few
    errors cannot tell. Until they can it is taken to be twice the trials of an utterance: a word
    that is misheard takes another with it, and is misheard in each repeat. Resampling cannot invent
    an error that was not made, and covered 77 to 91 % where errors are rare.

    Args:
        numerators: shape (n,), not negative.
        denominators: shape (n,), not negative, of positive sum.
        clusters: shape (n,); every trial its own utterance when absent.
        confidence: nominal coverage.
        method: the statistic's name.

    Returns:
        The estimate, whose ``effective_n`` counts what the denominators count.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    groups = np.arange(top.size) if clusters is None else np.asarray(clusters)
    if top.ndim != 1 or top.shape != bottom.shape or groups.shape != top.shape:
        raise ValueError("numerators, denominators and clusters are equally long")
    if (top < 0).any() or (bottom < 0).any():
        raise ValueError("the parts of a ratio of sums are not negative")
    names, index = np.unique(groups, return_inverse=True)
    k = names.size
    total = float(bottom.sum())
    if total <= 0 or k < 2:
        return Unsupported(
            reason="needs at least two utterances" if total > 0 else "nothing to divide by",
            needed=2,
            n=int(top.size),
            effective_n=float(k),
            failures=0,
            observed=float(top.sum()) / total if total > 0 else None,
        )
    tops, bottoms = (
        np.bincount(index, weights=each, minlength=k).astype(np.float64) for each in (top, bottom)
    )
    # Rounding must not depend on the order of the trials.
    order = np.lexsort((bottoms, tops))
    tops, bottoms = tops[order], bottoms[order]
    point = float(tops.sum()) / total
    tail = (1.0 - confidence) / 2.0
    few = normal_quantile(1.0 - tail) / student_quantile(1.0 - tail, k - 1)
    effective = total / _together(tops, bottoms, trials=top.size / k) * few**2
    hits = point * effective
    return Estimate(
        point=point,
        low=min(gamma_quantile(tail, hits) / effective, point),
        high=max(gamma_quantile(1.0 - tail, hits + 1.0) / effective, point),
        confidence=confidence,
        n=int(top.size),
        effective_n=effective,
        failures=0,
        method=f"{method}, Poisson at the effective n of {k} utterances",
    )


def _together(tops: NDArray[np.float64], bottoms: NDArray[np.float64], *, trials: float) -> float:
    """Return the design effect of events that come together within utterances.

    The variance of the ratio over utterances (linearised) against that of independent events, drawn
    towards twice the trials of an utterance: as if by two utterances with events where they
    come together more than that, by 24 where they do so less. So one more error never
    looks like much better knowledge of how errors come.
    """
    usual, k, total = 2.0 * trials, tops.size, float(bottoms.sum())
    point = float(tops.sum()) / total
    if point == 0.0:
        return usual
    apart = tops - point * bottoms
    measured = k / (k - 1) * float(apart @ apart) / (point * total)
    told = float(np.count_nonzero(tops)) - 1.0
    return max((held * usual + told * measured) / (held + told) for held in (2.0, 24.0))
