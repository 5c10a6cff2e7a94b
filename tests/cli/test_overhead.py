"""The harness measures itself, and says what it found."""

import json
from pathlib import Path

import pytest

from harness.analysis.summary.accuracy import AccuracyRow, Promise
from harness.cli.shared.overhead import QUICK, THOROUGH, Overhead, Sizes, document, measure, show
from harness.domain.trial import Stall
from harness.errors import ConfigurationError
from harness.gateway.calls.truth import TruthEvent, read_rows
from tests.cli.test_cli import turnbench


def row(**changes: object) -> AccuracyRow:
    """Return a row of frames that kept to their schedule."""
    fields: dict[str, object] = {
        "what": "frame",
        "title": "frame lateness against the schedule",
        "driver": "session",
        "n": 4000,
        "p50": 0.1,
        "p99": 1.5,
        "largest": 4.0,
        "disturbed": 0.05,
        "promise": Promise(p50=0.7, p99=3.0),
        "kept": True,
    }
    return AccuracyRow(**{**fields, **changes})  # type: ignore[arg-type]


def test_thorough_is_enough() -> None:
    """The benchmark measures what the promises ask for, with room for disturbed trials."""
    assert THOROUGH.sessions > 30
    assert min(THOROUGH.hearings, THOROUGH.requests) > 200


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (Overhead(rows=(row(), row(promise=None, kept=None))), True),
        (Overhead(rows=(row(), row(kept=False))), False),
        (Overhead(rows=(row(),), failed=["stt: timeout"]), False),
        (Overhead(rows=(row(n=0, p50=None, p99=None, largest=None, kept=None),)), True),
    ],
    ids=["kept", "missed", "failed", "nothing undisturbed"],
)
def test_kept(found: Overhead, kept: bool) -> None:
    """The whole is kept where no promise was missed and every trial answered."""
    assert found.kept is kept


