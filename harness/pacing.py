"""Waiting for absolute deadlines on the event loop.

``asyncio.sleep`` wakes up to a millisecond late, because epoll counts in milliseconds. On Linux one
timer file descriptor, armed for the earliest deadline, wakes the loop within some 0.1 ms instead;
elsewhere the last two milliseconds are spent yielding. A virtual loop wakes at the nanosecond.
"""

import asyncio
import ctypes
import heapq
import os
import sys
import time
from itertools import count

from harness.loops.virtual import VirtualLoop

__all__ = ["Pacer"]

NS_PER_S = 1_000_000_000
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_COARSE_NS = 2_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Pacer:
    """Wakes tasks at instants of ``time.perf_counter_ns``; bound to the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exact = isinstance(self._loop, VirtualLoop)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._armed_ns = 0
        self._descriptor = -1
        if sys.platform == "linux" and not self._exact:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.timerfd_create(
                _CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC
            )
            if self._descriptor >= 0:
                self._loop.add_reader(self._descriptor, self._on_timer)

    async def until(self, deadline_ns: int) -> None:
        """Return at the deadline, or at once when it has passed."""
        if time.perf_counter_ns() >= deadline_ns:
            return
        if self._exact:
            await asyncio.sleep((deadline_ns - time.perf_counter_ns()) / NS_PER_S)
            return
        if self._descriptor < 0:
            await _sleep_and_yield(deadline_ns)
            return
        future = self._loop.create_future()
        heapq.heappush(self._waiting, (deadline_ns, next(self._order), future))
        self._arm()
        await future

    def _arm(self) -> None:
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        earliest = self._waiting[0][0] if self._waiting else 0
        if earliest == self._armed_ns:
            return
        self._armed_ns = earliest
        # A value of zero disarms; a past instant fires at once.
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(earliest // NS_PER_S, earliest % NS_PER_S))
        self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _on_timer(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        self._armed_ns = -1
        now = time.perf_counter_ns()
        while self._waiting and self._waiting[0][0] <= now:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        self._arm()

    def close(self) -> None:
        """Release the timer; tasks that still wait are cancelled."""
        for _, _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


async def _sleep_and_yield(deadline_ns: int) -> None:
    coarse = deadline_ns - time.perf_counter_ns() - _COARSE_NS
    if coarse > 0:
        await asyncio.sleep(coarse / NS_PER_S)
    while time.perf_counter_ns() < deadline_ns:  # noqa: ASYNC110  # a clock has no event
        await asyncio.sleep(0)
