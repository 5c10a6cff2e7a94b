"""The virtual loop: timers at their own nanosecond, and a named end to what it cannot count."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.loops.accounting import OWNER, Owner, context_of, owned_by
from harness.loops.errors import DeadlockError, EndlessError, OutOfReachError
from harness.loops.virtual import VirtualLoop

NS = 1_000_000_000
START = 2**20 * NS


@contextmanager
def virtual(**options: Any) -> Iterator[VirtualLoop]:
    """Return a loop that is closed at the end."""
    loop = VirtualLoop(start_ns=START, **options)
    try:
        yield loop
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()


def run(work: Callable[[VirtualLoop], Awaitable[Any]], **options: Any) -> Any:
    """Run a coroutine on a virtual loop."""
    with virtual(**options) as loop:
        return loop.run_until_complete(work(loop))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5 * NS), min_size=1, max_size=20))
def test_timers_are_due_at_their_own_nanosecond(delays: list[int]) -> None:
    """Each timer runs at its nanosecond; timers of one instant run in the order of their making."""
    seen: list[tuple[int, int]] = []

    async def work(loop: VirtualLoop) -> None:
        for number, delay in enumerate(delays):
            loop.call_later(
                delay / NS, lambda number=number: seen.append((loop.now_ns() - START, number))
            )
        await asyncio.sleep(6)

    run(work)
    assert seen == sorted((delay, number) for number, delay in enumerate(delays))


def test_a_trial_is_the_same_wherever_it_begins() -> None:
    """The same waits give the same instants from every start that a plan gives."""

    def marks(start_ns: int) -> list[int]:
        loop = VirtualLoop(start_ns=start_ns)

        async def work() -> list[int]:
            found = []
            for number in range(200):
                await asyncio.sleep(1 / 3 + number / 7e3)
                deadline = loop.time() + 0.1 / 3
                await asyncio.sleep(deadline - loop.time())
                found.append(loop.now_ns() - start_ns)
            return found

        try:
            return loop.run_until_complete(work())
        finally:
            loop.close()

    starts = [(2**20 + 128 * place) * NS for place in (0, 1, 777, 8191)]
    assert len({tuple(marks(start)) for start in starts}) == 1


def test_a_deadlock_is_named() -> None:
    """Waiting for what never comes ends with where that is."""

    async def forgotten(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(DeadlockError, match=r"forgotten at .*test_virtual\.py"):
        run(forgotten)


def test_an_instant_without_an_end_is_named() -> None:
    """Callbacks that call each other for ever end with one of them."""

    async def spinning(_: VirtualLoop) -> None:
        while True:  # noqa: ASYNC110  (an agent's mistake)
            await asyncio.sleep(0)

    with pytest.raises(EndlessError, match="within one instant"):
        run(spinning, patience_s=0.2)


def test_a_thread_without_an_end_is_named() -> None:
    """The clock stands while a thread works, and says whose it is when it does not come back."""
    over = threading.Event()

    def stubborn() -> None:
        while not over.wait(0.01):
            pass

    async def work(loop: VirtualLoop) -> None:
        await loop.run_in_executor(None, stubborn)

    try:
        with pytest.raises(EndlessError, match="stubborn"):
            run(lambda loop: _outlived(work(loop), over), patience_s=0.3)
    finally:
        over.set()


async def _outlived(work: Awaitable[None], over: threading.Event) -> None:
    try:
        await work
    finally:
        over.set()


def test_an_uncounted_thread_is_remembered() -> None:
    """A callback from a thread that nobody counted is told by name."""

    async def work(loop: VirtualLoop) -> str | None:
        come: asyncio.Future[None] = loop.create_future()
        ready = threading.Event()

        def call() -> None:
            ready.wait()
            loop.call_soon_threadsafe(come.set_result, None)

        thread = threading.Thread(target=call, name="stranger")
        thread.start()
        ready.set()
        thread.join()
        await come
        return loop.uncounted

    assert "stranger" in str(run(work))


def test_the_world_outside_is_out_of_reach() -> None:
    """A connection to where nobody on the loop listens is refused, with its address."""

    async def work(_: VirtualLoop) -> None:
        await asyncio.open_connection("127.0.0.1", 4711)

    with pytest.raises(OutOfReachError, match=r"127\.0\.0\.1:4711"):
        run(work)


def test_processor_time_is_its_owners() -> None:
    """What an owner starts is on its account, in tasks and in threads; what others do is not."""

    def burn() -> int:
        return sum(number * number for number in range(400_000))

    async def agent(loop: VirtualLoop) -> None:
        burn()
        await asyncio.sleep(0.1)
        burn()
        await loop.run_in_executor(None, burn)

    async def work(loop: VirtualLoop) -> tuple[int, int, int]:
        assert OWNER.get() is Owner.HARNESS
        with owned_by(Owner.AGENT):
            task = loop.create_task(agent(loop))
        gateway = loop.create_task(_burning(burn), context=context_of(Owner.GATEWAY))
        await asyncio.gather(task, gateway)
        books = loop.accounts
        with books.at_expense_of(Owner.GATEWAY):
            burn()
        return tuple(books.spent_ns(each) for each in Owner)  # type: ignore[return-value]

    harness, agents, gateways = run(work)
    # Three burns, two, and none; a burn takes some 20 ms, and all else microseconds.
    assert agents / gateways == pytest.approx(1.5, rel=0.3)
    assert harness < gateways / 10


async def _burning(burn: Callable[[], object]) -> None:
    burn()
