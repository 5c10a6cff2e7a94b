"""Connections that outlive streams: kept idle, checked, handed on.

A connection is handed on only when the server owes it nothing and it is open as far as this end
knows. What a stream leaves unfinished is settled first: the server is asked to finalize, its answer
is awaited and thrown away, so that no word of one stream ever reaches the next.
"""

import asyncio
import ssl
import time
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from livekit.agents import APIError
from websockets.exceptions import WebSocketException

from harness.domain.request import FailureKind
from harness.pipeline.providers.parakeet.errors import (
    ParakeetEndpoint,
    connection_error,
    status_error,
)
from harness.pipeline.providers.parakeet.wire import (
    FINALIZE,
    Opening,
    ParakeetConnection,
    open_connection,
    read_message,
)

__all__ = ["ConnectionPool", "Lease"]

SETTLE_S: Final = 2.0
"""A server that has not finalized by then loses the connection."""
PATIENCE_S: Final = 1.0
"""A stream waits so long for a connection that is being settled or opened, then opens its own."""
ROOM_TO_CONNECT_S: Final = 0.5
"""A rate limit that leaves less of the time-out than this is told, not waited for in vain."""
_NANOSECONDS: Final = 1_000_000_000


class Lease(NamedTuple):
    """A connection in the hands of one stream.

    Attributes:
        connection: open, its hello read.
        opening: what opening it took; None when it was kept from before.
    """

    connection: ParakeetConnection
    opening: Opening | None


class ConnectionPool:
    """Opens, keeps and closes connections to one endpoint.

    Args:
        endpoint: where to.
        tls: the context for ``wss://``.
        max_idle: how many connections are kept; 0 closes each after its stream.
        max_idle_s: an idle connection is not handed on after so long.
    """

    def __init__(
        self,
        endpoint: ParakeetEndpoint,
        *,
        tls: ssl.SSLContext | None,
        max_idle: int,
        max_idle_s: float,
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._max_idle = max_idle
        self._max_idle_ns = round(max_idle_s * _NANOSECONDS)
        self._idle: list[ParakeetConnection] = []
        self._coming: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._not_before_ns = 0
        self._closed = False

    @property
    def idle(self) -> int:
        """How many connections are kept."""
        return len(self._idle)

    async def acquire(self, *, timeout_s: float) -> Lease:
        """Return a connection: a kept one if there is one, else a new one.

        Args:
            timeout_s: for everything: settling, a rate limit's delay, connect and hello.

        Raises:
            APIError: of livekit's family.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            kept = await self._take()
            if kept is not None:
                return Lease(kept, None)
            coming = next((task for task in self._coming if task.get_loop() is loop), None)
            if coming is None:
                break
            await asyncio.wait({coming}, timeout=min(PATIENCE_S, deadline - loop.time()))
            if not coming.done():
                break
            self._coming.discard(coming)
        await self._respect_rate_limit(deadline)
        connection, opening = await self._open(max(deadline - loop.time(), 0.001))
        return Lease(connection, opening)

    async def _respect_rate_limit(self, deadline: float) -> None:
        wait_s = (self._not_before_ns - time.perf_counter_ns()) / _NANOSECONDS
        if wait_s <= 0:
            return
        if asyncio.get_running_loop().time() + wait_s + ROOM_TO_CONNECT_S >= deadline:
            raise status_error(
                self._endpoint,
                429,
                detail="an earlier answer asked to wait longer than the time-out",
                retry_after=str(round(wait_s)),
            )
        await asyncio.sleep(wait_s)

    async def _open(self, timeout_s: float) -> tuple[ParakeetConnection, Opening]:
        try:
            connection, hello, opening = await open_connection(
                self._endpoint, timeout_s=timeout_s, tls=self._tls
            )
        except APIError as error:
            if isinstance(error.body, dict) and "retry_after_s" in error.body:
                delay_ns = int(error.body["retry_after_s"]) * _NANOSECONDS
                self._not_before_ns = time.perf_counter_ns() + delay_ns
            raise
        try:
            listening = read_message(hello, self._endpoint).get("status") == "listening"
        except APIError:
            connection.abort()
            raise
        if not listening:
            connection.abort()
            raise connection_error(
                f'Parakeet at {self._endpoint.host} did not greet with "listening"',
                FailureKind.MALFORMED,
            )
        return connection, opening

    async def _take(self) -> ParakeetConnection | None:
        while self._idle:
            connection = self._idle.pop()
            age_ns = time.perf_counter_ns() - connection.idle_since_ns
            if (
                connection.healthy
                and age_ns <= self._max_idle_ns
                and await self._only_chatter(connection)
            ):
                return connection
            self._close(connection)
        return None

    async def _only_chatter(self, connection: ParakeetConnection) -> bool:
        """Read what arrived while idle; a text among it belongs to nobody: do not trust it."""
        try:
            while connection.waiting:
                message = read_message(await connection.next_message(), self._endpoint)
                if "text" in message:
                    return False
        except (APIError, WebSocketException):
            return False
        except BaseException:
            connection.abort()
            raise
        return connection.healthy

    def release(self, connection: ParakeetConnection, *, owed: int | None) -> None:
        """Take a connection back from its stream.

        Args:
            connection: no stream uses it any more.
            owed: how many answers to finalize the server still owes; None if it owes none and has
                answered all audio.
        """
        connection.observer = None
        if self._closed or self._max_idle == 0 or not connection.healthy:
            self._close(connection)
        elif owed is None:
            self._keep(connection)
        else:
            self._start(self._settle(connection, owed))

    def discard(self, connection: ParakeetConnection) -> None:
        """Close a connection that cannot be used again."""
        connection.observer = None
        self._close(connection)

    def warm(self, timeout_s: float) -> None:
        """Open a connection ahead of the first stream; a failure is left to that stream."""
        if not self._idle and not self._coming and not self._closed:
            self._start(self._warm(timeout_s))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _warm(self, timeout_s: float) -> None:
        try:
            connection, _ = await self._open(timeout_s)
        except APIError:
            return
        self._keep(connection)

    async def _settle(self, connection: ParakeetConnection, owed: int) -> None:
        try:
            async with asyncio.timeout(SETTLE_S):
                await connection.send(FINALIZE)
                while owed >= 0:
                    message = read_message(await connection.next_message(), self._endpoint)
                    owed -= message.get("status") == "finalized"
        except (APIError, WebSocketException, OSError, TimeoutError):
            self._close(connection)
        except BaseException:
            connection.abort()
            raise
        else:
            self._keep(connection)

    def _keep(self, connection: ParakeetConnection) -> None:
        if self._closed or len(self._idle) >= self._max_idle or not connection.healthy:
            self._close(connection)
            return
        connection.idle_since_ns = time.perf_counter_ns()
        self._idle.append(connection)

    def _close(self, connection: ParakeetConnection) -> None:
        """Say goodbye in the background; a connection of a dead event loop is let go."""
        if connection.loop is not asyncio.get_running_loop():
            return
        task = connection.loop.create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close everything that no stream holds, and keep nothing from now on."""
        self._closed = True
        coming = [t for t in self._coming if t.get_loop() is asyncio.get_running_loop()]
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        while self._idle:
            self._close(self._idle.pop())
        await asyncio.gather(*self._closing, return_exceptions=True)
