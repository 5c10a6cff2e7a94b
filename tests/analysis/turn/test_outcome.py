"""What became of a turn: each has one outcome, and no cut-in is a fast answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.interruptions import event_rate
from harness.analysis.summary.samples import make_rows
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure_turn
from harness.analysis.turn.outcome import Outcome, outcome_of
from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from tests.synthetic import MS, make_failed, make_trial, make_utterance


def early(ms: float, order: int = 0) -> Trial:
    """Return a trial whose reply became audible so long before the caller's end."""
    trial = make_trial(order=order)
    (turn,) = trial.turns
    marks: dict[Mark, int] = {
        mark: at for mark, at in turn.marks.items() if mark is not Mark.AUDIO_END
    }
    marks[Mark.SPEECH_END] = marks[Mark.FIRST_AUDIBLE] + round(ms * MS)
    return replace(trial, turns=(replace(turn, marks=marks),))


@given(ms=st.floats(min_value=0, max_value=3000), tolerance=st.sampled_from([0.0, 10.0, 60.0]))
def test_the_tolerance_decides(ms: float, tolerance: float) -> None:
    """A reply is a cut-in if and only if it began earlier than the bounds can be wrong."""
    utterance = replace(make_utterance(), tolerance_ms=tolerance)
    (turn,) = early(ms).turns
    shift = turn.marks[Mark.SPEECH_END] - turn.marks[Mark.FIRST_AUDIBLE]
    found = measure_turn("response", turn, utterance)
    if shift / MS > tolerance:
        assert isinstance(found, Missing)
        assert found.failure is not None
        assert found.failure.kind is FailureKind.CUT_IN
        assert outcome_of(early(ms), utterance) is Outcome.CUT_IN
        assert measure_turn("cut_ins", turn, utterance) == Measurement(value=1.0)
    else:
        assert found == Measurement(value=-shift / MS)
        assert outcome_of(early(ms), utterance) is Outcome.ANSWERED
        assert measure_turn("cut_ins", turn, utterance) == Measurement(value=0.0)


def test_outcomes_add_up() -> None:
    """Each trial has one outcome, and the rate of cut-ins is of all trials."""
    utterance = make_utterance()
    silent = make_failed(order=4)
    silent = replace(
        silent, failure=Failure(stage=Stage.TTS, kind=FailureKind.SILENT, message="nothing")
    )
    trials: list[Trial | FailedTrial] = [make_trial(order=0), early(200, 1), early(900, 2)]
    trials += [make_failed(order=3), silent]
    found = [outcome_of(each, utterance) for each in trials]
    assert sorted(found) == ["answered", "cut_in", "cut_in", "failed", "silent"]
    rate = event_rate("cut_ins", make_rows(trials, {utterance.id: utterance}))
    assert isinstance(rate, Estimate)
    assert rate.point == pytest.approx(2 / 5)
    assert rate.n == 5
