"""The one clock of a run: integer nanoseconds on CLOCK_MONOTONIC.

``time.perf_counter_ns`` is shared by the processes of one Linux machine, so the gateway's truth and
the harness's marks need no synchronisation. livekit-agents stamps events with the wall clock; a
:class:`ClockPair` maps such a stamp onto the run's clock. The wall clock is read nowhere else but
in ``harness.store``.
"""

import os
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from harness.loops.virtual import running_virtual_loop

__all__ = ["Clock", "ClockPair", "MonotonicClock", "Work", "read_clock_pair", "read_work"]

NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """A source of instants in integer nanoseconds; never goes back."""

    def now_ns(self) -> int:
        """Return the present instant in nanoseconds since an arbitrary origin."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC, as ``time.perf_counter_ns`` reads it."""

    def now_ns(self) -> int:
        """Return the present instant in nanoseconds."""
        return time.perf_counter_ns()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockPair:
    """One instant read on both clocks.

    Attributes:
        monotonic_ns: the instant on the run's clock.
        wall_ns: the same instant in nanoseconds since the epoch.
        uncertainty_ns: the longest that the two readings can lie apart.
    """

    monotonic_ns: int
    wall_ns: int
    uncertainty_ns: int

    def from_wall_seconds(self, wall_s: float) -> int:
        """Map a wall-clock stamp in seconds (livekit's ``time.time()``) onto the run's clock."""
        return self.monotonic_ns + round(wall_s * NANOSECONDS) - self.wall_ns


def read_clock_pair() -> ClockPair:
    """Read both clocks, keeping the closest of a few attempts."""
    best: ClockPair | None = None
    for _ in range(5):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        pair = ClockPair(
            monotonic_ns=(before + after) // 2, wall_ns=wall, uncertainty_ns=after - before
        )
        if best is None or pair.uncertainty_ns < best.uncertainty_ns:
            best = pair
    assert best is not None
    return best


class Work(NamedTuple):
    """What the calling thread has done so far, cumulative.

    Attributes:
        cpu_ns: time on a processor.
        queued_ns: time ready to run, waiting for a processor (0 where the kernel does not tell).
    """

    cpu_ns: int
    queued_ns: int


class _Schedstat(threading.local):
    """The kernel's run-queue account of this thread, kept open because it is read at marks."""

    def __init__(self) -> None:
        try:
            self.descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.descriptor = -1

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def queued_ns(self) -> int:
        if self.descriptor < 0:
            return 0
        return int(os.pread(self.descriptor, 64, 0).split(b" ", 2)[1])


_schedstat = _Schedstat()
_NO_WORK = Work(0, 0)


def read_work() -> Work:
    """Return the calling thread's cumulative work; about 2 µs. A virtual clock knows of none."""
    if running_virtual_loop() is not None:
        return _NO_WORK
    return Work(time.thread_time_ns(), _schedstat.queued_ns())
