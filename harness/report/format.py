"""Numbers as text: the only place where a measured value is rounded.

Every function takes a value in the unit that it is kept in (integer nanoseconds for spans, a
metric's own unit for estimates) and returns what a reader sees. A minus sign is U+2212, a range
has an en dash, thousands have a narrow no-break space, so that figures of one column align and wrap
nowhere.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from harness.analysis.statistics.estimate import Estimate, Statistic, TimedOut, Unsupported

__all__ = [
    "DASH",
    "VIRTUAL_CLOCK",
    "VIRTUAL_NOTE",
    "Cell",
    "CellState",
    "Unit",
    "candidate_title",
    "cell",
    "count",
    "decimal",
    "in_characters",
    "interval",
    "milliseconds",
    "missing",
    "percent",
    "plural",
    "quantity",
    "seconds",
    "signed_quantity",
    "size",
]

MINUS = "\u2212"
NARROW_SPACE = "\u202f"
NO_BREAK_SPACE = "\u00a0"
DASH = "\u2013"
VIRTUAL_CLOCK = "VIRTUAL CLOCK"
VIRTUAL_NOTE = "waits are exact, Python's own work takes no time"
"""What every output of a run on the virtual clock says, after ``VIRTUAL_CLOCK``."""
NANOSECONDS_PER_MS = 1_000_000


class Unit(StrEnum):
    """The unit of a metric's value, by the names of ``harness.analysis.turn.definitions``."""

    MILLISECONDS = "ms"
    RATE = "rate"
    """a share of 1, shown in percent"""
    RATIO = "ratio"
    TOKENS = "tokens/s"
    COUNT = "count"


class CellState(StrEnum):
    """What a cell of a table holds."""

    VALUE = "value"
    TOO_SMALL = "too-small"
    TIMED_OUT = "timed-out"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A statistic as a table shows it.

    Attributes:
        text: the value with its unit, or the words that stand in its place.
        interval: the interval without its unit; empty where there is none.
        state: whether there is a value, and why not.
        note: what a reader learns on hover, in a sentence.
        emulated: the value comes from a gateway profile.
        value, low, high: the same in the metric's unit, for sorting and drawing.
    """

    text: str
    interval: str = ""
    state: CellState = CellState.VALUE
    note: str = ""
    emulated: bool = False
    value: float | None = None
    low: float | None = None
    high: float | None = None


def candidate_title(name: str, *, emulated: bool) -> str:
    """Return a candidate's name as it is shown everywhere: what is emulated says so."""
    return f"{name} (emulated)" if emulated and "emulated" not in name.lower() else name


def _sign(text: str) -> str:
    return text.replace("-", MINUS)


def _grouped(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}".replace(",", NARROW_SPACE)
    # "-0" is what rounding leaves of a tiny negative number.
    return (
        text[1:] if text.startswith("-") and not text.strip("-0." + NARROW_SPACE) else _sign(text)
    )


def decimal(value: float, digits: int = 0) -> str:
    """Return a number with grouped thousands and so many digits after the point."""
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return _grouped(value, digits)


def count(value: int) -> str:
    """Return a whole number with grouped thousands."""
    return _grouped(value, 0)


def plural(number: int, noun: str, many: str | None = None) -> str:
    """Return "1 trial" or "2 trials"."""
    return f"{count(number)}{NO_BREAK_SPACE}{noun if number == 1 else many or noun + 's'}"


def _millisecond_digits(ns: float) -> int:
    # Below 10 ms a digit after the point still means something; above it is noise.
    size_ms = abs(ns) / 1e6
    if size_ms < 0.1:
        return 3
    return 2 if size_ms < 1 else 1 if size_ms < 10 else 0


def milliseconds(ns: float, digits: int | None = None) -> str:
    """Return nanoseconds as milliseconds with the unit, three significant figures or whole."""
    if math.isinf(ns):
        return decimal(ns)
    places = _millisecond_digits(ns) if digits is None else digits
    places = 0 if ns == 0 and digits is None else places
    return f"{_grouped(ns / 1e6, places)}{NO_BREAK_SPACE}ms"


def seconds(ns: float, digits: int = 1) -> str:
    """Return nanoseconds as seconds with the unit."""
    return f"{_grouped(ns / 1e9, digits)}{NO_BREAK_SPACE}s"


def percent(ratio: float, digits: int = 1) -> str:
    """Return a ratio as a percentage."""
    if math.isinf(ratio):
        return decimal(ratio)
    return f"{_grouped(ratio * 100, digits)}{NO_BREAK_SPACE}%"


def size(octets: int) -> str:
    """Return a number of bytes as kB or MB (powers of ten)."""
    if octets < 1_000_000:
        return f"{_grouped(octets / 1e3, 1)}{NO_BREAK_SPACE}kB"
    return f"{_grouped(octets / 1e6, 1)}{NO_BREAK_SPACE}MB"


