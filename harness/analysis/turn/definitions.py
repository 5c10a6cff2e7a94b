"""The definition of every metric: a literal table.

Times are the difference of two marks, computed in integer nanoseconds and given in milliseconds.
They are never clamped: an agent may answer before the user has ended, and a final transcript may
come before the last sample. A metric whose definition changes gets a new id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.domain.barge_in import Expects
from harness.domain.suite import Driver
from harness.domain.timeline import Mark, Stage

__all__ = ["EVENTS", "METRICS", "OVER_THE_REPLY", "Better", "Metric", "Unit", "definition_digests"]

Better = Literal["lower", "higher"]
Unit = Literal["ms", "tokens/s", "ratio", "count", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric's definition.

    Attributes:
        id: names it in files, budgets and tables; never reused for another definition.
        title: what reports show.
        unit: "ms", "tokens/s", "ratio", "count" or "rate" (a share of 1).
        better: which direction is the good one.
        start, end: the marks it lies between; None where it is no single span.
        stage: the stage that it blames; None for the whole pipeline.
        drivers: the drivers that can measure it.
        definition: the formula, in words.
        leaves_out: what it does not contain and could be taken to.
        headline: shown in the first table.
    """

    id: str
    title: str
    unit: Unit
    better: Better
    start: Mark | None
    end: Mark | None
    stage: Stage | None
    drivers: frozenset[Driver]
    definition: str
    leaves_out: str
    headline: bool = False


_BOTH = frozenset({Driver.SESSION, Driver.STAGE})
_SESSION = frozenset({Driver.SESSION})
_STAGE = frozenset({Driver.STAGE})

