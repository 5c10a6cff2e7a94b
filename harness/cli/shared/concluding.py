"""How a run ends: what is printed, written and judged, and the exit code."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from harness.cli.shared.looks import looks_of
from harness.domain.trial import Trial
from harness.errors import ConfigurationError
from harness.runner.outcome import End, Outcome
from harness.store.runs.run import Run
from harness.store.runs.writer import RunWriter
from harness.store.secrecy import redact

__all__ = ["conclude", "discard", "gated", "report"]


INTERRUPTED = 130


INCONCLUSIVE = 3


FAILED = 1


def gated(options: argparse.Namespace) -> bool:
    """Return whether the run is to be judged."""
    return bool(options.gate) or options.max_trials is not None


def discard(path: Path) -> None:
    """Remove the folder of a run that has measured nothing."""
    shutil.rmtree(path, ignore_errors=True)


def conclude(writer: RunWriter, outcome: Outcome, options: argparse.Namespace) -> int:
    """Print how the run ended and return the exit code."""
    path, suite = writer.run.path, writer.run.plan.suite
    for name, reason in outcome.ended.items():
        print(f"turnbench: candidate {name!r} ended early: {redact(reason)}", file=sys.stderr)
    go_on = f"go on with: turnbench run --resume {path}"
    if outcome.end is End.INTERRUPTED:
        if not writer.run.trials():
            discard(path)
            print("turnbench: interrupted before the first trial ended", file=sys.stderr)
        else:
            kept = len(writer.run.plan.keys) - outcome.remaining
            print(
                f"turnbench: interrupted; {kept} of {len(writer.run.plan.keys)} trials are kept; "
                f"{go_on}",
                file=sys.stderr,
            )
        # Nothing that hangs in a library may keep the prompt from coming back.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    if outcome.end is End.FAILED:
        raise ConfigurationError(outcome.reason)
    if outcome.end is End.STOPPED:
        print(f"turnbench: stopped: {outcome.reason}; {go_on}", file=sys.stderr)
    trials = writer.run.trials()
    answered = {
        trial.key.candidate for trial in trials if isinstance(trial, Trial) and not trial.key.warmup
    }
    code = report(writer, options, outcome)
    if outcome.end is End.STOPPED:
        return code or INCONCLUSIVE
    silent = [each.name for each in suite.candidates if each.name not in answered]
    return code or (FAILED if silent or outcome.ended else 0)


def _hear_again(run: Run, outcome: Outcome | None) -> None:
    """Have the replies heard by the recogniser that the suite names; a mishap costs tts_wer alone.

    Before the verdict, since a budget may rest on it.
    """
    suite = run.plan.suite
    if suite.intelligibility is None:
        return
    from harness.cli.shared.hearing import hear_again

    left = suite.limits.spend
    if left is not None and outcome is not None and outcome.spent is not None:
        left = max(0.0, left - outcome.spent)
    try:
        hear_again(run, spend=left)
    except ConfigurationError as error:
        again = f"`turnbench intelligibility {run.path}` tries again"
        print(f"turnbench: tts_wer is missing: {redact(str(error))}; {again}", file=sys.stderr)


def report(writer: RunWriter, options: argparse.Namespace, outcome: Outcome | None = None) -> int:
    """Print the run's table, write its report, and judge it where a gate was asked for.

    Returns:
        The gate's exit code; 0 without one.
    """
    from harness.cli.shared.outputs import print_view, write_html
    from harness.cli.shared.run_view import view_of
    from harness.report.verdicts import verdict_view

    _hear_again(writer.run, outcome)
    verdict, code = None, 0
    if gated(options) or looks_of(writer.run.plan):
        from harness.analysis.gate.judged import exit_code
        from harness.cli.shared.verdicts import (
            gate_document,
            judge_run,
            print_verdict,
            write_outputs,
        )

        verdict = judge_run(writer.run, options.baseline)
        code = exit_code(verdict, allow_inconclusive=options.allow_inconclusive)
    shown = None if verdict is None else verdict_view(verdict)
    report: Path | None = None
    if options.no_report:
        view = view_of(writer.run, verdict=shown)
    else:
        report, view = write_html(writer.run, verdict=shown)
    if verdict is not None:
        write_outputs(view, options)
    if options.json:
        facts: dict[str, Any] = {
            "run": str(writer.run.path),
            "report": None if report is None else str(report),
            "emulated": writer.run.plan.emulated,
            "clock": writer.run.plan.suite.clock.value,
            "planned": len(writer.run.plan.keys),
        }
        if outcome is not None:
            facts.update(
                end=outcome.end.value,
                reason=outcome.reason,
                performed=outcome.performed,
                failed=outcome.failed,
                reruns=outcome.reruns,
                remaining=outcome.remaining,
                ended=dict(outcome.ended),
                spent=outcome.spent,
            )
        if verdict is not None:
            facts["gate"] = gate_document(verdict, code)
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return code
    print_view(view)
    if verdict is not None:
        print_verdict(view, verdict)
    print(f"run     {writer.run.path}")
    if report is not None:
        print(f"report  {report}")
    return code
