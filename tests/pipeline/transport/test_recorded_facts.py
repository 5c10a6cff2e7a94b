"""What is recorded of each request: connection, distance, names, usage, by provider and stage.

Each row states what the provider's protocol tells; what it does not tell cannot be recorded, and a
row that leaves a fact out says so.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import Request
from harness.domain.suite import SessionOptions
from harness.domain.timeline import Stage
from harness.domain.trial import Trial
from harness.pipeline.drivers.stage import StagePerformer
from harness.store.runs.decode import decode_trial
from harness.store.runs.encode import encode_trial
from tests.pipeline.playing import Played, play, playable

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

UTTERANCE = "slt-stop"
CHAT = frozenset(
    {
        "model",
        "request_id",
        "usage.prompt_tokens",
        "usage.completion_tokens",
        "usage.prompt_tokens_details.cached_tokens",
        "finish_reason",
    }
)
SPOKEN = frozenset({"characters", "audio_seconds", "bytes"})
ROUTED = frozenset({"route.provider", "route.model", "route.failover_count", "served_by"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A provider's stage, and what must stand in its request.

    Attributes:
        stage: which.
        provider, model, profile, options: the candidate's settings.
        facts: beside the endpoint, the status and the number of attempts.
        reused: the second trial's connection is the first one's.
        status: of an answer.
    """

    stage: Stage
    provider: str
    facts: frozenset[str]
    model: str | None = None
    profile: str = "instant"
    options: Mapping[str, Any] = field(default_factory=dict)
    reused: bool = True
    status: int | None = 200


CASES = {
    # Parakeet's protocol names no model; a request is told apart by the plugin's own count.
    "openadapter-parakeet": Case(
        stage=Stage.STT,
        provider="openadapter",
        facts=frozenset({"request_id", "audio_seconds"}),
        status=None,
    ),
    "openadapter-whisper": Case(
        stage=Stage.STT,
        provider="openadapter",
        options={"mode": "rest"},
        facts=frozenset({"request_id", "audio_seconds"}),
    ),
    "openadapter-llm": Case(stage=Stage.LLM, provider="openadapter", facts=CHAT),
    "openadapter-tts": Case(stage=Stage.TTS, provider="openadapter", facts=SPOKEN | {"request_id"}),
    "openai-rest": Case(
        stage=Stage.STT, provider="openai", facts=frozenset({"request_id", "audio_seconds"})
    ),
    # The plugin opens a socket for each stream.
    "openai-realtime": Case(
        stage=Stage.STT,
        provider="openai",
        options={"realtime": True},
        facts=frozenset(
            {
                "request_id",
                "session_id",
                "audio_seconds",
                "usage.input_tokens",
                "usage.output_tokens",
            }
        ),
        reused=False,
        status=101,
    ),
    "openai-chat": Case(stage=Stage.LLM, provider="openai", facts=CHAT),
    "openai-speech-audio": Case(
        stage=Stage.TTS, provider="openai", model="tts-1", facts=SPOKEN | {"request_id"}
    ),
    "openai-speech-sse": Case(
        stage=Stage.TTS,
        provider="openai",
        model="gpt-4o-mini-tts",
        facts=SPOKEN | {"request_id", "usage.input_tokens", "usage.output_tokens"},
    ),
    "livekit-stt": Case(
        stage=Stage.STT,
        provider="livekit",
        facts=frozenset({"request_id", "session_id", "audio_seconds"}),
        reused=False,
        status=101,
    ),
    "livekit-llm": Case(
        stage=Stage.LLM,
        provider="livekit",
        facts=CHAT | {"x-livekit-inference-rpm-used", "x-livekit-inference-tpm-used"},
    ),
    "livekit-tts": Case(
        stage=Stage.TTS,
        provider="livekit",
        facts=SPOKEN | {"request_id", "session_id"},
        status=101,
    ),
    # Baseten's deployments name neither model nor request.
    "baseten-whisper": Case(
        stage=Stage.STT,
        provider="baseten",
        model="whisper",
        facts=frozenset({"audio_seconds"}),
        reused=False,
        status=101,
    ),
    "baseten-qwen3-asr": Case(
        stage=Stage.STT,
        provider="baseten",
        model="qwen3-asr",
        facts=frozenset({"audio_seconds", "language"}),
        reused=False,
        status=101,
    ),
    "baseten-orpheus-socket": Case(
        stage=Stage.TTS,
        provider="baseten",
        model="orpheus",
        facts=SPOKEN,
        reused=False,
        status=101,
    ),
    "baseten-orpheus-http": Case(
        stage=Stage.TTS,
        provider="baseten",
        model="orpheus",
        options={"transport": "http"},
        facts=SPOKEN,
    ),
    "baseten-qwen3-tts": Case(
        stage=Stage.TTS,
        provider="baseten",
        model="qwen3-tts",
        facts=SPOKEN | {"session_id", "request_id"},
        status=101,
    ),
    "baseten-llm": Case(stage=Stage.LLM, provider="baseten", facts=CHAT),
    "speko-stt": Case(
        stage=Stage.STT,
        provider="speko",
        profile="routed",
        facts=ROUTED | {"model", "request_id", "audio_seconds", "route.scores_run_id"},
    ),
    # Speko's events tell no cached tokens.
    "speko-llm": Case(
        stage=Stage.LLM,
        provider="speko",
        profile="routed",
        facts=(CHAT - {"usage.prompt_tokens_details.cached_tokens"})
        | ROUTED
        | {"route.scores_run_id"},
    ),
    "speko-tts": Case(
        stage=Stage.TTS,
        provider="speko",
        profile="routed",
        facts=ROUTED | SPOKEN | {"request_id", "route.scores_run_id", "model"},
    ),
}


