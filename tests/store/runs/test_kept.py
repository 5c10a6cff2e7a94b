"""Results that are kept with a run under a key."""

import json
from pathlib import Path

from harness.store.runs import kept
from harness.store.runs.kept import kept_key, read_kept, write_kept
from harness.store.runs.run import Run, open_run
from harness.store.runs.writer import create_run
from tests.runner.scripted_performer import trial_of
from tests.store.runs.test_run import plan_of


def stored(folder: Path) -> Run:
    """Write a run of one trial."""
    plan = plan_of("u")
    with create_run(plan, reports=folder) as writer:
        writer.append(trial_of(plan.keys[0]))
        writer.set_status("finished")
    return open_run(writer.run.path)


def test_what_is_kept_is_read_under_its_key(tmp_path: Path) -> None:
    """A result is read again under its key, and under no other."""
    run = stored(tmp_path)
    key = kept_key(run, {"by": None})
    assert read_kept(run, key) is None
    write_kept(run, key, b"result\nof two lines")
    assert read_kept(run, key) == b"result\nof two lines"
    assert read_kept(run, kept_key(run, {"by": "llm"})) is None


def test_every_stored_file_is_in_the_key(tmp_path: Path) -> None:
    """A change of trials, of what was heard, of truth, environment or audio makes another key."""
    run = stored(tmp_path)
    seen = {kept_key(run, {})}
    for name in ("trials.jsonl", "heard_replies.jsonl", "truth.jsonl", "environment.json"):
        with (run.path / name).open("ab") as file:
            file.write(b" \n")
        seen.add(kept_key(run, {}))
    (run.path / "audio").mkdir(exist_ok=True)
    (run.path / "audio" / "t1.flac").write_bytes(b"1")
    seen.add(kept_key(run, {}))
    assert len(seen) == 6


def test_when_a_run_was_last_touched_is_not_in_the_key(tmp_path: Path) -> None:
    """The hour of the status says nothing about the result; who ended early does."""
    run = stored(tmp_path)
    status = json.loads((run.path / "status.json").read_text())
    key = kept_key(run, {})
    (run.path / "status.json").write_text(json.dumps({**status, "updated_utc": "later"}))
    assert kept_key(run, {}) == key
    (run.path / "status.json").write_text(json.dumps({**status, "ended": {"a": "spent"}}))
    assert kept_key(run, {}) != key


def test_changed_code_makes_another_key(tmp_path: Path) -> None:
    """What other code computed is not used: the sources are in the key."""
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "metric.py").write_text("FLOOR = 1\n")
    before = kept._sources(package)
    (package / "inner" / "metric.py").write_text("FLOOR = 2\n")
    after = kept._sources(package)
    assert before == [("inner/metric.py", b"FLOOR = 1\n")]
    assert after != before


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    """Where nothing can be kept, nothing breaks."""
    run = stored(tmp_path)
    gone = Run(tmp_path / "gone", run.plan)
    write_kept(gone, "key", b"result")
    assert read_kept(gone, "key") is None


def test_trials_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    """A run's trials are decoded once; another line in the file is seen."""
    run = stored(tmp_path)
    first = run.trials()
    assert run.trials() is first
    path = run.path / "trials.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    assert len(run.trials()) == 2 * len(first)
