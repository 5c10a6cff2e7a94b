"""What the plots of a report show: typical turns, curves, latency against word errors."""

import math
from collections.abc import Mapping, Sequence

from harness.analysis.compare.standings import contenders, leading_latency
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.statistics.pareto import pareto
from harness.analysis.statistics.quantile import quantile_index
from harness.analysis.summary.figures import CandidateSummary, MetricSummary, RunSummary
from harness.analysis.summary.samples import Row
from harness.analysis.turn.attribution import Waterfall
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.analysis.turn.disturbance import Selection
from harness.analysis.turn.formulas import FINALS_ONLY
from harness.domain.trial import FailedTrial, Trial
from harness.report.decisions import standing_text
from harness.report.details import bars_of
from harness.report.format import (
    Unit,
    cell,
    milliseconds,
)
from harness.report.trial_view import WaterfallView
from harness.report.view import Curve, Distribution, LatencyAccuracyPoint

__all__ = ["distribution_views", "finals_only", "pareto_points", "tells", "waterfall_views"]


# A curve of more points than pixels is no truer.
_MOST_POINTS = 400


def _typical(
    trials: Sequence[Trial | FailedTrial], falls: Mapping[int, Waterfall], share: float
) -> tuple[Trial | FailedTrial, Waterfall] | None:
    """Return the actual turn whose response is a percentile, by the law of ``typical_turn``.

    The waterfalls are computed once for all trials, so that a large run is not walked again.
    """
    found = [
        (falls[id(trial)].response_ns, trial.key.order, trial)
        for trial in trials
        if isinstance(trial, Trial) and id(trial) in falls
    ]
    failures = sum(isinstance(trial, FailedTrial) for trial in trials)
    if not found:
        return None
    index = quantile_index(len(found) + failures, share)
    if index >= len(found):
        return None
    trial = sorted(found, key=lambda each: each[:2])[index][2]
    return trial, falls[id(trial)]


def waterfall_views(
    candidates: Sequence[tuple[int, CandidateSummary]],
    selections: Mapping[str, Selection],
    falls: Mapping[int, Waterfall],
) -> tuple[WaterfallView, ...]:
    """Return the median and the p95 turn of each candidate."""
    views = []
    for index, candidate in candidates:
        trials = selections[candidate.candidate].main
        shown = [("median turn", 0.5)]
        response = candidate.metrics.get("response")
        # A p95 that the trials cannot carry has no turn that stands for it.
        if response is not None and isinstance(response.main.p95, Estimate):
            shown.append(("p95 turn", 0.95))
        for title, share in shown:
            found = _typical(trials, falls, share)
            if found is not None:
                views.append(_waterfall(index, title, *found))
    return tuple(views)


def _waterfall(
    index: int, title: str, trial: Trial | FailedTrial, falls: Waterfall
) -> WaterfallView:
    return WaterfallView(
        candidate=index,
        title=title,
        trial=trial.key.id,
        bars=bars_of(falls),
        response_ns=falls.response_ns,
        response=milliseconds(falls.response_ns),
        note="Answered before the end of speech: nothing to split."
        if falls.response_ns <= 0
        else "",
    )


def _curve(index: int, rows: Sequence[Row], found: MetricSummary) -> Curve:
    metric = found.metric
    values = sorted(v for row in rows if (v := row.value(metric.id)) is not None)
    n, failures = found.main.n, found.main.failures
    total = max(1, len(values) + failures)
    step = max(1, math.ceil(len(values) / _MOST_POINTS))
    kept = sorted({*range(step - 1, len(values), step), *([len(values) - 1] if values else [])})
    unit = Unit(metric.unit)
    return Curve(
        candidate=index,
        points=tuple((values[k], (k + 1) / total) for k in kept),
        n=n,
        failures=failures,
        quantiles=tuple(
            (name, cell(found.main.get(name), unit, emulated=found.emulated))
            for name in ("p50", "p90", "p95", "p99")
        ),
    )


def distribution_views(
    names: Sequence[str],
    summary: RunSummary,
    rows: Mapping[str, Sequence[Row]],
    target_ms: float,
) -> tuple[Distribution, ...]:
    """Return the curves of each metric that has been measured.

    Args:
        names: of the candidates.
        summary: of the run.
        rows: the counted trials of each candidate.
        target_ms: the response that the suite aims at.
    """
    shown = []
    for metric in (each for each in METRICS.values() if each.id not in EVENTS):
        curves = tuple(
            _curve(index, rows[name], summary.candidates[name].metrics[metric.id])
            for index, name in enumerate(names)
            if tells(summary.candidates[name], metric.id)
        )
        if any(curve.points for curve in curves):
            shown.append(
                Distribution(
                    metric=metric.id,
                    name=metric.title,
                    unit=metric.unit,
                    emulated=any(
                        metric.id in each.metrics and each.metrics[metric.id].emulated
                        for each in summary.candidates.values()
                    ),
                    curves=curves,
                    target=target_ms if metric.id == "response" else None,
                )
            )
    return tuple(shown)


def pareto_points(names: Sequence[str], summary: RunSummary) -> tuple[LatencyAccuracyPoint, ...]:
    """Return the points of the plot; who is on the front is decided over all objectives."""
    latency = leading_latency(summary)
    if latency is None:
        return ()
    contending = contenders(summary, latency=latency)
    points = []
    for contender, standing in zip(contending, pareto(contending), strict=True):
        p50, rate = contender.objectives[latency], contender.objectives.get("wer")
        if not isinstance(p50, Estimate) or not isinstance(rate, Estimate):
            continue
        emulated = summary.candidates[contender.name].metrics[latency].emulated
        points.append(
            LatencyAccuracyPoint(
                candidate=names.index(contender.name),
                latency=cell(p50, Unit.MILLISECONDS, emulated=emulated),
                error=cell(rate, Unit.RATE, emulated=emulated),
                on_front=standing.on_front,
                standing=standing_text(standing),
            )
        )
    return tuple(points)


def finals_only(candidate: CandidateSummary, metric: str) -> bool:
    """Tell whether a time to first transcript is that of the final in every trial."""
    found = candidate.metrics.get(metric)
    if metric != "stt_first_transcript" or found is None:
        return False
    return found.notes.get(FINALS_ONLY, 0) >= found.main.n - found.main.failures


def tells(candidate: CandidateSummary, metric: str) -> bool:
    """Tell whether a candidate has a metric that says something of its own."""
    return metric in candidate.metrics and not finals_only(candidate, metric)
