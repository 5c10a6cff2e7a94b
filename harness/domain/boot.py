"""How a provider's deployment woke up: one that scales to zero boots for minutes when asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from harness.domain.timeline import Stage
from harness.errors import InvariantError

__all__ = ["SCALE_TO_ZERO", "Boot", "Bootable", "Tell"]

SCALE_TO_ZERO: Final = frozenset({"baseten"})
"""Providers whose deployments may be gone until they are asked."""

Tell = Callable[[str], None]
"""Shows a line to whoever watches the run; returns at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How long a deployment took to answer when it was woken.

    Attributes:
        stage: what it serves.
        provider: whose it is.
        took_ns: from the first question to the first answer, or until it was given up.
        cold: it had to boot. It did not answer the first question, or took over 2 s and three times
            as long as for the same question right after.
        ready: it answered in the end.
        asks: how often it was asked.
    """

    stage: Stage
    provider: str
    took_ns: int
    cold: bool
    ready: bool = True
    asks: int = 1

    def __post_init__(self) -> None:
        """Refuse a boot without a question or of a negative length."""
        if self.asks < 1 or self.took_ns < 0:
            raise InvariantError(f"a boot of {self.took_ns} ns after {self.asks} questions")

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.took_ns / 1e9

    @property
    def text(self) -> str:
        """The boot in a few words."""
        who = f"{self.provider} {self.stage.value}"
        if not self.ready:
            return f"{who} did not answer within {self.seconds:.0f} s"
        return f"{who} {'booted in' if self.cold else 'was warm, answered in'} {self.seconds:.1f} s"


@runtime_checkable
class Bootable(Protocol):
    """A performer whose deployments may have to boot."""

    async def boot(self, tell: Tell) -> tuple[Boot, ...]:
        """Wake what the candidate needs and wait until it answers; never raises for a provider."""
        ...

    def boots_seen(self, trial: Any) -> tuple[Boot, ...]:
        """Return the boots that a trial itself waited out."""
        ...
