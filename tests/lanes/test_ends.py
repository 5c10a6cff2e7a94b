"""However a run or one of its lanes ends, nothing of it stays, and no ended trial is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lanes.playing import ROOT, rows
from tests.lanes.test_virtual_runs import TWINS

_SUITE = """
name = "small"
via = "gateway"
clock = "{clock}"
seed = 3
warmups = 0
repeats = 400
concurrency = 2
keep_audio = false
[gateway]
recogniser = "oracle"
[[dataset]]
path = "{root}/datasets/starter"
limit = 1
"""
_MARK = "TURNBENCH_TEST_OF_ENDS"


def _family(mark: str) -> dict[int, str]:
    """Return the processes that have a mark in their environment, and what they run."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode()
    return found


def _until(condition: Callable[[], object], limit_s: float) -> float:
    """Wait until something is so; return how long that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < limit_s, "it did not come to that"
        time.sleep(0.02)
    return time.monotonic() - begun


@contextmanager
def _started(folder: Path, clock: str) -> "Iterator[tuple[subprocess.Popen[str], Path]]":
    """Start a long run; give its process and its folder when trials have ended."""
    suite = folder / "small.toml"
    suite.write_text(_SUITE.format(root=ROOT, clock=clock) + TWINS)
    command = [sys.executable, "-m", "harness.cli", "run", str(suite), "--no-report"]
    process = subprocess.Popen(
        [*command, "--out", str(folder / "out")],
        env={**os.environ, _MARK: str(folder)},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _until(lambda: [*folder.glob("out/*/trials.jsonl")], 40)
        (run,) = folder.glob("out/*")
        _until(lambda: (run / "trials.jsonl").stat().st_size, 40)
        yield process, run
    finally:
        for number in _family(str(folder)):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_killed_run_leaves_nobody_behind(tmp_path: Path, clock: str) -> None:
    """Lanes, gateways and engines end with the run's process, whatever they are at."""
    with _started(tmp_path, clock) as (process, run):
        assert len(_family(str(tmp_path))) > 2
        process.kill()
        process.wait()
        _until(lambda: not _family(str(tmp_path)), 5)
        assert _whole(run)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_an_interrupted_run_ends_soon(tmp_path: Path, clock: str) -> None:
    """Ctrl-C keeps what has ended, says how to go on, and leaves nobody behind."""
    with _started(tmp_path, clock) as (process, run):
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, said = process.communicate(timeout=10)
        took_s = time.monotonic() - begun
        _until(lambda: not _family(str(tmp_path)), 5)
        assert process.returncode == 130
        assert "--resume" in said
        assert _whole(run)
        # A second on a quiet machine; the bound is for a busy one.
        assert took_s < 5


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_lane_costs_one_trial(tmp_path: Path) -> None:
    """Its trial fails for the harness, another process takes its place, and trials go on."""
    with _started(tmp_path, "virtual") as (_, run):
        lanes = {number for number, words in _family(str(tmp_path)).items() if ".lane" in words}
        assert len(lanes) == 2
        os.kill(min(lanes), signal.SIGKILL)

        def again() -> bool:
            found = _family(str(tmp_path)).items()
            return len({number for number, words in found if ".lane" in words} - lanes) == 1

        _until(again, 20)
        seen = len((run / "trials.jsonl").read_bytes().splitlines())
        _until(lambda: len((run / "trials.jsonl").read_bytes().splitlines()) > seen + 6, 40)
    failed = [each for each in _whole(run) if each["kind"] == "failed"]
    assert [each["failure"]["stage"] for each in failed] == ["harness"]
    assert "process ended" in failed[0]["failure"]["message"]


def _whole(run: Path) -> list[dict[str, Any]]:
    """Return the trials of a run that was cut off, without the torn end."""
    path = run / "trials.jsonl"
    path.write_bytes(path.read_bytes().rpartition(b"\n")[0] + b"\n")
    return rows(run)
