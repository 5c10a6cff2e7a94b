"""Candidate and reference draw for draw: what a gate can say on a virtual clock.

There both sides of a turn (one recording, one repeat) meet the same draws of the profiles, and
nothing else moves them: what differs is the change's own effect. Equal turns need no statistics.
Where turns differ, the pairs are resampled by whole utterances, so that the interval speaks of
other draws of the same profiles, for as many utterances as there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.distributions import normal_quantile
from harness.analysis.statistics.gate_rule import PASS_CONFIDENCE, Evidence, Limit
from harness.analysis.statistics.paired import POWER
from harness.analysis.statistics.quantile import quantile
from harness.analysis.statistics.resample import (
    cluster_weights,
    generator,
    percentile_interval,
    weighted_quantiles,
)
from harness.analysis.summary.interruptions import event_of, is_event
from harness.analysis.summary.samples import Row, cluster_of
from harness.analysis.summary.words import word_rate
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.measurement import Measurement
from harness.domain.trial import FailedTrial

__all__ = ["DrawPairs", "draw_pairs", "drawn_evidence"]

_MOST_DRAWS = 40_000
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawPairs:
    """A metric of two candidates, turn by turn.

    Attributes:
        turns: pairs in which either side has the metric.
        differing: pairs whose values are not equal, to the last bit.
        median, least, most: candidate minus reference over the differing pairs that have both
            values, in the metric's unit; None where there is none.
        one_sided: differing pairs in which one side alone failed or has no value.
        candidate, reference: on the limit's scale (more is slower), +inf for a failure; only of
            pairs in which neither side lacks the metric.
        clusters: the utterance of each of these.
    """

    turns: int
    differing: int
    median: float | None
    least: float | None
    most: float | None
    one_sided: int
    candidate: tuple[float, ...] = field(repr=False, default=())
    reference: tuple[float, ...] = field(repr=False, default=())
    clusters: tuple[int, ...] = field(repr=False, default=())

    @property
    def equal(self) -> bool:
        """Whether no turn differs."""
        return self.differing == 0


def _value(metric_id: str, row: Row) -> object:
    """Return what is compared between two turns; None where the turn does not ask for it."""
    if metric_id == "failures":
        return isinstance(row.trial, FailedTrial)
    kind = word_rate(metric_id)
    if kind is not None:
        return row.words if kind == "wer" else row.spoken
    if is_event(metric_id):
        return event_of(metric_id, row)
    found = row.found[metric_id]
    if isinstance(found, Measurement):
        return found.value
    return None if found.failure is None else math.inf


def draw_pairs(
    metric_id: str, candidate: Sequence[Row], reference: Sequence[Row]
) -> DrawPairs | None:
    """Return a metric draw for draw.

    Args:
        metric_id: a metric, or "failures".
        candidate: the counted trials of the one.
        reference: those of the other, on the same virtual clock.

    Returns:
        None where a trial has no partner, or no turn has the metric: then there is nothing to say.
    """
    mine = {_draw(row): row for row in candidate}
    theirs = {_draw(row): row for row in reference}
    if mine.keys() != theirs.keys():
        return None
    scaled = metric_id in METRICS and METRICS[metric_id].better == "higher"
    differences: list[float] = []
    kept: list[tuple[float, float, int]] = []
    turns = differing = one_sided = 0
    for draw in sorted(mine):
        ours, other = _value(metric_id, mine[draw]), _value(metric_id, theirs[draw])
        if ours is None and other is None:
            continue
        turns += 1
        differing += ours != other
        numbers = [each for each in (ours, other) if isinstance(each, float)]
        if len(numbers) == 2:
            slow = [1.0 / each if scaled else each for each in numbers]
            kept.append((*slow, cluster_of(mine[draw].utterance.id)))  # type: ignore[arg-type]
        if ours == other:
            continue
        if len(numbers) == 2 and all(math.isfinite(each) for each in numbers):
            differences.append(numbers[0] - numbers[1])
        elif numbers:
            one_sided += 1
    if not turns:
        return None
    return DrawPairs(
        turns=turns,
        differing=differing,
        median=median(differences) if differences else None,
        least=min(differences, default=None),
        most=max(differences, default=None),
        one_sided=one_sided,
        candidate=tuple(each[0] for each in kept),
        reference=tuple(each[1] for each in kept),
        clusters=tuple(each[2] for each in kept),
    )


def _draw(row: Row) -> tuple[str, str, int]:
    key = row.trial.key
    return key.recording, key.barge_in, key.repeat


def drawn_evidence(
    pairs: DrawPairs, limit: Limit, *, share: float | None, alpha: float
) -> Evidence | None:
    """Return the evidence on a relative limit from turns that share their draws.

    Turns that are all equal keep any limit. Of others the point is the ratio (or the difference) of
    the printed percentiles. A point beyond the limit is never passed, so that a slower candidate
    cannot turn FAIL into PASS: it fails where the resampled pairs exclude no change, and is
    inconclusive where they do not.

    Args:
        pairs: of the budget's metric.
        limit: of kind ``ratio`` or ``increase``.
        share: which percentile; None for a rate.
        alpha: the level of the budget.

    Returns:
        None where this has no answer and the usual one has to do: rates that differ, a percentile
        that lies among the failures, a value that is not positive, a single utterance.
    """
    a, b = np.asarray(pairs.candidate), np.asarray(pairs.reference)
    # Equal failures are no answer to how long the turns take.
    if pairs.equal and (share is None or math.isfinite(quantile(a, share))):
        none = 1.0 if limit.kind == "ratio" else 0.0
        return Evidence(
            point=none,
            p_value=1.0,
            suspicious=False,
            detectable=limit.limit,
            upper=none,
            alpha=alpha,
            method=f"equal in all {pairs.turns} turns",
        )
    names, index = np.unique(np.asarray(pairs.clusters), return_inverse=True)
    if share is None or names.size < 2:
        return None
    ours, theirs = quantile(a, share), quantile(b, share)
    ratio = limit.kind == "ratio"
    if not (math.isfinite(ours) and math.isfinite(theirs)) or (ratio and min(ours, theirs) <= 0):
        return None
    draws = min(_MOST_DRAWS, max(3_999, math.ceil(10.0 / alpha)))
    random = generator("drawn", a, b, index, str(share))
    moved: list[NDArray[np.float64]] = []
    block = max(1, _BLOCK // a.size)
    for start in range(0, draws, block):
        weights = cluster_weights(names.size, min(block, draws - start), random)[:, index]
        drawn, other = (weighted_quantiles(each, weights, share) for each in (a, b))
        with np.errstate(divide="ignore", invalid="ignore"):
            moved.append(np.log(drawn / other) if ratio else drawn - other)
    shifts = np.concatenate(moved)
    shifts = np.where(np.isnan(shifts), np.inf, shifts)
    point = math.log(ours / theirs) if ratio else ours - theirs
    bar = math.log(limit.limit) if ratio else limit.limit
    low, _ = percentile_interval(shifts, confidence=1.0 - 2.0 * alpha, clusters=names.size)
    _, upper = percentile_interval(
        shifts, confidence=2.0 * PASS_CONFIDENCE - 1.0, clusters=names.size
    )
    # Failures in a resample are no number: its outer 2 % are drawn in, as everywhere.
    least, most = np.quantile(shifts, (0.01, 0.99), method="inverted_cdf")
    deviation = math.inf
    if math.isfinite(least) and math.isfinite(most):
        widened = math.sqrt(names.size / (names.size - 1))
        deviation = float(np.clip(shifts, least, most).std()) * widened
    critical = max(bar, point - low)
    beyond = point > bar
    below = float(np.count_nonzero(shifts <= 0.0) + 1) / (shifts.size + 1)
    # The interval is wider than the share of draws where utterances are few.
    p_value = below if low > 0.0 else max(below, min(1.0, 2.0 * alpha))
    shown = _exp if ratio else float
    return Evidence(
        point=ours / theirs if ratio else point,
        p_value=p_value,
        suspicious=beyond,
        detectable=shown(critical + normal_quantile(POWER) * deviation),
        upper=shown(max(upper, point)),
        alpha=alpha,
        method=f"p{100 * share:g} {limit.kind}, turns with equal draws, resampled over "
        f"{names.size} utterances",
    )


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf
