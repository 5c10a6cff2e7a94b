"""Each trial as the report shows it: from instants on the run's clock to times from speech end."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from harness.analysis.summary.samples import Row
from harness.analysis.summary.summary import REPORTED
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.disturbance import Selection, disturbance
from harness.analysis.turn.reading import marks_of, transcript_text
from harness.analysis.words.transcript import align
from harness.domain.request import Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey, Turn
from harness.domain.utterance import Utterance
from harness.report.format import count, milliseconds
from harness.report.inputs import RunData
from harness.report.providers import cost_line, provider_facts, request_lines
from harness.report.trial_view import (
    Bar,
    BarKind,
    DiffPiece,
    PieceKind,
    ReplyView,
    RequestView,
    TranscriptView,
    TrialStatus,
    TrialView,
    TurnView,
)

__all__ = [
    "bars_of",
    "diff_of",
    "failure_of",
    "request_bounds",
    "status_of",
    "tags_of",
    "trial_tags",
    "trial_views",
]

# More ticks than pixels tell nothing and make the page heavy.
MOST_ARRIVALS = 240
# Tags that repeat what other columns say, or that are texts.
_HIDDEN_TAGS = frozenset({"text_norm", "license", "timing_tolerance_ms"})
_PIECES = {
    "equal": PieceKind.EQUAL,
    "substitute": PieceKind.SUBSTITUTED,
    "delete": PieceKind.DELETED,
    "insert": PieceKind.INSERTED,
}
# Looked up, because a report of 10,000 trials asks 200,000 times.
_STAGES = {stage: stage.value for stage in Stage}
_MARKS = {mark: mark.value for mark in Mark}
_KINDS = {kind.value: kind for kind in BarKind}
_STARTS = {
    Stage.LLM: Mark.LLM_REQUEST,
    Stage.TTS: Mark.TTS_REQUEST,
    Stage.INTERRUPTION: Mark.WINDOW_SENT,
}
_ENDS = {
    Stage.LLM: Mark.LLM_END,
    Stage.TTS: Mark.TTS_END,
    Stage.INTERRUPTION: Mark.VERDICT_RECEIVED,
}


def bars_of(falls: Waterfall) -> tuple[Bar, ...]:
    """Return a waterfall's parts as bars from the end of speech."""
    return tuple(
        Bar(
            part.title,
            _STAGES[part.stage],
            _KINDS[part.kind],
            part.start_ns - falls.start_ns,
            part.end_ns - falls.start_ns,
        )
        for part in falls.parts
    )


def diff_of(turn: Turn, utterance: Utterance) -> tuple[DiffPiece, ...]:
    """Return what was said against what was heard, word by word; nothing where there is no text."""
    reference = "" if utterance.expect == "none" else utterance.reference
    if reference is None:
        return ()
    return _pieces(reference, transcript_text(turn) or "", utterance.language)


@lru_cache(maxsize=32_768)
def _pieces(reference: str, heard: str, language: str) -> tuple[DiffPiece, ...]:
    """Align two texts; repeats of an utterance are mostly heard alike."""
    return tuple(
        DiffPiece(_PIECES[op.kind], op.reference or "", op.hypothesis or "")
        for op in align(reference, heard, language)
    )


def tags_of(utterance: Utterance) -> tuple[str, ...]:
    """Return what a reader may filter by: language, speaker and the manifest's tags."""
    found = [f"language: {utterance.language}"]
    if utterance.speaker:
        found.append(f"speaker: {utterance.speaker}")
    found += [
        f"{name}: {value}"
        for name, value in utterance.tags.items()
        if name not in _HIDDEN_TAGS and value and len(value) <= 40
    ]
    return tuple(found)


def _thinned(instants: Sequence[int]) -> tuple[int, ...]:
    if len(instants) <= MOST_ARRIVALS:
        return tuple(instants)
    step = (len(instants) - 1) / (MOST_ARRIVALS - 1)
    return tuple(instants[round(k * step)] for k in range(MOST_ARRIVALS))


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(f"{name}.{key}" if name else str(key), inner)
        ]
    return [] if value is None else [(name, str(value))]


def request_bounds(request: Request) -> tuple[int | None, int | None, tuple[int, ...]]:
    """Return when a request was made, when its response ended, and when each piece of it came.

    The pieces are those of which an instant is known, in time: at the socket where that is seen.
    """
    start = request.marks.get(_STARTS.get(request.stage, Mark.LLM_REQUEST))
    if start is None and request.marks:
        start = min(request.marks.values())
    instants = (
        each.at_ns if each.received_ns is None else each.received_ns for each in request.arrivals
    )
    arrivals = tuple(sorted(each for each in instants if each is not None))
    end = request.marks.get(_ENDS.get(request.stage, Mark.LLM_END))
    if end is None:
        end = max((*request.marks.values(), *arrivals), default=None)
    return start, end, arrivals


