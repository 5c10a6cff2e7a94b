"""A stored run as pandas DataFrames."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.frames.columns import TABLES, Table, TableName
from harness.frames.records import Record, Records
from harness.store.runs.run import REPORTS, Run, find_run, open_run

__all__ = ["RunTables", "frame_of", "load"]


class RunTables:
    """A run's tables; ``bench/COLUMNS.md`` says what stands in them.

    Each call returns a DataFrame of its own, to be changed at will. Times are milliseconds, and
    what is missing is ``<NA>``.

    Args:
        run: a stored run.
    """

    def __init__(self, run: Run) -> None:
        self.name = run.name
        self.path = run.path
        self._records = Records(run)

    def trials(self) -> pd.DataFrame:
        """Return a row for each trial, by ``trial``: who, what, whether it counts, every metric."""
        return self.table("trials")

    def turns(self) -> pd.DataFrame:
        """Return a row for each turn, by ``trial`` and ``turn``: texts, reply, marks."""
        return self.table("turns")

    def requests(self) -> pd.DataFrame:
        """Return a row for each call of a provider, by ``trial``, ``turn`` and ``request``."""
        return self.table("requests")

    def parts(self) -> pd.DataFrame:
        """Return the waterfalls: a row for each part, by ``trial``, ``turn`` and ``part``."""
        return self.table("parts")

    def summary(self) -> pd.DataFrame:
        """Return a row for each estimate, by ``candidate``, ``metric`` and ``statistic``."""
        return self.table("summary")

    def table(self, name: TableName) -> pd.DataFrame:
        """Return a table by its name."""
        return frame_of(TABLES[name], self._records.of(name))

    def __repr__(self) -> str:
        tables = ", ".join(f"{name}()" for name in TABLES)
        return f"<run {self.name}: {tables}>"


def load(run: str | Path = "latest", *, reports: str | Path = REPORTS) -> RunTables:
    """Return a stored run's tables.

    Args:
        run: its folder, its name (or the name's unique beginning or end), or "latest".
        reports: the folder that names are looked for in.

    Raises:
        ConfigurationError: there is no such run, or it is damaged.
    """
    return RunTables(open_run(find_run(str(run), reports=Path(reports))))


def frame_of(table: Table, records: Sequence[Record]) -> pd.DataFrame:
    """Return rows as a DataFrame with the table's types and index.

    Rows of several keys are sorted by them: pandas warns where a part of such an index is asked for
    and it is not.
    """
    columns = {
        name: pd.array([_present(each.get(name)) for each in records], dtype=kind)
        for name, kind in table.kinds.items()
    }
    frame = pd.DataFrame(columns).set_index(list(table.index))
    return frame if len(table.index) == 1 else frame.sort_index()


def _present(value: Any) -> Any:
    """Return a value, or pandas' own absence for an empty text and for what is no number."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return pd.NA
    return value
