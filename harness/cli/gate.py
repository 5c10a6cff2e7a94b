"""``turnbench gate`` and ``turnbench baseline``: may this be merged, and compared with what."""

import argparse
import json
import math
from pathlib import Path

from rich.text import Text

from harness.analysis.baseline import Baseline, build_baseline
from harness.analysis.definitions import METRICS
from harness.analysis.estimate import TimedOut, Unsupported
from harness.analysis.gate_rule import Limit
from harness.analysis.verdict import GateVerdict, JudgedBudget, exit_code, judge
from harness.cli.compare import as_json
from harness.cli.console import make_console, safe
from harness.cli.measured import measured_run
from harness.cli.results import write_html, write_text
from harness.domain.suite import BudgetKind
from harness.errors import ConfigurationError
from harness.report.format import DASH, Unit, cell, percent, quantity
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import budget_table
from harness.report.view import BudgetView, VerdictKind, VerdictView
from harness.store.baselines import read_baseline, write_baseline
from harness.store.runs import find_run, open_run

__all__ = ["baseline", "gate", "verdict_view"]

USEFUL_RUNS = 5


def gate(options: argparse.Namespace) -> int:
    """Judge a run by its suite's budgets; return the verdict's exit code."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    held = None if options.baseline is None else read_baseline(Path(options.baseline)).baseline
    verdict = judge(measured_run(run), baseline=held)
    path, view = write_html(run, verdict=verdict_view(verdict))
    if options.markdown is not None:
        write_text(Path(options.markdown), render_markdown(view))
    if options.junit is not None:
        text = render_junit(view, inconclusive_fails=not options.allow_inconclusive)
        write_text(Path(options.junit), text)
    code = exit_code(verdict, allow_inconclusive=options.allow_inconclusive)
    if options.json:
        document = {"exit_code": code, "report": str(path), **as_json(verdict)}
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return code
    out = make_console()
    table = budget_table(view)
    if table is not None:
        out.print(table)
    for doubt in verdict.doubts:
        out.print(safe(f"doubt: {doubt}", "yellow"))
    styles = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}
    name = verdict.verdict.value
    out.print(Text.assemble((name, styles[name]), "  ", safe(verdict.reason)))
    out.print(Text(f"report  {path}"), soft_wrap=True)
    return code


def verdict_view(verdict: GateVerdict) -> VerdictView:
    """Return a verdict as texts for a report."""
    return VerdictView(
        kind=VerdictKind(verdict.verdict.value),
        reason=verdict.reason,
        budgets=tuple(_budget_view(each) for each in verdict.budgets),
    )


def _unit(metric: str) -> Unit:
    return Unit.RATE if metric in {"failures", "wer"} else Unit(METRICS[metric].unit)


def _budget_view(judged: JudgedBudget) -> BudgetView:
    budget, unit = judged.budget, _unit(judged.budget.metric)
    measured = judged.measured
    if measured is None or isinstance(measured, Unsupported | TimedOut):
        shown = cell(measured, unit).text
    else:
        found = cell(measured, unit)
        shown = f"{found.text} ({found.interval})" if found.interval else found.text
    if judged.reference is not None and judged.measured_reference is not None:
        shown += f" against {cell(judged.measured_reference, unit).text}"
    margin = judged.ruling.margin
    return BudgetView(
        budget=f"{budget.metric} {budget.statistic}",
        candidate=judged.candidate,
        measured=shown,
        limit=_limit_text(judged, unit),
        margin="" if margin is None else _margin_text(margin, judged.limit, unit),
        kind=VerdictKind(judged.ruling.verdict.value),
        reason=judged.ruling.reason,
        emulated=judged.emulated,
    )


def _limit_text(judged: JudgedBudget, unit: Unit) -> str:
    budget = judged.budget
    if budget.kind is BudgetKind.ABSOLUTE:
        higher = budget.metric in METRICS and METRICS[budget.metric].better == "higher"
        return f"at {'least' if higher else 'most'} {quantity(budget.limit, unit)}"
    return f"at most {percent(budget.limit - 1)} more than {judged.reference or 'the baseline'}"


def _margin_text(margin: float, limit: Limit, unit: Unit) -> str:
    if math.isinf(margin):
        return DASH
    if limit.kind == "ratio":
        return percent(margin)
    return quantity(margin, unit)


def baseline(options: argparse.Namespace) -> int:
    """Save, show or update a baseline's file."""
    path = Path(options.file)
    if options.do == "show":
        if options.runs:
            raise ConfigurationError("baseline show: names a file and no run")
        return _show(path, as_document=options.json)
    if not options.runs:
        raise ConfigurationError(
            f"baseline {options.do}: name the runs that it is built from; {USEFUL_RUNS} or more"
        )
    before = None
    if options.do == "update":
        before = read_baseline(path).baseline
    elif path.exists():
        raise ConfigurationError(f"{path}: is there already; `baseline update` replaces it")
    runs = [
        measured_run(open_run(find_run(each, reports=Path(options.out)))) for each in options.runs
    ]
    built = build_baseline(path.stem, runs)
    out = make_console()
    if before is not None:
        for line in _changes(before, built):
            out.print(safe(line))
    write_baseline(path, built)
    out.print(Text(f"wrote {path}: {len(built.runs)} runs"), soft_wrap=True)
    if len(built.runs) < USEFUL_RUNS:
        out.print(
            f"A gate needs {USEFUL_RUNS} runs to know how runs differ; until then every budget "
            "against this baseline is INCONCLUSIVE.",
            style="yellow",
        )
    return 0


def _middle(values: tuple[float, ...]) -> float:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def _changes(before: Baseline, after: Baseline) -> list[str]:
    """Return what an update accepts: each figure's median run before and after."""
    lines = []
    for candidate, metrics in after.figures.items():
        for metric, statistics in metrics.items():
            for statistic, values in statistics.items():
                old = before.get(candidate, metric, statistic)
                new = quantity(_middle(values), _unit(metric))
                if old is None:
                    lines.append(f"new      {candidate} {metric} {statistic}: {new}")
                elif _middle(old) != _middle(values):
                    was = quantity(_middle(old), _unit(metric))
                    lines.append(f"accepts  {candidate} {metric} {statistic}: {was} → {new}")
    for candidate, metrics in before.figures.items():
        for metric, statistics in metrics.items():
            lines.extend(
                f"drops    {candidate} {metric} {statistic}"
                for statistic in statistics
                if after.get(candidate, metric, statistic) is None
            )
    return lines or ["nothing changes"]


def _show(path: Path, *, as_document: bool) -> int:
    stored = read_baseline(path)
    found = stored.baseline
    if as_document:
        document = {"saved_utc": stored.saved_utc, **as_json(found)}
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return 0
    out = make_console()
    out.print(safe(f"{found.name}: {len(found.runs)} runs, saved {stored.saved_utc}", "bold"))
    out.print(safe(", ".join(f"{key} {value}" for key, value in found.machine.items()), "dim"))
    for candidate, metrics in found.figures.items():
        out.print(safe(f"{candidate}: {'+'.join(map(str, found.trials[candidate]))} trials"))
        for metric, statistics in metrics.items():
            for statistic, values in statistics.items():
                unit = _unit(metric)
                spread = f"{quantity(min(values), unit)} {DASH} {quantity(max(values), unit)}"
                middle = quantity(_middle(values), unit)
                out.print(safe(f"  {metric} {statistic}: {middle} ({spread})"))
    return 0
