"""Which trials stand behind a number: one metric of one candidate as a statistical sample.

A failed trial ranks worse than every success in the metrics that its failure touches: the
voice-to-voice response, those of the failed stage, and the end-of-turn decision where the STT
failed. What such a trial measured before it failed still counts: a time-out of the LLM takes
nothing from the STT's figure, and adds nothing to the TTS's.

Where more is better, values are negated within the sample, so that failures and the slow tail lie
at the same end for every metric: the p95 of an output rate is the rate that 95 % of trials reach.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from harness.analysis.statistics.estimate import Estimate, Sample, Statistic, TimedOut, Unsupported
from harness.analysis.turn.definitions import METRICS, OVER_THE_REPLY
from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure_all, measure_turn
from harness.analysis.turn.reading import spoken_score, word_score
from harness.analysis.words.transcript import NoTranscript, Score
from harness.domain.suite import Driver
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, Turn
from harness.domain.utterance import Utterance

__all__ = ["Row", "cluster_of", "failure_counts", "make_rows", "pace_of", "restored", "sample_of"]


_UNHEARD = Missing(reason="no recogniser has heard the reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trial with all that was measured of its first turn.

    Attributes:
        trial: what was performed.
        utterance: what its user said.
        found: each metric's value by id. For a failed trial: what it measured before it failed,
            or its failure where that counts.
        words: the word errors; every word is unheard where the STT failed.
        spoken: the word errors of the reply as a recogniser heard it again.
    """

    trial: Trial | FailedTrial
    utterance: Utterance
    found: Mapping[str, Measurement | Missing]
    words: Score | NoTranscript | Missing
    spoken: Score | NoTranscript | Missing = _UNHEARD

    def value(self, metric_id: str) -> float | None:
        """Return a metric's value, or None where there is none."""
        found = self.found[metric_id]
        return found.value if isinstance(found, Measurement) else None


def failure_counts(stage: Stage, metric_id: str) -> bool:
    """Tell whether a failure of ``stage`` is a failure of the metric."""
    blamed = METRICS[metric_id].stage
    if blamed is None or stage is blamed:
        return True
    return blamed is Stage.ENDPOINTING and stage is Stage.STT


def make_rows(
    trials: Iterable[Trial | FailedTrial], utterances: Mapping[str, Utterance]
) -> tuple[Row, ...]:
    """Measure trials.

    Args:
        trials: in any order.
        utterances: by id.

    Raises:
        KeyError: a trial's utterance is not among them.
    """
    return tuple(_measured(trial, utterances[trial.key.utterance]) for trial in trials)


_KEPT = 50_000
_known: dict[int, Row] = {}
"""What has been measured, by the trial's identity: summary, comparison and report ask in turn."""


def _measured(trial: Trial | FailedTrial, utterance: Utterance) -> Row:
    known = _known.get(id(trial))
    # The row holds its trial, so that the identity cannot pass to another.
    if known is not None and known.trial is trial and known.utterance is utterance:
        return known
    row = _row(trial, utterance)
    if len(_known) >= _KEPT:
        _known.clear()
    _known[id(trial)] = row
    return row


def _row(trial: Trial | FailedTrial, utterance: Utterance) -> Row:
    if isinstance(trial, Trial):
        return Row(
            trial=trial,
            utterance=utterance,
            found=measure_all(trial, utterance),
            words=word_score(trial.turns[0], utterance),
            spoken=spoken_score(trial.turns[0], utterance),
        )
    found = {metric_id: _of_failed(trial, metric_id, utterance) for metric_id in METRICS}
    return Row(trial=trial, utterance=utterance, found=found, words=_words(trial, utterance))


