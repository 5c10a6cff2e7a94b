"""The standard streams: what gets through, and what a stream that has gone takes with it."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.store.outlet import Outlet, tame
from tests.cli.test_decide import stored

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1m\x00\u202eevil\rover"


def test_nothing_that_a_terminal_obeys() -> None:
    """Elsewhere than on a terminal every control goes; on one our own colours stay."""
    assert not set(tame(HOSTILE)) & set("\x1b\x07\x9b\x00\u202e\r")
    shown = tame(HOSTILE, terminal=True)
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[31mred" in shown
    assert tame("a\tb\r\nc\n") == "a\tb\r\nc\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_narrow_encoding_keeps_json_json(encoding: str) -> None:
    """What an encoding lacks is written as JSON does, so that JSON stays what it says."""
    raw = io.BytesIO()
    outlet = Outlet(io.TextIOWrapper(raw, encoding=encoding))
    document = {"é": "→ 😀 \u00a0"}
    outlet.write(json.dumps(document, ensure_ascii=False))
    outlet.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == document


class _Gone(io.TextIOBase):
    """A stream whose reader has left, or whose disk is full."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, _: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EPIPE, False), (errno.EIO, False), (errno.ENOSPC, True)]
)
def test_a_stream_that_has_gone(number: int, *, told: bool) -> None:
    """A reader who has left misses nothing; a full disk is told of."""
    outlet = Outlet(_Gone(number))  # type: ignore[arg-type]
    assert outlet.write("text") == 4
    outlet.write("more")
    assert bool(outlet.complaint) is told
    assert Outlet(None).write("dropped") == 7


@pytest.mark.parametrize(
    ("how", "environ"),
    [
        ("", {"PYTHONIOENCODING": "ascii"}),
        ("", {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C"}),
        (">&-", {}),
        (">&- 2>&-", {}),
        ("| true", {}),
        ("> /dev/full", {}),
    ],
)
def test_the_verdict_survives_its_terminal(
    tmp_path: Path, how: str, environ: dict[str, str]
) -> None:
    """A FAIL exits 1 whatever has become of the streams that should have shown it."""
    run = stored(tmp_path, slower=1.5)
    command = f'"{sys.executable}" -m harness.cli gate "{run}" {how}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={**os.environ, **environ}, capture_output=True, check=False, timeout=55,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
