"""An event loop whose clock stands still while anything works, and jumps when everything idles.

Rules:

* The clock is integer nanoseconds. It moves to the next timer when no callback is ready and nobody
  is busy outside the loop (:mod:`harness.loops.outside`), and when code blocks it (``time.sleep``).
* Timers of one instant run in the order of their making.
* Connections are made in memory (:mod:`harness.loops.memory`): no kernel holds bytes in flight.
* What the loop cannot wait for ends it with an error that names it: a deadlock, work that does not
  come to an end, an uncounted thread's callback, an instant without an end. A clock that jumped too
  early would be a wrong number.
"""

import asyncio
import selectors
import socket
import sys
import threading
import time
from asyncio import _get_running_loop, transports
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from ipaddress import ip_address
from typing import Any
from weakref import WeakKeyDictionary

from harness.loops.accounting import AccountedHandle, AccountedLoop, AccountedTimer
from harness.loops.errors import DeadlockError, EndlessError, out_of_reach
from harness.loops.memory import Switchboard
from harness.loops.outside import Outside, Token, count_submitted, counted

__all__ = ["NANOSECONDS", "VirtualLoop", "real_ns", "running_virtual_loop"]

NANOSECONDS = 1_000_000_000
real_ns = time.perf_counter_ns
"""The machine's own clock, kept before anything stands in for it."""
_LOOKS = 4096
"""Iterations of the loop between two looks at the real clock."""


class _Selector(selectors.BaseSelector):
    """Asks the kernel only where there may be something, and moves the clock instead of waiting."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.loop: VirtualLoop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        loop.looked()
        # Besides the pipe by which other threads wake the loop, descriptors are a guest's.
        guests = len(self._real.get_map()) > 1
        if timeout is not None and timeout <= 0:
            return self._real.select(0) if guests or loop.outside else []
        begun = real_ns()
        while loop.outside:
            loop.turns += 1
            ready = self._real.select(0.25)
            if ready or loop.has_ready:
                return ready
            if real_ns() - begun > loop.patience_ns:
                raise EndlessError(
                    f"the virtual clock stood for {loop.patience_ns / NANOSECONDS:.0f} s to wait "
                    f"for {', '.join(loop.outside.names()[:3])}"
                )
        ready = self._real.select(0) if guests else []
        if ready or loop.has_ready:
            return ready
        if timeout is None:
            raise DeadlockError(
                "nothing is due and nothing works, and yet something is waited for: "
                + "; ".join(_waiting(loop)[:3])
            )
        loop.jump()
        return []


def _waiting(loop: "VirtualLoop") -> list[str]:
    """Return where the loop's tasks wait, in words."""
    found = []
    for task in asyncio.all_tasks(loop):
        frames = task.get_stack(limit=1)
        place = ""
        if frames:
            code = frames[-1].f_code
            place = f" at {code.co_filename}:{frames[-1].f_lineno}"
        found.append(f"{getattr(task.get_coro(), '__qualname__', task.get_name())}{place}")
    return sorted(found)


