"""Numbers as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.report.format import (
    CellState,
    Unit,
    cell,
    decimal,
    interval,
    milliseconds,
    percent,
    plural,
    quantity,
    signed_quantity,
)


def make_estimate(point: float, low: float, high: float | TimedOut) -> Estimate:
    """Return an estimate with these ends."""
    return Estimate(
        point=point,
        low=low,
        high=high,
        confidence=0.95,
        n=120,
        effective_n=80.0,
        failures=2,
        method="order statistics",
    )


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"),
        (1_204_400_000, "1\u202f204 ms"),
        (9_940_000, "9.9 ms"),
        (412_000, "0.41 ms"),
        (41_200, "0.041 ms"),
        (-37_000_000, "−37 ms"),
        (-10_000, "−0.010 ms"),
    ],
)
def test_milliseconds(ns: int, text: str) -> None:
    """Milliseconds keep what means something: three figures below 1 ms, whole above 10."""
    assert milliseconds(ns).replace("\u00a0", " ") == text


def test_tiny_negative_is_no_negative_zero() -> None:
    """What rounds to zero has no sign."""
    assert decimal(-0.0004, 2) == "0.00"
    assert percent(-0.00001).startswith("0.0")


def test_units() -> None:
    """Each unit of the metrics' table is shown in its own way."""
    shown = {unit: quantity(0.5, unit).replace("\u00a0", " ") for unit in Unit}
    assert shown == {
        Unit.MILLISECONDS: "0.50 ms",
        Unit.RATE: "50.0 %",
        Unit.RATIO: "0.50",
        Unit.TOKENS: "0.5 tokens/s",
        Unit.COUNT: "0.5",
    }


def test_signs_of_differences() -> None:
    """A difference always shows its direction, and none as ±."""
    assert signed_quantity(12.0, Unit.MILLISECONDS).startswith("+12")
    assert signed_quantity(-12.0, Unit.MILLISECONDS).startswith("−12")
    assert signed_quantity(0.0, Unit.MILLISECONDS).startswith("±0")


def test_open_and_timed_out_intervals() -> None:
    """An open end is said in words, and one among the failures is no number."""
    among = TimedOut(n=100, failures=9)
    assert interval(100.0, among, Unit.MILLISECONDS, 120.0) == "100 – timed out"
    assert interval(-math.inf, 130.0, Unit.MILLISECONDS, 120.0) == "at most 130"
    assert interval(100.0, math.inf, Unit.MILLISECONDS, 120.0) == "at least 100"
    assert interval(-math.inf, math.inf, Unit.MILLISECONDS, 120.0) == ""
    assert interval(0.0, math.inf, Unit.RATIO, 1.3) == ""
    assert interval(0.5, math.inf, Unit.RATIO, 1.3) == "at least 0.50"
    assert interval(0.0, math.inf, Unit.MILLISECONDS, 120.0) == "at least 0"
    assert interval(-20.0, -10.0, Unit.MILLISECONDS, -15.0) == "−20 to −10"


def test_unsupported_percentile_is_no_number() -> None:
    """A percentile that n cannot carry is not printed as one, even where a value was observed."""
    statistic = Unsupported(
        reason="p95 needs 59 independent trials",
        needed=59,
        n=24,
        effective_n=24.0,
        failures=0,
        observed=1234.0,
    )
    shown = cell(statistic, Unit.MILLISECONDS, emulated=True)
    assert shown.text == "n too small"
    assert shown.state is CellState.TOO_SMALL
    assert shown.value is None
    assert "234" not in shown.text + shown.interval + shown.note
    assert "59" in shown.note


def test_percentile_among_failures_timed_out() -> None:
    """A percentile among the failures reads "timed out" and sorts behind every number."""
    shown = cell(TimedOut(n=100, failures=9), Unit.MILLISECONDS)
    assert (shown.text, shown.state) == ("timed out", CellState.TIMED_OUT)
    assert shown.value == math.inf


def test_cell_of_an_estimate_states_its_carriers() -> None:
    """An estimate's cell names n, failures and the method."""
    shown = cell(make_estimate(812.4, 790.0, 851.0), Unit.MILLISECONDS)
    assert shown.text == "812\u00a0ms"
    assert shown.interval == "790 – 851"
    for part in ("n = 120", "2 failed", "order statistics", "95"):
        assert part in shown.note


def test_missing_has_a_reason() -> None:
    """What was not measured is a dash, never a zero."""
    shown = cell(None, Unit.MILLISECONDS)
    assert (shown.text, shown.state, shown.value) == ("–", CellState.MISSING, None)
    assert shown.note


def test_plural() -> None:
    """One trial, two trials."""
    assert plural(1, "trial") == "1\u00a0trial"
    assert plural(2, "trial") == "2\u00a0trials"


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_rounding_keeps_the_value(ns: float) -> None:
    """For every value: the text, read back, lies within half a unit of its last place."""
    text = milliseconds(ns).replace("\u00a0ms", "").replace("\u202f", "").replace("−", "-")
    places = len(text.partition(".")[2])
    assert abs(float(text) - ns / 1e6) <= 0.5 * 10**-places + 1e-9 * abs(ns / 1e6)
