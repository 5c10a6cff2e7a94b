"""Changes of rates: words, events, failures, correct turns."""

from collections.abc import Mapping

from harness.analysis.compare.changes import (
    MetricChange,
    RateFinding,
)
from harness.analysis.compare.sides import (
    Side,
    compare_sides,
    is_correct,
    overlap_events,
    wholes_of,
    word_events,
)
from harness.analysis.statistics.paired import compare
from harness.analysis.summary.words import WordRate

__all__ = ["correct_change", "event_change", "failure_change", "word_change"]


# The latency that a right transcript is worth having for, by driver.
CORRECT = ("response", "stt_finalize")


def word_change(
    kind: WordRate, candidate: Side, reference: Side, confidence: float
) -> RateFinding | None:
    """Return how a rate of words differs; None where neither side has any."""
    if not word_events(candidate, kind)[0] or not word_events(reference, kind)[0]:
        return None
    return RateFinding(
        rate=kind,
        change=compare_sides(candidate, reference, kind, confidence=confidence),
        p=None,
        finding="not comparable",
        emulated=candidate.emulated[kind] or reference.emulated[kind],
    )


def event_change(
    event: str, candidate: Side, reference: Side, confidence: float
) -> RateFinding | None:
    """Return how often an event happens on each side; None where neither has any."""
    if not overlap_events(candidate, event)[0] or not overlap_events(reference, event)[0]:
        return None
    return RateFinding(
        rate=event,
        change=compare_sides(candidate, reference, event, confidence=confidence),
        p=None,
        finding="not comparable",
        emulated=candidate.emulated[event] or reference.emulated[event],
    )


def failure_change(candidate: Side, reference: Side, confidence: float) -> RateFinding:
    """Return how often trials fail on each side."""
    return RateFinding(
        rate="failures",
        change=compare_sides(candidate, reference, None, confidence=confidence),
        p=None,
        finding="not comparable",
        emulated=candidate.emulated["response"] or reference.emulated["response"],
    )


def correct_change(
    candidate: Side, reference: Side, refused: Mapping[str, str], confidence: float
) -> tuple[MetricChange | None, tuple[int, int]]:
    """Return the change of the latency of correct turns, and how many each side has."""

    def right(side: Side) -> int:
        return sum(is_correct(row, side.wer_limit) is True for row in side.rows)

    turns = right(candidate), right(reference)
    limit = candidate.wer_limit
    metric_id = next(
        (each for each in CORRECT if candidate.sample(each).n and reference.sample(each).n), None
    )
    if metric_id is None or metric_id in refused or "wer" in refused:
        return None, turns
    mine = candidate.sample(metric_id, lambda row: is_correct(row, limit) is True)
    theirs = reference.sample(metric_id, lambda row: is_correct(row, limit) is True)
    if mine.n == 0 or theirs.n == 0:
        return None, turns
    change = MetricChange(
        metric=metric_id,
        share=0.5,
        change=compare(
            mine,
            theirs,
            share=0.5,
            confidence=confidence,
            wholes=wholes_of(candidate, reference),
        ),
        p=None,
        finding="not comparable",
        emulated=candidate.emulated[metric_id] or reference.emulated[metric_id],
    )
    return change, turns
