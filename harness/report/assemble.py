"""A run and its analysis as a report view: what is shown, in which order, in which words."""

from collections.abc import Collection

from harness.analysis.compare.changes import Comparison
from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_within
from harness.analysis.compare.grid import GridComparison, compare_grid
from harness.analysis.statistics.estimate import Estimate, Statistic, TimedOut
from harness.analysis.summary.figures import CandidateSummary, RunSummary
from harness.analysis.summary.interruptions import cut_ins_of
from harness.analysis.summary.samples import make_rows
from harness.analysis.summary.words import word_rate
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.analysis.turn.disturbance import select
from harness.analysis.turn.formulas import FINALS_ONLY
from harness.collector import collector_off
from harness.domain.suite import Clock, Driver, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.report.breakdowns import breakdown_tables
from harness.report.cautions import caution_views
from harness.report.comparisons import comparison_answer, comparison_notes, comparison_views
from harness.report.details import trial_views
from harness.report.findings import describe_time, headline_answer
from harness.report.format import (
    VIRTUAL_NOTE,
    Unit,
    candidate_title,
    cell,
    count,
    in_characters,
    missing,
    plural,
)
from harness.report.grid import grid_answer, grid_matrix
from harness.report.inputs import RunData
from harness.report.panels import (
    all_metrics,
    failure_rows,
    trust,
    word_error_rows,
    word_error_totals,
)
from harness.report.plots import (
    distribution_views,
    finals_only,
    pareto_points,
    tells,
    waterfall_views,
)
from harness.report.settings import candidate_stages, definitions, settings
from harness.report.view import (
    CandidateView,
    HeadlineCell,
    HeadlineColumn,
    HeadlineRow,
    ReportView,
)

__all__ = ["build_view"]

_HEADLINE = {
    Driver.SESSION: (
        "response",
        "stt_first_transcript",
        "stt_final",
        "llm_ttft",
        "tts_first_byte",
        "wer",
        "tts_wer",
        "interruption",
        "missed_interruptions",
        "false_interruptions",
    ),
    Driver.STAGE: (
        "stt_first_transcript",
        "stt_finalize",
        "llm_ttft",
        "tts_first_byte",
        "tts_first_audible",
        "wer",
        "tts_wer",
    ),
}
_DECIDING = ("response", "llm_ttft", "stt_finalize", "tts_first_byte", "wer")

_EMULATED = (
    "comes from a latency profile of the gateway on this machine, not from a provider. It shows "
    "what the harness can see; it declares no winner between real models."
)


def _emulated_note(emulated: Collection[bool]) -> str:
    if not any(emulated):
        return ""
    return f"Every figure{'' if all(emulated) else ' marked so'} {_EMULATED}"


def _columns(summary: RunSummary, driver: Driver) -> tuple[str, ...]:
    return tuple(
        metric
        for metric in _HEADLINE[driver]
        if any(
            tells(each, metric)
            or ((kind := word_rate(metric)) is not None and each.pooled(kind) is not None)
            for each in summary.candidates.values()
        )
    )


def _headline_cell(candidate: CandidateSummary, metric: str) -> HeadlineCell:
    found = candidate.metrics.get(metric)
    kind = word_rate(metric)
    if kind is not None:
        words = candidate.pooled(kind)
        stage = Stage.STT if kind == "wer" else Stage.TTS
        why = "no utterance has a text" if kind == "wer" else "no recogniser heard the replies"
        shown = (
            missing(why)
            if words is None
            else cell(words.rate, Unit.RATE, emulated=stage in candidate.emulated)
        )
        if words is not None and words.unit == "character":
            shown = in_characters(shown)
        return HeadlineCell(
            statistics=(("pooled", shown),),
            n=0 if found is None else found.main.n,
            failures=0 if found is None else found.main.failures,
        )
    if metric in EVENTS:
        rate = candidate.events.get(metric)
        shown = (
            missing("no trial asks for it")
            if rate is None or found is None
            else cell(rate, Unit.RATE, emulated=found.emulated)
        )
        return HeadlineCell(
            statistics=(("rate", shown),),
            n=0 if found is None else found.main.n,
            failures=0 if found is None else found.main.failures,
        )
    if found is None or finals_only(candidate, metric):
        absent = missing("its STT sends finals only" if found else "not measured")
        return HeadlineCell(statistics=(("p50", absent), ("p95", absent)), n=0, failures=0)
    unit = Unit(found.metric.unit)
    return HeadlineCell(
        statistics=tuple(
            (name, cell(found.main.get(name), unit, emulated=found.emulated))
            for name in ("p50", "p95")
        ),
        n=found.main.n,
        failures=found.main.failures,
    )


