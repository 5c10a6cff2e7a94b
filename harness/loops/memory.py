"""Connections within one process: two transports, each writing what the other reads.

A server's protocol factory listens at an address of the :class:`Switchboard`; whoever connects to
that address on the same loop gets a transport of this module, and everything above it (TLS apart)
is the client library's own code. Bytes arrive in the next iteration of the loop, in order; a reset
arrives as a reset, an end as an end.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from harness.loops.errors import out_of_reach

__all__ = ["MemoryTransport", "Switchboard"]

_HIGH_WATER = 64 * 1024


class _Socket:
    """What client libraries ask a transport's socket for: its addresses, and whether it is dead.

    Its descriptor becomes readable when the other side has gone: pools look at it before they use
    a connection again.
    """

    family = socket.AF_UNIX
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, address: tuple[str, int], peer: tuple[str, int]) -> None:
        self._address = address
        self._peer = peer
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._gone = False

    def fileno(self) -> int:
        """Return a descriptor that is readable once the other side has gone."""
        if self._ends is None:
            self._ends = socket.socketpair()
            if self._gone:
                self._ends[1].close()
        return self._ends[0].fileno()

    def gone(self) -> None:
        """Become readable."""
        self._gone = True
        if self._ends is not None:
            self._ends[1].close()

    def close(self) -> None:
        """Release the descriptor."""
        if self._ends is not None:
            for each in self._ends:
                each.close()

    def __del__(self) -> None:
        self.close()

    def getsockname(self) -> tuple[str, int]:
        """Return this side's address."""
        return self._address

    def getpeername(self) -> tuple[str, int]:
        """Return the other side's address."""
        return self._peer

    def getsockopt(self, *_: Any) -> Any:
        """Refuse: there is no kernel below that knows."""
        raise OSError("a connection in memory has no socket options")

    def setsockopt(self, *_: Any) -> None:
        """Do nothing: no option changes how memory delivers."""


class MemoryTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        address: tuple[str, int],
        peer: tuple[str, int],
    ) -> None:
        self._sock = _Socket(address, peer)
        super().__init__(
            {"socket": self._sock, "sockname": address, "peername": peer, "sslcontext": None}
        )
        self._loop = loop
        self._context = context
        self._protocol: Any = None
        self._other: MemoryTransport
        self._arrived: deque[bytes] = deque()
        self._arrived_bytes = 0
        self._delivering = False
        self._reading = True
        self._ending = False
        self._eof_seen = False
        self._ended = False
        self._closing = False
        self._lost = False
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._writer_paused = False

    def join(self, other: "MemoryTransport", protocol: Any) -> None:
        """Connect both ends; the protocol hears of it in the next iteration."""
        self._other = other
        self._protocol = protocol
        self._soon(protocol.connection_made, self)

    def _soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(callback, *args, context=self._context)

    # Reading: what the other end has written

    def _take(self, data: bytes) -> None:
        if self._lost or self._closing:
            return
        self._arrived.append(data)
        self._arrived_bytes += len(data)
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if not self._delivering and self._reading:
            self._delivering = True
            self._soon(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        while self._arrived and self._reading and not self._lost and not self._closing:
            data = self._arrived.popleft()
            self._arrived_bytes -= len(data)
            try:
                self._hand(data)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  (as asyncio does)
                self._fail(error)
        self._other._drained()  # noqa: SLF001  (the other end of the same connection)
        if self._ending and not self._arrived and self._reading and not self._eof_seen:
            self._eof_seen = True
            if self._lost or self._closing:
                return
            if not self._protocol.eof_received():
                self.close()

    def _fail(self, error: BaseException) -> None:
        """Close for an error of the protocol's own, and say so."""
        self._loop.call_exception_handler(
            {
                "message": "a protocol failed to take what arrived",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._break(error)

    def _hand(self, data: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            view = memoryview(data)
            while view:
                buffer = memoryview(protocol.get_buffer(len(view)))
                if not buffer:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                size = min(len(buffer), len(view))
                buffer[:size] = view[:size]
                protocol.buffer_updated(size)
                view = view[size:]
        else:
            protocol.data_received(data)

    def is_reading(self) -> bool:
        """Return whether what arrives is handed on."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Hand on nothing for now."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand on what has arrived."""
        self._reading = True
        if self._arrived or self._ending:
            self._deliver_soon()

    # Writing

    def write(self, data: Any) -> None:
        """Send bytes to the other end; one that has closed answers with a reset."""
        if self._ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or self._lost or not data:
            return
        if self._other.is_closing():
            # After the end that it has sent, which closes most protocols.
            self._soon(self._lose, _reset())
            return
        self._other._take(bytes(data))  # noqa: SLF001
        if self.get_write_buffer_size() > self._high and not self._writer_paused:
            self._writer_paused = True
            self._protocol.pause_writing()

    def _drained(self) -> None:
        if self._writer_paused and self.get_write_buffer_size() <= self._low:
            self._writer_paused = False
            if not self._lost:
                self._soon(self._protocol.resume_writing)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the other end has not taken yet."""
        return self._other._arrived_bytes  # noqa: SLF001

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set at how many untaken bytes the protocol is told to wait, and to go on."""
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low

    def can_write_eof(self) -> bool:
        """Return True: an end can be sent while reading goes on."""
        return True

    def write_eof(self) -> None:
        """Tell the other end that nothing more comes."""
        if not self._lost and not self._closing and not self._ended:
            self._ended = True
            self._other._end()  # noqa: SLF001

    def _end(self) -> None:
        self._ending = True
        self._sock.gone()
        self._deliver_soon()

    # Closing

    def is_closing(self) -> bool:
        """Return whether it is closed or about to be."""
        return self._closing or self._lost

    def close(self) -> None:
        """Close after what was written has been taken."""
        if self._closing or self._lost:
            return
        self._closing = True
        self._other._end()  # noqa: SLF001
        self._lose(None)

    def abort(self) -> None:
        """Close at once; the other end sees a reset."""
        self._break(None)

    def _break(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._closing = True
        self._lose(error)
        self._other._broken()  # noqa: SLF001

    def _broken(self) -> None:
        if not self._lost:
            self._arrived.clear()
            self._arrived_bytes = 0
            self._sock.gone()
            self._lose(_reset())

    def _lose(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._soon(self._gone, error)

    def _gone(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()

    def set_protocol(self, protocol: Any) -> None:
        """Hand what arrives to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return who gets what arrives."""
        return self._protocol


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


class Switchboard:
    """Who listens where on one loop.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._listening: dict[tuple[str, int], tuple[Callable[[], Any], Context]] = {}
        self.dialled = 0

    def listen(self, host: str, port: int, factory: Callable[[], Any], context: Context) -> None:
        """Let a server's protocols answer at an address, in a context of the server's."""
        self._listening[host, port] = (factory, context)

    def has(self, host: str, port: int) -> bool:
        """Return whether somebody listens at an address."""
        return (host, port) in self._listening

    def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Connect to an address; return the client's transport and protocol.

        Raises:
            OutOfReachError: nobody listens there.
        """
        found = self._listening.get((host, port))
        if found is None:
            raise out_of_reach(host, port)
        server_factory, context = found
        self.dialled += 1
        address = ("127.0.0.1", 1024 + self.dialled % 64_000)
        client = MemoryTransport(self._loop, copy_context(), address, (host, port))
        server = MemoryTransport(self._loop, context.copy(), (host, port), address)
        protocol = factory()
        # The server first: it is there when the client's first bytes arrive.
        server.join(client, context.run(server_factory))
        client.join(server, protocol)
        return client, protocol
