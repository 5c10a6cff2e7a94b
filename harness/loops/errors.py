"""What a virtual clock cannot account for, by name."""

import errno

from harness.errors import HarnessError

__all__ = [
    "DeadlockError",
    "EndlessError",
    "OutOfReachError",
    "VirtualClockError",
]


class VirtualClockError(HarnessError):
    """Something that only a real clock can measure; the message names it."""


class DeadlockError(VirtualClockError):
    """Nothing is ready, nothing is due and nobody works: what is waited for never comes."""


class EndlessError(VirtualClockError):
    """An instant that does not end: work outside goes on, or callbacks call each other for ever."""


class OutOfReachError(VirtualClockError, ConnectionRefusedError):
    """A connection to the world outside, where time passes."""


def out_of_reach(host: str, port: int) -> OutOfReachError:
    """Return the error of a connection to an address where nobody listens on the loop."""
    return OutOfReachError(
        errno.ECONNREFUSED, f"{host}:{port} is out of reach of the virtual clock"
    )
