"""OpenAI's recognition in the real pipeline: over the realtime socket and over REST."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import Request
from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import read_truth
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from tests.pipeline.playing import DATASET, Played, part_ms, play, playable, unattributed_ms
from tests.pipeline.virtual_gateway import EXACT_MS, answered

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

UTTERANCE = "slt-clock"
TEXT = "What time is it?"
SPOKEN = [playable(UTTERANCE)] * 2
HANG_UP = Timeouts(hang_up_s=0.1)
WAYS: Mapping[str, tuple[str, str | None, Mapping[str, Any]]] = {
    "realtime": ("openai", None, {"realtime": True}),
    "realtime-by-client": ("openai", "gpt-realtime-whisper", {}),
    "rest": ("openai", None, {}),
    "openadapter-rest": ("openadapter", None, {"mode": "rest"}),
}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway's truth goes."""
    return tmp_path_factory.mktemp("openai") / "truth.jsonl"


@pytest.fixture(scope="module")
def hearing(truth: Path) -> Iterator[GatewayProcess]:
    """A gateway with a truth file."""
    config = GatewayConfig(
        seed=11, utterances=DATASET / "manifest.jsonl", recogniser="oracle", truth=truth
    )
    with start_gateway(config) as process:
        yield process


def candidate(way: str, profile: str = "exact", **more: Mapping[str, Any]) -> Candidate:
    """Return a candidate that hears in one of the ways."""
    provider, model, options = WAYS[way]
    return Candidate(
        name=way,
        stt=StageSettings(
            provider=provider,
            model=model,
            profile=profile,
            options={**options, **more.get("stt", {})},
        ),
        llm=StageSettings(provider="openai", profile="exact", options={**more.get("llm", {})}),
        tts=StageSettings(provider="openai", profile="exact", options={**more.get("tts", {})}),
    )


async def performed(
    gateway: GatewayProcess,
    chosen: Candidate,
    *,
    times: int = 1,
    performer: type[Base] = SessionPerformer,
    hang_up_s: float | None = None,
) -> list[Played]:
    """Play an utterance to a candidate."""
    return await play(
        f"http://127.0.0.1:{gateway.port}",
        gateway.key,
        chosen,
        [playable(UTTERANCE)] * times,
        performer=performer,
        timeouts=Timeouts(
            connect_s=5, transcript_s=5, reply_s=8, playout_s=20, hang_up_s=hang_up_s
        ),
    )


def request(trial: Played, stage: Stage) -> Request:
    """Return a trial's first request of one stage."""
    return next(each for each in trial.turns[0].requests if each.stage is stage)


async def asked(truth: Path, protocol: str) -> dict[str, Any]:
    """Return what the gateway was last asked for by a protocol, once it has been written."""
    await asyncio.sleep(0.4)
    found = [
        each for each in read_truth(truth) if each.event == "asked" and each.protocol == protocol
    ]
    told: dict[str, Any] = json.loads(found[-1].detail or "{}")
    return told


@pytest.mark.parametrize("driver", [SessionPerformer, StagePerformer], ids=["session", "stage"])
@pytest.mark.parametrize("way", WAYS)
async def test_it_hears(hearing: GatewayProcess, way: str, driver: type[Base]) -> None:
    """Each way gives the transcript in both drivers, stamped at the socket, twice on one client."""
    found = await performed(hearing, candidate(way), times=2, performer=driver, hang_up_s=0.1)
    for trial in found:
        assert isinstance(trial, Trial), trial.failure
        turn = trial.turns[0]
        finals = [each for each in turn.transcripts if each.kind.value == "final"]
        assert [each.text for each in finals] == [TEXT]
        assert finals[0].received_ns is not None
        line = turn.timeline()
        for earlier, later in (
            (Mark.SPEECH_END, Mark.SPEECH_SENT),
            (Mark.SPEECH_SENT, Mark.FINAL_RECEIVED),
            (Mark.FINAL_RECEIVED, Mark.TRANSCRIPT_FINAL),
        ):
            span = line.span(earlier, later)
            assert span is not None
            assert span.ns >= 0
    connection = request(found[1], Stage.STT).connection
    assert connection is not None
    if "rest" in way:
        assert connection.reused
    if "rest" in way and driver is SessionPerformer:
        assert all(part_ms(trial, "upload") > 0 for trial in found)


@pytest.mark.parametrize("way", ["rest", "openadapter-rest"])
def test_rest_waits_for_the_detector_and_says_so(virtually: ProcessPoolExecutor, way: str) -> None:
    """The detector's silence and the recognition are parts; an upload takes no virtual time."""
    for trial in answered(virtually, candidate(way), SPOKEN, timeouts=HANG_UP):
        assert part_ms(trial, "vad_silence") > 250
        assert part_ms(trial, "stt") == pytest.approx(100, abs=EXACT_MS)
        assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)


