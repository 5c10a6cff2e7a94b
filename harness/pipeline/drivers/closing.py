"""Closing what may not close: every wait for a goodbye has an end.

A stream of livekit's is closed by cancelling its task and waiting for it, and a socket by waiting
for the other side's farewell. Neither has a bound that a suite could set.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any, Final

__all__ = ["CLOSE_S", "close_within"]

CLOSE_S: Final = 3.0
"""How many seconds the closing of anything is waited for."""


async def close_within(close: Callable[[], Any], limit_s: float = CLOSE_S) -> None:
    """Close something; what takes longer is cancelled and left behind.

    What fails in closing is of no consequence. A closing that ignores its cancellation is not
    waited for either, which ``asyncio.timeout`` would do.

    Args:
        close: closes it; may return an awaitable.
        limit_s: how many seconds it is waited for.
    """
    task = asyncio.create_task(_closed(close))
    try:
        await asyncio.wait({task}, timeout=limit_s)
    finally:
        task.cancel()


async def _closed(close: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):
        closing = close()
        if inspect.isawaitable(closing):
            await closing
