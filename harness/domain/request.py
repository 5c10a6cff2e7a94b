"""What a turn is made of: requests with their attempts, waits, transcripts, failures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from harness.clock import Work
from harness.domain.timeline import Mark, Stage, Timeline
from harness.errors import InvariantError

__all__ = [
    "EMPTY",
    "Arrival",
    "Attempt",
    "Cause",
    "Connection",
    "Failure",
    "FailureKind",
    "Idle",
    "Request",
    "Transcript",
    "TranscriptKind",
    "Wait",
    "WaitCause",
]


EMPTY: Mapping[Any, Any] = MappingProxyType({})


class Cause(StrEnum):
    """Why a request was made."""

    TURN = "turn"
    """the user's turn was committed"""
    PREEMPTIVE = "preemptive"
    """a transcript arrived and the agent did not wait for the commit"""
    TOOL = "tool"
    """a tool's result had to be answered"""
    SENTENCE = "sentence"
    """a sentence of the reply was complete"""
    STREAM = "stream"
    """the reply is synthesised by one stream that takes text as it comes"""
    RETRY = "retry"
    """an earlier request with the same content failed"""
    FIXED = "fixed"
    """the stage driver's fixed input"""
    OVERLAP = "overlap"
    """speech over the reply had to be judged"""


class FailureKind(StrEnum):
    """How a trial failed."""

    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    BAD_REQUEST = "bad_request"
    SERVER_ERROR = "server_error"
    STREAM_ERROR = "stream_error"
    RESET = "reset"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    SILENT = "silent"
    MALFORMED = "malformed"
    WRONG_TYPE = "wrong_type"
    TIMEOUT = "timeout"
    NO_TRANSCRIPT = "no_transcript"
    NO_REPLY = "no_reply"
    UNEXPECTED_REPLY = "unexpected_reply"
    NOT_INTERRUPTED = "not_interrupted"
    CUT_IN = "cut_in"
    INTERNAL = "internal"


class TranscriptKind(StrEnum):
    """How definite a transcript is."""

    INTERIM = "interim"
    PREFLIGHT = "preflight"
    FINAL = "final"


class WaitCause(StrEnum):
    """A wait that is known to have happened, and why; evidence for the waterfall."""

    FRAME = "frame"
    """the rest of the audio frame that holds the last speech sample"""
    PACING = "pacing"
    """the frame was released late by the harness"""
    VAD = "vad_silence"
    """a voice activity detector waited for silence before the recording could be sent"""
    PACKET = "packet"
    """the client gathered audio until it filled a message"""
    RESAMPLING = "resampling"
    """the client's resampler held samples back until more had come"""
    SILENCE = "provider_silence"
    """the provider waited for the silence that it was told to end an utterance with"""
    TRANSFORMS = "text_transforms"
    """the agent's filters held text back until more of the reply had come"""
    UPLOAD = "upload"
    """the recording was sent"""
    ENDPOINTING = "endpointing_delay"
    """the agent waited its endpointing delay"""
    POOL = "pool"
    """no connection of the pool was free"""
    CONNECT = "connect"
    """a connection was opened"""
    TLS = "tls"
    """a connection was encrypted"""
    RETRY = "retry"
    """earlier attempts at the same request failed, and what was waited before the next"""
    TOOL = "tool"
    """a tool ran"""
    LEADING_SILENCE = "leading_silence"
    """the reply's audio began with silence"""
    UNDERRUN = "underrun"
    """playout ran dry before anything audible"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial or a request did not end well.

    Attributes:
        stage: the stage that failed.
        kind: how it failed.
        message: what the provider or the harness said, free of secrets.
        status: HTTP status or WebSocket close code, where there was one.
    """

    stage: Stage
    kind: FailureKind
    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One transcript event.

    Attributes:
        kind: interim, preflight or final.
        text: as the provider wrote it.
        at_ns: when it reached the agent.
        received_ns: when its message arrived at the socket, where the transport is seen.
        late: it came after the turn was committed.
    """

    kind: TranscriptKind
    text: str
    at_ns: int
    received_ns: int | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One piece of a response.

    Attributes:
        received_ns: when its bytes arrived at the socket (None where the transport is not seen).
        at_ns: when it left the client (None where only the transport saw it).
        text: the text it carried ("" for audio).
        size: bytes of sample data it carried (0 for text).
    """

    received_ns: int | None
    at_ns: int | None
    text: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a request got its connection, and how far away the other end of it is.

    Attributes:
        reused: no connection was opened for it.
        rtt_ns: the time that TCP's handshake took, where one was made.
        path_rtt_ns: the round trip to the machine that ends TCP (the service's edge, or a proxy):
            the least that the kernel saw on this connection; None where the system does not tell.
    """

    reused: bool
    rtt_ns: int | None = None
    path_rtt_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A known wait between two instants."""

    cause: WaitCause
    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        """Refuse a wait that ends before it starts."""
        if self.end_ns < self.start_ns:
            raise InvariantError(f"wait {self.cause.value} ends before it starts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """From when the event loop first went idle to when it last woke, between two marks.

    While the loop is idle nothing of this program runs: whatever happens next waits for the
    outside. Time from a mark to the first idleness, and from the last to the next mark, is work;
    time between them is somebody's wait.

    Attributes:
        start_ns: the beginning of the first idleness.
        end_ns: the end of the last.
    """

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        """Refuse an interval that ends before it starts."""
        if self.end_ns < self.start_ns:
            raise InvariantError("an idle interval ends before it starts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt at a request, which was made again.

    Attributes:
        number: 1 for the first.
        start_ns: when it began.
        end_ns: when it was known to have failed; None where nobody noted it.
        marks: what it had come to, as the request's own marks.
        failure: why it was made again; None where no cause was seen.
        connection: how it got its connection.
        facts: what the provider said of it.
    """

    number: int
    start_ns: int
    end_ns: int | None = None
    marks: Mapping[Mark, int] = field(default_factory=lambda: EMPTY)
    failure: Failure | None = None
    connection: Connection | None = None
    facts: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def __post_init__(self) -> None:
        """Refuse an attempt that ends before it starts."""
        if self.end_ns is not None and self.end_ns < self.start_ns:
            raise InvariantError(f"attempt {self.number} ends before it starts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a provider within a turn.

    Attributes:
        id: unique within the trial.
        stage: STT, LLM or TTS.
        cause: why it was made.
        parent: the request that led to it: a tool's LLM request, a sentence's LLM request.
        cancelled: the agent dropped it before its end.
        text: what was sent (TTS) or what came back (LLM).
        marks: its own instants; where it was made again, those of the last attempt, but for the
            call itself.
        work: the event loop thread's cumulative work at those instants.
        arrivals: pieces of the response in order.
        waits: known waits of this request.
        connection: how it got its connection.
        facts: what the provider said of it: model, request id, finish reason, ended, usage, status,
            route. JSON scalars and mappings of them.
        failure: why it failed, if it did.
        attempts: the earlier attempts, in order; none where the first one did.
    """

    id: str
    stage: Stage
    cause: Cause
    parent: str | None = None
    cancelled: bool = False
    text: str = ""
    marks: Mapping[Mark, int] = field(default_factory=lambda: EMPTY)
    work: Mapping[Mark, Work] = field(default_factory=lambda: EMPTY)
    arrivals: tuple[Arrival, ...] = ()
    waits: tuple[Wait, ...] = ()
    connection: Connection | None = None
    facts: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    failure: Failure | None = None
    attempts: tuple[Attempt, ...] = ()

    def __post_init__(self) -> None:
        """Check the request's own marks."""
        Timeline(self.marks)
