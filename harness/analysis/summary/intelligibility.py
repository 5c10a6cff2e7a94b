"""``tts_wer``: a reply's audio transcribed again, scored against the text that was synthesised.

**Definition.** WER = (S + D + I) / N of the recogniser's final transcript of the stored reply
against the texts of the TTS requests that were played, pooled over a candidate's replies. The
recogniser is named, since its own errors are part of the figure: it compares voices heard by one
recogniser, and is no absolute intelligibility. Left out, and counted by reason: replies that were
interrupted, that were not stored, that have no text, and those that the recogniser failed on. A
reply in which it heard no words counts as every word unheard.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.analysis.statistics.estimate import Statistic
from harness.analysis.summary.samples import cluster_of
from harness.analysis.turn.measurement import Missing
from harness.analysis.words.transcript import NoTranscript, Score, Unit, pooled_rate, score
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, Turn

__all__ = [
    "HeardReply",
    "Intelligibility",
    "intelligibility",
    "recogniser_name",
    "spoken_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardReply:
    """A reply and what a recogniser made of it.

    Attributes:
        trial: the trial's id.
        candidate: whose reply it is.
        utterance: what it answered; the cluster.
        spoken: the text that was synthesised.
        heard: the final transcript; None where there is none.
        language: of the utterance, and so of the reply.
        reason: why the recogniser failed; None where it heard words, or nothing to hear.
    """

    trial: str
    candidate: str
    utterance: str
    spoken: str
    heard: str | None
    language: str = "en"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intelligibility:
    """The pooled ``tts_wer`` of a candidate.

    Attributes:
        rate: errors over the words that were synthesised.
        substitutions, deletions, insertions: counts.
        words: that were synthesised.
        replies: scored.
        unheard: in how many of them the recogniser heard no words.
        left_out: replies without a score, by reason.
        unit: "word", or "character" where the language is scored so.
    """

    rate: Statistic
    substitutions: int
    deletions: int
    insertions: int
    words: int
    replies: int
    unheard: int
    left_out: Mapping[str, int]
    unit: Unit


def recogniser_name(recogniser: Mapping[str, Any]) -> str:
    """Return a recogniser in words: its provider, model and profile, and whether it is live.

    Two runs whose replies were heard by recognisers of different names are not compared.
    """
    parts = [recogniser.get(key) for key in ("provider", "model", "profile", "via")]
    return " · ".join(str(part) for part in parts if part)


def spoken_text(trial: Trial | FailedTrial) -> tuple[Turn, str] | Missing:
    """Return the turn and the text whose audio a trial's stored reply holds.

    A cancelled request was not played; texts are joined in the order of their requests.
    """
    if isinstance(trial, FailedTrial):
        return Missing(reason="the trial failed")
    turn = trial.turns[0]
    if turn.reply is None or not turn.reply.samples:
        return Missing(reason="no reply was played")
    if turn.reply.interrupted:
        return Missing(reason="the reply was interrupted")
    if turn.reply.audio is None:
        return Missing(reason="its audio was not stored")
    texts = [
        request.text.strip()
        for request in turn.requests
        if request.stage is Stage.TTS and not request.cancelled and request.text.strip()
    ]
    if not texts:
        return Missing(reason="the text that was synthesised is unknown")
    return turn, " ".join(texts)


def intelligibility(
    replies: Sequence[HeardReply],
    *,
    left_out: Mapping[str, int] = MappingProxyType({}),
    confidence: float = 0.95,
) -> Intelligibility | None:
    """Return the pooled errors of one candidate's replies; None where none can be scored.

    Where some replies are scored by word and others by character, the words are pooled and the
    others are left out.

    Args:
        replies: of one candidate, heard by one recogniser.
        left_out: replies that were not given to the recogniser, by reason.
        confidence: of the interval.
    """
    missing = Counter(left_out)
    scored: list[tuple[HeardReply, Score | NoTranscript]] = []
    for reply in replies:
        if reply.reason is not None:
            missing[f"the recogniser failed: {reply.reason}"] += 1
        else:
            scored.append((reply, score(reply.spoken, reply.heard, reply.language)))
    by_word = [each for each in scored if each[1].unit == "word"]
    if by_word and len(by_word) < len(scored):
        missing["scored by character"] += len(scored) - len(by_word)
    scored = by_word or scored
    if not scored:
        return None
    scores = [found for _, found in scored]
    heard = [found for found in scores if isinstance(found, Score)]
    silent = [found for found in scores if isinstance(found, NoTranscript)]
    return Intelligibility(
        rate=pooled_rate(
            scores,
            clusters=np.asarray([cluster_of(reply.utterance) for reply, _ in scored]),
            confidence=confidence,
            missing="delete",
        ),
        substitutions=sum(each.substitutions for each in heard),
        deletions=sum(each.deletions for each in heard)
        + sum(each.reference_units for each in silent),
        insertions=sum(each.insertions for each in heard),
        words=sum(each.reference_units for each in scores),
        replies=len(scores),
        unheard=len(silent) + sum(reply.heard == "" for reply, _ in scored),
        left_out=MappingProxyType(dict(missing)),
        unit=scores[0].unit,
    )
