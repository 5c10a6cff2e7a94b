"""What the probes write down while a turn runs: lists that only grow.

Nothing here parses, formats or does I/O between two marks: a probe stamps and appends. The
:class:`Recorder` of a trial is found through a context variable, because livekit creates the tasks
that do the work; each task inherits the context of the trial that caused it, so trials that run at
once in one process never mix.
"""

import contextvars
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.clock import Work, read_work
from harness.domain.barge_in import Expects
from harness.domain.driver import PlayableBargeIn
from harness.domain.request import Wait
from harness.domain.timeline import Stage
from harness.pipeline.recording.observer import SttRecorder

__all__ = [
    "CURRENT_CALL",
    "CURRENT_NODE",
    "CURRENT_RECORDER",
    "Call",
    "Chunk",
    "Exchange",
    "Message",
    "Node",
    "Overlapped",
    "Problem",
    "Recorder",
    "Sent",
    "Stamp",
    "TranscriptEvent",
    "stamp",
]


class Stamp(NamedTuple):
    """An instant and the work that this thread had done by then."""

    ns: int
    work: Work


def stamp() -> Stamp:
    """Read the clock first, the work after: the instant is the mark."""
    now = time.perf_counter_ns()
    return Stamp(now, read_work())


class Chunk(NamedTuple):
    """Bytes of a response as the transport delivered them."""

    at: Stamp
    data: bytes


class Message(NamedTuple):
    """A whole message of a socket: when its first and its last bytes arrived."""

    began: Stamp
    at: Stamp
    data: str | bytes


class Sent(NamedTuple):
    """A message that was handed to a socket."""

    at: Stamp
    data: str | bytes


@dataclass(slots=True)
class Exchange:
    """One HTTP request and its response, or one use of a socket, at the transport.

    Attributes:
        url: without its query, which may hold a key.
        opened: when the exchange began.
        sent: when the request had been written.
        headers_at, status, headers: of the response, or of the answer to a socket's upgrade.
        chunks: the body, as its client reads it: decoded, where it came compressed.
        received: how many bytes of it came over the network.
        trace: steps of connecting, by name.
        ended, error: how the exchange ended.
        request_id: what joins it with a gateway's truth.
        dialect: how to read a socket's messages, or a body that was only counted; None for HTTP
            bodies that are kept whole.
        reused: of a socket: it had been opened before this use.
        sends, messages: what a socket carried, in order.
        counted: how many bytes of a body came, where the bytes themselves are not kept.
        path_rtt_ns: the least round trip that the kernel saw on the connection.
        closed: when the other side closed the socket during this use.
        close_code: and with which code; 1006 for a reset.
        left_over: how many messages of an earlier use were dropped before this one's.
    """

    url: str
    opened: Stamp
    sent: Stamp | None = None
    headers_at: Stamp | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    received: int = 0
    trace: list[tuple[str, int]] = field(default_factory=list)
    ended: Stamp | None = None
    error: BaseException | None = None
    request_id: str | None = None
    dialect: Any = None
    reused: bool = False
    sends: list[Sent] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    counted: list[tuple[Stamp, int]] = field(default_factory=list)
    path_rtt_ns: int | None = None
    closed: Stamp | None = None
    close_code: int | None = None
    left_over: int = 0


@dataclass(slots=True)
class Call:
    """One call of an LLM or TTS client."""

    stage: Stage
    index: int
    opened: Stamp
    text: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    node: "Node | None" = None
    last_item: str | None = None
    context_items: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    first_text: Stamp | None = None
    ended: Stamp | None = None
    pieces: list[tuple[Stamp, str]] = field(default_factory=list)
    frames: list[tuple[Stamp, int]] = field(default_factory=list)
    finished: bool = False
    retries: list["Problem"] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """One run of an agent's LLM or TTS node."""

    stage: Stage
    index: int
    opened: Stamp
    pieces: list[tuple[Stamp, str]] = field(default_factory=list)
    first_output: Stamp | None = None
    tool_call: bool = False
    input_ended: Stamp | None = None
    ended: Stamp | None = None
    cancelled: bool = False


class TranscriptEvent(NamedTuple):
    """A transcript as it left the STT node."""

    at: Stamp
    received: Stamp | None
    kind: str
    text: str


@dataclass(slots=True, kw_only=True)
class Overlapped:
    """What was said over the reply.

    Attributes:
        recording, expects: as planned.
        start_ns, end_ns: when its first and its last speech sample are due.
        stopped: when the agent stopped the reply's playout; None where it did not.
        ended_ns: when the reply had been played to its end; None where it was not.
    """

    recording: str
    expects: Expects
    start_ns: int
    end_ns: int
    stopped: Stamp | None = None
    ended_ns: int | None = None


class Problem(NamedTuple):
    """An error that a stage reported."""

    at_ns: int
    stage: Stage
    error: BaseException


