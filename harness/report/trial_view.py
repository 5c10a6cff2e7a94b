"""A trial as a report shows it, as values: its row, its turns, their bars and requests."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "Bar",
    "BarKind",
    "DiffPiece",
    "PieceKind",
    "ProviderFact",
    "ReplyView",
    "RequestView",
    "TranscriptView",
    "TrialStatus",
    "TrialView",
    "TurnView",
    "WaterfallView",
]


class TrialStatus(StrEnum):
    """How a trial counts."""

    ANSWERED = "answered"
    DISTURBED = "disturbed"
    FAILED = "failed"
    WARMUP = "warm-up"
    SUPERSEDED = "re-run"


class BarKind(StrEnum):
    """What spent the time of a part of the waterfall."""

    PROVIDER = "provider"
    """the provider, with the network"""
    CLIENT = "client"
    """Python: the plugin, the framework, the event loop"""
    WAIT = "wait"
    """a known wait: an endpointing delay, a frame, a connection"""
    UNATTRIBUTED = "unattributed"
    """nothing that is known"""


class PieceKind(StrEnum):
    """One piece of an aligned transcript."""

    EQUAL = "equal"
    SUBSTITUTED = "substituted"
    DELETED = "deleted"
    INSERTED = "inserted"


class Bar(NamedTuple):
    """One part of a waterfall.

    Attributes:
        label: what it is, in words.
        stage: "stt", "endpointing", "llm", "tts", "playout", "harness" or "" where unknown.
        kind: what spent the time.
        start_ns, end_ns: from the end of speech.
    """

    label: str
    stage: str
    kind: BarKind
    start_ns: int
    end_ns: int


class DiffPiece(NamedTuple):
    """Words of the reference against words that were heard."""

    kind: PieceKind
    reference: str
    heard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptView:
    """A transcript event; time from the turn's origin."""

    kind: str
    text: str
    at_ns: int
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request; times from the turn's origin.

    Attributes:
        arrivals: when each piece of the response arrived.
        lines: what it was and what the provider said, as (name, value).
    """

    id: str
    stage: str
    cause: str
    parent: str
    cancelled: bool
    start_ns: int | None
    end_ns: int | None
    arrivals: tuple[int, ...]
    text: str
    lines: tuple[tuple[str, str], ...]
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyView:
    """The reply as it was played.

    Attributes:
        segments: (start, end) between underruns, from the turn's origin.
        peaks: loudest sample of equal slices of the audio, 0 to 255; empty where unknown.
        audio: a relative link, or empty.
    """

    segments: tuple[tuple[int, int], ...]
    peaks: bytes = b""
    audio: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """One turn; its origin is the end of speech (the trial's start where there is no speech).

    Attributes:
        speech: start and end of the user's speech, where known.
        audio_end_ns: the end of the recording.
        speech_peaks: loudest sample of equal slices of the recording's speech; may be empty.
        bars: the critical path.
        marks: (name, instant), in time.
        transcripts, requests, reply: as they happened.
        pieces: reference against what was heard; empty where there is no reference.
        reply_text: what the agent said.
        reported: LiveKit's own numbers beside ours: (name, theirs, ours).
    """

    speech: tuple[int, int] | None
    audio_end_ns: int | None
    speech_peaks: bytes
    bars: tuple[Bar, ...]
    marks: tuple[tuple[str, int], ...]
    transcripts: tuple[TranscriptView, ...]
    requests: tuple[RequestView, ...]
    reply: ReplyView | None
    pieces: tuple[DiffPiece, ...]
    reply_text: str
    reported: tuple[tuple[str, str, str], ...]


ProviderFact = tuple[str, str | int | float | bool | None]
"""A name and a value, for a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """A trial as a row, and what opens below it.

    Attributes:
        id: names the trial and its link.
        candidate: index of the candidate.
        values: one number for each of the report's trial metrics, in its unit; None where
            there is none.
        note: why it failed or was disturbed.
        failure: "stage · kind", or empty.
        condition: the acoustic condition, or empty.
        barge_in: what was said over the reply, or empty.
        provided: what the providers told of it and what it cost, flat; see
            ``harness.report.providers``.
    """

    id: str
    candidate: int
    utterance: str
    repeat: int
    status: TrialStatus
    values: tuple[float | None, ...]
    tags: tuple[str, ...]
    note: str
    failure: str
    emulated: bool
    turns: tuple[TurnView, ...]
    facts: tuple[tuple[str, str], ...]
    condition: str = ""
    barge_in: str = ""
    provided: tuple[ProviderFact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallView:
    """One real turn's response, split along its critical path.

    Attributes:
        candidate: index of the candidate.
        title: "median turn" or "p95 turn".
        trial: the trial's id.
        bars: in order; they sum to ``response_ns``.
        response_ns: the whole.
        response: the same as text.
        note: what a reader must know of it.
    """

    candidate: int
    title: str
    trial: str
    bars: tuple[Bar, ...]
    response_ns: int
    response: str
    note: str = ""
