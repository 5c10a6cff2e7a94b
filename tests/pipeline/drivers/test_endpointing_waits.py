"""The silence that a provider was told to wait for is endpointing, and no recognition."""

import json
from typing import Any

import pytest

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import Trial
from harness.pipeline.providers.livekit_inference import _listen_dialect
from harness.pipeline.transport.socket_reading import Silence
from tests.pipeline.playing import part_ms, play, playable

STATED_MS = 450
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "livekit": ("livekit", "deepgram/nova-3", {"extra": {"endpointing": STATED_MS}}),
    "whisper": ("baseten", "whisper", {"vad_min_silence_ms": STATED_MS}),
    "qwen3-asr": ("baseten", "qwen3-asr", {"vad_min_silence_ms": STATED_MS}),
}


@pytest.mark.realtime
@pytest.mark.timing
@pytest.mark.timeout(90)
@pytest.mark.parametrize("way", WAYS)
async def test_a_stated_silence_is_told_apart(address: tuple[str, str], way: str) -> None:
    """It is as long as was stated; what comes after is the provider's computation."""
    provider, model, options = WAYS[way]
    chosen = Candidate(
        name=way,
        stt=StageSettings(provider=provider, model=model, profile="exact", options=options),
        llm=StageSettings(provider="openadapter", profile="exact"),
        tts=StageSettings(provider="openadapter", profile="exact"),
    )
    found = await play(
        *address, chosen, [playable("kal16-timer")] * 3, timeouts=Timeouts(hang_up_s=0.1)
    )
    trials = [each for each in found if isinstance(each, Trial)]
    assert len(trials) >= 2, [getattr(each, "failure", None) for each in found]
    for trial in trials:
        assert part_ms(trial, "provider_silence") == pytest.approx(STATED_MS, abs=0.001)
        heard = next(each for each in trial.turns[0].requests if each.stage is Stage.STT)
        assert heard.facts["endpointing_silence_ms"] == STATED_MS
    # The gateway computes for 100 ms; a frame that left late by a busy machine is taken off that.
    assert 99 <= min(part_ms(each, "stt") for each in trials) < 130


@pytest.mark.parametrize(
    ("model", "extra", "stated"),
    [
        ("deepgram/nova-3", {"endpointing": 25}, Silence(shortest_ms=25)),
        ("deepgram/flux-general-en", {"eot_timeout_ms": 5000}, Silence(longest_ms=5000)),
        ("deepgram/nova-3", {"endpointing": False, "punctuate": True}, None),
        (
            "assemblyai/universal-streaming",
            {"min_end_of_turn_silence_when_confident": 160, "max_turn_silence": 2400},
            Silence(shortest_ms=160, longest_ms=2400),
        ),
        (
            "speechmatics/enhanced",
            {"end_of_utterance_silence_trigger": 0.7},
            Silence(shortest_ms=700),
        ),
        ("xai/stt-1", {"endpointing": "soon"}, None),
        ("elevenlabs/scribe", {"endpointing": 300}, None),
    ],
)
def test_each_vendor_s_option_is_known(
    model: str, extra: dict[str, Any], stated: Silence | None
) -> None:
    """What the client really sent says how long the vendor waits, in the vendor's own unit."""
    message = {"type": "session.create", "model": model, "settings": {"extra": extra}}
    assert _listen_dialect(16_000).silence(json.dumps(message)) == stated
    assert _listen_dialect(16_000).silence("no JSON") is None
