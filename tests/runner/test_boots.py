"""What a run does about deployments that scale to zero, with performers that play a script."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from harness.analysis.summary.validity import cautions
from harness.analysis.turn.disturbance import disturbance, select
from harness.domain.boot import Boot, Tell
from harness.domain.plan import make_plan
from harness.domain.request import FailureKind
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import InvariantError
from harness.runner.outcome import End, Outcome
from harness.runner.running import run_suite
from harness.store.runs.decode import decode_boot
from harness.store.runs.encode import encode_boot
from tests.runner.scripted_performer import (
    ScriptedPerformer,
    failed_of,
    playable,
    suite_of,
    trial_of,
)

WARM = Boot(stage=Stage.TTS, provider="baseten", took_ns=300_000_000, cold=False)
COLD = Boot(stage=Stage.TTS, provider="baseten", took_ns=251_300_000_000, cold=True, asks=9)
GONE = Boot(stage=Stage.TTS, provider="baseten", took_ns=300 * 10**9, cold=True, ready=False)


@dataclass(slots=True, kw_only=True)
class Sleeper(ScriptedPerformer):
    """A performer whose deployment answers each waking by a script; the last one repeats."""

    wakings: tuple[Boot, ...] = (WARM,)
    woken: list[Boot] = field(default_factory=list)
    seen: Mapping[TrialKey, Boot] = field(default_factory=dict)

    async def boot(self, tell: Tell) -> tuple[Boot, ...]:
        found = self.wakings[min(len(self.woken), len(self.wakings) - 1)]
        self.woken.append(found)
        tell("waiting")
        return (found,)

    def boots_seen(self, trial: Trial | FailedTrial) -> tuple[Boot, ...]:
        found = self.seen.get(trial.key)
        return () if found is None else (found,)


def performed(
    performer: ScriptedPerformer, *, repeats: int = 2, concurrency: int = 1
) -> tuple[Outcome, list[Trial | FailedTrial], list[Mapping[str, Mapping[str, Any]]], list[str]]:
    """Run a suite of one utterance; return the outcome, the trials, the facts and what was told."""
    suite = suite_of(repeats=repeats, concurrency=concurrency)
    utterances = playable("u1")
    stored: list[Trial | FailedTrial] = []
    facts: list[Mapping[str, Mapping[str, Any]]] = []
    told: list[str] = []
    outcome = asyncio.run(
        run_suite(
            suite,
            make_plan(suite, ("u1",), 1),
            performers={"a": performer},
            utterances=utterances,
            sink=lambda trial, _: stored.append(trial),
            disturbed=disturbance,
            started=facts.append,
            tell=told.append,
        )
    )
    return outcome, stored, facts, told


def test_what_booted_is_told_and_kept() -> None:
    """A cold boot stands among the facts of the start, and is said; no trial carries it."""
    outcome, stored, facts, told = performed(Sleeper(wakings=(COLD,)))
    assert outcome.end is End.FINISHED
    assert facts[0]["a"]["boots"] == (COLD,)
    assert told == ["waiting", "baseten tts booted in 251.3 s"]
    assert not any(trial.boots for trial in stored)


def test_nothing_is_said_of_what_does_not_sleep() -> None:
    """A performer without deployments of that kind has no boots among its facts."""
    _, _, facts, told = performed(ScriptedPerformer())
    assert "boots" not in facts[0]["a"]
    assert told == []


def test_a_failure_that_was_a_boot_is_made_again() -> None:
    """The failed trial is kept with its boot, the next attempt counts, and no streak begins."""

    def script(key: TrialKey) -> Trial | FailedTrial:
        asleep = key.repeat == 1 and key.attempt == 0 and not key.warmup
        return failed_of(key, Stage.TTS) if asleep else trial_of(key)

    performer = Sleeper(script=script, wakings=(WARM, COLD))
    outcome, stored, _, _ = performed(performer)
    assert performer.woken == [WARM, COLD]
    met = [trial for trial in stored if trial.boots]
    assert [type(trial) for trial in met] == [FailedTrial]
    assert met[0].boots == (COLD,)
    assert outcome.reruns == 1
    chosen = select(stored)
    assert met[0] in chosen.everything
    assert all(isinstance(trial, Trial) for trial in chosen.main)
    said = [each for each in cautions(stored, {}) if each.code == "boots"]
    assert len(said) == 1
    assert "1 attempts" in said[0].text


@pytest.mark.parametrize("stage", [Stage.TTS, Stage.LLM])
def test_trials_at_once_meet_one_boot(stage: Stage) -> None:
    """A trial that failed during another's boot of its stage met it too, if it is up by then."""

    def script(key: TrialKey) -> Trial | FailedTrial:
        asleep = not key.warmup and key.attempt == 0 and key.repeat < 2
        found = failed_of(key, Stage.TTS if key.order == first else stage)
        now = time.perf_counter_ns()
        return replace(found, started_ns=now, ended_ns=now + 1) if asleep else trial_of(key)

    first = next(key.order for key in make_plan(suite_of(repeats=2), ("u1",), 1) if not key.warmup)
    performer = Sleeper(script=script, wakings=(WARM, COLD, WARM))
    _, stored, _, _ = performed(performer, concurrency=2)
    met = [trial for trial in stored if trial.boots]
    assert len(met) == (2 if stage is Stage.TTS else 1)
    assert {trial.boots for trial in met} == {(COLD,)}


@pytest.mark.parametrize("answer", [WARM, GONE], ids=["was-up", "never-came"])
def test_a_failure_that_was_no_boot_stays(answer: Boot) -> None:
    """A deployment that answers at once, or not at all, explains no failure away."""
    performer = Sleeper(script=lambda key: failed_of(key, Stage.TTS), wakings=(WARM, answer))
    outcome, stored, _, _ = performed(performer)
    assert outcome.reruns == 0
    assert not any(trial.boots for trial in stored)
    assert all(isinstance(trial, FailedTrial) for trial in stored)


def test_what_never_came_is_not_waited_for_again() -> None:
    """Waking is given up once, not once for each of the failures that follow."""
    performer = Sleeper(script=lambda key: failed_of(key, Stage.TTS), wakings=(GONE,))
    _, stored, _, told = performed(performer, repeats=3)
    assert len(stored) > 1
    assert performer.woken == [GONE]
    assert told[-1] == "baseten tts did not answer within 300 s"


def test_a_wrong_answer_wakes_nobody() -> None:
    """What a deployment that is up has said is no sign of sleep."""
    performer = Sleeper(script=lambda key: failed_of(key, Stage.TTS, FailureKind.MALFORMED))
    performed(performer)
    assert performer.woken == [WARM]


def test_a_boot_is_stored_as_it_was() -> None:
    """To the millisecond; and a boot without a question is none."""
    for boot in (WARM, COLD, GONE):
        assert decode_boot(json.loads(json.dumps(encode_boot(boot)))) == boot
    with pytest.raises(InvariantError):
        Boot(stage=Stage.STT, provider="x", took_ns=1, cold=True, asks=0)
