"""What works outside a loop whose clock stands still: it is counted, and waited for.

A virtual clock may jump only when nothing is at work: no callback is ready, and no thread, process
or engine is busy with something that the loop gave it. Whoever works outside holds a
:class:`Token`. A token is *busy* until it says that it waits for the loop itself (a decoder that
waits for more data, a thread that sleeps on the virtual clock); then the clock may move.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

__all__ = ["Counted", "Outside", "Token", "Worker", "count_submitted", "counted"]


class Token:
    """Somebody at work outside the loop.

    Args:
        outside: where it is counted.
        name: what it is, in words that a person can act on.
    """

    __slots__ = ("_busy", "_outside", "name")

    def __init__(self, outside: "Outside", name: str) -> None:
        self._outside = outside
        self._busy = False
        self.name = name
        self.busy()

    def busy(self) -> None:
        """Say that work goes on: the clock stands."""
        self._outside.set_busy(self, busy=True)

    def idle(self) -> None:
        """Say that it waits for the loop: the clock may move."""
        self._outside.set_busy(self, busy=False)

    end = idle
    """Say that the work is done."""


class Outside:
    """All that is busy outside one loop; safe to be used by any thread.

    Args:
        wake: called when nothing is busy any more, by the thread that was the last.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._busy: dict[Token, None] = {}

    def set_busy(self, token: Token, *, busy: bool) -> None:
        """Count a token as busy, or no longer."""
        with self._lock:
            if busy:
                self._busy[token] = None
                return
            was = self._busy.pop(token, token) is None
            wake = was and not self._busy
        if wake:
            self._wake()

    def __bool__(self) -> bool:
        return bool(self._busy)

    def names(self) -> tuple[str, ...]:
        """Return who is busy, the longest first."""
        with self._lock:
            return tuple(each.name for each in self._busy)


class Worker:
    """A thread that a loop counts.

    Args:
        loop: the loop.
        token: by which it is counted.
    """

    __slots__ = ("loop", "token")

    def __init__(self, loop: Any, token: Token) -> None:
        self.loop = loop
        self.token = token


_THREAD = threading.local()


def counted() -> Worker | None:
    """Return how the calling thread is counted; None where it is not."""
    return getattr(_THREAD, "worker", None)


class Counted:
    """A function whose thread is counted while it runs."""

    def __init__(self, loop: Any, token: Token, function: Callable[..., Any]) -> None:
        self._worker = Worker(loop, token)
        self._function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run the function."""
        before = counted()
        _THREAD.worker = self._worker
        try:
            return self._function(*args, **named)
        finally:
            _THREAD.worker = before


def count_submitted(
    loop: Any, submit: Callable[..., Any], function: Callable[..., Any], *args: Any, **named: Any
) -> Any:
    """Give a function to a pool; it is busy until all who wait for its future have been told.

    Args:
        loop: who counts; has an ``outside``.
        submit: the pool's own method.
        function: what is to be done.
        args: its positional arguments.
        named: its named arguments.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    token = Token(loop.outside, f"the work of {name}")
    pool = getattr(submit, "__self__", None)
    # What goes to another process goes as it is.
    sent = function if isinstance(pool, ProcessPoolExecutor) else Counted(loop, token, function)
    try:
        future = submit(sent, *args, **named)
    except BaseException:
        token.end()
        raise
    tell = future._invoke_callbacks  # noqa: SLF001  (its callbacks come in the order of adding)

    def told() -> None:
        tell()
        token.end()

    future._invoke_callbacks = told  # noqa: SLF001
    if future.done():
        token.end()
    return future
