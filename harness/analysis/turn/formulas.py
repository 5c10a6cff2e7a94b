"""The formula of each metric that is no single span."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from statistics import median
from types import MappingProxyType
from typing import Any

import jiwer

from harness.analysis.turn.definitions import OVER_THE_REPLY
from harness.analysis.turn.measurement import MILLISECOND, SECOND, Measurement, Missing
from harness.analysis.turn.outcome import cut_in_failure, cut_in_ms
from harness.analysis.turn.reading import (
    View,
    finals_only,
    spoken_score,
    transcript_text,
    word_score,
)
from harness.analysis.words.transcript import NoTranscript, normalise
from harness.domain.reply import Overlap
from harness.domain.request import Cause, Failure, FailureKind, Request, WaitCause
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn

__all__ = ["FINALS_ONLY", "FORMULAS", "span", "usage_of"]


FINALS_ONLY = "finals only"
"""The note of a time to first transcript that is that of the final."""


AFTER_RETRY = "after a retry"


FELL_BACK = "fell back to voice activity"


CUT_IN = "cut in"
"""Why a turn has no response whose reply began inside the caller's speech."""


BY_VOICE = "voice activity decided, the detector was not asked"


def span(view: View, start: Mark, end: Mark, note: str = "") -> Measurement | Missing:
    """Return the span between two marks in milliseconds."""
    marks = view.marks
    for mark in (start, end):
        if mark not in marks:
            return Missing(reason=f"no {mark.value}")
    return Measurement(value=(marks[end] - marks[start]) / MILLISECOND, note=note)


def _sum_of_spans(view: View, *pairs: tuple[Mark, Mark]) -> Measurement | Missing:
    marks = view.marks
    total = 0
    for start, end in pairs:
        for mark in (start, end):
            if mark not in marks:
                return Missing(reason=f"no {mark.value}")
        total += marks[end] - marks[start]
    return Measurement(value=total / MILLISECOND)


def _response(view: View) -> Measurement | Missing:
    early = cut_in_ms(view.marks, view.utterance)
    if early is not None:
        return Missing(reason=CUT_IN, failure=cut_in_failure(early))
    return span(view, Mark.SPEECH_END, Mark.FIRST_AUDIBLE)


def _cut_in(view: View) -> Measurement | Missing:
    if Mark.SPEECH_END not in view.marks:
        return Missing(reason=f"no {Mark.SPEECH_END.value}")
    return Measurement(value=float(cut_in_ms(view.marks, view.utterance) is not None))


def _first_transcript(view: View) -> Measurement | Missing:
    note = FINALS_ONLY if finals_only(view.turn) else ""
    return span(view, Mark.SPEECH_START, Mark.TRANSCRIPT_FIRST, note)


def _ttft(view: View) -> Measurement | Missing:
    request = view.llm
    note = AFTER_RETRY if request is not None and _retried(request) else ""
    return span(view, Mark.LLM_REQUEST, Mark.LLM_FIRST_TEXT, note)


def _retried(request: Request) -> bool:
    attempts = request.facts.get("attempts", 1)
    return request.cause is Cause.RETRY or (isinstance(attempts, int) and attempts > 1)


def _text_instants(view: View) -> list[int]:
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


def _tokens_per_second(view: View) -> Measurement | Missing:
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


def _intertoken_gap(view: View) -> Measurement | Missing:
    instants = _text_instants(view)
    if len(instants) < 2:
        return Missing(reason="fewer than two pieces of text")
    gaps = [after - before for before, after in pairwise(instants)]
    return Measurement(value=median(gaps) / MILLISECOND)


def _syntheses(turn: Turn) -> list[Request]:
    return [each for each in turn.requests if each.stage is Stage.TTS and not each.cancelled]


def _first_audible(view: View) -> Measurement | Missing:
    first_byte = span(view, Mark.TTS_REQUEST, Mark.TTS_FIRST_BYTE)
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


def _realtime_factor(view: View) -> Measurement | Missing:
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


