"""The gate as a user calls it: baselines that need not decide, looks, formats, what is shipped."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from harness.analysis.statistics.gate_rule import ALPHA, Verdict
from harness.analysis.statistics.sequential import gate_alpha
from harness.analysis.turn.definitions import definition_digests
from harness.cli import main
from harness.cli.shared.looks import LOOKS, plan_looks
from harness.cli.shared.parser import make_parser
from harness.domain.plan import make_plan
from harness.domain.suite import Budget, BudgetKind, Clock
from harness.errors import ConfigurationError
from harness.runner.outcome import End
from harness.runner.running import run_suite
from harness.store.runs.plans import DatasetSummary, RunPlan
from harness.store.runs.writer import create_run
from harness.store.shipped import shipped_folder
from harness.store.suites.suite import read_suite
from tests.cli.test_decide import IDS, answered, asked, stored
from tests.runner.scripted_performer import ScriptedPerformer, playable, suite_of
from tests.runner.test_running import Stored

PAIRED = Budget(
    metric="response",
    statistic="p50",
    limit=1.1,
    kind=BudgetKind.RELATIVE,
    candidate="b",
    reference="a",
    mde=1.3,
)
KEPT = replace(PAIRED, reference=None, required=False)


def baseline_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Save a baseline of five runs on the machine "test"."""
    file = str(folder / "kept.json")
    runs = [str(stored(folder, budgets=(PAIRED, KEPT))) for _ in range(5)]
    assert asked(capsys, "baseline", "save", file, *runs)[0] == 0
    return file


def moved(run: Path) -> None:
    """Have a run measured on another machine."""
    path = run / "environment.json"
    path.write_text(path.read_text().replace('"cpu": "test"', '"cpu": "another"'))


