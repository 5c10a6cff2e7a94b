"""Time on a virtual loop: every clock agrees with it, and whoever waits is waited for."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MS = 1_000_000


def patched(name: str) -> Any:
    """Return what a coroutine of ``tests.loops.patched`` finds, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.loops.patched", name],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    told = json.loads(done.stdout)
    assert told["uncounted"] is None
    return told["found"]


def test_every_clock_agrees() -> None:
    """time.*, datetime and the loop show one time, however much of it has passed."""
    assert patched("clocks_agree") == [[0, 0, 0, 0, True, True, True, True]] * 3


def test_sleeping_takes_what_it_says() -> None:
    """Awaits, blocking sleeps and sleeps in threads take their time to the nanosecond."""
    steps = patched("sleeps")
    assert steps == [20 * MS, 170 * MS, 470 * MS, 970 * MS, 1370 * MS]


def test_a_pacer_meets_deadlines() -> None:
    """Frames are released, and messages sent, at the nanosecond that they are due."""
    assert patched("paced") == [0] * 50


def test_threads_wait_on_the_loops_clock() -> None:
    """Queues, events and futures let the clock go while a thread waits, and only then."""
    assert patched("waits") == [
        *(190, 200 * MS),
        *(True, 450 * MS),
        *(True, 550 * MS),
        *(False, 1050 * MS),
        *(7, 1100 * MS),
    ]


def test_every_kind_of_thread_is_counted() -> None:
    """Plain threads, pools, cancelled futures and processes are waited for; none is uncounted."""
    assert patched("threads_of_all_kinds") == [400 * MS, 700 * MS, 1200 * MS, 0, 1200 * MS]


def test_no_notice_is_lost_between_threads() -> None:
    """A token that goes round between threads a thousand times never lets the clock slip."""
    assert patched("hand_to_hand") == [True, 500 * MS]
