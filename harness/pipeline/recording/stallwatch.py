"""A process that does nothing but notice when it is not run.

It sleeps for 2 ms at a time and prints each gap of more than the threshold as two monotonic
instants in nanoseconds. Being a process of its own it sees the machine stall, not this program's
garbage collection or interpreter lock. Standard library only, started with ``-I -S``, so that it
is up in milliseconds; it ends when its standard input does.
"""

import os
import select
import sys
import time

__all__ = ["watch"]

_NAP_S = 0.002


def watch(threshold_ns: int) -> None:
    """Print gaps longer than ``threshold_ns`` until standard input ends."""
    out = sys.stdout
    source = sys.stdin.fileno()
    before = time.perf_counter_ns()
    out.write("ready\n")
    out.flush()
    while True:
        ready, _, _ = select.select([source], [], [], _NAP_S)
        now = time.perf_counter_ns()
        if now - before > threshold_ns:
            out.write(f"{before} {now}\n")
            out.flush()
        if ready and not os.read(source, 1):
            return
        before = time.perf_counter_ns()


if __name__ == "__main__":
    try:
        watch(int(sys.argv[1]))
    except BrokenPipeError:
        # Who asked has gone. Nothing may be flushed again when the interpreter ends.
        os._exit(0)
