"""Parakeet's WebSocket: opening it, its messages and when they arrived.

The token never leaves this module in a log: websockets' own logger would write the request line at
DEBUG level, so it is silenced.
"""

import asyncio
import json
import logging
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections import deque
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from livekit.agents import APIError
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from harness.clock import Work, read_work
from harness.domain.request import FailureKind
from harness.pipeline.providers.parakeet.errors import (
    ParakeetEndpoint,
    api_error,
    transport_error,
)
from harness.pipeline.recording.observer import SttObserver

__all__ = [
    "FINALIZE",
    "MAX_MESSAGE_BYTES",
    "Message",
    "Opening",
    "ParakeetConnection",
    "clean",
    "environment_proxy",
    "open_connection",
    "read_message",
]

FINALIZE: Final = '{"action":"finalize"}'
"""Asks for the finals of all audio so far; answered by them and ``{"status":"finalized"}``."""
MAX_MESSAGE_BYTES: Final = 1 << 20
"""A transcript is a few kilobytes; beyond this it is nonsense (close code 1009)."""
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
MAX_QUEUED_FRAMES: Final = 1024
"""An idle connection is read by nobody: its server's keep-alives must not stop the reading."""
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_NOTHING: Final = Work(0, 0)

# Known to nobody by name, so that no configuration of the user's can make it speak.
_silent_logger = logging.Logger("parakeet-wire", level=logging.CRITICAL + 1)  # noqa: LOG001


class Message(NamedTuple):
    """A whole message.

    Attributes:
        data: its payload.
        binary: it came in a binary frame.
        received_ns: when the bytes that complete it left the socket.
        work: the thread's work at that instant.
    """

    data: bytes
    binary: bool
    received_ns: int
    work: Work


class _Stamp(NamedTuple):
    binary: bool
    received_ns: int
    work: Work


class ParakeetConnection(ClientConnection):
    """A WebSocket that stamps each message when its last bytes leave the socket.

    Attributes:
        observer: told of each message; None while the connection is idle.
        made_ns: when the transport was ready (after TLS).
        idle_since_ns: when it was last put aside.
    """

    def __init__(self, protocol: ClientProtocol, **kwargs: Any) -> None:
        super().__init__(protocol, **kwargs)
        self.observer: SttObserver | None = None
        self.made_ns = 0
        self.idle_since_ns = 0
        self._arrival_ns = 0
        self._arrival_work = _NOTHING
        self._size = 0
        self._binary = False
        self._stamps: deque[_Stamp] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note when TCP and TLS are done."""
        self.made_ns = time.perf_counter_ns()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Stamp before anything is parsed."""
        self._arrival_ns = time.perf_counter_ns()
        self._arrival_work = read_work()
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Give a message that is now complete the stamp of the bytes that completed it."""
        if isinstance(event, Frame) and event.opcode in _DATA:
            if event.opcode is not Opcode.CONT:
                self._binary = event.opcode is Opcode.BINARY
                self._size = 0
            self._size += len(event.data)
            if event.fin:
                self._stamps.append(_Stamp(self._binary, self._arrival_ns, self._arrival_work))
                if self.observer is not None:
                    self.observer.on_message(self._arrival_ns, self._arrival_work, self._size)
        super().process_event(event)

    @property
    def waiting(self) -> int:
        """How many messages have arrived and have not been read."""
        return len(self._stamps)

    @property
    def healthy(self) -> bool:
        """Whether it is open as far as this end knows, in the running event loop."""
        return (
            self.loop is asyncio.get_running_loop()
            and self.protocol.state is State.OPEN
            and not self.transport.is_closing()
        )

    async def next_message(self) -> Message:
        """Wait for a whole message.

        Raises:
            ConnectionClosed: the connection is closed and everything has been read.
        """
        data = await self.recv(decode=False)
        stamp = self._stamps.popleft()
        return Message(bytes(data), stamp.binary, stamp.received_ns, stamp.work)

    def abort(self) -> None:
        """Drop it at once."""
        self.transport.abort()


class Opening(NamedTuple):
    """What opening a connection took; see ``SttObserver.on_connection``."""

    connect_ns: int
    tls_ns: int | None
    hello_ns: int
    tcp_rtt_ns: int | None


class _Dial(connect):
    """``websockets.connect`` that takes a redirect for what it is: no WebSocket here.

    The token in the query would not be carried along, and one in a header must not go elsewhere.
    """

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_proxy(ws_url: str) -> str | None:
    """Return the proxy that the environment's variables name for a URL.

    Only ``wss_proxy``, ``https_proxy``, ``socks_proxy``, ``no_proxy`` and their like are read; the
    operating system's own settings are not, and loopback is never proxied.
    """
    host = urllib.parse.urlsplit(ws_url).hostname or ""
    if _is_loopback(host) or not urllib.request.getproxies_environment():
        return None
    return get_proxy(parse_uri(ws_url))


async def _dial_tcp(ws_url: str) -> tuple[socket.socket, int]:
    """Open TCP to the first address that answers; return the socket and the handshake's time."""
    parts = urllib.parse.urlsplit(ws_url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)  # noqa: FBT003 - positional only
            before = time.perf_counter_ns()
            await loop.sock_connect(sock, address)
        except OSError as exc:
            sock.close()
            failure = exc
        except BaseException:
            sock.close()
            raise
        else:
            return sock, time.perf_counter_ns() - before
    raise failure