class TestBaselineThatNeedNotDecide:
    """A budget that is not required can fail the gate; what it cannot tell decides nothing."""

    def test_another_machine(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """On another machine it is shown as INCONCLUSIVE, and the others pass the gate."""
        file = baseline_file(tmp_path, capsys)
        run = stored(tmp_path, budgets=(PAIRED, KEPT))
        moved(run)
        code, output, _ = asked(capsys, "gate", str(run), "--baseline", file)
        assert code == 0
        assert "INCONCLUSIVE" in output
        assert "does not decide" in output
        assert "1 that is not required could not tell" in output
        code, output, _ = asked(capsys, "gate", str(run), "--baseline", file, "--format", "junit")
        (suites,) = [ET.fromstring(output)]
        assert (suites.get("errors"), suites.get("failures"), suites.get("skipped")) == (
            "0",
            "0",
            "1",
        )
        code, output, _ = asked(
            capsys, "gate", str(run), "--baseline", file, "--format", "markdown"
        )
        assert "another machine" in output

    def test_required(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Where it is required, another machine makes the gate INCONCLUSIVE."""
        file = baseline_file(tmp_path, capsys)
        run = stored(tmp_path, budgets=(PAIRED, replace(KEPT, required=True)))
        moved(run)
        assert asked(capsys, "gate", str(run), "--baseline", file)[0] == 3
        quiet = asked(capsys, "gate", str(run), "--baseline", file, "--allow-inconclusive")
        assert quiet[0] == 0
        assert "INCONCLUSIVE" in quiet[1]

    def test_it_fails(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """On its own machine it fails what became slower on both sides alike."""
        file = baseline_file(tmp_path, capsys)
        slow = replace(PAIRED, candidate="a", reference="b"), KEPT
        run = stored(tmp_path, slower=1.6, budgets=slow)
        code, output, _ = asked(capsys, "gate", str(run), "--baseline", file, "--json")
        assert code == 1
        verdicts = [each["ruling"]["verdict"] for each in json.loads(output)["budgets"]]
        assert verdicts == ["PASS", "FAIL"]

    def test_other_options(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A baseline of other options is misuse where it is required, and silent where not."""
        file = baseline_file(tmp_path, capsys)
        run = str(stored(tmp_path, budgets=(PAIRED, KEPT), frame_ms=10))
        assert asked(capsys, "gate", run, "--baseline", file)[0] == 0
        run = str(stored(tmp_path, budgets=(replace(KEPT, required=True),), frame_ms=10))
        code, _, errors = asked(capsys, "gate", run, "--baseline", file)
        assert code == 2
        assert "frame_ms: 10 in" in errors

    def test_nothing_required(self) -> None:
        """A gate of which no budget is required is refused: it would pass anything."""
        with pytest.raises(ConfigurationError, match="a gate needs a budget that is required"):
            suite_of("a", "b", budgets=(KEPT,))

    def test_named_by_the_suite(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The suite names its baseline; one that is not there is misuse, never a pass."""
        file = baseline_file(tmp_path, capsys)
        run = str(stored(tmp_path, budgets=(PAIRED, KEPT), baseline=file))
        assert asked(capsys, "gate", run)[0] == 0
        Path(file).unlink()
        code, _, errors = asked(capsys, "gate", run)
        assert code == 2
        assert "no such baseline" in errors


def test_all_outputs_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal, Markdown, JUnit and page give one margin and one reason for each budget."""
    run = stored(tmp_path, slower=1.5)
    _, shown, _ = asked(capsys, "gate", str(run))
    texts = [shown, (run / "report.html").read_text(encoding="utf-8")]
    for name in ("markdown", "junit"):
        file = tmp_path / name
        code, output, _ = asked(capsys, "gate", str(run), "--format", name, "-o", str(file))
        assert (code, output) == (1, "")
        texts.append(file.read_text(encoding="utf-8"))
    reason = "beyond the budget, and chance does not explain it"
    for text in texts:
        assert reason in re.sub(r"[\s│]+", " ", text) or "chance does not" in text
    margins = [re.search(r"(\d+\.\d) points beyond", text) for text in (*texts[:2], texts[2])]
    found = {each.group(1) for each in margins if each is not None}
    assert len(found) == 1


def sequential(folder: Path, *, slower: float, repeats: int, sizes: tuple[int, ...]) -> Path:
    """Write a run with looks of which so many repeats were performed."""
    suite = suite_of("a", "b", repeats=sizes[-1], warmups=0, budgets=(PAIRED,))
    plan = RunPlan(
        suite=suite,
        source="bench/scripted.toml",
        seed=1,
        keys=make_plan(suite, IDS, 1),
        utterances=tuple(each.utterance for each in playable(*IDS).values()),
        origin=dict.fromkeys(IDS, 0),
        datasets=(DatasetSummary(name="d", version="1", path="d/m.jsonl", sha256="0" * 64),),
        facts={"definitions": definition_digests(), LOOKS: {"repeats": list(sizes)}},
    )
    with create_run(plan, reports=folder) as writer:
        writer.add_environment({"machine": {"cpu": "test"}, "packages": {}})
        for key in plan.keys:
            # One trial beyond the complete repeats: a run that was cut short within the next.
            if key.repeat < repeats or (key.repeat == repeats and key.utterance == IDS[0]):
                writer.append(answered(key, slower=slower if key.candidate == "b" else 1.0))
        writer.set_status("interrupted", done=1)
    return writer.run.path


class TestLooks:
    """A run with looks is judged at its last complete look, at that look's level."""

    @pytest.mark.parametrize(("repeats", "look"), [(2, 0), (3, 0), (4, 1), (6, 2)])
    def test_level(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], repeats: int, look: int
    ) -> None:
        """The level is that of the look, and trials beyond it do not count."""
        sizes = (2, 4, 6)
        run = sequential(tmp_path, slower=1.0, repeats=repeats, sizes=sizes)
        _, output, _ = asked(capsys, "gate", str(run), "--json")
        document = json.loads(output)
        assert document["alpha"] == pytest.approx(gate_alpha(look, sizes))
        assert document["budgets"][0]["measured"]["n"] == sizes[look] * len(IDS)

    def test_spends_no_more_than_the_gate_has(self) -> None:
        """The looks together spend the level of a gate that looks once."""
        assert gate_alpha(2, (2, 4, 6)) < ALPHA
        assert gate_alpha(0, (6,)) == pytest.approx(ALPHA, rel=0.01)

    def test_before_the_first(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run that was cut short before its first look is no verdict: go on with it."""
        run = sequential(tmp_path, slower=1.0, repeats=1, sizes=(2, 4))
        code, _, errors = asked(capsys, "gate", str(run))
        assert code == 2
        assert "--resume" in errors

    def test_plan(self) -> None:
        """The most trials become whole repeats; too few for two are refused."""
        suite = suite_of("a", "b")
        assert plan_looks(suite, 12, 24 * 8) == (2, 4, 6, 8)
        assert plan_looks(suite, 12, 24 * 8 + 23) == (2, 4, 6, 8)
        assert plan_looks(suite, 12, 48) == (2,)
        with pytest.raises(ConfigurationError, match="give 48 or more"):
            plan_looks(suite, 12, 47)

    async def test_the_runner_stops(self) -> None:
        """The runner asks after each look, when its trials are stored, and stops when told."""
        suite = suite_of("a", "b", repeats=6, warmups=1)
        sink = Stored()
        seen: list[tuple[int, int]] = []

        def enough(repeats: int) -> str:
            seen.append((repeats, sum(not each.key.warmup for each in sink.trials)))
            return "clear" if repeats == 4 else ""

        outcome = await run_suite(
            suite,
            make_plan(suite, ("u", "v"), 1),
            performers={"a": ScriptedPerformer(), "b": ScriptedPerformer()},
            utterances=playable("u", "v"),
            sink=sink,
            looks=(2, 4, 6),
            enough=enough,
        )
        assert seen == [(2, 8), (4, 16)]
        assert (outcome.end, outcome.reason, outcome.remaining) == (End.FINISHED, "clear", 8)

    async def test_the_runner_goes_to_the_end(self) -> None:
        """A verdict that never is clear leaves every planned trial performed."""
        suite = suite_of("a", repeats=3, warmups=0)
        outcome = await run_suite(
            suite,
            make_plan(suite, ("u",), 1),
            performers={"a": ScriptedPerformer()},
            utterances=playable("u"),
            sink=Stored(),
            looks=(2, 3),
            enough=lambda _: "",
        )
        assert (outcome.end, outcome.reason, outcome.remaining) == (End.FINISHED, "", 0)


def simulation() -> ModuleType:
    """Load the script beside the shipped gate."""
    path = shipped_folder("bench") / "simulate_gate.py"
    spec = importlib.util.spec_from_file_location("simulate_gate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class TestShippedGate:
    """`bench/gate.toml` stays green on an unchanged tree and turns red on a slower model."""

    def test_unchanged(self) -> None:
        """Every simulated gate of an unchanged candidate passes."""
        found = simulation().simulate(read_suite("gate"), gates=100, seed=11)
        assert found.verdicts[Verdict.PASS] == 100

    def test_slower(self) -> None:
        """A model slower by 20 % fails every simulated gate, by 1 % none."""
        for slower, verdict in ((1.2, Verdict.FAIL), (1.01, Verdict.PASS)):
            found = simulation().simulate(read_suite("gate"), gates=12, seed=12, llm=slower)
            assert found.verdicts[verdict] == 12

    def test_same_everywhere(self) -> None:
        """The suite states clock and seed: two runs of one tree are equal, on every machine."""
        suite = read_suite("gate")
        assert (suite.clock, suite.seed, suite.gateway.seed) == (Clock.VIRTUAL, 1, None)

    def test_its_baseline(self) -> None:
        """The baseline that the suite names is there, of five runs, with what its budget needs."""
        from harness.store.runs.baselines import read_baseline

        suite = read_suite("gate")
        assert suite.baseline is not None
        kept = read_baseline(Path(suite.baseline)).baseline
        assert len(kept.runs) >= 5
        for budget in suite.budgets:
            if budget.kind is BudgetKind.RELATIVE and budget.reference is None:
                assert not budget.required
                assert kept.get(str(budget.candidate), budget.metric, budget.statistic)


class TestWorkflow:
    """The gate in CI: no keys, nothing swallowed, summary and report kept."""

    @staticmethod
    def checked(text: str, command: str) -> None:
        """Assert what both workflows have in common."""
        assert "|| true" not in text
        assert "continue-on-error" not in text
        document = yaml.safe_load(text)
        gate, live = document["jobs"]["gate"], document["jobs"]["live"]
        assert "secrets." not in json.dumps(gate)
        (step,) = [each for each in gate["steps"] if each.get("name") == "Gate"]
        assert step["run"].startswith(command)
        assert '--markdown "$GITHUB_STEP_SUMMARY"' in step["run"]
        assert any("upload-artifact" in each.get("uses", "") for each in gate["steps"])
        assert "secrets.OPENADAPTER_API_KEY" in json.dumps(live)
        assert "pull_request" in text

    def test_ours(self) -> None:
        """The repository's own workflow calls nox alone."""
        root = Path(__file__).parents[2]
        text = (root / ".github" / "workflows" / "turnbench-gate.yml").read_text(encoding="utf-8")
        self.checked(text, "nox -s gate --")
        assert "turnbench run" not in text

    def test_users(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`init` lays the same workflow, and a gate without the shipped agent's baseline."""
        assert main(["init", str(tmp_path)]) == 0
        capsys.readouterr()
        text = (tmp_path / ".github" / "workflows" / "turnbench-gate.yml").read_text()
        self.checked(text, "turnbench run bench/gate.toml --gate")
        # The package is on no index: each job installs it from where the user keeps it.
        document = yaml.safe_load(text)
        assert document["env"]["TURNBENCH_SOURCE"] == "${{ vars.TURNBENCH_SOURCE }}"
        for job in document["jobs"].values():
            steps = {each["name"]: each["run"] for each in job["steps"] if "name" in each}
            script = steps.pop("Install turnbench").replace("python -m pip", "echo would run pip")
            for source, code in (("", 2), ("git+https://example.org/turnbench@v1", 0)):
                done = subprocess.run(
                    ["bash", "-e", "-c", script],
                    env={**os.environ, "TURNBENCH_SOURCE": source},
                    capture_output=True, text=True, check=False, timeout=20,
                )  # fmt: skip
                assert done.returncode == code, done.stderr
                assert ("would run pip install turnbench" in done.stdout) is (code == 0)
            for command in steps.values():
                words = shlex.split(command)
                assert words[0] == "turnbench"
                assert make_parser().parse_args(words[1:]).suite.startswith("bench/")
        suite = read_suite(tmp_path / "bench" / "gate.toml")
        assert suite.baseline is None
        assert len(suite.budgets) == len(read_suite("gate").budgets) - 1
        code, output, errors = asked(
            capsys, "run", str(tmp_path / "bench" / "gate.toml"), "--gate", "--dry-run"
        )
        assert (code, errors) == (0, "")
        assert "gate" in output


def test_misuse_before_the_first_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate without budgets, baseline or enough trials is refused before anything is measured."""
    for arguments, told in (
        (("quick", "--gate"), "no [[budget]]"),
        (("gate", "--gate", "--baseline", str(tmp_path / "none.json")), "no such baseline"),
        (("gate", "--max-trials", "50"), "one repeat is 48 trials"),
    ):
        code, _, errors = asked(capsys, "run", *arguments, "--out", str(tmp_path / "reports"))
        assert code == 2
        assert told in errors
    assert not (tmp_path / "reports").exists()


@pytest.mark.realtime
@pytest.mark.timeout(180)
def test_measure_and_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command measures look by look through the gateway, judges, and writes every output."""
    files = {name: tmp_path / name for name in ("gate.md", "gate.xml")}
    code, output, errors = asked(
        capsys,
        *("run", "gate", "--limit", "2", "--max-trials", "12", "--out", str(tmp_path), "--json"),
        *("--markdown", str(files["gate.md"]), "--junit", str(files["gate.xml"])),
    )
    document = json.loads(output)
    # Two utterances carry no verdict: every look goes on, and the last one says so.
    assert (code, document["gate"]["verdict"]) == (3, "INCONCLUSIVE")
    assert "after 2 repeats: INCONCLUSIVE" in errors
    assert document["remaining"] == 0
    assert "INCONCLUSIVE" in files["gate.md"].read_text(encoding="utf-8")
    assert "<error" in files["gate.xml"].read_text(encoding="utf-8")
    again, output, _ = asked(capsys, "gate", document["run"], "--json")
    assert (again, json.loads(output)["alpha"]) == (3, document["gate"]["alpha"])


class TestMisuse:
    """What cannot be judged is never a pass."""

    def test_a_run_cut_short(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Stopped half-way, even a run of clear numbers is INCONCLUSIVE and says how to go on."""
        run = stored(tmp_path)
        assert asked(capsys, "gate", str(run))[0] == 0
        lines = (run / "trials.jsonl").read_text().splitlines(keepends=True)
        (run / "trials.jsonl").write_text("".join(lines[: len(lines) * 3 // 4]))
        code, output, _ = asked(capsys, "gate", str(run), "--json")
        assert code == 3
        found = json.loads(output)
        assert found["verdict"] == "INCONCLUSIVE"
        assert found["reason"].startswith("the run was cut short: 24 of 96 trials are missing")
        assert "--resume" in found["reason"]

    def test_nothing_measured(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run without a trial is misuse."""
        run = stored(tmp_path)
        (run / "trials.jsonl").write_text("")
        code, _, errors = asked(capsys, "gate", str(run))
        assert code == 2
        assert "has no trial of candidate 'b'" in errors

    def test_a_candidate_that_is_gone(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where the candidate, or its reference, left no trial, the budget is misuse."""
        for gone in ("a", "b"):
            run = stored(tmp_path)
            path = run / "trials.jsonl"
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(each for each in lines if f'"candidate":"{gone}"' not in each))
            code, _, errors = asked(capsys, "gate", str(run))
            assert code == 2
            assert f"has no trial of candidate '{gone}'" in errors

    @pytest.mark.parametrize(
        ("budget", "told"),
        [
            (replace(PAIRED, metric="respons"), "there is no metric 'respons'"),
            (replace(PAIRED, statistic="mean"), "a mean cannot gate"),
            (replace(PAIRED, metric="tts_wer", statistic="rate"), "[intelligibility]"),
            (replace(PAIRED, metric="stt_finalize"), "no trial of 'b' has stt_finalize"),
            (replace(PAIRED, reference=None), "none is named: give --baseline"),
        ],
    )
    def test_a_budget_that_cannot_be_judged(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: Budget, told: str
    ) -> None:
        """Exit 2 with the reason, whatever else the gate holds."""
        run = stored(tmp_path, budgets=(PAIRED, budget))
        code, _, errors = asked(capsys, "gate", str(run))
        assert code == 2
        assert told in errors

    def test_too_few_trials(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One repeat of twelve utterances cannot see 2 %, and does not pass."""
        limit = replace(PAIRED, limit=1.01, mde=1.02)
        run = stored(tmp_path, repeats=1, budgets=(replace(limit, statistic="p95"),))
        code, output, _ = asked(capsys, "gate", str(run))
        assert code == 3
        assert "INCONCLUSIVE" in output

    @pytest.mark.parametrize("values", ["[NaN, NaN, NaN, NaN, NaN]", "[0, 0, 0, 0, 0]", "[700.0]"])
    def test_a_baseline_that_was_edited(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], values: str
    ) -> None:
        """Figures that no run gives make no pass."""
        file = Path(baseline_file(tmp_path, capsys))
        required = replace(KEPT, required=True)
        run = str(stored(tmp_path, budgets=(required,)))
        assert asked(capsys, "gate", run, "--baseline", str(file))[0] == 0
        text = file.read_text()
        figures = json.loads(text)["figures"]["b"]["response"]["p50"]
        shown = "[" + ", ".join(f"{each}" for each in figures) + "]"
        assert shown in text
        file.write_text(text.replace(shown, values))
        assert asked(capsys, "gate", run, "--baseline", str(file))[0] in {2, 3}

    def test_one_run_five_times(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A baseline of copies knows nothing of how runs differ, and is refused."""
        run = str(stored(tmp_path))
        file = tmp_path / "copies.json"
        code, _, errors = asked(capsys, "baseline", "save", str(file), *[run] * 5)
        assert code == 2
        assert "named twice" in errors
        assert not file.exists()
