"""Candidates against each other, and the finding in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.analysis.definitions import METRICS
from harness.analysis.estimate import Estimate, Statistic, TimedOut, Unsupported
from harness.analysis.paired import Change, RateChange, compare, compare_rates, holm
from harness.analysis.quantile import quantile
from harness.analysis.samples import Row, cluster_of, sample_of
from harness.analysis.transcript import NoTranscript, Score
from harness.report.format import (
    Unit,
    cell,
    decimal,
    interval,
    missing,
    percent,
    quantity,
)
from harness.report.view import ComparisonView, PairedPoint, WaterfallView

__all__ = [
    "LEVEL",
    "Found",
    "compare_all",
    "describe_time",
    "detectable_text",
    "headline_answer",
    "name_of",
    "p_text",
]

LEVEL = 0.05
COMPARED = (
    "response",
    "stt_final",
    "stt_finalize",
    "llm_ttft",
    "tts_first_byte",
    "tts_first_audible",
    "wer",
)
MOST_PAIRS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A comparison with what its sentence needs.

    Attributes:
        metric: what was compared.
        faster, slower: names; the first has the smaller point.
        change: of the first against the second.
        p: corrected over all comparisons of the run.
        view: as shown.
    """

    metric: str
    faster: str
    slower: str
    change: Change | RateChange
    p: float
    view: ComparisonView


def p_text(p: float) -> str:
    """Return a p-value; below a thousandth its digits mean nothing."""
    return "< 0.001" if p < 0.001 else decimal(p, 3)


def name_of(name: str, emulated: bool) -> str:
    """Return what a sentence may call a candidate: of an emulated one, its profile."""
    return f"the profile of {name}" if emulated else name


def _capital(text: str) -> str:
    """Begin a sentence; a candidate's name keeps its own spelling."""
    return text[:1].upper() + text[1:] if text.startswith("the profile of ") else text


