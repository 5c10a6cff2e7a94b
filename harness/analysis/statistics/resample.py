"""Seeded resampling of whole utterances.

Repeats of one utterance are alike, so utterances are drawn with replacement and bring all their
trials (cluster bootstrap; Davison & Hinkley, *Bootstrap Methods*, 3.8). The seed is a digest of the
data, so the same trials give the same interval on every machine and in every order of calls, and
nobody can draw until they like the result.
"""

import hashlib
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.statistics.distributions import student_quantile
from harness.analysis.statistics.estimate import Estimate, Unsupported

__all__ = [
    "cluster_weights",
    "content_seed",
    "estimate_ratio_of_sums",
    "generator",
    "percentile_interval",
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


def estimate_ratio_of_sums(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 4_000,
    method: str = "ratio of sums",
) -> Estimate | Unsupported:
    """Return sum(numerators) / sum(denominators) with a cluster bootstrap interval.

    A pooled word error rate is such a ratio: errors over reference words.

    Args:
        numerators: shape (n,), not negative.
        denominators: shape (n,), not negative, of positive sum.
        clusters: shape (n,), the utterance of each; every row its own when absent.
        confidence: nominal coverage.
        resamples: bootstrap draws; 4,000 leave the 95 % ends uncertain by about 2 % of the width.
        method: the statistic's name.
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
    tops = np.bincount(index, weights=top, minlength=k)
    bottoms = np.bincount(index, weights=bottom, minlength=k)
    point = float(tops.sum()) / total
    random = generator("ratio of sums", tops, bottoms)
    # Blocks bound the memory when every one of 10,000 trials is its own utterance.
    block = max(1, min(resamples, 4_000_000 // k))
    draws: list[NDArray[np.float64]] = []
    for start in range(0, resamples, block):
        weights = cluster_weights(k, min(block, resamples - start), random)
        sums = weights @ bottoms
        drawn = (weights @ tops)[sums > 0] / sums[sums > 0]
        draws.append(drawn)
    low, high = percentile_interval(np.concatenate(draws), confidence=confidence, clusters=k)
    if not tops.any():
        # No error at all: resampling cannot invent one. The rule of three on the utterances.
        high = 1.0 - ((1.0 - confidence) / 2.0) ** (1.0 / k)
    return Estimate(
        point=point,
        low=min(low, point),
        high=max(high, point),
        confidence=confidence,
        n=int(top.size),
        effective_n=float(k),
        failures=0,
        method=f"{method}, bootstrap of {k} utterances",
    )
