"""The doctor says what stands between this machine and numbers that can be trusted."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from harness.cli.shared import endpoints as module
from harness.cli.shared.overhead import Overhead
from harness.domain.providers import PROVIDERS
from tests.cli.test_cli import turnbench
from tests.cli.test_overhead import row

LIVE = """
name = "live"
via = "live"
driver = "stage"
[[dataset]]
path = "starter"
[[candidate]]
name = "real"
llm = { provider = "openai" }
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in an empty folder, without any provider's key."""
    for spec in PROVIDERS.values():
        for key in (*spec.keys, *(each for stage in spec.stages.values() for each in stage.keys)):
            monkeypatch.delenv(key.name, raising=False)
            if key.instead:
                monkeypatch.delenv(key.instead, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the doctor's exit code and its document."""
    from harness.cli import main

    code = main(["doctor", "--json", *arguments])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def states(document: dict[str, Any], topic: str) -> list[str]:
    """Return the states of a topic's findings."""
    return [each["state"] for each in document["findings"] if each["topic"] == topic]


def test_without_keys(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key every provider is a caution that names it, and nothing is asked."""
    code, document = examined(capsys, "--no-measure")
    assert code == 0, document
    keys = [each for each in document["findings"] if each["topic"] == "keys"]
    assert len(keys) == len(PROVIDERS)
    assert {each["state"] for each in keys} == {"caution"}
    assert any("OPENAI_API_KEY" in each["text"] for each in keys)
    assert states(document, "endpoint") == []
    assert states(document, "disk") == ["ok"]
    assert len(states(document, "engine")) == 2
    assert "overhead" not in document
    assert bare.joinpath("reports").exists() is False


def test_a_live_suite_needs_its_keys(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A live suite without its key cannot run: that is a failure; of other keys nothing is said."""
    (bare / "live.toml").write_text(LIVE, encoding="utf-8")
    code, document = examined(capsys, "live.toml", "--no-measure")
    assert code == 2
    keys = [each for each in document["findings"] if each["topic"] == "keys"]
    assert [each["state"] for each in keys] == ["fail"]
    assert "OPENAI_API_KEY" in keys[0]["text"]
    assert states(document, "engine") == []


def test_an_endpoint_that_says_nothing(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that accepts and never speaks is given up, and the key is not shown."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.3)
    (bare / "live.toml").write_text(LIVE, encoding="utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-never-shown")
        monkeypatch.setenv("OPENAI_BASE_URL", f"https://127.0.0.1:{listener.getsockname()[1]}/v1")
        code, document = examined(capsys, "live.toml", "--no-measure")
    assert code == 2
    assert states(document, "endpoint") == ["fail"]
    assert "no answer within 0.3 s" in json.dumps(document)
    assert "sk-never-shown" not in json.dumps(document)


@pytest.mark.parametrize(
    ("free", "state", "expected"),
    [(50_000_000_000, "ok", 0), (500_000_000, "caution", 0), (1_000_000, "fail", 2)],
)
def test_room_for_runs(  # noqa: PLR0917  (fixtures and cases)
    bare: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    state: str,
    expected: int,
) -> None:
    """Little room is a caution, none is a failure."""
    usage = shutil.disk_usage(bare)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    code, document = examined(capsys, "--no-measure")
    assert states(document, "disk") == [state]
    assert code == expected


def test_a_folder_that_is_a_file(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs cannot be written into a file."""
    (bare / "reports").write_text("", encoding="utf-8")
    code, document = examined(capsys, "--no-measure")
    assert (code, states(document, "disk")) == (2, ["fail"])
    code, document = examined(capsys, "--no-measure", "--out", "elsewhere/deep")
    assert (code, states(document, "disk")) == (0, ["ok"])


@pytest.mark.parametrize(
    ("found", "state", "code", "told"),
    [
        (Overhead(rows=(row(),), trials={"session": 6}), "ok", 0, "as promised"),
        (
            Overhead(rows=(row(kept=False),), trials={"session": 6}),
            "caution",
            0,
            "frame lateness against the schedule (session)",
        ),
        (
            Overhead(rows=(row(),), trials={"session": 6}, failed=["stt: timed out"]),
            "caution",
            0,
            "1 trials failed: stt: timed out",
        ),
        (
            Overhead(trials={"session": 1}, failed=["stt: timed out"]),
            "fail",
            2,
            "no trial ended well",
        ),
    ],
    ids=["kept", "missed", "some failed", "all failed"],
)
def test_the_harness_is_judged(  # noqa: PLR0917  (fixtures and cases)
    bare: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    found: Overhead,
    state: str,
    code: int,
    told: str,
) -> None:
    """A missed figure is a caution with its name; only a harness that cannot measure fails."""
    from harness.cli.shared import overhead

    monkeypatch.setattr(overhead, "measure", lambda _: found)
    exit_code, document = examined(capsys)
    assert (exit_code, states(document, "accuracy")) == (code, [state])
    assert told in document["findings"][-1]["text"]
    assert document["overhead"]["trials"] == found.trials


@pytest.mark.realtime
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_whole_doctor(tmp_path: Path) -> None:
    """One line for each check, the table of the harness's own error, and its upshot."""
    out = turnbench("doctor", cwd=tmp_path, check=True).stdout
    lines = [line for line in out.splitlines() if line.strip()]
    checks = [line for line in lines if line.split()[0] in {"ok", "caution", "fail"}]
    assert {line.split()[1] for line in checks} == {
        "keys",
        "clock",
        "machine",
        "engine",
        "disk",
        "accuracy",
    }
    assert not [line for line in checks if line.startswith("fail")]
    for told in ("frame lateness", "STT final at the agent", "response against", "TTS first pcm"):
        assert any(told in line for line in lines), told
