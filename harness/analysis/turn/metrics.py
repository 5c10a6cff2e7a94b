"""The value of each metric for one turn; what it means stands in ``definitions`` beside this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median
from types import MappingProxyType
from typing import Any

import jiwer

from harness.analysis.turn.definitions import METRICS, OVER_THE_REPLY, Metric
from harness.analysis.words.transcript import NoTranscript, Score, normalise, score
from harness.domain.suite import Driver
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import (
    Cause,
    FailedTrial,
    Failure,
    FailureKind,
    Overlap,
    Request,
    TranscriptKind,
    Trial,
    Turn,
    WaitCause,
)
from harness.domain.utterance import Utterance

__all__ = [
    "FINALS_ONLY",
    "METRICS",
    "Measurement",
    "Metric",
    "Missing",
    "finals_only",
    "late_transcript",
    "marks_of",
    "measure",
    "measure_all",
    "measure_turn",
    "spoken_score",
    "transcript_text",
    "usage_of",
    "word_score",
]

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
FINALS_ONLY = "finals only"
"""The note of a time to first transcript that is that of the final."""
AFTER_RETRY = "after a retry"
FELL_BACK = "fell back to voice activity"
BY_VOICE = "voice activity decided, the detector was not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A metric's value for one turn.

    Attributes:
        value: in the metric's unit.
        note: what sets this value apart ("finals only", "after a retry"); "" for nothing.
    """

    value: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A metric that one turn does not have.

    Attributes:
        reason: why, in a few words.
        failure: the trial's failure, where that is why. Such a trial ranks slower than every
            success; a turn that merely lacks a mark does not.
    """

    reason: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A turn as formulas read it; made once for all metrics of the turn."""

    turn: Turn
    utterance: Utterance
    marks: Mapping[Mark, int]
    llm: Request | None


def _standing(turn: Turn) -> dict[Stage, Request]:
    """Return for each stage the request whose marks stand for it."""
    found: dict[Stage, Request] = {}
    for request in (*turn.chain(), *(each for each in turn.requests if not each.cancelled)):
        found.setdefault(request.stage, request)
    return found


def _marks(turn: Turn, standing: Mapping[Stage, Request]) -> dict[Mark, int]:
    marks = dict(turn.marks)
    for request in standing.values():
        for mark, instant in request.marks.items():
            marks.setdefault(mark, instant)
    return marks


def marks_of(turn: Turn) -> dict[Mark, int]:
    """Return the turn's marks with those of the requests behind its first audible sample.

    Of each stage only the request nearest to the reply counts: what an earlier attempt or a tool's
    request left behind does not fill its gaps. A stage off that chain (each stage alone has no
    chain) gives its first request that was not cancelled.
    """
    return _marks(turn, _standing(turn))


def transcript_text(turn: Turn) -> str | None:
    """Return the finals up to the commit, joined by spaces; None where none came."""
    finals = [
        each.text.strip()
        for each in turn.transcripts
        if each.kind is TranscriptKind.FINAL and not each.late and each.text.strip()
    ]
    return " ".join(finals) if finals else None


def late_transcript(turn: Turn) -> str | None:
    """Return the finals after the commit, joined by spaces; None where none came."""
    finals = [
        each.text.strip()
        for each in turn.transcripts
        if each.kind is TranscriptKind.FINAL and each.late and each.text.strip()
    ]
    return " ".join(finals) if finals else None


def finals_only(turn: Turn) -> bool:
    """Tell whether the STT sent finals and nothing before them."""
    kinds = {each.kind for each in turn.transcripts if each.text.strip()}
    return kinds == {TranscriptKind.FINAL}


def word_score(turn: Turn, utterance: Utterance) -> Score | NoTranscript | Missing:
    """Return the word errors of a turn's transcript: the finals up to the commit against the text.

    Where no speech is expected, every word heard is an insertion and there is no rate.
    """
    reference = "" if utterance.expect == "none" else utterance.reference
    if reference is None:
        return Missing(reason="the utterance has no text")
    return score(reference, transcript_text(turn), utterance.language)


