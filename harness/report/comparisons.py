"""Comparisons made by a setting or between two runs, as lines and sentences."""

from harness.analysis.comparison import Comparison, MetricChange, PairComparison, RateFinding
from harness.analysis.definitions import METRICS
from harness.analysis.estimate import Estimate, Unsupported
from harness.analysis.paired import RateChange
from harness.report.findings import detectable_text, name_of, p_text
from harness.report.format import DASH, Unit, cell, count, decimal, missing, quantity
from harness.report.view import ComparisonView

__all__ = ["comparison_answer", "comparison_views"]


def _finding_view(
    pair: PairComparison,
    metric: str,
    label: str,
    found: MetricChange | RateFinding,
) -> ComparisonView:
    """Return one line of a comparison that was made elsewhere; it has no points to draw."""
    rate = isinstance(found, RateFinding)
    title = "Failed trials" if metric == "failures" else METRICS[metric].title
    name = f"{title}, {label}" if label else title
    mine, theirs = (name_of(each, found.emulated) for each in (pair.candidate, pair.reference))
    change = found.change
    if isinstance(change, Unsupported):
        return ComparisonView(
            metric=metric,
            name=name,
            reference=pair.reference,
            candidate=pair.candidate,
            statement=f"{name}: not comparable, {change.reason}.",
            difference=cell(change, Unit.RATE),
            ratio=missing(change.reason),
            p_value=DASH,
            detectable=DASH,
            points=(),
            unit="",
            detected=False,
            emulated=found.emulated,
        )
    reciprocal = isinstance(found, MetricChange) and found.reciprocal
    unit = Unit.RATE if rate else Unit(METRICS[metric].unit)
    detected = found.finding in {"faster", "slower"}
    if isinstance(change, RateChange):
        detectable = detectable_text("wer", change)
        statement = f"{name}: no detectable difference; this run would have seen {detectable}."
        if detected:
            by = f"{decimal(abs(change.difference.point) * 100, 1)} points"
            less, more = (mine, theirs) if found.finding == "faster" else (theirs, mine)
            statement = f"{name}: {by} fewer with {less} than with {more}."
    else:
        detectable = detectable_text(metric, change)
        statement = f"{name}: no detectable difference; this run would have seen {detectable}."
        if detected:
            fast, slow = (mine, theirs) if found.finding == "faster" else (theirs, mine)
            difference = change.difference
            by = (
                f"{quantity(abs(difference.point), unit)} "
                if isinstance(difference, Estimate) and not reciprocal
                else ""
            )
            verb = f"answers {by}sooner" if metric == "response" else f"is {by}faster"
            statement = f"{name}: {fast} {verb} than {slow}."
    return ComparisonView(
        metric=metric,
        name=name,
        reference=pair.reference,
        candidate=pair.candidate,
        statement=statement,
        # A reciprocal's difference (seconds for each token) has no place in this column.
        difference=missing("compared by its reciprocal: see the ratio")
        if reciprocal
        else cell(change.difference, unit, emulated=found.emulated, signed=True),
        ratio=missing("a rate is compared by its difference")
        if isinstance(change, RateChange)
        else cell(change.ratio, Unit.RATIO, emulated=found.emulated),
        p_value=DASH if found.p is None else p_text(found.p),
        detectable=detectable,
        points=(),
        unit=unit.value,
        detected=detected,
        emulated=found.emulated,
    )


def comparison_views(comparison: Comparison) -> tuple[ComparisonView, ...]:
    """Return what a comparison found, pair by pair, ready to be shown."""
    views = []
    for pair in comparison.pairs:
        for found in pair.metrics:
            label = "typical" if found.share == 0.5 else f"p{100 * found.share:g}"
            views.append(_finding_view(pair, found.metric, label, found))
        if pair.correct is not None:
            turns = " and ".join(count(each) for each in pair.correct_turns)
            views.append(
                _finding_view(pair, "response", f"correct turns only ({turns})", pair.correct)
            )
        views += [_finding_view(pair, each.rate, "", each) for each in pair.rates]
    return tuple(views)


def comparison_answer(comparison: Comparison) -> tuple[str, tuple[str, ...]]:
    """Return what a comparison found in one sentence, and sentences that carry it."""
    if not comparison.pairs:
        return "There is nothing to compare.", comparison.left_out
    leading = []
    for pair in comparison.pairs:
        typical = [each for each in pair.metrics if each.share == 0.5]
        deciding = next((each for each in typical if each.metric == "response"), None)
        chosen = deciding or next(iter(typical), None)
        if chosen is not None:
            leading.append(_finding_view(pair, chosen.metric, "typical", chosen).statement)
    words = [
        _finding_view(pair, each.rate, "", each).statement
        for pair in comparison.pairs
        for each in pair.rates
        if each.rate == "wer"
    ]
    refused = [each for pair in comparison.pairs for each in pair.refused]
    lines = [*leading[1:], *words, *refused, *comparison.left_out]
    corrected = f"p is corrected over {count(comparison.family)} comparisons."
    if not leading:
        return "No metric was measured on both sides.", (*lines, corrected)
    return leading[0], (*dict.fromkeys(lines), corrected)
