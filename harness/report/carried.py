"""What the trials carry, for tables: a percentile that none of them can is said once, elsewhere."""

from collections.abc import Iterable
from dataclasses import replace

from harness.report.format import DASH, Cell, CellState
from harness.report.view import HeadlineCell, HeadlineRow, PlainTable, ReportView

__all__ = ["carried_rows", "carried_table", "has_tail"]


def _small(value: Cell | str) -> bool:
    return isinstance(value, Cell) and value.state is CellState.TOO_SMALL


def _dashed(value: Cell) -> Cell:
    """Return a cell that the trials cannot carry as a dash; its note stays for whoever asks."""
    if value.state is not CellState.TOO_SMALL:
        return value
    return replace(value, text=DASH, interval="")


def _lost(cells: Iterable[HeadlineCell]) -> frozenset[str]:
    """Return the statistics beside the first that no cell of a table carries."""
    carried: set[str] = set()
    named: set[str] = set()
    for each in cells:
        for k, (label, value) in enumerate(each.statistics):
            named.add(label)
            if k == 0 or value.state in (CellState.VALUE, CellState.TIMED_OUT):
                carried.add(label)
    return frozenset(named - carried)


def carried_rows(view: ReportView) -> tuple[HeadlineRow, ...]:
    """Return the headline's rows without the percentiles that no candidate carries.

    One that some carry is a dash where it is not; that the trials are too few is a caution.
    """
    lost = _lost(cell for row in view.rows for cell in row.cells)
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(
                    each,
                    statistics=tuple(
                        (label, value if k == 0 else _dashed(value))
                        for k, (label, value) in enumerate(each.statistics)
                        if label not in lost
                    ),
                )
                for each in row.cells
            ),
        )
        for row in view.rows
    )


def has_tail(view: ReportView) -> bool:
    """Tell whether any candidate carries a percentile beside the median."""
    return any(len(each.statistics) > 1 for row in carried_rows(view) for each in row.cells)


def carried_table(table: PlainTable) -> PlainTable:
    """Return a table without the columns that no row carries; others are a dash where it cannot."""
    kept = [
        k
        for k in range(len(table.columns))
        if not (table.rows and all(_small(row[k]) for row in table.rows))
    ]
    return replace(
        table,
        columns=tuple(table.columns[k] for k in kept),
        rows=tuple(
            tuple(
                _dashed(value) if isinstance(value, Cell) else value
                for value in (row[k] for k in kept)
            )
            for row in table.rows
        ),
    )
