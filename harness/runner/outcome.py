"""How a run goes and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness.domain.driver import ReplyAudio
from harness.domain.trial import FailedTrial, Trial, TrialKey

__all__ = ["End", "Outcome", "Progress", "Sink"]


Sink = Callable[[Trial | FailedTrial, ReplyAudio | None], None]
"""Stores one trial; raises ConfigurationError when it cannot, which stops the run."""


class End(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    """every trial was performed, but for candidates that ended early"""
    INTERRUPTED = "interrupted"
    """it was asked to stop"""
    STOPPED = "stopped"
    """a limit was reached"""
    FAILED = "failed"
    """what had been measured could not be stored"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: planned trials that have ended, those of an earlier start included.
        total: planned trials.
        failed: failed trials among those of this start.
        reruns: trials performed again because they were disturbed.
        running: trials under way.
        last: the trial that ended just now; None at a trial's start.
    """

    done: int
    total: int
    failed: int
    reruns: int
    running: tuple[TrialKey, ...]
    last: Trial | FailedTrial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        end: in a word.
        reason: in a sentence; "" where it simply finished.
        performed: trials stored by this start, re-runs included.
        failed: failed trials among them.
        reruns: trials performed again because they were disturbed.
        remaining: planned trials without a stored one.
        ended: candidates that ended early, and why.
        spent: by the suite's prices; None where none applied.
    """

    end: End
    reason: str
    performed: int
    failed: int
    reruns: int
    remaining: int
    ended: Mapping[str, str]
    spent: float | None
