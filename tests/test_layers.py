"""Imports point one way, and what need not be slow is not."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("livekit", "numpy", "pandas", "matplotlib", "aiohttp", "rich", "jinja2")

LOADED = """
import sys
from harness.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
heavy = {heavy!r}
print("LOADED", *sorted({{name for name in sys.modules if name in heavy}}))
"""


def loaded(*arguments: str, heavy: tuple[str, ...] = HEAVY) -> tuple[str, set[str]]:
    """Run the command line in a fresh interpreter; return its output and what it imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(arguments=list(arguments), heavy=heavy)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    output, _, names = done.stdout.rpartition("LOADED")
    return output, set(names.split())


def test_contracts_hold() -> None:
    """The layers of pyproject.toml hold: no import points upwards or to a sibling."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help needs nothing but the parser."""
    output, names = loaded(*arguments)
    assert "turnbench" in output
    assert names == set()


def test_help_answers_soon() -> None:
    """Help answers within 0.3 s; allowed is what a busy machine may take."""
    begun = time.monotonic()
    loaded("--help")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "latest", "--out", "/nonexistent"],
        ["show", "latest", "--out", "/nonexistent"],
        ["run", "quick", "--dry-run"],
        ["providers"],
        ["datasets", "list"],
        ["gateway", "--list"],
    ],
)
def test_livekit_is_for_runs_alone(arguments: list[str]) -> None:
    """Nothing but a run imports livekit."""
    _, names = loaded(*arguments, heavy=("livekit", "livekit.agents"))
    assert names == set()
