"""A door to a gateway on a virtual loop that misbehaves below the protocols until mended.

It stands before the gateway as a network does: while it misbehaves, connections are refused, never
answered, or answered with nonsense; once it is mended, every byte goes through.
"""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from enum import StrEnum

from harness.loops.virtual import VirtualLoop

__all__ = ["Door", "Manner", "dead_port", "door"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Manner(StrEnum):
    """How a door misbehaves."""

    CLOSED = "closed"
    """Nobody listens: the connection is refused."""
    MUTE = "mute"
    """It accepts, reads, and never answers."""
    STALLED = "stalled"
    """It sends a success's headers, or accepts the upgrade, and then nothing."""
    HANGS_UP = "hangs-up"
    """It closes the connection when it has read the request."""
    GARBAGE = "garbage"
    """It answers with bytes that are no HTTP."""
    DROPS = "drops"
    """It lets all through, and breaks every connection between the first turn and the second."""


def dead_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _upgrade(request: bytes) -> bytes:
    lines = request.decode("latin-1").split("\r\n")
    keys = [
        line.split(":", 1)[1].strip()
        for line in lines
        if line.lower().startswith("sec-websocket-key")
    ]
    accept = base64.b64encode(hashlib.sha1((keys[0] + _GUID).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def _headers(request: bytes) -> bytes:
    kind = b"text/event-stream"
    if b"/audio/speech" in request or b"/predict" in request:
        kind = b"audio/pcm"
    elif b"/v1/synthesize" in request:
        kind = b"audio/pcm;rate=24000"
    elif b"/transcriptions" in request:
        kind = b"application/json"
    return b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"


class Door:
    """A door to a port.

    Args:
        manner: how it misbehaves; None for not at all.
        host, port: where the gateway is.

    Attributes:
        port: where the door is, of the same host.
    """

    def __init__(self, manner: Manner | None, host: str, port: int) -> None:
        self._manner = manner
        self._gateway = host, port
        self._mended = manner in (None, Manner.DROPS)
        self._path: tuple[bytes, bytes] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = port + 1
        if self._manner is not Manner.CLOSED:
            self._listen()

    def mend(self) -> None:
        """From now on all goes through; what is open breaks."""
        self._mended = True
        self.abort()
        self._listen()

    def lead(self, old: str, new: str) -> None:
        """From now on requests for one path are for another of the same length."""
        assert len(old) == len(new)
        self._path = old.encode(), new.encode()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.switchboard.listen(self._gateway[0], self.port, self._protocol, copy_context())

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._serve)

    def abort(self) -> None:
        """Break what is open."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if self._mended:
                await self._pass_on(reader, writer)
            else:
                await self._misbehave(reader, writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection(*self._gateway)
        self._writers.add(ahead)

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    if source is reader and self._path is not None:
                        old, new = self._path
                        data = data.replace(old, new, 1)
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                # A reset behind the door is one before it.
                for end in (writer, ahead):
                    end.transport.abort()
            sink.close()

        await asyncio.gather(pipe(reader, ahead), pipe(behind, writer))
        self._writers -= {writer, ahead}

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if self._manner is Manner.HANGS_UP:
            writer.close()
            return
        if self._manner is Manner.GARBAGE:
            writer.write(b"\x00\xff\xfe what is this?\r\n\r\n")
            await writer.drain()
            # What is left unread would turn the close into a reset.
            writer.write_eof()
        if self._manner is Manner.STALLED:
            upgrade = b"sec-websocket-key" in request.lower()
            writer.write(_upgrade(request) if upgrade else _headers(request))
            await writer.drain()
        while await reader.read(65536):
            pass


@contextmanager
def door(manner: Manner | None, host: str, port: int) -> Iterator[Door]:
    """Stand before a port in a manner; None lets everything through."""
    made = Door(manner, host, port)
    try:
        yield made
    finally:
        made.abort()