def spoken_score(turn: Turn, utterance: Utterance) -> Score | NoTranscript | Missing:
    """Return the word errors of a reply that a recogniser heard again, against its text.

    The reply is taken to be of the utterance's language. Words are the unit where the language
    separates them by spaces, else characters.
    """
    reply = turn.reply
    if reply is None:
        return Missing(reason="no reply was played")
    if reply.again is None:
        return Missing(reason="no recogniser has heard the reply")
    if reply.again.reason is not None:
        return Missing(reason=f"the recogniser failed: {reply.again.reason}")
    return score(reply.again.spoken, reply.again.heard, utterance.language)


def measure(
    metric_id: str, trial: Trial | FailedTrial, utterance: Utterance, *, turn: int = 0
) -> Measurement | Missing:
    """Return a metric's value for one turn of a trial.

    Args:
        metric_id: an id of :data:`METRICS`.
        trial: what was performed.
        utterance: what the turn's user said.
        turn: the turn's position in the trial.

    Raises:
        KeyError: there is no such metric.
        IndexError: the trial has no such turn.
    """
    metric = METRICS[metric_id]
    if isinstance(trial, FailedTrial):
        return Missing(
            reason=f"failed: {trial.failure.stage.value} {trial.failure.kind.value}",
            failure=trial.failure,
        )
    if Driver(trial.driver) not in metric.drivers:
        return Missing(reason=f"not measured by the {trial.driver} driver")
    return measure_turn(metric_id, trial.turns[turn], utterance)


def measure_turn(metric_id: str, turn: Turn, utterance: Utterance) -> Measurement | Missing:
    """Return a metric's value for a turn, whichever driver performed it.

    Raises:
        KeyError: there is no such metric.
    """
    return _value(METRICS[metric_id], _view(turn, utterance))


def measure_all(
    trial: Trial | FailedTrial, utterance: Utterance, *, turn: int = 0
) -> dict[str, Measurement | Missing]:
    """Return every metric of one turn of a trial: :func:`measure` for all ids, made faster."""
    if isinstance(trial, FailedTrial):
        return {metric_id: measure(metric_id, trial, utterance) for metric_id in METRICS}
    view = _view(trial.turns[turn], utterance)
    driver = Driver(trial.driver)
    unfit = Missing(reason=f"not measured by the {trial.driver} driver")
    return {
        metric.id: _value(metric, view) if driver in metric.drivers else unfit
        for metric in METRICS.values()
    }


def _view(turn: Turn, utterance: Utterance) -> _View:
    standing = _standing(turn)
    return _View(
        turn=turn,
        utterance=utterance,
        marks=_marks(turn, standing),
        llm=standing.get(Stage.LLM),
    )


def _value(metric: Metric, view: _View) -> Measurement | Missing:
    formula = _FORMULAS.get(metric.id)
    if formula is not None:
        return formula(view)
    assert metric.start is not None
    assert metric.end is not None
    return _span(view, metric.start, metric.end)


def _span(view: _View, start: Mark, end: Mark, note: str = "") -> Measurement | Missing:
    marks = view.marks
    for mark in (start, end):
        if mark not in marks:
            return Missing(reason=f"no {mark.value}")
    return Measurement(value=(marks[end] - marks[start]) / MILLISECOND, note=note)


def _sum_of_spans(view: _View, *pairs: tuple[Mark, Mark]) -> Measurement | Missing:
    marks = view.marks
    total = 0
    for start, end in pairs:
        for mark in (start, end):
            if mark not in marks:
                return Missing(reason=f"no {mark.value}")
        total += marks[end] - marks[start]
    return Measurement(value=total / MILLISECOND)


def _first_transcript(view: _View) -> Measurement | Missing:
    note = FINALS_ONLY if finals_only(view.turn) else ""
    return _span(view, Mark.SPEECH_START, Mark.TRANSCRIPT_FIRST, note)


