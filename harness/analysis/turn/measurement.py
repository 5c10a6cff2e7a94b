"""A metric's value for one turn, or why there is none."""

from dataclasses import dataclass

from harness.domain.request import Failure

__all__ = ["MILLISECOND", "SECOND", "Measurement", "Missing"]


MILLISECOND = 1_000_000


SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A metric's value for one turn.

    Attributes:
        value: in the metric's unit.
        note: what sets this value apart ("finals only", "after a retry"); "" for nothing.
    """

    value: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A metric that one turn does not have.

    Attributes:
        reason: why, in a few words.
        failure: the trial's failure, where that is why. Such a trial ranks slower than every
            success; a turn that merely lacks a mark does not.
    """

    reason: str
    failure: Failure | None = None
