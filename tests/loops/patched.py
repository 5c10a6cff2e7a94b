"""What a process on the virtual clock sees; run as ``python -m tests.loops.patched NAME``.

A process of its own, since the clocks are patched for good. Each coroutine returns what the test of
that name compares.
"""

from harness.loops import clocks, threads

clocks.install()
threads.install()

import asyncio  # noqa: E402
import copy  # noqa: E402
import datetime as dt  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pickle  # noqa: E402
import queue  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

from harness.loops.errors import VirtualClockError  # noqa: E402
from harness.loops.interrupting import interrupting  # noqa: E402
from harness.loops.virtual import VirtualLoop  # noqa: E402
from harness.pacing import Pacer  # noqa: E402

_NS = 1_000_000_000


class _Watch:
    """How many nanoseconds of virtual time have passed."""

    def __init__(self) -> None:
        self._begun = time.perf_counter_ns()

    @property
    def ns(self) -> int:
        return time.perf_counter_ns() - self._begun


async def clocks_agree() -> Any:
    """Compare all clocks after pauses."""
    loop = asyncio.get_running_loop()
    found = []
    for pause in (0, 0.25, 1.75):
        await asyncio.sleep(pause)
        now = loop.time()
        found.append(
            [
                time.perf_counter() - now,
                time.monotonic() - now,
                time.perf_counter_ns() - round(now * _NS),
                time.time_ns() - time.monotonic_ns() - clocks.EPOCH_NS,
                abs(dt.datetime.now(dt.UTC).timestamp() - time.time()) < 1e-5,  # noqa: TID251
                dt.date.today().isoformat()  # noqa: DTZ011
                == dt.datetime.now().date().isoformat(),  # noqa: DTZ005, TID251
                isinstance(dt.datetime.now(), dt.datetime),  # noqa: DTZ005, TID251
                isinstance(dt.datetime.now(), dt.date),  # noqa: DTZ005, TID251
            ]
        )
    return found


async def sleeps() -> Any:
    """Sleep in every way, and look at the clock after each."""
    watch = _Watch()
    await asyncio.sleep(0.020)
    found = [watch.ns]
    time.sleep(0.150)  # noqa: ASYNC251  (what a blocking agent does)
    found.append(watch.ns)
    await asyncio.to_thread(time.sleep, 0.3)
    found.append(watch.ns)
    await asyncio.gather(asyncio.to_thread(time.sleep, 0.3), asyncio.sleep(0.5))
    found.append(watch.ns)
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1 * n) for n in range(1, 5)))
    found.append(watch.ns)
    return found


async def paced() -> Any:
    """Wait for deadlines, and see how late each was met."""
    pacer = Pacer()
    begun = time.perf_counter_ns()
    late = []
    for number in range(1, 51):
        due = begun + number * 20_000_001
        await pacer.until(due)
        late.append(time.perf_counter_ns() - due)
    pacer.close()
    return late


async def waits() -> Any:
    """Let threads wait for the loop, with and without time-outs."""
    loop = asyncio.get_running_loop()
    items: queue.Queue[int | None] = queue.Queue()

    def total() -> int:
        found = 0
        while (item := items.get()) is not None:
            found += item
        return found

    def nothing_comes() -> bool:
        try:
            queue.Queue[int]().get(timeout=0.25)
        except queue.Empty:
            return True
        return False

    watch = _Watch()
    summing = loop.run_in_executor(None, total)
    for number in range(20):
        items.put(number)
        await asyncio.sleep(0.01)
    items.put(None)
    found: list[Any] = [await summing, watch.ns]
    found += [await asyncio.to_thread(nothing_comes), watch.ns]
    event = threading.Event()
    waiting = asyncio.create_task(asyncio.to_thread(event.wait, 1.0))
    await asyncio.sleep(0.1)
    event.set()
    found += [await waiting, watch.ns]
    late = threading.Event()
    found += [await asyncio.to_thread(late.wait, 0.5), watch.ns]

    async def answer() -> int:
        await asyncio.sleep(0.05)
        return 7

    def ask() -> int:
        return asyncio.run_coroutine_threadsafe(answer(), loop).result()

    found += [await asyncio.to_thread(ask), watch.ns]
    return found


async def threads_of_all_kinds() -> Any:
    """Let threads and processes of every kind come to an end."""
    loop = asyncio.get_running_loop()
    watch = _Watch()
    come: asyncio.Future[int] = loop.create_future()

    def later() -> None:
        time.sleep(0.4)
        loop.call_soon_threadsafe(come.set_result, 1)

    threading.Thread(target=later).start()
    await come
    found = [watch.ns]
    with ThreadPoolExecutor(2) as pool:
        both = [asyncio.wrap_future(pool.submit(time.sleep, pause)) for pause in (0.2, 0.3)]
        await asyncio.gather(*both)
        found.append(watch.ns)
        cancelled = loop.run_in_executor(pool, time.sleep, 0.1)
        cancelled.cancel()
        await asyncio.sleep(0.5)
    found.append(watch.ns)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    found += [await process.wait(), watch.ns]
    return found


