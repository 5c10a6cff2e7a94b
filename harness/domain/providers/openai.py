"""OpenAI, and every server that speaks its protocols."""

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
    name="openai",
    title="OpenAI-compatible",
    note="Any endpoint that speaks OpenAI's protocols: name it with base_url.",
    keys=(
        EnvironmentKey(name="OPENAI_API_KEY", purpose="key", required=True, secret=True),
        EnvironmentKey(
            name="OPENAI_BASE_URL",
            purpose="base URL",
            default="https://api.openai.com/v1",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                default_model="gpt-4o-mini-transcribe",
                options=MappingProxyType(
                    {
                        "base_url": "str",
                        "api_key_variable": "str",
                        "language": "str",
                        "prompt": "str",
                        "keywords": "list",
                        "realtime": "bool",
                        "turn_detection": "mapping",
                        "noise_reduction": "near_field|far_field",
                        "temperature": "float",
                        "extra_headers": "mapping",
                        "extra_body": "mapping",
                    }
                ),
            ),
            Stage.LLM: StageSpec(
                default_model="gpt-4.1-mini",
                options=MappingProxyType(
                    {"base_url": "str", "api_key_variable": "str", **CHAT_OPTIONS}
                ),
            ),
            Stage.TTS: StageSpec(
                default_model="tts-1",
                default_voice="alloy",
                voices=("alloy", "echo", "fable", "onyx", "nova", "shimmer"),
                options=MappingProxyType(
                    {
                        "base_url": "str",
                        "api_key_variable": "str",
                        **SPEECH_OPTIONS,
                    }
                ),
            ),
        }
    ),
)
