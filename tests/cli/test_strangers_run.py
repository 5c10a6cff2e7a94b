"""A run's folder that somebody hands over: it shows its figures, and touches nothing else."""

import base64
import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.domain.driver import ReplyAudio
from harness.domain.seal import seal
from harness.store.runs.kept import KEPT_VIEW
from harness.store.runs.run import open_run
from harness.store.runs.writer import resume_run
from tests.cli.test_decide import stored
from tests.runner.scripted_performer import trial_of

MINE = "-----PRIVATE KEY OF THE READER-----"


@pytest.fixture
def handed(tmp_path: Path) -> Path:
    """Return a run beside which lies a file of the reader's own."""
    (tmp_path / "mine").write_text(MINE, encoding="utf-8")
    return stored(tmp_path / "reports", repeats=2)


def _audio_elsewhere(run: Path) -> None:
    path = run / "trials.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for each in lines:
        each.pop("crc")
        each["turns"][0]["reply"]["audio"] = "../../mine"
    text = "".join(f"{seal(json.dumps(each))}\n" for each in lines)
    path.write_text(text, encoding="utf-8")


def _linked(name: str) -> Callable[[Path], None]:
    def link(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to("../../mine")

    return link


def _charts_elsewhere(run: Path) -> None:
    (run / "charts").symlink_to("../..")


def _audio_folder_elsewhere(run: Path) -> None:
    (run / "audio").symlink_to("../..")
    _audio_elsewhere(run)
    text = (run / "trials.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.replace("../../mine", "audio/mine").splitlines()]
    for each in lines:
        each.pop("crc")
    sealed = "".join(f"{seal(json.dumps(each))}\n" for each in lines)
    (run / "trials.jsonl").write_text(sealed, encoding="utf-8")


def _pipe(run: Path) -> None:
    (run / "status.json").unlink()
    os.mkfifo(run / "status.json")


def _bomb(run: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    (run / KEPT_VIEW).write_bytes(b"0" * 64 + b"\n" + bomb)


TRICKS: dict[str, Callable[[Path], None]] = {
    "a reply elsewhere": _audio_elsewhere,
    "the replies' folder elsewhere": _audio_folder_elsewhere,
    "charts elsewhere": _charts_elsewhere,
    "a pipe": _pipe,
    "a bomb": _bomb,
    **{
        f"{name} elsewhere": _linked(name)
        for name in ("report.html", "report.kept", "status.json", "truth.jsonl", "run.lock")
    },
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_report_reads_and_writes_nothing_else(
    handed: Path, trick: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report of it embeds nothing of the reader's, and overwrites nothing of his."""
    TRICKS[trick](handed)
    around = {each.name for each in handed.parent.parent.iterdir()}
    assert main(["report", str(handed), "--audio"]) == 0, capsys.readouterr().err
    assert main(["show", str(handed)]) == 0
    page = (handed / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert MINE not in page
    assert base64.b64encode(MINE.encode()).decode() not in page
    mine = handed.parent.parent / "mine"
    assert mine.read_text(encoding="utf-8") == MINE
    assert {each.name for each in handed.parent.parent.iterdir()} == around
    assert not (handed / "report.html").is_symlink()


@pytest.mark.parametrize("name", ["trials.jsonl", "run.lock", "heard_replies.jsonl", "truth.jsonl"])
def test_no_run_is_gone_on_with_through_a_link(
    handed: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Going on with it is refused by the name of the link, and nothing has been written."""
    _linked(name)(handed)
    assert main(["run", "--resume", str(handed)]) == 2
    assert name in capsys.readouterr().err
    assert (handed.parent.parent / "mine").read_text(encoding="utf-8") == MINE


def test_what_is_kept_is_believed_of_this_machine_alone(
    handed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kept page that another machine made is not shown; that of this one is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine-cache"))
    main(["report", str(handed)])
    kept = (handed / KEPT_VIEW).read_bytes()
    main(["report", str(handed)])
    assert (handed / KEPT_VIEW).read_bytes() == kept
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
    main(["report", str(handed)])
    assert (handed / KEPT_VIEW).read_bytes() != kept


def test_a_rehearsal_writes_nothing(handed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--resume --dry-run` of a complete run changes no file, and says so."""
    before = {path: path.read_bytes() for path in handed.rglob("*") if path.is_file()}
    assert main(["run", "--resume", str(handed), "--dry-run"]) == 0
    assert "every trial has been performed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in handed.rglob("*") if path.is_file()} == before


def test_a_damaged_line_is_said_by_every_verb(
    handed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Report, gate and show say that a trial was left out; the page and the gate keep it."""
    path = handed / "trials.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"repeat":1', b'"repeat":7', 1))
    main(["report", str(handed)])
    assert "damaged and left out" in (handed / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    main(["gate", str(handed), "--json"])
    doubts = json.loads(capsys.readouterr().out)["doubts"]
    assert any("damaged and left out" in each for each in doubts)


def test_a_full_page_replaces_the_page(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new page cannot be written, the old one is whole, and the failure is said."""
    main(["report", str(handed)])
    before = (handed / "report.html").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["report", str(handed)]) == 2
    assert (handed / "report.html").read_bytes() == before


def test_a_trial_is_performed_again(handed: Path) -> None:
    """After going on, the run has a whole line of each trial again."""
    path = handed / "trials.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"repeat":1', b'"repeat":7', 1))
    with resume_run(handed) as writer:
        (lost,) = writer.run.missing()
        writer.append(trial_of(lost), ReplyAudio(pcm=bytes(200), sample_rate=24_000))
    assert open_run(handed).missing() == ()
    shutil.rmtree(handed)
