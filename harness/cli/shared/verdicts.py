"""A run judged by its suite's budgets, and the verdict's outputs."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text

from harness.analysis.gate.baseline import Baseline
from harness.analysis.gate.judged import GateVerdict
from harness.analysis.gate.verdict import judge
from harness.analysis.statistics.gate_rule import Verdict
from harness.cli.shared.console import make_console, safe
from harness.cli.shared.json_values import as_json
from harness.cli.shared.looks import cut_short, judged_part
from harness.cli.shared.outputs import write_text
from harness.domain.suite import BudgetKind, Suite
from harness.errors import ConfigurationError
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import budget_table
from harness.report.view import ReportView
from harness.store.runs.baselines import read_baseline
from harness.store.runs.run import Run

__all__ = ["gate_document", "held_baseline", "judge_run", "print_verdict", "write_outputs"]


def judge_run(run: Run, file: str | None) -> GateVerdict:
    """Judge a stored run.

    Args:
        run: whose last complete look counts where it had looks.
        file: the stored baseline; None takes the suite's own, read where a budget needs one.

    Raises:
        ConfigurationError: a budget cannot be judged, or the baseline is not there.
    """
    held = held_baseline(run.plan.suite, file)
    part, level = judged_part(run)
    verdict = judge(part, baseline=held, alpha=level)
    if run.damage():
        verdict = replace(verdict, doubts=(*run.damage(), *verdict.doubts))
    short = cut_short(run)
    if not short:
        return verdict
    # Whoever may stop a run when its numbers please gets the verdict that pleases.
    return replace(
        verdict,
        verdict=Verdict.INCONCLUSIVE,
        reason=short,
        doubts=(short, *verdict.doubts),
    )


def held_baseline(suite: Suite, file: str | None) -> Baseline | None:
    """Return the stored baseline that a suite is judged against; None where none is needed.

    Raises:
        ConfigurationError: a budget needs one and none is named, or it cannot be read.
    """
    stored = any(
        each.kind is BudgetKind.RELATIVE and each.reference is None for each in suite.budgets
    )
    named = file if file is not None else (suite.baseline if stored else None)
    if named is not None:
        return read_baseline(Path(named)).baseline
    if stored:
        raise ConfigurationError(
            f"{suite.name}: a budget limits a ratio to a stored baseline, and none is named: give "
            "--baseline FILE, or put baseline = FILE into the suite"
        )
    return None


def gate_document(verdict: GateVerdict, code: int) -> dict[str, Any]:
    """Return a verdict as JSON has it."""
    return {"exit_code": code, **as_json(verdict)}


def write_outputs(view: ReportView, options: argparse.Namespace) -> None:
    """Write the Markdown and the JUnit XML that were asked for."""
    if options.markdown is not None:
        write_text(Path(options.markdown), render_markdown(view))
    if options.junit is not None:
        text = render_junit(view, inconclusive_fails=not options.allow_inconclusive)
        write_text(Path(options.junit), text)


def print_verdict(view: ReportView, verdict: GateVerdict) -> None:
    """Print each budget with its margin, and the verdict."""
    out = make_console()
    table = budget_table(view)
    if table is not None:
        out.print(table)
    for doubt in verdict.doubts:
        out.print(safe(f"doubt: {doubt}", "yellow"))
    styles = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}
    name = verdict.verdict.value
    out.print(Text.assemble((name, styles[name]), "  ", safe(verdict.reason)))
