"""Word and character error rates, and what a transcript got wrong.

**Definition.** WER = (S + D + I) / N: substitutions, deletions and insertions of the least-cost
alignment (jiwer) of the normalised tokens, over the N tokens of the reference. It can exceed 1. The
pooled rate divides the errors of all utterances by the words of all utterances; its interval comes
from resampling utterances.

The normaliser is versioned: figures of different :data:`NORMALISER_VERSION` are not compared. Raw
text stays with the caller. English is normalised by ``harness.analysis.words.english``; German,
French and Spanish by ``harness.analysis.words.european``. Other languages get Unicode NFKC, case
folding and no punctuation; numbers there are compared as they are written, in Chinese and Japanese
too (三 is not 3), where simplified and traditional characters, or kanji and kana, also stay apart.
Chinese, Japanese, Thai and their like, which write no spaces, are scored by character (CER).

Version 2: numbers and fillers of German, French and Spanish. Version 1: English alone.

What is not a score: an utterance without any transcript is :class:`NoTranscript`, neither 0 nor 1.
An empty reference ("expect no words") is legal: every word heard is an insertion, none is perfect.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import jiwer
import numpy as np
from numpy.typing import ArrayLike

from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.statistics.resample import estimate_ratio_of_sums
from harness.analysis.words.english import english_tokens
from harness.analysis.words.european import NUMBERED, numbered_tokens

__all__ = [
    "NORMALISER_VERSION",
    "NoTranscript",
    "Op",
    "Score",
    "SlotScore",
    "Unit",
    "align",
    "normalise",
    "pooled_rate",
    "pooled_slot_recall",
    "score",
    "slot_recall",
    "unit_of",
]

NORMALISER_VERSION = "2"

Unit = Literal["word", "character"]
OpKind = Literal["equal", "substitute", "delete", "insert"]

# Scripts without spaces between words.
_BY_CHARACTER = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue", "cmn", "wuu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One step of an alignment.

    Attributes:
        kind: ``delete`` is a reference token that was not heard, ``insert`` one that was not said.
        reference: the reference's token; None for an insertion.
        hypothesis: the transcript's token; None for a deletion.
    """

    kind: OpKind
    reference: str | None
    hypothesis: str | None

    def __post_init__(self) -> None:
        if (self.reference is None) != (self.kind == "insert") or (self.hypothesis is None) != (
            self.kind == "delete"
        ):
            raise ValueError(
                f"{self.kind} has the wrong sides: {self.reference}, {self.hypothesis}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The errors of one transcript.

    Attributes:
        substitutions, deletions, insertions: counts of tokens.
        reference_units: N, the tokens of the reference; 0 when no words were expected.
        unit: what a token is.
    """

    substitutions: int
    deletions: int
    insertions: int
    reference_units: int
    unit: Unit

    def __post_init__(self) -> None:
        if min(self.substitutions, self.deletions, self.insertions, self.reference_units) < 0:
            raise ValueError("counts are not negative")
        if self.substitutions + self.deletions > self.reference_units:
            raise ValueError("more reference tokens are wrong than there are")

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors over reference tokens; None for an empty reference, which has no rate."""
        return self.errors / self.reference_units if self.reference_units else None

    @property
    def exact(self) -> bool:
        """Whether the transcript says exactly what was expected."""
        return self.errors == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTranscript:
    """The recogniser sent no transcript at all where words were expected.

    Attributes:
        reference_units: the tokens that it should have heard.
        unit: what a token is.
    """

    reference_units: int
    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotScore:
    """Which of an utterance's slots the transcript carries.

    Attributes:
        found: names of the slots heard, in the manifest's order.
        missed: names of the others.
    """

    found: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def recall(self) -> float | None:
        """Share of the slots heard; None without slots."""
        total = len(self.found) + len(self.missed)
        return len(self.found) / total if total else None


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-", 1)[0].casefold() or "en"


def unit_of(language: str) -> Unit:
    """Return whether a language (a BCP 47 tag such as ``en-GB``) is scored by word or character."""
    return "character" if _primary(language) in _BY_CHARACTER else "word"


def _folded(text: str) -> str:
    """Return NFKC text, case-folded, with punctuation and symbols as spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in folded)


@lru_cache(maxsize=32_768)
def normalise(text: str, language: str = "en", *, drop_fillers: bool = True) -> tuple[str, ...]:
    """Return the tokens that are compared: words, or characters for scripts without spaces.

    Args:
        text: a raw transcript or reference.
        language: a BCP 47 tag; only the primary subtag counts.
        drop_fillers: leave out hesitations (English, German, French and Spanish).
    """
    primary = _primary(language)
    if primary == "en":
        return english_tokens(text, drop_fillers=drop_fillers)
    if primary in NUMBERED:
        return numbered_tokens(text, primary, drop_fillers=drop_fillers)
    words = _folded(text).split()
    return tuple("".join(words)) if primary in _BY_CHARACTER else tuple(words)


@lru_cache(maxsize=32_768)
def _aligned(
    reference: tuple[str, ...], hypothesis: tuple[str, ...]
) -> tuple[tuple[OpKind, int, int, int, int], ...]:
    """Return jiwer's chunks: (kind, reference start, end, hypothesis start, end)."""
    if not reference:
        return (("insert", 0, 0, 0, len(hypothesis)),) if hypothesis else ()
    if not hypothesis:
        return (("delete", 0, len(reference), 0, 0),)
    # Tokens are joined by a character that no token holds; jiwer splits at spaces only.
    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return tuple(
        (
            cast("OpKind", chunk.type),
            chunk.ref_start_idx,
            chunk.ref_end_idx,
            chunk.hyp_start_idx,
            chunk.hyp_end_idx,
        )
        for chunk in output.alignments[0]
    )


def align(
    reference: str, hypothesis: str, language: str = "en", *, drop_fillers: bool = True
) -> tuple[Op, ...]:
    """Return the aligned tokens of a transcript and its reference, for display.

    Counting its kinds gives exactly the counts of :func:`score`.
    """
    left = normalise(reference, language, drop_fillers=drop_fillers)
    right = normalise(hypothesis, language, drop_fillers=drop_fillers)
    ops: list[Op] = []
    for kind, start, end, other, stop in _aligned(left, right):
        if kind == "insert":
            ops.extend(Op(kind=kind, reference=None, hypothesis=t) for t in right[other:stop])
        elif kind == "delete":
            ops.extend(Op(kind=kind, reference=t, hypothesis=None) for t in left[start:end])
        else:
            ops.extend(
                Op(kind=kind, reference=a, hypothesis=b)
                for a, b in zip(left[start:end], right[other:stop], strict=True)
            )
    return tuple(ops)


def score(
    reference: str, hypothesis: str | None, language: str = "en", *, drop_fillers: bool = True
) -> Score | NoTranscript:
    """Return the errors of a transcript.

    Args:
        reference: what was said; blank when no words are expected.
        hypothesis: the transcript; None when none arrived. A blank one is a transcript: it deletes
            every word.
        language: a BCP 47 tag.
        drop_fillers: leave out hesitations on both sides, where the language has a list.
    """
    unit = unit_of(language)
    left = normalise(reference, language, drop_fillers=drop_fillers)
    if hypothesis is None and left:
        return NoTranscript(reference_units=len(left), unit=unit)
    right = normalise(hypothesis or "", language, drop_fillers=drop_fillers)
    counts = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for kind, start, end, other, stop in _aligned(left, right):
        counts[kind] += stop - other if kind == "insert" else end - start
    return Score(
        substitutions=counts["substitute"],
        deletions=counts["delete"],
        insertions=counts["insert"],
        reference_units=len(left),
        unit=unit,
    )


def pooled_rate(
    scores: Sequence[Score | NoTranscript],
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    missing: Literal["exclude", "delete"] = "exclude",
) -> Estimate | Unsupported:
    """Return the pooled error rate over all utterances with an utterance-bootstrap interval.

    Args:
        scores: one per trial, all in one unit.
        clusters: shape (n,), the utterance of each trial; every trial its own when absent.
        confidence: nominal coverage.
        missing: ``exclude`` leaves trials without a transcript out; they are counted as failures
            and the estimate cannot gate, since a recogniser silent on the hard utterances would
            win. ``delete`` counts every word of theirs as deleted.

    Raises:
        ValueError: words and characters are mixed.
    """
    units = {s.unit for s in scores}
    if len(units) > 1:
        raise ValueError("word and character errors are not pooled")
    groups = np.arange(len(scores)) if clusters is None else np.asarray(clusters)
    silent = np.array([isinstance(s, NoTranscript) for s in scores], dtype=np.bool_)
    errors = np.array(
        [s.reference_units if isinstance(s, NoTranscript) else s.errors for s in scores],
        dtype=np.float64,
    )
    words = np.array([s.reference_units for s in scores], dtype=np.float64)
    keep = np.ones(len(scores), dtype=np.bool_) if missing == "delete" else ~silent
    failures = int(np.count_nonzero(silent))
    name = "pooled character error rate" if units == {"character"} else "pooled word error rate"
    if failures and missing == "exclude":
        name += " of the answered"
    result = estimate_ratio_of_sums(
        errors[keep], words[keep], clusters=groups[keep], confidence=confidence, method=name
    )
    if isinstance(result, Unsupported):
        return result
    return Estimate(
        point=result.point,
        low=result.low,
        high=result.high,
        confidence=confidence,
        n=len(scores),
        effective_n=result.effective_n,
        failures=failures,
        method=result.method,
        gateable=missing == "delete" or failures == 0,
    )


def slot_recall(
    slots: Mapping[str, str | Iterable[str]], hypothesis: str | None, language: str = "en"
) -> SlotScore:
    """Return which slots a transcript carries.

    A slot is heard when the tokens of one of its accepted values stand in the transcript side by
    side, after the same normalisation. A digit slot is also heard inside a longer run of digits,
    since spoken runs are joined. Without a transcript all are missed.

    Args:
        slots: for each slot its accepted value, or several.
        hypothesis: the transcript, or None.
        language: a BCP 47 tag.
    """
    heard = normalise(hypothesis or "", language)
    found: list[str] = []
    missed: list[str] = []
    for name, accepted in slots.items():
        values = (accepted,) if isinstance(accepted, str) else tuple(accepted)
        hit = any(_contains(heard, normalise(value, language)) for value in values)
        (found if hit else missed).append(name)
    return SlotScore(found=tuple(found), missed=tuple(missed))


def _contains(heard: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return False
    width = len(wanted)
    if any(heard[i : i + width] == wanted for i in range(len(heard) - width + 1)):
        return True
    # "call 555 and then 12": a run of four digits or more cannot be in another number by chance.
    return (
        width == 1
        and wanted[0].isdigit()
        and len(wanted[0]) >= 4
        and any(token.isdigit() and wanted[0] in token for token in heard)
    )


def pooled_slot_recall(
    scores: Sequence[SlotScore],
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Estimate | Unsupported:
    """Return the share of all slots that were heard, with an utterance-bootstrap interval."""
    found = [len(s.found) for s in scores]
    total = [len(s.found) + len(s.missed) for s in scores]
    return estimate_ratio_of_sums(
        found, total, clusters=clusters, confidence=confidence, method="pooled slot recall"
    )