def _ranked(summary: RunSummary, metric: str) -> list[tuple[str, Statistic]]:
    """Return candidates by the p50 of a metric; those that timed out come last."""
    found = [
        (name, each.metrics[metric].main.p50)
        for name, each in summary.candidates.items()
        if metric in each.metrics
    ]

    def place(item: tuple[str, Statistic]) -> tuple[int, float]:
        value = item[1]
        if isinstance(value, Estimate):
            return 0, value.point
        if isinstance(value, TimedOut):
            return 2, 0.0
        seen = value.observed
        return (1, 0.0) if not isinstance(seen, float) else (0, seen)

    return sorted(found, key=place)


def _subtitle(data: RunData, counted: int) -> tuple[str, ...]:
    heard = len({trial.key.utterance for trial in data.trials})
    datasets = ", ".join(
        " ".join(str(each[key]) for key in ("name", "version") if each.get(key))
        for each in data.datasets
    )
    via = "through the gateway" if data.suite.via is Via.GATEWAY else "live"
    return tuple(
        part
        for part in (
            data.started,
            f"{data.suite.driver.value} driver, {via}",
            f"{plural(heard, 'utterance')}" + (f" of {datasets}" if datasets else ""),
            f"{plural(counted, 'trial')}",
        )
        if part
    )


def build_view(data: RunData) -> ReportView:
    """Return everything that the report of a run shows.

    Raises:
        KeyError: a trial's utterance is not among the utterances.
    """
    with collector_off():
        return _build(data)


