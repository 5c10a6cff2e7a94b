"""What became of a turn: answered, cut in, silent or failed."""

from collections.abc import Mapping
from enum import StrEnum

from harness.analysis.turn.measurement import MILLISECOND
from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance

__all__ = ["Outcome", "cut_in_failure", "cut_in_ms", "outcome_of"]

_UNHEARD = frozenset({FailureKind.NO_REPLY, FailureKind.SILENT})


class Outcome(StrEnum):
    """What became of a turn; each trial has one."""

    ANSWERED = "answered"
    """The reply became audible when the caller had ended."""
    CUT_IN = "cut_in"
    """The agent became audible inside the caller's speech."""
    SILENT = "silent"
    """Nothing became audible: in vain, or rightly where nobody had spoken."""
    FAILED = "failed"
    """The trial did not end well, for another reason."""


def cut_in_ms(marks: Mapping[Mark, int], utterance: Utterance) -> float | None:
    """Return how long before the caller's end the agent became audible, where it cut in.

    What lies within the tolerance of the utterance's bounds is none: they are not known better.
    """
    end, audible = marks.get(Mark.SPEECH_END), marks.get(Mark.FIRST_AUDIBLE)
    if end is None or audible is None:
        return None
    early = (end - audible) / MILLISECOND
    return early if early > utterance.tolerance_ms else None


def cut_in_failure(early_ms: float) -> Failure:
    """Return the failure of turn taking that a cut-in is."""
    return Failure(
        stage=Stage.ENDPOINTING,
        kind=FailureKind.CUT_IN,
        message=f"the agent spoke {early_ms:,.0f} ms before the caller had ended",
    )


def outcome_of(trial: Trial | FailedTrial, utterance: Utterance) -> Outcome:
    """Return what became of a trial's first turn."""
    if isinstance(trial, FailedTrial):
        return Outcome.SILENT if trial.failure.kind in _UNHEARD else Outcome.FAILED
    marks = trial.turns[0].marks
    if cut_in_ms(marks, utterance) is not None:
        return Outcome.CUT_IN
    return Outcome.ANSWERED if Mark.FIRST_AUDIBLE in marks else Outcome.SILENT