async def _twice(address: tuple[str, str], case: Case, **options: Any) -> list[Played]:
    settings = StageSettings(
        provider=case.provider, model=case.model, profile=case.profile, options=case.options
    )
    chosen = Candidate(name="x", **{case.stage.value: settings})  # type: ignore[arg-type]
    session = SessionOptions(**options)
    utterances = [playable(UTTERANCE), playable(UTTERANCE)]
    return await play(*address, chosen, utterances, performer=StagePerformer, session=session)


def _only(trial: Played) -> Request:
    assert isinstance(trial, Trial), trial.failure
    (request,) = trial.turns[0].requests
    return request


@pytest.fixture(scope="module")
def played() -> dict[str, list[Played]]:
    """What each case's two trials left, once they have been played."""
    return {}


async def _played(
    played: dict[str, list[Played]], address: tuple[str, str], name: str
) -> list[Played]:
    if not played:
        # All at once: nothing here is timed.
        found = await asyncio.gather(*(_twice(address, case) for case in CASES.values()))
        played.update(zip(CASES, found, strict=True))
    return played[name]


@pytest.mark.parametrize("name", CASES)
async def test_a_provider_tells(
    address: tuple[str, str], played: dict[str, list[Played]], name: str
) -> None:
    """Every trial records how its connection was had, how far away it ends, and what was told."""
    case = CASES[name]
    trials = await _played(played, address, name)
    cold, warm = (_only(trial) for trial in trials)
    assert cold.connection is not None
    assert warm.connection is not None
    assert not cold.connection.reused
    assert cold.connection.rtt_ns is not None
    assert cold.connection.rtt_ns > 0
    assert warm.connection.reused is case.reused
    for request in (cold, warm):
        connection = request.connection
        assert connection is not None
        assert connection.path_rtt_ns is not None, "the kernel was not asked"
        assert 0 < connection.path_rtt_ns < 50_000_000
        assert request.stage is case.stage
        assert request.attempts == ()
        facts = request.facts
        assert facts["endpoint"] == "127.0.0.1"
        assert facts.get("attempts", 1) == 1
        assert facts.get("status") == case.status
        missing = case.facts - set(facts)
        assert not missing, f"{name} lacks {sorted(missing)} among {sorted(facts)}"
        for fact in case.facts - {"route.failover_count"}:
            assert facts[fact] not in (None, ""), fact
        if "audio_seconds" in case.facts:
            assert 0.5 < facts["audio_seconds"] < 10
    assert cold.facts.get("request_id") != warm.facts.get("request_id") or (
        "request_id" not in case.facts
    )


@pytest.mark.parametrize("name", CASES)
async def test_it_is_stored(
    address: tuple[str, str], played: dict[str, list[Played]], name: str
) -> None:
    """A stored trial gives the same facts back."""
    for trial in await _played(played, address, name):
        assert decode_trial(encode_trial(trial)) == trial
