"""Trials of one candidate, split by what they had in common: a condition, a route.

A group's figures are those of a run that had performed its trials alone: the same statistics, the
same rules for failures, the utterance as the cluster. Groups are not compared here. Where the
suite made them (a condition is heard by every candidate over the same utterances) their figures may
be held side by side; where somebody else made them (a router chose who answers) they may not, since
the router may have sent the hard turns to one of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.analysis.statistics.estimate import Statistic, estimate_rate
from harness.analysis.summary.figures import Statistics
from harness.analysis.summary.samples import Row, cluster_of
from harness.analysis.summary.summary import statistics_of
from harness.analysis.summary.words import WordErrors, word_errors
from harness.analysis.turn.definitions import METRICS
from harness.domain.condition import condition_label
from harness.domain.request import Request
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial

__all__ = [
    "BREAKDOWN_METRICS",
    "UNROUTED",
    "Group",
    "breakdown",
    "by_condition",
    "by_language",
    "by_route",
]

BREAKDOWN_METRICS: tuple[str, ...] = (
    "response",
    "stt_final",
    "stt_finalize",
    "endpointing",
    "llm_ttft",
    "tts_first_byte",
)
UNROUTED = "route not told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The trials of one candidate that share a key.

    Attributes:
        key: what they share, as shown.
        trials: how many, failures included.
        failed: how many of them failed.
        failure_rate: with its interval.
        metrics: by id, those that any trial of the group has.
        words: pooled word (or character) errors; None where no utterance has a text.
    """

    key: str
    trials: int
    failed: int
    failure_rate: Statistic
    metrics: Mapping[str, Statistics]
    words: WordErrors | None


def by_condition(row: Row) -> str:
    """Return the condition under which a trial was heard: "clean" where the suite has none."""
    return condition_label(row.trial.key.condition)


def by_language(row: Row) -> str:
    """Return the language of a trial's utterance, as the dataset has it."""
    return row.utterance.language


def by_route(stage: Stage) -> Callable[[Row], str | None]:
    """Return a key: who answered a trial's request of a stage, as a router told it.

    The key is "provider/model" from the facts ``route.provider`` and ``route.model`` of the request
    behind the audible reply, else of the stage's first request that was not cancelled. None, which
    leaves the trial out, where no request of the stage was made.
    """

    def key(row: Row) -> str | None:
        found = _answered(row, stage)
        if found is None:
            return None
        parts = [found.facts.get(name) for name in ("route.provider", "route.model")]
        named = [str(each) for each in parts if each]
        return "/".join(named) if named else UNROUTED

    return key


def _answered(row: Row, stage: Stage) -> Request | None:
    for turn in row.trial.turns:
        mine = [each for each in turn.requests if each.stage is stage]
        chosen = next((each for each in turn.chain() if each.stage is stage), None)
        if chosen is None:
            chosen = next((each for each in mine if not each.cancelled), None)
        if chosen is not None:
            return chosen
    return None


def breakdown(
    rows: Sequence[Row],
    key: Callable[[Row], str | None],
    *,
    order: Iterable[str] = (),
    metrics: Sequence[str] = BREAKDOWN_METRICS,
    confidence: float = 0.95,
) -> tuple[Group, ...]:
    """Return the figures of each group of trials.

    Args:
        rows: the main view of one candidate's trials, measured.
        key: what a trial is grouped by; None leaves it out.
        order: keys in the order in which they are to stand; others follow by name.
        metrics: which to estimate, by id.
        confidence: of the intervals.
    """
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        name = key(row)
        if name is not None:
            grouped.setdefault(name, []).append(row)
    places = {name: place for place, name in enumerate(order)}
    names = sorted(grouped, key=lambda name: (places.get(name, len(places)), name))
    return tuple(_group(name, grouped[name], metrics, confidence) for name in names)


def _group(name: str, rows: Sequence[Row], metrics: Sequence[str], confidence: float) -> Group:
    failed = [isinstance(row.trial, FailedTrial) for row in rows]
    found = {
        metric_id: statistics
        for metric_id in metrics
        if metric_id in METRICS
        and (statistics := statistics_of(metric_id, rows, confidence=confidence)).n
    }
    return Group(
        key=name,
        trials=len(rows),
        failed=sum(failed),
        failure_rate=estimate_rate(
            failed, clusters=[cluster_of(row.utterance.id) for row in rows], confidence=confidence
        ),
        metrics=MappingProxyType(found),
        words=word_errors(rows, confidence=confidence),
    )
