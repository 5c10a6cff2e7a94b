"""``turnbench compare``: what differs, how sure that is, and who is worth having."""

import argparse
import json
from pathlib import Path

from rich.text import Text

from harness.analysis.compare.changes import Comparison
from harness.analysis.compare.comparison import compare_runs, compare_within
from harness.cli.shared.console import make_console, safe
from harness.cli.shared.decisions import Decided
from harness.cli.shared.json_values import as_json
from harness.cli.shared.measured import measured_run
from harness.domain.suite import Clock
from harness.errors import ConfigurationError
from harness.report.comparisons import comparison_answer, comparison_notes, comparison_views
from harness.report.format import percent
from harness.report.terminal import clock_mark, comparison_table, plain_table
from harness.report.view import PlainTable
from harness.store.runs.run import find_run, open_run

__all__ = ["compare"]


def compare(options: argparse.Namespace) -> int:
    """Compare the candidates of one run, or two runs."""
    if len(options.runs) > 2:
        raise ConfigurationError("compare: name one run, or two")
    runs = [
        measured_run(open_run(find_run(each, reports=Path(options.out)))) for each in options.runs
    ]
    clock = runs[0].suite.clock
    if len(runs) == 2:
        if options.by is not None:
            raise ConfigurationError("compare: --by is for one run; two are compared by candidate")
        found = compare_runs(runs[0], runs[1])
    else:
        found = compare_within(runs[0], by=options.by or "candidate")
    tables: tuple[PlainTable, ...] = ()
    if len(runs) == 1:
        decided = Decided.of(runs[0])
        tables = decided.tables()
        if options.json:
            document = {
                **as_json(found),
                "clock": clock.value,
                "standings": as_json(decided.standings),
                "objectives": as_json(decided.contenders),
                "correct_turns": as_json(decided.correct),
                "combinations": as_json(decided.combinations),
            }
            print(json.dumps(document, ensure_ascii=False, indent=1))
            return 0
    elif options.json:
        document = {**as_json(found), "clock": clock.value}
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return 0
    _print(found, clock)
    out = make_console()
    for table in tables:
        out.print()
        out.print(plain_table(table))
    return 0


def _print(found: Comparison, clock: Clock) -> None:
    out = make_console()
    if found.emulated:
        out.print(
            Text.assemble(
                ("EMULATED", "black on yellow"),
                " profiles are compared, not models: nothing here says which real model is better",
            )
        )
    if clock is Clock.VIRTUAL:
        out.print(clock_mark())
    answer, _ = comparison_answer(found)
    out.print()
    out.print(safe(answer, "bold"))
    views = comparison_views(found)
    for pair in found.pairs:
        mine = [
            each
            for each in views
            if (each.candidate, each.reference) == (pair.candidate, pair.reference)
        ]
        out.print()
        out.print(
            Text.assemble(
                safe(pair.candidate, "bold"),
                " against ",
                safe(pair.reference, "bold"),
                f"  ({pair.trials[0]} and {pair.trials[1]} trials)",
            )
        )
        out.print(comparison_table(mine))
    out.print()
    for line in comparison_notes(found):
        out.print(safe(line, "yellow" if line.startswith("Not compared") else "dim"))
    level = percent(found.confidence, 0)
    out.print(f"Ratio above 1 is slower. {level} intervals.", style="dim")
