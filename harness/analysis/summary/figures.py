"""The figures of a run: of each metric, each candidate, and the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.analysis.statistics.estimate import (
    Estimate,
    Statistic,
    Unsupported,
)
from harness.analysis.summary.agreement import Disagreement
from harness.analysis.summary.costs import Cost
from harness.analysis.summary.words import WordErrors, WordRate
from harness.analysis.turn.definitions import Metric
from harness.analysis.turn.typical import MeanPart
from harness.domain.request import FailureKind
from harness.domain.timeline import Stage

__all__ = ["CandidateSummary", "FailureCount", "MetricSummary", "RunSummary", "Statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The estimates of one metric over one set of trials, in the metric's unit.

    Attributes:
        n: trials with a value or a failure that counts.
        failures: how many of them failed.
        p50, p90, p95, p99: percentiles; of a metric where more is better, the value that so many
            trials reach.
        mean: of the answered.
    """

    n: int
    failures: int
    p50: Statistic
    p90: Statistic
    p95: Statistic
    p99: Statistic
    mean: Statistic

    def get(self, name: str) -> Statistic:
        """Return an estimate by its name.

        Raises:
            KeyError: there is none of that name.
        """
        found = {
            "p50": self.p50,
            "p90": self.p90,
            "p95": self.p95,
            "p99": self.p99,
            "mean": self.mean,
        }
        return found[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """One metric of one candidate.

    Attributes:
        metric: its definition.
        main: the headline.
        undisturbed: without disturbed trials.
        everything: with every attempt.
        missing: turns without it, by reason.
        notes: values with a note ("finals only"), by note.
        negative: how many values of ``main`` lie below 0.
        emulated: a gateway profile stood behind it.
    """

    metric: Metric
    main: Statistics
    undisturbed: Statistics
    everything: Statistics
    missing: Mapping[str, int]
    notes: Mapping[str, int]
    negative: int
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How many trials failed in one way.

    Attributes:
        stage, kind: the way.
        count: in the main view.
        example: what one of them said.
    """

    stage: Stage
    kind: FailureKind
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSummary:
    """All that a run says of one candidate.

    Attributes:
        candidate: its name.
        planned: trials in the main view, failures included.
        failed: how many of them failed.
        failure_rate: with its interval.
        failures: by stage and kind, the most frequent first.
        warmups: labelled trials, in no view.
        disturbed: attempts that were disturbed.
        reruns: attempts beyond the first.
        excluded: trials in the main view of which every attempt was disturbed.
        booted: planned trials that the main view lacks: each attempt found a deployment scaled to
            zero.
        metrics: by id, in the table's order; those that no trial has are absent.
        events: rates of what happened when something was said over the reply, by metric; empty
            where nothing was.
        words: pooled word errors; None where no utterance has a text.
        spoken: pooled word errors of the replies; None where no recogniser heard them again.
        correct: turns whose WER lies within the suite's limit.
        judged: turns whose WER is known.
        parts: mean length of each part of the response, in the main view.
        reported: LiveKit's numbers beside ours.
        cost: what the trials cost; None where the suite gives no price for it.
        emulated: the stages that ran through the gateway.
    """

    candidate: str
    planned: int
    failed: int
    failure_rate: Estimate | Unsupported
    failures: tuple[FailureCount, ...]
    warmups: int
    disturbed: int
    reruns: int
    excluded: int
    booted: int
    metrics: Mapping[str, MetricSummary]
    words: WordErrors | None
    correct: int
    judged: int
    parts: tuple[MeanPart, ...]
    reported: tuple[Disagreement, ...]
    cost: Cost | None
    emulated: frozenset[Stage]
    spoken: WordErrors | None = None
    events: Mapping[str, Estimate | Unsupported] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def pooled(self, metric_id: WordRate) -> WordErrors | None:
        """Return the pooled errors of a metric that is a rate over words."""
        return self.words if metric_id == "wer" else self.spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Estimates of one run.

    Attributes:
        suite: its name.
        candidates: by name, in the suite's order.
        confidence: nominal coverage of every interval.
    """

    suite: str
    candidates: Mapping[str, CandidateSummary]
    confidence: float
