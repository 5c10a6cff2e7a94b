"""A stored run as its report shows it: what the store holds, analysed, handed to the report."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.analysis.compare.changes import Comparison
from harness.analysis.compare.comparison import By, compare_within
from harness.analysis.summary.caution import Caution, RunFacts
from harness.analysis.summary.figures import RunSummary
from harness.analysis.summary.selferror import join_truth, self_errors
from harness.analysis.summary.summary import emulated_stages, summarise
from harness.analysis.summary.validity import cautions
from harness.cli.shared.damage import tell_damage
from harness.cli.shared.measured import measured_run
from harness.collector import collector_off
from harness.domain.suite import Via
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance
from harness.errors import ConfigurationError
from harness.report.assemble import build_view
from harness.report.inputs import RunData, peaks_of
from harness.report.intelligibility import intelligibility_table
from harness.report.kept import UnreadableViewError, decode_view, encode_view, packed_view
from harness.report.verdicts import self_error_table
from harness.report.view import PlainTable, ReportView, VerdictView
from harness.store.datasets.audio import load_audio, sha256_file, to_pipeline
from harness.store.files import open_inside
from harness.store.runs.heard_replies import read_heard
from harness.store.runs.kept import kept_key, read_kept, write_kept
from harness.store.runs.plans import RunPlan
from harness.store.runs.replies import read_reply
from harness.store.runs.run import Run
from harness.store.secrecy import mask_json

__all__ = ["report_view", "run_data", "view_of"]

NANOSECONDS = 1_000_000_000
PIPELINE_RATE = 16_000
# Beyond so many trials a waveform is no longer looked for one by one.
WAVEFORMS_UP_TO = 2000


def _minute(stamp: str) -> str:
    """Return an ISO 8601 instant in UTC as a reader wants it: to the minute."""
    return f"{stamp[:10]} {stamp[11:16]} UTC" if len(stamp) > 16 else stamp


def report_view(
    run: Run, *, by: By | None = None, verdict: VerdictView | None = None
) -> ReportView:
    """Return what the report of a run shows, its trials' details packed.

    It is kept in the run's folder: a report of the same trials, made by the same code, is read
    there and not analysed again.

    Args:
        run: is read from its folder.
        by: the setting that the candidates are compared by; None compares candidates.
        verdict: where it was gated.

    Raises:
        ConfigurationError: the run cannot be compared by that setting, or is damaged.
    """
    waveforms = len(run.plan.keys) <= WAVEFORMS_UP_TO
    key = kept_key(run, {"by": by, "no speech": _lost(run.plan) if waveforms else []})
    kept = read_kept(run, key)
    if kept is not None:
        with contextlib.suppress(UnreadableViewError):
            return dataclasses.replace(decode_view(kept), verdict=verdict)
    with collector_off():
        data = run_data(run, waveforms=waveforms)
        comparison, extra = _decided(run, data.summary, by)
        data = dataclasses.replace(data, comparison=comparison, extra=(*extra, *data.extra))
        view = packed_view(build_view(data))
        write_kept(run, key, encode_view(view, mask_json))
    return dataclasses.replace(view, verdict=verdict)


def _lost(plan: RunPlan) -> list[str]:
    """Return the utterances whose recording is not there: the one thing outside the folder."""
    return [each.id for each in plan.utterances if not _recording(plan, each).is_file()]


def _recording(plan: RunPlan, utterance: Utterance) -> Path:
    manifest = Path(plan.datasets[plan.origin[utterance.id]].path)
    return manifest.parent / utterance.audio


def _decided(
    run: Run, summary: RunSummary, by: By | None
) -> tuple[Comparison | None, tuple[PlainTable, ...]]:
    """Return the comparison that was asked for, and what else the run decides."""
    from harness.cli.shared.decisions import Decided

    if len(run.plan.suite.candidates) < 2:
        if by is not None:
            raise ConfigurationError(f"report: --by {by}: {run.name} has one candidate only")
        return None, ()
    measured = measured_run(run)
    if not measured.trials:
        return None, ()
    found = None if by is None else compare_within(measured, by=by)
    return found, Decided.of(measured, summary).tables()


def view_of(
    run: Run,
    *,
    verdict: VerdictView | None = None,
    comparison: Comparison | None = None,
    extra: tuple[PlainTable, ...] = (),
    waveforms: bool = False,
) -> ReportView:
    """Return everything that the report of a run shows."""
    return build_view(
        run_data(run, verdict=verdict, comparison=comparison, extra=extra, waveforms=waveforms)
    )


def run_data(
    run: Run,
    *,
    verdict: VerdictView | None = None,
    comparison: Comparison | None = None,
    extra: tuple[PlainTable, ...] = (),
    waveforms: bool = False,
) -> RunData:
    """Return a run and its analysis.

    Args:
        run: is read from its folder.
        verdict: where it was gated.
        comparison: shown in place of that of the run's candidates.
        extra: further tables.
        waveforms: draw speech and replies, for which their audio is read once.
    """
    plan = run.plan
    trials = run.trials()
    utterances = {each.id: each for each in plan.utterances}
    starts, status = run.environment(), run.status()
    tell_damage(run)
    stated = status.get("ended")
    ended = dict(stated) if isinstance(stated, Mapping) else {}
    git = starts[-1].get("git") if starts else None
    facts = RunFacts(
        emulated={
            each.name: emulated_stages(plan.suite, each, trials) for each in plan.suite.candidates
        },
        git_dirty=git.get("dirty") if git else None,
        synthetic=any(each.synthetic for each in plan.datasets),
        skipped=tuple(line for each in plan.datasets for line in each.skipped),
        ended_early=ended,
        wer_limit=plan.suite.wer_limit,
        warm=plan.suite.session.connection == "warm",
        caches={
            each.name: each.llm.cache for each in plan.suite.candidates if each.llm is not None
        },
    )
    heard, recogniser = read_heard(run.path)
    replies_heard = intelligibility_table(heard, recogniser, trials)
    speech, replies = _peaks(run, trials) if waveforms else ({}, {})
    return RunData(
        run=run.name,
        suite=plan.suite,
        utterances=utterances,
        trials=trials,
        summary=summarise(trials, utterances, plan.suite),
        cautions=(*_damaged(run), *cautions(trials, utterances, facts)),
        started=_minute(str(starts[0].get("started_utc", ""))) if starts else "",
        environment=starts,
        datasets=[_dataset(each) for each in plan.datasets],
        facts=plan.facts,
        seed=plan.seed,
        ended=ended,
        verdict=verdict,
        comparison=comparison,
        extra=extra if replies_heard is None else (*extra, replies_heard),
        speech_peaks=speech,
        reply_peaks=replies,
        self_error=_self_error(run, trials),
    )


def _self_error(run: Run, trials: tuple[Trial | FailedTrial, ...]) -> PlainTable | None:
    """Return the harness's own error in this run; None where no gateway kept its truth."""
    if run.plan.suite.via is Via.LIVE:
        return None
    try:
        os.close(open_inside(run.path, run.truth_path.name))
    except OSError:
        return None
    from harness.gateway.calls.truth import read_rows

    measured = [each for each in trials if isinstance(each, Trial) and not each.key.warmup]
    try:
        rows = read_rows(run.truth_path)
    except ConfigurationError as error:
        print(f"turnbench: {error}; the harness's own error is not shown", file=sys.stderr)
        return None
    found = self_errors(join_truth(measured, rows))
    return self_error_table(found) if found else None


