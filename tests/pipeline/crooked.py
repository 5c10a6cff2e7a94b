"""A server on the loopback interface that misbehaves below the protocols, as its name says."""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

__all__ = ["Manner", "crooked", "dead_port"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Manner(StrEnum):
    """How a server misbehaves."""

    MUTE = "mute"
    """It accepts, reads, and never answers."""
    STALLED = "stalled"
    """It sends a success's headers, or accepts the upgrade, and then nothing."""
    HANGS_UP = "hangs-up"
    """It closes the connection when it has read the request."""
    GARBAGE = "garbage"
    """It answers with bytes that are no HTTP."""


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
    kind = b"audio/pcm" if b"/audio/speech" in request else b"text/event-stream"
    return b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def crooked(manner: Manner) -> AsyncIterator[int]:
    """Serve in a manner; yield the port."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            if manner is Manner.HANGS_UP:
                writer.close()
                return
            if manner is Manner.GARBAGE:
                writer.write(b"\x00\xff\xfe what is this?\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            if manner is Manner.STALLED:
                upgrade = b"sec-websocket-key" in request.lower()
                writer.write(_upgrade(request) if upgrade else _headers(request))
                await writer.drain()
            while await reader.read(65536):
                pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