def _build(data: RunData) -> ReportView:
    summary = data.summary
    names = tuple(summary.candidates)
    indices = {name: index for index, name in enumerate(names)}
    mine: dict[str, list[Trial | FailedTrial]] = {name: [] for name in names}
    for trial in data.trials:
        mine[trial.key.candidate].append(trial)
    selections = {name: select(trials) for name, trials in mine.items()}
    rows = make_rows(data.trials, data.utterances)
    by_trial = {id(row.trial): row for row in rows}
    counted = {
        name: [by_trial[id(trial)] for trial in each.main] for name, each in selections.items()
    }
    emulated = {name: bool(each.emulated) for name, each in summary.candidates.items()}
    emulated_metrics = {
        name: frozenset(metric for metric, found in each.metrics.items() if found.emulated)
        for name, each in summary.candidates.items()
    }
    columns = _columns(summary, data.suite.driver)
    deciding = next(
        (
            metric
            for metric in _DECIDING
            if any(metric in each.metrics for each in summary.candidates.values())
        ),
        "response",
    )
    falls = {
        id(trial): fall
        for trial in data.trials
        if trial.turns and isinstance(fall := waterfall(trial.turns[0]), Waterfall)
    }
    # Each stage alone has no critical path: its trials are not turns.
    staged = data.suite.driver is Driver.STAGE
    waterfalls = waterfall_views(
        [] if staged else [(indices[name], summary.candidates[name]) for name in names],
        selections,
        falls,
    )
    planned = sum(each.planned for each in summary.candidates.values())
    comparison, matrix, apart = data.comparison, None, None
    if comparison is None:
        comparison = _compared(data)
        grid = None if comparison is None else _factors(data)
        if grid is None:
            order = _ranked(summary, deciding)
            early = sum(map(cut_ins_of, summary.candidates.values()))
            answer, support = headline_answer(
                comparison,
                order,
                emulated_metrics,
                deciding,
                cut_ins=early if deciding == "response" else 0,
            )
        else:
            comparison, apart = grid.comparison, comparison
            answer, support = grid_answer(grid, deciding, planned)
            matrix = grid_matrix(grid, summary, deciding)
    else:
        answer, carried = comparison_answer(comparison)
        support = list(carried)
    where = describe_time(waterfalls, names)
    failed = sum(each.failed for each in summary.candidates.values())
    early = sum(map(cut_ins_of, summary.candidates.values()))
    if early:
        support.insert(0, f"Cut in on {count(early)} of {plural(planned, 'caller')}.")
    if where:
        support.append(where)
    if failed:
        support.append(f"{count(failed)} of {plural(planned, 'trial')} failed.")
    distributions = distribution_views(names, summary, counted, data.suite.target_ms)
    shown = [*(each.metric for each in distributions), *EVENTS]
    trial_metrics = tuple(metric for metric in columns if metric in shown)
    return ReportView(
        title=data.suite.name,
        subtitle=_subtitle(data, planned),
        run=data.run,
        answer=answer,
        support=tuple(support),
        emulated=_emulated_note(emulated.values()),
        virtual=VIRTUAL_NOTE if data.suite.clock is Clock.VIRTUAL else "",
        verdict=data.verdict,
        cautions=caution_views(
            # The banner says the one; of the other there is no figure to be careful with.
            [
                each
                for each in data.cautions
                if each.code != "emulated"
                and (each.code != "finals_only" or "stt_first_transcript" in columns)
            ],
            len(names),
        ),
        candidates=tuple(
            CandidateView(
                name=candidate_title(name, emulated=emulated[name]),
                stages=candidate_stages(data, name),
                emulated=emulated[name],
                voice=_voice(data, name),
            )
            for name in names
        ),
        columns=tuple(
            HeadlineColumn(
                metric=metric,
                name=METRICS[metric].title,
                note=_column_note(summary, metric),
            )
            for metric in columns
        ),
        rows=tuple(
            HeadlineRow(
                candidate=indices[name],
                trials=summary.candidates[name].planned,
                failures=summary.candidates[name].failed,
                cells=tuple(_headline_cell(summary.candidates[name], each) for each in columns),
            )
            for name in names
        ),
        waterfalls=waterfalls,
        distributions=distributions,
        comparisons=() if comparison is None else comparison_views(comparison, leading=deciding),
        comparison_notes=() if comparison is None else comparison_notes(comparison),
        matrix=matrix,
        pairs=() if apart is None else comparison_views(apart, leading=deciding),
        pair_notes=() if apart is None else comparison_notes(apart),
        pareto=pareto_points(names, summary),
        word_errors=word_error_rows(counted, indices),
        word_error_totals=word_error_totals(summary),
        failures=failure_rows(names, selections),
        trust=trust(data, selections),
        settings=settings(data),
        definitions=definitions({*columns, *shown}),
        trial_metrics=tuple(
            (metric, METRICS[metric].title, METRICS[metric].unit) for metric in trial_metrics
        ),
        trials=trial_views(
            data,
            rows,
            selections=selections,
            falls=falls,
            metrics=trial_metrics,
            candidates=indices,
            emulated=emulated,
        ),
        all_metrics=all_metrics(summary),
        latency_name=METRICS[deciding].title,
        confidence=f"{summary.confidence:.0%}".replace("%", "\u00a0%"),
        extra=data.extra,
        breakdowns=breakdown_tables(counted, summary, data.suite),
    )


def _compared(data: RunData) -> Comparison | None:
    """Return the comparison of the run's candidates; None where there is none to compare."""
    performed = {trial.key.candidate for trial in data.trials if not trial.key.warmup}
    if len(performed) < 2:
        return None
    return compare_within(_measured(data), confidence=data.summary.confidence)


def _factors(data: RunData) -> GridComparison | None:
    """Return what the parts of a grid do; None where the candidates make none."""
    return compare_grid(_measured(data), confidence=data.summary.confidence)


def _measured(data: RunData) -> MeasuredRun:
    return MeasuredRun(
        name=data.run, suite=data.suite, utterances=data.utterances, trials=data.trials
    )


def _voice(data: RunData, name: str) -> str:
    candidate = next((each for each in data.suite.candidates if each.name == name), None)
    if candidate is None or candidate.tts is None:
        return ""
    return candidate.tts.voice or ""


def _column_note(summary: RunSummary, metric: str) -> str:
    if metric == "wer":
        left_out = max(
            (each.words.left_out for each in summary.candidates.values() if each.words), default=0
        )
        return f"without {plural(left_out, 'turn')} scored by character" if left_out else ""
    finals = any(
        FINALS_ONLY in each.metrics[metric].notes
        for each in summary.candidates.values()
        if tells(each, metric)
    )
    return "of some turns that of the final" if finals else ""