def test_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The table shows figures, promise, disturbed share and judgement; absence is a dash."""
    found = Overhead(
        rows=(
            row(),
            row(title="late", kept=False),
            row(title="none", n=0, p50=None, p99=None, largest=None, kept=None, disturbed=1.0),
            row(title="lag", promise=None, kept=None, n=40),
        ),
        trials={"session": 40},
        disturbed={"session": 2},
        failed=["stt: no transcript [bold]"],
        stalls=(Stall(start_ns=0, end_ns=12_000_000),),
        seconds=61.0,
    )
    show(found)
    lines = capsys.readouterr().out.splitlines()
    by_title = {line.split("  ")[0]: line for line in lines}
    assert "0.7 / 3 ms" in by_title["late"]
    assert by_title["late"].rstrip().endswith("missed")
    assert by_title["none"].count("–") == 3
    assert "kept" not in by_title["lag"]
    text = "\n".join(lines)
    assert "40 trials in 61 s, 2 disturbed and left out" in text
    assert "1 stalls over 10 ms, the longest 12 ms" in text
    assert "failed: stt: no transcript [bold]" in text


def test_document() -> None:
    """The result is JSON with the machine, the load and every row."""
    found = Overhead(rows=(row(),), seconds=30.0, stalls=(Stall(start_ns=0, end_ns=11_000_000),))
    facts = json.loads(json.dumps(document(found, QUICK)))
    assert facts["format"] == "turnbench-overhead-1"
    assert facts["stalls"] == {"over_10_ms": 1, "per_minute": 2.0, "longest_ms": 11.0}
    assert {"machine", "measured_utc", "packages", "load", "sizes"} <= set(facts)
    assert facts["rows"][0]["promised_p99_ms"] == 3.0


def test_output_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    """A file that cannot be written is told at once, not after the measurement."""
    done = turnbench("overhead", "--quick", "--output", str(tmp_path / "no" / "x"), cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


class TestTruthRows:
    """What is compared is read; the rest is passed over."""

    @staticmethod
    def line(event: str, t_ns: int, **fields: object) -> str:
        return TruthEvent(t_ns=t_ns, event=event, **fields).as_json() + "\n"  # type: ignore[arg-type]

    def test_first_audio_alone(self, tmp_path: Path) -> None:
        """Of audio only the first chunk, of text every delta; other events never."""
        path = tmp_path / "truth.jsonl"
        path.write_text(
            self.line("gateway_started", 1, detail='"event": "audio_sent"')
            + self.line("audio_sent", 2, index=0, client_request="a", injected_ns=7)
            + self.line("audio_sent", 3, index=1, client_request="a")
            + self.line("audio_sent", 4, index=10, client_request="a")
            + self.line("text_sent", 5, index=12, client_request="b", detail='"index": 3 ü')
            + self.line("audio_received", 6)
            + self.line("final_sent", 8, injected_ns=400),
            encoding="utf-8",
        )
        assert read_rows(path) == [
            ("a", "audio_sent", 2, 7),
            ("b", "text_sent", 5, None),
            ("", "final_sent", 8, 400),
        ]

    def test_broken_lines_are_left_out(self, tmp_path: Path) -> None:
        """A torn line, nonsense or an empty file make no row and no error."""
        path = tmp_path / "truth.jsonl"
        whole = self.line("final_sent", 9)
        path.write_text(f"nonsense\n\n[]\n{whole}{whole[:30]}", encoding="utf-8")
        assert read_rows(path) == [("", "final_sent", 9, None)]
        path.write_text("", encoding="utf-8")
        assert read_rows(path) == []

    def test_no_file(self, tmp_path: Path) -> None:
        """A file that is not there is named."""
        with pytest.raises(ConfigurationError, match=r"truth\.jsonl: cannot be read"):
            read_rows(tmp_path / "truth.jsonl")


@pytest.mark.realtime
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_measured() -> None:
    """A small measurement joins every mark of both drivers with its truth."""
    seen: list[tuple[int, int]] = []
    found = measure(Sizes(sessions=3, hearings=2, requests=3), progress=lambda *at: seen.append(at))
    assert found.failed == []
    assert seen[-1] == (8, 8)
    assert found.trials == {"session": 3, "stage": 5}
    rows = {(each.driver, each.what): each for each in found.rows}
    whole = {"frame", "transcript_final", "llm_first_byte", "llm_text_received", "llm_first_text"}
    whole |= {"tts_first_byte", "tts_first_frame", "loop_lag"}
    assert {what for driver, what in rows if driver == "stage"} >= whole
    assert {what for driver, what in rows if driver == "session"} >= {
        *whole,
        "response",
        "unattributed",
    }
    for (driver, what), each in rows.items():
        if each.largest is not None and what != "response":
            # No join with another request's truth: those lie hundreds of milliseconds apart.
            assert each.largest < 100, (driver, what, each.largest)


SUITE = """
name = "one"
seed = 4
[gateway]
recogniser = "oracle"
[[dataset]]
path = "starter"
ids = ["slt-clock"]
[[candidate]]
name = "exact"
stt = { provider = "openadapter", profile = "exact" }
llm = { provider = "openadapter", profile = "exact" }
tts = { provider = "openadapter", profile = "exact" }
[timeouts]
hang_up_s = 0.1
"""


@pytest.mark.realtime
@pytest.mark.timeout(60)
def test_every_run_carries_its_own_error(tmp_path: Path) -> None:
    """A run through the gateway shows in its report what it was itself wrong by."""
    (tmp_path / "one.toml").write_text(SUITE, encoding="utf-8")
    turnbench("run", "one.toml", "--no-rerun", cwd=tmp_path, check=True)
    (path,) = (each for each in (tmp_path / "reports").iterdir() if each.is_dir())
    report = path / "report.html"
    text = report.read_text(encoding="utf-8")
    assert "The harness&#39;s own error" in text
    assert "Stamped by" in text
    table = text[text.index("Stamped by") :]
    for mark in ("transcript_final", "llm_first_text", "tts_first_frame", "response"):
        assert mark in table[: table.index("</table>")]

    # A run without the gateway's truth says that nothing was measured.
    (path / "truth.jsonl").unlink()
    turnbench("report", str(path), cwd=tmp_path, check=True)
    text = report.read_text(encoding="utf-8")
    assert "Stamped by" not in text
    assert "not with this run" in text
