"""``turnbench plan``: how many trials a wanted detectable change needs."""

import argparse
import json
from pathlib import Path

from harness.analysis.compare.comparison import DEFAULT_METRICS, LEVEL, compare_within
from harness.analysis.compare.standings import plan_run
from harness.analysis.statistics.estimate import Unsupported
from harness.analysis.statistics.plan import TrialPlan
from harness.analysis.turn.definitions import METRICS
from harness.cli.shared.console import make_console
from harness.cli.shared.json_values import as_json
from harness.cli.shared.measured import measured_run
from harness.errors import ConfigurationError
from harness.report.decisions import plan_table
from harness.report.format import percent
from harness.report.terminal import plain_table
from harness.store.runs.run import find_run, open_run
from harness.store.table import nearest

__all__ = ["plan"]

_INCONCLUSIVE = 3


def plan(options: argparse.Namespace) -> int:
    """Say how many trials a wanted change needs, from a pilot run's spread."""
    if options.metric not in METRICS:
        raise ConfigurationError(
            f"--metric {options.metric}: there is none; {nearest(options.metric, METRICS)}"
        )
    if not 1 < options.change <= 100:
        raise ConfigurationError(
            f"--change {options.change:g}: give an increase, as 10%, or a ratio above 1, as 1.1"
        )
    run = measured_run(open_run(find_run(options.run, reports=Path(options.out))))
    # A comparison judges every metric of every pair at 5 % together, a gate its budgets at 0.5 %.
    tests = compare_within(run).family if len(run.suite.candidates) > 1 else len(DEFAULT_METRICS)
    uses = {
        "gate": {"budgets": options.budgets},
        "compare": {"budgets": max(1, tests), "alpha": LEVEL / 2.0},
    }
    found: dict[str, dict[str, TrialPlan | Unsupported]] = {
        each.name: {
            use: plan_run(
                run,
                each.name,
                options.metric,
                options.change,
                statistic=options.statistic,
                utterances=options.utterances,
                **level,
            )
            for use, level in uses.items()
        }
        for each in run.suite.candidates
    }
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
    else:
        change = percent(options.change - 1.0)
        title = f"To see {METRICS[options.metric].title} {options.statistic} change by {change}"
        make_console().print(plain_table(plan_table(found, title, tests=max(1, tests))))
    answered = any(isinstance(each, TrialPlan) for uses in found.values() for each in uses.values())
    return 0 if answered else _INCONCLUSIVE
