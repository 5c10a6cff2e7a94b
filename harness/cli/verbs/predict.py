"""``turnbench compose`` and ``turnbench whatif``: the response of what was not run."""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.analysis.compare.comparable import MeasuredRun, differences, option_values
from harness.analysis.compare.sides import main_rows
from harness.analysis.predict.combine import THIRDS, Composition, compose, composition_checks
from harness.analysis.predict.composition import prediction_error
from harness.analysis.predict.whatif import WhatIf, what_if_delay, what_if_preemptive, what_if_voice
from harness.analysis.summary.samples import Row, sample_of
from harness.cli.shared.console import make_console
from harness.cli.shared.json_values import as_json
from harness.cli.shared.measured import measured_run
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Driver, TurnDetection, Via
from harness.domain.trial import Trial
from harness.errors import ConfigurationError
from harness.report.decisions import composition_table, whatif_table
from harness.report.terminal import plain_table
from harness.report.view import PlainTable
from harness.store.runs.run import find_run, open_run
from harness.store.table import nearest

__all__ = ["combinations", "compose_run", "whatif"]

_MOST_COMBINATIONS = 64


def compose_run(options: argparse.Namespace) -> int:
    """Predict one combination of a run's stages, or all of them."""
    reports = Path(options.out)
    run = measured_run(open_run(find_run(options.run, reports=reports)))
    named = [options.stt, options.llm, options.tts]
    if any(each is not None for each in named):
        if not all(each is not None for each in named):
            raise ConfigurationError(
                "compose: name a candidate for each of --stt, --llm and --tts, or for none, which "
                "predicts every combination"
            )
        found = [compose(run, stt=options.stt, llm=options.llm, tts=options.tts)]
    else:
        found = combinations(run)
    if options.against is not None:
        other = measured_run(open_run(find_run(options.against, reports=reports)))
        found = _held_against(run, found, other)
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
        return 0
    staged = run.suite.driver is Driver.STAGE
    _show(composition_table(found, emulated=_emulated(run), staged=staged))
    return 0


def _emulated(run: MeasuredRun) -> bool:
    return run.suite.via is Via.GATEWAY


def _show(table: PlainTable) -> None:
    make_console().print(plain_table(table))


def _settings(candidate: Candidate, third: str) -> StageSettings | None:
    found: StageSettings | None = getattr(candidate, third)
    return found


def combinations(run: MeasuredRun) -> list[Composition]:
    """Predict every combination of a run's distinct stages.

    One that was really run is predicted from other candidates where they have its stages, so that
    its error is that of a prediction and not of a copy.

    Raises:
        ConfigurationError: there are too many, a stage is missing throughout, or stages overlap.
    """
    sources: dict[str, list[str]] = {}
    for third in THIRDS:
        seen: list[StageSettings] = []
        names: list[str] = []
        for candidate in run.suite.candidates:
            settings = _settings(candidate, third)
            if settings is not None and settings not in seen:
                seen.append(settings)
                names.append(candidate.name)
        if not names:
            raise ConfigurationError(f"{run.name}: no candidate has a {third}")
        sources[third] = names
    wanted = list(itertools.product(*(sources[third] for third in THIRDS)))
    if len(wanted) > _MOST_COMBINATIONS:
        raise ConfigurationError(
            f"{run.name}: {len(wanted)} combinations; name one by --stt, --llm and --tts"
        )
    checks = {each.candidate: each for each in composition_checks(run)}
    found = []
    for stt, llm, tts in wanted:
        each = compose(run, stt=stt, llm=llm, tts=tts)
        found.append(checks.get(each.candidate, each) if each.candidate is not None else each)
    return found


