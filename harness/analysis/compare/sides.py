"""The two sides of a comparison: whose trials they are, and within what they are paired."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.statistics.estimate import Sample, Unsupported
from harness.analysis.statistics.paired import RateChange, compare_rates
from harness.analysis.summary.interruptions import event_of
from harness.analysis.summary.samples import Row, cluster_of, make_rows, pace_of
from harness.analysis.summary.summary import emulated_stages, is_emulated
from harness.analysis.summary.words import WORD_RATES, WordRate
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.disturbance import select
from harness.analysis.turn.reading import transcript_text
from harness.analysis.words.transcript import NoTranscript, Score, slot_recall
from harness.domain.candidate import CACHES, Candidate, StageSettings
from harness.domain.suite import Suite
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError

__all__ = [
    "BY",
    "By",
    "ComparedRate",
    "Side",
    "compare_sides",
    "failure_events",
    "is_correct",
    "main_rows",
    "recording_in",
    "recordings_of",
    "setting_of",
    "side_of_candidates",
    "side_of_run",
    "wholes_of",
    "word_events",
]

By = Literal["candidate", "stt", "llm", "tts", "voice"]

BY: tuple[By, ...] = ("candidate", "stt", "llm", "tts", "voice")

UNFIT = 0.5
"""The ``tts_wer`` from which on a recogniser's opinion of replies says nothing."""

ComparedRate = WordRate | str
"""A word rate, or one of ``harness.analysis.turn.definitions.EVENTS``."""

