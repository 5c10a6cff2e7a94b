"""Looks: measuring until the gate is clear, and judging such a run again as it was judged then.

A run with ``--max-trials`` fixes its looks before the first trial and stores them with its plan.
Whoever judges it later, finished or cut short, judges the last complete look at that look's level:
trials beyond it do not count, and neither does the hope that one more repeat would help.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.statistics.gate_rule import ALPHA
from harness.analysis.statistics.sequential import gate_alpha, look_sizes
from harness.cli.shared.measured import measured_run
from harness.domain.suite import Suite
from harness.errors import ConfigurationError
from harness.store.runs.plans import RunPlan
from harness.store.runs.run import Run

__all__ = ["LOOKS", "cut_short", "judged_part", "looks_of", "plan_looks"]

LOOKS = "looks"
"""The fact of a plan that holds after how many repeats the verdict is looked at."""

_FEWEST = 2

Level = float | Callable[[int], float]


def plan_looks(suite: Suite, utterances: int, most_trials: int) -> tuple[int, ...]:
    """Return the repeats at each look of a run with at most so many measured trials.

    Raises:
        ConfigurationError: they do not suffice for two repeats, which the first look needs.
    """
    block = utterances * len(suite.condition_names) * len(suite.candidates)
    most = most_trials // block
    if most < _FEWEST:
        raise ConfigurationError(
            f"--max-trials {most_trials}: one repeat is {block} trials, and a verdict needs "
            f"{_FEWEST} repeats; give {_FEWEST * block} or more, or --limit the utterances"
        )
    return look_sizes(most, fewest=_FEWEST)


def looks_of(plan: RunPlan) -> tuple[int, ...]:
    """Return the repeats at each look; none of a run of fixed size."""
    stored = plan.facts.get(LOOKS)
    if not isinstance(stored, Mapping):
        return ()
    return tuple(int(each) for each in stored["repeats"])


def cut_short(run: Run) -> str:
    """Return why a run of fixed size is not all there, in words; "" where it is.

    Trials of a candidate that ended early are not missed: its failures speak for it.
    """
    if looks_of(run.plan):
        return ""
    gone: Mapping[str, Any] = run.status().get("ended", {})
    missing = [key for key in run.missing() if key.candidate not in gone and not key.warmup]
    if not missing:
        return ""
    planned = sum(not key.warmup for key in run.plan.keys)
    return (
        f"the run was cut short: {len(missing)} of {planned} trials are missing; go on with: "
        f"turnbench run --resume {run.path}"
    )


def judged_part(run: Run) -> tuple[MeasuredRun, Level]:
    """Return the trials that a run is judged by, and the level of the gate.

    Raises:
        ConfigurationError: the run was cut short before its first look.
    """
    measured = measured_run(run)
    sizes = looks_of(run.plan)
    if not sizes:
        return measured, ALPHA
    done = {trial.key.order for trial in measured.trials}
    gone: Mapping[str, Any] = run.status().get("ended", {})
    missing = [
        key.repeat
        for key in run.plan.keys
        if not key.warmup and key.order not in done and key.candidate not in gone
    ]
    whole = min(missing, default=sizes[-1])
    complete = [look for look, size in enumerate(sizes) if size <= whole]
    if not complete:
        raise ConfigurationError(
            f"{run.path}: {whole} of the {sizes[0]} repeats before the first look are complete; "
            f"go on with: turnbench run --resume {run.path}"
        )
    look = complete[-1]
    part = dataclasses.replace(
        measured,
        trials=tuple(trial for trial in measured.trials if trial.key.repeat < sizes[look]),
    )
    return part, lambda budgets: gate_alpha(look, sizes, budgets=budgets)
