"""Synthetic runs on disk, for tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.domain.request import Connection
from harness.domain.suite import Price, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Stall, Trial
from harness.store.runs.plans import RunPlan
from harness.store.runs.run import Run, open_run
from harness.store.runs.writer import create_run
from tests.synthetic import (
    MS,
    Script,
    make_failed,
    make_health,
    make_run,
    make_suite,
    make_trial,
    make_utterances,
)

__all__ = ["TOLD", "every_kind", "store_run"]

TOLD: Mapping[Stage, Mapping[str, Any]] = {
    Stage.LLM: {
        "endpoint": "llm.example",
        "model": "llm-2",
        "served_by": "alder",
        "request_id": "req-1",
        "usage.prompt_tokens": 40,
        "usage.completion_tokens": 9,
        "usage.prompt_tokens_details.cached_tokens": 32,
    },
    Stage.TTS: {"endpoint": "tts.example", "audio_seconds": 2.5},
}
"""What the requests of :func:`every_kind` say of themselves."""

UTTERANCES = 10


def told(trial: Trial) -> Trial:
    """Return a trial whose requests tell who answered."""
    (turn,) = trial.turns
    warm = Connection(reused=True, path_rtt_ns=12 * MS)
    requests = tuple(
        replace(each, facts=TOLD.get(each.stage, {}), connection=warm) for each in turn.requests
    )
    return replace(trial, turns=(replace(turn, requests=requests),))


def every_kind() -> tuple[Trial | FailedTrial, ...]:
    """Return trials of every status: warm, answered, early, disturbed, measured again, failed."""
    found: list[Trial | FailedTrial] = [
        each if isinstance(each, FailedTrial) else told(each)
        for each in make_run(utterances=UTTERANCES, repeats=2, seed=3)
    ]
    order = len(found)
    start = 5_000_000_000 + 6_000 * MS * order
    stall = make_health()
    stalled = replace(
        stall, stalls=(Stall(start_ns=start + 1_600 * MS, end_ns=start + 1_700 * MS),)
    )
    found += [
        make_trial(Script(), repeat=2, order=order, start_ns=start, health=stalled),
        make_trial(Script(), repeat=2, order=order, attempt=1, start_ns=start + 5_000 * MS),
        make_trial(
            Script(underrun=30 * MS), repeat=3, order=order + 1, start_ns=start, health=stalled
        ),
        make_failed(repeat=4, order=order + 2),
        make_failed(repeat=5, order=order + 3, stage=Stage.STT),
    ]
    return tuple(found)


def store_run(
    folder: Path,
    trials: Sequence[Trial | FailedTrial],
    *,
    candidates: Sequence[str] = ("a", "b"),
    via: Via = Via.LIVE,
    utterances: int = UTTERANCES,
) -> Run:
    """Write a run of these trials."""
    price = Price(per_million_input_tokens=1e6)
    suite = replace(
        make_suite(*candidates),
        via=via,
        prices={f"openadapter/llm-{each}": price for each in candidates},
    )
    said = make_utterances(utterances)
    plan = RunPlan(
        suite=suite,
        source="synthetic.toml",
        seed=1,
        keys=tuple(each.key for each in trials if not each.key.attempt),
        utterances=said,
        origin=dict.fromkeys([each.id for each in said], 0),
        datasets=(),
    )
    with create_run(plan, reports=folder) as writer:
        for each in trials:
            writer.append(each)
        writer.set_status("finished", done=len(trials))
    return open_run(writer.run.path)
