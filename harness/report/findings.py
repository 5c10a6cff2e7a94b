"""What a comparison found, in words: who is faster, by how much, and what stands against it."""

import math
from collections.abc import Mapping, Sequence

from harness.analysis.compare.changes import Comparison, MetricChange, PairComparison, RateFinding
from harness.analysis.statistics.estimate import Estimate, Statistic, TimedOut, Unsupported
from harness.analysis.statistics.paired import Change, RateChange
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.report.format import (
    Unit,
    cell,
    decimal,
    interval,
    percent,
    quantity,
)
from harness.report.trial_view import BarKind, WaterfallView

__all__ = [
    "between",
    "describe_time",
    "detectable_text",
    "evidence",
    "finding_text",
    "headline_answer",
    "name_of",
    "p_text",
    "proviso",
    "seen_text",
    "statement_of",
    "title_of",
    "typical_of",
    "with_proviso",
]

_FEWER = {"faster": "fewer", "slower": "more"}
_RATE_TITLES = {"failures": "Failed trials"}

# Of each of ``EVENTS``: what is said of the side to which it happens more often.
_MORE = {
    "cut_ins": "cuts in on more callers",
    "missed_interruptions": "misses more interruptions",
    "false_interruptions": "is stopped by more that is no interruption",
    "interruption_fallbacks": "falls back to voice activity more often",
}
# The shares of more candidates than these are said as a range.
_LISTED = 3


def p_text(p: float) -> str:
    """Return a p-value; below a thousandth its digits mean nothing."""
    return "< 0.001" if p < 0.001 else decimal(p, 3)


def name_of(name: str, emulated: bool) -> str:
    """Return what a sentence may call a candidate: of an emulated one, its profile."""
    return f"the profile of {name.removesuffix(' (emulated)')}" if emulated else name


def _capital(text: str) -> str:
    """Begin a sentence; a candidate's name keeps its own spelling."""
    return text[:1].upper() + text[1:] if text.startswith("the profile of ") else text


def _inside(title: str) -> str:
    """Return a metric's title as it stands inside a sentence; "LLM …" keeps its capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def title_of(found: MetricChange | RateFinding, label: str = "") -> str:
    """Return what was compared: the metric's title, and which statistic of it."""
    if isinstance(found, RateFinding):
        return _RATE_TITLES.get(found.rate) or METRICS[found.rate].title
    share = "typical" if found.share == 0.5 else f"p{100 * found.share:g}"
    return f"{METRICS[found.metric].title}, {label or share}"


def finding_text(found: MetricChange | RateFinding) -> str:
    """Return the finding in a word or two: "faster", "fewer", "no detectable difference"."""
    counted = isinstance(found, RateFinding) or METRICS[found.metric].unit == "count"
    return _FEWER.get(found.finding, found.finding) if counted else found.finding


def detectable_text(metric: str, change: Change | RateChange) -> str:
    """Return the smallest change that would have been called real with power 0.9."""
    if isinstance(change, RateChange):
        if math.isinf(change.detectable):
            return "none at all"
        return f"{decimal(change.detectable * 100, 1)} points"
    if change.deviation == 0.0:
        return "no spread to tell"
    if math.isinf(change.detectable_ratio):
        return "none at all"
    more = "slower" if METRICS[metric].unit in {"ms", "tokens/s"} else "more"
    return f"{percent(change.detectable_ratio - 1, 0)} {more}"


def seen_text(metric: str, change: Change | RateChange) -> str:
    """Return what an undetected difference leaves open, as the end of a sentence."""
    if isinstance(change, Change) and change.deviation == 0.0:
        return "the two sides show no spread to tell one by"
    largest = change.detectable if isinstance(change, RateChange) else change.detectable_ratio
    if math.isinf(largest):
        return "this run is too small to see any"
    return f"this run would have seen {detectable_text(metric, change)}"


def _by(found: MetricChange | RateFinding) -> str:
    """Return how far apart the sides are, with its unit; "" where no number says it."""
    difference = found.change.difference if not isinstance(found.change, Unsupported) else None
    if not isinstance(difference, Estimate):
        return ""
    if isinstance(found, RateFinding):
        return f"{decimal(abs(difference.point) * 100, 1)} points"
    if found.reciprocal:
        return ""
    return quantity(abs(difference.point), Unit(METRICS[found.metric].unit))


