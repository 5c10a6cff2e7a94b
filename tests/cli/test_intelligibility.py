"""``turnbench intelligibility`` on a real run through the gateway."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
name = "voices"
clock = "virtual"
warmups = 0
[[dataset]]
path = "starter"
limit = 2
[intelligibility]
provider = "openadapter"
profile = "exact"
[[condition]]
name = "clean"
[[condition]]
name = "call"
telephony = "g711-mulaw"
lead_silence_s = 0.2
[[candidate]]
name = "only"
[candidate.stt]
provider = "openadapter"
profile = "exact"
[candidate.llm]
provider = "openadapter"
profile = "exact"
[candidate.tts]
provider = "openadapter"
profile = "exact"
"""


def turnbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder, env=os.environ, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_conditions_and_replies_end_to_end(tmp_path: Path) -> None:
    """A suite is heard under its conditions, its replies are heard again, the report has both."""
    (tmp_path / "voices.toml").write_text(SUITE, encoding="utf-8")
    done = turnbench(tmp_path, "run", "voices.toml", "--json", "--no-rerun")
    assert done.returncode == 0, done.stderr
    run = Path(json.loads(done.stdout)["run"])
    folder = run if run.is_absolute() else tmp_path / run
    assert sorted(path.parent.name for path in folder.glob("heard/*/*.flac")) == [
        "call", "call", "clean", "clean",
    ]  # fmt: skip
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert sorted(each["key"]["condition"] for each in trials) == ["call", "call", "clean", "clean"]
    # The suite names a recogniser, so the run has asked it already.
    assert (folder / "heard_replies.jsonl").exists()
    spoken = turnbench(tmp_path, "intelligibility", str(folder))
    assert spoken.returncode == 0, spoken.stderr
    assert "tts_wer" in spoken.stdout
    lines = (folder / "heard_replies.jsonl").read_text().splitlines()
    answered = sum(each["kind"] == "trial" for each in trials)
    assert len(lines) == answered > 0
    again = turnbench(tmp_path, "intelligibility", str(folder), "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert told["heard"] == told["wanted"] == len(told["replies"]) == answered
    assert all(each["words"] > 0 for each in told["candidates"].values())
    assert (folder / "heard_replies.jsonl").read_text().splitlines() == lines
    markdown = turnbench(tmp_path, "report", str(folder), "--format", "markdown").stdout
    assert "By condition" in markdown
    assert "Intelligibility of the replies" in markdown
    wrong = turnbench(tmp_path, "intelligibility", str(folder), "--provider", "openadaptor")
    assert wrong.returncode == 2
    assert "did you mean 'openadapter'?" in wrong.stderr
