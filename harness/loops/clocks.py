"""``time`` and ``datetime`` as code on a virtual loop reads them.

:func:`install` comes before anything that keeps a reference to ``time.time`` or ``datetime`` for
itself (default factories of data models do). On a virtual loop, and in threads that it counts, the
clocks follow the loop; everywhere else they are what they were.
"""

import datetime as dt
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from harness.loops.outside import Worker, counted
from harness.loops.virtual import VirtualLoop, running_virtual_loop

__all__ = ["EPOCH_NS", "install"]

EPOCH_NS = 1_800_000_000_000_000_000
"""What ``time.time_ns`` shows when the loop's clock shows 0: 15 January 2027."""

_NS = 1_000_000_000


def install() -> None:
    """Let ``time`` and ``datetime`` follow the virtual loop where one runs; once a process."""
    if getattr(time, "_turnbench", False):
        return
    time._turnbench = True  # type: ignore[attr-defined]  # noqa: SLF001
    for name, offset in (("time", EPOCH_NS), ("monotonic", 0), ("perf_counter", 0)):
        setattr(time, name, _seconds(offset, getattr(time, name)))
        setattr(time, f"{name}_ns", _nanoseconds(offset, getattr(time, f"{name}_ns")))
    setattr(time, "sleep", _sleep(time.sleep))  # noqa: B010
    for name in ("gmtime", "localtime", "ctime"):
        setattr(time, name, _of_seconds(getattr(time, name)))
    setattr(time, "asctime", _of_struct(time.asctime))  # noqa: B010
    setattr(time, "strftime", _formatted(time.strftime))  # noqa: B010
    # Names that the standard library's own modules took before.
    queue.time = time.monotonic  # type: ignore[attr-defined]
    threading._time = time.monotonic  # type: ignore[attr-defined]  # noqa: SLF001
    dt.datetime = _Datetime  # type: ignore[misc]
    dt.date = _Date  # type: ignore[misc]


def _nanoseconds(offset: int, real: Callable[[], int]) -> Callable[[], int]:
    def read() -> int:
        loop = running_virtual_loop()
        return real() if loop is None else loop.now_ns() + offset

    return read


def _seconds(offset: int, real: Callable[[], float]) -> Callable[[], float]:
    def read() -> float:
        loop = running_virtual_loop()
        return real() if loop is None else (loop.now_ns() + offset) / _NS

    return read


def _of_seconds(real: Callable[..., Any]) -> Callable[..., Any]:
    def convert(seconds: float | None = None, /) -> Any:
        return real(time.time() if seconds is None else seconds)  # noqa: TID251  (the patched one)

    return convert


def _of_struct(real: Callable[[Any], str]) -> Callable[..., str]:
    def convert(moment: Any = None, /) -> str:
        return real(time.localtime() if moment is None else moment)

    return convert


def _formatted(real: Callable[[str, Any], str]) -> Callable[..., str]:
    def convert(form: str, moment: Any = None, /) -> str:
        return real(form, time.localtime() if moment is None else moment)

    return convert


def _sleep(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float, /) -> None:
        loop = running_virtual_loop()
        # subprocess polls a process between naps: that waits for the world, not for the clock.
        if loop is None or sys._getframe(1).f_globals.get("__name__") == "subprocess":  # noqa: SLF001
            real(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        worker = counted()
        if worker is None:
            loop.advance(round(seconds * _NS))
        else:
            _sleep_in_thread(loop, worker, seconds)

    return sleep


def _sleep_in_thread(loop: VirtualLoop, worker: Worker, seconds: float) -> None:
    """Sleep on the loop's clock: it may move while this thread waits."""
    over = threading.Lock()
    over.acquire()
    token = worker.token

    def wake() -> None:
        token.busy()
        over.release()

    def wait() -> None:
        loop.call_later(seconds, wake)
        token.idle()

    loop.call_soon_threadsafe(wait)
    over.acquire()


class _Kind(type):
    """Lets the real class's instances pass for instances of the class that reads the loop.

    Classes that others derive from it are asked as any class is.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        if cls in {_Datetime, _Date}:
            return isinstance(instance, cls.__mro__[1])
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, other: type) -> bool:
        if cls in {_Datetime, _Date}:
            return issubclass(other, cls.__mro__[1])
        return super().__subclasscheck__(other)


_real_datetime = dt.datetime
_real_date = dt.date


class _Datetime(_real_datetime, metaclass=_Kind):
    """``datetime.datetime`` with ``now`` and ``utcnow`` of the loop."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        if running_virtual_loop() is None:
            return _real_datetime.now(tz)
        return _real_datetime.fromtimestamp(time.time(), tz)  # noqa: TID251

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(dt.UTC).replace(tzinfo=None)


class _Date(_real_date, metaclass=_Kind):
    """``datetime.date`` with ``today`` of the loop."""

    @classmethod
    def today(cls) -> Any:
        return _real_date.fromtimestamp(time.time())  # noqa: TID251


_Datetime.__name__ = _Datetime.__qualname__ = "datetime"
_Date.__name__ = _Date.__qualname__ = "date"
# Where whoever pickles an instance looks for its class.
_Datetime.__module__ = _Date.__module__ = "datetime"