def statement_of(pair: PairComparison, found: MetricChange | RateFinding, label: str = "") -> str:
    """Return a finding in one sentence; emulated sides are called by their profiles."""
    mine, theirs = (name_of(each, found.emulated) for each in (pair.candidate, pair.reference))
    title = title_of(found, label)
    if isinstance(found.change, Unsupported):
        return f"{title}: not comparable, {found.change.reason}."
    if found.finding not in {"faster", "slower"}:
        metric = found.rate if isinstance(found, RateFinding) else found.metric
        what = _inside(title).removesuffix(", typical")
        return (
            f"No detectable difference in {what} between {mine} and {theirs}: "
            f"{seen_text(metric, found.change)}."
        )
    best, worst = (mine, theirs) if found.finding == "faster" else (theirs, mine)
    if isinstance(found, RateFinding):
        if found.rate == "failures" or found.rate in EVENTS:
            return f"{title}: {_by(found)} fewer with {best} than with {worst}."
        what = "gets fewer words wrong" if found.rate == "wer" else "is understood better"
        return f"{_capital(best)} {what} than {worst}: {_by(found)} of {title.lower()}."
    if not isinstance(found.change.difference, Estimate):
        return f"{_capital(worst)} times out where {best} still answers ({_inside(title)})."
    by = _by(found)
    if found.metric == "response" and found.share == 0.5 and not label:
        return f"{_capital(best)} answers {by} sooner than {worst}."
    unit = METRICS[found.metric].unit
    if unit == "count":
        return f"{title}: {by} fewer with {best} than with {worst}."
    word = "lower" if unit == "ratio" else "faster"
    return f"{title}: {best} is {f'{by} ' if by else ''}{word} than {worst}."


def between(comparison: Comparison, one: str, other: str) -> PairComparison | None:
    """Return the pair of two sides, whichever was the reference; None where it was not asked."""
    return next(
        (each for each in comparison.pairs if {each.candidate, each.reference} == {one, other}),
        None,
    )


def typical_of(pair: PairComparison, metric: str) -> MetricChange | None:
    """Return the typical change of a metric; None where it was not compared."""
    return next(
        (each for each in pair.metrics if each.metric == metric and each.share == 0.5), None
    )


def proviso(pair: PairComparison, leading: MetricChange) -> str:
    """Return what keeps the faster side of a pair from being the winner; "" where nothing does.

    More words misheard, more failures, or no lead where both sides were correct: a fast wrong
    answer is no better answer.
    """
    if leading.finding not in {"faster", "slower"}:
        return ""
    worse = "slower" if leading.finding == "faster" else "faster"
    against = []
    for each in pair.rates:
        if each.finding != worse:
            continue
        if each.rate == "failures":
            against.append(f"fails more often ({_by(each)})")
        elif each.rate == "wer":
            against.append(f"gets more words wrong ({_by(each)})")
        elif each.rate in EVENTS:
            against.append(f"{_MORE[each.rate]} ({_by(each)})")
        else:
            against.append(f"is harder to understand ({_by(each)})")
    correct = pair.correct
    if (
        correct is not None
        and correct.metric == leading.metric
        and correct.finding != leading.finding
        and min(pair.correct_turns) < max(pair.trials)
    ):
        unsure = isinstance(correct.change, Unsupported) or correct.finding != worse
        against.append(
            "shows no lead over the turns that both got right"
            if unsure
            else "is slower over the turns that both got right"
        )
    if not against:
        return ""
    listed = against[0] if len(against) == 1 else f"{', '.join(against[:-1])} and {against[-1]}"
    return f"but it {listed}: speed alone does not make it the better one"


def with_proviso(pair: PairComparison, leading: MetricChange) -> str:
    """Return the leading finding of a pair as a sentence, with what stands against it."""
    said = statement_of(pair, leading)
    against = proviso(pair, leading)
    return f"{said.removesuffix('.')}, {against}." if against else said


def describe_time(waterfalls: Sequence[WaterfallView], names: Sequence[str]) -> str:
    """Return which stage takes the largest share of each candidate's median turn, in a sentence."""
    said: dict[str, list[tuple[float, str]]] = {}
    for each in waterfalls:
        if each.title != "median turn" or each.response_ns <= 0:
            continue
        sums: dict[str, int] = {}
        for bar in each.bars:
            # As in the table of stages: the client's time is a row of its own there.
            if bar.kind not in (BarKind.CLIENT, BarKind.UNATTRIBUTED):
                sums[bar.stage] = sums.get(bar.stage, 0) + bar.end_ns - bar.start_ns
        if not sums:
            continue
        stage, ns = max(sums.items(), key=lambda item: item[1])
        title = stage.upper() if len(stage) == 3 else stage
        said.setdefault(title, []).append((ns / each.response_ns, names[each.candidate]))
    parts = [f"the {title} takes {_shares(found)}" for title, found in said.items()]
    return f"Where the time goes: {'; '.join(parts)}." if parts else ""


def _shares(found: Sequence[tuple[float, str]]) -> str:
    if len(found) <= _LISTED:
        return ", ".join(f"{percent(share, 0)} of {name}'s median turn" for share, name in found)
    low, high = min(found)[0], max(found)[0]
    around = f"{percent(low, 0)} to {percent(high, 0)}"
    return f"{around} of the median turn of {len(found)} candidates"