def _ttft(view: _View) -> Measurement | Missing:
    request = view.llm
    note = AFTER_RETRY if request is not None and _retried(request) else ""
    return _span(view, Mark.LLM_REQUEST, Mark.LLM_FIRST_TEXT, note)


def _retried(request: Request) -> bool:
    attempts = request.facts.get("attempts", 1)
    return request.cause is Cause.RETRY or (isinstance(attempts, int) and attempts > 1)


def _text_instants(view: _View) -> list[int]:
    """Return when each piece of answer text came, at the socket where that was seen."""
    request = view.llm
    if request is None:
        return []
    pieces = [each for each in request.arrivals if each.text]
    if all(each.received_ns is not None for each in pieces):
        return [each.received_ns for each in pieces if each.received_ns is not None]
    return [each.at_ns for each in pieces if each.at_ns is not None]


def usage_of(request: Request) -> dict[str, int]:
    """Return the integers of a provider's usage, nested ones under ``outer.inner``.

    Facts hold it as a mapping ``usage`` or flattened to ``usage.name``.
    """
    found: dict[str, int] = {}

    def collect(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                collect(f"{prefix}.{name}", inner)
        elif type(value) is int:
            found[prefix.removeprefix("usage.")] = value

    for name, value in request.facts.items():
        if name == "usage" or name.startswith("usage."):
            collect(name, value)
    return found


def _answer_tokens(usage: Mapping[str, int]) -> int | None:
    """Return the answer's tokens, in any of the known spellings."""
    if "output_tokens" in usage:
        # This spelling counts reasoning apart, unless it gives the details.
        tokens, nested = usage["output_tokens"], usage.get("output_tokens_details.reasoning_tokens")
        return tokens - (nested or 0)
    for name in ("completion_tokens", "completionTokens"):
        if name in usage:
            nested = usage.get("completion_tokens_details.reasoning_tokens")
            reasoning = usage.get("reasoning_tokens", 0) if nested is None else nested
            return usage[name] - reasoning
    return None


def _tokens_per_second(view: _View) -> Measurement | Missing:
    request = view.llm
    if request is None:
        return Missing(reason="no LLM request")
    tokens = _answer_tokens(usage_of(request))
    if tokens is None:
        return Missing(reason="the provider reported no usage")
    instants = _text_instants(view)
    if tokens < 2 or len(instants) < 2 or instants[-1] <= instants[0]:
        return Missing(reason="fewer than two pieces of text")
    return Measurement(value=(tokens - 1) * SECOND / (instants[-1] - instants[0]))


def _intertoken_gap(view: _View) -> Measurement | Missing:
    instants = _text_instants(view)
    if len(instants) < 2:
        return Missing(reason="fewer than two pieces of text")
    gaps = [after - before for before, after in pairwise(instants)]
    return Measurement(value=median(gaps) / MILLISECOND)


def _syntheses(turn: Turn) -> list[Request]:
    return [each for each in turn.requests if each.stage is Stage.TTS and not each.cancelled]


def _first_audible(view: _View) -> Measurement | Missing:
    first_byte = _span(view, Mark.TTS_REQUEST, Mark.TTS_FIRST_BYTE)
    if isinstance(first_byte, Missing):
        return first_byte
    reply = view.turn.reply
    if reply is None or reply.leading_silence >= reply.samples:
        return Missing(reason="nothing audible was played")
    syntheses = _syntheses(view.turn)
    if view.turn.audible_request is not None and syntheses[0].id != view.turn.audible_request:
        return Missing(reason="the first synthesis was silent")
    marks = view.marks
    audible = marks.get(Mark.FIRST_AUDIBLE)
    dry = sum(
        wait.end_ns - wait.start_ns
        for wait in view.turn.waits
        if wait.cause is WaitCause.UNDERRUN and (audible is None or wait.end_ns <= audible)
    )
    silence = reply.leading_silence * SECOND / reply.sample_rate
    return Measurement(value=first_byte.value + (silence + dry) / MILLISECOND)


def _realtime_factor(view: _View) -> Measurement | Missing:
    reply = view.turn.reply
    if reply is None or reply.samples == 0:
        return Missing(reason="no audio")
    if reply.interrupted:
        return Missing(reason="the reply was interrupted")
    total = 0
    for request in _syntheses(view.turn):
        start, end = request.marks.get(Mark.TTS_REQUEST), request.marks.get(Mark.TTS_END)
        if start is None or end is None:
            return Missing(reason="the end of a synthesis was not seen")
        total += end - start
    if total == 0:
        return Missing(reason="no TTS request")
    return Measurement(value=total * reply.sample_rate / (reply.samples * SECOND))


def _underruns(view: _View) -> Measurement | Missing:
    if view.turn.reply is None:
        return Missing(reason="no audio")
    return Measurement(value=float(sum(gap > 0 for gap in view.turn.reply.underruns_ns)))


def _agent_cpu(view: _View) -> Measurement | Missing:
    if view.turn.agent_cpu_ns is None:
        return Missing(reason="processor time was not accounted for")
    return Measurement(value=view.turn.agent_cpu_ns / MILLISECOND)


def _llm_overhead(view: _View) -> Measurement | Missing:
    return _sum_of_spans(
        view,
        (Mark.LLM_REQUEST, Mark.LLM_SENT),
        (Mark.LLM_TEXT_RECEIVED, Mark.LLM_FIRST_TEXT),
    )


def _tts_overhead(view: _View) -> Measurement | Missing:
    return _sum_of_spans(
        view,
        (Mark.TTS_REQUEST, Mark.TTS_SENT),
        (Mark.TTS_FRAME_RECEIVED, Mark.TTS_FIRST_FRAME),
    )


def _word_errors(view: _View) -> Measurement | Missing:
    errors = word_score(view.turn, view.utterance)
    if isinstance(errors, Missing):
        return errors
    if isinstance(errors, NoTranscript):
        return Missing(reason="no transcript")
    if errors.rate is None:
        return Missing(reason="no words expected")
    return Measurement(value=errors.rate)


@lru_cache(maxsize=32_768)
def _character_rate(reference: str, hypothesis: str) -> float:
    """Return the character error rate; repeats of an utterance are mostly heard alike."""
    return float(jiwer.process_characters(reference, hypothesis).cer)


def _character_errors(view: _View) -> Measurement | Missing:
    if view.utterance.expect == "none":
        return Missing(reason="no words expected")
    if view.utterance.reference is None:
        return Missing(reason="the utterance has no text")
    heard = transcript_text(view.turn)
    if heard is None:
        return Missing(reason="no transcript")
    reference = " ".join(normalise(view.utterance.reference, view.utterance.language))
    hypothesis = " ".join(normalise(heard, view.utterance.language))
    if not reference:
        return Missing(reason="no words expected")
    if not hypothesis:
        return Measurement(value=1.0)
    return Measurement(value=_character_rate(reference, hypothesis))


def _spoken_errors(view: _View) -> Measurement | Missing:
    found = spoken_score(view.turn, view.utterance)
    if isinstance(found, Missing):
        return found
    if isinstance(found, NoTranscript):
        return Measurement(value=1.0)
    if found.rate is None:
        return Missing(reason="the reply has no words")
    return Measurement(value=found.rate)


def _said_over(view: _View, metric_id: str) -> Overlap | Missing:
    """Return what was said over the reply, where a metric asks for such speech."""
    overlap = view.turn.overlap
    if overlap is None:
        return Missing(reason="nothing was to be said over the reply")
    if overlap.expects not in OVER_THE_REPLY[metric_id]:
        return Missing(reason=f"the speech over the reply was: {overlap.expects.value}")
    if Mark.OVERLAP_START not in view.marks:
        return Missing(reason="the reply was over before anything was said over it")
    return overlap


def _who(view: _View, overlap: Overlap) -> str:
    """Say who decided, where it was not whom the suite had asked."""
    if overlap.fell_back:
        return FELL_BACK
    asked = any(Mark.WINDOW_SENT in each.marks for each in view.turn.requests)
    # livekit does not ask its detector in the reply's first second.
    return BY_VOICE if overlap.detector == "adaptive" and not asked else ""


def _until(view: _View, metric_id: str, end: Mark) -> Measurement | Missing:
    overlap = _said_over(view, metric_id)
    if isinstance(overlap, Missing):
        return overlap
    if Mark.REPLY_STOPPED not in view.marks:
        failure = Failure(
            stage=Stage.INTERRUPTION,
            kind=FailureKind.NOT_INTERRUPTED,
            message="the reply went on over speech that should have stopped it",
        )
        return Missing(reason="the reply was not stopped", failure=failure)
    if end not in view.marks:
        return Missing(reason="something else stopped the reply")
    return _span(view, Mark.OVERLAP_START, end, _who(view, overlap))


def _interruption(view: _View) -> Measurement | Missing:
    return _until(view, "interruption", Mark.REPLY_STOPPED)


def _detection(view: _View) -> Measurement | Missing:
    return _until(view, "interruption_detection", Mark.INTERRUPTION_DETECTED)


def _verdict(view: _View) -> Measurement | Missing:
    overlap = _said_over(view, "interruption_verdict")
    if isinstance(overlap, Missing):
        return overlap
    asked = [each for each in view.turn.requests if each.stage is Stage.INTERRUPTION]
    failed = next((each.failure for each in asked if each.failure is not None), None)
    if failed is not None:
        return Missing(reason=f"failed: {failed.stage.value} {failed.kind.value}", failure=failed)
    spans = [
        each.marks[Mark.VERDICT_RECEIVED] - each.marks[Mark.WINDOW_SENT]
        for each in asked
        if Mark.VERDICT_RECEIVED in each.marks and Mark.WINDOW_SENT in each.marks
    ]
    if not spans:
        return Missing(reason="no detector was asked")
    return Measurement(value=median(spans) / MILLISECOND)


def _stopped(view: _View, metric_id: str, *, bad: bool) -> Measurement | Missing:
    overlap = _said_over(view, metric_id)
    if isinstance(overlap, Missing):
        return overlap
    stopped = Mark.REPLY_STOPPED in view.marks
    return Measurement(value=float(stopped is bad), note=_who(view, overlap))


def _missed(view: _View) -> Measurement | Missing:
    return _stopped(view, "missed_interruptions", bad=False)


def _falsely_stopped(view: _View) -> Measurement | Missing:
    return _stopped(view, "false_interruptions", bad=True)


def _fell_back(view: _View) -> Measurement | Missing:
    overlap = _said_over(view, "interruption_fallbacks")
    if isinstance(overlap, Missing):
        return overlap
    if overlap.detector != "adaptive":
        return Missing(reason="no detector was asked")
    return Measurement(value=float(bool(overlap.fell_back)))


_FORMULAS: Mapping[str, Callable[[_View], Measurement | Missing]] = MappingProxyType(
    {
        "stt_first_transcript": _first_transcript,
        "llm_ttft": _ttft,
        "llm_tokens_per_second": _tokens_per_second,
        "llm_intertoken_gap": _intertoken_gap,
        "tts_first_audible": _first_audible,
        "tts_realtime_factor": _realtime_factor,
        "tts_underruns": _underruns,
        "agent_cpu": _agent_cpu,
        "llm_client_overhead": _llm_overhead,
        "tts_client_overhead": _tts_overhead,
        "wer": _word_errors,
        "cer": _character_errors,
        "interruption": _interruption,
        "interruption_detection": _detection,
        "interruption_verdict": _verdict,
        "missed_interruptions": _missed,
        "false_interruptions": _falsely_stopped,
        "interruption_fallbacks": _fell_back,
        "tts_wer": _spoken_errors,
    }
)
