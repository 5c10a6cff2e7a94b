"""Endpoints that are dead, deaf or no servers at all: each trial ends in time and says why."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from harness.domain.suite import Candidate, SessionOptions, StageSettings, Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial
from harness.domain.trial import FailureKind as K
from harness.pipeline.session import SessionPerformer
from harness.pipeline.stage import StagePerformer
from tests.pipeline.crooked import Manner, crooked, dead_port
from tests.pipeline.playing import Played, play, playable

pytestmark = [pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(120)]

DRIVERS = {"session": SessionPerformer, "stage": StagePerformer}
DEAD = "dead"
EXPECTED: dict[str, dict[Stage, K]] = {
    DEAD: {Stage.STT: K.REFUSED, Stage.LLM: K.REFUSED, Stage.TTS: K.REFUSED},
    Manner.MUTE: {Stage.STT: K.TIMEOUT, Stage.LLM: K.TIMEOUT, Stage.TTS: K.TIMEOUT},
    Manner.STALLED: {Stage.STT: K.TIMEOUT, Stage.LLM: K.TIMEOUT, Stage.TTS: K.TIMEOUT},
    Manner.HANGS_UP: {Stage.STT: K.RESET, Stage.LLM: K.RESET, Stage.TTS: K.RESET},
    Manner.GARBAGE: {Stage.STT: K.MALFORMED, Stage.LLM: K.MALFORMED, Stage.TTS: K.MALFORMED},
}


async def perform(gateway: str, key: str, driver: str, stage: Stage, port: int) -> Played:
    """Play an utterance with one stage at another port than the gateway's."""
    gateway_port = int(gateway.rsplit(":", 1)[1])

    def address(of: Stage) -> str:
        return f"127.0.0.1:{port if of is stage else gateway_port}/exact"

    environment = {
        "PARAKEET_API_KEY": key,
        "PARAKEET_WS_URL": f"ws://{address(Stage.STT)}/parakeet/v1/audio/stream",
        "OPENAI_API_KEY": key,
    }
    chosen = Candidate(
        name="live",
        stt=StageSettings(provider="openadapter"),
        llm=StageSettings(
            provider="openai", options={"base_url": f"http://{address(Stage.LLM)}/v1"}
        ),
        tts=StageSettings(
            provider="openai",
            model="tts-1",
            options={"base_url": f"http://{address(Stage.TTS)}/v1"},
        ),
    )
    (trial,) = await play(
        gateway,
        key,
        chosen,
        [playable("slt-stop")],
        performer=DRIVERS[driver],
        session=SessionOptions(request_timeout_s=2.0),
        timeouts=Timeouts(connect_s=5, transcript_s=4, reply_s=6, playout_s=20),
        live=environment,
    )
    return trial


async def test_every_dead_end(address: tuple[str, str]) -> None:
    """Each way of being no endpoint, at each stage, is a failed trial of that stage in time."""
    cases = [
        (driver, manner, stage, kind)
        for driver in DRIVERS
        for manner, kinds in EXPECTED.items()
        for stage, kind in kinds.items()
    ]
    limit = asyncio.Semaphore(8)
    async with AsyncExitStack() as stack:
        ports = {DEAD: dead_port()}
        for manner in Manner:
            ports[manner] = await stack.enter_async_context(crooked(manner))

        async def one(driver: str, manner: str, stage: Stage, kind: K) -> str | None:
            async with limit:
                trial = await perform(*address, driver, stage, ports[manner])
            name = f"{driver} {stage.value} {manner}"
            if not isinstance(trial, FailedTrial):
                return f"{name}: answered"
            took = (trial.ended_ns - trial.started_ns) / 1e9
            found = (trial.failure.stage, trial.failure.kind)
            if found != (stage, kind) or took > 16 or address[1] in trial.failure.message:
                return f"{name}: wanted {kind}, {trial.failure}, {took:.1f} s"
            return None

        wrong = await asyncio.gather(*(one(*case) for case in cases))
    told = [each for each in wrong if each is not None]
    assert not told, "\n".join(told)