class VirtualLoop(AccountedLoop):
    """The loop.

    Args:
        start_ns: what the clock shows first.
        patience_s: how long, in real time, work outside and a single instant may take.

    Attributes:
        turns: how often it has looked round: it stands still while code blocks it.
        uncounted: a thread that nobody counted and that has called; None while there was none.
        blocked: where code had to be interrupted that blocked it; None where none did.
    """

    def __init__(self, *, start_ns: int = 0, patience_s: float = 60.0) -> None:
        self._now_ns = start_ns
        self.patience_ns = round(patience_s * NANOSECONDS)
        self.outside = Outside(self._wake)
        self.switchboard = Switchboard(self)
        self._dialled: WeakKeyDictionary[Any, tuple[str, int]] = WeakKeyDictionary()
        self.uncounted: str | None = None
        self.idle: list[tuple[int, int]] = []
        self._default_executor: Any = None
        self.turns = 0
        self.blocked: str | None = None
        self._instant_ns = start_ns
        self._instant_since_ns = real_ns()
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        # Half a nanosecond: timers are due at their own nanosecond and at no other.
        self._clock_resolution = 0.5e-9

    # The clock

    def now_ns(self) -> int:
        """Return the clock's instant in nanoseconds."""
        return self._now_ns

    def time(self) -> float:
        """Return the clock's instant in seconds."""
        return self._now_ns / NANOSECONDS

    def jump(self) -> None:
        """Move to the next timer, as idle time."""
        before = self._now_ns
        self._now_ns = max(before, round(self._scheduled[0]._when * NANOSECONDS))  # noqa: SLF001
        if self._now_ns > before:
            self.idle.append((before, self._now_ns))

    def advance(self, nanoseconds: int) -> None:
        """Let time pass that the loop's own thread spends blocked."""
        self._now_ns += max(0, nanoseconds)

    def looked(self) -> None:
        """Notice an instant that does not end, once in a while."""
        self.turns += 1
        if self.turns % _LOOKS:
            return
        now = real_ns()
        if self._now_ns != self._instant_ns:
            self._instant_ns, self._instant_since_ns = self._now_ns, now
        elif now - self._instant_since_ns > self.patience_ns:
            last = self._ready[-1] if self._ready else None
            raise EndlessError(
                f"callbacks have called each other for {self.patience_ns / NANOSECONDS:.0f} s "
                f"within one instant of the virtual clock, lately {last!r}"
            )

    @property
    def has_ready(self) -> bool:
        """Whether a callback is ready, perhaps since a moment ago by another thread."""
        return bool(self._ready)

    def _wake(self) -> None:
        if not self.is_closed():
            self._write_to_self()  # type: ignore[attr-defined]

    # Timers

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> AccountedTimer:
        """Arrange for a callback after a delay, counted in whole nanoseconds from now.

        A delay that is none of a nanosecond takes one: who waits again for what is left of a
        deadline comes to an end.
        """
        wait_ns = round(delay * NANOSECONDS)
        due_ns = self._now_ns + (max(1, wait_ns) if delay > 0 else wait_ns)
        return self.call_at(due_ns / NANOSECONDS, callback, *args, context=context)

    # What comes from outside

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> AccountedHandle:
        """Take a callback from another thread; one that nobody counts is remembered by name."""
        elsewhere = threading.get_ident() != self._thread_id  # type: ignore[attr-defined]
        if elsewhere and counted() is None and not self.outside:
            name = getattr(callback, "__qualname__", repr(callback))
            self.uncounted = f"{threading.current_thread().name} ({name})"
        return super().call_soon_threadsafe(callback, *args, context=context)  # type: ignore[return-value]

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a function in a pool; the clock stands until its result has arrived here."""
        pool: Any = _Submitting(self, executor)
        if isinstance(executor, ProcessPoolExecutor):
            # What goes to another process goes as it is.
            return asyncio.wrap_future(pool.submit(func, *args), loop=self)
        return super().run_in_executor(pool, func, *args)

    def submit(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Give a function to a pool of threads and count it until it has told its result."""
        if executor is None:
            executor = self._default_executor
        if executor is None:
            executor = self._default_executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        return count_submitted(self, executor.submit, func, *args)

    async def create_connection(self, protocol_factory: Any, *args: Any, **named: Any) -> Any:
        """Connect in memory to what listens there; the world outside is out of reach."""
        sock = named.get("sock")
        host = named.get("host", args[0] if args else None)
        port = named.get("port", args[1] if len(args) > 1 else None)
        if sock is not None:
            host, port = self._dialled.pop(sock, None) or sock.getpeername()[:2]
            sock.close()
        # Whoever watches where this process connects to hears of it as of any other connection.
        sys.audit("socket.connect", None, (str(host), int(port or 0)))
        ends = self.switchboard.connect(protocol_factory, str(host), int(port or 0))
        made = self.create_future()
        # After both protocols have heard of the connection.
        self.call_soon(made.set_result, None)
        await made
        return ends

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Note where a client's own socket is to lead; it is connected when it is handed over."""
        host, port = str(address[0]), int(address[1])
        if not self.switchboard.has(host, port):
            raise out_of_reach(host, port)
        self._dialled[sock] = (host, port)

    async def getaddrinfo(self, host: Any, port: Any, **named: Any) -> Any:
        """Look up an address that says itself where it is; names are the world's."""
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name != "localhost":
            try:
                ip_address(name)
            except ValueError:
                raise out_of_reach(str(name), int(port or 0)) from None
        return socket.getaddrinfo(host, port, **named)

    async def create_datagram_endpoint(self, *_: Any, **named: Any) -> Any:
        """Refuse: datagrams go to the world outside."""
        host, port = (named.get("remote_addr") or named.get("local_addr") or ("datagrams", 0))[:2]
        raise out_of_reach(host, port)

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **named: Any) -> Any:
        """Start a process; the clock stands until it has ended."""
        start = partial(super().subprocess_exec, protocol_factory, *args, **named)
        return await self._counted_process(repr(args[0] if args else ""), start)

    async def subprocess_shell(self, protocol_factory: Any, cmd: Any, **named: Any) -> Any:
        """Start a shell; the clock stands until it has ended."""
        start = partial(super().subprocess_shell, protocol_factory, cmd, **named)
        return await self._counted_process(repr(cmd), start)

    async def _counted_process(self, name: str, start: Callable[[], Any]) -> Any:
        token = Token(self.outside, f"the process {name}")
        try:
            transport, protocol = await start()
        except BaseException:
            token.end()
            raise
        ending = self.create_task(_ended(transport))
        ending.add_done_callback(lambda _: token.end())
        return transport, protocol


async def _ended(transport: transports.SubprocessTransport) -> None:
    await transport._wait()  # type: ignore[attr-defined]  # noqa: SLF001


class _Submitting:
    """A pool of threads whose functions a loop counts.

    Args:
        loop: the loop.
        executor: the pool; None for the loop's own.
    """

    def __init__(self, loop: VirtualLoop, executor: Any) -> None:
        self._loop = loop
        self._executor = executor

    def submit(self, func: Callable[..., Any], *args: Any) -> Any:
        return self._loop.submit(self._executor, func, *args)


def running_virtual_loop() -> VirtualLoop | None:
    """Return the virtual loop that the caller runs on, or that counts its thread; None for none."""
    loop = _get_running_loop()
    if loop is None:
        worker = counted()
        loop = None if worker is None else worker.loop
    return loop if isinstance(loop, VirtualLoop) else None
