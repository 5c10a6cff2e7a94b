"""OpenAdapter: Parakeet, chat models and Kokoro's voices behind one base URL."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from harness.domain.providers.spec import (
    CHAT_OPTIONS,
    SPEECH_OPTIONS,
    EnvironmentKey,
    KeyCheck,
    ProviderSpec,
    StageSpec,
)
from harness.domain.timeline import Stage

__all__ = ["SPEC", "over_rest"]

_KEY: Final = EnvironmentKey(
    name="OPENADAPTER_API_KEY", purpose="key of LLM, TTS and Whisper", required=True, secret=True
)
_PARAKEET: Final = (
    EnvironmentKey(
        name="PARAKEET_API_KEY",
        purpose="key of the Parakeet WebSocket",
        required=True,
        secret=True,
    ),
    EnvironmentKey(
        name="PARAKEET_WS_URL",
        purpose="address of the Parakeet WebSocket",
        default="wss://edge.openadapter.in/parakeet/v1/audio/stream",
    ),
)


def over_rest(model: str | None, options: Mapping[str, object]) -> bool:
    """Return whether a recogniser is asked over REST: Whisper is, Parakeet streams."""
    mode = options.get("mode")
    return mode == "rest" or (mode is None and (model or "").casefold().startswith("whisper"))


def _hearing_keys(model: str | None, options: Mapping[str, object]) -> tuple[EnvironmentKey, ...]:
    return (_KEY,) if over_rest(model, options) else _PARAKEET


SPEC: Final = ProviderSpec(
    name="openadapter",
    title="OpenAdapter",
    note="Parakeet streams and has a key of its own; a model named whisper-… is asked over REST. "
    "Embeddings are no part of a voice turn and are not measured.",
    keys=(
        EnvironmentKey(
            name="OPENADAPTER_BASE_URL",
            purpose="base URL of LLM and TTS",
            default="https://api.openadapter.in/v1",
        ),
    ),
    key_checks=(
        KeyCheck(
            stages=(Stage.STT,),
            keys=("PARAKEET_API_KEY",),
            address="PARAKEET_WS_URL",
            base_url="wss://edge.openadapter.in/parakeet/v1/audio/stream",
            scheme="token",
        ),
        KeyCheck(
            stages=(Stage.LLM, Stage.TTS),
            keys=("OPENADAPTER_API_KEY",),
            address="OPENADAPTER_BASE_URL",
            base_url="https://api.openadapter.in/v1",
            path="/models",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                does="Parakeet streams, finals alone; Whisper hears whole utterances over REST",
                default_model="nvidia/parakeet-tdt-0.6b-v2",
                models=(
                    "nvidia/parakeet-tdt-0.6b-v2",
                    "whisper-1",
                    "whisper-large-v3",
                    "whisper-large-v3-turbo",
                ),
                options=MappingProxyType(
                    {
                        "mode": "stream|rest",
                        "language": "str",
                        "prompt": "str",
                        "temperature": "float",
                        "extra_headers": "mapping",
                        "extra_body": "mapping",
                    }
                ),
                keys=_PARAKEET,
                keys_for=_hearing_keys,
            ),
            Stage.LLM: StageSpec(
                does="streams; tools",
                default_model="Kimi-K2.5",
                model_variable="OPENADAPTER_LLM_MODEL",
                models=("Kimi-K2.5", "GLM-5.2", "GLM-5.1", "GLM-5"),
                options=CHAT_OPTIONS,
                keys=(_KEY,),
            ),
            Stage.TTS: StageSpec(
                does="each sentence a request, its audio streamed",
                default_model="tts-1",
                model_variable="OPENADAPTER_TTS_MODEL",
                voice_variable="OPENADAPTER_TTS_VOICE",
                default_voice="alloy",
                models=("tts-1",),
                voices=(
                    "alloy",
                    "echo",
                    "fable",
                    "onyx",
                    "nova",
                    "shimmer",
                    "af_heart",
                    "am_adam",
                ),
                options=SPEECH_OPTIONS,
                keys=(_KEY,),
            ),
        }
    ),
)
