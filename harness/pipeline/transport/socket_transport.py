"""aiohttp with a stamp on every message, before anything parses it.

livekit's plugins that speak over WebSockets take an ``aiohttp.ClientSession``. Ours differs from
their own in what it writes down: each message is stamped when the connection hands over the bytes
that complete it, each send when it has been handed to the socket, and a body's bytes are counted as
they come. The message and its stamp are kept; what they mean is read after the trial, by the
provider's dialect.

A socket may outlive a trial and be used by the next, and a read loop may run in the context of an
earlier one. What is sent and received therefore goes to the call (of the TTS) or the trial (of the
STT) in whose context the plugin asks for it, not to the one that opened the socket.
"""

import contextvars
import functools
import time
from typing import Any, TypeVar

import aiohttp

from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_RECORDER,
    Call,
    Exchange,
    Message,
    Recorder,
    Sent,
    stamp,
)
from harness.pipeline.transport.frames import Frames, TimedProtocol
from harness.pipeline.transport.names import next_client
from harness.pipeline.transport.path_rtt import path_rtt_ns
from harness.pipeline.transport.transport import REQUEST_HEADER
from harness.pipeline.transport.wire_log import WireLog

__all__ = ["CURRENT_DIAL", "closing", "timed_session"]

_SECRET_HEADERS = frozenset({"authorization", "set-cookie", "cookie", "api-key", "x-api-key"})
_UPGRADED = 101
_RESET = 1006

_Client = TypeVar("_Client")

CURRENT_DIAL: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar(
    "turnbench_dial", default=None
)


class _Keeper:
    """Leads what a client's sockets carry to the trials that cause it."""

    def __init__(self, stage: Stage, dialect: Any, label: str | None) -> None:
        self._stage = stage
        self._dialect = dialect
        # A run has many clients, and goes on in another process: the ids must differ among all.
        self._label = None if label is None else f"{label}-{next_client()}"
        self._count = 0

    def owner(self) -> Call | Recorder | None:
        """Return what the running code works for."""
        return CURRENT_CALL.get() if self._stage is Stage.TTS else CURRENT_RECORDER.get()

    def open(self, url: str, owner: Call | Recorder | None, *, reused: bool) -> Exchange:
        """Begin an exchange and give it to its owner, if it has one."""
        exchange = Exchange(url=url, opened=stamp(), dialect=self._dialect, reused=reused)
        if isinstance(owner, Call):
            owner.exchanges.append(exchange)
        elif isinstance(owner, Recorder) and self._stage is Stage.INTERRUPTION:
            owner.detectors.append(exchange)
        elif isinstance(owner, Recorder):
            owner.sockets.append(exchange)
            if not reused or not owner.stt.streams:
                owner.stt.streams.append((exchange.opened.ns, WireLog(exchange)))
        return exchange

    def next_id(self) -> str | None:
        """Return an id that joins a request with a gateway's truth; None when live."""
        if self._label is None:
            return None
        self._count += 1
        return f"{self._label}-{self._stage.value}-{self._count}"


