"""Looks that together spend the gate's level once."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from harness.analysis.statistics.gate_rule import GateResult, Verdict
from harness.analysis.statistics.sequential import (
    DEFAULT_LOOKS,
    gate_alpha,
    look_levels,
    look_sizes,
    measure_until_clear,
)


def test_one_look_has_the_whole_level() -> None:
    """Without looking early nothing is taken off."""
    assert look_levels(0.005, (1.0,)) == pytest.approx((0.005,))


def test_later_looks_have_more() -> None:
    """Levels rise, and the last stays below the whole."""
    levels = look_levels(0.005, DEFAULT_LOOKS)
    assert all(a < b for a, b in pairwise(levels))
    assert levels[0] == pytest.approx(0.005 / 16)
    assert levels[-1] < 0.005
    assert sum(levels) > 0.005  # Bonferroni would waste what the looks have in common


@pytest.mark.parametrize("shares", [DEFAULT_LOOKS, (0.3, 1.0), (0.1, 0.2, 0.4, 0.8, 1.0)])
def test_the_looks_together_spend_the_level(shares: tuple[float, ...]) -> None:
    """Sums of independent increments cross any of the bounds with the probability alpha."""
    alpha, n = 0.05, 200_000
    steps = np.sqrt(np.diff([0.0, *shares]))
    paths = np.cumsum(np.random.default_rng(1).normal(size=(n, len(shares))) * steps, axis=1)
    bounds = stats.norm.isf(look_levels(alpha, shares))
    crossed = (paths / np.sqrt(shares) > bounds).any(axis=1).mean()
    assert crossed == pytest.approx(alpha, abs=4 * np.sqrt(alpha * (1 - alpha) / n))


def test_illegal_looks_are_refused() -> None:
    """Looks ascend and end at the most trials."""
    for shares in ((), (0.5,), (0.5, 0.4, 1.0)):
        with pytest.raises(ValueError, match="ascending"):
            look_levels(0.01, shares)


def test_looks_are_whole_repeats() -> None:
    """Sides and utterances are balanced at each look; doubles and tiny looks fall away."""
    assert look_sizes(10) == (3, 5, 8, 10)
    assert look_sizes(3) == (2, 3)
    assert look_sizes(1) == (1,)
    with pytest.raises(ValueError, match="repeat"):
        look_sizes(0)


def test_budgets_are_corrected_within_the_looks() -> None:
    """24 budgets at the first look have a 24th of the level's first portion each."""
    sizes = (3, 5, 8, 10)
    alpha = gate_alpha(0, sizes, budgets=24)
    assert alpha / 24 == pytest.approx(look_levels(0.005 / 24, (0.3, 0.5, 0.8, 1.0))[0])


@pytest.mark.parametrize(("verdicts", "repeats"), [("IIP", 8), ("F", 3), ("IIII", 10), ("IF", 5)])
def test_measuring_ends_when_it_is_clear(verdicts: str, repeats: int) -> None:
    """PASS and FAIL end it, INCONCLUSIVE goes on to the last look and stands there."""
    kinds = {"P": Verdict.PASS, "I": Verdict.INCONCLUSIVE, "F": Verdict.FAIL}
    asked: list[int] = []

    def judge(size: int, alpha: float) -> GateResult:
        asked.append(size)
        return GateResult(verdict=kinds[verdicts[len(asked) - 1]], rulings=(), alpha=alpha)

    result, used = measure_until_clear((3, 5, 8, 10), judge)
    assert used == repeats
    assert result.verdict is kinds[verdicts[-1]]
    assert asked == [3, 5, 8, 10][: len(verdicts)]