def _request(request: Request, origin: int) -> RequestView:
    start, end, instants = request_bounds(request)
    arrivals = tuple(each - origin for each in instants)
    lines = _flat("", request.facts)
    lines += request_lines(request)
    lines += [
        (f"wait: {wait.cause.value}", milliseconds(wait.end_ns - wait.start_ns))
        for wait in request.waits
    ]
    if len(arrivals) > MOST_ARRIVALS:
        lines.append(("pieces", count(len(arrivals))))
    failure = request.failure
    return RequestView(
        id=request.id,
        stage=request.stage.value,
        cause=request.cause.value,
        parent=request.parent or "",
        cancelled=request.cancelled,
        start_ns=None if start is None else start - origin,
        end_ns=None if end is None else end - origin,
        arrivals=_thinned(arrivals),
        text=request.text,
        lines=tuple(lines),
        failure=""
        if failure is None
        else f"{failure.kind.value}: {failure.message}"
        + (f" ({failure.status})" if failure.status is not None else ""),
    )


def _reply(turn: Turn, origin: int, key: tuple[str, int], data: RunData) -> ReplyView | None:
    reply = turn.reply
    if reply is None:
        return None
    segments = tuple(
        (
            segment.start_ns - origin,
            segment.start_ns - origin + segment.samples * 1_000_000_000 // reply.sample_rate,
        )
        for segment in reply.segments
    )
    linked = reply.audio if reply.audio and data.audio_base is not None else None
    return ReplyView(
        segments=segments,
        peaks=data.reply_peaks.get(key, b""),
        audio="" if linked is None else f"{data.audio_base}{linked}",
    )


def _reported(turn: Turn, row: Row) -> tuple[tuple[str, str, str], ...]:
    lines = []
    for name, seconds in turn.reported.items():
        # Names may carry whose turn it is: "assistant.e2e_latency".
        metric = REPORTED.get(name.rsplit(".", 1)[-1])
        ours = None if metric is None or turn.index != 0 else row.value(metric)
        lines.append(
            (
                name,
                milliseconds(seconds * 1e9),
                "–" if ours is None else f"{milliseconds(ours * 1e6)} ({metric})",
            )
        )
    return tuple(lines)


def _turn(turn: Turn, row: Row, data: RunData, known: Waterfall | None) -> TurnView:
    trial = row.trial
    utterance = data.utterances.get(turn.utterance, row.utterance)
    marks = marks_of(turn)
    speech_end = marks.get(Mark.SPEECH_END)
    origin = trial.started_ns if speech_end is None else speech_end
    falls = known if turn is trial.turns[0] else waterfall(turn)
    start, audio_end = marks.get(Mark.SPEECH_START), marks.get(Mark.AUDIO_END)
    spoken = [
        request.text
        for request in turn.requests
        if request.stage is Stage.LLM and not request.cancelled and request.text
    ]
    return TurnView(
        speech=None if start is None or speech_end is None else (start - origin, 0),
        audio_end_ns=None if audio_end is None else audio_end - origin,
        speech_peaks=data.speech_peaks.get(utterance.id, b""),
        bars=bars_of(falls) if isinstance(falls, Waterfall) else (),
        marks=tuple(
            (name, at - origin)
            for at, name in sorted((at, _MARKS[mark]) for mark, at in marks.items())
        ),
        transcripts=tuple(
            TranscriptView(
                kind=each.kind.value, text=each.text, at_ns=each.at_ns - origin, late=each.late
            )
            for each in turn.transcripts
        ),
        requests=tuple(_request(each, origin) for each in turn.requests),
        reply=_reply(turn, origin, (trial.key.id, turn.index), data),
        pieces=diff_of(turn, utterance),
        reply_text=" ".join(spoken),
        reported=_reported(turn, row),
    )


def _overlap(turn: Turn) -> Iterator[tuple[str, str]]:
    """Say what was said over a reply, and what became of it."""
    overlap = turn.overlap
    if overlap is None:
        return
    yield "said", f"{overlap.recording} ({overlap.expects.value})"
    begun, stopped = (turn.marks.get(m) for m in (Mark.OVERLAP_START, Mark.REPLY_STOPPED))
    if begun is None:
        yield "the reply", "was over before"
    elif stopped is None:
        yield "the reply", "went on"
    else:
        yield "the reply", f"stopped after {milliseconds(stopped - begun)}"
    if overlap.detector:
        yield "decided by", overlap.detector
    if overlap.fell_back:
        yield "fell back to voice activity", overlap.fell_back


