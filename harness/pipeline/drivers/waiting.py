"""Waiting for what livekit does not tell."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["wait_until"]


async def wait_until(
    condition: Callable[[], bool], *, until_ns: int, poll_s: float = 0.005
) -> bool:
    """Poll a condition until an instant; return whether it came true.

    Polling, because what is waited for happens inside livekit, which offers no event for it.
    """
    while not condition():
        if time.perf_counter_ns() >= until_ns:
            return False
        await asyncio.sleep(poll_s)
    return True
