"""Playing shipped utterances through the drivers against a gateway."""

import asyncio
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.analysis.turn.attribution import Waterfall, unattributed_ns, waterfall
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Mark
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.loops.virtual import VirtualLoop
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.store.datasets.audio import load_audio, to_pipeline
from harness.store.datasets.manifest import audio_path, read_dataset

__all__ = [
    "DATASET",
    "SILENCE",
    "Played",
    "candidate",
    "part_ms",
    "play",
    "playable",
    "response_ns",
    "total_ns",
    "unattributed_ms",
]

DATASET = Path(__file__).parents[2] / "datasets" / "starter"
SILENCE = Path(__file__).parents[2] / "datasets" / "silence"

Played = Trial | FailedTrial


@cache
def playable(name: str | None = None, folder: Path = DATASET) -> PlayableUtterance:
    """Return a shipped utterance with its audio."""
    dataset = read_dataset(folder)
    utterance = dataset.utterances[0] if name is None else dataset.utterance(name)
    return PlayableUtterance(
        utterance=utterance,
        pcm=to_pipeline(load_audio(audio_path(dataset, utterance))).astype("<i2").tobytes(),
        speech_start_ns=utterance.speech_start_ns,
        speech_end_ns=utterance.speech_end_ns,
    )


def candidate(
    *, stt: str = "exact", llm: str = "exact", tts: str = "exact", **options: Mapping[str, Any]
) -> Candidate:
    """Return an OpenAdapter candidate whose stages answer by these gateway profiles."""
    return Candidate(
        name="candidate",
        stt=StageSettings(provider="openadapter", profile=stt, options=options.get("stt", {})),
        llm=StageSettings(
            provider="openadapter", model="Kimi-K2.5", profile=llm, options=options.get("llm", {})
        ),
        tts=StageSettings(provider="openadapter", profile=tts, options=options.get("tts", {})),
    )


async def play(
    gateway: str,
    key: str,
    chosen: Candidate,
    utterances: list[PlayableUtterance],
    *,
    performer: type[Base] = SessionPerformer,
    session: SessionOptions | None = None,
    timeouts: Timeouts | None = None,
    together: bool = False,
    stage_texts: tuple[str, ...] = (),
    live: Mapping[str, str] | None = None,
) -> list[Played]:
    """Perform utterances one after the other, or all at once, with one performer.

    With an environment for ``live`` the addresses and keys in it count, not the gateway.
    """
    suite = Suite(
        name="test",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(chosen,),
        session=session or SessionOptions(),
        timeouts=timeouts or Timeouts(),
        stage_texts=stage_texts,
    )
    # A virtual clock knows no stalls of the machine.
    watch = Watch(machine=not isinstance(asyncio.get_running_loop(), VirtualLoop))
    await watch.start()
    place = (
        Place(via=Via.GATEWAY, options=suite.session, gateway=gateway, gateway_key=key)
        if live is None
        else Place(via=Via.LIVE, options=suite.session, environ=live)
    )
    player = performer(chosen, suite, place=place, watch=watch, redact=lambda text: text)
    found: list[Played] = []
    try:
        await player.start()
        jobs = [
            player.perform(
                TrialKey(candidate=chosen.name, utterance=each.utterance.id, repeat=0, order=order),
                chosen,
                each,
            )
            for order, each in enumerate(utterances)
        ]
        if together:
            found = [trial for trial, _ in await asyncio.gather(*jobs)]
        else:
            for job in jobs:
                trial, _ = await job
                found.append(trial)
    finally:
        await player.aclose()
        await watch.aclose()
    return found


def _waterfall(trial: Played) -> Waterfall:
    found = waterfall(trial.turns[0])
    assert isinstance(found, Waterfall), f"{getattr(trial, 'failure', None)}: {found}"
    return found


def unattributed_ms(trial: Played) -> float:
    """Return how much of the response the waterfall cannot explain."""
    return unattributed_ns(_waterfall(trial)) / 1e6


def total_ns(trial: Played) -> int:
    """Return the sum of the waterfall's parts."""
    return sum(part.ns for part in _waterfall(trial).parts)


def part_ms(trial: Played, name: str) -> float:
    """Return the length of the waterfall's parts of one name."""
    parts = _waterfall(trial).parts
    return sum(part.end_ns - part.start_ns for part in parts if part.name == name) / 1e6


def response_ns(trial: Played) -> int:
    """Return the response from the marks themselves."""
    marks = trial.turns[0].marks
    return marks[Mark.FIRST_AUDIBLE] - marks[Mark.SPEECH_END]