def _inside(title: str) -> str:
    """Return a metric's title as it stands inside a sentence; "LLM …" keeps its capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _rates(rows: Sequence[Row]) -> tuple[list[float], list[float], list[int]]:
    errors, words, clusters = [], [], []
    for row in rows:
        found = row.words
        if row.utterance.expect == "none" or not isinstance(found, Score | NoTranscript):
            continue
        if found.unit != "word" or found.reference_units == 0:
            continue
        # A turn without a transcript got every word wrong.
        missed = found.errors if isinstance(found, Score) else found.reference_units
        errors.append(float(missed))
        words.append(float(found.reference_units))
        clusters.append(cluster_of(row.utterance.id))
    return errors, words, clusters


def _points(metric: str, ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[PairedPoint, ...]:
    """Return for each utterance the difference of medians; failures rank last."""

    def medians(rows: Sequence[Row]) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for row in rows:
            value = row.value(metric)
            if value is not None:
                values.setdefault(row.utterance.id, []).append(value)
        return {name: float(np.median(found)) for name, found in values.items()}

    left, right = medians(ours), medians(theirs)
    return tuple(
        PairedPoint(name, left[name] - right[name]) for name in sorted(left.keys() & right.keys())
    )


def _pair(
    metric: str, ours: Sequence[Row], theirs: Sequence[Row], confidence: float
) -> Change | RateChange | Unsupported:
    if metric == "wer":
        left, right = _rates(ours), _rates(theirs)
        if not left[0] or not right[0]:
            return Unsupported(
                reason="no words were scored",
                needed=0,
                n=0,
                effective_n=0.0,
                failures=0,
                observed=None,
            )
        return compare_rates(left, right, confidence=confidence)
    return compare(sample_of(metric, ours), sample_of(metric, theirs), confidence=confidence)


def _gap_of(change: Change | RateChange) -> float:
    """Return the signed difference, for putting the faster one first; failures are slowest."""
    if isinstance(change.difference, Estimate):
        return change.difference.point
    return math.inf if isinstance(change.difference, TimedOut) else 0.0


def _middle(metric: str, rows: Sequence[Row]) -> float:
    """Return a median to put the faster candidate first by; failures are slowest."""
    if metric == "wer":
        errors, words, _ = _rates(rows)
        return sum(errors) / sum(words) if words else math.inf
    sample = sample_of(metric, rows)
    return quantile(sample.ranked, 0.5) if sample.n else math.inf


def compare_all(
    rows: Mapping[str, Sequence[Row]],
    emulated: Mapping[str, frozenset[str]],
    *,
    confidence: float = 0.95,
) -> tuple[Found, ...]:
    """Compare every pair of candidates, or each with the first where there are many.

    Args:
        rows: the counted trials of each candidate, measured; in the suite's order.
        emulated: for each candidate the metrics that are EMULATED.
        confidence: of the intervals; p-values are corrected over all comparisons (Holm).
    """
    names = list(rows)
    pairs = list(combinations(names, 2))
    if len(pairs) > MOST_PAIRS:
        pairs = [(names[0], other) for other in names[1:]]
    raw: list[tuple[str, str, str, Change | RateChange]] = []
    for metric in COMPARED:
        for first, second in pairs:
            if not all(any(r.value(metric) is not None for r in rows[n]) for n in (first, second)):
                continue
            ours, theirs = sorted((first, second), key=lambda name: _middle(metric, rows[name]))
            change = _pair(metric, rows[ours], rows[theirs], confidence)
            if not isinstance(change, Unsupported) and _gap_of(change) > 0:
                # The typical pair says otherwise than the medians.
                ours, theirs = theirs, ours
                change = _pair(metric, rows[ours], rows[theirs], confidence)
            if not isinstance(change, Unsupported):
                raw.append((metric, ours, theirs, change))
    corrected = holm([each[3].p_value for each in raw])
    return tuple(
        Found(
            metric=metric,
            faster=ours,
            slower=theirs,
            change=change,
            p=p,
            view=_view(metric, ours, theirs, change, p=p, rows=rows, emulated=emulated),
        )
        for (metric, ours, theirs, change), p in zip(raw, corrected, strict=True)
    )


def detectable_text(metric: str, change: Change | RateChange) -> str:
    """Return the smallest change that would have been called real with power 0.9."""
    if isinstance(change, RateChange):
        if math.isinf(change.detectable):
            return "none at all"
        return f"{decimal(change.detectable * 100, 1)} points"
    if math.isinf(change.detectable_ratio):
        return "none at all"
    more = "slower" if METRICS[metric].unit == "ms" else "more"
    return f"{percent(change.detectable_ratio - 1, 0)} {more}"


def _statement(
    metric: str, ours: str, theirs: str, change: Change | RateChange, detected: bool
) -> str:
    title = METRICS[metric].title
    if not detected:
        return (
            f"No detectable difference in {_inside(title)} between {ours} and {theirs}: "
            f"this run would have seen {detectable_text(metric, change)}."
        )
    difference = change.difference
    if isinstance(change, RateChange):
        assert isinstance(difference, Estimate)
        by = f"{decimal(abs(difference.point) * 100, 1)} points"
        return f"{_capital(ours)} gets fewer words wrong than {theirs}: {by} of WER."
    if not isinstance(difference, Estimate):
        return f"{_capital(theirs)} times out where {ours} still answers ({_inside(title)})."
    by = quantity(abs(difference.point), Unit(METRICS[metric].unit))
    if metric == "response":
        return f"{_capital(ours)} answers {by} sooner than {theirs}."
    return f"{title}: {ours} is {by} faster than {theirs}."


def _view(
    metric: str,
    ours: str,
    theirs: str,
    change: Change | RateChange,
    *,
    p: float,
    rows: Mapping[str, Sequence[Row]],
    emulated: Mapping[str, frozenset[str]],
) -> ComparisonView:
    unit = Unit(METRICS[metric].unit)
    here = {name: metric in emulated[name] for name in (ours, theirs)}
    either = any(here.values())
    detected = p < LEVEL
    ratio: Statistic | None = None if isinstance(change, RateChange) else change.ratio
    return ComparisonView(
        metric=metric,
        name=METRICS[metric].title,
        reference=theirs,
        candidate=ours,
        statement=_statement(
            metric, name_of(ours, here[ours]), name_of(theirs, here[theirs]), change, detected
        ),
        difference=cell(change.difference, unit, emulated=either, signed=True),
        ratio=missing("a rate is compared by its difference")
        if ratio is None
        else cell(ratio, Unit.RATIO, emulated=either),
        p_value=p_text(p),
        detectable=detectable_text(metric, change),
        points=_points(metric, rows[ours], rows[theirs]),
        unit=unit.value,
        detected=detected,
        emulated=either,
    )


def describe_time(waterfalls: Sequence[WaterfallView], names: Sequence[str]) -> str:
    """Return which stage takes the largest share of each candidate's median turn, in a sentence."""
    said: dict[str, list[str]] = {}
    for each in waterfalls:
        if each.title != "median turn" or each.response_ns <= 0:
            continue
        sums: dict[str, int] = {}
        for bar in each.bars:
            if bar.kind.value != "unattributed":
                sums[bar.stage] = sums.get(bar.stage, 0) + bar.end_ns - bar.start_ns
        if not sums:
            continue
        stage, ns = max(sums.items(), key=lambda item: item[1])
        title = stage.upper() if len(stage) == 3 else stage
        share = percent(ns / each.response_ns, 0)
        said.setdefault(title, []).append(f"{share} of {names[each.candidate]}'s median turn")
    parts = [f"the {title} takes {', '.join(shares)}" for title, shares in said.items()]
    return f"Where the time goes: {'; '.join(parts)}." if parts else ""


