"""What a run says of each candidate: estimates, failures, accuracy, cost.

Three views of the same run stand side by side. The main one takes of each planned trial its first
undisturbed attempt, or the last where each was disturbed; the second leaves disturbed trials out;
the third takes every attempt. Warm-ups are in none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from harness.analysis.statistics.estimate import (
    Sample,
    estimate_mean,
    estimate_rate,
)
from harness.analysis.statistics.quantile import estimate_quantiles
from harness.analysis.summary.agreement import REPORTED, Disagreement, disagreements
from harness.analysis.summary.costs import cost_of
from harness.analysis.summary.figures import (
    CandidateSummary,
    FailureCount,
    MetricSummary,
    RunSummary,
    Statistics,
)
from harness.analysis.summary.interruptions import event_rate
from harness.analysis.summary.samples import Row, cluster_of, make_rows, restored, sample_of
from harness.analysis.summary.words import WordErrors, pooled_words, word_errors
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.definitions import EVENTS, METRICS, Metric
from harness.analysis.turn.disturbance import Selection, disturbance, select
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.typical import mean_parts
from harness.domain.candidate import Candidate
from harness.domain.request import FailureKind
from harness.domain.suite import Driver, Suite, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance

__all__ = [
    "REPORTED",
    "SHARES",
    "Disagreement",
    "WordErrors",
    "emulated_stages",
    "is_emulated",
    "statistics_of",
    "statistics_of_sample",
    "summarise",
]

SHARES = (0.5, 0.9, 0.95, 0.99)


def emulated_stages(
    suite: Suite, candidate: Candidate, trials: Iterable[Trial | FailedTrial]
) -> frozenset[Stage]:
    """Return the stages of a candidate that a gateway answered.

    Those of the suite's own candidates are all led to it, or none. A user's own agent has its own
    clients: what counts is where they connected to, as its trials tell, whatever ``via`` says.

    Args:
        suite: the run's plan.
        candidate: of the suite.
        trials: of the run; those of other candidates do not matter.
    """
    stages = (Stage.STT, Stage.LLM, Stage.TTS)
    if candidate.agent is not None:
        mine = (each.emulated for each in trials if each.key.candidate == candidate.name)
        known = [each for each in mine if each is not None]
        if known:
            return frozenset().union(*known)
        # Nobody watched: a run of an earlier version, or without a trial.
        return frozenset(stages if suite.via is Via.GATEWAY else ())
    if suite.via is not Via.GATEWAY:
        return frozenset()
    return frozenset(stage for stage in stages if candidate.stage(stage) is not None)


def is_emulated(metric_id: str, stages: frozenset[Stage]) -> bool:
    """Tell whether a metric is EMULATED when these stages are."""
    stage = METRICS[metric_id].stage
    whole = {None, Stage.ENDPOINTING, Stage.INTERRUPTION}
    return bool(stages) if stage in whole else stage in stages


def summarise(
    trials: Iterable[Trial | FailedTrial],
    utterances: Mapping[str, Utterance],
    suite: Suite,
    *,
    confidence: float = 0.95,
) -> RunSummary:
    """Summarise a run.

    Args:
        trials: all of it, warm-ups and disturbed attempts included.
        utterances: by id; those of all trials.
        suite: the run's plan.
        confidence: nominal coverage of the intervals.
    """
    mine: dict[str, list[Trial | FailedTrial]] = {each.name: [] for each in suite.candidates}
    for trial in trials:
        mine.setdefault(trial.key.candidate, []).append(trial)
    return RunSummary(
        suite=suite.name,
        candidates=MappingProxyType(
            {
                name: _candidate(name, found, utterances, suite, confidence)
                for name, found in mine.items()
            }
        ),
        confidence=confidence,
    )


def _candidate(
    name: str,
    trials: Sequence[Trial | FailedTrial],
    utterances: Mapping[str, Utterance],
    suite: Suite,
    confidence: float,
) -> CandidateSummary:
    chosen = select(trials)
    measured = {id(row.trial): row for row in make_rows(chosen.everything, utterances)}
    main = [measured[id(trial)] for trial in chosen.main]
    undisturbed = [measured[id(trial)] for trial in chosen.undisturbed]
    everything = list(measured.values())
    candidate = next((each for each in suite.candidates if each.name == name), None)
    emulated = (
        frozenset[Stage]() if candidate is None else emulated_stages(suite, candidate, trials)
    )
    falls = [
        fall
        for row in main
        if isinstance(row.trial, Trial)
        and isinstance(fall := waterfall(row.trial.turns[0]), Waterfall)
    ]
    failed = [isinstance(row.trial, FailedTrial) for row in main]
    judged = [row for row in main if row.value("wer") is not None]
    correct = sum((row.value("wer") or 0.0) <= suite.wer_limit for row in judged)
    return CandidateSummary(
        candidate=name,
        planned=len(main),
        failed=sum(failed),
        failure_rate=estimate_rate(failed, clusters=_clusters(main), confidence=confidence),
        failures=_failures(main),
        warmups=sum(trial.key.warmup for trial in trials),
        disturbed=_disturbed(chosen),
        reruns=chosen.reruns,
        excluded=chosen.excluded,
        booted=chosen.booted,
        metrics=MappingProxyType(_metrics(main, undisturbed, everything, emulated, confidence)),
        words=word_errors(main, confidence=confidence),
        spoken=pooled_words("tts_wer", main, confidence=confidence),
        events=MappingProxyType(
            {
                name: rate
                for name in EVENTS
                if (rate := event_rate(name, main, confidence=confidence)) is not None
            }
        ),
        correct=correct,
        judged=len(judged),
        parts=mean_parts(falls),
        reported=disagreements(main),
        cost=None
        if candidate is None
        else cost_of(
            everything,
            candidate,
            suite.prices,
            silence_s={each.name: each.silence_s for each in suite.conditions},
        ),
        emulated=emulated,
    )


def _clusters(rows: Sequence[Row]) -> list[int]:
    return [cluster_of(row.utterance.id) for row in rows]


def _disturbed(chosen: Selection) -> int:
    return sum(disturbance(trial) is not None for trial in chosen.everything)


def _failures(rows: Sequence[Row]) -> tuple[FailureCount, ...]:
    counts: Counter[tuple[Stage, FailureKind]] = Counter()
    examples: dict[tuple[Stage, FailureKind], str] = {}
    for row in rows:
        if isinstance(row.trial, FailedTrial):
            key = (row.trial.failure.stage, row.trial.failure.kind)
            counts[key] += 1
            examples.setdefault(key, row.trial.failure.message)
    return tuple(
        FailureCount(stage=key[0], kind=key[1], count=count, example=examples[key])
        for key, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    )


def _metrics(
    main: Sequence[Row],
    undisturbed: Sequence[Row],
    everything: Sequence[Row],
    emulated: frozenset[Stage],
    confidence: float,
) -> dict[str, MetricSummary]:
    found: dict[str, MetricSummary] = {}
    for metric_id, metric in METRICS.items():
        values = [row.found[metric_id] for row in main]
        if not any(isinstance(each, Measurement) or each.failure is not None for each in values):
            continue
        if not _fits(metric, main):
            continue
        whole = statistics_of(metric_id, main, confidence=confidence)
        same = len(undisturbed) == len(main)
        alone = len(everything) == len(main)
        found[metric_id] = MetricSummary(
            metric=metric,
            main=whole,
            undisturbed=whole
            if same
            else statistics_of(metric_id, undisturbed, confidence=confidence),
            everything=whole
            if alone
            else statistics_of(metric_id, everything, confidence=confidence),
            missing=MappingProxyType(
                Counter(
                    each.reason
                    for each in values
                    if isinstance(each, Missing) and each.failure is None
                )
            ),
            notes=MappingProxyType(
                Counter(each.note for each in values if isinstance(each, Measurement) and each.note)
            ),
            negative=sum(isinstance(each, Measurement) and each.value < 0 for each in values),
            emulated=is_emulated(metric_id, emulated),
        )
    return found


def _fits(metric: Metric, rows: Sequence[Row]) -> bool:
    """Tell whether any of the drivers in use can measure a metric."""
    return any(Driver(row.trial.driver) in metric.drivers for row in rows)


def statistics_of(metric_id: str, rows: Sequence[Row], *, confidence: float = 0.95) -> Statistics:
    """Return the estimates of one metric over rows."""
    found = statistics_of_sample(sample_of(metric_id, rows), confidence=confidence)
    return Statistics(
        n=found.n,
        failures=found.failures,
        p50=restored(metric_id, found.p50),
        p90=restored(metric_id, found.p90),
        p95=restored(metric_id, found.p95),
        p99=restored(metric_id, found.p99),
        mean=restored(metric_id, found.mean),
    )


def statistics_of_sample(sample: Sample, *, confidence: float = 0.95) -> Statistics:
    """Return the estimates of a sample, on the sample's scale."""
    p50, p90, p95, p99 = estimate_quantiles(sample, SHARES, confidence=confidence)
    return Statistics(
        n=sample.n,
        failures=sample.failures,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        mean=estimate_mean(sample, confidence=confidence),
    )