Events = tuple[list[float], list[float], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Trials of one side.

    Attributes:
        name: as shown.
        rows: the trials, measured.
        strata: for each what it is paired within: its recording (the utterance under a condition),
            and what else its candidate is.
        wholes: by stratum's number, that of the utterance that it is a recording of.
        emulated: by metric id.
        wer_limit: the WER up to which a turn counts as correct.
        samples: those made already, by metric id.
    """

    name: str
    rows: tuple[Row, ...]
    strata: tuple[str, ...]
    wholes: Mapping[int, int]
    emulated: Mapping[str, bool]
    wer_limit: float
    samples: dict[str, Sample] = field(default_factory=dict, compare=False, repr=False)

    def sample(self, metric_id: str, keep: Callable[[Row], bool] | None = None) -> Sample:
        """Return one metric as a sample in which more is slower; only of the rows to be kept."""
        if keep is None and metric_id in self.samples:
            return self.samples[metric_id]
        chosen = [
            (row, cluster_of(stratum))
            for row, stratum in zip(self.rows, self.strata, strict=True)
            if keep is None or keep(row)
        ]
        found = pace_of(metric_id, [row for row, _ in chosen], [number for _, number in chosen])
        if keep is None:
            self.samples[metric_id] = found
        return found

    def medians(self, metric_id: str) -> dict[str, float]:
        """Return the median of the answered trials of each stratum, in the metric's unit."""
        values: dict[str, list[float]] = {}
        for row, stratum in zip(self.rows, self.strata, strict=True):
            value = row.value(metric_id)
            if value is not None:
                values.setdefault(stratum, []).append(value)
        return {stratum: median(found) for stratum, found in values.items()}


def is_correct(row: Row, wer_limit: float) -> bool | None:
    """Tell whether a turn's user was understood; None where nothing tells.

    A failed trial is not correct. Otherwise the WER has to lie within the limit, where there is a
    text, and every slot has to be heard, where there are slots.
    """
    if isinstance(row.trial, FailedTrial):
        return False
    judged = False
    if isinstance(row.words, NoTranscript):
        return False
    if isinstance(row.words, Score):
        judged = True
        rate = row.words.rate
        if (row.words.errors > 0) if rate is None else (rate > wer_limit):
            return False
    if row.utterance.slots:
        judged = True
        heard = transcript_text(row.trial.turns[0])
        if slot_recall(row.utterance.slots, heard, row.utterance.language).missed:
            return False
    return True if judged else None


def setting_of(candidate: Candidate, by: By, *, emulated: bool) -> tuple[str, str]:
    """Return the label of one of a candidate's settings, and what else the candidate is.

    Two candidates are partners where the rest is equal: they differ in that setting alone.

    Raises:
        ConfigurationError: the candidate has no such stage.
    """
    if by == "candidate":
        return candidate.name, ""
    bare = replace(candidate, name="any")
    stage = candidate.tts if by == "voice" else getattr(candidate, by)
    if not isinstance(stage, StageSettings):
        raise ConfigurationError(
            f"--by {by}: candidate {candidate.name!r} has no {'tts' if by == 'voice' else by}"
        )
    if by == "voice":
        # An emulated voice brings its own profile.
        rest = repr(replace(bare, tts=replace(stage, voice=None, profile=None)))
        return stage.voice or "default voice", rest
    label = f"{stage.provider}/{stage.model or 'default'}"
    if emulated and stage.profile:
        label = f"{stage.profile} (emulated)"
    if stage.cache != CACHES[0]:
        label += f" (cache {stage.cache})"
    if stage.options:
        label += " (" + ", ".join(f"{k} {v}" for k, v in sorted(stage.options.items())) + ")"
    others = {
        name: getattr(bare, name) for name in ("stt", "llm", "tts", "interruption") if name != by
    }
    voice = stage.voice if by == "tts" else None
    return label, repr((others, voice, bare.agent, bare.instructions))


def main_rows(run: MeasuredRun) -> dict[str, tuple[Row, ...]]:
    """Return the main view of each candidate's trials, measured."""
    mine: dict[str, list[Trial | FailedTrial]] = {each.name: [] for each in run.suite.candidates}
    for trial in run.trials:
        mine.setdefault(trial.key.candidate, []).append(trial)
    return {name: make_rows(select(found).main, run.utterances) for name, found in mine.items()}


def _emulated(
    suite: Suite, candidates: Sequence[Candidate], rows: Sequence[Row]
) -> dict[str, bool]:
    trials = [row.trial for row in rows]
    stages = frozenset().union(*(emulated_stages(suite, each, trials) for each in candidates))
    return {metric_id: is_emulated(metric_id, stages) for metric_id in METRICS}


def side_of_candidates(
    name: str,
    groups: Sequence[Sequence[Candidate]],
    rows: Mapping[str, tuple[Row, ...]],
    suite: Suite,
) -> Side:
    """Return the side that pools candidates.

    Args:
        name: as shown.
        groups: candidates that are partners of each other's counterparts, group by group; trials
            are paired within a group.
        rows: by candidate.
        suite: of the run.
    """
    found: list[Row] = []
    strata: list[str] = []
    for position, group in enumerate(groups):
        for candidate in group:
            for row in rows[candidate.name]:
                found.append(row)
                strata.append(_stratum(position, row))
    members = [candidate for group in groups for candidate in group]
    return Side(
        name=name,
        rows=tuple(found),
        strata=tuple(strata),
        wholes=_wholes(found, strata),
        emulated=_emulated(suite, members, found),
        wer_limit=suite.wer_limit,
    )


def side_of_run(run: MeasuredRun, name: str, rows: tuple[Row, ...]) -> Side:
    """Return the side that is one candidate of one run."""
    members = [each for each in run.suite.candidates if each.name == name]
    strata = tuple(_stratum(0, row) for row in rows)
    return Side(
        name=f"{name} in {run.name}",
        rows=rows,
        strata=strata,
        wholes=_wholes(rows, strata),
        emulated=_emulated(run.suite, members, rows),
        wer_limit=run.suite.wer_limit,
    )


def _stratum(position: int, row: Row) -> str:
    return f"{position}/{row.trial.key.recording}"


def recording_in(stratum: str) -> str:
    """Return the recording that a stratum is of."""
    return stratum.partition("/")[2]


def _wholes(rows: Sequence[Row], strata: Sequence[str]) -> dict[int, int]:
    # What goes wrong with an utterance goes wrong under its other conditions too.
    return {
        cluster_of(stratum): cluster_of(row.utterance.id)
        for row, stratum in zip(rows, strata, strict=True)
    }


def wholes_of(candidate: Side, reference: Side) -> dict[int, int]:
    """Return, by stratum's number, the utterance with which both sides' trials are swapped."""
    return {**candidate.wholes, **reference.wholes}


def recordings_of(rows: Sequence[Row]) -> list[int]:
    """Return what each trial is paired within: the utterance under its condition."""
    return [cluster_of(row.trial.key.recording) for row in rows]


def word_events(side: Side, metric_id: WordRate = "wer") -> Events:
    """Return word errors, reference words and stratum of every row that has them.

    A turn without a transcript has all its words wrong, and so has a reply in which the recogniser
    heard none.
    """
    errors: list[float] = []
    words: list[float] = []
    clusters: list[int] = []
    for row, stratum in zip(side.rows, side.strata, strict=True):
        score = row.words if metric_id == "wer" else row.spoken
        if not isinstance(score, Score | NoTranscript):
            continue
        if metric_id == "wer" and row.utterance.expect == "none":
            continue
        if score.unit != "word":
            continue
        unheard = score.reference_units if isinstance(score, NoTranscript) else score.errors
        errors.append(float(unheard))
        words.append(float(score.reference_units))
        clusters.append(cluster_of(stratum))
    return errors, words, clusters


def compare_sides(
    candidate: Side, reference: Side, rate: ComparedRate | None, *, confidence: float = 0.95
) -> RateChange | Unsupported:
    """Return the change of a rate between two sides, paired by recording.

    Args:
        candidate: the side in question.
        reference: the other.
        rate: which errors or events; None compares failures.
        confidence: of the interval.

    Returns:
        :class:`Unsupported` also where a recogniser understood fewer than half of the words of
        both sides' replies: it is not fit to tell them apart.
    """
    if rate is None:
        mine, theirs = failure_events(candidate), failure_events(reference)
    elif rate in WORD_RATES:
        kind: WordRate = "wer" if rate == "wer" else "tts_wer"
        mine, theirs = word_events(candidate, kind), word_events(reference, kind)
    else:
        mine, theirs = overlap_events(candidate, rate), overlap_events(reference, rate)
    found = compare_rates(
        mine, theirs, confidence=confidence, wholes=wholes_of(candidate, reference)
    )
    if (
        rate == "tts_wer"
        and isinstance(found, RateChange)
        and min(found.candidate, found.reference) >= UNFIT
    ):
        return Unsupported(
            reason="the recogniser understood fewer than half of the words of either side's "
            "replies: it is not fit to compare them",
            needed=0,
            n=found.utterances,
            effective_n=float(found.utterances),
            failures=0,
            observed=None,
        )
    return found


def overlap_events(side: Side, metric_id: str) -> Events:
    """Return 1 where what the metric counts happened and 0 where not, ones, and the strata."""
    found = [
        (float(seen), cluster_of(stratum))
        for row, stratum in zip(side.rows, side.strata, strict=True)
        if (seen := event_of(metric_id, row)) is not None
    ]
    return [seen for seen, _ in found], [1.0] * len(found), [cluster for _, cluster in found]


def failure_events(side: Side) -> Events:
    """Return 1 for each failed trial and 0 for each other, ones, and the strata."""
    failed = [float(isinstance(row.trial, FailedTrial)) for row in side.rows]
    return failed, [1.0] * len(failed), [cluster_of(stratum) for stratum in side.strata]