def headline_answer(
    found: Sequence[Found],
    order: Sequence[tuple[str, Statistic]],
    emulated: Mapping[str, frozenset[str]],
    metric: str,
) -> tuple[str, list[str]]:
    """Return the finding in one sentence, and sentences that carry it.

    Args:
        found: all comparisons.
        order: candidates with the p50 of ``metric``, the fastest first.
        emulated: for each candidate the metrics that are EMULATED.
        metric: what decides: the response, or what the driver measures in its place.
    """
    title = METRICS[metric].title
    unit = Unit(METRICS[metric].unit)
    if not order:
        return "No trial was answered: there is nothing to compare.", []
    best, value = order[0]
    name = name_of(best, metric in emulated[best])
    if len(order) == 1:
        if isinstance(value, Estimate):
            by = quantity(value.point, unit)
            around = interval(value.low, value.high, unit, value.point)
            said = f"{title} of {name} is {by} in the median turn."
            carried = f"{percent(value.confidence, 0)} interval {around}; n = {value.n}"
            return said, [f"{carried}, {value.failures} failed."]
        if isinstance(value, TimedOut):
            return f"Half of the trials of {name} failed or timed out.", []
        return f"Too few trials to say how fast {name} is.", [f"{value.reason}."]
    second = order[1][0]
    pair = next(
        (
            each
            for each in found
            if each.metric == metric and {each.faster, each.slower} == {best, second}
        ),
        None,
    )
    if pair is None:
        return f"Too few trials to compare {best} with {second}.", []
    sentence = pair.view.statement
    if not pair.view.detected:
        sentence = f"No detectable difference between {name} and "
        sentence += f"{name_of(second, metric in emulated[second])}."
    support = []
    difference = pair.change.difference
    if isinstance(difference, Estimate):
        around = interval(difference.low, difference.high, unit, difference.point)
        relative = ""
        if isinstance(pair.change, Change) and isinstance(pair.change.ratio, Estimate):
            relative = f", a ratio of {decimal(pair.change.ratio.point, 2)}"
        support.append(
            f"{title}: {pair.view.difference.text} ({percent(difference.confidence, 0)} interval "
            f"{around}){relative}, p {_equals(pair.view.p_value)} over "
            f"{pair.change.utterances} utterances that both were played."
        )
    if not pair.view.detected:
        support.append(
            f"The smallest change that this run could have seen: {pair.view.detectable}."
        )
    if len(order) > 2:
        others = ", ".join(each for each, _ in order[2:])
        support.append(f"Behind them, in this order: {others}.")
    words = next(
        (
            each
            for each in found
            if each.metric == "wer" and {each.faster, each.slower} == {best, second}
        ),
        None,
    )
    if words is not None and metric != "wer":
        support.append(words.view.statement)
    return sentence, support


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
