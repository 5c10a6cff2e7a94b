"""What providers there are and what settings they know: a literal table.

The table is data, so that a suite can be checked, a plan printed and help shown without importing
livekit. ``harness.pipeline.providers`` builds livekit plugins from it, one module for each provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.domain.timeline import Stage

__all__ = ["PROVIDERS", "EnvironmentKey", "ProviderSpec", "StageSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentKey:
    """An environment variable that a provider reads.

    Attributes:
        name: the variable.
        purpose: what it holds, in a few words.
        required: it cannot be left out when live.
        secret: its value is never shown, written or logged.
        default: what stands in for it.
    """

    name: str
    purpose: str
    required: bool = False
    secret: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage that a provider offers.

    Attributes:
        default_model: used where neither the suite nor the environment names one.
        model_variable: the environment variable that names the model.
        voice_variable: the environment variable that names the voice.
        default_voice: for the TTS.
        options: each further setting and its type ("str", "int", "float", "bool", "mapping").
        models: names known to be offered; others are passed through.
        voices: likewise.
        keys: environment variables of this stage beside the provider's own.
    """

    default_model: str | None
    model_variable: str | None = None
    voice_variable: str | None = None
    default_voice: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    models: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    keys: tuple[EnvironmentKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """A provider.

    Attributes:
        name: as a suite names it.
        title: as a report names it.
        stages: what it offers.
        keys: the environment variables it reads.
        note: what a user must know, in a sentence.
    """

    name: str
    title: str
    stages: Mapping[Stage, StageSpec]
    keys: tuple[EnvironmentKey, ...] = ()
    note: str = ""


_CHAT_OPTIONS = MappingProxyType(
    {
        "temperature": "float",
        "top_p": "float",
        "max_completion_tokens": "int",
        "reasoning_effort": "str",
        "service_tier": "str",
        "extra_headers": "mapping",
        "extra_body": "mapping",
    }
)
_SPEECH_OPTIONS = MappingProxyType(
    {"speed": "float", "instructions": "str", "response_format": "str"}
)

PROVIDERS: Mapping[str, ProviderSpec] = MappingProxyType(
    {
        "openadapter": ProviderSpec(
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
                        models=("nvidia/parakeet-tdt-0.6b-v2",),
                        options=MappingProxyType({"language": "str", "mode": "str"}),
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
                        options=_CHAT_OPTIONS,
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
                        options=_SPEECH_OPTIONS,
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
        ),
        "openai": ProviderSpec(
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
                            }
                        ),
                    ),
                    Stage.LLM: StageSpec(
                        default_model="gpt-4.1-mini",
                        options=MappingProxyType(
                            {"base_url": "str", "api_key_variable": "str", **_CHAT_OPTIONS}
                        ),
                    ),
                    Stage.TTS: StageSpec(
                        default_model="tts-1",
                        default_voice="alloy",
                        voices=("alloy", "echo", "fable", "onyx", "nova", "shimmer"),
                        options=MappingProxyType(
                            {"base_url": "str", "api_key_variable": "str", **_SPEECH_OPTIONS}
                        ),
                    ),
                }
            ),
        ),
    }
)
