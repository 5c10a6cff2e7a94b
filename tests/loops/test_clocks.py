"""Time on a virtual loop: every clock agrees with it, and whoever waits is waited for."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MS = 1_000_000


def patched(name: str, *, patience_s: float = 20, blocked: str | None = None) -> Any:
    """Return what a coroutine of ``tests.loops.patched`` finds, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.loops.patched", name, str(patience_s)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=30,
    )
    told = json.loads(done.stdout)
    assert told["uncounted"] is None
    if blocked is None:
        assert told["blocked"] is None
    else:
        assert blocked in told["blocked"]
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


def test_moments_stay_moments() -> None:
    """Formatting, pickling, deriving and asking for classes work as with the real datetime."""
    assert patched("datetimes_are_themselves") == [True] * 5 + [False, True, True, False]


def test_no_notice_goes_to_who_has_given_up() -> None:
    """Threads that give up all the time take every item between them, each when it comes."""
    assert patched("many_waiters") == [True, True, True]


def test_whatever_threads_wait_with_waits_on_the_loops_clock() -> None:
    """Joins, pools, semaphores, barriers, results and timers take their virtual time exactly."""
    assert patched("synchronised") == [
        *(True, 200 * MS),
        *([30, 10, 20], 230 * MS),
        *(False, 330 * MS),
        *(0, 430 * MS),
        *(True, 630 * MS),
        *(True, 730 * MS),
    ]


def test_processes_take_no_time() -> None:
    """The clock stands while programs and shells work."""
    assert patched("processes") == ["done\n", 0, 0, 0]


def test_a_thread_left_behind_holds_nothing_up() -> None:
    """A thread that waits for ever keeps neither the clock nor the end."""
    assert patched("leftovers") is True


@pytest.mark.parametrize(("name", "line"), [("hooked", "in hooked"), ("spinning", "in spinning")])
def test_what_blocks_the_loop_for_good_is_named(name: str, line: str) -> None:
    """Code that waits in the loop's own thread for what only the loop can do is interrupted."""
    kind, message = patched(name, patience_s=0.4, blocked=line)
    assert kind == "EndlessError"
    assert "tests/loops/patched.py" in message
