"""The tables' definition: what the page says, what an import costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.domain.timeline import Mark
from harness.frames.columns import TABLES, TableName, document
from tests.frames.stored import store_run
from tests.synthetic import Script, make_trial

ROOT = Path(__file__).parents[2]
HEAVY = ("pandas", "livekit", "numpy", "matplotlib")


def test_the_page_is_the_definition() -> None:
    """bench/COLUMNS.md is what ``python -m harness.frames.columns`` writes."""
    assert (ROOT / "bench" / "COLUMNS.md").read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_well_named(name: TableName) -> None:
    """Names are unique, times end in their unit and have it, and each column says what it means."""
    found = TABLES[name]
    names = [each.name for each in found.columns]
    assert len(set(names)) == len(names)
    assert set(found.index) <= set(names)
    for each in found.columns:
        assert each.name.endswith("_ms") == (each.unit == "ms"), each.name
        assert each.meaning
        assert "|" not in each.meaning
        assert (each.kind == "Float64") or each.unit == ""


def test_every_mark_has_a_column() -> None:
    """No mark of a turn is left out of the turns' table."""
    assert {f"{mark.value}_ms" for mark in Mark} <= set(TABLES["turns"].kinds)


@pytest.mark.parametrize("module", ["harness", "harness.frames.records"])
def test_importing_brings_no_pandas(module: str) -> None:
    """``import harness`` costs nothing until a run is loaded; rows need no pandas."""
    code = f"import sys, {module}; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert loaded <= (set() if module == "harness" else {"numpy"})


def test_loading_a_run_brings_no_livekit(tmp_path: Path) -> None:
    """A notebook that loads a run imports pandas, and never livekit."""
    run = store_run(tmp_path, [make_trial(Script())])
    code = (
        "import sys, harness; harness.load(sys.argv[1]).summary(); "
        "print('pandas' in sys.modules, 'livekit' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "True False\n"
