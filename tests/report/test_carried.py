"""A percentile that the trials cannot carry is said once, and never as a number."""

from dataclasses import replace

from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.report.carried import carried_rows, carried_table, has_tail
from harness.report.format import DASH, Cell, CellState, Unit, cell, missing
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.view import HeadlineCell, PlainTable, ReportView
from tests.report.samples import make_view

VIEW = make_view(80)
SMALL = cell(
    Unsupported(reason="too few", needed=72, n=8, effective_n=8, failures=0, observed=None),
    Unit.MILLISECONDS,
)
VALUE = cell(
    Estimate(
        point=900, low=800, high=1000, confidence=0.95, n=80, effective_n=80, failures=0, method="x"
    ),
    Unit.MILLISECONDS,
)


def headline(*tails: Cell) -> ReportView:
    """Return a view of two candidates whose one metric has these p95s."""
    rows = tuple(
        replace(
            row,
            cells=(HeadlineCell(statistics=(("p50", VALUE), ("p95", tail)), n=8, failures=0),),
        )
        for row, tail in zip(VIEW.rows, tails, strict=True)
    )
    return replace(VIEW, columns=VIEW.columns[:1], rows=rows)


def test_what_nobody_carries_has_no_line() -> None:
    """With two candidates of eight trials the table has p50 alone, on the page and in Markdown."""
    view = headline(SMALL, SMALL)
    assert not has_tail(view)
    for row in carried_rows(view):
        assert [label for label, _ in row.cells[0].statistics] == ["p50"]
    assert "n too small" not in render_html(replace(view, all_metrics=None, distributions=()))
    assert "n too small" not in render_markdown(replace(view, comparisons=()))


def test_what_is_missing_carries_nothing() -> None:
    """A candidate that lacks the metric keeps no line of a percentile that no other carries."""
    view = headline(SMALL, SMALL)
    absent = missing("its STT sends finals only")
    cells = (HeadlineCell(statistics=(("p50", absent), ("p95", absent)), n=0, failures=0),)
    rows = (view.rows[0], replace(view.rows[1], cells=cells))
    for row in carried_rows(replace(view, rows=rows)):
        assert [label for label, _ in row.cells[0].statistics] == ["p50"]


def test_what_some_carry_is_a_dash_elsewhere() -> None:
    """Where one candidate carries it, the other's is a dash that says why when asked."""
    first, second = carried_rows(headline(VALUE, SMALL))
    assert dict(first.cells[0].statistics)["p95"] == VALUE
    shown = dict(second.cells[0].statistics)["p95"]
    assert (shown.text, shown.interval, shown.state) == (DASH, "", CellState.TOO_SMALL)
    assert shown.note == SMALL.note


def test_a_median_that_is_not_carried_is_said_in_its_place() -> None:
    """The first statistic of a cell stays, with its words: there is nothing else to show."""
    view = headline(VALUE, VALUE)
    cells = (HeadlineCell(statistics=(("p50", SMALL), ("p95", SMALL)), n=8, failures=0),)
    rows = tuple(replace(row, cells=cells) for row in view.rows)
    (shown,) = carried_rows(replace(view, rows=rows))[0].cells[0].statistics
    assert shown == ("p50", SMALL)


def test_columns_of_a_table() -> None:
    """A column that no row carries is left out; every other keeps its place and its values."""
    table = PlainTable(
        title="t",
        columns=("Candidate", "p50", "p95", "p99", "n"),
        rows=(("a", VALUE, SMALL, SMALL, "8"), ("b", VALUE, VALUE, SMALL, "80")),
    )
    shown = carried_table(table)
    assert shown.columns == ("Candidate", "p50", "p95", "n")
    assert [each.text if not isinstance(each, str) else each for each in shown.rows[0]] == [
        "a",
        VALUE.text,
        DASH,
        "8",
    ]
    assert carried_table(replace(table, rows=())).columns == table.columns
