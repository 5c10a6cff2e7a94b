"""Which candidates are worth having: none other is better at one thing and worse at nothing.

Two fronts are told apart:

* **front**: the points decide. A candidate is on it unless another is at least as good in every
  objective and better in one.
* **surely dominated**: the intervals decide. Another is better in at least one objective, and in
  every objective better beyond doubt (the intervals do not overlap) or exactly equal.

A candidate off the front that is not surely dominated may be on it: the run cannot tell. Smaller is
better in every objective (latency, word errors, failures, cost); a value that timed out is worse
than every number and ties with another that timed out. A missing value cannot be compared: it keeps
a candidate from dominating and from being dominated, in either sense.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.statistics.estimate import Statistic, TimedOut, Unsupported

__all__ = ["Contender", "Standing", "pareto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A candidate with its objectives.

    Attributes:
        name: the candidate's.
        objectives: statistics by objective; the same keys for all.
    """

    name: str
    objectives: Mapping[str, Statistic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        name: the candidate's.
        on_front: no other dominates its points.
        dominated_by: names of those that dominate its points, in the order given.
        surely_dominated_by: names of those that dominate it beyond their intervals.
    """

    name: str
    on_front: bool
    dominated_by: tuple[str, ...]
    surely_dominated_by: tuple[str, ...]


def _bounds(value: Statistic) -> tuple[float, float, float] | None:
    """Return (low, point, high), +inf for what timed out; None for what is missing."""
    if isinstance(value, Unsupported):
        return None
    if isinstance(value, TimedOut):
        return math.inf, math.inf, math.inf
    high = math.inf if isinstance(value.high, TimedOut) else value.high
    return value.low, value.point, high


def _dominates(one: Contender, other: Contender, *, surely: bool) -> bool:
    better = False
    for key, value in one.objectives.items():
        mine, theirs = _bounds(value), _bounds(other.objectives[key])
        if mine is None or theirs is None:
            return False
        if surely and mine != theirs:
            # Not better for certain: where the intervals overlap it might be worse.
            if not mine[2] < theirs[0]:
                return False
            better = True
        elif mine[1] > theirs[1]:
            return False
        elif mine[1] < theirs[1]:
            better = True
    return better


def pareto(contenders: Sequence[Contender]) -> tuple[Standing, ...]:
    """Return the standing of each candidate, in the order given.

    Raises:
        ValueError: names repeat, or objectives differ between candidates.
    """
    names = [contender.name for contender in contenders]
    if len(set(names)) != len(names):
        raise ValueError("two candidates have one name")
    keys = {frozenset(contender.objectives) for contender in contenders}
    if len(keys) > 1:
        raise ValueError("candidates are compared by the same objectives")
    standings: list[Standing] = []
    for contender in contenders:
        others = [other for other in contenders if other is not contender]
        by_points = tuple(o.name for o in others if _dominates(o, contender, surely=False))
        surely = tuple(o.name for o in others if _dominates(o, contender, surely=True))
        standings.append(
            Standing(
                name=contender.name,
                on_front=not by_points,
                dominated_by=by_points,
                surely_dominated_by=surely,
            )
        )
    return tuple(standings)
