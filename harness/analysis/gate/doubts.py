"""Why a run cannot carry a verdict, and which failures that cannot have caused.

A doubt keeps a run from passing. A FAIL it takes back only where what is doubted can have made it:
stalls of the machine explain no failure and no misheard word, and no slowdown that is greater than
they were long; a run that a baseline holds lies nearer to it than another, not further off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.gate.baseline import Baseline, machine_difference
from harness.analysis.gate.budgets import Bound
from harness.analysis.gate.judged import JudgedBudget
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.samples import Row
from harness.analysis.summary.words import RATES
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.disturbance import disturbance, select
from harness.analysis.turn.measurement import MILLISECOND
from harness.domain.suite import BudgetKind, Clock
from harness.domain.trial import FailedTrial, Trial

__all__ = ["Doubt", "excused", "find_doubts"]

_DISTURBED_LIMIT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why no verdict on a run can be PASS.

    Attributes:
        text: one sentence.
        slowed: the candidate whose trials the machine slowed down; "" where it did not.
        baseline: whether what stored runs say is doubted.
    """

    text: str
    slowed: str = ""
    baseline: bool = False


def find_doubts(
    run: MeasuredRun, bound: Sequence[Bound], baseline: Baseline | None
) -> tuple[Doubt, ...]:
    """Return why the run cannot pass, whatever its numbers say."""
    found: list[Doubt] = []
    involved = {each.candidate for each in bound} | {
        each.budget.reference for each in bound if each.budget.reference is not None
    }
    for candidate in run.suite.candidates:
        name = candidate.name
        if name not in involved:
            continue
        mine: list[Trial | FailedTrial] = [
            trial for trial in run.trials if trial.key.candidate == name
        ]
        chosen = select(mine)
        if chosen.main and chosen.excluded > _DISTURBED_LIMIT * len(chosen.main):
            text = (
                f"the machine disturbed {chosen.excluded} of {len(chosen.main)} trials of {name} "
                "to the end: measure on a quieter machine"
            )
            found.append(Doubt(text=text, slowed=name))
        planned = len(chosen.main) + chosen.booted
        if chosen.booted > _DISTURBED_LIMIT * planned:
            text = (
                f"{chosen.booted} of {planned} trials of {name} found a deployment scaled to zero "
                "in every attempt: keep a replica up while you measure"
            )
            found.append(Doubt(text=text))
    stored = any(
        each.budget.kind is BudgetKind.RELATIVE
        and each.budget.reference is None
        and each.budget.required
        for each in bound
    )
    if stored and baseline is not None:
        machine = machine_difference(run.machine, baseline.machine)
        if machine and run.suite.clock is Clock.REAL:
            text = f"the baseline was measured on another machine: {machine}"
            found.append(Doubt(text=text, baseline=True))
        if run.name in baseline.runs:
            text = (
                f"{run.name} is one of the runs that baseline {baseline.name} was built from: "
                "what it is held against holds it, so that it can hardly lie outside"
            )
            found.append(Doubt(text=text))
    return tuple(found)


def excused(
    judged: JudgedBudget,
    run: MeasuredRun,
    rows: Mapping[str, tuple[Row, ...]],
    doubts: Sequence[Doubt],
) -> bool:
    """Tell whether what is doubted can have caused a budget's FAIL.

    Args:
        judged: a budget that failed.
        run: what was measured.
        rows: the counted trials of each candidate.
        doubts: all of the run.
    """
    metric = judged.budget.metric
    if metric in RATES:
        return False
    against_stored = judged.budget.kind is BudgetKind.RELATIVE and judged.budget.reference is None
    if against_stored and run.suite.clock is Clock.REAL and any(each.baseline for each in doubts):
        return True
    if judged.candidate not in {each.slowed for each in doubts}:
        return False
    allowed = _allowed_ms(judged)
    if allowed is None or METRICS[metric].unit != "ms":
        return True
    if not isinstance(judged.measured, Estimate):
        # Among the failures: no stall makes one.
        return False
    return judged.measured.point - allowed <= _longest_ms(rows[judged.candidate])


def _allowed_ms(judged: JudgedBudget) -> float | None:
    """Return the value that the limit allows the candidate; None where nothing tells it."""
    if judged.limit.kind == "absolute":
        return judged.limit.limit
    if not isinstance(judged.measured_reference, Estimate):
        return None
    if judged.limit.kind == "ratio":
        return judged.limit.limit * judged.measured_reference.point
    return judged.limit.limit + judged.measured_reference.point


def _longest_ms(rows: Sequence[Row]) -> float:
    """Return by how much the machine can have delayed the trial that it delayed most."""
    longest = 0
    for row in rows:
        found = disturbance(row.trial)
        if found is None or isinstance(row.trial, FailedTrial):
            continue
        late = row.trial.health.lateness_max_ns if found.late_frames and row.trial.health else 0
        longest = max(longest, found.stalled_ns + late)
    return longest / MILLISECOND
