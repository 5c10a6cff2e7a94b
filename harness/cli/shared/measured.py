"""A stored run as comparison and gate read it."""

from collections.abc import Mapping
from typing import Any

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.turn.definitions import definition_digests
from harness.cli.shared.damage import tell_damage
from harness.store.runs.run import Run

__all__ = ["DEFINITIONS", "measured_run"]

DEFINITIONS = "definitions"
"""The fact of a plan that holds the digest of each metric's definition."""

# What makes two machines differ for a baseline; memory and load do not.
_MACHINE = ("system", "architecture", "cpu", "usable_cores", "cpu_quota", "governor")


def measured_run(run: Run) -> MeasuredRun:
    """Return a run with what decides whether it may be compared."""
    plan = run.plan
    starts = run.environment()
    machine: Mapping[str, Any] = starts[-1].get("machine", {}) if starts else {}
    trials = run.trials()
    tell_damage(run)
    stored = plan.facts.get(DEFINITIONS)
    return MeasuredRun(
        name=run.name,
        suite=plan.suite,
        utterances={each.id: each for each in plan.utterances},
        trials=trials,
        datasets={each.name: each.sha256 for each in plan.datasets},
        machine={key: str(machine[key]) for key in _MACHINE if key in machine},
        definitions=dict(stored) if isinstance(stored, Mapping) else definition_digests(),
    )
