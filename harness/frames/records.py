"""The rows of each table as plain values: from a stored run and its analysis, without pandas."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from harness.analysis.statistics.estimate import Statistic, TimedOut, Unsupported
from harness.analysis.summary.figures import CandidateSummary
from harness.analysis.summary.samples import Row, make_rows
from harness.analysis.summary.summary import emulated_stages, summarise
from harness.analysis.summary.words import WordRate
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.analysis.turn.disturbance import select
from harness.analysis.turn.reading import late_transcript, marks_of, transcript_text
from harness.collector import collector_off
from harness.domain.request import Request
from harness.domain.suite import Driver
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial, Turn
from harness.frames.columns import TableName
from harness.report.details import failure_of, request_bounds, status_of, tags_of, trial_tags
from harness.report.export import metric_column
from harness.report.format import candidate_title
from harness.report.providers import provider_facts, request_facts
from harness.store.runs.run import Run

__all__ = ["Record", "Records"]

Record = Mapping[str, str | int | float | bool | None]
"""A row: each column of its table by name, None where it is missing."""

_MS = 1_000_000
_METRIC_COLUMNS = {each.id: metric_column(each.id, each.unit) for each in METRICS.values()}
_POOLED: tuple[WordRate, ...] = ("wer", "tts_wer")


def _ms(ns: int | None, origin_ns: int = 0) -> float | None:
    return None if ns is None else (ns - origin_ns) / _MS


def _origin(trial: Trial | FailedTrial, turn: Turn) -> int:
    """Return what a turn's instants are counted from, as in the report."""
    return marks_of(turn).get(Mark.SPEECH_END, trial.started_ns)


class Records:
    """The rows of a run's tables, in the order of the plan.

    Args:
        run: is read from its folder when a table is asked for first.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def of(self, table: TableName) -> list[Record]:
        """Return a table's rows."""
        with collector_off():
            return list(getattr(self, f"_{table}")())

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        utterances = {each.id: each for each in self.run.plan.utterances}
        rows = make_rows(self.run.trials(), utterances)
        return tuple(sorted(rows, key=lambda row: (row.trial.key.order, row.trial.key.attempt)))

    @cached_property
    def _emulated(self) -> Mapping[str, bool]:
        suite, trials = self.run.plan.suite, self.run.trials()
        return {each.name: bool(emulated_stages(suite, each, trials)) for each in suite.candidates}

    def _title(self, candidate: str) -> str:
        return candidate_title(candidate, emulated=self._emulated.get(candidate, False))

    def _trials(self) -> Iterator[Record]:
        suite = self.run.plan.suite
        voices = {
            each.name: None if each.tts is None else each.tts.voice for each in suite.candidates
        }
        # What is planned is named by its candidate too: one selection serves all.
        counted = frozenset(id(each) for each in select(row.trial for row in self._rows).main)
        for row in self._rows:
            trial, key = row.trial, row.trial.key
            status, note = status_of(trial, counted)
            yield {
                "run": self.run.name,
                "trial": key.id,
                "candidate": self._title(key.candidate),
                "voice": voices.get(key.candidate),
                "utterance": key.utterance,
                "condition": key.condition,
                "barge_in": key.barge_in,
                "repeat": key.repeat,
                "order": key.order,
                "attempt": key.attempt,
                "driver": trial.driver,
                "status": status.value,
                "counted": id(trial) in counted,
                "failure": failure_of(trial),
                "note": note,
                "tags": "; ".join(trial_tags(key, tags_of(row.utterance))),
                "emulated": self._emulated.get(key.candidate, False),
                "clock": suite.clock.value,
                **{column: row.value(metric) for metric, column in _METRIC_COLUMNS.items()},
                **dict(provider_facts(row, suite)),
            }

    def _turns(self) -> Iterator[Record]:
        references = {each.id: each.reference for each in self.run.plan.utterances}
        for row in self._rows:
            for turn in row.trial.turns:
                reply, origin, marks = turn.reply, _origin(row.trial, turn), marks_of(turn)
                gaps = None if reply is None else reply.underruns_ns
                answers = [
                    each.text
                    for each in turn.requests
                    if each.stage is Stage.LLM and not each.cancelled and each.text
                ]
                yield {
                    "trial": row.trial.key.id,
                    "turn": turn.index,
                    "utterance": turn.utterance,
                    "reference": references.get(turn.utterance),
                    "heard": transcript_text(turn),
                    "heard_late": late_transcript(turn),
                    "answer": " ".join(answers),
                    "reply_s": None if reply is None else reply.samples / reply.sample_rate,
                    "leading_silence_ms": None
                    if reply is None
                    else reply.leading_silence * 1000 / reply.sample_rate,
                    "underruns": None if gaps is None else len(gaps),
                    "underruns_ms": None if gaps is None else sum(gaps) / _MS,
                    "interrupted": None if reply is None else reply.interrupted,
                    "audio": None if reply is None else reply.audio,
                    **{f"{mark.value}_ms": _ms(marks.get(mark), origin) for mark in Mark},
                }

    def _requests(self) -> Iterator[Record]:
        for row in self._rows:
            for turn in row.trial.turns:
                origin = _origin(row.trial, turn)
                for request in turn.requests:
                    yield {
                        "trial": row.trial.key.id,
                        "turn": turn.index,
                        **_request(request, origin),
                    }

    def _parts(self) -> Iterator[Record]:
        for row in self._rows:
            # Each stage alone has no critical path.
            if row.trial.driver == Driver.STAGE.value:
                continue
            for turn in row.trial.turns:
                falls = waterfall(turn)
                if not isinstance(falls, Waterfall):
                    continue
                for number, part in enumerate(falls.parts):
                    yield {
                        "trial": row.trial.key.id,
                        "turn": turn.index,
                        "part": number,
                        "name": part.name,
                        "title": part.title,
                        "stage": part.stage.value,
                        "kind": part.kind,
                        "start_ms": _ms(part.start_ns, falls.start_ns),
                        "end_ms": _ms(part.end_ns, falls.start_ns),
                        "length_ms": _ms(part.ns),
                    }

    def _summary(self) -> Iterator[Record]:
        plan = self.run.plan
        utterances = {each.id: each for each in plan.utterances}
        summary = summarise(self.run.trials(), utterances, plan.suite)
        for name, candidate in summary.candidates.items():
            whole = {"candidate": self._title(name)}
            for metric, statistic, unit, emulated, found in _statistics(candidate):
                yield {
                    **whole,
                    "metric": metric,
                    "statistic": statistic,
                    "unit": unit,
                    "emulated": emulated,
                    "clock": plan.suite.clock.value,
                    **_estimate(found),
                }


