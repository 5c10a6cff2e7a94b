"""A comparison as lines and sentences: one set for the terminal, Markdown, JSON and the page."""

from collections.abc import Iterator
from dataclasses import replace

from harness.analysis.compare.changes import Comparison, MetricChange, PairComparison, RateFinding
from harness.analysis.statistics.estimate import Unsupported
from harness.analysis.statistics.paired import Change, RateChange
from harness.analysis.turn.definitions import METRICS
from harness.report.cautions import merged
from harness.report.findings import (
    detectable_text,
    finding_text,
    p_text,
    statement_of,
    title_of,
    typical_of,
    with_proviso,
)
from harness.report.format import DASH, Cell, Unit, cell, count, missing
from harness.report.view import ComparisonView, PairedPoint

__all__ = ["comparison_answer", "comparison_notes", "comparison_views"]


def _view(
    pair: PairComparison, found: MetricChange | RateFinding, label: str = ""
) -> ComparisonView:
    metric = found.rate if isinstance(found, RateFinding) else found.metric
    change = found.change
    plain = ComparisonView(
        metric=metric,
        name=title_of(found, label),
        reference=pair.reference,
        candidate=pair.candidate,
        statement=statement_of(pair, found, label),
        difference=missing("not comparable"),
        ratio=missing("not comparable"),
        p_value=DASH if found.p is None else p_text(found.p),
        detectable=DASH,
        points=(),
        unit="",
        detected=found.finding in {"faster", "slower"},
        emulated=found.emulated,
        finding=finding_text(found),
    )
    if isinstance(change, Unsupported):
        return replace(plain, difference=cell(change, Unit.RATE), ratio=missing(change.reason))
    unit = Unit.RATE if isinstance(found, RateFinding) else Unit(METRICS[metric].unit)
    difference = cell(change.difference, unit, emulated=found.emulated, signed=True)
    points: tuple[PairedPoint, ...] = ()
    if isinstance(found, MetricChange):
        points = tuple(PairedPoint(name, value) for name, value in found.points)
        if found.reciprocal:
            # A reciprocal's difference (seconds for each token) has no place in this column.
            difference = missing("compared by its reciprocal: see the ratio")
    return replace(
        plain,
        difference=difference,
        ratio=_ratio(change, emulated=found.emulated),
        detectable=detectable_text(metric, change),
        points=points,
        unit=unit.value,
    )


def _ratio(change: Change | RateChange, *, emulated: bool) -> Cell:
    if isinstance(change, RateChange):
        return missing("a rate is compared by its difference")
    if isinstance(change.ratio, Unsupported) and not change.ratio.needed:
        # More trials would not help: a value of 0, or before the end of speech, has no ratio.
        return missing(change.ratio.reason)
    return cell(change.ratio, Unit.RATIO, emulated=emulated)


def _lines(pair: PairComparison) -> Iterator[ComparisonView]:
    correct = " and ".join(count(each) for each in pair.correct_turns)
    for found in pair.metrics:
        # What the trials cannot carry is one note, not a line for each metric.
        if found.share == 0.5 or not isinstance(found.change, Unsupported):
            yield _view(pair, found)
        if found.share != 0.5 and pair.correct is not None and pair.correct.metric == found.metric:
            yield _view(pair, pair.correct, f"correct turns only ({correct})")
    for rate in pair.rates:
        yield _view(pair, rate)


def comparison_views(
    comparison: Comparison, *, leading: str | None = None
) -> tuple[ComparisonView, ...]:
    """Return what a comparison found, pair by pair, ready to be shown.

    Args:
        comparison: the candidates of a run, the values of a setting, or two runs.
        leading: the metric that decides, whose lines then come first.
    """
    views = [view for pair in comparison.pairs for view in _lines(pair)]
    return tuple(sorted(views, key=lambda each: leading is not None and each.metric != leading))


def comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what must be known beside the lines: what was not compared and why, and the family."""
    notes = [
        f"No p{100 * each.share:g}: {each.change.reason}"
        for pair in comparison.pairs
        for each in pair.metrics
        if each.share != 0.5 and isinstance(each.change, Unsupported)
    ]
    notes = [*merged(notes)]
    notes += [f"Not compared: {line}" for pair in comparison.pairs for line in pair.refused]
    notes += [f"Left out: {line}" for line in comparison.left_out]
    family = (
        f"Each p, and what could have been seen, is corrected over {count(comparison.family)} "
        "tests (Holm): every pair and metric here; each interval stands for itself"
    )
    return (*dict.fromkeys(notes), family)


def comparison_answer(comparison: Comparison) -> tuple[str, tuple[str, ...]]:
    """Return what a comparison found in one sentence, and sentences that carry it."""
    if not comparison.pairs:
        return "There is nothing to compare.", comparison.left_out
    leading = []
    for pair in comparison.pairs:
        typical = [each for each in pair.metrics if each.share == 0.5]
        chosen = typical_of(pair, "response") or next(iter(typical), None)
        if chosen is not None:
            leading.append(with_proviso(pair, chosen))
    words = [
        statement_of(pair, each)
        for pair in comparison.pairs
        for each in pair.rates
        if each.rate != "failures"
    ]
    refused = [each for pair in comparison.pairs for each in pair.refused]
    lines = [*leading[1:], *words, *refused, *comparison.left_out]
    corrected = f"Each p is corrected over {count(comparison.family)} comparisons."
    if not leading:
        return "No metric was measured on both sides.", (*lines, corrected)
    return leading[0], (*dict.fromkeys(lines), corrected)
