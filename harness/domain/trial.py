"""What one performance of an utterance left behind: turns, requests, failures.

Everything here is raw: instants, texts, counts. Metrics, the waterfall and verdicts are computed
from it by ``harness.analysis`` and never stored in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from harness.clock import Work
from harness.domain.barge_in import Expects
from harness.domain.boot import Boot
from harness.domain.timeline import Mark, Stage, Timeline
from harness.errors import InvariantError

__all__ = [
    "Arrival",
    "Attempt",
    "Cause",
    "Connection",
    "FailedTrial",
    "Failure",
    "FailureKind",
    "Health",
    "HeardAgain",
    "Idle",
    "Overlap",
    "PlayoutSegment",
    "Reply",
    "Request",
    "Stall",
    "Transcript",
    "TranscriptKind",
    "Trial",
    "TrialKey",
    "Turn",
    "Wait",
    "WaitCause",
    "recording_name",
]

EMPTY: Mapping[Any, Any] = MappingProxyType({})


def recording_name(utterance: str, condition: str) -> str:
    """Return the name of an utterance's recording under a condition, unique within a run.

    Neither name holds a slash, so the two are joined by one; without a condition it is the
    utterance's id.
    """
    return f"{utterance}/{condition}" if condition else utterance


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutSegment:
    """A stretch of the reply that played without a gap.

    Attributes:
        start_ns: when its first sample was played.
        offset: its first sample's index in the reply.
        samples: how many samples it holds.
    """

    start_ns: int
    offset: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardAgain:
    """What a recogniser made of a reply's audio after the run; it is stored beside the trials.

    Attributes:
        spoken: the text that was synthesised.
        heard: the final transcript; None where there is none.
        recogniser: which one, and where it was reached, in words.
        reason: why it failed; None where it heard words, or nothing to hear.
    """

    spoken: str
    heard: str | None
    recogniser: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply's audio as it was played.

    Attributes:
        sample_rate: in hertz.
        samples: how many.
        segments: the stretches between underruns, in order.
        leading_silence: samples before the first audible 10 ms window; all of them if none is.
        interrupted: it did not play to its end: the agent stopped it, or the caller hung up.
        audio: the file in the run's folder, where the audio was kept.
        again: what a recogniser made of it later, where one was asked. No part of the trial as it
            is stored.
    """

    sample_rate: int
    samples: int
    segments: tuple[PlayoutSegment, ...]
    leading_silence: int
    interrupted: bool = False
    audio: str | None = None
    again: HeardAgain | None = None

    @property
    def underruns_ns(self) -> tuple[int, ...]:
        """The lengths of the gaps in playout, in nanoseconds."""
        gaps = []
        for before, after in zip(self.segments, self.segments[1:], strict=False):
            played_ns = before.samples * 1_000_000_000 // self.sample_rate
            gaps.append(after.start_ns - before.start_ns - played_ns)
        return tuple(gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What was said over the reply, and who was to judge it.

    Attributes:
        recording: its utterance's id in its dataset.
        expects: what the agent should make of it.
        detector: "adaptive" or "vad", as asked for; "" where an agent of the user's own decides.
        fell_back: why the adaptive detector gave up and left the decision to the voice activity
            detector; "" where it did not.
    """

    recording: str
    expects: Expects
    detector: str = ""
    fell_back: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One utterance and the agent's reply.

    Attributes:
        index: 0 for the first turn of the trial.
        utterance: the utterance's id.
        marks: the turn's own instants; those of a stage stand in its requests.
        work: the event loop thread's cumulative work at those instants.
        transcripts: every transcript event in order of arrival.
        requests: every request in order of creation.
        audible_request: the TTS request that produced the first audible sample.
        waits: known waits outside any request.
        idle: the loop's idleness in each gap between neighbouring marks that has any, in order;
            empty where it was not watched.
        reply: the reply's audio, if there was any.
        reported: LiveKit's own numbers for the turn, by its own names, in seconds.
        overlap: what was to be said over the reply; None for most turns. It has been said where
            the mark ``overlap_start`` stands.
        agent_cpu_ns: processor time that the agent's own code spent, from the opening of the
            caller's line to the turn's end; None where it was not accounted for.
    """

    index: int
    utterance: str
    marks: Mapping[Mark, int] = field(default_factory=lambda: EMPTY)
    work: Mapping[Mark, Work] = field(default_factory=lambda: EMPTY)
    transcripts: tuple[Transcript, ...] = ()
    requests: tuple[Request, ...] = ()
    audible_request: str | None = None
    waits: tuple[Wait, ...] = ()
    idle: tuple[Idle, ...] = ()
    reply: Reply | None = None
    reported: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    overlap: Overlap | None = None
    agent_cpu_ns: int | None = None

    def __post_init__(self) -> None:
        """Check that ids are unique and parents exist."""
        ids = [request.id for request in self.requests]
        if len(set(ids)) != len(ids):
            raise InvariantError(f"turn {self.index} has two requests with one id")
        known = set(ids)
        for request in self.requests:
            if request.parent is not None and request.parent not in known:
                raise InvariantError(f"request {request.id} has an unknown parent {request.parent}")
        if self.audible_request is not None and self.audible_request not in known:
            raise InvariantError(f"audible request {self.audible_request} is unknown")

    def request(self, request_id: str | None) -> Request | None:
        """Return the request with this id, if there is one."""
        return next((each for each in self.requests if each.id == request_id), None)

    def chain(self) -> tuple[Request, ...]:
        """Return the request behind the first audible sample and its ancestors, latest first.

        Where nothing was audible, the last request that was not cancelled stands in.
        """
        current = self.request(self.audible_request)
        if current is None:
            kept = [each for each in self.requests if not each.cancelled]
            by_stage = {stage: [r for r in kept if r.stage is stage] for stage in Stage}
            for stage in (Stage.TTS, Stage.LLM, Stage.STT):
                if by_stage[stage]:
                    current = by_stage[stage][0]
                    break
        found: list[Request] = []
        # By identity: ids are unique, and comparing all fields of requests takes its time.
        while current is not None and all(current is not each for each in found):
            found.append(current)
            current = self.request(current.parent)
        return tuple(found)

    def timeline(self) -> Timeline:
        """Return the turn's marks with those of the requests behind the first audible reply.

        Where several LLM requests lie on the chain (a tool call and its answer), the marks are
        those of the one nearest to the reply. A stage that is not on the chain (each stage alone
        has no chain) gives the marks of its first request that was not cancelled.
        """
        marks: dict[Mark, int] = dict(self.marks)
        chain = self.chain()
        kept = (each for each in self.requests if not each.cancelled)
        taken: set[Stage] = set()
        for request in (*chain, *kept):
            if request.stage in taken:
                continue
            taken.add(request.stage)
            for mark, instant in request.marks.items():
                marks.setdefault(mark, instant)
        return Timeline(marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A time in which the machine did not run the harness."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How well the machine and the harness kept time during one trial.

    Attributes:
        frames: audio frames released.
        lateness_p50_ns, lateness_p99_ns, lateness_max_ns: lateness of frames against the schedule.
        late_frames: frames more than 20 ms late.
        loop_lag_p99_ns, loop_lag_max_ns: lateness of a 10 ms timer on the event loop.
        stalls: host stalls of more than 10 ms, seen by a separate thread or process.
        virtual: kept on a virtual clock: no machine can stall it, and a frame is late because the
            agent's own code blocked the loop.
    """

    frames: int
    lateness_p50_ns: int
    lateness_p99_ns: int
    lateness_max_ns: int
    late_frames: int
    loop_lag_p99_ns: int
    loop_lag_max_ns: int
    stalls: tuple[Stall, ...] = ()
    virtual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialKey:
    """Which trial of the plan this is.

    Attributes:
        candidate: its name in the suite.
        utterance: its id in the dataset.
        repeat: 0 for the first performance.
        order: position in the run's shuffled plan.
        warmup: labelled, kept, and left out of summaries.
        attempt: 0, or the number of the re-run after a disturbed trial.
        condition: the acoustic condition's name; "" for a suite without conditions.
        barge_in: the name of what is said over the reply; "" where nothing is.
        expects: what the agent should make of it; None where nothing is said.
    """

    candidate: str
    utterance: str
    repeat: int
    order: int
    warmup: bool = False
    attempt: int = 0
    condition: str = ""
    barge_in: str = ""
    expects: Expects | None = None

    @property
    def recording(self) -> str:
        """What is played: :func:`recording_name` of the utterance and the condition."""
        return recording_name(self.utterance, self.condition)

    @property
    def id(self) -> str:
        """The trial's name within the run, safe as a file name."""
        kind = "w" if self.warmup else "t"
        again = f"-{self.attempt}" if self.attempt else ""
        return f"{kind}{self.order:05d}{again}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One performance of an utterance by a candidate.

    Attributes:
        key: which trial of the plan.
        driver: "session" or "stage".
        started_ns: when it began, on the run's clock.
        ended_ns: when it ended.
        turns: at least one.
        health: how well the machine kept time.
        cold: the first trial on a connection of this candidate.
        emulated: the stages of a user's own agent whose requests went to a gateway; None where
            that was not watched.
        boots: deployments that it found scaled to zero.
        lane_bytes: resident memory of the lane after it; None where nobody tells.
    """

    key: TrialKey
    driver: str
    started_ns: int
    ended_ns: int
    turns: tuple[Turn, ...]
    health: Health | None = None
    cold: bool = False
    emulated: frozenset[Stage] | None = None
    boots: tuple[Boot, ...] = ()
    lane_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse a trial without a turn."""
        if not self.turns:
            raise InvariantError(f"trial {self.key.id} has no turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTrial:
    """A trial that did not end well, with what it left behind.

    Attributes:
        key: which trial of the plan.
        driver: "session" or "stage".
        started_ns: when it began, on the run's clock.
        ended_ns: when it was given up.
        failure: the first cause.
        turns: as far as they came.
        health: how well the machine kept time.
        cold: the first trial on a connection of this candidate.
        emulated: the stages of a user's own agent whose requests went to a gateway; None where
            that was not watched.
        boots: deployments that it found scaled to zero.
        lane_bytes: resident memory of the lane after it; None where nobody tells.
    """

    key: TrialKey
    driver: str
    started_ns: int
    ended_ns: int
    failure: Failure
    turns: tuple[Turn, ...] = ()
    health: Health | None = None
    cold: bool = False
    emulated: frozenset[Stage] | None = None
    boots: tuple[Boot, ...] = ()
    lane_bytes: int | None = None
