"""Predict the response of a combination from stages that were measured alone.

N recognisers, M language models and K voices need N + M + K measurements instead of N x M x K, if
the response is the sum of its parts along the critical path. The prediction draws utterances, and
of each utterance one trial per part, and adds the drawn spans: the distribution of the sum follows,
percentiles and failures included.

Parts that were measured on the same utterances are paired by utterance, so that a long question
that is slow to transcribe and slow to answer stays one question. A part without utterances (a voice
measured on fixed texts) is drawn freely.

**It does not hold** when the parts overlap or wait for each other: preemptive generation (the LLM
starts before the turn is committed), a pool that one stage fills, a rate limit shared by stages, a
reply whose length depends on the recogniser. The parts must be the critical path's own, edge by
edge, as attribution gives them; :func:`prediction_error` states the error on combinations really
run.

A failure of any part is a failure of the response.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.estimate import Estimate, Sample, TimedOut, Unsupported
from harness.analysis.statistics.quantile import estimate_quantiles, quantile
from harness.analysis.statistics.resample import generator, percentile_interval

__all__ = ["Part", "Prediction", "PredictionError", "predict_response", "prediction_error"]

_FEWEST = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One edge of the critical path, measured alone.

    Attributes:
        name: shown in the report: "Parakeet final", "Kimi first sentence".
        spans: its spans in the run's unit; negative ones are legal. Clusters are utterances.
        paired: whether the clusters are the suite's utterances; False draws from all trials alike.
    """

    name: str
    spans: Sample
    paired: bool = True

    def __post_init__(self) -> None:
        if self.spans.n == 0:
            raise ValueError(f"part {self.name!r} was never measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted distribution of a combination's response.

    Attributes:
        parts: names, in order.
        quantiles: for each share its estimate.
        failures: predicted share of failed responses, 0 to 1.
        utterances: how many all paired parts have in common.
        method: by name.
    """

    parts: tuple[str, ...]
    quantiles: Mapping[float, Estimate | TimedOut | Unsupported]
    failures: float
    utterances: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionError:
    """A prediction held against the same combination really run.

    Attributes:
        share: which percentile.
        predicted: its prediction.
        measured: what the run gave.
        relative: predicted over measured, minus 1.
        covered: whether the measured value lies within the predicted interval.
    """

    share: float
    predicted: Estimate
    measured: float
    relative: float
    covered: bool


def predict_response(
    parts: Sequence[Part],
    *,
    shares: tuple[float, ...] = (0.5, 0.9, 0.95),
    confidence: float = 0.95,
    resamples: int = 400,
    draws: int = 2_000,
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> Prediction:
    """Predict the response of the parts in sequence.

    Args:
        parts: the critical path, edge by edge.
        shares: percentiles to predict.
        confidence: of the intervals.
        resamples: outer bootstrap: utterances, and trials within them, are drawn anew each time.
        draws: sums drawn per resample.
        wholes: by cluster, the number of what is drawn as one, where that is more than what is
            paired: for a recording its utterance. One that is not there is drawn alone.

    Returns:
        Quantiles with an interval for what the measurements leave open. It does not hold what the
        assumption of a sum leaves out.

    Raises:
        ValueError: no parts, or paired parts without a common utterance.
    """
    if not parts:
        raise ValueError("a response has at least one part")
    paired = [part for part in parts if part.paired]
    free = [_in_wholes(part, wholes) for part in parts if not part.paired]
    common = _common_utterances(paired)
    by_utterance = [_table(part, common) for part in paired]
    random = generator(
        "composition",
        *(array for part in parts for array in (part.spans.ranked, part.spans.clusters)),
    )
    count = max(1, len(common))
    members = _members(common, wholes)
    point_sums = _sums(by_utterance, free, np.arange(count), 40 * draws, random, trials=None)
    results: list[list[float]] = [[] for _ in shares]
    for _ in range(resamples):
        drawn = random.integers(0, len(members), len(members))
        chosen = np.concatenate([members[each] for each in drawn])
        sums = _sums(by_utterance, free, chosen, draws, random, trials=random)
        ordered = np.sort(sums)
        for store, share in zip(results, shares, strict=True):
            store.append(quantile(ordered, share))
    clusters = min(
        [len(members)] * bool(paired) + [int(np.unique(p.spans.clusters).size) for p in free]
    )
    ordered = np.sort(point_sums)
    method = f"sum of {len(parts)} parts drawn by utterance, bootstrap of {clusters} utterances"
    smallest = min(part.spans.n for part in parts)
    quantiles: dict[float, Estimate | TimedOut | Unsupported] = {}
    unsupported = _unsupported(parts, common, shares, confidence, wholes)
    for share, store in zip(shares, results, strict=True):
        short = unsupported.get(share)
        if short is not None:
            point = quantile(ordered, share)
            seen = None if math.isinf(point) else point
            quantiles[share] = replace(short, observed=seen)
            continue
        quantiles[share] = _estimate(
            quantile(ordered, share),
            np.array(store),
            confidence=confidence,
            clusters=clusters,
            n=smallest,
            method=f"p{100 * share:g}, {method}",
        )
    return Prediction(
        parts=tuple(part.name for part in parts),
        quantiles=quantiles,
        failures=float(np.isinf(point_sums).mean()),
        utterances=len(common),
        method=method,
    )


def _unsupported(
    parts: Sequence[Part],
    common: Sequence[int],
    shares: tuple[float, ...],
    confidence: float,
    wholes: Mapping[int, int],
) -> dict[float, Unsupported]:
    """Return the percentiles that a part cannot carry: what is measured so is not predicted finer.

    The rule is that of a measured percentile, of the part with the fewest independent trials.
    """
    found: dict[float, Unsupported] = {}
    for part in parts:
        keep = np.isin(part.spans.clusters, common) if part.paired else slice(None)
        spans = Sample.of(
            part.spans.values[keep],
            failed=part.spans.failed[keep],
            clusters=_whole(part.spans.clusters[keep], wholes),
        )
        measured = estimate_quantiles(spans, shares, confidence=confidence)
        for share, statistic in zip(shares, measured, strict=True):
            if not isinstance(statistic, Unsupported):
                continue
            if share not in found or statistic.effective_n < found[share].effective_n:
                found[share] = replace(statistic, reason=f"{part.name}: {statistic.reason}")
    return found


def _whole(clusters: NDArray[np.int64], wholes: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array([wholes.get(each, each) for each in clusters.tolist()], dtype=np.int64)


def _in_wholes(part: Part, wholes: Mapping[int, int]) -> Part:
    spans = part.spans
    clusters = _whole(spans.clusters, wholes)
    return replace(part, spans=Sample.of(spans.values, failed=spans.failed, clusters=clusters))


def _members(common: Sequence[int], wholes: Mapping[int, int]) -> list[NDArray[np.int64]]:
    """Return the positions in ``common`` of each that is drawn as one; one where all is free."""
    if not common:
        return [np.zeros(1, dtype=np.int64)]
    index = np.unique(_whole(np.array(common, dtype=np.int64), wholes), return_inverse=True)[1]
    return [np.flatnonzero(index == each) for each in range(int(index.max()) + 1)]


def _common_utterances(paired: Sequence[Part]) -> list[int]:
    if not paired:
        return []
    common = set(paired[0].spans.clusters.tolist())
    for part in paired[1:]:
        common &= set(part.spans.clusters.tolist())
    if not common:
        raise ValueError(
            "the paired parts have no utterance in common: "
            + ", ".join(part.name for part in paired)
        )
    return sorted(common)


def _table(part: Part, common: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return the part's spans of each common utterance, sorted, failures +inf."""
    return [np.sort(part.spans.ranked[part.spans.clusters == u]) for u in common]


def _sums(
    by_utterance: Sequence[Sequence[NDArray[np.float64]]],
    free: Sequence[Part],
    chosen: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
    *,
    trials: np.random.Generator | None,
) -> NDArray[np.float64]:
    """Draw sums of spans; with ``trials`` the trials of each utterance are resampled first."""
    each = max(1, math.ceil(draws / chosen.size))
    total = np.zeros((chosen.size, each))
    for table in by_utterance:
        for row, u in enumerate(chosen):
            spans = table[u]
            if trials is not None:
                spans = spans[trials.integers(0, spans.size, spans.size)]
            total[row] += spans[random.integers(0, spans.size, each)]
    for part in free:
        spans = np.sort(part.spans.ranked)
        if trials is not None:
            spans = _resampled_clusters(part.spans, trials)
        total += spans[random.integers(0, spans.size, total.shape)]
    return total.ravel()


def _resampled_clusters(sample: Sample, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the values of clusters drawn with replacement."""
    names, index = np.unique(sample.clusters, return_inverse=True)
    if names.size == sample.n:
        return sample.ranked[random.integers(0, sample.n, sample.n)]
    drawn = random.integers(0, names.size, names.size)
    return np.concatenate([sample.ranked[index == c] for c in drawn])


def _estimate(
    point: float,
    draws: NDArray[np.float64],
    *,
    confidence: float,
    clusters: int,
    n: int,
    method: str,
) -> Estimate | TimedOut | Unsupported:
    if clusters < _FEWEST:
        return Unsupported(
            reason=f"a prediction needs {_FEWEST} utterances of each part, there are {clusters}",
            needed=_FEWEST,
            n=n,
            effective_n=float(clusters),
            failures=0,
            observed=None,
        )
    failures = int(np.count_nonzero(np.isinf(draws)))
    if math.isinf(point):
        return TimedOut(n=draws.size, failures=max(1, failures))
    low, high = percentile_interval(draws, confidence=confidence, clusters=clusters)
    return Estimate(
        point=point,
        low=min(low, point),
        high=TimedOut(n=draws.size, failures=failures) if math.isinf(high) else max(high, point),
        confidence=confidence,
        n=n,
        effective_n=float(clusters),
        failures=0,
        method=method,
    )


def prediction_error(prediction: Prediction, measured: Sample) -> tuple[PredictionError, ...]:
    """Return the error of a prediction against the combination really run, by percentile.

    Percentiles without a predicted or measured number are left out: among them those that the
    trials of the combination really run cannot carry.
    """
    errors: list[PredictionError] = []
    shares = tuple(prediction.quantiles)
    run = estimate_quantiles(measured, shares)
    for share, found in zip(shares, run, strict=True):
        predicted = prediction.quantiles[share]
        if not isinstance(predicted, Estimate) or not isinstance(found, Estimate):
            continue
        truth = found.point
        if truth == 0:
            continue
        high = math.inf if isinstance(predicted.high, TimedOut) else predicted.high
        errors.append(
            PredictionError(
                share=share,
                predicted=predicted,
                measured=truth,
                relative=predicted.point / truth - 1.0,
                covered=predicted.low <= truth <= high,
            )
        )
    return tuple(errors)
