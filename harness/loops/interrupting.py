"""Code that blocks a virtual loop for good, interrupted: it waits for what only the loop can do.

A loop that stands in ``lock.acquire()`` or in ``while True: pass`` looks at no clock. A
signal does: it comes to the main thread, in which a lane's loops run.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.loops.errors import EndlessError
from harness.loops.virtual import NANOSECONDS, VirtualLoop, real_ns

__all__ = ["interrupting"]

_LOOKS = 8
"""How often it is looked within the loop's patience."""


@contextmanager
def interrupting(loop: VirtualLoop) -> Iterator[None]:
    """Raise :class:`EndlessError` in what blocks a loop longer than its patience, in real time.

    The loop remembers where that was (``loop.blocked``): who was interrupted may go on regardless.
    Does nothing where the caller is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, since_ns = loop.turns, real_ns()

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal seen, since_ns
        now = real_ns()
        if loop.turns != seen:
            seen, since_ns = loop.turns, now
        elif now - since_ns > loop.patience_ns and loop.is_running():
            since_ns = now
            loop.blocked = (
                f"the loop was blocked for {loop.patience_ns / NANOSECONDS:g} s of real time by "
                f"what cannot end without it{_place(frame)}"
            )
            raise EndlessError(loop.blocked)

    before = signal.signal(signal.SIGALRM, look)
    pause_s = loop.patience_ns / NANOSECONDS / _LOOKS
    signal.setitimer(signal.ITIMER_REAL, pause_s, pause_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _place(frame: FrameType | None) -> str:
    """Return where somebody else's code stands: not the standard library's, and not the loop's."""
    library, here = (each.rpartition("/")[0] for each in (threading.__file__, __file__))
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name or not name.startswith((library, here)):
            return f", at {name}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""
