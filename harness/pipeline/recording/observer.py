"""What the Parakeet plugin tells of its transport while it runs.

The plugin calls an observer between two marks, so an observer only appends: it does no I/O, no
formatting, no parsing, and never raises. :class:`SttRecorder` is the one that the drivers use.

Sample indices count the samples of one stream at the wire's rate (16 kHz), from 0 at the first
frame that the caller pushed. Where the caller pushes at that rate they are the caller's own.
"""

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from harness.clock import Work

__all__ = [
    "ConnectionOpened",
    "DroppedTranscript",
    "MessageArrival",
    "NullSttObserver",
    "ReceivedTranscript",
    "SendLog",
    "SttObserver",
    "SttRecorder",
]


class SttObserver(Protocol):
    """Hooks on an STT's transport; each only appends."""

    def on_stream(self, t_ns: int) -> None:
        """A stream was opened: sample indices start at 0 again."""
        ...

    def on_connection(
        self,
        *,
        reused: bool,
        connect_ns: int | None,
        tls_ns: int | None,
        hello_ns: int | None,
        tcp_rtt_ns: int | None,
    ) -> None:
        """A connection was given to the stream; durations are None where nothing was opened.

        Args:
            reused: no connection was opened for it.
            connect_ns: name resolution and TCP (or the whole way through a proxy).
            tls_ns: the TLS handshake; None without TLS.
            hello_ns: from the open transport to the server's hello: the upgrade and the hello.
            tcp_rtt_ns: TCP's handshake with the address that answered; None through a proxy.
        """
        ...

    def on_message(self, t_ns: int, work: Work, size: int) -> None:
        """A whole message arrived, stamped when its last bytes left the socket, before parsing."""
        ...

    def on_interim(self, received_ns: int, text: str) -> None:
        """An interim transcript goes to the agent; ``received_ns`` is its message's stamp."""
        ...

    def on_final(self, received_ns: int, text: str) -> None:
        """A final transcript goes to the agent; ``received_ns`` is its message's stamp."""
        ...

    def on_dropped(self, received_ns: int, text: str, reason: str) -> None:
        """A transcript was kept from the agent: ``reason`` is "empty" or "duplicate"."""
        ...

    def on_finalize(self, t_ns: int, work: Work) -> None:
        """The request to finalize was handed to the socket."""
        ...

    def on_finalized(self, received_ns: int) -> None:
        """The server has answered a request to finalize."""
        ...

    def on_audio_sent(self, t_ns: int, work: Work, end_sample_index: int) -> None:
        """A frame was handed to the socket; ``end_sample_index`` is one past its last sample."""
        ...

    def on_path(self, rtt_ns: int | None) -> None:
        """The stream leaves its connection, whose round trip the kernel knows, or does not."""
        ...


class NullSttObserver:
    """The observer that ignores everything."""

    def on_stream(self, t_ns: int) -> None:
        """Ignore it."""

    def on_connection(
        self,
        *,
        reused: bool,
        connect_ns: int | None,
        tls_ns: int | None,
        hello_ns: int | None,
        tcp_rtt_ns: int | None,
    ) -> None:
        """Ignore it."""

    def on_message(self, t_ns: int, work: Work, size: int) -> None:
        """Ignore it."""

    def on_interim(self, received_ns: int, text: str) -> None:
        """Ignore it."""

    def on_final(self, received_ns: int, text: str) -> None:
        """Ignore it."""

    def on_dropped(self, received_ns: int, text: str, reason: str) -> None:
        """Ignore it."""

    def on_finalize(self, t_ns: int, work: Work) -> None:
        """Ignore it."""

    def on_finalized(self, received_ns: int) -> None:
        """Ignore it."""

    def on_audio_sent(self, t_ns: int, work: Work, end_sample_index: int) -> None:
        """Ignore it."""

    def on_path(self, rtt_ns: int | None) -> None:
        """Ignore it."""


class SendLog:
    """When each sample of a stream was handed to the socket."""

    __slots__ = ("_ends", "_sent_ns", "_work")

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._sent_ns: list[int] = []
        self._work: list[Work] = []

    def append(self, t_ns: int, work: Work, end_sample_index: int) -> None:
        """Note a frame that ends before ``end_sample_index``."""
        self._ends.append(end_sample_index)
        self._sent_ns.append(t_ns)
        self._work.append(work)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def samples(self) -> int:
        """How many samples have been handed to the socket."""
        return self._ends[-1] if self._ends else 0

    def sent_at(self, sample_index: int) -> int | None:
        """Return when the frame that contains a sample was handed to the socket.

        Args:
            sample_index: of the stream, from 0.

        Returns:
            The instant in nanoseconds; None where that sample has not been sent.
        """
        entry = self.entry(sample_index)
        return None if entry is None else entry[0]

    def entry(self, sample_index: int) -> tuple[int, Work, int] | None:
        """Return instant, work and end of the frame that contains a sample, None if not sent."""
        if sample_index < 0:
            raise ValueError(f"sample index {sample_index} is negative")
        position = bisect_right(self._ends, sample_index)
        if position == len(self._ends):
            return None
        return self._sent_ns[position], self._work[position], self._ends[position]


