"""A suite that is a grid: every model with every voice, or any other product of parts.

What such a suite asks is what each part does, over all of the others, and not which of its cells
is the fastest. Each factor's values are compared in pairs that differ in nothing else, and the
tests of all factors make one family: more cells ask no further question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from harness.analysis.compare.changes import Comparison, PairComparison
from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_all, sides_within
from harness.analysis.compare.sides import By, setting_of
from harness.domain.suite import Suite, Via
from harness.errors import ConfigurationError

__all__ = ["Grid", "GridComparison", "compare_grid", "grid_of"]

_FACTORS: tuple[By, ...] = ("stt", "llm", "tts", "voice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Candidates that are the product of their parts.

    Attributes:
        levels: for each factor its values, as the suite names them first.
        cells: each candidate by its values, in the order of the factors.
    """

    levels: Mapping[By, tuple[str, ...]]
    cells: Mapping[tuple[str, ...], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridComparison:
    """What each factor of a grid does.

    Attributes:
        grid: the candidates.
        factors: for each factor its values in pairs, over all of the other factors.
        comparison: all of these pairs, whose tests are one family.
    """

    grid: Grid
    factors: Mapping[By, tuple[PairComparison, ...]]
    comparison: Comparison


def grid_of(suite: Suite) -> Grid | None:
    """Return the grid that a suite's candidates make; None where they make none.

    There are at least two factors of at least two values each, and each combination of values is
    one candidate. Where each synthesiser has its own voice, the two are one factor.
    """
    labels: dict[By, list[str]] = {}
    for by in _FACTORS:
        try:
            found = [
                setting_of(each, by, emulated=suite.via is Via.GATEWAY)[0]
                for each in suite.candidates
            ]
        except ConfigurationError:
            continue
        if len(set(found)) > 1:
            labels[by] = found
    if "tts" in labels and "voice" in labels:
        pairs = set(zip(labels["tts"], labels["voice"], strict=True))
        if len(pairs) == len(set(labels["tts"])):
            del labels["voice"]
        elif len(pairs) == len(set(labels["voice"])):
            del labels["tts"]
    if len(labels) < 2:
        return None
    levels = {by: tuple(dict.fromkeys(found)) for by, found in labels.items()}
    places = list(zip(*labels.values(), strict=True))
    if len(set(places)) != len(places) or set(places) != set(product(*levels.values())):
        return None
    names = [each.name for each in suite.candidates]
    return Grid(levels=levels, cells=dict(zip(places, names, strict=True)))


def compare_grid(run: MeasuredRun, *, confidence: float = 0.95) -> GridComparison | None:
    """Compare the values of each factor of a grid; None where the candidates make none.

    A candidate without a trial leaves a hole, and the rest is no grid.

    Args:
        run: the run.
        confidence: of the intervals.
    """
    grid = grid_of(run.suite)
    performed = {each.key.candidate for each in run.trials if not each.key.warmup}
    if grid is None or not performed.issuperset(grid.cells.values()):
        return None
    try:
        found = {by: sides_within(run, by) for by in grid.levels}
    except ConfigurationError:
        return None
    if any(left_out for _, left_out in found.values()):
        # Cells differ in something besides the factors.
        return None
    sides = [each for pairs, _ in found.values() for each in pairs]
    comparison = compare_all("factor", sides, confidence=confidence)
    made = iter(comparison.pairs)
    factors = {by: tuple(next(made) for _ in pairs) for by, (pairs, _) in found.items()}
    return GridComparison(grid=grid, factors=factors, comparison=comparison)
