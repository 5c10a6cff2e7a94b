"""compare, gate, baseline and plan on stored runs, as a user calls them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.turn.definitions import definition_digests
from harness.cli import main
from harness.domain.plan import make_plan
from harness.domain.suite import Budget, BudgetKind
from harness.domain.timeline import Mark
from harness.domain.trial import Trial, TrialKey
from harness.errors import ConfigurationError
from harness.store.runs.baselines import read_baseline, write_baseline
from harness.store.runs.plans import DatasetSummary, RunPlan
from harness.store.runs.run import Run
from harness.store.runs.writer import create_run
from tests.runner.scripted_performer import MS, playable, suite_of, trial_of

IDS = tuple(f"u{number}" for number in range(12))


def answered(key: TrialKey, *, slower: float) -> Trial:
    """Return a trial whose response depends on utterance and repeat, and on the factor."""
    spread = (int(key.utterance[1:]) * 7 + key.repeat * 5) % 13
    response_ns = round((600 + 10 * spread) * slower) * MS
    trial = trial_of(key)
    (turn,) = trial.turns
    marks = {**turn.marks, Mark.FIRST_AUDIBLE: turn.marks[Mark.SPEECH_END] + response_ns}
    return replace(trial, turns=(replace(turn, marks=marks),))


def stored(
    folder: Path,
    *,
    slower: float = 1.0,
    limit: float = 1.1,
    sha256: str = "0" * 64,
    **changes: object,
) -> Path:
    """Write a run of candidates a and b, b so much slower, with a budget on b against a."""
    budget = Budget(
        metric="response",
        statistic="p50",
        limit=limit,
        kind=BudgetKind.RELATIVE,
        candidate="b",
        reference="a",
        mde=1.3,
    )
    fields = {"repeats": 4, "warmups": 0, "budgets": (budget,), **changes}
    suite = suite_of("a", "b", **fields)
    plan = RunPlan(
        suite=suite,
        source="bench/scripted.toml",
        seed=1,
        keys=make_plan(suite, IDS, 1),
        utterances=tuple(each.utterance for each in playable(*IDS).values()),
        origin=dict.fromkeys(IDS, 0),
        datasets=(DatasetSummary(name="d", version="1", path="d/manifest.jsonl", sha256=sha256),),
        facts={"definitions": definition_digests()},
    )
    with create_run(plan, reports=folder) as writer:
        writer.add_environment({"machine": {"cpu": "test", "usable_cores": 2}, "packages": {}})
        for key in plan.keys:
            writer.append(answered(key, slower=slower if key.candidate == "b" else 1.0))
        writer.set_status("finished", done=len(plan.keys))
    return writer.run.path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, output and errors."""
    code = main(arguments)
    found = capsys.readouterr()
    return code, found.out, found.err


def test_compare_finds_the_planted_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate that is half as slow again is called slower, by about that much."""
    run = stored(tmp_path, slower=1.5)
    code, output, _ = asked(capsys, "compare", str(run), "--json")
    (pair,) = json.loads(output)["pairs"]
    response = next(
        each for each in pair["metrics"] if each["metric"] == "response" and each["share"] == 0.5
    )
    assert code == 0
    assert (pair["candidate"], pair["reference"]) == ("b", "a")
    assert response["finding"] == "slower"
    assert response["change"]["ratio"]["point"] == pytest.approx(1.5, abs=0.02)
    code, output, _ = asked(capsys, "compare", str(run))
    assert "slower" in output
    assert "EMULATED" in output


def test_a_run_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """compare(run, run) is exactly no change."""
    run = str(stored(tmp_path, slower=1.5))
    code, output, _ = asked(capsys, "compare", run, run, "--json")
    assert code == 0
    for pair in json.loads(output)["pairs"]:
        for each in pair["metrics"]:
            if each["change"].get("kind") != "Unsupported":
                assert each["finding"] == "no detectable difference"
                assert each["change"]["difference"]["point"] == 0


def test_what_is_not_comparable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs over other recordings or with other options are refused; each difference is a line."""
    one = str(stored(tmp_path))
    other = str(stored(tmp_path, sha256="1" * 64, frame_ms=10))
    code, _, errors = asked(capsys, "compare", one, other)
    assert code == 2
    assert "dataset:" in errors
    assert "frame_ms: 20 in" in errors


@pytest.mark.parametrize(("slower", "code", "verdict"), [(1.0, 0, "PASS"), (1.5, 1, "FAIL")])
def test_gate(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slower: float,
    code: int,
    verdict: str,
) -> None:
    """The gate's exit code and all its outputs say the same verdict."""
    run = stored(tmp_path, slower=slower)
    files = [tmp_path / "gate.md", tmp_path / "gate.xml"]
    found, output, _ = asked(
        capsys, "gate", str(run), "--markdown", str(files[0]), "--junit", str(files[1])
    )
    assert found == code
    assert verdict in output
    assert verdict in files[0].read_text(encoding="utf-8")
    assert ("<failure" in files[1].read_text(encoding="utf-8")) == (code == 1)
    assert verdict in (run / "report.html").read_text(encoding="utf-8")
    found, output, _ = asked(capsys, "gate", str(run), "--json")
    assert (found, json.loads(output)["exit_code"]) == (code, code)


