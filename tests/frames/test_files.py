"""CSV and Parquet are the DataFrames, written down."""

import builtins
import csv
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli import main
from harness.errors import ConfigurationError
from harness.frames.columns import TABLES, TableName
from harness.frames.files import render_csv, write_parquet
from harness.frames.tables import RunTables, frame_of
from tests.frames.stored import every_kind, store_run
from tests.synthetic import Script, make_failed, make_trial

NAMES = tuple(TABLES)
READ: dict[str, Callable[[str], Any]] = {
    "string": str,
    "Float64": float,
    "Int64": int,
    "boolean": {"True": True, "False": False}.__getitem__,
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    """Return the tables of a run with trials of every status."""
    return RunTables(store_run(tmp_path_factory.mktemp("reports"), every_kind()))


@pytest.mark.parametrize("name", NAMES)
def test_csv_is_the_frame(tables: RunTables, name: TableName) -> None:
    """A table's CSV, read with the documented types, is the frame to the last digit."""
    text = render_csv(tables, name)
    assert text.count("\r\n") == len(tables.table(name)) + 1
    kinds = TABLES[name].kinds
    rows = [
        {key: READ[kinds[key]](value) if value else None for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
    pd.testing.assert_frame_equal(
        frame_of(TABLES[name], rows), tables.table(name), check_exact=True
    )


@pytest.mark.parametrize("name", NAMES)
def test_parquet_is_the_frame(tables: RunTables, name: TableName, tmp_path: Path) -> None:
    """A table's Parquet file, read by pandas, is the frame, its types included."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    path = tmp_path / "table.parquet"
    write_parquet(tables, path, name)
    found = pd.read_parquet(path).astype(TABLES[name].kinds)
    assert list(found.columns) == list(TABLES[name].kinds)
    found = found.set_index(list(TABLES[name].index))
    pd.testing.assert_frame_equal(found, tables.table(name), check_exact=True)
    types = {"Float64": "double", "Int64": "int64", "boolean": "bool"}
    schema = pq.read_table(path).schema
    for column, kind in TABLES[name].kinds.items():
        assert str(schema.field(column).type).removeprefix("large_") == types.get(kind, "string")


def test_the_columns_of_the_first_version_stay(tables: RunTables) -> None:
    """What a script of the first version reads from the CSV is there under its name."""
    header = next(csv.reader(io.StringIO(render_csv(tables), newline="")))
    known = ["run", "trial", "candidate", "voice", "utterance", "condition", "barge_in", "repeat"]
    known += ["status", "failure", "note", "tags", "emulated", "response_ms", "llm_ttft_ms", "wer"]
    known += ["cold", "stt_audio_s", "llm_endpoint", "llm_rtt_ms", "tts_characters", "cost"]
    assert [name for name in header if name in known] == known


def test_csv_runs_no_formula(tmp_path: Path) -> None:
    """A text that a spreadsheet would run as a formula is kept from running."""
    failed = make_failed(order=1)
    evil = replace(failed, failure=replace(failed.failure, message='=HYPERLINK("http://evil")'))
    tables = RunTables(store_run(tmp_path, [make_trial(Script()), evil]))
    rows = list(csv.DictReader(io.StringIO(render_csv(tables), newline="")))
    assert [row["note"] for row in rows] == ["", '\'=HYPERLINK("http://evil")']


def test_parquet_without_pyarrow(
    tables: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow the message says what to install and what to choose instead."""
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [each for each in sys.modules if each.startswith("pyarrow")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigurationError, match=r"turnbench\[parquet\].*--format csv"):
        write_parquet(tables, tmp_path / "x.parquet")


def test_the_command_line_writes_any_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--table`` chooses what is written; it goes with the formats of tables alone."""
    run = store_run(tmp_path, every_kind())
    assert main(["report", str(run.path), "--format", "csv", "--table", "parts"]) == 0
    assert capsys.readouterr().out == render_csv(RunTables(run), "parts")
    assert main(["report", str(run.path), "--format", "csv"]) == 0
    assert capsys.readouterr().out == render_csv(RunTables(run))
    assert main(["report", str(run.path), "--format", "parquet", "--table", "turns"]) == 0
    written = capsys.readouterr().out.strip()
    assert written == str(run.path / "turns.parquet")
    assert len(pd.read_parquet(written)) == len(RunTables(run).turns())
    assert main(["report", str(run.path), "--format", "json", "--table", "turns"]) == 2
    assert "--table goes with" in capsys.readouterr().err