class Recorder:
    """Everything that one trial's probes saw.

    Attributes:
        trial: its id within the run.
        transcripts: transcript events in order.
        calls: LLM and TTS calls in order.
        nodes: runs of LLM and TTS nodes in order.
        commits: instants at which the agent committed the user's turn.
        vad_ends: (instant, seconds of silence, seconds of inference) of the detector's verdicts.
        speech_ends: instants at which the STT itself said that speech had ended.
        detector_ends: instants at which a voice activity detector within the STT's client said so.
        speech_anchors: when speech had ended by the STT's own word, on the run's clock, where it
            says so with a verdict; the agent's endpointing delay counts from there.
        eot: (instant, probability, threshold) of the turn detector's predictions.
        waits: known waits of the turn.
        problems: errors in order.
        reported: LiveKit's own numbers.
        session_started: when the agent's session was started.
        greeting_audible_ns: when what it said before the caller had spoken became audible.
        speech_sent: when the frame with the last speech sample was handed to the STT's transport.
        stt_facts: what the STT said of itself.
        text_transforms: livekit's filters between the LLM and the TTS, by name; None where there
            are others, of the agent's own.
        tool_runs: (start, end) of tools.
        stt: what the STT's transport saw, where the plugin tells.
        received: stamps of the messages that carried transcripts, by their instant.
        sockets: what the STT's sockets carried, where its plugin speaks over aiohttp.
        detectors: what the sockets of an adaptive interruption detector carried.
        detector: what decides on interruptions: "adaptive", "vad", or "" before that is known.
        fell_back: why the adaptive detector left the decision to voice activity; "" where not.
        interruptions: instants at which the agent decided that it is being interrupted.
        planned_overlap: what is to be said over the reply, if anything.
        overlapped: what was said over it.
        uploads: the requests of an STT that takes whole stretches of speech over HTTP.
        connected: (stage, where known; address) of each connection that was opened; None where
            nobody asked for it.
        stretches: (instant, seconds of audio) of each stretch that was handed to such an STT.
        retries: errors of an STT after which livekit asked again.
        agent_cpu_ns: processor time of the agent's code from the opening of the caller's line to
            the turn's end; None where it was not accounted for.
    """

    def __init__(self, trial: str = "") -> None:
        self.trial = trial
        self.agent_cpu_ns: int | None = None
        self.transcripts: list[TranscriptEvent] = []
        self.calls: list[Call] = []
        self.nodes: list[Node] = []
        self.commits: list[Stamp] = []
        self.vad_ends: list[tuple[Stamp, float, float]] = []
        self.speech_ends: list[Stamp] = []
        self.detector_ends: list[Stamp] = []
        self.speech_anchors: list[int] = []
        self.eot: list[tuple[int, float, float]] = []
        self.waits: list[Wait] = []
        self.problems: list[Problem] = []
        self.reported: dict[str, float] = {}
        self.session_started: Stamp | None = None
        self.greeting_audible_ns: int | None = None
        self.speech_sent: Stamp | None = None
        self.stt_facts: dict[str, Any] = {}
        self.text_transforms: tuple[str, ...] | None = None
        self.tool_runs: list[tuple[int, int]] = []
        self.stt = SttRecorder()
        self.received: dict[int, Stamp] = {}
        self.sockets: list[Exchange] = []
        self.uploads: list[Exchange] = []
        self.connected: list[tuple[Stage | None, tuple[str, int]]] | None = None
        self.detectors: list[Exchange] = []
        self.detector = ""
        self.fell_back = ""
        self.interruptions: list[Stamp] = []
        self.planned_overlap: PlayableBargeIn | None = None
        self.overlapped: Overlapped | None = None
        self.stretches: list[tuple[int, float]] = []
        self.retries: list[Problem] = []

    def open_call(self, stage: Stage, text: str = "") -> Call:
        """Record that a client is called now."""
        call = Call(stage=stage, index=len(self.calls), opened=stamp(), text=text)
        self.calls.append(call)
        return call

    def open_node(self, stage: Stage) -> Node:
        """Record that a node starts now."""
        node = Node(stage=stage, index=len(self.nodes), opened=stamp())
        self.nodes.append(node)
        return node

    def forget_greeting(self) -> None:
        """Drop what was recorded of the agent's own doing before the caller's line is opened."""
        for seen in (
            self.transcripts,
            self.calls,
            self.nodes,
            self.commits,
            self.vad_ends,
            self.speech_ends,
            self.detector_ends,
            self.speech_anchors,
            self.eot,
            self.waits,
            self.tool_runs,
            self.interruptions,
            self.retries,
        ):
            seen.clear()
        self.reported.clear()

    def understood(self) -> bool:
        """Whether a final transcript with a text has come."""
        return any(each.kind == "final" and each.text.strip() for each in self.transcripts)

    def turn_problems(self) -> list[Problem]:
        """Return the errors that can have harmed the turn.

        An STT that fails after the turn was committed has done its part: a socket that the server
        drops between turns is the next turn's business.
        """
        committed = self.commits[0].ns if self.commits else None
        return [
            each
            for each in self.problems
            if each.stage is not Stage.STT or committed is None or each.at_ns <= committed
        ]

    def problem(self, stage: Stage, error: BaseException) -> None:
        """Record an error."""
        self.problems.append(Problem(time.perf_counter_ns(), stage, error))


CURRENT_RECORDER: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar(
    "turnbench_recorder", default=None
)
CURRENT_NODE: contextvars.ContextVar[Node | None] = contextvars.ContextVar(
    "turnbench_node", default=None
)
CURRENT_CALL: contextvars.ContextVar[Call | None] = contextvars.ContextVar(
    "turnbench_call", default=None
)
