"""A run's tables as files for other programs: CSV and Parquet of the same DataFrames."""

import io
from pathlib import Path

import pandas as pd

from harness.errors import ConfigurationError
from harness.frames.columns import TABLES, TableName
from harness.frames.tables import RunTables
from harness.store.files import write_output
from harness.store.secrecy import mask_text

__all__ = ["render_csv", "write_parquet"]

# What a spreadsheet would run when it opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _flat(run: RunTables, name: TableName) -> pd.DataFrame:
    """Return a table with its index as columns, in the order of its definition."""
    return run.table(name).reset_index()[list(TABLES[name].kinds)]


def render_csv(run: RunTables, table: TableName = "trials") -> str:
    """Return one line for each row under a header (RFC 4180, UTF-8, CRLF).

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    flat = _flat(run, table)
    for name, kind in TABLES[table].kinds.items():
        if kind == "string":
            risky = flat[name].str.startswith(_FORMULA).fillna(value=False)
            flat[name] = flat[name].mask(risky, "'" + flat[name])
    return flat.to_csv(index=False, lineterminator="\r\n")


def write_parquet(run: RunTables, path: Path, table: TableName = "trials") -> None:
    """Write a table as Parquet; pandas reads its types back.

    Raises:
        ConfigurationError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow as pa  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            'Parquet needs pyarrow: install it with pip install "turnbench[parquet]", '
            "or choose --format csv"
        ) from error
    try:
        content = io.BytesIO()
        flat = _flat(run, table)
        for column, kind in TABLES[table].kinds.items():
            if kind == "string":
                flat[column] = flat[column].map(mask_text, na_action="ignore").astype("string")
        flat.to_parquet(content, engine="pyarrow", index=False)
        write_output(path, content.getvalue())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