def evidence(pair: PairComparison, leading: MetricChange, family: int) -> str:
    """Return the figures of a pair's leading change in a sentence; "" where it has none.

    Args:
        pair: the two sides.
        leading: the change that decides.
        family: how many tests p is corrected over.
    """
    if isinstance(leading.change, Unsupported) or leading.p is None:
        return ""
    difference = leading.change.difference
    if not isinstance(difference, Estimate):
        return ""
    unit = Unit(METRICS[leading.metric].unit)
    around = interval(difference.low, difference.high, unit, difference.point)
    if around:
        around = f" ({percent(difference.confidence, 0)} interval {around})"
    relative = ""
    if isinstance(leading.change.ratio, Estimate):
        relative = f", a ratio of {decimal(leading.change.ratio.point, 2)}"
    return (
        f"{METRICS[leading.metric].title}, {pair.candidate} against {pair.reference}: "
        f"{cell(difference, unit, signed=True).text}{around}{relative}, p "
        f"{_equals(p_text(leading.p))} over {leading.change.utterances} recordings that both "
        f"heard, corrected over {family} tests."
    )


def _medians_apart(leading: MetricChange, medians: Sequence[Statistic]) -> str:
    """Explain the table's medians, "" where they lie as far apart as the answer says."""
    change = leading.change
    points = [each.point for each in medians if isinstance(each, Estimate)]
    if isinstance(change, Unsupported) or not isinstance(change.difference, Estimate):
        return ""
    if len(points) != 2 or leading.reciprocal:
        return ""
    unit = Unit(METRICS[leading.metric].unit)
    apart = quantity(abs(points[0] - points[1]), unit)
    typical = quantity(abs(change.difference.point), unit)
    if apart == typical:
        return ""
    return (
        f"The medians in the table lie {apart} apart: each is of all answers of its candidate. "
        f"{typical} is the typical difference between two answers to the same recording."
    )


def headline_answer(
    comparison: Comparison | None,
    order: Sequence[tuple[str, Statistic]],
    emulated: Mapping[str, frozenset[str]],
    metric: str,
    *,
    cut_ins: int = 0,
) -> tuple[str, list[str]]:
    """Return the finding in one sentence, and sentences that carry it.

    Args:
        comparison: of all candidates; None where there is nothing to compare.
        order: candidates with the p50 of ``metric``, the fastest first.
        emulated: for each candidate the metrics that are EMULATED.
        metric: what decides: the response, or what the driver measures in its place.
        cut_ins: how many trials cut in, where there is one candidate; they rank with the failures.
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
            early = f", {cut_ins} cut in" if cut_ins else ""
            return said, [f"{carried}, {value.failures - cut_ins} failed{early}."]
        if isinstance(value, TimedOut):
            return f"Half of the trials of {name} failed or timed out.", []
        return f"Too few trials to say how fast {name} is.", [f"{value.reason}."]
    if isinstance(value, TimedOut):
        return "Half of the trials of every candidate failed or timed out.", []
    second = order[1][0]
    pair = None if comparison is None else between(comparison, best, second)
    aside = ""
    if comparison is not None and comparison.pairs and pair is None:
        # Of many candidates each is compared with the reference alone.
        second = comparison.pairs[0].reference
        pair = between(comparison, best, second)
        aside = f"{best} has the lowest median of {len(order)} candidates, each of which was "
        aside += f"compared with {second} alone."
    leading = None if pair is None else typical_of(pair, metric)
    if comparison is None or pair is None or leading is None:
        return f"{best} and {second} were not compared with each other.", []
    if isinstance(leading.change, Unsupported):
        return f"Too few trials to compare {best} with {second}.", [f"{leading.change.reason}."]
    detected = leading.finding in {"faster", "slower"}
    sentence = with_proviso(pair, leading)
    if not detected:
        sentence = f"No detectable difference between {name} and "
        sentence += f"{name_of(second, metric in emulated[second])}."
    support = [aside] if aside else []
    medians = [each for other, each in order if other in (best, second)]
    lines = (evidence(pair, leading, comparison.family), _medians_apart(leading, medians))
    support += [line for line in lines if line]
    if not detected:
        seen = seen_text(metric, leading.change)
        support.append(f"{seen[:1].upper()}{seen[1:]}.")
    if len(order) > 2:
        others = ", ".join(each for each, _ in order if each not in (best, second))
        told = "The others, the fastest first" if aside else "Behind them, in this order"
        support.append(f"{told}: {others}.")
    support.extend(statement_of(pair, each) for each in pair.rates if each.rate == "wer")
    return sentence, support


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
