"""Whether an unexpected error is the doing of a run's folder that somebody has damaged.

Stored trials are read without asking each field for its kind, because reports of thousands of them
are to be quick. Where a verb fails as no verb should, the folders it was given are asked.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.domain.typed import mistyped
from harness.errors import HarnessError
from harness.store.runs.run import Run, find_run, open_run

__all__ = ["damaged_runs", "tell_damage"]

_told: set[str] = set()

_MOST = 5


def _given(options: argparse.Namespace) -> Iterator[str]:
    for name in ("run", "runs", "resume"):
        value = getattr(options, name, None)
        yield from [value] if isinstance(value, str) else value or ()


def damaged_runs(options: argparse.Namespace) -> tuple[str, ...]:
    """Return a line for each of the first fields, in the runs of a command, of a wrong kind."""
    found: list[str] = []
    reports = Path(getattr(options, "out", None) or "reports")
    for name in _given(options):
        try:
            run = open_run(find_run(name, reports=reports))
            told = mistyped(run.plan)
            if told is not None:
                found.append(f"{run.path / 'plan.json'}: {told}: mend the file")
            for number, trial in enumerate(run.trials(), start=1):
                told = mistyped(trial)
                if told is not None:
                    found.append(f"{run.path / 'trials.jsonl'}:{number}: {told}: mend the line")
        except HarnessError as error:
            found.append(str(error))
        if len(found) > _MOST:
            break
    return tuple(line[:500] for line in found[:_MOST])


def tell_damage(run: Run) -> None:
    """Say on standard error, once, which files of a run do not hold what was written."""
    for line in run.damage():
        if line not in _told:
            _told.add(line)
            print(f"turnbench: {line}", file=sys.stderr)
