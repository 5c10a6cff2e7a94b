"""How well this machine and this process keep time, watched while trials run."""

import asyncio
import bisect
import contextlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from harness.domain.trial import Health, Stall

__all__ = ["STALL_NS", "TimeKeeping", "Watch", "health"]

STALL_NS = 10_000_000
_LATE_NS = 20_000_000
_TICK_NS = 10_000_000
_BLINK_NS = 20_000
"""A shorter call of the selector did not wait for anything."""


def _rank(values: list[int], share: float) -> int:
    """Return the smallest value that at least ``share`` of all do not exceed; 0 for none."""
    if not values:
        return 0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class TimeKeeping(NamedTuple):
    """How one trial kept time, value by value.

    Attributes:
        started_ns: when the trial began.
        lateness: of each frame, in nanoseconds.
        lags: of each tick of the event loop, in nanoseconds.
    """

    started_ns: int
    lateness: tuple[int, ...]
    lags: tuple[int, ...]


class Watch:
    """A stall watcher process, an event-loop ticker and a log of the loop's idleness.

    Args:
        keep: keep each trial's values in ``kept``, for measuring the harness itself.
        machine: watch for stalls and lags, which a virtual clock cannot have.

    Shared by the trials of one loop. The log comes from the loop's selector: while a call of it
    blocks, nothing of this program runs. Loops without a selector (uvloop) give no log.
    """

    def __init__(self, *, keep: bool = False, machine: bool = True) -> None:
        self._keep = keep
        self.machine = machine
        self.kept: list[TimeKeeping] = []
        self._idle: list[tuple[int, int]] = []
        self._selector: Any = None
        self._select: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._stalls: list[Stall] = []
        self._lags: list[tuple[int, int]] = []
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start watching."""
        self._log_idleness()
        if not self.machine:
            return
        self._process = subprocess.Popen(  # noqa: S603, ASYNC220  (our own file; returns at once)
            [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("stallwatch.py")),
                str(STALL_NS),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._ticker = asyncio.create_task(self._tick())

    def _log_idleness(self) -> None:
        selector = getattr(asyncio.get_running_loop(), "_selector", None)
        if selector is None:
            return
        self._selector, self._select = selector, selector.select
        original, log, clock = selector.select, self._idle, time.perf_counter_ns

        def select(timeout: float | None = None) -> Any:
            if timeout is not None and timeout <= 0:
                return original(timeout)
            before = clock()
            found = original(timeout)
            after = clock()
            if after - before > _BLINK_NS:
                log.append((before, after))
            return found

        selector.select = select

    def note(self, started_ns: int, lateness: list[int], lags: list[int]) -> None:
        """Keep a trial's values where that was asked for."""
        if self._keep:
            self.kept.append(TimeKeeping(started_ns, tuple(lateness), tuple(lags)))

    def idle_between(self, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """Return the loop's idle intervals that overlap an interval, in order."""
        first = bisect.bisect_left(self._idle, start_ns, key=lambda each: each[1])
        found = []
        for each in self._idle[first:]:
            if each[0] >= end_ns:
                break
            found.append(each)
        return found

    async def _tick(self) -> None:
        due = time.perf_counter_ns() + _TICK_NS
        while True:
            await asyncio.sleep(max(0, due - time.perf_counter_ns()) / 1e9)
            now = time.perf_counter_ns()
            self._lags.append((now, max(0, now - due)))
            due = max(due + _TICK_NS, now)

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        while True:
            try:
                data = os.read(self._process.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not data:
                break
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            start, _, end = line.partition(b" ")
            if end:
                self._stalls.append(Stall(start_ns=int(start), end_ns=int(end)))

    def between(self, start_ns: int, end_ns: int) -> tuple[tuple[Stall, ...], list[int]]:
        """Return the stalls and the loop's lags in an interval.

        Of a lag that began before the interval only what lies within it counts: garbage is
        collected between trials.
        """
        self._read()
        stalls = tuple(
            each for each in self._stalls if each.end_ns > start_ns and each.start_ns < end_ns
        )
        return stalls, [
            min(lag, at - start_ns) for at, lag in self._lags if start_ns <= at <= end_ns
        ]

    def forget_before(self, instant_ns: int) -> None:
        """Drop what no running trial can need."""
        self._stalls = [each for each in self._stalls if each.end_ns >= instant_ns]
        self._lags = [each for each in self._lags if each[0] >= instant_ns]
        first = bisect.bisect_left(self._idle, instant_ns, key=lambda each: each[1])
        del self._idle[:first]

    async def aclose(self) -> None:
        """Stop watching."""
        if self._selector is not None:
            self._selector.select = self._select
            self._selector = None
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        process = self._process
        if process is not None:
            self._process = None
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            try:
                await asyncio.to_thread(process.wait, 2)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)


def health(lateness: list[int], watch: Watch, start_ns: int, end_ns: int) -> Health:
    """Summarise one trial's time-keeping."""
    stalls, lags = watch.between(start_ns, end_ns)
    watch.note(start_ns, lateness, lags)
    return Health(
        frames=len(lateness),
        lateness_p50_ns=_rank(lateness, 0.50),
        lateness_p99_ns=_rank(lateness, 0.99),
        lateness_max_ns=max(lateness, default=0),
        late_frames=sum(1 for each in lateness if each > _LATE_NS),
        loop_lag_p99_ns=_rank(lags, 0.99),
        loop_lag_max_ns=max(lags, default=0),
        stalls=stalls,
        virtual=not watch.machine,
    )
