"""A scripted Parakeet on loopback: what it says, when, and how it fails.

The server follows a script and keeps the truth: what arrived, and when each message was handed to
the socket, on the clock that the harness uses. It finds no speech in the audio: a script answers a
number of samples or a finalize.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket as sockets
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, web

__all__ = [
    "FINALIZED",
    "Bytes",
    "Close",
    "Connected",
    "Drop",
    "ParakeetScript",
    "ParakeetServer",
    "Say",
    "Wait",
    "accept_upgrade",
    "final",
    "interim",
    "text_frame",
]

HELLO = {"status": "listening", "model": "scripted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Send a JSON object, or a text as it is."""

    message: dict[str, Any] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Send a binary message."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close with a code."""

    code: int = WSCloseCode.OK
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the TCP connection."""


Step = Say | Bytes | Wait | Close | Drop


def final(text: str) -> Say:
    """A final transcript."""
    return Say(message={"text": text, "is_final": True})


def interim(text: str) -> Say:
    """An interim transcript."""
    return Say(message={"text": text, "is_final": False})


FINALIZED = Say(message={"status": "finalized"})


@dataclass(slots=True, kw_only=True)
class ParakeetScript:
    """What one connection does.

    Attributes:
        status: the upgrade's HTTP status; 101 upgrades.
        headers, body: of a refused upgrade.
        before_hello_s: how long it lets the client wait.
        hello: its first steps.
        after_samples: for each count of samples received, what follows; each happens once.
        on_finalize: what follows each finalize, in order; the last one repeats.
    """

    status: int = 101
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    before_hello_s: float = 0.0
    hello: Sequence[Step] = (Say(message=HELLO),)
    after_samples: dict[int, Sequence[Step]] = field(default_factory=dict)
    on_finalize: Sequence[Sequence[Step]] = ((FINALIZED,),)


@dataclass(slots=True, kw_only=True)
class Connected:
    """The truth of one connection.

    Attributes:
        path: with its query, as an access log would show it.
        headers: of the upgrade.
        audio: all samples' bytes received.
        arrivals: when each binary message was read, and its size.
        controls: the texts received.
        sent: when each message was handed to the socket, and the message.
        closed: set when the handler is done.
    """

    path: str
    headers: dict[str, str]
    audio: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    sent: list[tuple[int, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def samples(self) -> int:
        """How many samples arrived."""
        return len(self.audio) // 2


class ParakeetServer:
    """The server; ``scripts`` are used in order, the last for all later connections.

    Attributes:
        scripts: one for each connection to come.
        connections: those that were upgraded.
        refused: how many upgrades were refused.
        batch: answers REST; its request's fields are in ``batch_requests``.
    """

    def __init__(self, *scripts: ParakeetScript) -> None:
        self.scripts = list(scripts) or [ParakeetScript()]
        self.connections: list[Connected] = []
        self.refused = 0
        self.dialled = 0
        self.batch: Callable[[web.Request], Any] | None = None
        self.batch_requests: list[dict[str, Any]] = []
        self.port = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ws_url(self) -> str:
        """The WebSocket's address."""
        return f"ws://127.0.0.1:{self.port}/parakeet/v1/audio/stream"

    @contextlib.asynccontextmanager
    async def running(
        self, *, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["ParakeetServer"]:
        """Serve on a free port."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/parakeet/v1/audio/stream", self._stream)
        app.router.add_post("/parakeet/v1/audio/transcriptions", self._transcribe)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            for task in list(self._tasks):
                task.cancel()
            for socket in list(self._sockets):
                _abort(socket)
            await runner.cleanup()

    async def close_all(self, code: int | None = 1000) -> None:
        """Close every open connection; None resets them."""
        for socket in list(self._sockets):
            if code is None:
                _abort(socket)
            else:
                await socket.close(code=code)

    async def push(self, *steps: Step) -> None:
        """Do steps on every open connection, now."""
        for socket, connected in list(zip(self._open(), self.connections[-1:], strict=False)):
            await self._do(socket, connected, steps)

    def _open(self) -> list[web.WebSocketResponse]:
        return [socket for socket in self._sockets if not socket.closed]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        script = self.scripts[min(self.dialled, len(self.scripts) - 1)]
        self.dialled += 1
        if script.status != 101:
            self.refused += 1
            return web.Response(status=script.status, headers=script.headers, text=script.body)
        socket = web.WebSocketResponse(compress=False, max_msg_size=0, timeout=0.2)
        await socket.prepare(request)
        connected = Connected(path=request.path_qs, headers=dict(request.headers))
        self.connections.append(connected)
        self._sockets.add(socket)
        finalizes = 0
        pending = dict(script.after_samples)
        try:
            if script.before_hello_s:
                await asyncio.sleep(script.before_hello_s)
            await self._do(socket, connected, script.hello)
            async for message in socket:
                if isinstance(message.data, bytes):
                    connected.arrivals.append((time.perf_counter_ns(), len(message.data)))
                    connected.audio += message.data
                    for due in sorted(n for n in pending if n <= connected.samples):
                        self._later(socket, connected, pending.pop(due))
                elif isinstance(message.data, str):
                    connected.controls.append(message.data)
                    if json.loads(message.data) == {"action": "finalize"}:
                        steps = script.on_finalize
                        self._later(socket, connected, steps[min(finalizes, len(steps) - 1)])
                        finalizes += 1
        finally:
            self._sockets.discard(socket)
            connected.closed.set()
        return socket

    def _later(
        self, socket: web.WebSocketResponse, connected: Connected, steps: Sequence[Step]
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._do(socket, connected, steps))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(
        self, socket: web.WebSocketResponse, connected: Connected, steps: Sequence[Step]
    ) -> None:
        with contextlib.suppress(ConnectionError):
            for step in steps:
                match step:
                    case Say(message=message):
                        text = message if isinstance(message, str) else json.dumps(message)
                        sent_ns = time.perf_counter_ns()
                        await socket.send_str(text)
                        connected.sent.append((sent_ns, message))
                    case Bytes(data=data):
                        await socket.send_bytes(data)
                    case Wait(seconds=seconds):
                        await asyncio.sleep(seconds)
                    case Close(code=code, reason=reason):
                        await socket.close(code=code, message=reason.encode())
                    case Drop():
                        _abort(socket)

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields: dict[str, Any] = {"authorization": request.headers.get("Authorization")}
        for name, value in form.items():
            if isinstance(value, web.FileField):
                with value.file as file:
                    fields[name] = file.read()
                fields["filename"] = value.filename
            else:
                fields[name] = value
        self.batch_requests.append(fields)
        if self.batch is None:
            return web.json_response({"text": "hello there"})
        answer = self.batch(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert isinstance(answer, web.StreamResponse)
        return answer


def _abort(socket: web.WebSocketResponse) -> None:
    """Reset the connection beneath a WebSocket."""
    request = socket._req
    if request is None or request.transport is None:
        return
    raw = request.transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


async def accept_upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a WebSocket upgrade by hand."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
    magic = lines["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
    )


def text_frame(data: bytes) -> bytes:
    """An unmasked, unfragmented text frame of less than 126 bytes."""
    return bytes([0x81, len(data)]) + data