async def hand_to_hand() -> Any:
    """Two threads and the loop pass a token round, a thousand times."""
    there: queue.Queue[int] = queue.Queue()
    back: queue.Queue[int] = queue.Queue()
    loop = asyncio.get_running_loop()

    def forward() -> None:
        for _ in range(500):
            back.put(there.get() + 1)

    def both() -> list[int]:
        found = []
        for number in range(500):
            there.put(number)
            found.append(back.get())
            time.sleep(0.001)
        return found

    watch = _Watch()
    first = loop.run_in_executor(None, forward)
    passed = await loop.run_in_executor(None, both)
    await first
    return [passed == list(range(1, 501)), watch.ns]


class _Moment(dt.datetime):
    """A class that somebody derived."""


async def datetimes_are_themselves() -> Any:
    """Format, pickle, copy and compare moments as code with any clock may."""
    await asyncio.sleep(1.5)
    now, moment = dt.datetime.now(dt.UTC), dt.datetime(2027, 1, 15, tzinfo=dt.UTC)  # noqa: TID251
    return [
        time.strftime("%s") == str(int(time.time())),  # noqa: TID251
        time.asctime() == time.ctime(),
        dt.datetime.today().date() == dt.date.today(),  # noqa: DTZ002, DTZ011
        pickle.loads(pickle.dumps(moment)) == moment,
        copy.deepcopy(moment) == moment < now,
        isinstance(moment, _Moment),
        isinstance(_Moment(2027, 1, 15), dt.datetime),
        issubclass(_Moment, dt.date),
        issubclass(dt.datetime, _Moment),
    ]


async def many_waiters() -> Any:
    """Let threads take from one queue, many of them giving up now and again."""
    loop = asyncio.get_running_loop()
    items: queue.Queue[int] = queue.Queue()
    taken: list[int] = []
    late = 0
    over = threading.Event()

    def take() -> None:
        nonlocal late
        while not over.is_set():
            try:
                taken.append(items.get(timeout=0.003))
            except queue.Empty:
                late += 1

    watch = _Watch()
    taking = [loop.run_in_executor(None, take) for _ in range(4)]
    for number in range(400):
        items.put(number)
        await asyncio.sleep(0.001 * (number % 7))
    over.set()
    await asyncio.gather(*taking)
    pauses = sum(1_000_000 * (number % 7) for number in range(400))
    return [sorted(taken) == list(range(400)), late > 100, pauses <= watch.ns <= pauses + 3_000_000]


async def synchronised() -> Any:
    """Use each thing that threads wait with, and look at the clock after each."""
    watch = _Watch()
    found: list[Any] = []

    async def within(work: Any) -> None:
        found.extend([await asyncio.to_thread(work), watch.ns])

    def join() -> bool:
        sleeper = threading.Thread(target=time.sleep, args=(0.2,))
        sleeper.start()
        sleeper.join(0.05)
        alive = sleeper.is_alive()
        sleeper.join()
        return alive and not sleeper.is_alive()

    def gather() -> list[int]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(_slept, (30, 10, 20)))

    def refuse() -> bool:
        return threading.Semaphore(0).acquire(timeout=0.1)

    def meet() -> int:
        barrier = threading.Barrier(2)

        def come_late() -> None:
            time.sleep(0.1)
            barrier.wait()

        other = threading.Thread(target=come_late)
        other.start()
        barrier.wait()
        other.join()
        return barrier.n_waiting

    def expect() -> bool:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(time.sleep, 0.2)
            try:
                future.result(timeout=0.1)
            except TimeoutError:
                return True
            return False

    def timer() -> bool:
        rung = threading.Event()
        threading.Timer(0.1, rung.set).start()
        return rung.wait(5)

    for work in (join, gather, refuse, meet, expect, timer):
        await within(work)
    return found


def _slept(ms: int) -> int:
    time.sleep(ms / 1e3)
    return ms


async def processes() -> Any:
    """Run a shell and a program."""
    watch = _Watch()
    shell = await asyncio.create_subprocess_shell(
        "sleep 0.02; echo done", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await shell.communicate()
    run = subprocess.run(["true"], check=False)  # noqa: ASYNC221  (what an agent may do)
    return [told.decode(), shell.returncode, run.returncode, watch.ns]


async def leftovers() -> Any:
    """End while a thread still waits for what does not come."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    await asyncio.sleep(0.1)
    return True


async def hooked() -> Any:
    """Block the loop for a thread that could only wake with the loop's help."""
    watch = _Watch()
    sleeper = threading.Thread(target=time.sleep, args=(0.5,))
    sleeper.start()
    sleeper.join()
    return watch.ns


async def spinning() -> Any:
    """Never come back to the loop."""
    while True:
        pass


def main() -> None:
    """Run a coroutine of this module on a virtual loop and print what it returns."""
    patience_s = float(sys.argv[2]) if len(sys.argv) > 2 else 20
    loop = VirtualLoop(start_ns=2**20 * _NS, patience_s=patience_s)
    asyncio.set_event_loop(loop)
    try:
        with interrupting(loop):
            found = loop.run_until_complete(globals()[sys.argv[1]]())
    except VirtualClockError as error:
        found = [type(error).__name__, str(error)]
    told = {"found": found, "uncounted": loop.uncounted, "blocked": loop.blocked}
    print(json.dumps(told), flush=True)  # noqa: T201
    # As a lane ends: threads that are left behind keep nobody waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
