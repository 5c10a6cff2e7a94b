"""The tables about the run itself: trust, failures, words, every metric."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.analysis.summary.figures import CandidateSummary, RunSummary
from harness.analysis.summary.samples import Row
from harness.analysis.summary.summary import is_emulated
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.disturbance import Selection
from harness.analysis.turn.reading import transcript_text
from harness.analysis.words.transcript import NORMALISER_VERSION, Score
from harness.domain.suite import Clock
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Health, Trial
from harness.report.details import diff_of
from harness.report.format import Cell, Unit, cell, count, milliseconds, missing, percent
from harness.report.inputs import RunData
from harness.report.providers import caches_table, endpoints_table
from harness.report.view import (
    FactTable,
    FailureRow,
    PlainTable,
    WordErrorRow,
)

__all__ = [
    "all_metrics",
    "failure_rows",
    "trust",
    "word_error_rows",
    "word_error_totals",
]

MS = 1_000_000
WORST = 6


def all_metrics(summary: RunSummary) -> PlainTable:
    """Return every metric of every candidate with all its percentiles."""
    names = [metric for metric in METRICS if _anywhere(summary, metric)]
    rows: list[tuple[Cell | str, ...]] = []
    for metric in names:
        for name, each in summary.candidates.items():
            found = each.metrics.get(metric)
            if found is None:
                continue
            unit = Unit(found.metric.unit)
            main = found.main
            notes = [f"{note}: {number}" for note, number in found.notes.items()]
            notes += [f"{reason}: {number}" for reason, number in found.missing.items()]
            notes += [f"negative: {found.negative}"] if found.negative else []
            rows.append(
                (
                    found.metric.title,
                    name,
                    *(
                        cell(statistic, unit, emulated=found.emulated)
                        for statistic in (main.p50, main.p90, main.p95, main.p99, main.mean)
                    ),
                    count(main.n),
                    count(main.failures),
                    "; ".join(notes),
                )
            )
    return PlainTable(
        title="Every metric",
        columns=(
            "Metric",
            "Candidate",
            "p50",
            "p90",
            "p95",
            "p99",
            "mean of the answered",
            "n",
            "Failed",
            "Notes",
        ),
        rows=tuple(rows),
    )


def _anywhere(summary: RunSummary, metric: str) -> bool:
    return any(metric in each.metrics for each in summary.candidates.values())


def failure_rows(
    names: Sequence[str], selections: Mapping[str, Selection]
) -> tuple[FailureRow, ...]:
    """Return failures of the counted trials by stage and kind, the most frequent first."""
    counts: dict[tuple[str, str], list[int]] = {}
    examples: dict[tuple[str, str], FailedTrial] = {}
    for index, name in enumerate(names):
        for trial in selections[name].main:
            if isinstance(trial, FailedTrial):
                key = (trial.failure.stage.value, trial.failure.kind.value)
                counts.setdefault(key, [0] * len(names))[index] += 1
                examples.setdefault(key, trial)
    return tuple(
        FailureRow(
            stage=key[0],
            kind=key[1].replace("_", " "),
            counts=tuple(each),
            message=examples[key].failure.message,
            trial=examples[key].key.id,
        )
        for key, each in sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))
    )


def word_error_totals(summary: RunSummary) -> PlainTable | None:
    """Return pooled word errors; None where no words were scored."""
    rows: list[tuple[Cell | str, ...]] = []
    for name, each in summary.candidates.items():
        words = each.words
        if words is None:
            continue
        rows.append(
            (
                name,
                cell(words.rate, Unit.RATE, emulated=Stage.STT in each.emulated),
                count(words.substitutions),
                count(words.deletions),
                count(words.insertions),
                count(words.reference_words),
                count(words.silent),
                count(words.unexpected),
                f"{count(each.correct)} of {count(each.judged)}" if each.judged else "–",
            )
        )
    if not rows:
        return None
    return PlainTable(
        title="Pooled word errors",
        columns=(
            "Candidate",
            "WER",
            "Substituted",
            "Deleted",
            "Inserted",
            "Words",
            "Silent turns",
            "Heard in silence",
            "Correct turns",
        ),
        rows=tuple(rows),
        note=f"Normaliser version {NORMALISER_VERSION}; a turn without a transcript deletes all "
        "its words. A turn is correct when its WER lies within the suite's limit.",
    )


def word_error_rows(
    rows: Mapping[str, Sequence[Row]], candidates: Mapping[str, int]
) -> tuple[WordErrorRow, ...]:
    """Return the turns with the most word errors of each candidate, each utterance once."""
    shown: list[WordErrorRow] = []
    for name, mine in rows.items():
        scored = [
            (row, row.words)
            for row in mine
            if isinstance(row.words, Score) and row.words.errors and row.trial.turns
        ]
        scored.sort(
            key=lambda each: (
                -(each[1].rate if each[1].rate is not None else float(each[1].errors)),
                each[0].trial.key.order,
            )
        )
        seen: set[str] = set()
        for row, words in scored:
            if row.utterance.id in seen:
                continue
            seen.add(row.utterance.id)
            turn = row.trial.turns[0]
            shown.append(
                WordErrorRow(
                    candidate=candidates[name],
                    utterance=row.utterance.id,
                    trial=row.trial.key.id,
                    rate="no words expected" if words.rate is None else percent(words.rate),
                    counts=(words.substitutions, words.deletions, words.insertions),
                    pieces=diff_of(turn, row.utterance),
                    heard=transcript_text(turn) or "",
                )
            )
            if len(seen) == WORST:
                break
    return tuple(shown)


def _with_and_without(summary: RunSummary) -> PlainTable:
    leading = next(
        (
            metric
            for metric in ("response", "stt_finalize", "llm_ttft", "tts_first_byte")
            if _anywhere(summary, metric)
        ),
        None,
    )
    rows: list[tuple[Cell | str, ...]] = []
    for name, each in summary.candidates.items():
        metric = None if leading is None else each.metrics.get(leading)
        values: list[Cell | str] = []
        for view in ("main", "undisturbed", "everything"):
            for statistic in ("p50", "p95"):
                if metric is None:
                    values.append(missing("not measured"))
                else:
                    found = getattr(metric, view).get(statistic)
                    values.append(cell(found, Unit(metric.metric.unit), emulated=metric.emulated))
        attempts = each.planned + each.booted + each.reruns
        share = percent(each.disturbed / attempts) if attempts else "–"
        rows.append(
            (
                name,
                f"{count(each.disturbed)} of {count(attempts)} ({share})",
                count(each.reruns),
                count(each.excluded),
                *values,
            )
        )
    title = "" if leading is None else f"{METRICS[leading].title}, "
    return PlainTable(
        title="With and without disturbed trials",
        columns=(
            "Candidate",
            "Disturbed attempts",
            "Re-runs",
            "Left disturbed",
            f"{title}p50",
            "p95",
            "p50 without",
            "p95 without",
            "p50 of every attempt",
            "p95 of every attempt",
        ),
        rows=tuple(rows),
        note="The headline takes of each planned trial its first undisturbed attempt, or the last "
        "where each was disturbed; those that found a deployment scaled to zero are in the last "
        "two columns alone.",
    )


def _livekit(summary: RunSummary) -> PlainTable | None:
    def cell_of(value: float, candidate: CandidateSummary, metric: str) -> Cell:
        emulated = is_emulated(metric, candidate.emulated)
        return Cell(text=milliseconds(value * MS), emulated=emulated)

    rows: list[tuple[Cell | str, ...]] = [
        (
            name,
            each.name,
            METRICS[each.metric].title,
            count(each.turns),
            cell_of(each.theirs_p50, candidate, each.metric),
            cell_of(each.ours_p50, candidate, each.metric),
            ("+" if each.p50 > 0 else "") + milliseconds(each.p50 * MS),
            milliseconds(each.largest * MS),
        )
        for name, candidate in summary.candidates.items()
        for each in candidate.reported
    ]
    if not rows:
        return None
    return PlainTable(
        title="LiveKit's own numbers against these",
        columns=(
            "Candidate",
            "LiveKit's name",
            "Claims to be",
            "Turns",
            "LiveKit p50",
            "turnbench p50",
            "LiveKit minus turnbench",
            "Largest gap",
        ),
        rows=tuple(rows),
        note="LiveKit takes the end of speech from a detector or from the transcript's arrival, "
        "and writes unknown as 0; its numbers are never the source of a figure above.",
    )


def _virtual_time(trials: Iterable[Trial | FailedTrial]) -> FactTable:
    found = [trial.health for trial in trials if trial.health is not None]
    worst = max((each.lateness_max_ns for each in found), default=0)
    return FactTable(
        title="The virtual clock",
        rows=(
            ("audio frames", count(sum(each.frames for each in found))),
            ("frame lateness, worst", milliseconds(worst)),
            ("frames over 20 ms late", count(sum(each.late_frames for each in found))),
        ),
        note="It stands still while anything works and jumps when all is idle: no stall of the "
        "machine can be in these figures, and none is looked for. A frame is late where the "
        "agent's own code waited without giving way.",
    )


def _machine_time(selections: Iterable[Selection]) -> FactTable:
    trials = [trial for each in selections for trial in each.everything]
    found: list[Health] = [trial.health for trial in trials if trial.health is not None]
    if not found:
        return FactTable(
            title="The machine's timekeeping",
            rows=(("watched", "no trial"),),
            note="Nothing watched the machine: a disturbance would not have been seen.",
        )

    def of(name: str, share: float) -> str:
        values = np.sort(np.array([getattr(each, name) for each in found], dtype=np.float64))
        return milliseconds(float(values[min(values.size - 1, int(share * values.size))]))

    stalls = [each.end_ns - each.start_ns for health in found for each in health.stalls]
    return FactTable(
        title="The machine's timekeeping",
        rows=(
            ("trials watched", f"{count(len(found))} of {count(len(trials))}"),
            ("audio frames", count(sum(each.frames for each in found))),
            ("frame lateness, p50 of the typical trial", of("lateness_p50_ns", 0.5)),
            ("frame lateness, p99 of the typical trial", of("lateness_p99_ns", 0.5)),
            ("frame lateness, worst", of("lateness_max_ns", 1.0)),
            ("frames over 20 ms late", count(sum(each.late_frames for each in found))),
            ("event-loop lag, p99 of the typical trial", of("loop_lag_p99_ns", 0.5)),
            ("event-loop lag, worst", of("loop_lag_max_ns", 1.0)),
            ("host stalls over 10 ms", count(len(stalls))),
            ("longest stall", milliseconds(max(stalls)) if stalls else "none"),
        ),
    )


def trust(data: RunData, selections: Mapping[str, Selection]) -> tuple[PlainTable | FactTable, ...]:
    """Return the trust panel's tables."""
    summary = data.summary
    virtual = data.suite.clock is Clock.VIRTUAL
    # Nothing disturbs a virtual clock, so there is nothing to leave out.
    tables: list[PlainTable | FactTable] = [] if virtual else [_with_and_without(summary)]
    livekit = _livekit(summary)
    if livekit is not None:
        tables.append(livekit)
    emulated = {name: each.emulated for name, each in summary.candidates.items()}
    endpoints = endpoints_table(selections, emulated)
    caches = caches_table(selections, data.suite)
    tables += [each for each in (endpoints, caches) if each is not None]
    tables.append(_virtual_time(data.trials) if virtual else _machine_time(selections.values()))
    if data.self_error is not None:
        tables.append(data.self_error)
    else:
        tables.append(
            FactTable(
                title="The harness's own error",
                rows=(("measured", "not with this run"),),
                note="turnbench doctor measures it on this machine against the gateway's truth.",
            )
        )
    heard = [data.utterances[each] for each in sorted(data.utterances)]
    if heard:
        worst = max(each.tolerance_ms for each in heard)
        estimated = sum(each.timing == "estimated" for each in heard)
        tables.append(
            FactTable(
                title="The end of speech",
                rows=(
                    ("utterances", count(len(heard))),
                    ("known to within", f"{worst:g} ms at worst"),
                    ("estimated from energy", count(estimated)),
                ),
                note="Absolute values are as exact as this; differences between candidates are "
                "not touched by it.",
            )
        )
    return tuple(tables)
