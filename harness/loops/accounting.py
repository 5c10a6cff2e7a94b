"""An event loop that knows whose processor time it spends.

Each callback runs in a context, and a context has an owner: the agent under test, the gateway that
stands in for its providers, or the harness. The loop adds the thread's processor time of every
callback to its owner's account. Contexts are inherited, so whatever an agent starts is the agent's.
"""

import asyncio
import heapq
import threading
import time
from asyncio import events
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, ContextVar, copy_context
from enum import StrEnum
from typing import Any

__all__ = [
    "OWNER",
    "AccountedHandle",
    "AccountedLoop",
    "AccountedTimer",
    "Accounts",
    "Owner",
    "accounts",
    "context_of",
    "harness_work",
    "owned_by",
]

_cpu_ns = time.thread_time_ns


class Owner(StrEnum):
    """Whose code runs."""

    HARNESS = "harness"
    AGENT = "agent"
    GATEWAY = "gateway"


OWNER: ContextVar[Owner] = ContextVar("turnbench_owner", default=Owner.HARNESS)


def context_of(owner: Owner) -> Context:
    """Return a copy of the present context in which all that is started belongs to an owner."""
    context = copy_context()
    context.run(OWNER.set, owner)
    return context


@contextmanager
def owned_by(owner: Owner) -> Iterator[None]:
    """Let what is started meanwhile belong to an owner."""
    token = OWNER.set(owner)
    try:
        yield
    finally:
        OWNER.reset(token)


class Accounts:
    """Processor time in nanoseconds by owner, added to by the loop's thread and by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._elsewhere: dict[Owner, int] = dict.fromkeys(Owner, 0)
        self._here: dict[Owner, int] = dict.fromkeys(Owner, 0)
        self._running: Owner | None = None
        self._since_ns = 0

    def run(self, owner: Owner, work: Callable[[], None]) -> None:
        """Do a callback's work in the loop's thread, at an owner's expense."""
        self._running, self._since_ns = owner, _cpu_ns()
        try:
            work()
        finally:
            self._turn_to(None)

    @contextmanager
    def at_expense_of(self, owner: Owner) -> Iterator[None]:
        """Charge an owner for a part of the running callback, which must not wait meanwhile."""
        outer = self._running
        self._turn_to(owner)
        try:
            yield
        finally:
            self._turn_to(outer)

    def _turn_to(self, owner: Owner | None) -> None:
        now = _cpu_ns()
        if self._running is not None:
            self._here[self._running] += now - self._since_ns
        self._running, self._since_ns = owner, now

    def add(self, owner: Owner, spent_ns: int) -> None:
        """Add what another thread has spent for an owner."""
        with self._lock:
            self._elsewhere[owner] += spent_ns

    def spent_ns(self, owner: Owner) -> int:
        """Return what an owner has spent up to now; asked by the loop's thread."""
        running = _cpu_ns() - self._since_ns if self._running is owner else 0
        return self._here[owner] + self._elsewhere[owner] + running


class AccountedHandle(events.Handle):
    """A callback whose processor time is put to its owner's account."""

    __slots__ = ()

    _context: Context
    _loop: "AccountedLoop"

    def _run(self) -> None:
        self._loop.accounts.run(self._context.get(OWNER, Owner.HARNESS), super()._run)


class AccountedTimer(events.TimerHandle):
    """The same for a callback that is due later; of one instant, the first made is the first run.

    Attributes:
        order: how many timers were made before.
    """

    __slots__ = ("order",)

    _context: Context
    _loop: "AccountedLoop"
    _when: float
    order: int

    def _run(self) -> None:
        self._loop.accounts.run(self._context.get(OWNER, Owner.HARNESS), super()._run)

    def __lt__(self, other: Any) -> bool:
        return (self._when, self.order) < (other._when, other.order)

    __hash__ = events.TimerHandle.__hash__


class AccountedLoop(asyncio.SelectorEventLoop):
    """A selector loop that keeps accounts.

    Attributes:
        accounts: who spent how much.
    """

    _ready: Any
    _scheduled: list[AccountedTimer]

    def __init__(self, selector: Any = None) -> None:
        self.accounts = Accounts()
        self._timers = 0
        super().__init__(selector)

    def _call_soon(
        self, callback: Callable[..., object], args: Any, context: Context | None
    ) -> AccountedHandle:
        handle = AccountedHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> AccountedTimer:
        """Arrange for a callback at an instant of the loop's clock."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = AccountedTimer(when, callback, args, self, context)
        timer.order = self._timers
        self._timers += 1
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001
        return timer

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a function in a thread, at the expense of whoever asks."""
        if isinstance(executor, ProcessPoolExecutor):
            return super().run_in_executor(executor, func, *args)
        charged = _Charged(self.accounts, OWNER.get(), func)
        return super().run_in_executor(executor, charged, *args)


class _Charged:
    """A function for another thread whose processor time an owner bears."""

    def __init__(self, accounts: Accounts, owner: Owner, function: Callable[..., Any]) -> None:
        self._accounts = accounts
        self._owner = owner
        self._function = function
        self.__qualname__ = getattr(function, "__qualname__", None) or repr(function)

    def __call__(self, *args: Any) -> Any:
        before = _cpu_ns()
        try:
            return self._function(*args)
        finally:
            self._accounts.add(self._owner, _cpu_ns() - before)


def accounts() -> Accounts | None:
    """Return the accounts of the running loop; None where it keeps none."""
    loop = asyncio.get_running_loop()
    return loop.accounts if isinstance(loop, AccountedLoop) else None


def harness_work() -> AbstractContextManager[None]:
    """Charge the harness for what it does within somebody else's callback, without waiting."""
    books = accounts()
    return nullcontext() if books is None else books.at_expense_of(Owner.HARNESS)