def _of_failed(trial: FailedTrial, metric_id: str, utterance: Utterance) -> Measurement | Missing:
    failure = trial.failure
    if Driver(trial.driver) not in METRICS[metric_id].drivers:
        return Missing(reason=f"not measured by the {trial.driver} driver")
    reason = f"failed: {failure.stage.value} {failure.kind.value}"
    if metric_id in OVER_THE_REPLY and trial.key.expects not in OVER_THE_REPLY[metric_id]:
        return Missing(reason="no such speech was to be said over the reply")
    if metric_id == "cut_ins":
        # A failure is counted as what it is.
        return Measurement(value=0.0)
    if metric_id == "greeting":
        return Missing(reason=reason)
    if metric_id == "tts_wer":
        # Intelligibility is asked of replies; a reply that did not come is a failure elsewhere.
        return Missing(reason=reason)
    if failure_counts(failure.stage, metric_id):
        return Missing(reason=reason, failure=failure)
    if trial.turns:
        return measure_turn(metric_id, trial.turns[0], utterance)
    return Missing(reason=reason)


def _words(trial: FailedTrial, utterance: Utterance) -> Score | NoTranscript | Missing:
    if trial.failure.stage is Stage.STT and utterance.expect == "speech":
        return word_score(Turn(index=0, utterance=utterance.id), utterance)
    if trial.turns:
        return word_score(trial.turns[0], utterance)
    return Missing(reason=f"failed: {trial.failure.stage.value} {trial.failure.kind.value}")


@lru_cache(maxsize=65_536)
def cluster_of(utterance_id: str) -> int:
    """Return the number that stands for an utterance in every sample of every run."""
    return int.from_bytes(hashlib.sha256(utterance_id.encode()).digest()[:7], "big")


def sample_of(metric_id: str, rows: Sequence[Row]) -> Sample:
    """Return one metric of rows as a sample, failures flagged, utterances as clusters.

    Turns that merely lack the metric are left out: they are counted by their reason elsewhere.
    """
    sign = -1.0 if METRICS[metric_id].better == "higher" else 1.0
    clusters = [cluster_of(row.utterance.id) for row in rows]
    return _sample(metric_id, rows, clusters, lambda value: sign * value)


def pace_of(metric_id: str, rows: Sequence[Row], clusters: Sequence[int]) -> Sample:
    """Return a sample in which more is slower, on a scale that has ratios, for comparisons.

    Where more is better, the value's reciprocal stands in: seconds for each token.

    Args:
        metric_id: which metric.
        rows: the trials of one side.
        clusters: what each is paired within.
    """
    if METRICS[metric_id].better == "higher":
        return _sample(metric_id, rows, clusters, lambda value: 1.0 / value)
    return _sample(metric_id, rows, clusters, lambda value: value)


def _sample(
    metric_id: str,
    rows: Sequence[Row],
    clusters: Sequence[int],
    scale: Callable[[float], float],
) -> Sample:
    entries: list[tuple[tuple[int, int, int, int], bool, float]] = []
    for row, cluster in zip(rows, clusters, strict=True):
        key = row.trial.key
        # One order whatever that of the rows, so that rounding in sums does not depend on it; and
        # not by value, because a pilot is split in halves by position.
        place = (cluster, key.repeat, key.order, key.attempt)
        found = row.found[metric_id]
        if isinstance(found, Measurement):
            entries.append((place, False, scale(found.value)))
        elif found.failure is not None:
            entries.append((place, True, 0.0))
    entries.sort()
    return Sample.of(
        [value for _, _, value in entries],
        failed=[failed for _, failed, _ in entries],
        clusters=[place[0] for place, _, _ in entries],
    )


def restored(metric_id: str, statistic: Statistic) -> Statistic:
    """Return a statistic of :func:`sample_of` in the metric's own direction.

    Where more is better and the worse end lies among the failures, that end is -inf.
    """
    if METRICS[metric_id].better == "lower" or isinstance(statistic, TimedOut):
        return statistic
    if isinstance(statistic, Unsupported):
        seen = statistic.observed
        return replace(statistic, observed=-seen if isinstance(seen, float) else seen)
    high = statistic.high
    return Estimate(
        point=-statistic.point,
        low=-math.inf if isinstance(high, TimedOut) else -high,
        high=-statistic.low,
        confidence=statistic.confidence,
        n=statistic.n,
        effective_n=statistic.effective_n,
        failures=statistic.failures,
        method=statistic.method,
        gateable=statistic.gateable,
    )