class _TimedResponse(aiohttp.ClientResponse):
    """A response whose body is counted from its first byte."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol, exchange = connection.protocol, CURRENT_DIAL.get()
        if isinstance(protocol, TimedProtocol):
            protocol.watch(exchange)
        # A short answer gives the connection back before anyone could ask it.
        transport = connection.transport
        started = await super().start(connection)
        if exchange is not None and transport is not None:
            exchange.path_rtt_ns = path_rtt_ns(transport.get_extra_info("socket"))
        return started


class _TimedSocket(aiohttp.ClientWebSocketResponse):
    """A WebSocket that keeps what it carries, stamped."""

    def __init__(self, keeper: _Keeper, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keeper = keeper
        dial = CURRENT_DIAL.get()
        self._use: Exchange | None = dial
        self._owner: Call | Recorder | None = keeper.owner()
        self._inherited = False
        self._frames = Frames()
        protocol = getattr(self._conn, "protocol", None)
        if isinstance(protocol, TimedProtocol):
            protocol.frames = self._frames

    def _current(self) -> Exchange | None:
        owner = self._keeper.owner()
        if owner is None:
            return None
        if owner is not self._owner or self._use is None:
            url = "" if self._use is None else self._use.url
            before = self._use
            self._inherited = self._owner is not None
            self._owner = owner
            self._use = self._keeper.open(url, owner, reused=True)
            if before is not None:
                self._use.status, self._use.headers = before.status, before.headers
                self._use.request_id = before.request_id
        return self._use

    def _note_path(self, use: Exchange) -> None:
        transport = None if self._conn is None else self._conn.transport
        if transport is not None:
            use.path_rtt_ns = path_rtt_ns(transport.get_extra_info("socket"))

    async def send_str(self, data: str, compress: int | None = None) -> None:
        self._current()
        await super().send_str(data, compress)
        self._sent(data)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        self._current()
        await super().send_bytes(data, compress)
        self._sent(data)

    def _sent(self, data: str | bytes) -> None:
        at = stamp()
        use = self._current()
        if use is not None:
            use.sends.append(Sent(at, data))

    def _left_over(self, message: Any) -> bool:
        """Drop a message that came before this use of the socket, after an earlier one's end.

        A provider's late or doubled message would pass for the next trial's answer.
        """
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return False
        use, complete = self._current(), self._frames.complete
        if use is None or not self._inherited or not complete:
            return False
        if complete[0][1].ns >= use.opened.ns:
            return False
        complete.popleft()
        use.left_over += 1
        return True

    async def receive(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109  (aiohttp's)
        gone = self.closed
        message = await super().receive(timeout)
        while self._left_over(message):
            gone = self.closed
            message = await super().receive(timeout)
        kind = message.type
        if kind in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            complete = self._frames.complete
            began, at = complete.popleft() if complete else (stamp(),) * 2
            use = self._current()
            if use is not None:
                use.messages.append(Message(began, at, message.data))
                if use.path_rtt_ns is None:
                    self._note_path(use)
        elif not gone and kind in (
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.ERROR,
        ):
            use = self._current()
            if use is not None and use.closed is None:
                use.closed = stamp()
                code = self.close_code
                use.close_code = None if code is None else int(code)
        return message


def _tracing(keeper: _Keeper) -> aiohttp.TraceConfig:
    """Return hooks that write down how a connection is had, in the context that asks for it."""
    trace = aiohttp.TraceConfig()

    async def on_start(_session: Any, _context: Any, params: Any) -> None:
        url = params.url
        exchange = keeper.open(f"{url.scheme}://{url.host}{url.path}", keeper.owner(), reused=False)
        request_id = keeper.next_id()
        if request_id is not None:
            exchange.request_id = request_id
            params.headers[REQUEST_HEADER] = request_id
        CURRENT_DIAL.set(exchange)

    def step(name: str) -> Any:
        async def note(_session: Any, _context: Any, _params: Any) -> None:
            exchange = CURRENT_DIAL.get()
            if exchange is not None:
                exchange.trace.append((name, time.perf_counter_ns()))

        return note

    async def on_sent(_session: Any, _context: Any, _params: Any) -> None:
        exchange = CURRENT_DIAL.get()
        if exchange is not None:
            exchange.sent = stamp()

    async def on_end(_session: Any, _context: Any, params: Any) -> None:
        exchange = CURRENT_DIAL.get()
        if exchange is not None:
            exchange.headers_at = stamp()
            exchange.status = params.response.status
            exchange.headers = {
                name.lower(): value
                for name, value in params.response.headers.items()
                if name.lower() not in _SECRET_HEADERS
            }

    async def on_exception(_session: Any, _context: Any, params: Any) -> None:
        exchange = CURRENT_DIAL.get()
        if exchange is not None:
            exchange.error = params.exception
            exchange.ended = stamp()

    trace.on_request_start.append(on_start)
    trace.on_connection_queued_start.append(step("pool.started"))
    trace.on_connection_queued_end.append(step("pool.complete"))
    trace.on_connection_create_start.append(step("connect.started"))
    trace.on_connection_create_end.append(step("connect.complete"))
    trace.on_connection_reuseconn.append(step("reused"))
    trace.on_request_headers_sent.append(on_sent)
    trace.on_request_chunk_sent.append(on_sent)
    trace.on_request_end.append(on_end)
    trace.on_request_exception.append(on_exception)
    return trace


def timed_session(
    stage: Stage, dialect: Any, *, label: str | None, timeout_s: float
) -> aiohttp.ClientSession:
    """Return a session whose exchanges are stamped and kept.

    Connections are not limited in number, so that no trial waits for another's unseen; nothing is
    compressed; the environment's proxies are ignored. Must be called in a running event loop, and
    the caller closes it.

    Args:
        stage: STT, TTS or INTERRUPTION: exchanges of the TTS belong to one call of a trial, the
            others to the trial.
        dialect: reads the messages after the trial.
        label: prefix of the request ids sent to a gateway; None sends none.
        timeout_s: for opening a connection, with the upgrade's answer.
    """
    keeper = _Keeper(stage, dialect, label)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=120)
    # The one place that makes connections.
    factory: Any = functools.partial(TimedProtocol, loop=connector._loop)  # noqa: SLF001
    connector._factory = factory  # noqa: SLF001
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        trace_configs=[_tracing(keeper)],
        headers={"Accept-Encoding": "identity"},
        response_class=_TimedResponse,
        ws_response_class=functools.partial(_TimedSocket, keeper),  # type: ignore[arg-type]
    )
    # aiohttp asks again by itself when a connection breaks before the answer; here that is told.
    session._retry_connection = False  # noqa: SLF001
    return session


def closing(client: _Client, session: aiohttp.ClientSession) -> _Client:
    """Return the client, which from now on closes its session when it is closed.

    livekit's clients leave a session that was given to them to whoever gave it.
    """
    plain: Any = client
    own = plain.aclose

    async def aclose() -> None:
        try:
            await own()
        finally:
            await session.close()

    plain.aclose = aclose
    return client
