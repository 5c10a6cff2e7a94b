"""The value of each metric for one turn; what it means stands in ``definitions`` beside this."""

from harness.analysis.turn.definitions import METRICS, Metric
from harness.analysis.turn.formulas import FORMULAS, span
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.reading import (
    View,
    view_of,
)
from harness.domain.suite import Driver
from harness.domain.trial import FailedTrial, Trial, Turn
from harness.domain.utterance import Utterance

__all__ = ["METRICS", "Metric", "measure", "measure_all", "measure_turn"]


def measure(
    metric_id: str, trial: Trial | FailedTrial, utterance: Utterance, *, turn: int = 0
) -> Measurement | Missing:
    """Return a metric's value for one turn of a trial.

    Args:
        metric_id: an id of :data:`METRICS`.
        trial: what was performed.
        utterance: what the turn's user said.
        turn: the turn's position in the trial.

    Raises:
        KeyError: there is no such metric.
        IndexError: the trial has no such turn.
    """
    metric = METRICS[metric_id]
    if isinstance(trial, FailedTrial):
        return Missing(
            reason=f"failed: {trial.failure.stage.value} {trial.failure.kind.value}",
            failure=trial.failure,
        )
    if Driver(trial.driver) not in metric.drivers:
        return Missing(reason=f"not measured by the {trial.driver} driver")
    return measure_turn(metric_id, trial.turns[turn], utterance)


def measure_turn(metric_id: str, turn: Turn, utterance: Utterance) -> Measurement | Missing:
    """Return a metric's value for a turn, whichever driver performed it.

    Raises:
        KeyError: there is no such metric.
    """
    return _value(METRICS[metric_id], view_of(turn, utterance))


def measure_all(
    trial: Trial | FailedTrial, utterance: Utterance, *, turn: int = 0
) -> dict[str, Measurement | Missing]:
    """Return every metric of one turn of a trial: :func:`measure` for all ids, made faster."""
    if isinstance(trial, FailedTrial):
        return {metric_id: measure(metric_id, trial, utterance) for metric_id in METRICS}
    view = view_of(trial.turns[turn], utterance)
    driver = Driver(trial.driver)
    unfit = Missing(reason=f"not measured by the {trial.driver} driver")
    return {
        metric.id: _value(metric, view) if driver in metric.drivers else unfit
        for metric in METRICS.values()
    }


def _value(metric: Metric, view: View) -> Measurement | Missing:
    formula = FORMULAS.get(metric.id)
    if formula is not None:
        return formula(view)
    assert metric.start is not None
    assert metric.end is not None
    return span(view, metric.start, metric.end)
