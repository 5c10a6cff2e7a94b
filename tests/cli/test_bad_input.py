"""What bad input gets: a line for each mistake, exit code 2, and nothing started."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.store.runs.run import list_runs, open_run
from tests.cli.test_cli import ROOT, turnbench
from tests.pipeline.crooked import dead_port

STARTER = ROOT / "datasets" / "starter"

SUITE = """
name = "mine"
clock = "virtual"
seed = 3
warmups = 0
[[dataset]]
path = "calls"
[[candidate]]
name = "exact"
[candidate.stt]
provider = "openadapter"
profile = "exact"
[candidate.llm]
provider = "openadapter"
model = "Kimi-K2.5"
profile = "exact"
[candidate.tts]
provider = "openadapter"
profile = "exact"
"""

Row = dict[str, Any]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Write a suite and a dataset of two recordings; return their folder."""
    calls = tmp_path / "calls"
    calls.mkdir()
    rows = []
    for name, text in (("slt-clock", "What time is it?"), ("slt-stop", "Stop the music.")):
        shutil.copy(STARTER / f"{name}.flac", calls)
        rows.append({"id": name, "audio": f"{name}.flac", "text": text})
    write_rows(tmp_path, rows)
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Write the manifest."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "calls" / "manifest.jsonl").write_text(text, encoding="utf-8")


def read_rows(folder: Path) -> list[Row]:
    """Read the manifest."""
    text = (folder / "calls" / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def refused(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """Run the suite, which must be refused; return what is said, a line for each mistake."""
    done = turnbench("run", "mine.toml", *arguments, cwd=folder, check=False, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list_runs(folder / "reports") == ()
    lines = done.stderr.splitlines()
    assert all(line.startswith("turnbench: ") for line in lines), lines
    return [line.removeprefix("turnbench: ") for line in lines]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'provider = "openadapter"\nmodel',
            'provider = "openadaptr"\nmodel',
            "mine.toml: candidate[1].llm.provider: 'openadaptr' is unknown; did you mean",
        ),
        (
            'model = "Kimi-K2.5"',
            "temperatur = 0.1",
            "mine.toml: candidate[1].llm.temperatur: unknown key; did you mean 'temperature'?",
        ),
        (
            'model = "Kimi-K2.5"',
            'temperature = "hot"',
            "mine.toml: candidate[1].llm.temperature: text, but a number",
        ),
        (
            'profile = "exact"\n[candidate.llm]',
            'profile = "exakt"\n[candidate.llm]',
            "mine.toml: candidate[1].stt.profile: 'exakt' is unknown; did you mean 'exact'?",
        ),
        (
            'path = "calls"',
            'path = "calls"\nskip = true',
            "mine.toml: dataset[1].skip: unknown key",
        ),
        ('path = "calls"', 'path = "cals"', "there is no such dataset"),
    ],
)
def test_a_mistake_in_the_suite(mine: Path, old: str, new: str, told: str) -> None:
    """Each mistake of a suite file is one line with file, key and mend."""
    assert old in SUITE
    (mine / "mine.toml").write_text(SUITE.replace(old, new, 1), encoding="utf-8")
    (line,) = refused(mine)
    assert told in line


