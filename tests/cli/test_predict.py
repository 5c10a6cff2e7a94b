"""compose, whatif, and reports by a setting, on stored runs."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.turn.definitions import definition_digests
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.plan import make_plan
from harness.domain.suite import Driver, Suite
from harness.store.runs.plans import DatasetSummary, RunPlan
from harness.store.runs.writer import create_run
from tests.cli.test_decide import asked, stored
from tests.synthetic import draw_scripts, make_suite, make_trial, make_utterances

UTTERANCES = make_utterances(16)
GRID = {"ka": (1.0, 1.0), "kn": (1.0, 1.5), "ga": (2.0, 1.0), "gn": (2.0, 1.5)}


def grid(names: tuple[str, ...], driver: Driver) -> Suite:
    """Return two models times two voices, or some of them."""

    def candidate(name: str) -> Candidate:
        return Candidate(
            name=name,
            stt=StageSettings(provider="openadapter"),
            llm=StageSettings(provider="openadapter", model=f"model-{name[0]}"),
            tts=StageSettings(provider="openadapter", voice=f"voice-{name[1]}"),
        )

    return replace(
        make_suite(),
        candidates=tuple(candidate(each) for each in names),
        repeats=4,
        warmups=0,
        driver=driver,
        keep_audio=False,
    )


def played(
    folder: Path,
    *names: str,
    driver: Driver = Driver.SESSION,
    sha256: str = "0" * 64,
    suite: Suite | None = None,
) -> str:
    """Write a run in which model g takes twice as long and voice n half as long again."""
    suite = suite or grid(names or tuple(GRID), driver)
    keys = make_plan(suite, [each.id for each in UTTERANCES], 1)
    plan = RunPlan(
        suite=suite,
        source="bench/grid.toml",
        seed=1,
        keys=keys,
        utterances=UTTERANCES,
        origin={each.id: 0 for each in UTTERANCES},
        datasets=(DatasetSummary(name="d", version="1", path="d/m.jsonl", sha256=sha256),),
        facts={"definitions": definition_digests()},
    )
    rng = random.Random(3)
    with create_run(plan, reports=folder) as writer:
        writer.add_environment({"machine": {"cpu": "test"}, "packages": {}})
        for key in keys:
            llm, tts = GRID[key.candidate]
            (script,) = draw_scripts(1, rng, llm_scale=llm, tts_scale=tts)
            trial = make_trial(
                script,
                candidate=key.candidate,
                utterance=key.utterance,
                repeat=key.repeat,
                order=key.order,
                driver=driver.value,
                start_ns=5_000_000_000 + key.order * 6_000_000_000,
            )
            writer.append(trial)
        writer.set_status("finished", done=len(keys))
    return str(writer.run.path)


class TestCompose:
    """N + M + K measurements answer for N x M x K combinations."""

    def test_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Every combination is predicted, those really run from other candidates, within 15 %."""
        run = played(tmp_path)
        code, output, _ = asked(capsys, "compose", run, "--json")
        found = json.loads(output)
        assert (code, len(found)) == (0, 4)
        for each in found:
            assert each["candidate"] in GRID
            median = next(row for row in each["errors"] if row["share"] == 0.5)
            assert abs(median["relative"]) < 0.15
            assert each["candidate"] not in (each["stt"], each["llm"], each["tts"])

    def test_not_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A combination of three that were run is held against another run that has it."""
        three = played(tmp_path, "ka", "kn", "ga")
        code, output, _ = asked(
            capsys, "compose", three, "--stt", "ka", "--llm", "ga", "--tts", "kn", "--json"
        )
        (found,) = json.loads(output)
        assert (code, found["candidate"], found["errors"]) == (0, None, [])
        whole = played(tmp_path)
        options = ("--stt", "ka", "--llm", "ga", "--tts", "kn", "--against", whole)
        code, output, _ = asked(capsys, "compose", three, *options, "--json")
        (found,) = json.loads(output)
        assert found["candidate"].startswith("gn in ")
        assert abs(found["errors"][0]["relative"]) < 0.15
        code, output, _ = asked(capsys, "compose", three, *options)
        assert (code, "gn in" in output) == (0, True)

    def test_misuse(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Half a combination, a candidate that is not there, or other recordings are refused."""
        run, other = played(tmp_path), played(tmp_path, sha256="1" * 64)
        assert asked(capsys, "compose", run, "--stt", "ka")[0] == 2
        code, _, errors = asked(capsys, "compose", run, "--stt", "ka", "--llm", "zz", "--tts", "kn")
        assert (code, "'zz'" in errors) == (2, True)
        code, _, errors = asked(capsys, "compose", run, "--against", other)
        assert (code, "not comparable" in errors, "dataset: " in errors) == (2, True, True)

    def test_other_options(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What moves the parts must be equal; stages alone are not asked what only turns have."""
        names = ("ka", "gn")
        heard = replace(make_suite().gateway, recogniser="oracle")
        other = replace(grid(names, Driver.SESSION), gateway=heard)
        assert heard.recogniser != make_suite().gateway.recogniser
        whole = played(tmp_path, suite=other)
        for driver in (Driver.SESSION, Driver.STAGE):
            run = played(tmp_path, *names, driver=driver)
            code, _, errors = asked(capsys, "compose", run, "--against", whole)
            assert (code, "gateway.recogniser: " in errors) == (2, True)
        late = replace(other.session, min_endpointing_delay_s=0.9)
        patient = played(tmp_path, suite=replace(grid(names, Driver.SESSION), session=late))
        for driver, wanted in ((Driver.SESSION, 2), (Driver.STAGE, 0)):
            run = played(tmp_path, *names, driver=driver)
            assert asked(capsys, "compose", run, "--against", patient)[0] == wanted

    def test_own_parts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A combination put together from its own parts claims no error: it is a copy."""
        run = played(tmp_path, "ka", "gn")
        _, output, _ = asked(capsys, "compose", run, "--stt", "ka", "--llm", "ka", "--tts", "ka")
        assert "all parts are its own" in " ".join(output.split())


class TestWhatIf:
    """The response under another setting, from stored marks."""

    def test_delay(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Another endpointing delay moves every turn; the table names the change."""
        run = played(tmp_path)
        code, output, _ = asked(capsys, "whatif", run, "--endpointing-ms", "700", "--json")
        late = json.loads(output)
        assert code == 0
        code, output, _ = asked(capsys, "whatif", run, "--endpointing-ms", "900", "--json")
        for name, each in json.loads(output).items():
            assert each["predicted"]["p50"]["point"] == pytest.approx(
                late[name]["predicted"]["p50"]["point"] + 200, abs=0.01
            )
        code, output, _ = asked(capsys, "whatif", run, "--endpointing-ms", "700")
        assert "endpointing delay 700 ms" in output

    def test_preemptive(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Preemptive generation never makes a turn later; as it was changes nothing."""
        run = played(tmp_path)
        _, output, _ = asked(capsys, "whatif", run, "--preemptive", "on", "--json")
        for each in json.loads(output).values():
            assert each["predicted"]["p50"]["point"] <= each["actual"]["p50"]["point"]
        _, output, _ = asked(capsys, "whatif", run, "--preemptive", "off", "--json")
        for each in json.loads(output).values():
            assert each["predicted"] == each["actual"]

    def test_voice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The slower voice makes the candidates of the other one slower, and only those."""
        run = played(tmp_path)
        code, output, _ = asked(capsys, "whatif", run, "--voice", "voice-n", "--json")
        found = json.loads(output)
        assert (code, sorted(found)) == (0, ["ga", "ka"])
        for each in found.values():
            assert each["predicted"]["p50"]["point"] > each["actual"]["p50"]["point"]

    def test_misuse(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An unknown voice or candidate, and stages without a response, are refused."""
        run = played(tmp_path)
        code, _, errors = asked(capsys, "whatif", run, "--voice", "voice-x")
        assert (code, "voice-n" in errors) == (2, True)
        assert asked(capsys, "whatif", run, "--preemptive", "on", "--candidate", "zz")[0] == 2
        alone = played(tmp_path, driver=Driver.STAGE)
        assert asked(capsys, "whatif", alone, "--preemptive", "on")[0] == 2


class TestDecisions:
    """Who is worth having, in terminal, JSON, Markdown and page."""

    def test_pareto(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The faster candidate is on the front and the slower one is dominated by it."""
        run = played(tmp_path, "ka", "gn")
        code, output, _ = asked(capsys, "compare", run, "--json")
        standings = {each["name"]: each for each in json.loads(output)["standings"]}
        assert code == 0
        assert standings["ka"]["on_front"]
        assert standings["gn"]["dominated_by"] == ["ka"]
        _, output, _ = asked(capsys, "compare", run)
        assert "Who is worth having" in output
        assert "no real model wins" in " ".join(output.split())

    @pytest.mark.parametrize("by", ["llm", "voice", "candidate"])
    def test_report_by(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
        """The page and the Markdown show the comparison that was asked for and the standings."""
        run = played(tmp_path)
        sides = {"llm": "model-g", "voice": "voice-n", "candidate": "gn"}
        code, output, _ = asked(capsys, "report", run, "--by", by, "--format", "markdown")
        assert code == 0
        assert sides[by] in output
        assert "Who is worth having" in output
        assert "Predicted combinations" in output
        assert asked(capsys, "report", run, "--by", by)[0] == 0
        page = (Path(run) / "report.html").read_text(encoding="utf-8")
        assert sides[by] in page
        assert "Who is worth having" in page

    def test_report_by_what_does_not_differ(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A setting in which no two candidates differ alone is refused."""
        run = played(tmp_path, "ka", "gn")
        code, _, errors = asked(capsys, "report", run, "--by", "stt")
        assert (code, "one side only" in errors) == (2, True)


def test_plan_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10% and 1.1 plan alike; more budgets ask for more trials; a tail unseen is told as such."""
    run = played(tmp_path, "ka", "kn")

    def repeats(*options: str) -> int:
        code, output, _ = asked(capsys, "plan", run, "--json", *options)
        assert code == 0
        return int(json.loads(output)["ka"]["gate"]["repeats"])

    assert repeats("--change", "10%") == repeats("--change", "1.1")
    assert repeats("--budgets", "24") > repeats()
    code, output, _ = asked(capsys, "plan", run, "--statistic", "p95", "--json")
    assert code == 0
    assert "lognormal" in json.loads(output)["ka"]["gate"]["assumption"]
    code, output, _ = asked(capsys, "plan", run, "--change", "10%")
    assert (code, "change by 10" in output) == (0, True)
    assert asked(capsys, "plan", run, "--change", "0%")[0] == 2


def test_run_against_itself_by_two_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """compare(run, run) has a ratio of exactly 1 and no finding, whatever the spread."""
    run = played(tmp_path)
    code, output, _ = asked(capsys, "compare", run, run, "--json")
    assert code == 0
    for pair in json.loads(output)["pairs"]:
        for each in pair["metrics"]:
            if each["change"].get("kind") != "Unsupported":
                assert each["change"]["ratio"].get("point", 1.0) == 1.0
                assert each["finding"] == "no detectable difference"


def test_planned_slowdown_by_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--by candidate is what compare does unasked."""
    run = str(stored(tmp_path, slower=1.3))
    plain = asked(capsys, "compare", run, "--json")
    assert asked(capsys, "compare", run, "--by", "candidate", "--json") == plain
