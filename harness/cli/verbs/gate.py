"""``turnbench gate`` and ``turnbench baseline``: may this be merged, and compared with what."""

import argparse
import json
import sys
from pathlib import Path

from rich.text import Text

from harness.analysis.gate.baseline import Baseline, build_baseline
from harness.analysis.gate.judged import exit_code
from harness.analysis.turn.definitions import METRICS
from harness.cli.shared.console import make_console, safe
from harness.cli.shared.json_values import as_json
from harness.cli.shared.measured import measured_run
from harness.cli.shared.outputs import write_html, write_text
from harness.cli.shared.verdicts import gate_document, judge_run, print_verdict, write_outputs
from harness.errors import ConfigurationError
from harness.report.format import DASH, Unit, quantity
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import clock_mark
from harness.report.verdicts import verdict_view
from harness.store.runs.baselines import read_baseline, write_baseline
from harness.store.runs.run import find_run, open_run

__all__ = ["baseline", "gate"]

USEFUL_RUNS = 5


def gate(options: argparse.Namespace) -> int:
    """Judge a run by its suite's budgets; return the verdict's exit code."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    verdict = judge_run(run, options.baseline)
    path, view = write_html(run, verdict=verdict_view(verdict))
    write_outputs(view, options)
    code = exit_code(verdict, allow_inconclusive=options.allow_inconclusive)
    shown = "json" if options.json else options.format
    if shown == "text":
        if view.virtual:
            make_console().print(clock_mark())
        print_verdict(view, verdict)
        make_console().print(Text(f"report  {path}"), soft_wrap=True)
        return code
    if shown == "json":
        document = {
            **gate_document(verdict, code),
            "clock": run.plan.suite.clock.value,
            "report": str(path),
        }
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    elif shown == "markdown":
        text = render_markdown(view)
    else:
        text = render_junit(view, inconclusive_fails=not options.allow_inconclusive)
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_text(Path(options.output), text)
    return code


def _unit(metric: str) -> Unit:
    return Unit.RATE if metric == "failures" else Unit(METRICS[metric].unit)


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