def _damaged(run: Run) -> tuple[Caution, ...]:
    """Return a caution for each file of the run that does not hold what was written."""
    return tuple(
        Caution(code="damaged", text=line.removeprefix(f"{run.path}/"), advice="take a whole copy")
        for line in run.damage()
    )


def _dataset(summary: Any) -> Mapping[str, Any]:
    names = ("name", "version", "path", "sha256", "synthetic", "licence", "description", "recipe")
    return {name: value for name in names if (value := getattr(summary, name)) is not None}


def _peaks(
    run: Run, trials: tuple[Trial | FailedTrial, ...]
) -> tuple[dict[str, bytes], dict[tuple[str, int], bytes]]:
    """Return the waveforms of speech and replies."""
    speech = {
        name: _speech_peaks(run.plan, name) for name in {each.key.utterance for each in trials}
    }
    replies = {
        (trial.key.id, turn.index): _reply_peaks(run.path, turn.reply.audio)
        for trial in trials
        for turn in trial.turns
        if turn.reply is not None and turn.reply.audio is not None
    }
    return (
        {name: peaks for name, peaks in speech.items() if peaks},
        {name: peaks for name, peaks in replies.items() if peaks},
    )


def _speech_peaks(plan: RunPlan, utterance_id: str) -> bytes:
    """Return the waveform of the speech; none where the recording is no longer there."""
    utterance = plan.utterance(utterance_id)
    start, end = utterance.speech_start_ns, utterance.speech_end_ns
    if start is None or end is None:
        return b""
    path = _recording(plan, utterance)
    try:
        # A plan may be a stranger's: only the recording that it played is drawn.
        if not path.is_file() or sha256_file(path) != utterance.sha256:
            return b""
        audio = load_audio(path, channel=utterance.channel)
    except (ConfigurationError, OSError):
        return b""
    samples = to_pipeline(audio)
    first = start * PIPELINE_RATE // NANOSECONDS
    last = end * PIPELINE_RATE // NANOSECONDS
    return peaks_of(samples[first:last].astype("<i2").tobytes())


def _reply_peaks(folder: Path, name: str) -> bytes:
    try:
        return peaks_of(read_reply(folder, name).pcm)
    except ConfigurationError:
        return b""
