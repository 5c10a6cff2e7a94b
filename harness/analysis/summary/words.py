"""The pooled word errors of many trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.summary.samples import Row, cluster_of
from harness.analysis.turn.definitions import EVENTS
from harness.analysis.turn.measurement import Missing
from harness.analysis.words.transcript import (
    NORMALISER_VERSION,
    NoTranscript,
    Score,
    Unit,
    pooled_rate,
)

__all__ = [
    "RATES",
    "WORD_RATES",
    "WordErrors",
    "WordRate",
    "pooled_words",
    "word_errors",
    "word_rate",
]

WordRate = Literal["wer", "tts_wer"]

WORD_RATES: tuple[WordRate, ...] = ("wer", "tts_wer")
"""Metrics that are pooled over words: a candidate has one figure, and no percentile gates."""

RATES: tuple[str, ...] = ("failures", *WORD_RATES, *EVENTS)
"""What a budget limits by ``statistic = "rate"``."""


def word_rate(metric_id: str) -> WordRate | None:
    """Return a metric that is pooled over words as such; None for any other."""
    return next((each for each in WORD_RATES if each == metric_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrors:
    """The pooled word errors of a candidate.

    Attributes:
        rate: errors over reference words; a turn without a transcript deletes all its words.
        substitutions, deletions, insertions: counts, such deletions included.
        reference_words: counted once per trial.
        silent: turns without a transcript where words were expected.
        unexpected: words heard where none were expected.
        unit: "word", or "character" where no utterance is scored by word.
        left_out: turns scored by character, which are not pooled with words.
        normaliser: version of the normaliser.
    """

    rate: Estimate | Unsupported
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    silent: int
    unexpected: int
    unit: Unit = "word"
    left_out: int = 0
    normaliser: str = NORMALISER_VERSION


def word_errors(rows: Sequence[Row], *, confidence: float = 0.95) -> WordErrors | None:
    """Return the pooled word errors of rows; None where none of them has a text.

    A turn without a transcript counts as all its words deleted: a recogniser that is silent on the
    hard utterances must not win. Where some are scored by word and others by character, the words
    are pooled and the others counted as left out; a breakdown by language has both.
    """
    unexpected = sum(
        row.words.insertions
        for row in rows
        if row.utterance.expect == "none" and isinstance(row.words, Score)
    )
    scored = [
        (row, row.words)
        for row in rows
        if row.utterance.expect == "speech" and not isinstance(row.words, Missing)
    ]
    return _pooled(scored, unexpected, confidence)


def pooled_words(
    metric_id: WordRate, rows: Sequence[Row], *, confidence: float = 0.95
) -> WordErrors | None:
    """Return the pooled errors of one of :data:`WORD_RATES`; None where no row has any.

    Of ``tts_wer`` the words are those of the replies, and ``silent`` counts replies in which the
    recogniser heard none.
    """
    if metric_id == "wer":
        return word_errors(rows, confidence=confidence)
    scored = [(row, row.spoken) for row in rows if not isinstance(row.spoken, Missing)]
    return _pooled(scored, 0, confidence)


def _pooled(
    scored: list[tuple[Row, Score | NoTranscript]], unexpected: int, confidence: float
) -> WordErrors | None:
    # Languages without spaces are scored by character, which is never pooled with words.
    by_word = [each for each in scored if each[1].unit == "word"]
    left_out = len(scored) - len(by_word) if by_word else 0
    scored = by_word or scored
    if not scored:
        return None
    scores = [score for _, score in scored]
    silent = [score for score in scores if isinstance(score, NoTranscript)]
    heard = [score for score in scores if isinstance(score, Score)]
    return WordErrors(
        rate=pooled_rate(
            scores,
            clusters=np.asarray([cluster_of(row.utterance.id) for row, _ in scored]),
            confidence=confidence,
            missing="delete",
        ),
        substitutions=sum(score.substitutions for score in heard),
        deletions=sum(score.deletions for score in heard)
        + sum(score.reference_units for score in silent),
        insertions=sum(score.insertions for score in heard),
        reference_words=sum(score.reference_units for score in scores),
        silent=len(silent),
        unexpected=unexpected,
        unit=scored[0][1].unit,
        left_out=left_out,
    )
