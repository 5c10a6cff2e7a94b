"""OpenAdapter: Parakeet, chat models and Kokoro's voices behind one base URL."""

from types import MappingProxyType
from typing import Final

from harness.domain.providers.spec import (
    CHAT_OPTIONS,
    SPEECH_OPTIONS,
    EnvironmentKey,
    ProviderSpec,
    StageSpec,
)
from harness.domain.timeline import Stage

__all__ = ["SPEC"]

SPEC: Final = ProviderSpec(
    name="openadapter",
    title="OpenAdapter",
    keys=(
        EnvironmentKey(
            name="OPENADAPTER_BASE_URL",
            purpose="base URL of LLM and TTS",
            default="https://api.openadapter.in/v1",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
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
                keys=(
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
                ),
            ),
            Stage.LLM: StageSpec(
                default_model="Kimi-K2.5",
                model_variable="OPENADAPTER_LLM_MODEL",
                models=("Kimi-K2.5", "GLM-5.2", "GLM-5.1", "GLM-5"),
                options=CHAT_OPTIONS,
                keys=(
                    EnvironmentKey(
                        name="OPENADAPTER_API_KEY",
                        purpose="key of LLM and TTS",
                        required=True,
                        secret=True,
                    ),
                ),
            ),
            Stage.TTS: StageSpec(
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
                keys=(
                    EnvironmentKey(
                        name="OPENADAPTER_API_KEY",
                        purpose="key of LLM and TTS",
                        required=True,
                        secret=True,
                    ),
                ),
            ),
        }
    ),
)
