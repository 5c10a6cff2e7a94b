"""``turnbench intelligibility``: transcribe a run's replies again and score them."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from harness.cli.shared.console import make_console
from harness.cli.shared.hearing import hear_missing, recogniser_suite
from harness.cli.shared.json_values import as_json
from harness.cli.shared.suite_options import known_profiles
from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.suite import Suite, Via
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.report.intelligibility import intelligibility_scores, intelligibility_table
from harness.report.terminal import plain_table
from harness.store.runs.heard_replies import read_heard
from harness.store.runs.run import Run, find_run, open_run
from harness.store.table import nearest

__all__ = ["intelligibility"]

INCONCLUSIVE = 3


def intelligibility(options: argparse.Namespace) -> int:
    """Transcribe what is not transcribed yet, and print the table; return the exit code."""
    run = open_run(find_run(options.run, reports=Path(options.out)))
    suite = _suite(run, options)
    stt = suite.candidates[0].stt
    if stt is None:
        raise ConfigurationError("intelligibility: name a recogniser with --provider")
    wanted = hear_missing(run, suite, stt)
    heard, used = read_heard(run.path)
    table = intelligibility_table(heard, used, run.trials())
    if table is None:
        raise ConfigurationError(
            f"{run.path}: no reply can be transcribed: their audio was not stored, or none was"
            " played to its end"
        )
    code = 0 if len(heard) >= wanted else INCONCLUSIVE
    if options.json:
        scores = intelligibility_scores(heard, run.trials())
        document = {
            "run": str(run.path),
            "recogniser": dict(used),
            "wanted": wanted,
            "heard": len(heard),
            "candidates": {name: as_json(score) for name, (score, _) in scores.items()},
            "replies": as_json(heard),
        }
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return code
    make_console().print(plain_table(table))
    print(f"`turnbench report {run.path}` shows it beside the rest", file=sys.stderr)
    return code


def _suite(run: Run, options: argparse.Namespace) -> Suite:
    """Return the suite of one recogniser alone, under the run's own circumstances."""
    base = run.plan.suite
    settings = base.intelligibility
    if options.provider is not None:
        settings = StageSettings(
            provider=options.provider, model=options.model, profile=options.profile
        )
    elif settings is not None:
        changes = {
            key: value
            for key in ("model", "profile")
            if (value := getattr(options, key)) is not None
        }
        settings = replace(settings, **changes)
    if settings is None:
        raise ConfigurationError(
            "intelligibility: name a recogniser: --provider, or [intelligibility] in the suite"
        )
    able = sorted(name for name, each in PROVIDERS.items() if Stage.STT in each.stages)
    if settings.provider not in able:
        raise ConfigurationError(
            f"intelligibility: provider {settings.provider!r} offers no stt; "
            f"{nearest(settings.provider, able)}"
        )
    if base.via is Via.GATEWAY and settings.profile is not None:
        file = base.gateway.profiles
        profiles = known_profiles(None if file is None else Path(file))
        fit = [name for name, stages in profiles.items() if Stage.STT in stages]
        if settings.profile not in fit:
            raise ConfigurationError(
                f"intelligibility: profile {settings.profile!r} serves no stt; "
                f"{nearest(settings.profile, fit)}"
            )
    found = recogniser_suite(base, settings)
    return replace(found, concurrency=options.concurrency or base.concurrency)
