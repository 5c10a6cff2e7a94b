"""Verbs about one stored run: report and show. Neither imports livekit."""

import argparse
import json
import sys
from pathlib import Path

from harness.analysis.turn.attribution import waterfall
from harness.analysis.turn.disturbance import disturbance
from harness.analysis.turn.measurement import Missing
from harness.analysis.turn.reading import transcript_text
from harness.cli.shared.console import make_console, safe
from harness.cli.shared.damage import tell_damage
from harness.cli.shared.outputs import write_html, write_text
from harness.cli.shared.run_view import report_view, view_of
from harness.domain.suite import Clock
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.report.export import render_json
from harness.report.format import DASH, milliseconds
from harness.report.markdown import render_markdown
from harness.report.terminal import clock_mark
from harness.report.trace import render_trace
from harness.report.trial_terminal import show_trial
from harness.store.runs.encode import encode_trial
from harness.store.runs.run import Run, find_run, open_run
from harness.store.table import nearest

__all__ = ["report", "show"]


_SUFFIXES = {"html": "html", "markdown": "md", "csv": "csv", "json": "json", "parquet": "parquet"}


def report(options: argparse.Namespace) -> int:
    """Write a stored run's report, or print it in another format."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    chosen = options.format
    output = None if options.output is None else Path(options.output)
    if options.audio and chosen != "html":
        raise ConfigurationError("report: --audio goes with --format html")
    if (options.trial is None) == (chosen == "trace"):
        raise ConfigurationError(
            "report: --format trace draws one trial: name it with --trial"
            if chosen == "trace"
            else "report: --trial goes with --format trace"
        )
    if chosen == "html":
        path, _ = write_html(run, output, audio=options.audio, by=options.by)
        print(path)
        return 0
    if options.table is not None and chosen not in ("csv", "parquet"):
        raise ConfigurationError("report: --table goes with --format csv or parquet")
    if chosen == "parquet":
        from harness.frames.files import write_parquet
        from harness.frames.tables import RunTables

        path = output or run.path / f"{options.table or 'trials'}.parquet"
        write_parquet(RunTables(run), path, options.table or "trials")
        print(path)
        return 0
    text = _rendered(run, options)
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
        print(output)
    return 0


def _rendered(run: Run, options: argparse.Namespace) -> str:
    if options.format == "csv":
        from harness.frames.files import render_csv
        from harness.frames.tables import RunTables

        return render_csv(RunTables(run), options.table or "trials")
    if options.format == "markdown":
        return render_markdown(report_view(run, by=options.by))
    if options.format == "json":
        return render_json(report_view(run, by=options.by))
    # A trace draws what the page keeps packed.
    view = view_of(run)
    shown = {each.id: each for each in view.trials}
    if options.trial not in shown:
        raise _unknown_trial(run, options.trial, tuple(shown))
    return render_trace(view, shown[options.trial])


def _unknown_trial(run: Run, name: str, known: tuple[str, ...]) -> ConfigurationError:
    advice = nearest(name, known) if len(known) <= 20 else f"`turnbench show {run.path}` lists them"
    return ConfigurationError(f"{run.path}: there is no trial {name!r}; {advice}")


def show(options: argparse.Namespace) -> int:
    """Show one trial, or list them."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    trials = run.trials()
    tell_damage(run)
    if options.trial is None:
        if options.json:
            print(json.dumps([json.loads(encode_trial(each)) for each in trials], indent=1))
        else:
            if run.plan.suite.clock is Clock.VIRTUAL:
                make_console().print(clock_mark())
            _list(trials)
        return 0
    stored = {trial.key.id: trial for trial in trials}
    if options.trial not in stored:
        raise _unknown_trial(run, options.trial, tuple(stored))
    if options.json:
        trial = stored[options.trial]
        print(json.dumps(json.loads(encode_trial(trial)), ensure_ascii=False, indent=1))
        return 0
    view = view_of(run)
    shown = {each.id: each for each in view.trials}
    make_console().print(show_trial(view, shown[options.trial]))
    return 0


def _list(trials: tuple[Trial | FailedTrial, ...]) -> None:
    """Print a line for each trial: what to give to ``turnbench show``."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("Trial", "Candidate", "Utterance"):
        table.add_column(heading)
    table.add_column("Response", justify="right")
    table.add_column("Heard, or failure")
    for trial in sorted(trials, key=lambda each: (each.key.order, each.key.attempt)):
        key = trial.key
        fall = waterfall(trial.turns[0]) if trial.turns else Missing(reason="no turn")
        response = DASH if isinstance(fall, Missing) else milliseconds(fall.response_ns)
        if isinstance(trial, FailedTrial):
            said = safe(f"{trial.failure.stage.value} {trial.failure.kind.value}", "red")
        else:
            said = safe(transcript_text(trial.turns[0]) or DASH)
            if disturbance(trial) is not None and not trial.boots:
                said.append(" (disturbed)", style="yellow")
        if trial.boots:
            said.append(" (met a boot)", style="yellow")
        table.add_row(key.id, safe(key.candidate), safe(key.utterance), response, said)
    make_console().print(table)
