"""Measuring until the verdict is clear, with the error rate still honest.

Looking at a test again and again until it fails makes false alarms: four looks at 1 % are almost
3 %. Here the looks are fixed beforehand, as shares of ``--max-trials``, and each spends a part of
the gate's level: alpha t**2 is spent by the share t (Kim & DeMets, 1987). The level of each look
follows from the joint distribution of the looks, that of a Brownian motion (Armitage, McPherson &
Rowe, 1969; Lan & DeMets, 1983), so that the whole level is used, as it would not be by Bonferroni.

A PASS may come at any look, since no false alarm can come of it; what it promises (the ``mde``) is
computed at the level of that look. An INCONCLUSIVE goes on to the next look, and stands at the
last.

Why t**2: an early FAIL is only wanted for gross regressions, so little is spent early, and the last
of four looks keeps two thirds of the level: nominally 0.33 of 0.5 %.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.distributions import normal_sf
from harness.analysis.statistics.gate_rule import ALPHA, GateResult, Verdict

__all__ = ["DEFAULT_LOOKS", "gate_alpha", "look_levels", "look_sizes", "measure_until_clear"]

#: Shares of the most trials at which the verdict is looked at.
DEFAULT_LOOKS = (0.25, 0.5, 0.75, 1.0)

_EXPONENT = 2.0
_GRID = 801


def look_sizes(
    most_repeats: int, looks: tuple[float, ...] = DEFAULT_LOOKS, *, fewest: int = 2
) -> tuple[int, ...]:
    """Return how many repeats of every utterance are there at each look.

    Whole repeats keep the sides and utterances balanced at every look. Looks that would come before
    ``fewest`` repeats, or twice at the same number, are dropped.
    """
    if most_repeats < 1:
        raise ValueError("at least one repeat is measured")
    sizes = sorted({math.ceil(most_repeats * share - 1e-9) for share in looks} | {most_repeats})
    return tuple(size for size in sizes if size >= min(fewest, most_repeats))


@lru_cache(maxsize=256)
def look_levels(alpha: float, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return the nominal one-sided level of each look, spending alpha in all.

    Args:
        alpha: what all looks together may spend.
        shares: the information at each look, ascending, the last 1.
    """
    if not shares or shares[-1] != 1.0 or any(a >= b for a, b in pairwise(shares)):
        raise ValueError(f"looks are ascending shares that end at 1, got {shares}")
    levels: list[float] = []
    spent = 0.0
    grid: NDArray[np.float64] = np.zeros(1)
    mass: NDArray[np.float64] = np.ones(1)
    before = 0.0
    for share in shares:
        allowance = alpha * share**_EXPONENT - spent
        deviation = math.sqrt(share - before)

        def crossing(
            bound: float,
            grid: NDArray[np.float64] = grid,
            mass: NDArray[np.float64] = mass,
            deviation: float = deviation,
        ) -> float:
            return float(
                sum(
                    m * normal_sf((bound - x) / deviation)
                    for x, m in zip(grid, mass, strict=True)
                    if m > 1e-18
                )
            )

        bound = _solve(crossing, allowance, math.sqrt(share))
        levels.append(normal_sf(bound / math.sqrt(share)))
        spent += allowance
        # The paths that go on: their density below the bound, by Simpson's rule.
        following = np.linspace(-9.0 * math.sqrt(share), bound, _GRID)
        steps = (following[:, None] - grid[None, :]) / deviation
        density = np.exp(-0.5 * steps**2) @ mass / (deviation * math.sqrt(2.0 * math.pi))
        weights = np.full(_GRID, 2.0)
        weights[1::2] = 4.0
        weights[[0, -1]] = 1.0
        mass = density * weights * (following[1] - following[0]) / 3.0
        grid, before = following, share
    return tuple(levels)


def _solve(crossing: Callable[[float], float], target: float, scale: float) -> float:
    """Return the bound that is crossed with the target probability; crossing falls with it."""
    low, high = -2.0 * scale, 9.0 * scale
    for _ in range(60):
        half = 0.5 * (low + high)
        if crossing(half) > target:
            low = half
        else:
            high = half
    return 0.5 * (low + high)


def gate_alpha(
    look: int, sizes: tuple[int, ...], *, budgets: int = 1, alpha: float = ALPHA
) -> float:
    """Return the level to give to the evidence functions at one look.

    The looks are corrected within each budget, then the budgets among themselves; the evidence
    functions divide by the number of budgets, so it is multiplied here.
    """
    shares = tuple(size / sizes[-1] for size in sizes)
    return budgets * look_levels(alpha / budgets, shares)[look]


def measure_until_clear(
    sizes: tuple[int, ...],
    judge: Callable[[int, float], GateResult],
    *,
    budgets: int = 1,
    alpha: float = ALPHA,
) -> tuple[GateResult, int]:
    """Judge at each look until the verdict is PASS or FAIL.

    Args:
        sizes: from :func:`look_sizes`.
        judge: called with the repeats to have measured and the gate's level at this look.
        budgets: how many the gate has.
        alpha: of the whole gate over all looks.

    Returns:
        The last result, and the repeats it rests on.
    """
    for look, size in enumerate(sizes):
        result = judge(size, gate_alpha(look, sizes, budgets=budgets, alpha=alpha))
        if result.verdict is not Verdict.INCONCLUSIVE:
            break
    return result, size