def _request(request: Request, origin_ns: int) -> dict[str, Any]:
    start, end, arrivals = request_bounds(request)
    failure = request.failure
    return {
        "request": request.id,
        "stage": request.stage.value,
        "cause": request.cause.value,
        "parent": request.parent,
        "cancelled": request.cancelled,
        "start_ms": _ms(start, origin_ns),
        "first_ms": _ms(min(arrivals, default=None), origin_ns),
        "end_ms": _ms(end, origin_ns),
        "pieces": len(request.arrivals),
        "text": request.text,
        **request_facts(request),
        "failure": None if failure is None else failure.kind.value,
        "message": None if failure is None else failure.message,
        "http_status": None if failure is None else failure.status,
    }


def _statistics(
    candidate: CandidateSummary,
) -> Iterator[tuple[str, str, str, bool, Statistic]]:
    """Return a candidate's estimates: metric, statistic, unit, emulated, estimate."""
    emulated = bool(candidate.emulated)
    yield "failures", "rate", "rate", emulated, candidate.failure_rate
    for metric, found in candidate.metrics.items():
        unit = METRICS[metric].unit
        if metric in EVENTS:
            rate = candidate.events.get(metric)
            if rate is not None:
                yield metric, "rate", unit, found.emulated, rate
            continue
        for name in ("p50", "p90", "p95", "p99", "mean"):
            yield metric, name, unit, found.emulated, found.main.get(name)
    for kind in _POOLED:
        words = candidate.pooled(kind)
        if words is not None:
            stage = METRICS[kind].stage
            yield kind, "pooled", "rate", stage in candidate.emulated, words.rate


def _estimate(found: Statistic) -> dict[str, Any]:
    if isinstance(found, TimedOut):
        reason = "timed out: it falls among the failures"
        return {"n": found.n, "failures": found.failures, "reason": reason}
    if isinstance(found, Unsupported):
        return {
            "n": found.n,
            "effective_n": found.effective_n,
            "failures": found.failures,
            "reason": found.reason,
        }
    late = isinstance(found.high, TimedOut)
    return {
        "point": found.point,
        "low": found.low,
        "high": None if late else found.high,
        "confidence": found.confidence,
        "n": found.n,
        "effective_n": found.effective_n,
        "failures": found.failures,
        "method": found.method,
        "reason": "the interval's upper end lies among the failures" if late else None,
    }
