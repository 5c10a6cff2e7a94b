"""Where the time of many turns goes: the median turn's parts, and the mean of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis.statistics.quantile import quantile_index
from harness.analysis.turn.attribution import (
    UNATTRIBUTED,
    WAITS,
    Part,
    PartKind,
    Waterfall,
    waterfall,
)
from harness.analysis.turn.edges import EDGES
from harness.analysis.turn.measurement import Missing
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, Turn

__all__ = ["MeanPart", "Typical", "mean_parts", "part_order", "stage_totals", "typical_turn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """An actual turn that stands for a percentile of the response."""

    trial: Trial
    turn: Turn
    waterfall: Waterfall


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPart:
    """The mean length of a part over turns; where a turn lacks it, it counts as 0.

    Attributes:
        name, title, stage, kind: as :class:`Part`.
        mean_ns: mean length in nanoseconds.
        turns: how many of the turns have it.
    """

    name: str
    title: str
    stage: Stage
    kind: PartKind
    mean_ns: float
    turns: int


def part_order(name: str) -> tuple[int, int]:
    """Return where a part's name stands along the path, as a sorting key."""
    names = list(EDGES)
    edge, _, lost = name.partition(".")
    if edge in EDGES:
        return names.index(edge), 2 if lost else 1
    for cause, (_, _, follows) in WAITS.items():
        if cause.value == name:
            return names.index(follows), 0
    return -1, 0


def stage_totals(falls: Waterfall) -> dict[str, int]:
    """Return nanoseconds by stage, with what has no cause under ``unattributed``.

    They sum to the response.
    """
    totals: dict[str, int] = {}
    for part in falls.parts:
        key = UNATTRIBUTED if part.kind == UNATTRIBUTED else part.stage.value
        totals[key] = totals.get(key, 0) + part.ns
    return totals


def typical_turn(trials: Iterable[Trial | FailedTrial], share: float) -> Typical | Missing:
    """Return the turn whose response is the percentile of ``share``, an actual one.

    Its parts belong together; medians of parts would belong to no turn and would not sum to the
    median. The percentile is the one of the tables: an order statistic, with failed trials slower
    than every success.

    Args:
        trials: those of one candidate, warm-ups left out; the first turn of each counts.
        share: 0.5 for the median.
    """
    found: list[tuple[int, int, Typical]] = []
    failures = 0
    for trial in trials:
        if isinstance(trial, FailedTrial):
            failures += 1
            continue
        turn = trial.turns[0]
        falls = waterfall(turn)
        if isinstance(falls, Waterfall):
            found.append(
                (
                    falls.response_ns,
                    trial.key.order,
                    Typical(trial=trial, turn=turn, waterfall=falls),
                )
            )
    if not found:
        return Missing(reason="no turn has a response")
    index = quantile_index(len(found) + failures, share)
    if index >= len(found):
        return Missing(reason="timed out: the percentile falls among the failures")
    return sorted(found, key=lambda each: each[:2])[index][2]


def mean_parts(falls: Iterable[Waterfall]) -> tuple[MeanPart, ...]:
    """Return the mean length of every part, in the order of the path.

    The means sum to the mean response of these turns.
    """
    totals: dict[tuple[str, Stage], int] = {}
    turns: dict[tuple[str, Stage], int] = {}
    samples: dict[tuple[str, Stage], Part] = {}
    count = 0
    for each in falls:
        count += 1
        here: set[tuple[str, Stage]] = set()
        for part in each.parts:
            key = (part.name, part.stage)
            totals[key] = totals.get(key, 0) + part.ns
            samples.setdefault(key, part)
            here.add(key)
        for key in here:
            turns[key] = turns.get(key, 0) + 1
    keys = sorted(totals, key=lambda key: (part_order(key[0]), key))
    return tuple(
        MeanPart(
            name=key[0],
            title=samples[key].title,
            stage=key[1],
            kind=samples[key].kind,
            mean_ns=totals[key] / count,
            turns=turns[key],
        )
        for key in keys
    )
