"""Deployments that scale to zero: they are woken before anything is measured, and found asleep."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import aiohttp
import pytest

from harness.analysis.turn.disturbance import disturbance, select
from harness.domain.boot import Boot, Tell
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.drivers.boots import sleepers, wake
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.runner.running import run_suite
from harness.store.runs.decode import decode_trial
from harness.store.runs.encode import encode_trial
from tests.pipeline.playing import DATASET, playable

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

PROFILES = """
["boots"]
base = "exact"
boot = 2500

["boots-http"]
base = "exact"
boot = 2500

["dozes-10"]
base = "exact"
boot = 2500
sleeps_after_s = 2

["dozes-1.5"]
base = "exact"
boot = 8000
sleeps_after_s = 2

["never"]
base = "exact"
boot = 600000
"""


@pytest.fixture(scope="module")
def sleeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose deployments boot in two and a half seconds."""
    profiles = tmp_path_factory.mktemp("boots") / "profiles.toml"
    profiles.write_text(PROFILES, encoding="utf-8")
    config = GatewayConfig(
        seed=11, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=profiles
    )
    with start_gateway(config) as process:
        yield process


def _stage(model: str, profile: str, **options: Any) -> StageSettings:
    return StageSettings(provider="baseten", model=model, profile=profile, options=options)


def _candidate(profile: str = "boots", tts: Mapping[str, Any] | None = None) -> Candidate:
    return Candidate(
        name="sleeper",
        stt=_stage("whisper", profile),
        llm=_stage("moonshotai/Kimi-K2-Instruct", profile),
        tts=_stage("orpheus", profile, **(tts or {})),
    )


class _Measured:
    """A performer over the gateway, and what it needs around it."""

    def __init__(self, gateway: GatewayProcess, chosen: Candidate, **changes: Any) -> None:
        session = SessionOptions(request_timeout_s=changes.pop("request_timeout_s", 10.0))
        self.suite = Suite(
            name="test",
            datasets=(DatasetChoice(path="starter"),),
            candidates=(chosen,),
            session=session,
            timeouts=Timeouts(hang_up_s=0.1, **changes),
        )
        self.watch = Watch()
        place = Place(
            via=Via.GATEWAY,
            options=session,
            gateway=f"http://127.0.0.1:{gateway.port}",
            gateway_key=gateway.key,
        )
        self.performer = SessionPerformer(
            chosen, self.suite, place=place, watch=self.watch, redact=lambda text: text
        )

    async def __aenter__(self) -> Self:
        await self.watch.start()
        await self.performer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.performer.aclose()
        await self.watch.aclose()


async def test_each_stage_is_woken_before_it_is_measured(sleeping: GatewayProcess) -> None:
    """STT, LLM and TTS boot at once, each recorded as cold; asked again they are warm."""
    told: list[str] = []
    async with _Measured(sleeping, _candidate()) as measured:
        began = time.perf_counter_ns()
        boots = await measured.performer.boot(told.append)
        took_s = (time.perf_counter_ns() - began) / 1e9
        assert {each.stage for each in boots} == {Stage.STT, Stage.LLM, Stage.TTS}
        for each in boots:
            assert each.provider == "baseten"
            assert each.cold
            assert each.ready
            assert 2.4 < each.seconds < took_s + 0.1
        again = await measured.performer.boot(told.append)
        assert [each.cold for each in again] == [False] * 3
        utterance = playable("kal16-timer")
        key = TrialKey(candidate="sleeper", utterance=utterance.utterance.id, repeat=0, order=0)
        trial, _ = await measured.performer.perform(key, _candidate(), utterance)
        assert isinstance(trial, Trial), trial.failure
        assert measured.performer.boots_seen(trial) == ()


