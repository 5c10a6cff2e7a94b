"""How many trials a wanted detectable change needs, from a pilot's spread.

The deviation of a paired change falls with the root of the repeats as long as utterances agree on
the change, and with the root of the utterances always. The pilot gives the deviation per utterance
and repeat: that of the typical change (p50) from its exchange test, that of a tail from the spread
of the trials around the percentile. What the plan promises is then what the gate's rule computes: a
change is caught with power 0.9 when it exceeds the critical value, or the budget if that is higher,
by 1.28 deviations.

A pilot of n trials knows its own spread to about 1 / sqrt(2 n); the plan adds no margin for that.
"""

import math
from dataclasses import dataclass

from harness.analysis.distributions import normal_quantile
from harness.analysis.estimate import Sample, Unsupported
from harness.analysis.gate_rule import ALPHA
from harness.analysis.paired import POWER
from harness.analysis.quantile import trials_needed
from harness.analysis.shift import shift_of

__all__ = ["TrialPlan", "detectable_with", "plan_trials"]

_MOST_REPEATS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """How large a run must be.

    Attributes:
        share: the percentile planned for.
        wanted: the detectable ratio asked for.
        utterances: as asked for.
        repeats: of each utterance on each side.
        trials: of both sides together.
        detectable: the ratio that this plan detects; at most ``wanted``.
        deviation: of the log change in the planned run.
        reason: what decides the size: spread, or the trials that a percentile needs at all.
    """

    share: float
    wanted: float
    utterances: int
    repeats: int
    trials: int
    detectable: float
    deviation: float
    reason: str


def _unit_deviation(pilot: Sample, share: float) -> float | Unsupported:
    """Return the deviation of the log change that one repeat of one utterance a side would have.

    The pilot is held against itself: two sides of equal spread between which nothing changed.
    """
    halves = _halves(pilot)
    if isinstance(halves, Unsupported):
        return halves
    one, other = halves
    shift = shift_of(one, other, share=share, blocks="auto")
    if isinstance(shift, Unsupported):
        return shift
    if not math.isfinite(shift.deviation) or shift.deviation == 0.0:
        return Unsupported(
            reason="the pilot's spread cannot be read: too few trials, or failures in the tail",
            needed=0,
            n=pilot.n,
            effective_n=float(pilot.n),
            failures=pilot.failures,
            observed=None,
        )
    per_side = 0.5 * (shift.sides.candidate.size + shift.sides.reference.size)
    return shift.deviation * math.sqrt(per_side)


def _halves(pilot: Sample) -> tuple[Sample, Sample] | Unsupported:
    """Split the pilot's repeats of each utterance into two sides, first against second."""
    seen: dict[int, int] = {}
    turn: list[int] = []
    for cluster in pilot.clusters.tolist():
        turn.append(seen.get(cluster, 0))
        seen[cluster] = turn[-1] + 1
    sides = []
    for parity in (0, 1):
        keep = [
            t % 2 == parity and seen[c] > 1
            for t, c in zip(turn, pilot.clusters.tolist(), strict=True)
        ]
        sides.append(
            Sample.of(pilot.values[keep], failed=pilot.failed[keep], clusters=pilot.clusters[keep])
        )
    if min(side.n for side in sides) < 4:
        return Unsupported(
            reason="a pilot repeats at least four utterances",
            needed=8,
            n=pilot.n,
            effective_n=float(pilot.n),
            failures=pilot.failures,
            observed=None,
        )
    return sides[0], sides[1]


def detectable_with(
    deviation: float, *, limit: float = 1.0, budgets: int = 1, alpha: float = ALPHA
) -> float:
    """Return the ratio that a run with this deviation of the log change detects.

    Args:
        deviation: of the log change.
        limit: the budget's ratio; 1 where any significant change counts.
        budgets: of the whole gate.
        alpha: of the whole gate.
    """
    critical = normal_quantile(1.0 - alpha / budgets) * deviation
    reach = max(critical, math.log(limit)) + normal_quantile(POWER) * deviation
    return math.exp(reach) if reach < 700 else math.inf


def plan_trials(
    pilot: Sample,
    wanted: float,
    *,
    utterances: int,
    share: float = 0.5,
    limit: float = 1.0,
    budgets: int = 1,
    alpha: float = ALPHA,
) -> TrialPlan | Unsupported:
    """Return the repeats that make a wanted change detectable with power 0.9.

    Args:
        pilot: one metric of one candidate, with repeats of at least four utterances. For a tail
            it needs twice the trials that the percentile needs.
        wanted: ratio to detect, above ``limit``: 1.2 for 20 % slower.
        utterances: that the planned run will have.
        share: 0.5 for the typical change, else the percentile.
        limit: the budget's ratio.
        budgets: of the whole gate.
        alpha: of the whole gate.
    """
    if not wanted > max(limit, 1.0):
        raise ValueError(f"a detectable ratio lies above the limit {limit:g}, got {wanted:g}")
    if utterances < 1:
        raise ValueError("a run has an utterance")
    unit = _unit_deviation(pilot, share)
    if isinstance(unit, Unsupported):
        return unit
    floor = 1 if share == 0.5 else math.ceil(trials_needed(share, sides="upper") / utterances)

    def detectable(repeats: int) -> float:
        deviation = unit / math.sqrt(utterances * repeats)
        return detectable_with(deviation, limit=limit, budgets=budgets, alpha=alpha)

    low, high = floor, floor
    while detectable(high) > wanted and high < _MOST_REPEATS:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if detectable(middle) <= wanted:
            high = middle
        else:
            low = middle + 1
    if detectable(high) > wanted:
        return Unsupported(
            reason=f"more than {_MOST_REPEATS} repeats would be needed",
            needed=_MOST_REPEATS * utterances,
            n=pilot.n,
            effective_n=float(pilot.n),
            failures=pilot.failures,
            observed=None,
        )
    return TrialPlan(
        share=share,
        wanted=wanted,
        utterances=utterances,
        repeats=high,
        trials=2 * utterances * high,
        detectable=detectable(high),
        deviation=unit / math.sqrt(utterances * high),
        reason="the percentile needs so many trials"
        if high == floor and floor > 1
        else "the spread within an utterance",
    )
