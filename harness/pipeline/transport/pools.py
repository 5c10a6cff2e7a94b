"""livekit's pool of sockets: nobody waits for another's handshake, or the wait is seen.

The pool holds a lock while it opens a socket, so that of a hundred replies at once the last waits
for ninety-nine handshakes. A worker of livekit's serves one conversation and never meets that; a
benchmark that shares a client among trials would measure its own sharing.
"""

import asyncio
import time
from contextlib import nullcontext
from types import TracebackType
from typing import Any

from livekit.agents import utils

from harness.domain.request import Wait, WaitCause
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import CURRENT_CALL, CURRENT_RECORDER

__all__ = ["let_all_connect", "note_queueing"]


class _Seen:
    """A lock that tells the call or the trial how long it kept it waiting."""

    def __init__(self, inner: asyncio.Lock, stage: Stage) -> None:
        self._inner = inner
        self._stage = stage

    async def __aenter__(self) -> None:
        if not self._inner.locked():
            await self._inner.acquire()
            return
        start = time.perf_counter_ns()
        await self._inner.acquire()
        wait = Wait(cause=WaitCause.POOL, start_ns=start, end_ns=time.perf_counter_ns())
        call, recorder = CURRENT_CALL.get(), CURRENT_RECORDER.get()
        if call is not None:
            call.waits.append(wait)
        elif recorder is not None and self._stage is Stage.STT:
            recorder.waits.append(wait)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inner.release()


def _pool(client: Any) -> Any:
    pool = getattr(client, "_pool", None)
    return pool if isinstance(pool, utils.ConnectionPool) else None


def let_all_connect(client: Any) -> None:
    """Let a client that is shared by trials open as many sockets at once as they need."""
    pool = _pool(client)
    if pool is not None:
        # Who waits for nobody opens a socket of its own; livekit has no public way to say so.
        pool._connect_lock = nullcontext()  # noqa: SLF001


def note_queueing(client: Any, stage: Stage) -> None:
    """Stamp what a client of the user's own makes a reply wait for a socket of another."""
    pool = _pool(client)
    lock = None if pool is None else pool._connect_lock  # noqa: SLF001
    if isinstance(lock, asyncio.Lock):
        pool._connect_lock = _Seen(lock, stage)  # noqa: SLF001