def test_gate_without_budgets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate without a budget is misuse, never a pass."""
    run = stored(tmp_path, budgets=())
    code, _, errors = asked(capsys, "gate", str(run))
    assert code == 2
    assert "no [[budget]]" in errors


def baseline_budget() -> tuple[Budget, ...]:
    """Return a budget against a stored baseline."""
    return (
        Budget(
            metric="response",
            statistic="p50",
            limit=1.1,
            kind=BudgetKind.RELATIVE,
            candidate="b",
            mde=1.3,
        ),
    )


def test_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline is saved, shown, refused to be overwritten, and updated with what it accepts."""
    file = str(tmp_path / "baselines" / "main.json")
    budgets = baseline_budget()
    runs = [str(stored(tmp_path, budgets=budgets)) for _ in range(5)]
    code, output, _ = asked(capsys, "baseline", "save", file, *runs)
    assert (code, "5 runs" in output) == (0, True)
    code, output, _ = asked(capsys, "baseline", "show", file)
    assert "response p50: 660" in output.replace("\u202f", "").replace("\xa0", " ")
    assert asked(capsys, "baseline", "save", file, *runs)[0] == 2
    slow = str(stored(tmp_path, slower=1.5, budgets=budgets))
    assert asked(capsys, "gate", slow, "--baseline", file)[0] == 1
    slower = [str(stored(tmp_path, slower=1.5, budgets=budgets)) for _ in range(5)]
    code, output, _ = asked(capsys, "baseline", "update", file, *slower)
    assert "accepts  b response p50" in output
    assert asked(capsys, "gate", slow, "--baseline", file)[0] in (0, 3)


def test_missing_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline that is not there, or not named, is misuse, never a pass."""
    run = str(stored(tmp_path, budgets=baseline_budget()))
    assert asked(capsys, "gate", run)[0] == 2
    code, _, errors = asked(capsys, "gate", run, "--baseline", str(tmp_path / "none.json"))
    assert code == 2
    assert "turnbench baseline save" in errors
    (tmp_path / "bad.json").write_text('{"v": 1}', encoding="utf-8")
    assert asked(capsys, "gate", run, "--baseline", str(tmp_path / "bad.json"))[0] == 2
    (tmp_path / "new.json").write_text('{"v": 99}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="upgrade turnbench"):
        read_baseline(tmp_path / "new.json")


def test_baseline_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline's file reads back equal and writes the same bytes but for its date."""
    file = tmp_path / "main.json"
    assert asked(capsys, "baseline", "save", str(file), str(stored(tmp_path)))[0] == 0
    found = read_baseline(file)
    again = tmp_path / "again.json"
    write_baseline(again, found.baseline)
    assert read_baseline(again).baseline == found.baseline
    kept = [line for line in file.read_text().splitlines() if "saved_utc" not in line]
    assert kept == [line for line in again.read_text().splitlines() if "saved_utc" not in line]
    assert len(kept) < 400


def test_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pilot says how many repeats a smaller change would need: more than a larger one."""
    run = str(stored(tmp_path))

    def repeats(change: str) -> int:
        code, output, _ = asked(capsys, "plan", run, "--change", change, "--json")
        assert code == 0
        sizes = json.loads(output)["a"]
        # A comparison asks more questions than a gate of one budget.
        assert sizes["compare"]["repeats"] >= sizes["gate"]["repeats"]
        return int(sizes["gate"]["repeats"])

    assert repeats("1.01") > repeats("1.2")
    code, output, _ = asked(capsys, "plan", run)
    assert code == 0
    assert "12 × " in output
    once = str(stored(tmp_path, repeats=1))
    code, output, _ = asked(capsys, "plan", once, "--json")
    assert code == 0
    assert "one repeat" in json.loads(output)["a"]["gate"]["assumption"]
    assert asked(capsys, "plan", run, "--metric", "respons")[0] == 2
    assert asked(capsys, "plan", run, "--change", "0.9")[0] == 2


def test_a_report_is_read_and_not_analysed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second report of an unchanged run is the same page, made without its trials."""
    run = stored(tmp_path)
    asked(capsys, "report", str(run))
    first = (run / "report.html").read_bytes()
    assert (run / "charts" / "ecdf.svg").read_text().startswith("<?xml")

    def refuse(_: object) -> None:
        raise AssertionError("the trials were read again")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "trials", refuse)
        code, _, _ = asked(capsys, "report", str(run))
    assert code == 0
    assert (run / "report.html").read_bytes() == first


def test_a_damaged_kept_report_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was kept and is torn is not trusted: the page is made from the trials."""
    run = stored(tmp_path)
    asked(capsys, "report", str(run))
    first = (run / "report.html").read_bytes()
    kept = run / "report.kept"
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    asked(capsys, "report", str(run))
    assert (run / "report.html").read_bytes() == first
    assert kept.read_bytes() == whole
