"""LiveKit's own numbers beside ours, for the same turns; never the source of a headline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from harness.analysis.statistics.quantile import quantile
from harness.analysis.summary.samples import Row
from harness.domain.trial import Trial

__all__ = ["REPORTED", "Disagreement", "disagreements"]

REPORTED: Mapping[str, str] = MappingProxyType(
    {
        "e2e_latency": "response",
        "end_of_turn_delay": "endpointing",
        "end_of_utterance_delay": "endpointing",
        "transcription_delay": "stt_final",
        "llm_node_ttft": "llm_ttft",
        "ttft": "llm_ttft",
        "tts_node_ttfb": "tts_first_byte",
        "ttfb": "tts_first_byte",
    }
)
"""LiveKit's names for what it claims to be our metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """LiveKit's own number against ours for the same turns.

    Attributes:
        name: LiveKit's.
        metric: ours.
        turns: how many have both.
        ours_p50, theirs_p50: medians in milliseconds.
        p50: median of theirs minus ours, in milliseconds.
        largest: the largest of these differences in absolute value.
    """

    name: str
    metric: str
    turns: int
    ours_p50: float
    theirs_p50: float
    p50: float
    largest: float


def disagreements(rows: Sequence[Row]) -> tuple[Disagreement, ...]:
    """Return how far LiveKit's numbers lie from ours, by LiveKit's names."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if not isinstance(row.trial, Trial):
            continue
        for name, seconds in row.trial.turns[0].reported.items():
            metric_id = REPORTED.get(_plain(name))
            ours = None if metric_id is None else row.value(metric_id)
            if ours is not None:
                pairs.setdefault(name, []).append((ours, seconds * 1_000.0))
    found = []
    for name, both in pairs.items():
        ours, theirs = np.asarray(both, dtype=np.float64).T
        found.append(
            Disagreement(
                name=name,
                metric=REPORTED[_plain(name)],
                turns=len(both),
                ours_p50=quantile(ours, 0.5),
                theirs_p50=quantile(theirs, 0.5),
                p50=quantile(theirs - ours, 0.5),
                largest=float(np.abs(theirs - ours).max()),
            )
        )
    return tuple(sorted(found, key=lambda each: list(REPORTED).index(_plain(each.name))))


def _plain(name: str) -> str:
    """Return LiveKit's name without the side of the conversation that it is filed under."""
    return name.rpartition(".")[2]