async def test_the_server_ends_an_utterance_after_the_stated_silence(
    hearing: GatewayProcess, truth: Path
) -> None:
    """The detector's settings reach the server, which waits as long as they say."""
    detector = {"silence_duration_ms": 600}
    chosen = candidate("realtime", stt={"turn_detection": detector, "language": "en"})
    (trial,) = await performed(hearing, chosen)
    assert isinstance(trial, Trial), trial.failure
    given = await asked(truth, "openai-realtime")
    assert given["turn_detection"]["silence_duration_ms"] == 600
    assert given["transcription"]["language"] == "en"
    span = trial.turns[0].timeline().span(Mark.SPEECH_END, Mark.FINAL_RECEIVED)
    assert span is not None
    # 600 ms of silence and 100 ms of computation; the resampler and the packet come on top.
    assert span.ns > 690e6


def test_the_way_to_the_realtime_socket_is_named(virtually: ProcessPoolExecutor) -> None:
    """Resampler and packet are the client's waits, the silence is endpointing, the rest hearing."""
    chosen = candidate("realtime", stt={"turn_detection": {"silence_duration_ms": 450}})
    for trial in answered(virtually, chosen, SPOKEN, timeouts=HANG_UP):
        # 50 ms at the most for the packet, and for the resampler its filter's and a frame.
        held = part_ms(trial, "resampling") + part_ms(trial, "packet")
        assert 0 < held <= 100 + EXACT_MS
        assert part_ms(trial, "provider_silence") == pytest.approx(450, abs=EXACT_MS)
        assert part_ms(trial, "stt") == pytest.approx(100, abs=EXACT_MS)
        assert request(trial, Stage.STT).facts["endpointing_silence_ms"] == 450
        assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)


def test_a_client_that_ends_utterances_waits_itself(virtually: ProcessPoolExecutor) -> None:
    """The silence that its detector needs is the client's wait, and no time of the provider's."""
    chosen = candidate("realtime-by-client")
    for trial in answered(virtually, chosen, SPOKEN, timeouts=HANG_UP):
        assert part_ms(trial, "vad_silence") > 250
        assert part_ms(trial, "provider_silence") == 0
        assert part_ms(trial, "stt") == pytest.approx(100, abs=EXACT_MS)


async def test_interims_come_over_the_realtime_socket(hearing: GatewayProcess) -> None:
    """Deltas become interim transcripts before the final."""
    (trial,) = await performed(hearing, candidate("realtime", "exact-interims"))
    assert isinstance(trial, Trial), trial.failure
    kinds = [each.kind.value for each in trial.turns[0].transcripts]
    assert kinds[-1] == "final"
    assert "interim" in kinds[:-1]


async def test_usage_is_kept(hearing: GatewayProcess) -> None:
    """Tokens, the item's name and the session's stand with the recognition."""
    (trial,) = await performed(hearing, candidate("realtime"))
    facts = request(trial, Stage.STT).facts
    assert facts["usage.total_tokens"] > 0
    assert facts["request_id"]
    assert facts["session_id"]


async def test_headers_and_fields_pass_through(hearing: GatewayProcess, truth: Path) -> None:
    """What a suite adds for a compatible endpoint reaches it; the tier is answered."""
    chosen = candidate(
        "rest",
        stt={"prompt": "timers", "extra_headers": {"X-Speko-Objective": "accuracy"}},
        llm={
            "extra_headers": {"X-Speko-Objective": "latency", "X-Speko-Allow": "alder"},
            "extra_body": {"top_k": 4, "chat_template_kwargs": {"thinking": False}},
            "reasoning_effort": "low",
            "service_tier": "flex",
            "temperature": 0.2,
        },
        tts={"extra_headers": {"X-Speko-Objective": "cost"}, "instructions": "calmly"},
    )
    (trial,) = await performed(hearing, chosen)
    assert isinstance(trial, Trial), trial.failure
    heard = await asked(truth, "openai-transcriptions")
    assert heard["x-speko-objective"] == "accuracy"
    assert heard["prompt"] == "timers"
    said = await asked(truth, "openai-chat")
    assert said["x-speko-objective"] == "latency"
    assert said["x-speko-allow"] == "alder"
    assert (said["top_k"], said["chat_template_kwargs"]) == (4, {"thinking": False})
    assert (said["reasoning_effort"], said["service_tier"]) == ("low", "flex")
    assert said["temperature"] == 0.2
    spoken = await asked(truth, "openai-speech")
    assert spoken["x-speko-objective"] == "cost"
    assert spoken["instructions"] == "calmly"


async def test_the_openai_like_router_s_route_is_kept(hearing: GatewayProcess) -> None:
    """``x-route`` of each stage stands in the facts, read apart into provider and model."""
    chosen = Candidate(
        name="router",
        stt=StageSettings(provider="openai", profile="routed"),
        llm=StageSettings(
            provider="openai",
            profile="routed",
            options={"extra_headers": {"X-Speko-Allow": "birch"}},
        ),
        tts=StageSettings(provider="openai", profile="routed"),
    )
    (trial,) = await performed(hearing, chosen)
    assert isinstance(trial, Trial), trial.failure
    for stage in (Stage.STT, Stage.LLM, Stage.TTS):
        facts = request(trial, stage).facts
        assert facts["x-route"] == f"{facts['route.provider']}:{facts['route.model']}"
        assert facts["route.provider"] in ("alder", "birch")
        assert facts["x-route-reason"]
        assert facts["route.failover_count"] in (0, 1)
    assert request(trial, Stage.LLM).facts["x-route"] == "birch:chat-slow"
