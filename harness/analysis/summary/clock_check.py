"""One agent on two clocks: how far the virtual response lies from the real one, and why.

Both clocks give a turn the same draws of every latency, so that the difference of one turn is what
the virtual clock leaves out: Python's own work, and what sockets and processes take. It is split by
the cause of the parts of both waterfalls, and the split is exact: the causes sum to the difference.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from harness.analysis.statistics.quantile import quantile
from harness.analysis.turn.attribution import PartKind, Waterfall, waterfall
from harness.analysis.turn.disturbance import disturbance
from harness.analysis.turn.measurement import MILLISECOND
from harness.domain.trial import FailedTrial, Trial

__all__ = ["CAUSES", "ClockCheck", "ClockGap", "check_clocks"]

CAUSES: tuple[PartKind, ...] = get_args(PartKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockGap:
    """Real minus virtual of one quantity over the turns, in milliseconds.

    Attributes:
        what: "response", or the cause of the parts that are summed.
        p50, p95, largest: of the differences; ``largest`` by its size.
    """

    what: str
    p50: float
    p95: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockCheck:
    """What two runs with the same draws say of each other.

    Attributes:
        turns: pairs that are compared.
        disturbed: pairs left out because the machine disturbed the real trial.
        unpaired: pairs left out because a side failed, or its response cannot be split.
        gaps: of the response first, then of each cause; none without a turn.
    """

    turns: int
    disturbed: int
    unpaired: int
    gaps: tuple[ClockGap, ...]

    @property
    def response(self) -> ClockGap | None:
        """The gap of the whole response."""
        return self.gaps[0] if self.gaps else None


def _split(trial: Trial | FailedTrial | None) -> dict[str, int] | None:
    if not isinstance(trial, Trial):
        return None
    falls = waterfall(trial.turns[0])
    if not isinstance(falls, Waterfall):
        return None
    found: dict[str, int] = dict.fromkeys(("response", *CAUSES), 0)
    found["response"] = falls.response_ns
    for part in falls.parts:
        found[part.kind] += part.ns
    return found


def _by_turn(trials: Iterable[Trial | FailedTrial]) -> dict[tuple[str, str, str, int], Trial]:
    """Return the first attempts, without warm-ups, by what is played by whom."""
    return {
        (each.key.candidate, each.key.recording, each.key.barge_in, each.key.repeat): each
        for each in trials
        if not each.key.warmup and not each.key.attempt and isinstance(each, Trial)
    }


def check_clocks(
    real: Iterable[Trial | FailedTrial], virtual: Iterable[Trial | FailedTrial]
) -> ClockCheck:
    """Compare the trials of one suite and seed on the real clock with those on the virtual one."""
    ours, theirs = _by_turn(real), _by_turn(virtual)
    differences: dict[str, list[int]] = {what: [] for what in ("response", *CAUSES)}
    disturbed = unpaired = 0
    for turn in sorted(ours.keys() | theirs.keys()):
        mine = ours.get(turn)
        before, after = _split(theirs.get(turn)), _split(mine)
        if mine is None or before is None or after is None:
            unpaired += 1
        elif disturbance(mine) is not None:
            disturbed += 1
        else:
            for what, values in differences.items():
                values.append(after[what] - before[what])
    turns = len(differences["response"])
    gaps = [_gap(what, values) for what, values in differences.items()] if turns else []
    return ClockCheck(turns=turns, disturbed=disturbed, unpaired=unpaired, gaps=tuple(gaps))


def _gap(what: str, values: Iterable[int]) -> ClockGap:
    found = np.asarray([each / MILLISECOND for each in values], dtype=np.float64)
    return ClockGap(
        what=what,
        p50=quantile(found, 0.5),
        p95=quantile(found, 0.95),
        largest=float(found[np.abs(found).argmax()]),
    )
