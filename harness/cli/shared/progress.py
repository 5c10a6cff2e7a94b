"""The live progress line of a run.

A thread of its own writes one short line twice a second: the event loop that stamps the marks is
never behind a slow terminal, and formatting it takes some 30 µs.
"""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from harness.domain.trial import FailedTrial
from harness.runner.outcome import Progress
from harness.store.outlet import tame

__all__ = ["ProgressLine", "clock_text", "progress_text"]

_INTERVAL_S = 0.5
_LOG_INTERVAL_S = 15.0
_BAR = 24


def clock_text(seconds: float) -> str:
    """Return a length of time as minutes and seconds."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"


def progress_text(
    progress: Progress, elapsed_s: float, left_s: float | None, *, bar: bool = True
) -> str:
    """Return the line that shows how far a run has come."""
    share = progress.done / progress.total if progress.total else 1.0
    filled = round(share * _BAR)
    parts = [f"{'━' * filled}{'─' * (_BAR - filled)} "] if bar else []
    parts.append(f"{progress.done}/{progress.total}")
    if progress.failed:
        parts.append(f" · {progress.failed} failed")
    if progress.reruns:
        parts.append(f" · {progress.reruns} again")
    parts.append(f" · {clock_text(elapsed_s)}")
    if left_s is not None:
        parts.append(f" · {clock_text(left_s)} left")
    if progress.running:
        key = progress.running[0]
        more = f" +{len(progress.running) - 1}" if len(progress.running) > 1 else ""
        warm = "warm-up " if key.warmup else ""
        parts.append(f" · {warm}{key.candidate} {key.utterance}{more}")
    return "".join(parts)


class ProgressLine:
    """Shows progress on a terminal, or a line now and then in a log.

    Args:
        expected_s: how long the run is expected to take; shown until it can be measured.
        stream: where to write; None is stderr.
    """

    def __init__(self, expected_s: float, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._expected_s = expected_s
        self._began = time.monotonic()
        self._first_done: int | None = None
        self._progress: Progress | None = None
        self._lines: list[str] = []
        self._waiting = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._write_on, name="turnbench-progress", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=1)

    def update(self, progress: Progress) -> None:
        """Take the newest state; returns at once."""
        if self._first_done is None:
            self._first_done = progress.done
        if isinstance(progress.last, FailedTrial):
            failure, key = progress.last.failure, progress.last.key
            self._lines.append(
                f"{key.id} {key.candidate} {key.utterance}: "
                f"{failure.stage.value} {failure.kind.value}: {failure.message}"
            )
        self._progress = progress
        self._waiting = ""

    def say(self, line: str) -> None:
        """Have a line written above the progress."""
        self._lines.append(line)

    def tell(self, line: str) -> None:
        """Show what is waited for, in place of the progress until there is some."""
        self._waiting = line

    def _write_on(self) -> None:
        interval = _INTERVAL_S if self._terminal else _LOG_INTERVAL_S
        try:
            while not self._ended.wait(interval):
                self._write()
            self._write()
            if self._terminal and self._progress is not None:
                self._stream.write("\n")
                self._stream.flush()
        except (OSError, ValueError):
            # The terminal has gone; the run goes on.
            return

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        for line in lines:
            self._stream.write(f"{self._clear()}{tame(' '.join(line.split()))}\n")
        progress = self._progress
        if self._waiting:
            end = "" if self._terminal else "\n"
            self._stream.write(f"{self._clear()}{tame(self._waiting)}{end}")
        elif progress is not None:
            elapsed = time.monotonic() - self._began
            text = progress_text(
                progress, elapsed, self._left(progress, elapsed), bar=self._terminal
            )
            end = "" if self._terminal else "\n"
            self._stream.write(f"{self._clear()}{tame(text)}{end}")
        self._stream.flush()

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._terminal else ""

    def _left(self, progress: Progress, elapsed: float) -> float | None:
        done = progress.done - (self._first_done or 0)
        remaining = progress.total - progress.done
        if done < 3:
            return max(0.0, self._expected_s - elapsed)
        return elapsed / done * remaining