_TABLE = (
    Metric(
        id="response",
        title="Voice-to-voice response",
        unit="ms",
        better="lower",
        start=Mark.SPEECH_END,
        end=Mark.FIRST_AUDIBLE,
        stage=None,
        drivers=_SESSION,
        definition="from the last audible sample of the user's speech, as the dataset gives it, "
        "to the playout of the reply's first audible sample; a reply that becomes audible inside "
        "the user's speech, by more than the tolerance of its bounds, is a cut-in and ranks behind "
        "every answer",
        leaves_out="WebRTC, jitter buffers and telephony; what the agent says before the user has "
        "spoken",
        headline=True,
    ),
    Metric(
        id="cut_ins",
        title="Cuts in",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=None,
        drivers=_SESSION,
        definition="share of trials in which the agent became audible inside the user's speech, by "
        "more than the tolerance of its bounds; a failed trial is none",
        leaves_out="what it said, and whether it stopped again",
    ),
    Metric(
        id="greeting",
        title="Greeting",
        unit="ms",
        better="lower",
        start=Mark.SESSION_START,
        end=Mark.GREETING_AUDIBLE,
        stage=None,
        drivers=_SESSION,
        definition="from the start of the agent's session to the first audible sample of what it "
        "says before the user has spoken",
        leaves_out="the way to the session: dialling, joining a room, the worker's own start; "
        "agents that wait for the user",
    ),
    Metric(
        id="stt_first_transcript",
        title="Time to first transcript",
        unit="ms",
        better="lower",
        start=Mark.SPEECH_START,
        end=Mark.TRANSCRIPT_FIRST,
        stage=Stage.STT,
        drivers=_BOTH,
        definition="from the first audible sample of the user's speech to the first non-empty "
        "transcript at the agent",
        leaves_out="whether that transcript is right; where an STT sends finals only it is the "
        "final, and marked so",
        headline=True,
    ),
    Metric(
        id="stt_finalize",
        title="Finalize to final transcript",
        unit="ms",
        better="lower",
        start=Mark.SPEECH_END,
        end=Mark.TRANSCRIPT_FINAL,
        stage=Stage.STT,
        drivers=_STAGE,
        definition="from an explicit finalize at the known end of speech to the final transcript",
        leaves_out="the recogniser's own endpointing: no agent gets this without an oracle for "
        "the end of speech",
        headline=True,
    ),
    Metric(
        id="stt_final",
        title="Final transcript after speech end",
        unit="ms",
        better="lower",
        start=Mark.SPEECH_END,
        end=Mark.TRANSCRIPT_FINAL,
        stage=Stage.STT,
        drivers=_SESSION,
        definition="from the last audible sample of the user's speech to the last final "
        "transcript at or before the commit",
        leaves_out="finals after the commit, which are kept apart; negative is legal",
        headline=True,
    ),
    Metric(
        id="endpointing",
        title="End-of-turn decision",
        unit="ms",
        better="lower",
        start=Mark.SPEECH_END,
        end=Mark.TURN_COMMITTED,
        stage=Stage.ENDPOINTING,
        drivers=_SESSION,
        definition="from the last audible sample of the user's speech to the agent's decision "
        "that the user has finished",
        leaves_out="nothing of the transcript: it contains it; a VAD's idea of speech end is not "
        "used",
        headline=True,
    ),
    Metric(
        id="llm_ttft",
        title="LLM time to first token",
        unit="ms",
        better="lower",
        start=Mark.LLM_REQUEST,
        end=Mark.LLM_FIRST_TEXT,
        stage=Stage.LLM,
        drivers=_BOTH,
        definition="from the hand-over of the chat request to the client, to the first non-blank "
        "answer text or complete tool call",
        leaves_out="reasoning, role-only and blank chunks, which do not end it; an earlier "
        "attempt that failed, which is marked",
        headline=True,
    ),
    Metric(
        id="llm_first_reasoning",
        title="LLM time to first reasoning",
        unit="ms",
        better="lower",
        start=Mark.LLM_REQUEST,
        end=Mark.LLM_FIRST_REASONING,
        stage=Stage.LLM,
        drivers=_BOTH,
        definition="from the hand-over of the chat request to the first reasoning delta",
        leaves_out="the answer: no caller hears reasoning",
    ),
    Metric(
        id="llm_sentence",
        title="Sentence gathering",
        unit="ms",
        better="lower",
        start=Mark.LLM_FIRST_TEXT,
        end=Mark.LLM_FIRST_SENTENCE,
        stage=Stage.LLM,
        drivers=_SESSION,
        definition="from the first answer text to the hand-over of the first text to the TTS",
        leaves_out="nothing; with preemptive generation it holds the wait for the commit too",
    ),
    Metric(
        id="llm_tokens_per_second",
        title="LLM output rate",
        unit="tokens/s",
        better="higher",
        start=None,
        end=None,
        stage=Stage.LLM,
        drivers=_BOTH,
        definition="(answer tokens − 1) / (last text − first text), tokens as the provider counts "
        "them, less its reasoning tokens",
        leaves_out="replies whose provider reports no usage, and those of fewer than two pieces: "
        "pieces are not tokens",
    ),
    Metric(
        id="llm_intertoken_gap",
        title="LLM gap between pieces",
        unit="ms",
        better="lower",
        start=None,
        end=None,
        stage=Stage.LLM,
        drivers=_BOTH,
        definition="median time between consecutive pieces of answer text",
        leaves_out="the first text; the longest gap, which the turn's arrivals show",
    ),
    Metric(
        id="tts_first_byte",
        title="TTS first byte",
        unit="ms",
        better="lower",
        start=Mark.TTS_REQUEST,
        end=Mark.TTS_FIRST_BYTE,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="from the hand-over of the first text to the TTS's client, to the first byte "
        "of sample data at the socket",
        leaves_out="headers and envelopes; decoding; silence at the start of the audio",
        headline=True,
    ),
    Metric(
        id="tts_first_audible",
        title="TTS first audible",
        unit="ms",
        better="lower",
        start=Mark.TTS_REQUEST,
        end=Mark.FIRST_AUDIBLE,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="TTS first byte + the silence at the start of the audio + playout that ran dry "
        "within it",
        leaves_out="decoding and the way to the output; a wait for the commit",
        headline=True,
    ),
    Metric(
        id="tts_realtime_factor",
        title="TTS real-time factor",
        unit="ratio",
        better="lower",
        start=None,
        end=None,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="sum over the reply's syntheses of (last byte − request) / length of the reply; "
        "under 1 is faster than speech",
        leaves_out="interrupted replies",
    ),
    Metric(
        id="tts_underruns",
        title="Playout gaps",
        unit="count",
        better="lower",
        start=None,
        end=None,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="times that playout ran dry before the reply's end",
        leaves_out="how long: the reply's segments show it",
    ),
    Metric(
        id="agent_cpu",
        title="Agent's processor time",
        unit="ms",
        better="lower",
        start=None,
        end=None,
        stage=None,
        drivers=_SESSION,
        definition="processor time of the agent's callbacks and threads (its clients and livekit "
        "included), from the opening of the caller's line to the turn's end",
        leaves_out="the gateway, its engines and the harness; threads and processes that the agent "
        "starts itself; it is measured, so it has noise on a virtual clock too",
    ),
    Metric(
        id="wer",
        title="Word error rate",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=Stage.STT,
        drivers=_BOTH,
        definition="(substitutions + deletions + insertions) / words of the reference, after the "
        "named normaliser, of the finals up to the commit, joined",
        leaves_out="utterances without a text; finals after the commit",
        headline=True,
    ),
    Metric(
        id="cer",
        title="Character error rate",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=Stage.STT,
        drivers=_BOTH,
        definition="the word error rate's formula over the characters of the normalised words, "
        "spaces between them included",
        leaves_out="utterances without a text; finals after the commit",
    ),
    Metric(
        id="tts_wer",
        title="Reply word error rate",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="the word error rate's formula, of the named recogniser's transcript of the "
        "stored reply against the text that was synthesised; no words heard counts as every word "
        "unheard",
        leaves_out="replies that failed, were cut off, were not stored, or that the recogniser "
        "failed on; the recogniser's own errors, which are in it",
    ),
    Metric(
        id="stt_client_overhead",
        title="STT client overhead",
        unit="ms",
        better="lower",
        start=Mark.FINAL_RECEIVED,
        end=Mark.TRANSCRIPT_FINAL,
        stage=Stage.STT,
        drivers=_BOTH,
        definition="from the arrival of the final's message at the socket to the agent",
        leaves_out="the way out: framing of the audio",
    ),
    Metric(
        id="llm_client_overhead",
        title="LLM client overhead",
        unit="ms",
        better="lower",
        start=None,
        end=None,
        stage=Stage.LLM,
        drivers=_BOTH,
        definition="(request written − request handed over) + (first text at the agent − its "
        "bytes at the socket)",
        leaves_out="nothing: opening a connection is in it, and named in the waterfall",
    ),
    Metric(
        id="tts_client_overhead",
        title="TTS client overhead",
        unit="ms",
        better="lower",
        start=None,
        end=None,
        stage=Stage.TTS,
        drivers=_BOTH,
        definition="(request written − text handed over) + (first frame at the output − its bytes "
        "at the socket)",
        leaves_out="nothing: opening a connection is in it, and named in the waterfall",
    ),
    Metric(
        id="interruption",
        title="Interruption to silence",
        unit="ms",
        better="lower",
        start=Mark.OVERLAP_START,
        end=Mark.REPLY_STOPPED,
        stage=None,
        drivers=_SESSION,
        definition="of speech that should interrupt, from its first audible sample to the stop of "
        "the reply's playout; a reply that goes on is a failure",
        leaves_out="echo and its cancellation, the room, what jitter buffers still play",
        headline=True,
    ),
    Metric(
        id="interruption_detection",
        title="Interruption detected",
        unit="ms",
        better="lower",
        start=Mark.OVERLAP_START,
        end=Mark.INTERRUPTION_DETECTED,
        stage=Stage.INTERRUPTION,
        drivers=_SESSION,
        definition="of speech that should interrupt, from its first audible sample to the agent's "
        "decision that it is being interrupted; a reply that goes on is a failure",
        leaves_out="the way from the decision to the stop",
    ),
    Metric(
        id="interruption_verdict",
        title="Interruption verdict",
        unit="ms",
        better="lower",
        start=None,
        end=None,
        stage=Stage.INTERRUPTION,
        drivers=_SESSION,
        definition="from the hand-over of a window of the overlapping speech to the detector's "
        "socket, to the arrival of its verdict: the median over the turn's windows; a detector "
        "that gives none is a failure",
        leaves_out="how much speech the verdict took: windows are sent every 100 ms; agents that "
        "ask no detector",
    ),
    Metric(
        id="missed_interruptions",
        title="Missed interruptions",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=None,
        drivers=_SESSION,
        definition="share of speech that should interrupt over which the reply was not stopped; "
        "failed trials count as missed",
        leaves_out="replies that were over before anything was said over them",
    ),
    Metric(
        id="false_interruptions",
        title="False interruptions",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=None,
        drivers=_SESSION,
        definition="share of backchannels over which the reply was stopped; failed trials count "
        "as stopped",
        leaves_out="that livekit can resume a reply that it has paused: a pause is a stop",
    ),
    Metric(
        id="interruption_fallbacks",
        title="Falls back to voice activity",
        unit="rate",
        better="lower",
        start=None,
        end=None,
        stage=Stage.INTERRUPTION,
        drivers=_SESSION,
        definition="share of trials with speech over the reply in which the adaptive detector "
        "failed and livekit decided by voice activity",
        leaves_out="agents that ask no detector",
    ),
)