class MessageArrival(NamedTuple):
    """A message at the socket."""

    received_ns: int
    work: Work
    size: int


class ReceivedTranscript(NamedTuple):
    """A transcript that went to the agent, by its message's stamp."""

    received_ns: int
    text: str


class DroppedTranscript(NamedTuple):
    """A transcript that was kept from the agent, and why."""

    received_ns: int
    text: str
    reason: str


class ConnectionOpened(NamedTuple):
    """How a stream got a connection; see :meth:`SttObserver.on_connection`."""

    reused: bool
    connect_ns: int | None
    tls_ns: int | None
    hello_ns: int | None
    tcp_rtt_ns: int | None


@dataclass(slots=True, kw_only=True)
class SttRecorder:
    """An observer that keeps everything; one for each trial.

    Attributes:
        streams: for each stream, when it was opened and what it sent.
        connections: how the streams got their connections, in order.
        messages, interims, finals, dropped: what arrived, in order.
        finalizes: when a finalize was handed to the socket, with the work so far.
        finalized_ns: when the server answered each.
        path_rtt_ns: the last connection's round trip, where the kernel told it.
        connected_ns: when the streams got their connections, in order.
    """

    streams: list[tuple[int, SendLog]] = field(default_factory=list)
    connections: list[ConnectionOpened] = field(default_factory=list)
    messages: list[MessageArrival] = field(default_factory=list)
    interims: list[ReceivedTranscript] = field(default_factory=list)
    finals: list[ReceivedTranscript] = field(default_factory=list)
    dropped: list[DroppedTranscript] = field(default_factory=list)
    finalizes: list[tuple[int, Work]] = field(default_factory=list)
    finalized_ns: list[int] = field(default_factory=list)
    path_rtt_ns: int | None = None
    connected_ns: list[int] = field(default_factory=list)

    @property
    def log(self) -> SendLog:
        """The latest stream's log; an empty one before the first stream."""
        return self.streams[-1][1] if self.streams else SendLog()

    def sent_at(self, sample_index: int) -> int | None:
        """Return when the latest stream's sample was handed to the socket; None if it was not."""
        return self.log.sent_at(sample_index)

    def on_stream(self, t_ns: int) -> None:
        """Start a log."""
        self.streams.append((t_ns, SendLog()))

    def on_connection(
        self,
        *,
        reused: bool,
        connect_ns: int | None,
        tls_ns: int | None,
        hello_ns: int | None,
        tcp_rtt_ns: int | None,
    ) -> None:
        """Keep it."""
        self.connected_ns.append(time.perf_counter_ns())
        self.connections.append(ConnectionOpened(reused, connect_ns, tls_ns, hello_ns, tcp_rtt_ns))

    def on_message(self, t_ns: int, work: Work, size: int) -> None:
        """Keep it."""
        self.messages.append(MessageArrival(t_ns, work, size))

    def on_interim(self, received_ns: int, text: str) -> None:
        """Keep it."""
        self.interims.append(ReceivedTranscript(received_ns, text))

    def on_final(self, received_ns: int, text: str) -> None:
        """Keep it."""
        self.finals.append(ReceivedTranscript(received_ns, text))

    def on_dropped(self, received_ns: int, text: str, reason: str) -> None:
        """Keep it."""
        self.dropped.append(DroppedTranscript(received_ns, text, reason))

    def on_finalize(self, t_ns: int, work: Work) -> None:
        """Keep it."""
        self.finalizes.append((t_ns, work))

    def on_finalized(self, received_ns: int) -> None:
        """Keep it."""
        self.finalized_ns.append(received_ns)

    def on_audio_sent(self, t_ns: int, work: Work, end_sample_index: int) -> None:
        """Keep it in the stream's log."""
        self.streams[-1][1].append(t_ns, work, end_sample_index)

    def on_path(self, rtt_ns: int | None) -> None:
        """Keep it."""
        if rtt_ns is not None:
            self.path_rtt_ns = rtt_ns