async def test_a_client_that_gives_up_early_is_asked_again(sleeping: GatewayProcess) -> None:
    """Where a client's own time-out is shorter than the boot, the deployment is asked until up."""
    chosen = Candidate(name="sleeper", tts=_stage("orpheus", "boots-http", transport="http"))
    async with _Measured(sleeping, chosen, request_timeout_s=1.0) as measured:
        clients = measured.performer._clients
        speaker: Any = clients.tts
        # The plugin's 30 s, in proportion.
        session = speaker._session
        post = session.post

        def impatient(*args: Any, **kwargs: Any) -> Any:
            return post(*args, **{**kwargs, "timeout": aiohttp.ClientTimeout(total=0.8)})

        session.post = impatient
        (boot,) = await wake(
            clients,
            sleepers(chosen, emulated=True),
            limit_s=measured.suite.timeouts.boot_s,
            ask_s=30.0,
            tell=lambda _: None,
        )
        assert boot.cold
        assert boot.ready
        assert boot.asks > 1
        assert 2.0 < boot.seconds < 20


async def test_waiting_is_shown_and_has_an_end(sleeping: GatewayProcess) -> None:
    """What never comes up is given up at its limit, having been named every second till then."""
    told: list[str] = []
    chosen = Candidate(name="sleeper", stt=_stage("qwen3-asr", "never"))
    async with _Measured(sleeping, chosen, boot_s=5.5) as measured:
        (boot,) = await measured.performer.boot(told.append)
    assert not boot.ready
    assert 5 <= boot.seconds < 12
    assert told
    assert told[0].startswith("waiting for baseten stt to boot, ")
    assert told[0].endswith("s of 6 s")


class _Pausing:
    """A performer that lets the deployment fall asleep before the second planned trial."""

    def __init__(self, inner: SessionPerformer) -> None:
        self._inner = inner

    async def start(self) -> Mapping[str, Any]:
        return await self._inner.start()

    async def boot(self, tell: Tell) -> tuple[Boot, ...]:
        return await self._inner.boot(tell)

    def boots_seen(self, trial: Trial | FailedTrial) -> tuple[Boot, ...]:
        return self._inner.boots_seen(trial)

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        if key.order == 1 and key.attempt == 0:
            await asyncio.sleep(2.2)
        return await self._inner.perform(key, candidate, utterance)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("patience_s", [10.0, 1.5], ids=["waited-out", "failed"])
async def test_a_sleeper_in_mid_run_is_found_and_measured_again(
    sleeping: GatewayProcess, patience_s: float
) -> None:
    """A trial that met a boot is kept with it and performed again, and warm figures lack it."""
    chosen = Candidate(
        name="sleeper",
        stt=_stage("whisper", f"dozes-{patience_s:g}"),
        llm=StageSettings(provider="openadapter", profile="exact"),
        tts=StageSettings(provider="openadapter", profile="exact"),
    )
    stored: list[Trial | FailedTrial] = []
    endpoints: list[Mapping[str, Mapping[str, Any]]] = []
    utterance = playable("kal16-timer")
    name = utterance.utterance.id
    measured = _Measured(sleeping, chosen, request_timeout_s=patience_s)
    # Asleep at the start, also where the test is repeated.
    await asyncio.sleep(2.2)
    await measured.watch.start()
    try:
        outcome = await run_suite(
            measured.suite,
            [
                TrialKey(candidate="sleeper", utterance=name, repeat=each, order=each)
                for each in range(2)
            ],
            performers={"sleeper": _Pausing(measured.performer)},
            utterances={name: utterance},
            sink=lambda trial, _: stored.append(trial),
            disturbed=disturbance,
            started=endpoints.append,
        )
    finally:
        await measured.watch.aclose()
    assert outcome.reruns >= 1
    assert [each.cold for each in endpoints[0]["sleeper"]["boots"]] == [True]
    met = [trial for trial in stored if trial.boots]
    assert [trial.key.order for trial in met] == [1]
    assert met[0].boots[0].stage is Stage.STT
    assert met[0].boots[0].cold
    assert isinstance(met[0], FailedTrial) is (patience_s < 2)
    again = decode_trial(encode_trial(met[0]))
    assert [each.text for each in again.boots] == [each.text for each in met[0].boots]
    sorted_out = select(stored)
    assert met[0] in sorted_out.everything
    assert met[0] not in sorted_out.main
    assert all(isinstance(trial, Trial) for trial in sorted_out.main)
