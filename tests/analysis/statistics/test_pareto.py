"""Which candidates are worth having."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.statistics.estimate import Estimate, Statistic, TimedOut, Unsupported
from harness.analysis.statistics.pareto import Contender, pareto

MISSING = Unsupported(reason="no prices", needed=0, n=0, effective_n=0.0, failures=0, observed=None)
LATE = TimedOut(n=10, failures=9)


def value(point: float, half: float = 0.1) -> Estimate:
    """Make an estimate with a symmetric interval."""
    return Estimate(
        point=point,
        low=point - half,
        high=point + half,
        confidence=0.95,
        n=10,
        effective_n=10.0,
        failures=0,
        method="test",
    )


def contender(name: str, **objectives: Statistic) -> Contender:
    """Make a contender."""
    return Contender(name=name, objectives=objectives)


def test_a_trade_off_is_a_front() -> None:
    """Faster but less accurate, and slower but more accurate: both stay; worse at both goes."""
    fast, good, bad = pareto(
        [
            contender("fast", latency=value(1), wer=value(5)),
            contender("good", latency=value(3), wer=value(2)),
            contender("bad", latency=value(4), wer=value(6)),
        ]
    )
    assert fast.on_front
    assert good.on_front
    assert bad.dominated_by == ("fast", "good")
    assert bad.surely_dominated_by == ("fast", "good")


def test_overlapping_intervals_leave_it_open() -> None:
    """Worse by points, but not for certain: off the front, not surely dominated."""
    _, second = pareto(
        [
            contender("first", latency=value(1), wer=value(2, 0.5)),
            contender("second", latency=value(3), wer=value(2.2, 0.5)),
        ]
    )
    assert not second.on_front
    assert second.surely_dominated_by == ()


def test_equal_objectives_do_not_protect() -> None:
    """The same word errors and a longer latency is surely dominated."""
    _, second = pareto(
        [
            contender("first", latency=value(1), wer=value(2)),
            contender("second", latency=value(3), wer=value(2)),
        ]
    )
    assert second.surely_dominated_by == ("first",)


def test_a_timed_out_value_is_worse_than_every_number() -> None:
    """And two of them tie."""
    slow, gone, also = pareto(
        [
            contender("slow", latency=value(900.0)),
            contender("gone", latency=LATE),
            contender("also", latency=LATE),
        ]
    )
    assert slow.on_front
    assert gone.surely_dominated_by == ("slow",)
    assert also.dominated_by == ("slow",)


def test_a_missing_value_cannot_be_compared() -> None:
    """Without a price nobody is cheaper."""
    standings = pareto(
        [
            contender("priced", latency=value(1), cost=value(1)),
            contender("unpriced", latency=value(9), cost=MISSING),
        ]
    )
    assert all(standing.on_front for standing in standings)


@given(
    points=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8
    )
)
def test_the_front_is_never_empty_and_dominance_is_a_strict_order(
    points: list[tuple[int, int, int]],
) -> None:
    """Someone is on the front; nobody dominates whoever dominates it; sure implies by points."""
    standings = {
        s.name: s
        for s in pareto(
            [
                contender(str(i), a=value(a), b=value(b), c=value(c))
                for i, (a, b, c) in enumerate(points)
            ]
        )
    }
    assert any(s.on_front for s in standings.values())
    for s in standings.values():
        assert set(s.surely_dominated_by) <= set(s.dominated_by)
        for other in s.dominated_by:
            assert s.name not in standings[other].dominated_by
            assert set(standings[other].dominated_by) <= set(s.dominated_by)


def test_names_and_objectives_must_match() -> None:
    """Two of one name, or other objectives, are misuse."""
    with pytest.raises(ValueError, match="one name"):
        pareto([contender("a", x=value(1)), contender("a", x=value(2))])
    with pytest.raises(ValueError, match="same objectives"):
        pareto([contender("a", x=value(1)), contender("b", y=value(2))])
