"""Runs of small suites, as a user starts them, and what they have measured."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "own", "play", "response_ns", "rows"]

ROOT = Path(__file__).parents[2]

_HEAD = """
name = "small"
via = "gateway"
clock = "virtual"
seed = 3
warmups = 0
keep_audio = false
{options}
[gateway]
recogniser = "oracle"
[[dataset]]
path = "{root}/datasets/starter"
limit = {limit}
"""


def own(*names: str) -> str:
    """Return candidates that are agents of ``tests.lanes.agents``."""
    return "".join(
        f'\n[[candidate]]\nname = "{name}"\nagent = "tests.lanes.agents:{name}"\n' for name in names
    )


def play(  # noqa: D417  # the others are named
    folder: Path,
    candidates: str,
    *arguments: str,
    options: str = "",
    limit: int = 2,
    environment: Mapping[str, str] | None = None,
    code: int = 0,
) -> Path:
    """Run a suite to its end and return the run's folder.

    Args:
        folder: where the suite and the run are to lie.
        candidates: the rest of the suite.
        code: the exit code that is expected.
    """
    suite = folder / "small.toml"
    suite.write_text(_HEAD.format(options=options, root=ROOT, limit=limit) + candidates)
    out = folder / f"out-{len(list(folder.iterdir()))}"
    command = [sys.executable, "-m", "harness.cli", "run", str(suite), "--no-report"]
    done = subprocess.run(
        [*command, "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return next(out.iterdir())


def rows(run: Path) -> list[dict[str, Any]]:
    """Return a run's trials in their order, without what is measured in real time."""
    found = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    for trial in found:
        trial.pop("memory", None)
        trial.pop("crc", None)
        for turn in trial["turns"]:
            turn.pop("agent_cpu", None)
    return sorted(found, key=lambda trial: (trial["key"]["order"], trial["key"].get("attempt", 0)))


def response_ns(trial: Mapping[str, Any]) -> int:
    """Return from the caller's last word to the first sample of the reply."""
    marks = trial["turns"][0]["marks"]
    return int(marks["playout_start"] - marks["speech_end"])
