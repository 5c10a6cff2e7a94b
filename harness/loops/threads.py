"""Threads that a virtual loop counts: who is at work, and who waits for the loop.

A thread that code of the loop starts, and every function given to a pool of threads, is counted
from that moment on: the clock stands. Where such a thread waits for a condition (a queue, an event,
a future, a decoder's buffer), it waits for somebody else; the clock may move again, until it is
notified. Time-outs of such waits pass on the loop's clock.
"""

import concurrent.futures
import concurrent.futures.thread as pools
import threading
from _thread import allocate_lock
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

from harness.loops.outside import Counted, Token, Worker, count_submitted, counted
from harness.loops.virtual import running_virtual_loop

__all__ = ["install"]

_waiting: dict[Any, Worker] = {}
"""Who waits, by the lock that its condition keeps for it."""
_late: set[Any] = set()
"""Locks of those whose time-out has passed, and who have not yet left their condition."""
_books = threading.Lock()
"""Held while a wait is noted as begun or over, so that no notice falls between the two."""


def install() -> None:
    """Let virtual loops count the threads that their code starts; once a process."""
    if getattr(threading, "_turnbench", False):
        return
    threading._turnbench = True  # type: ignore[attr-defined]  # noqa: SLF001
    condition: Any = threading.Condition
    condition.wait = _wait(condition.wait)
    condition.notify = _notify
    thread: Any = threading.Thread
    thread.start = _start(thread.start)
    thread.join = _join(thread.join)
    pool: Any = ThreadPoolExecutor
    pool.submit = _submit(pool.submit)
    pool.shutdown = _shutdown(pool.shutdown)


def _wait(real: Callable[..., bool]) -> Callable[..., bool]:
    def wait(self: Any, timeout: float | None = None) -> bool:
        worker = counted()
        if worker is None or (timeout is not None and timeout <= 0):
            return real(self, timeout)
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = allocate_lock()
        waiter.acquire()
        self._waiters.append(waiter)
        _waiting[waiter] = worker
        came = True

        def give_up() -> None:
            nonlocal came
            # On the loop: the thread is notified already, or it is woken without.
            with _books:
                if _waiting.pop(waiter, None) is None:
                    return
                came = False
                _late.add(waiter)
                worker.token.busy()
            waiter.release()

        if timeout is not None:
            # Idle only when the loop has the time-out in its books.
            worker.loop.call_soon_threadsafe(_arm, waiter, worker, timeout, give_up)
        saved = self._release_save()
        try:
            if timeout is None:
                _rest(waiter, worker)
            waiter.acquire()
        finally:
            self._acquire_restore(saved)
            with _books:
                _waiting.pop(waiter, None)
                _late.discard(waiter)
            if not came:
                self._waiters.remove(waiter)
        return came

    return wait


def _rest(waiter: Any, worker: Worker) -> None:
    """Let the clock move, unless the thread has been notified meanwhile."""
    with _books:
        if waiter in _waiting:
            worker.token.idle()


def _arm(waiter: Any, worker: Worker, timeout: float, give_up: Callable[[], None]) -> None:
    if waiter in _waiting:
        worker.loop.call_later(timeout, give_up)
    _rest(waiter, worker)


def _notify(self: Any, n: int = 1) -> None:
    """Wake as many as are to be woken, of those whose time-out has not passed."""
    if not self._is_owned():
        raise RuntimeError("cannot notify on un-acquired lock")
    for waiter in tuple(self._waiters):
        if n <= 0:
            return
        with _books:
            if waiter in _late:
                continue
            worker = _waiting.pop(waiter, None)
            if worker is not None:
                # Before it wakes: the clock stands from here on.
                worker.token.busy()
        with suppress(RuntimeError):
            waiter.release()
            n -= 1
        with suppress(ValueError):
            self._waiters.remove(waiter)


def _start(real: Callable[..., None]) -> Callable[..., None]:
    def start(self: Any) -> None:
        loop = running_virtual_loop()
        # A pool's own threads idle between functions; these are counted one by one.
        if loop is None or getattr(self, "_target", None) is pools._worker:  # noqa: SLF001
            real(self)
            return
        token = Token(loop.outside, f"the thread {self.name}")
        run = Counted(loop, token, self.run)
        over = self._turnbench_over = threading.Event()

        def counted_run() -> None:
            try:
                run()
            finally:
                # Whoever has joined it is busy before it no longer is.
                over.set()
                token.end()

        self.run = counted_run
        try:
            real(self)
        except BaseException:
            token.end()
            raise

    return start


def _join(real: Callable[..., None]) -> Callable[..., None]:
    def join(self: Any, timeout: float | None = None) -> None:
        over = getattr(self, "_turnbench_over", None)
        if over is None or counted() is None:
            real(self, timeout)
        elif over.wait(timeout):
            real(self)

    return join


def _submit(real: Callable[..., "Future[Any]"]) -> Callable[..., "Future[Any]"]:
    def submit(
        self: Any, function: Callable[..., Any], /, *args: Any, **named: Any
    ) -> "Future[Any]":
        loop = running_virtual_loop()
        if loop is None or isinstance(function, Counted):
            return real(self, function, *args, **named)
        counted_future: Future[Any] = count_submitted(
            loop, partial(real, self), function, *args, **named
        )
        given = self.__dict__.setdefault("_turnbench_given", WeakSet())
        given.add(counted_future)
        return counted_future

    return submit


def _shutdown(real: Callable[..., None]) -> Callable[..., None]:
    def shutdown(self: Any, wait: bool = True, *, cancel_futures: bool = False) -> None:  # as there
        if wait and counted() is not None:
            # What is still to be done may need the clock; the threads' own end does not.
            real(self, wait=False, cancel_futures=cancel_futures)
            concurrent.futures.wait(tuple(getattr(self, "_turnbench_given", ())))
        real(self, wait=wait, cancel_futures=cancel_futures)

    return shutdown
