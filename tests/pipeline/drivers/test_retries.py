"""Requests that were made again: each attempt is kept, and the time lost to it has a name."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest

from harness.analysis.turn.attribution import Waterfall, unattributed_ns, waterfall
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import FailureKind, Request, WaitCause
from harness.domain.suite import SessionOptions
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from harness.store.runs.decode import decode_trial
from harness.store.runs.encode import encode_trial
from tests.pipeline.playing import DATASET, Played, part_ms, play, playable

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

UTTERANCE = "slt-stop"
RETRYING = SessionOptions(max_retries=1, request_timeout_s=3.0)
STAGES = ("stt", "llm", "tts")


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose profiles fail once each, at their first request."""
    profiles = tmp_path_factory.mktemp("retries") / "profiles.toml"
    profiles.write_text(
        "\n".join(
            f'["{name}-once"]\nbase = "exact"\n["{name}-once".{name}]\n'
            f"faults = {{ rates = {{ unavailable = 1.0 }}, first = 1 }}"
            for name in STAGES
        ),
        encoding="utf-8",
    )
    config = GatewayConfig(
        seed=11, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=profiles
    )
    with start_gateway(config) as process:
        yield process


async def _played(
    gateway: GatewayProcess,
    *,
    ears: StageSettings | None = None,
    profiles: Mapping[str, str] = MappingProxyType({}),
) -> Played:
    def stage(name: str) -> StageSettings:
        options = {"mode": "rest"} if name == "stt" else {}
        profile = profiles.get(name, "exact")
        return StageSettings(provider="openadapter", profile=profile, options=options)

    chosen = Candidate(name="x", stt=ears or stage("stt"), llm=stage("llm"), tts=stage("tts"))
    root = f"http://127.0.0.1:{gateway.port}"
    (trial,) = await play(root, gateway.key, chosen, [playable(UTTERANCE)], session=RETRYING)
    return trial


def _request(trial: Trial, stage: Stage) -> Request:
    return next(each for each in trial.turns[0].requests if each.stage is stage)


@pytest.mark.parametrize("name", STAGES)
async def test_a_retry_is_seen(failing: GatewayProcess, name: str) -> None:
    """The failed attempt is kept with its cause; the answer is the last one's; the trial is good.

    The time from the first attempt to the last is a part of the waterfall, named after its cause,
    and nothing of it is left unattributed.
    """
    trial = await _played(failing, profiles={name: f"{name}-once"})
    assert isinstance(trial, Trial), trial.failure
    request = _request(trial, Stage(name))
    (attempt,) = request.attempts
    assert attempt.number == 1
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.SERVER_ERROR
    assert attempt.failure.status == 503
    assert attempt.facts["status"] == 503
    assert attempt.end_ns is not None
    assert request.failure is None
    assert request.facts["attempts"] == 2
    assert request.facts["status"] == 200
    (lost,) = [each for each in request.waits if each.cause is WaitCause.RETRY]
    assert lost.start_ns == attempt.start_ns
    # livekit waits 100 ms before it asks again.
    assert 100 <= (lost.end_ns - lost.start_ns) / 1e6 < 1000
    found = waterfall(trial.turns[0])
    assert isinstance(found, Waterfall)
    assert sum(part.ns for part in found.parts) == found.response_ns
    assert part_ms(trial, "retry") == pytest.approx((lost.end_ns - lost.start_ns) / 1e6, abs=2)
    (part,) = [each for each in found.parts if each.name == "retry"]
    assert part.stage is Stage(name)
    assert unattributed_ns(found) / 1e6 < 50
    assert decode_trial(encode_trial(trial)) == trial


async def test_a_socket_that_had_to_be_dialled_again(failing: GatewayProcess) -> None:
    """A stream's first socket that was refused is an attempt; what came of it is the second's.

    It was dialled again before the caller had spoken, so nothing of the response was lost.
    """
    ears = StageSettings(provider="livekit", profile="stt-once")
    trial = await _played(failing, ears=ears)
    assert isinstance(trial, Trial), trial.failure
    request = _request(trial, Stage.STT)
    (attempt,) = request.attempts
    assert attempt.failure is not None
    assert attempt.failure.status == 503
    assert request.facts["status"] == 101
    assert any(each.cause is WaitCause.RETRY for each in request.waits)
    assert part_ms(trial, "retry") == 0
    assert request.marks == {}
    assert trial.turns[0].marks[Mark.SPEECH_SENT] > attempt.start_ns
