"""Playing the fault table: one trial is struck, the next, on the same clients, is not."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.domain.candidate import StageSettings
from harness.domain.driver import PlayableUtterance
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.profiles.faults import HTTP_STATUS_FAULTS
from harness.gateway.profiles.faults import FaultKind as F
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from tests.pipeline.crooked import Door, Manner, door
from tests.pipeline.fault_table import CASES, Case, EndsWell, FailsLater
from tests.pipeline.playing import DATASET, Played, playable
from tests.pipeline.virtual_gateway import HOST, PORT, gateway_here, on_virtual_time

__all__ = ["play_case", "striking"]

_TIMEOUTS = Timeouts(connect_s=5, transcript_s=5, reply_s=7, playout_s=12)
_REQUEST_S = 3.0
_PAUSE_S = 0.1
LIMIT_S = 20.0
"""No trial may last longer: the utterance, its time-outs one after the other, and the playout."""
_UTTERANCE, _LONGER = "slt-stop", "slt-umbrella"
"""The reply to the longer is long enough to show that half of it is missing."""
_HANG_UP_S = 0.3
"""An LLM's faults strike before its one sentence is spoken: the rest of the reply tells nothing."""
_TEXT = "I have added apples, bread and milk to your list."
_CASES = {case.name: case for case in CASES}
_DRIVERS: dict[str, type[Base]] = {"session": SessionPerformer, "stage": StagePerformer}


@dataclass(frozen=True, slots=True, kw_only=True)
class _DoorPlace(Place):
    """The gateway, with a door before one profile.

    Attributes:
        door: the door's root.
        behind: the profile's name.
    """

    door: str
    behind: str

    def gateway_root(self, settings: StageSettings, default_profile: str) -> str:
        found = Place.gateway_root(self, settings, default_profile)
        if settings.profile != self.behind:
            return found
        return f"{self.door}/{self.behind}"


def _profiles() -> str:
    """Return a profile for each cell, whose first request alone is struck."""
    tables = ['["brief"]\nbase = "exact"\n["brief".llm]\nmax_sentences = 1\n']
    for case in CASES:
        stage = case.row.stage
        sentence = "max_sentences = 1\n" if stage is Stage.LLM else ""
        faults = ""
        if isinstance(case.fault, F):
            faults = (
                f"faults = {{ rates = {{ {case.fault.value} = 1.0 }}, first = {case.strikes}, "
                f"retry_after_s = 1 }}\n"
            )
        name = case.profile
        tables.append(f'["{name}"]\nbase = "exact"\n["{name}".{stage.value}]\n')
        tables.append(faults + sentence)
        if case.row.varies:
            tables.append(f'["{case.plain_profile}"]\nbase = "exact"\n')
    return "".join(tables)


def striking(folder: Path) -> GatewayConfig:
    """Return the settings of a gateway that knows the profiles of all cells."""
    path = folder / "profiles.toml"
    path.write_text(_profiles(), encoding="utf-8")
    return GatewayConfig(
        seed=5, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=path
    )


async def _play(config: GatewayConfig, case: Case) -> list[Played]:
    """Play the utterance until one trial has followed the struck one."""
    stage, in_session = case.row.stage, case.driver == "session"
    utterance = playable(_LONGER if in_session and stage is Stage.TTS else _UTTERANCE)
    timeouts = _TIMEOUTS
    if in_session and stage is Stage.LLM:
        timeouts = replace(timeouts, hang_up_s=_HANG_UP_S)
    chosen = case.candidate()
    options = SessionOptions(request_timeout_s=_REQUEST_S, max_retries=case.retries)
    suite = Suite(
        name="faults",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(chosen,),
        session=options,
        timeouts=timeouts,
        stage_texts=(_TEXT,),
    )
    async with AsyncExitStack() as stack:
        root = await stack.enter_async_context(gateway_here(config, case.name))
        watch = Watch(machine=False)
        await watch.start()
        stack.push_async_callback(watch.aclose)
        way: Door | None = None
        place = Place(via=Via.GATEWAY, options=options, gateway=root, gateway_key=config.key)
        manner = case.fault if isinstance(case.fault, Manner) else None
        if manner is not None or case.row.varies:
            way = stack.enter_context(door(manner, HOST, PORT))
            place = _DoorPlace(
                via=Via.GATEWAY,
                options=options,
                gateway=root,
                gateway_key=config.key,
                door=f"http://{HOST}:{way.port}",
                behind=case.profile,
            )
        player = _DRIVERS[case.driver](
            chosen, suite, place=place, watch=watch, redact=lambda text: text
        )
        stack.push_async_callback(player.aclose)
        await player.start()
        trials: list[Played] = []
        # A connection that drops between turns strikes the second of three.
        before = 1 if case.fault is Manner.DROPS else 0
        for order in range(before + 2):
            trials.append(await _trial(player, case, utterance, order))
            if way is not None and order == 0:
                if case.row.varies:
                    way.lead(f"/{case.profile}/", f"/{case.plain_profile}/")
                if manner is not None:
                    way.mend()
                    # Nobody speaks again before the network has told of the break.
                    await asyncio.sleep(_PAUSE_S)
        return trials


async def _trial(player: Base, case: Case, utterance: PlayableUtterance, order: int) -> Played:
    key = TrialKey(candidate=case.name, utterance=utterance.utterance.id, repeat=0, order=order)
    trial, _ = await player.perform(key, player._candidate, utterance)
    return trial


def _verdict(case: Case, trials: Sequence[Played], key: str) -> str | None:
    """Return in words what is wrong with how a cell ended; None if it is as the table says."""
    *before, struck, after = trials
    for trial, which in (*((each, "before") for each in before), (after, "next")):
        if isinstance(trial, FailedTrial):
            return f"the {which} trial failed: {trial.failure}"
    longest = max((each.ended_ns - each.started_ns) / 1e9 for each in trials)
    if longest > LIMIT_S:
        return f"a trial lasted {longest:.1f} s"
    if isinstance(case.cell, EndsWell):
        return None if isinstance(struck, Trial) else f"it failed: {struck.failure}"
    if not isinstance(struck, FailedTrial):
        return f"it answered, where {case.cell} is due"
    failure = struck.failure
    due = case.cell if isinstance(case.cell, FailsLater) else FailsLater(case.row.stage, case.cell)
    if (failure.stage, failure.kind) != (due.stage, due.kind):
        return f"{case.cell} is due, and it ended as {failure}"
    status = HTTP_STATUS_FAULTS.get(case.fault) if isinstance(case.fault, F) else None
    if failure.status != status and status is not None:
        return f"the status {status} is not told: {failure}"
    if not failure.message or key in failure.message:
        return f"the message is empty or tells the key: {failure}"
    return None


def play_case(config: GatewayConfig, name: str) -> str | None:
    """Play a cell on virtual time; return what is wrong with it."""
    case = _CASES[name]
    return _verdict(case, on_virtual_time(partial(_play, config, case)), config.key)
