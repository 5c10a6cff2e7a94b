"""Verbs about stored runs: show, report, compare, gate. None imports livekit."""

import argparse
import json
from pathlib import Path

from harness.analysis.summary import emulated_stages, summarise
from harness.analysis.validity import Caution, RunFacts, cautions
from harness.cli.tables import (
    cautions_text,
    console,
    stage_table,
    summary_table,
    trial_text,
    trials_table,
)
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.store.runs import Run, find_run, open_run
from harness.store.table import nearest
from harness.store.wire import encode_trial

__all__ = ["print_summary", "run_cautions", "show"]


def run_cautions(run: Run, trials: tuple[Trial | FailedTrial, ...]) -> tuple[Caution, ...]:
    """Return what a reader of the run has to know before believing it."""
    plan = run.plan
    starts = run.environment()
    git = starts[-1].get("git") if starts else None
    facts = RunFacts(
        emulated={each.name: emulated_stages(plan.suite, each) for each in plan.suite.candidates},
        git_dirty=git.get("dirty") if git else None,
        synthetic=any(each.synthetic for each in plan.datasets),
        ended_early=dict(run.status().get("ended", {})),
        wer_limit=plan.suite.wer_limit,
        warm=plan.suite.session.connection == "warm",
    )
    return cautions(trials, {each.id: each for each in plan.utterances}, facts)


def print_summary(run: Run) -> None:
    """Print the run's table, which stage costs what, and the cautions."""
    trials = run.trials()
    plan = run.plan
    summary = summarise(trials, {each.id: each for each in plan.utterances}, plan.suite)
    out = console()
    out.print()
    out.print(summary_table(summary))
    out.print()
    stages = stage_table(plan, trials)
    if stages is not None:
        out.print(stages)
        out.print()
    out.print(cautions_text(run_cautions(run, trials)))
    out.print()


def show(options: argparse.Namespace) -> int:
    """Show one trial, or list them."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    trials = run.trials()
    if options.trial is None:
        if options.json:
            print(json.dumps([json.loads(encode_trial(each)) for each in trials], indent=1))
        else:
            console().print(trials_table(trials))
        return 0
    found = {trial.key.id: trial for trial in trials}
    trial = found.get(options.trial)
    if trial is None:
        raise ConfigurationError(
            f"{run.path}: there is no trial {options.trial!r}; {nearest(options.trial, found)}"
            if len(found) <= 20
            else f"{run.path}: there is no trial {options.trial!r}; "
            f"`turnbench show {options.run}` lists them"
        )
    if options.json:
        print(json.dumps(json.loads(encode_trial(trial)), ensure_ascii=False, indent=1))
    else:
        console().print(trial_text(run.plan, trial))
    return 0
