"""A process in which tests play on virtual time.

Clocks can be led by a loop only before anything has kept one of them for itself. So this module
imports nothing else, and what is given to the process is found there by its name.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from harness.loops import clocks, threads

__all__ = ["virtual_process"]


def _lead_clocks() -> None:
    clocks.install()
    threads.install()


@contextmanager
def virtual_process() -> Iterator[ProcessPoolExecutor]:
    """Give a process whose functions may play on virtual loops."""
    with ProcessPoolExecutor(1, get_context("spawn"), _lead_clocks) as pool:
        yield pool
