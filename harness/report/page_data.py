"""What the page's script reads: compact JSON, and trial details packed by gzip.

Instants are integer microseconds from the turn's origin; metrics stand in their own unit. Keys are
short because they repeat for every trial; ``templates/report.js`` is their only reader.
"""

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from harness.report.format import Cell
from harness.report.trial_view import TrialView, TurnView
from harness.report.view import ComparisonView, ReportView

__all__ = ["CHUNK", "base64_of", "embed_json", "pack_trials", "page_data"]

CHUNK = 64


def embed_json(value: object) -> Markup:
    """Return JSON that no HTML parser can leave: ``<``, ``>``, ``&`` and U+2028/9 are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A lone surrogate in a provider's text cannot be written as UTF-8.
    return Markup(text.encode("utf-8", "backslashreplace").decode("utf-8"))  # noqa: S704


def _micro(ns: int | None) -> int | None:
    return None if ns is None else round(ns / 1000)


def base64_of(data: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def _clean(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(value, 4)


def _turn(turn: TurnView) -> dict[str, Any]:
    return {
        "s": None if turn.speech is None else [_micro(turn.speech[0]), _micro(turn.speech[1])],
        "e": _micro(turn.audio_end_ns),
        "w": base64_of(turn.speech_peaks),
        "b": [
            [bar.label, bar.stage, bar.kind.value, _micro(bar.start_ns), _micro(bar.end_ns)]
            for bar in turn.bars
        ],
        "m": [[name, _micro(at)] for name, at in turn.marks],
        "x": [[each.kind, each.text, _micro(each.at_ns), each.late] for each in turn.transcripts],
        "q": [
            {
                "i": each.id,
                "s": each.stage,
                "c": each.cause,
                "p": each.parent,
                "x": each.cancelled,
                "a": _micro(each.start_ns),
                "e": _micro(each.end_ns),
                "t": [_micro(at) for at in each.arrivals],
                "l": each.lines,
                "f": each.failure,
            }
            for each in turn.requests
        ],
        "r": None
        if turn.reply is None
        else {
            "g": [[_micro(start), _micro(end)] for start, end in turn.reply.segments],
            "p": base64_of(turn.reply.peaks),
            "o": turn.reply.audio,
        },
        "d": [[piece.kind.value, piece.reference, piece.heard] for piece in turn.pieces],
        "y": turn.reply_text,
        "o": turn.reported,
    }


def pack_trials(trials: Sequence[TrialView]) -> list[Markup]:
    """Return the details of trials as gzip in base64, so many to a chunk."""
    packed: list[Markup] = []
    for first in range(0, len(trials), CHUNK):
        part = [
            {"t": [_turn(turn) for turn in trial.turns], "f": trial.facts}
            for trial in trials[first : first + CHUNK]
        ]
        text = json.dumps(part, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        octets = text.encode("utf-8", "backslashreplace")
        # Without a time stamp: the same run gives the same page.
        packed.append(Markup(base64_of(gzip.compress(octets, 5, mtime=0))))  # noqa: S704
    return packed


def _trial_rows(view: ReportView) -> dict[str, Any]:
    tags: dict[tuple[str, ...], int] = {}
    trials = view.trials
    return {
        "id": [trial.id for trial in trials],
        "c": [trial.candidate for trial in trials],
        "u": [trial.utterance for trial in trials],
        "s": [trial.status.value for trial in trials],
        "f": [trial.failure for trial in trials],
        # Rare: most trials have nothing to say.
        "n": {str(k): trial.note for k, trial in enumerate(trials) if trial.note},
        "g": [tags.setdefault(trial.tags, len(tags)) for trial in trials],
        "tags": [list(each) for each in tags],
        "v": [
            [_clean(trial.values[k]) for trial in trials] for k in range(len(view.trial_metrics))
        ],
    }


def _paired(comparison: ComparisonView) -> dict[str, Any]:
    return {
        "unit": comparison.unit,
        "emulated": comparison.emulated,
        "low": _clean(comparison.difference.low),
        "high": _clean(comparison.difference.high),
        "point": _clean(comparison.difference.value),
        "points": [
            [point.utterance, _clean(point.difference)]
            for point in sorted(comparison.points, key=lambda each: each.difference)
        ],
    }


def _coordinate(cell: Cell) -> dict[str, float | None]:
    return {"v": _clean(cell.value), "l": _clean(cell.low), "h": _clean(cell.high)}


def page_data(view: ReportView, *, audio_base: str = "") -> dict[str, Any]:
    """Return what the page's script reads: rows of trials, curves, pairs, points.

    Args:
        view: what the page shows.
        audio_base: what comes before a reply's file in a link, from the page's own folder.
    """
    emulated = {column.metric for column in view.distributions if column.emulated}
    return {
        "candidates": [
            {"name": each.name, "emulated": each.emulated, "voice": each.voice}
            for each in view.candidates
        ],
        "metrics": [
            {"id": metric, "name": name, "unit": unit, "emulated": metric in emulated}
            for metric, name, unit in view.trial_metrics
        ],
        "ecdf": [
            {
                "name": each.name,
                "unit": each.unit,
                "emulated": each.emulated,
                "target": each.target,
                "curves": [
                    {
                        "c": curve.candidate,
                        "x": [_clean(value) for value, _ in curve.points],
                        "p": [_clean(share) for _, share in curve.points],
                        "n": curve.n,
                        "f": curve.failures,
                        "q": [
                            [label, cell.text, cell.interval, cell.state.value, cell.emulated]
                            for label, cell in curve.quantiles
                        ],
                    }
                    for curve in each.curves
                ],
            }
            for each in view.distributions
        ],
        "paired": [_paired(each) for each in view.comparisons],
        "pareto": [
            {
                "c": point.candidate,
                "x": _coordinate(point.latency),
                "y": _coordinate(point.error),
                "front": point.on_front,
                "tip": f"{view.candidates[point.candidate].name}\n{point.latency.text} "
                f"({point.latency.interval})\nWER {point.error.text} ({point.error.interval})"
                + (f"\n{point.standing}" if point.standing else ""),
            }
            for point in view.pareto
            if point.latency.value is not None
            and math.isfinite(point.latency.value)
            and point.error.value is not None
        ],
        "latency": view.latency_name,
        "throughout": view.throughout,
        "chunk": CHUNK,
        "audio": audio_base,
        "trials": _trial_rows(view) if view.trials else None,
    }