EVENTS = ("cut_ins", "missed_interruptions", "false_interruptions", "interruption_fallbacks")
"""Metrics that are 1 for a trial in which something happened and 0 for one in which it did not: a
candidate has one rate, and no percentile gates."""

OVER_THE_REPLY: Mapping[str, frozenset[Expects]] = MappingProxyType(
    {
        "interruption": frozenset({Expects.INTERRUPTS}),
        "interruption_detection": frozenset({Expects.INTERRUPTS}),
        "interruption_verdict": frozenset(Expects),
        "missed_interruptions": frozenset({Expects.INTERRUPTS}),
        "false_interruptions": frozenset({Expects.BACKCHANNEL}),
        "interruption_fallbacks": frozenset(Expects),
    }
)
"""Metrics of what is said over the reply, and of which such speech each is."""

METRICS: Mapping[str, Metric] = MappingProxyType({metric.id: metric for metric in _TABLE})
"""Every metric by its id, in the order of reports."""


def definition_digests() -> dict[str, str]:
    """Return a short digest of each metric's definition, by id.

    Stored with a run, it shows that a metric meant something else when the run was measured.
    Titles do not count.
    """
    found: dict[str, str] = {}
    for metric in METRICS.values():
        start, end = (None if mark is None else mark.value for mark in (metric.start, metric.end))
        text = "|".join(
            str(part)
            for part in (metric.id, metric.unit, metric.better, start, end, metric.definition)
        )
        found[metric.id] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return found
