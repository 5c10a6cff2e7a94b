"""``turnbench compare``: what differs, how sure that is, and who is worth having."""

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from rich.text import Text

from harness.analysis.combine import Composition, composition_checks
from harness.analysis.comparable import MeasuredRun
from harness.analysis.comparison import Comparison, compare_runs, compare_within
from harness.analysis.pareto import Contender, Standing, pareto
from harness.analysis.standings import CorrectTurns, contenders, correct_turns, leading_latency
from harness.analysis.summary import RunSummary, summarise
from harness.cli.console import make_console, safe
from harness.cli.measured import measured_run
from harness.domain.suite import Driver, Via
from harness.errors import ConfigurationError
from harness.report.comparisons import comparison_answer, comparison_notes, comparison_views
from harness.report.decisions import composition_table, pareto_table
from harness.report.format import percent
from harness.report.terminal import comparison_table, plain_table
from harness.report.view import PlainTable
from harness.store.runs import find_run, open_run

__all__ = ["as_json", "compare", "decision_tables"]


def as_json(value: Any) -> Any:
    """Return a value of the analysis as JSON has it; an unbounded number is null."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {
            each.name: as_json(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
        kind = type(value).__name__
        return {"kind": kind, **found} if kind in {"Unsupported", "TimedOut"} else found
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def compare(options: argparse.Namespace) -> int:
    """Compare the candidates of one run, or two runs."""
    if len(options.runs) > 2:
        raise ConfigurationError("compare: name one run, or two")
    runs = [
        measured_run(open_run(find_run(each, reports=Path(options.out)))) for each in options.runs
    ]
    if len(runs) == 2:
        if options.by is not None:
            raise ConfigurationError("compare: --by is for one run; two are compared by candidate")
        found = compare_runs(runs[0], runs[1])
    else:
        found = compare_within(runs[0], by=options.by or "candidate")
    tables: tuple[PlainTable, ...] = ()
    if len(runs) == 1:
        decided = _Decided.of(runs[0])
        tables = decided.tables()
        if options.json:
            document = {
                **as_json(found),
                "standings": as_json(decided.standings),
                "objectives": as_json(decided.contenders),
                "correct_turns": as_json(decided.correct),
                "combinations": as_json(decided.combinations),
            }
            print(json.dumps(document, ensure_ascii=False, indent=1))
            return 0
    elif options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
        return 0
    _print(found)
    out = make_console()
    for table in tables:
        out.print()
        out.print(plain_table(table))
    return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What a run with several candidates says beside their comparison."""

    contenders: tuple[Contender, ...]
    standings: tuple[Standing, ...]
    combinations: tuple[Composition, ...]
    correct: Mapping[str, CorrectTurns]
    emulated: bool

    @classmethod
    def of(cls, run: MeasuredRun, summary: RunSummary | None = None) -> "_Decided":
        if summary is None:
            summary = summarise(run.trials, run.utterances, run.suite)
        latency = leading_latency(summary)
        found = () if latency is None else contenders(summary, latency=latency)
        try:
            checks = composition_checks(run) if run.suite.driver is Driver.SESSION else ()
        except ConfigurationError:
            # Stages that overlap do not add up: `turnbench compose` says so to whoever asks.
            checks = ()
        return cls(
            contenders=found,
            standings=pareto(found),
            combinations=checks,
            correct={} if latency is None else correct_turns(run, latency),
            emulated=run.suite.via is Via.GATEWAY,
        )

    def tables(self) -> tuple[PlainTable, ...]:
        """Return what there is to show."""
        found = []
        if len(self.contenders) > 1:
            found.append(
                pareto_table(
                    self.contenders, self.standings, emulated=self.emulated, correct=self.correct
                )
            )
        if self.combinations:
            found.append(composition_table(self.combinations, emulated=self.emulated))
        return tuple(found)


def decision_tables(
    run: MeasuredRun, *, summary: RunSummary | None = None
) -> tuple[PlainTable, ...]:
    """Return the candidates' standings, and predicted combinations against those really run.

    Args:
        run: with several candidates.
        summary: of the same trials, where it is known already.
    """
    return _Decided.of(run, summary).tables()


def _print(found: Comparison) -> None:
    out = make_console()
    if found.emulated:
        out.print(
            Text.assemble(
                ("EMULATED", "black on yellow"),
                " profiles are compared, not models: nothing here says which real model is better",
            )
        )
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
