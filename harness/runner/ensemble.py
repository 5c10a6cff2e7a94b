"""The performers of a run: started, woken, waited for with patience, and closed."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.clock import Clock
from harness.domain.boot import Boot, Bootable, Tell
from harness.domain.driver import Performer
from harness.domain.request import FailureKind
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError, HarnessError
from harness.runner.ledger import State
from harness.runner.outcome import End

__all__ = ["Ensemble"]

CANCEL_GRACE_S = 0.4
CLOSE_GRACE_S = 3.0
START_GRACE_S = 300.0
BOOT_GRACE_S = 30.0
_ASLEEP = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.REFUSED,
        FailureKind.RESET,
        FailureKind.SERVER_ERROR,
        FailureKind.NO_TRANSCRIPT,
        FailureKind.RATE_LIMITED,
    }
)
# What a deployment that is scaled to zero looks like from outside.


@dataclass(slots=True, kw_only=True)
class Ensemble:
    """The performers, and what is known of their deployments.

    Attributes:
        state: of the run.
        performers: one for each candidate.
        redact: takes secrets out of the message of an unexpected exception.
        tell: told in words what is waited for.
        stop: set from outside to end the run.
        clock: the run's clock.
        open: who has been started.
        gone: whose deployments did not come up.
        booted: when whose deployments came up last.
    """

    state: State
    performers: Mapping[str, Performer]
    redact: Callable[[str], str]
    tell: Tell
    stop: asyncio.Event
    clock: Clock
    open: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    booted: dict[str, tuple[int, tuple[Boot, ...]]] = field(default_factory=dict)

    async def start(
        self, candidates: Collection[str], *, keep_going: bool
    ) -> dict[str, Mapping[str, Any]]:
        """Start the performers in turn; a stop cuts it short."""
        facts: dict[str, Mapping[str, Any]] = {}
        problems: list[str] = []
        for name in (each for each in self.performers if each in candidates):
            task = asyncio.ensure_future(self.performers[name].start())
            self.open.append(name)
            if not await self.or_stop(task, START_GRACE_S):
                if self.stopping():
                    return facts
                lines = [f"did not start within {START_GRACE_S:.0f} s"]
            elif (error := task.exception()) is None:
                boots = await self._boot(name)
                facts[name] = {**task.result(), **({"boots": boots} if boots else {})}
                if self.stopping():
                    return facts
                continue
            elif isinstance(error, ConfigurationError):
                lines = list(error.problems)
            elif isinstance(error, Exception):
                lines = [self.message(error)]
            else:
                raise error
            found = [f"candidate {name!r}: {self.redact(line)}" for line in lines]
            if keep_going:
                self.state.ended[name] = "; ".join(self.redact(line) for line in lines)
            problems.extend(found)
        if problems and not (keep_going and facts):
            raise ConfigurationError(problems)
        return facts

    async def _boot(self, name: str) -> tuple[Boot, ...]:
        """Wake a candidate's deployments; none where it has none that sleep."""
        performer = self.performers[name]
        if not isinstance(performer, Bootable):
            return ()
        task = asyncio.ensure_future(performer.boot(self.tell))
        limit = self.state.suite.timeouts.boot_s + BOOT_GRACE_S
        if not await self.or_stop(task, limit):
            return ()
        error = task.exception()
        if error is None:
            boots = task.result()
            if not all(each.ready for each in boots):
                self.gone.add(name)
            if any(each.cold or not each.ready for each in boots):
                self.tell("; ".join(each.text for each in boots))
            return boots
        if not isinstance(error, Exception):
            raise error
        self.tell(f"{name}: {self.message(error)}")
        return ()

    async def woken(self, key: TrialKey, trial: Trial | FailedTrial) -> Trial | FailedTrial:
        """Return the trial with the boots that explain it, after these have ended."""
        performer = self.performers[key.candidate]
        # What did not come up is not waited for again: its failures speak for themselves.
        if not isinstance(performer, Bootable) or self.stopping() or key.candidate in self.gone:
            return trial
        seen = performer.boots_seen(trial)
        if seen:
            return replace(trial, boots=seen)
        if not isinstance(trial, FailedTrial) or trial.failure.kind not in _ASLEEP:
            return trial
        boots = await self._boot(key.candidate)
        cold = tuple(each for each in boots if each.cold and each.ready)
        if cold:
            self.booted[key.candidate] = (self.clock.now_ns(), cold)
            return replace(trial, boots=cold)
        # Trials at once meet the same boot: who fails last may find the deployment up already.
        ended_ns, shared = self.booted.get(key.candidate, (trial.started_ns, ()))
        if trial.started_ns < ended_ns:
            shared = tuple(each for each in shared if each.stage is trial.failure.stage)
            return replace(trial, boots=shared)
        return trial

    def message(self, error: Exception) -> str:
        """Return an error in words, without secrets."""
        text = self.redact(" ".join(str(error).split()))
        if isinstance(error, HarnessError):
            return text
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    async def or_stop(self, task: "asyncio.Future[Any]", timeout_s: float) -> bool:
        """Wait for a task; cancel it at a stop or after the time-out. True where it ended."""
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait(
                {task, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                # A task that ignores its cancellation is left behind rather than waited for.
                await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        return task.done() and not task.cancelled()

    def stopping(self) -> bool:
        """Return whether the run is over, or was asked to be."""
        state = self.state
        if state.end is None and self.stop.is_set():
            state.end, state.reason = End.INTERRUPTED, "it was interrupted"
        return state.end is not None

    async def close(self) -> None:
        """Close the performers, waiting for none of them long."""
        tasks = [asyncio.ensure_future(self.performers[name].aclose()) for name in self.open]
        if tasks:
            grace = CANCEL_GRACE_S if self.stop.is_set() else CLOSE_GRACE_S
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            for task in tasks:
                if task.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        task.exception()
