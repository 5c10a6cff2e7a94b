"""Rates of what happens or does not when somebody speaks over the reply.

Each is a share of trials in which it was to be seen; a trial that failed counts as the worst, as it
does everywhere.
"""

from collections.abc import Sequence

from harness.analysis.statistics.estimate import Estimate, Unsupported, estimate_rate
from harness.analysis.summary.figures import CandidateSummary
from harness.analysis.summary.samples import Row, cluster_of
from harness.analysis.turn.definitions import EVENTS
from harness.analysis.turn.measurement import Measurement

__all__ = ["cut_ins_of", "event_of", "event_rate", "is_event"]


def is_event(metric_id: str) -> bool:
    """Tell whether a metric is a rate of trials in which something happened."""
    return metric_id in EVENTS


def cut_ins_of(candidate: CandidateSummary) -> int:
    """Return how many of a candidate's trials cut in."""
    rate = candidate.events.get("cut_ins")
    return round(rate.point * rate.n) if isinstance(rate, Estimate) else 0


def event_of(metric_id: str, row: Row) -> bool | None:
    """Tell whether it happened in a trial; None where the trial does not ask."""
    found = row.found[metric_id]
    if isinstance(found, Measurement):
        return found.value > 0
    return None if found.failure is None else True


def event_rate(
    metric_id: str, rows: Sequence[Row], *, confidence: float = 0.95
) -> Estimate | Unsupported | None:
    """Return the share of trials in which it happened, failed ones included; None for no trial."""
    asked = [(row, seen) for row in rows if (seen := event_of(metric_id, row)) is not None]
    if not asked:
        return None
    return estimate_rate(
        [seen for _, seen in asked],
        clusters=[cluster_of(row.utterance.id) for row, _ in asked],
        confidence=confidence,
    )