def _held_against(
    run: MeasuredRun, found: Sequence[Composition], other: MeasuredRun
) -> list[Composition]:
    """Return predictions with their error against the same combinations of another run.

    Raises:
        ConfigurationError: the other is no session run, or the two are not comparable.
    """
    if other.suite.driver is not Driver.SESSION:
        raise ConfigurationError(f"{other.name}: only a session run has a response to hold against")
    if run.suite.driver is Driver.STAGE:
        # A stage alone knows no turn, so that what only a session has cannot differ.
        despite = {each for each in option_values(other.suite) if each.startswith("session.")}
        despite |= {"driver", "trailing", "stage_texts", "concurrency", "barge_ins", "llm.cache"}
    else:
        # Caches belong to the stages, which are held against each other one by one.
        despite = {"stage_texts", "llm.cache"}
    against = differences(run, other, despite=despite)
    if against:
        raise ConfigurationError([f"{run.name} and {other.name} are not comparable", *against])
    mine = {each.name: each for each in run.suite.candidates}
    rows = main_rows(other)
    result = []
    for each in found:
        parts = {third: _settings(mine[getattr(each, third)], third) for third in THIRDS}
        same = next(
            (
                candidate.name
                for candidate in other.suite.candidates
                if all(_settings(candidate, third) == parts[third] for third in THIRDS)
            ),
            None,
        )
        if same is None:
            result.append(dataclasses.replace(each, candidate=None, errors=()))
            continue
        errors = prediction_error(each.prediction, sample_of("response", rows[same]))
        result.append(dataclasses.replace(each, candidate=f"{same} in {other.name}", errors=errors))
    return result


def whatif(options: argparse.Namespace) -> int:
    """Recompute a stored run's response under another setting."""
    run = measured_run(open_run(find_run(options.run, reports=Path(options.out))))
    if run.suite.driver is not Driver.SESSION:
        raise ConfigurationError(f"{run.name}: only a session run has a response to recompute")
    rows = main_rows(run)
    names = [each.name for each in run.suite.candidates]
    if options.candidate is not None and options.candidate not in names:
        raise ConfigurationError(
            f"--candidate {options.candidate}: there is none; {nearest(options.candidate, names)}"
        )
    chosen = {
        name: rows[name] for name in names if rows.get(name) and options.candidate in (None, name)
    }
    if not chosen:
        raise ConfigurationError(f"{run.name}: has no trial to recompute")
    found = _recomputed(run, rows, chosen, options)
    answered = any(each.turns for each in found.values())
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
    else:
        _show(whatif_table(found, emulated=_emulated(run)))
    if not answered:
        raise ConfigurationError(f"{run.name}: no turn has the marks that this needs")
    return 0


def _recomputed(
    run: MeasuredRun,
    rows: Mapping[str, tuple[Row, ...]],
    chosen: Mapping[str, tuple[Row, ...]],
    options: argparse.Namespace,
) -> dict[str, WhatIf]:
    if options.endpointing_ms is not None:
        return {name: what_if_delay(each, options.endpointing_ms) for name, each in chosen.items()}
    if options.preemptive is not None:
        on = options.preemptive == "on"
        session = run.suite.session
        # livekit asks early on a final transcript where the VAD commits the turn; its own
        # defaults commit by VAD and turn detector.
        on_final = session.preset == "livekit-defaults" or session.turn_detection in {
            TurnDetection.VAD,
            TurnDetection.MODEL,
        }
        return {
            name: what_if_preemptive(each, preemptive=on, on_final=on_final)
            for name, each in chosen.items()
        }
    voices = {
        each.name: each.tts.voice or "default voice"
        for each in run.suite.candidates
        if each.tts is not None
    }
    heard: list[Row] = [
        row
        for name, voice in voices.items()
        if voice == options.voice
        for row in rows.get(name, ())
        if isinstance(row.trial, Trial)
    ]
    if not heard:
        known = sorted(set(voices.values()))
        raise ConfigurationError(
            f"--voice {options.voice}: no candidate of {run.name} spoke with it; "
            f"{nearest(options.voice, known)}"
        )
    others = {name: each for name, each in chosen.items() if voices.get(name) != options.voice}
    if not others:
        raise ConfigurationError(f"--voice {options.voice}: that is what was measured")
    return {name: what_if_voice(each, heard, options.voice) for name, each in others.items()}
