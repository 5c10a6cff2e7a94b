"""The table of what a recogniser made of the replies."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.analysis.summary.intelligibility import (
    HeardReply,
    Intelligibility,
    intelligibility,
    spoken_text,
)
from harness.analysis.turn.measurement import Missing
from harness.domain.trial import FailedTrial, Trial
from harness.report.format import Cell, Unit, cell, count, in_characters, missing
from harness.report.view import PlainTable

__all__ = ["intelligibility_scores", "intelligibility_table"]


def intelligibility_scores(
    heard: Sequence[HeardReply], trials: Iterable[Trial | FailedTrial]
) -> dict[str, tuple[Intelligibility | None, Mapping[str, int]]]:
    """Return each candidate's score, None where there is none, and its trials without a reply.

    Args:
        heard: of one recogniser.
        trials: of the run; warm-ups are left out.
    """
    measured = [trial for trial in trials if not trial.key.warmup]
    names = {trial.key.id for trial in measured}
    without: dict[str, Counter[str]] = {}
    for trial in measured:
        found = spoken_text(trial)
        if isinstance(found, Missing):
            without.setdefault(trial.key.candidate, Counter())[found.reason] += 1
    scores: dict[str, tuple[Intelligibility | None, Mapping[str, int]]] = {}
    for name in dict.fromkeys(trial.key.candidate for trial in measured):
        mine = [each for each in heard if each.candidate == name and each.trial in names]
        reasons = without.get(name, Counter())
        scores[name] = (intelligibility(mine, left_out=reasons), reasons)
    return scores


def intelligibility_table(
    heard: Sequence[HeardReply],
    recogniser: Mapping[str, Any],
    trials: Iterable[Trial | FailedTrial],
) -> PlainTable | None:
    """Return ``tts_wer`` of each candidate; None where no reply was transcribed.

    Args:
        heard: of one recogniser.
        recogniser: its provider, model, profile and via.
        trials: of the run; warm-ups are left out.
    """
    if not heard:
        return None
    emulated = recogniser.get("via") == "gateway"
    rows: list[tuple[Cell | str, ...]] = []
    for name, (result, without) in intelligibility_scores(heard, trials).items():
        if result is None:
            told = "; ".join(f"{reason}: {number}" for reason, number in without.items())
            rows.append((name, missing("no reply was transcribed"), *(["–"] * 6), told))
            continue
        shown = cell(result.rate, Unit.RATE, emulated=emulated)
        rows.append(
            (
                name,
                in_characters(shown) if result.unit == "character" else shown,
                count(result.replies),
                count(result.words),
                count(result.substitutions),
                count(result.deletions),
                count(result.insertions),
                count(result.unheard),
                "; ".join(f"{reason}: {number}" for reason, number in result.left_out.items()),
            )
        )
    parts = [recogniser.get(key) for key in ("provider", "model", "profile")]
    named = " · ".join(str(part) for part in parts if part)
    return PlainTable(
        title="Intelligibility of the replies (tts_wer)",
        columns=(
            "Candidate",
            "tts_wer",
            "Replies",
            "Words",
            "Substituted",
            "Deleted",
            "Inserted",
            "No words heard",
            "Left out",
        ),
        rows=tuple(sorted(rows, key=lambda row: str(row[0]))),
        note=f"The stored replies, transcribed again by {named}, against the synthesised text. "
        "The recogniser's own errors are part of the figure: it compares voices, it is no "
        "absolute.",
    )