async def open_connection(
    endpoint: ParakeetEndpoint, *, timeout_s: float, tls: ssl.SSLContext | None
) -> tuple[ParakeetConnection, Message, Opening]:
    """Open a connection and wait for the server's first message.

    Args:
        endpoint: where to.
        timeout_s: for name resolution, TCP, TLS, upgrade and first message together.
        tls: the context for ``wss://``.

    Returns:
        The connection, its first message, which the caller judges, and what it took.

    Raises:
        APIError: of livekit's family, with nothing of the cause attached.
    """
    connection: ParakeetConnection | None = None
    sock: socket.socket | None = None
    rtt_ns: int | None = None
    started_ns = time.perf_counter_ns()
    connected_ns: int | None = None
    failure: APIError
    try:
        async with asyncio.timeout(timeout_s):
            proxy = environment_proxy(endpoint.ws_url)
            if proxy is None:
                sock, rtt_ns = await _dial_tcp(endpoint.ws_url)
                connected_ns = time.perf_counter_ns()
            secure = endpoint.ws_url.startswith("wss:")
            where: dict[str, Any] = {} if sock is None else {"sock": sock}
            if secure and tls is not None:
                where["ssl"] = tls
            dialled = await _Dial(
                endpoint.dial_url(),
                compression=None,
                additional_headers=endpoint.headers(),
                proxy=proxy,
                open_timeout=None,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=MAX_QUEUED_FRAMES,
                logger=_silent_logger,
                create_connection=ParakeetConnection,
                **where,
            )
            assert isinstance(dialled, ParakeetConnection)
            connection = dialled
            hello = await connection.next_message()
            made_ns = connection.made_ns
            return (
                connection,
                hello,
                Opening(
                    (made_ns if connected_ns is None else connected_ns) - started_ns,
                    made_ns - connected_ns if secure and connected_ns is not None else None,
                    hello.received_ns - made_ns,
                    rtt_ns,
                ),
            )
    except Exception as exc:  # noqa: BLE001 - every failure of the transport becomes livekit's
        failure = transport_error(exc, endpoint, doing="connect")
        _discard(connection, sock)
    except BaseException:
        _discard(connection, sock)
        raise
    raise failure


def _discard(connection: ParakeetConnection | None, sock: socket.socket | None) -> None:
    if connection is not None:
        connection.abort()
    elif sock is not None:
        sock.close()


def read_message(message: Message, endpoint: ParakeetEndpoint) -> dict[str, Any]:
    """Return a message's JSON object.

    Raises:
        APIError: it is binary, no JSON, no object, an error report, or a field has a wrong type.
    """
    where = f"Parakeet at {endpoint.host}"
    if message.binary:
        raise api_error(f"{where} sent binary data where JSON is due", FailureKind.MALFORMED)
    try:
        value = json.loads(message.data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise api_error(f"{where} sent what is no JSON object", FailureKind.MALFORMED)
    if value.get("error"):
        detail = endpoint.scrub(str(value["error"]))
        raise api_error(f"{where} reported an error: {detail}", FailureKind.STREAM_ERROR)
    if not isinstance(value.get("text", ""), str) or not isinstance(
        value.get("is_final", True), bool
    ):
        raise api_error(
            f"{where} sent a transcript whose fields have wrong types", FailureKind.MALFORMED
        )
    if "text" in value:
        value["text"] = clean(value["text"])
    return value


def clean(text: str) -> str:
    """Return a text that every encoder takes: JSON may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
