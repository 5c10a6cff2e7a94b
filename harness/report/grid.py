"""What each factor of a grid does, in sentences and as a small matrix."""

from collections.abc import Sequence

from harness.analysis.compare.changes import MetricChange, PairComparison
from harness.analysis.compare.grid import GridComparison
from harness.analysis.compare.sides import By
from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.summary.figures import RunSummary
from harness.analysis.turn.definitions import METRICS
from harness.report.findings import evidence, seen_text, typical_of, with_proviso
from harness.report.format import Cell, Unit, cell, count, missing
from harness.report.view import PlainTable

__all__ = ["grid_answer", "grid_matrix"]

_TITLES: dict[By, str] = {"stt": "STT", "llm": "LLM", "tts": "TTS", "voice": "voice"}


def _typical(
    pairs: Sequence[PairComparison], metric: str
) -> list[tuple[PairComparison, MetricChange]]:
    """Return the typical change of each pair, the one that is found most surely first."""
    found = [(pair, change) for pair in pairs if (change := typical_of(pair, metric)) is not None]

    def surely(each: tuple[PairComparison, MetricChange]) -> tuple[bool, float, float]:
        change = each[1]
        point = 0.0
        if not isinstance(change.change, Unsupported):
            difference = change.change.difference
            point = difference.point if isinstance(difference, Estimate) else float("inf")
        return change.finding not in {"faster", "slower"}, -abs(point), change.p or 1.0

    return sorted(found, key=surely)


def _slight(found: MetricChange) -> bool:
    """Tell whether a difference is real and nobody's concern: the least that a clock resolves."""
    if isinstance(found.change, Unsupported) or METRICS[found.metric].unit != "ms":
        return False
    difference = found.change.difference
    return isinstance(difference, Estimate) and abs(difference.point) < 1.0


def grid_answer(found: GridComparison, metric: str, trials: int) -> tuple[str, list[str]]:
    """Return what each factor does, the found ones first, and sentences that carry it.

    Args:
        found: the comparison.
        metric: what decides.
        trials: that the figures rest on.
    """
    detected: list[str] = []
    undetected: list[str] = []
    support: list[str] = []
    for by, pairs in found.factors.items():
        title = _TITLES[by]
        changes = _typical(pairs, metric)
        pair, leading = changes[0] if changes else (None, None)
        if pair is None or leading is None or isinstance(leading.change, Unsupported):
            undetected.append(f"Too few trials to say what the {title} does.")
            continue
        said = evidence(pair, leading, found.comparison.family)
        if leading.finding in {"faster", "slower"} and _slight(leading):
            undetected.append(f"The {title} makes less than a millisecond of difference.")
        elif leading.finding in {"faster", "slower"}:
            detected.append(with_proviso(pair, leading))
        else:
            undetected.append(
                f"The {title} makes no difference that {count(trials)} trials can see."
            )
            seen = seen_text(metric, leading.change)
            said = f"{said} {seen[:1].upper()}{seen[1:]}.".lstrip()
        support.append(said)
    if detected:
        support.append(
            "Each difference is the typical one between two answers to the same recording, over "
            "all of the other parts; the medians below are each candidate's own."
        )
    return " ".join((*detected, *undetected)), support


def grid_matrix(found: GridComparison, summary: RunSummary, metric: str) -> PlainTable:
    """Return the medians of the cells: the last factor across, the others down.

    Args:
        found: the comparison.
        summary: of the same run.
        metric: which.
    """
    grid = found.grid
    *down, across = grid.levels
    columns = grid.levels[across]
    unit = Unit(METRICS[metric].unit)

    def shown(place: tuple[str, ...]) -> Cell:
        measured = summary.candidates[grid.cells[place]].metrics.get(metric)
        if measured is None:
            return missing("not measured")
        return cell(measured.main.p50, unit, emulated=measured.emulated)

    lines = list(dict.fromkeys(place[:-1] for place in grid.cells))
    return PlainTable(
        title=f"{METRICS[metric].title}, p50",
        columns=(" · ".join(_TITLES[by] for by in down), *columns),
        rows=tuple(
            (" · ".join(line), *(shown((*line, column)) for column in columns)) for line in lines
        ),
    )
