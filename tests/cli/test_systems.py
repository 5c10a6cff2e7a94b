"""The suite of every system, as `turnbench run systems` plays it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.domain.timeline import Stage
from harness.domain.trial import Trial
from harness.store.runs.run import list_runs, open_run
from tests.cli.test_cli import ROOT, turnbench

SYSTEMS = ("openadapter", "livekit", "baseten", "speko", "openai", "mix")
ROUTED = ("route.provider", "route.model", "route.failover_count", "route.scores_run_id")


def short(folder: Path) -> Path:
    """Write the shipped suite with one short utterance, played once by each candidate."""
    text = (ROOT / "bench" / "systems.toml").read_text(encoding="utf-8")
    for before, after in (
        ('path = "starter"', 'path = "starter"\nids = ["slt-yes"]'),
        ("repeats = 2 ", "repeats = 1 "),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path = folder / "systems.toml"
    path.write_text(text, encoding="utf-8")
    return path


def facts_of(trial: Trial, stage: Stage) -> Mapping[str, Any]:
    """Return what the first request of a stage was told by its provider."""
    return next(each.facts for each in trial.turns[0].requests if each.stage is stage)


@pytest.mark.slow
def test_every_system_in_one_run(tmp_path: Path) -> None:
    """One run without keys measures five systems and a mix, and one report compares them."""
    done = turnbench("run", str(short(tmp_path)), "--no-rerun", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = list_runs(tmp_path / "reports")
    played = open_run(folder).trials()
    trials = {each.key.candidate: each for each in played if isinstance(each, Trial)}
    assert sorted(trials) == sorted(SYSTEMS), done.stdout

    asked = {
        "openadapter": "Kimi-K2.5",
        "livekit": "zai/glm-5.1",
        "baseten": "moonshotai/Kimi-K2-Instruct",
        "openai": "gpt-4.1-mini",
        "mix": "moonshotai/Kimi-K2-Instruct",
    }
    for name, trial in trials.items():
        stages = {each.stage for each in trial.turns[0].requests}
        assert {Stage.STT, Stage.LLM, Stage.TTS} <= stages, name
        thought = facts_of(trial, Stage.LLM)
        assert thought["finish_reason"] == "stop", name
        assert thought["usage.completion_tokens"] > 0, name
        assert thought["request_id"], name
        if name in asked:
            assert thought["model"] == asked[name]
        assert facts_of(trial, Stage.TTS)["characters"] > 0, name
    quota = facts_of(trials["livekit"], Stage.LLM)
    assert quota["x-livekit-inference-rpm-limit"]
    assert facts_of(trials["livekit"], Stage.STT)["session_id"]
    for stage in (Stage.STT, Stage.LLM, Stage.TTS):
        assert set(ROUTED) <= set(facts_of(trials["speko"], stage)), stage
    assert set(ROUTED) <= set(facts_of(trials["mix"], Stage.TTS))
    assert not set(ROUTED) & set(facts_of(trials["mix"], Stage.LLM))

    said = turnbench("report", "latest", "--format", "markdown", cwd=tmp_path).stdout
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (said, page):
        assert all(name in text for name in SYSTEMS)
        assert all(f"By route: {stage}" in text for stage in ("STT", "LLM", "TTS"))
    # Who has no router has no route to be split by.
    routes = said[said.index("By route: STT") :]
    assert "speko" in routes
    assert not any(name in routes.split("By route: LLM")[0] for name in ("livekit", "baseten"))
    assert "route not told" not in routes


@pytest.mark.parametrize(
    "stage", ["stt", "llm", "tts"], ids=lambda each: f"{each} of the mix is another's"
)
def test_the_mix_is_of_three_systems(stage: str) -> None:
    """The mix takes each stage from another provider."""
    done = turnbench("run", "systems", "--via", "live", "--dry-run", cwd=ROOT)
    needed = [line for line in done.stdout.splitlines() if f"mix.{stage}" in line]
    provider = {"stt": "PARAKEET", "llm": "BASETEN", "tts": "SPEKO"}[stage]
    assert [line for line in needed if line.startswith(f"missing: {provider}_API_KEY")], done.stdout


def test_going_live_names_what_is_missing(tmp_path: Path) -> None:
    """Live, the same file tells every variable and deployment that it lacks, in a line each."""
    done = turnbench("run", "systems", "--via", "live", "--yes", cwd=tmp_path)
    assert done.returncode == 2
    for name in (
        "PARAKEET_API_KEY",
        "OPENADAPTER_API_KEY",
        "LIVEKIT_API_KEY",
        "LIVEKIT_API_SECRET",
        "BASETEN_API_KEY",
        "BASETEN_MODEL_ENDPOINT",
        "SPEKO_API_KEY",
        "OPENAI_API_KEY",
    ):
        lines = [line for line in done.stderr.splitlines() if f"{name}: not set" in line]
        assert len(lines) == 1, name
    assert not (tmp_path / "reports").exists()