def _facts(trial: Trial | FailedTrial) -> tuple[tuple[str, str], ...]:
    lines = [("driver", trial.driver), ("repeat", str(trial.key.repeat))]
    if trial.key.condition:
        lines.append(("condition", trial.key.condition))
    if trial.key.barge_in:
        lines.append(("over the reply", trial.key.barge_in))
    lines += [line for turn in trial.turns for line in _overlap(turn)]
    if trial.key.attempt:
        lines.append(("attempt", str(trial.key.attempt)))
    if trial.cold:
        lines.append(("connection", "the first trial on it (cold)"))
    lines += [("boot", each.text) for each in trial.boots]
    health = trial.health
    if health is None:
        return (*lines, ("machine", "not watched"))
    lines += [
        ("audio frames", count(health.frames)),
        (
            "frame lateness, p50 / p99 / worst",
            " / ".join(
                milliseconds(ns)
                for ns in (
                    health.lateness_p50_ns,
                    health.lateness_p99_ns,
                    health.lateness_max_ns,
                )
            ),
        ),
        ("frames over 20 ms late", count(health.late_frames)),
    ]
    if health.virtual:
        return (*lines, ("clock", "virtual"))
    lines += [
        (
            "event-loop lag, p99 / worst",
            f"{milliseconds(health.loop_lag_p99_ns)} / {milliseconds(health.loop_lag_max_ns)}",
        ),
        (
            "stalls over 10 ms",
            ", ".join(milliseconds(each.end_ns - each.start_ns) for each in health.stalls[:12])
            or "none",
        ),
    ]
    return tuple(lines)


def status_of(trial: Trial | FailedTrial, counted: frozenset[int]) -> tuple[TrialStatus, str]:
    """Return how a trial counts, and why it failed or was disturbed.

    Args:
        trial: of any candidate.
        counted: the ``id()`` of every trial that stands behind the run's figures.
    """
    if trial.key.warmup:
        note = trial.failure.message if isinstance(trial, FailedTrial) else ""
        return TrialStatus.WARMUP, note
    if isinstance(trial, FailedTrial):
        status = trial.failure.status
        said = trial.failure.message + (f" ({status})" if status is not None else "")
        return TrialStatus.FAILED, said
    found = disturbance(trial)
    if id(trial) not in counted:
        note = found.text if found else ""
        return TrialStatus.SUPERSEDED, f"{note}; measured again" if note else "measured again"
    if found is not None:
        return TrialStatus.DISTURBED, found.text
    return TrialStatus.ANSWERED, ""


def failure_of(trial: Trial | FailedTrial) -> str:
    """Return the stage and kind of a trial's failure; "" where it did not fail."""
    if isinstance(trial, Trial):
        return ""
    return f"{trial.failure.stage.value} · {trial.failure.kind.value}"


def trial_tags(key: TrialKey, tags: Sequence[str]) -> tuple[str, ...]:
    """Return what a trial may be filtered by: how it was performed, then its utterance's tags."""
    return (*(each for each in (key.condition, key.barge_in) if each), *tags)


def trial_views(
    data: RunData,
    rows: Sequence[Row],
    *,
    selections: Mapping[str, Selection],
    falls: Mapping[int, Waterfall],
    metrics: Sequence[str],
    candidates: Mapping[str, int],
    emulated: Mapping[str, bool],
) -> tuple[TrialView, ...]:
    """Return every trial of the run in the order of the plan.

    Args:
        data: what the report is made from.
        rows: every trial, measured.
        selections: which attempts count, by candidate.
        falls: the waterfall of each trial's first turn, by the trial's ``id()``.
        metrics: ids of the columns.
        candidates: index by name.
        emulated: by name.
    """
    counted = frozenset(id(trial) for each in selections.values() for trial in each.main)
    tags = {name: tags_of(utterance) for name, utterance in data.utterances.items()}
    views = []
    for row in sorted(rows, key=lambda each: (each.trial.key.order, each.trial.key.attempt)):
        trial = row.trial
        status, note = status_of(trial, counted)
        provided = provider_facts(row, data.suite)
        views.append(
            TrialView(
                id=trial.key.id,
                candidate=candidates[trial.key.candidate],
                utterance=trial.key.utterance,
                repeat=trial.key.repeat,
                status=status,
                values=tuple(row.value(metric) for metric in metrics),
                tags=trial_tags(trial.key, tags.get(trial.key.utterance, ())),
                note=note,
                failure=failure_of(trial),
                emulated=emulated[trial.key.candidate],
                turns=tuple(_turn(turn, row, data, falls.get(id(trial))) for turn in trial.turns),
                facts=(*_facts(trial), *cost_line(provided)),
                provided=provided,
                condition=trial.key.condition,
                barge_in=trial.key.barge_in,
            )
        )
    return tuple(views)
