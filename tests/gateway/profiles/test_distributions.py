"""Delays and their draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.profiles.distributions import Constant, Draws, Empirical, Lognormal

_PROBABILITIES = st.floats(0.001, 0.999)


def _draws(key: str = "a-0", *, seed: int = 1) -> Draws:
    return Draws(seed=seed, stage="llm", key=key)


class TestLognormal:
    @given(st.floats(1, 5000), st.floats(1, 6))
    def test_it_passes_through_the_published_percentiles(self, p50: float, ratio: float) -> None:
        """The 50th and 95th percentile of the fit are those that were published."""
        fitted = Lognormal(p50_ms=p50, p95_ms=p50 * ratio)
        assert fitted.quantile_ns(0.5) == pytest.approx(p50 * 1e6, abs=2)
        assert fitted.quantile_ns(0.95) == pytest.approx(p50 * ratio * 1e6, rel=1e-9, abs=2)

    @given(_PROBABILITIES, _PROBABILITIES)
    def test_it_is_monotone_and_cut_at_the_maximum(self, one: float, other: float) -> None:
        """A higher probability never gives a shorter delay, and none exceeds the maximum."""
        fitted = Lognormal(p50_ms=475, p95_ms=842, max_ms=900)
        low, high = sorted((one, other))
        assert fitted.quantile_ns(low) <= fitted.quantile_ns(high) <= 900_000_000

    @pytest.mark.parametrize(
        ("p50", "p95", "maximum"),
        [(0, 1, None), (10, 5, None), (10, 20, 15), (10, float("nan"), None), (-1, 2, None)],
    )
    def test_impossible_percentiles_are_refused(
        self, p50: float, p95: float, maximum: float | None
    ) -> None:
        """Percentiles that no lognormal has cannot be made into one."""
        with pytest.raises(ValueError, match="must be"):
            Lognormal(p50_ms=p50, p95_ms=p95, max_ms=maximum)


class TestEmpirical:
    @given(st.lists(st.floats(0, 1e4), min_size=1, max_size=20), _PROBABILITIES)
    def test_draws_lie_between_the_observed_extremes(
        self, values: list[float], probability: float
    ) -> None:
        """No draw is shorter or longer than what was observed."""
        drawn = Empirical(values_ms=tuple(values)).quantile_ns(probability)
        assert round(min(values) * 1e6) <= drawn <= round(max(values) * 1e6)

    def test_nothing_observed_is_refused(self) -> None:
        """A distribution of no values does not exist."""
        with pytest.raises(ValueError, match="at least one"):
            Empirical(values_ms=())


class TestDraws:
    def test_equal_names_give_equal_delays_in_any_order(self) -> None:
        """A draw depends on its names alone, not on the draws before it."""
        law = Lognormal(p50_ms=100, p95_ms=300)
        forwards = [_draws().delay_ns(law, "gap", index) for index in range(50)]
        backwards = [_draws().delay_ns(law, "gap", index) for index in reversed(range(50))]
        assert forwards == backwards[::-1]
        assert len(set(forwards)) == 50

    @pytest.mark.parametrize(
        "other",
        [_draws("a-1"), _draws(seed=2)],
        ids=["key", "seed"],
    )
    def test_each_name_matters(self, other: Draws) -> None:
        """Another request or seed gives another delay."""
        law = Lognormal(p50_ms=100, p95_ms=300)
        assert other.delay_ns(law, "first") != _draws().delay_ns(law, "first")

    def test_many_draws_follow_the_law(self) -> None:
        """Of 4000 draws half lie under the median and 5 % over the 95th percentile."""
        law = Lognormal(p50_ms=475, p95_ms=842, max_ms=4458)
        drawn = [_draws(f"k-{number}").delay_ns(law, "first") for number in range(4000)]
        below = sum(value < 475e6 for value in drawn) / 4000
        beyond = sum(value > 842e6 for value in drawn) / 4000
        # Four standard errors.
        assert below == pytest.approx(0.5, abs=0.032)
        assert beyond == pytest.approx(0.05, abs=0.0138)

    def test_a_constant_is_constant(self) -> None:
        """A constant delay is the same for every request."""
        assert {_draws(f"{n}").delay_ns(Constant(ms=2.5), "x") for n in range(9)} == {2_500_000}