def quantity(value: float, unit: Unit) -> str:
    """Return a value of any unit with its unit."""
    match unit:
        case Unit.MILLISECONDS:
            return milliseconds(value * NANOSECONDS_PER_MS)
        case Unit.RATE:
            return percent(value)
        case Unit.RATIO:
            return decimal(value, 2)
        case Unit.TOKENS:
            return f"{decimal(value, 1)}{NO_BREAK_SPACE}tokens/s"
        case Unit.COUNT:
            return decimal(value, 0 if math.isfinite(value) and value == round(value) else 1)


def signed_quantity(value: float, unit: Unit) -> str:
    """Return a difference with its sign, "±0" for none."""
    if value == 0:
        return f"±{quantity(0.0, unit)}"
    text = quantity(value, unit)
    return f"+{text}" if value > 0 and not text.startswith(MINUS) else text


def _bare(value: float, unit: Unit, reference: float) -> str:
    """Return a bound without its unit, with as many digits as the point has."""
    if math.isinf(value):
        return decimal(value)
    match unit:
        case Unit.MILLISECONDS:
            size_ms = reference or max(abs(value), 1.0)
            return _grouped(value, _millisecond_digits(size_ms * NANOSECONDS_PER_MS))
        case Unit.RATE:
            return _grouped(value * 100, 1)
        case Unit.RATIO:
            return _grouped(value, 2)
        case Unit.TOKENS | Unit.COUNT:
            return _grouped(value, 1)


def interval(low: float, high: float | TimedOut, unit: Unit, reference: float) -> str:
    """Return "1 150 – 1 260"; an open end is said in words.

    Args:
        low: -inf where there is only an upper bound.
        high: +inf where there is only a lower bound, ``TimedOut`` where it lies among failures.
        unit: of both.
        reference: the point; it decides how many digits are printed.
    """
    if isinstance(high, TimedOut):
        return f"{_bare(low, unit, reference)} {DASH} timed out"
    # What no ratio lies below says nothing either.
    nothing = low <= 0 if unit is Unit.RATIO else math.isinf(low)
    if nothing and math.isinf(high):
        return ""
    if math.isinf(low):
        return f"at most {_bare(high, unit, reference)}"
    if math.isinf(high):
        return f"at least {_bare(low, unit, reference)}"
    # A dash between two minus signs is read as a third.
    between = "to" if low < 0 or high < 0 else DASH
    return f"{_bare(low, unit, reference)} {between} {_bare(high, unit, reference)}"


def missing(reason: str) -> Cell:
    """Return the cell of a value that does not exist, with its reason."""
    return Cell(text=DASH, state=CellState.MISSING, note=reason)


def _finite(value: float | TimedOut) -> float | None:
    return None if isinstance(value, TimedOut) or math.isinf(value) else value


def cell(
    statistic: Statistic | None, unit: Unit, *, emulated: bool = False, signed: bool = False
) -> Cell:
    """Return a statistic as a table shows it.

    A percentile that the trials cannot carry is "n too small" and one that lies among the failures
    is "timed out"; neither is ever a number.
    """
    match statistic:
        case None:
            return missing("not measured")
        case Unsupported():
            needed = (
                f" {plural(statistic.needed, 'independent trial')} would carry it."
                if statistic.needed
                else ""
            )
            worth = decimal(statistic.effective_n, 0)
            return Cell(
                text="n too small",
                interval=f"needs {count(statistic.needed)}" if statistic.needed else "",
                state=CellState.TOO_SMALL,
                note=f"{statistic.reason.rstrip('.')}. n = {count(statistic.n)}, worth {worth} "
                f"independent.{needed}",
                emulated=emulated,
            )
        case TimedOut():
            return Cell(
                text="timed out",
                state=CellState.TIMED_OUT,
                note=f"{count(statistic.failures)} of {count(statistic.n)} trials failed: this "
                "percentile lies among them, later than every answer that came.",
                emulated=emulated,
                value=math.inf,
            )
        case Estimate():
            show = signed_quantity if signed else quantity
            return Cell(
                text=show(statistic.point, unit),
                interval=interval(statistic.low, statistic.high, unit, statistic.point),
                note=f"{percent(statistic.confidence, 0)} interval · n = {count(statistic.n)}, "
                f"{count(statistic.failures)} failed · {statistic.method}",
                emulated=emulated,
                value=statistic.point,
                low=_finite(statistic.low),
                high=_finite(statistic.high),
            )


def in_characters(shown: Cell) -> Cell:
    """Return a cell of word errors marked as character errors."""
    if shown.state is CellState.MISSING:
        return shown
    return replace(
        shown,
        text=f"{shown.text} CER",
        note=f"Characters count, not words. {shown.note}".strip(),
    )