def _set(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        first, *others = read_rows(folder)
        write_rows(folder, [{k: v for k, v in {**first, **changes}.items() if v != ""}, *others])

    return change


def _put(data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "calls" / "slt-clock.flac").write_bytes(data)

    return change


def _remove(folder: Path) -> None:
    (folder / "calls" / "slt-clock.flac").unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_put(b""), "slt-clock.flac"),
        (_put(b"fLaC and then nothing that is FLAC"), "slt-clock.flac"),
        (_put(b"RIFF$\x00\x00\x00WAVEfmt "), "slt-clock.flac"),
        (_remove, "slt-clock.flac"),
        (_set(text=""), "text"),
        (_set(speech_end_s=99.0), "speech_end_s"),
        (_set(speech_start_s=0.9, speech_end_s=0.2), "speech_"),
        (_set(id="slt-stop"), "slt-stop"),
        (_set(sha256="0" * 64), "sha256"),
        (_set(audio="../../../etc/passwd"), "audio"),
    ],
    ids=[
        "empty", "damaged", "header-only", "absent", "no-words", "end-outside", "end-before-start",
        "duplicate-id", "wrong-hash", "no-audio",
    ],
)  # fmt: skip
def test_a_mistake_in_the_dataset(mine: Path, change: Callable[[Path], None], told: str) -> None:
    """Each mistake of a manifest is one line with file, line, field and mend."""
    change(mine)
    (line,) = refused(mine)
    assert "manifest.jsonl" in line
    assert told in line
    assert line.count(": ") >= 2


def test_all_mistakes_of_a_dataset_together(mine: Path) -> None:
    """Mistakes in several rows, and in several datasets, are told at once."""
    rows = read_rows(mine)
    rows[0]["speech_end_s"] = 99.0
    rows[1]["sha256"] = "0" * 64
    write_rows(mine, rows)
    text = SUITE.replace('path = "calls"', 'path = "calls"\n[[dataset]]\npath = "nowhere"')
    (mine / "mine.toml").write_text(text, encoding="utf-8")
    lines = refused(mine)
    assert len(lines) == 3
    assert [told in "".join(lines) for told in ("speech_end_s", "sha256", "nowhere")] == [True] * 3


def test_a_dead_endpoint(mine: Path) -> None:
    """A live suite whose address takes no connection is refused, without a word of the keys."""
    port, secret = dead_port(), "sk-do-not-show-me"
    text = SUITE.replace(
        'provider = "openadapter"\nmodel = "Kimi-K2.5"',
        f'provider = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"',
    ).replace('name = "mine"', 'name = "mine"\nvia = "live"')
    (mine / "mine.toml").write_text(text, encoding="utf-8")
    keys = {
        "OPENAI_API_KEY": secret,
        "OPENADAPTER_API_KEY": secret,
        "PARAKEET_API_KEY": secret,
        "OPENADAPTER_BASE_URL": f"http://127.0.0.1:{dead_port()}/v1",
        "PARAKEET_WS_URL": f"ws://127.0.0.1:{dead_port()}/x",
    }
    lines = refused(mine, **keys)
    assert len(lines) == 3
    assert f"http://127.0.0.1:{port} cannot be reached" in "".join(lines)
    assert all("mend the address" in line for line in lines)
    assert secret not in "".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_unreadable_recordings_can_be_left_out(mine: Path) -> None:
    """With skip_unreadable the rest is played; what is left out stands in plan and report."""
    rows = [*read_rows(mine), {"id": "broken", "audio": "broken.wav", "text": "Hello."}]
    write_rows(mine, rows)
    (mine / "calls" / "broken.wav").write_bytes(b"RIFF")
    assert "broken.wav" in refused(mine)[0]
    text = SUITE.replace('path = "calls"', 'path = "calls"\nskip_unreadable = true')
    (mine / "mine.toml").write_text(text, encoding="utf-8")
    done = turnbench("run", "mine.toml", cwd=mine)
    assert done.returncode == 0, done.stderr
    assert "left out: " in done.stderr
    (path,) = list_runs(mine / "reports")
    run = open_run(path)
    assert {trial.key.utterance for trial in run.trials()} == {"slt-clock", "slt-stop"}
    assert "broken.wav" in run.plan.datasets[0].skipped[0]
    assert run.plan.suite.datasets[0].skip_unreadable
    assert "1 recording cannot be played" in (path / "report.html").read_text(encoding="utf-8")
    rows[2] = {**rows[2], "sha256": hashlib.sha256(b"RIFF").hexdigest()}
    write_rows(mine, rows)
    assert turnbench("run", "mine.toml", "--dry-run", cwd=mine).returncode == 0
