"""How many trials a wanted detectable change needs, from a pilot's spread.

The deviation of a paired change falls with the root of the repeats as long as utterances agree on
the change, and with the root of the utterances always. The pilot gives the deviation per utterance
and repeat: that of the typical change (p50) from its exchange test, that of a tail from the spread
of the trials around the percentile. What the plan promises is then what the gate's rule computes: a
change is caught with power 0.9 when it exceeds the critical value, or the budget if that is higher,
by 1.28 deviations.

A pilot of n trials knows its own spread to about 1 / sqrt(2 n); the plan adds no margin for that.

**A pilot of one repeat** does not show what repeats of an utterance differ by. Its utterances, each
paired with another candidate's of the same run, show what one pair differs by, which is what the
plan needs; the other candidate's spread is in it. Without another candidate the spread between
utterances counts as if it were within one: an upper bound. Where the trials are too few for the
tail, it is taken to be lognormal, with the spread of all trials. The plan names what it assumed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from harness.analysis.statistics.distributions import normal_quantile
from harness.analysis.statistics.estimate import Sample, Unsupported
from harness.analysis.statistics.gate_rule import ALPHA
from harness.analysis.statistics.paired import POWER
from harness.analysis.statistics.quantile import quantile, trials_needed
from harness.analysis.statistics.shifting import shift_of

__all__ = ["TrialPlan", "detectable_with", "plan_trials"]

_MOST_REPEATS = 100_000
_FEWEST_PAIRS = 8
_FEW_FAILURES = 0.05
# The typical change of n pairs deviates by one pair's spread times this over the root of n: as a
# Hodges-Lehmann estimate where utterances are repeated, as a plain median where they are not.
_OF_PAIRS = math.sqrt(math.pi / 3.0)
_OF_SINGLE_PAIRS = math.sqrt(math.pi / 2.0)


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
        assumption: what the pilot could not show and the plan took for granted; "" for nothing.
    """

    share: float
    wanted: float
    utterances: int
    repeats: int
    trials: int
    detectable: float
    deviation: float
    reason: str
    assumption: str = ""


def _unit_deviation(
    pilot: Sample, share: float, partners: Sequence[Sample], wholes: Mapping[int, int]
) -> tuple[float, str] | Unsupported:
    """Return the deviation that one repeat of one utterance a side would have, and what it takes.

    Of the log change, in the order: from the pilot's own repeats; from its pairs; from its spread.
    """
    own = _repeated_deviation(pilot, share, wholes)
    if not isinstance(own, Unsupported):
        return own, ""
    if share == 0.5:
        found, assumption = _single_deviation(pilot, partners)
    else:
        found = _lognormal_tail(pilot, share)
        assumption = "the tail is lognormal: the pilot is too small to show its own"
    if not math.isfinite(found) or found == 0.0:
        return own
    return found, assumption


def _logs(sample: Sample) -> dict[int, float]:
    """Return the log of each utterance's median; +inf among failures; nothing at or below 0."""
    found: dict[int, float] = {}
    for cluster in np.unique(sample.clusters).tolist():
        middle = quantile(np.sort(sample.ranked[sample.clusters == cluster]), 0.5)
        if middle > 0:
            found[cluster] = math.log(middle) if math.isfinite(middle) else math.inf
    return found


def _spread(values: Sequence[float]) -> float:
    """Return half the distance between the 16th and the 84th percentile; inf of too few values."""
    if len(values) < _FEWEST_PAIRS:
        return math.inf
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = quantile(ordered, 0.16), quantile(ordered, 0.84)
    return 0.5 * (high - low) if math.isfinite(low) and math.isfinite(high) else math.inf


def _single_deviation(pilot: Sample, partners: Sequence[Sample]) -> tuple[float, str]:
    mine = _logs(pilot)
    spreads = []
    for partner in partners:
        theirs = _logs(partner)
        gaps = [
            value - theirs[cluster]
            for cluster, value in mine.items()
            if cluster in theirs and math.isfinite(value) and math.isfinite(theirs[cluster])
        ]
        spread = _spread(gaps)
        # Pairs without any spread tell nothing of it: the two were not drawn apart.
        if math.isfinite(spread) and spread > 0.0:
            spreads.append(spread)
    if spreads:
        return _OF_PAIRS * sum(spreads) / len(spreads), (
            "one repeat: the spread is that of its utterances paired with the run's other "
            "candidates, whose own is in it"
        )
    return _OF_PAIRS * math.sqrt(2.0) * _spread(list(mine.values())), (
        "one repeat and no other candidate to pair with: the spread between utterances counts in "
        "full, an upper bound"
    )


def _lognormal_tail(pilot: Sample, share: float) -> float:
    """Return the deviation of the ratio of two lognormal percentiles of one trial a side."""
    positive = pilot.ranked[pilot.ranked > 0]
    logs = np.log(positive[np.isfinite(positive)]).tolist()
    if len(logs) < positive.size * (1.0 - _FEW_FAILURES):
        return math.inf
    z = normal_quantile(share)
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return math.sqrt(2.0 * share * (1.0 - share)) / density * _spread(logs)


def _repeated_deviation(
    pilot: Sample, share: float, wholes: Mapping[int, int]
) -> float | Unsupported:
    """Return the deviation from a pilot that repeated its utterances.

    The pilot is held against itself: two sides of equal spread between which nothing changed.
    """
    halves = _halves(pilot)
    if isinstance(halves, Unsupported):
        return halves
    one, other = halves
    shift = shift_of(one, other, share=share, blocks="auto", wholes=wholes)
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
            reason="a pilot repeats four utterances, or plays eight once",
            needed=_FEWEST_PAIRS,
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
    partners: Sequence[Sample] = (),
    wholes: Mapping[int, int] = MappingProxyType({}),
) -> TrialPlan | Unsupported:
    """Return the repeats that make a wanted change detectable with power 0.9.

    Args:
        pilot: one metric of one candidate: repeats of four utterances or more, or eight utterances
            played once. To show its own tail it needs twice the trials that the percentile needs.
        wanted: ratio to detect, above ``limit``: 1.2 for 20 % slower.
        utterances: that the planned run will have.
        share: 0.5 for the typical change, else the percentile.
        limit: the budget's ratio.
        budgets: of the whole gate, or tests of the whole comparison.
        alpha: of the whole gate or comparison, one-sided.
        partners: the same metric of the run's other candidates, for a pilot of one repeat.
        wholes: what a comparison swaps as one, by cluster: for a recording its utterance.
    """
    if not wanted > max(limit, 1.0):
        raise ValueError(f"a detectable ratio lies above the limit {limit:g}, got {wanted:g}")
    if utterances < 1:
        raise ValueError("a run has an utterance")
    known = _unit_deviation(pilot, share, partners, wholes)
    if isinstance(known, Unsupported):
        return known
    unit, assumption = known
    floor = 1 if share == 0.5 else math.ceil(trials_needed(share, sides="upper") / utterances)

    def deviation(repeats: int) -> float:
        more = _OF_SINGLE_PAIRS / _OF_PAIRS if assumption and repeats == 1 else 1.0
        return more * unit / math.sqrt(utterances * repeats)

    def detectable(repeats: int) -> float:
        return detectable_with(deviation(repeats), limit=limit, budgets=budgets, alpha=alpha)

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
        deviation=deviation(high),
        reason="the percentile needs so many trials"
        if high == floor and floor > 1
        else "the spread within an utterance",
        assumption=assumption,
    )