def _underruns(view: View) -> Measurement | Missing:
    if view.turn.reply is None:
        return Missing(reason="no audio")
    return Measurement(value=float(sum(gap > 0 for gap in view.turn.reply.underruns_ns)))


def _agent_cpu(view: View) -> Measurement | Missing:
    if view.turn.agent_cpu_ns is None:
        return Missing(reason="processor time was not accounted for")
    return Measurement(value=view.turn.agent_cpu_ns / MILLISECOND)


def _llm_overhead(view: View) -> Measurement | Missing:
    return _sum_of_spans(
        view,
        (Mark.LLM_REQUEST, Mark.LLM_SENT),
        (Mark.LLM_TEXT_RECEIVED, Mark.LLM_FIRST_TEXT),
    )


def _tts_overhead(view: View) -> Measurement | Missing:
    return _sum_of_spans(
        view,
        (Mark.TTS_REQUEST, Mark.TTS_SENT),
        (Mark.TTS_FRAME_RECEIVED, Mark.TTS_FIRST_FRAME),
    )


def _word_errors(view: View) -> Measurement | Missing:
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


def _character_errors(view: View) -> Measurement | Missing:
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


def _spoken_errors(view: View) -> Measurement | Missing:
    found = spoken_score(view.turn, view.utterance)
    if isinstance(found, Missing):
        return found
    if isinstance(found, NoTranscript):
        return Measurement(value=1.0)
    if found.rate is None:
        return Missing(reason="the reply has no words")
    return Measurement(value=found.rate)


def _said_over(view: View, metric_id: str) -> Overlap | Missing:
    """Return what was said over the reply, where a metric asks for such speech."""
    overlap = view.turn.overlap
    if overlap is None:
        return Missing(reason="nothing was to be said over the reply")
    if overlap.expects not in OVER_THE_REPLY[metric_id]:
        return Missing(reason=f"the speech over the reply was: {overlap.expects.value}")
    if Mark.OVERLAP_START not in view.marks:
        return Missing(reason="the reply was over before anything was said over it")
    return overlap


def _who(view: View, overlap: Overlap) -> str:
    """Say who decided, where it was not whom the suite had asked."""
    if overlap.fell_back:
        return FELL_BACK
    asked = any(Mark.WINDOW_SENT in each.marks for each in view.turn.requests)
    # livekit does not ask its detector in the reply's first second.
    return BY_VOICE if overlap.detector == "adaptive" and not asked else ""


def _until(view: View, metric_id: str, end: Mark) -> Measurement | Missing:
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
    return span(view, Mark.OVERLAP_START, end, _who(view, overlap))


def _interruption(view: View) -> Measurement | Missing:
    return _until(view, "interruption", Mark.REPLY_STOPPED)


def _detection(view: View) -> Measurement | Missing:
    return _until(view, "interruption_detection", Mark.INTERRUPTION_DETECTED)


def _verdict(view: View) -> Measurement | Missing:
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


def _stopped(view: View, metric_id: str, *, bad: bool) -> Measurement | Missing:
    overlap = _said_over(view, metric_id)
    if isinstance(overlap, Missing):
        return overlap
    stopped = Mark.REPLY_STOPPED in view.marks
    return Measurement(value=float(stopped is bad), note=_who(view, overlap))


def _missed(view: View) -> Measurement | Missing:
    return _stopped(view, "missed_interruptions", bad=False)


def _falsely_stopped(view: View) -> Measurement | Missing:
    return _stopped(view, "false_interruptions", bad=True)


def _fell_back(view: View) -> Measurement | Missing:
    overlap = _said_over(view, "interruption_fallbacks")
    if isinstance(overlap, Missing):
        return overlap
    if overlap.detector != "adaptive":
        return Missing(reason="no detector was asked")
    return Measurement(value=float(bool(overlap.fell_back)))


FORMULAS: Mapping[str, Callable[[View], Measurement | Missing]] = MappingProxyType(
    {
        "response": _response,
        "cut_ins": _cut_in,
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
