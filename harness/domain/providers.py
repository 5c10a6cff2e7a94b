"""What providers there are and what settings they know: a literal table.

The table is data, so that a suite can be checked, a plan printed and help shown without importing
livekit. ``harness.pipeline.providers`` builds livekit plugins from it, one module for each
provider.
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
        instead: a variable that, where it is set, is read in place of this one.
    """

    name: str
    purpose: str
    required: bool = False
    secret: bool = False
    default: str | None = None
    instead: str | None = None


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
_INFERENCE_KEYS = (
    EnvironmentKey(
        name="LIVEKIT_API_KEY",
        purpose="key",
        required=True,
        secret=True,
        instead="LIVEKIT_INFERENCE_API_KEY",
    ),
    EnvironmentKey(
        name="LIVEKIT_API_SECRET",
        purpose="secret that signs the access tokens",
        required=True,
        secret=True,
        instead="LIVEKIT_INFERENCE_API_SECRET",
    ),
    EnvironmentKey(name="LIVEKIT_INFERENCE_API_KEY", purpose="key of inference alone", secret=True),
    EnvironmentKey(
        name="LIVEKIT_INFERENCE_API_SECRET", purpose="secret of inference alone", secret=True
    ),
    EnvironmentKey(
        name="LIVEKIT_INFERENCE_URL",
        purpose="base URL",
        default="https://agent-gateway.livekit.cloud/v1",
    ),
)
_SPEECH_OPTIONS = MappingProxyType(
    {"speed": "float", "instructions": "str", "response_format": "str"}
)

_SPEKO_OPTIONS = MappingProxyType(
    {
        "language": "str",
        "region": "str",
        "optimize_for": "str",
        "allowed_providers": "mapping",
    }
)

_DEPLOYMENT_OPTIONS = MappingProxyType(
    {"dialect": "str", "endpoint": "str", "model_id": "str", "chain_id": "str"}
)
_BASETEN_ENDPOINT = EnvironmentKey(
    name="BASETEN_MODEL_ENDPOINT",
    purpose="address of the deployment, where the stage names none",
)

PROVIDERS: Mapping[str, ProviderSpec] = MappingProxyType(
    {
        "baseten": ProviderSpec(
            name="baseten",
            title="Baseten",
            note="Recognition and synthesis are deployments of one's own: each stage names its own "
            "by endpoint, model_id or chain_id. One that is scaled to zero takes minutes to boot: "
            "raise request_timeout_s and transcript_s for that, or warm it up beforehand.",
            keys=(
                EnvironmentKey(name="BASETEN_API_KEY", purpose="key", required=True, secret=True),
            ),
            stages=MappingProxyType(
                {
                    Stage.STT: StageSpec(
                        default_model="whisper",
                        models=("whisper", "qwen3-asr"),
                        options=MappingProxyType(
                            {
                                **_DEPLOYMENT_OPTIONS,
                                "language": "str",
                                "language_options": "list",
                                "partials": "bool",
                                "partial_interval_s": "float",
                                "max_duration_s": "int",
                                "word_timestamps": "bool",
                                "vad_threshold": "float",
                                "vad_min_silence_ms": "int",
                                "vad_speech_pad_ms": "int",
                                "end_of_speech": "bool",
                            }
                        ),
                        keys=(_BASETEN_ENDPOINT,),
                    ),
                    Stage.LLM: StageSpec(
                        default_model="moonshotai/Kimi-K2-Instruct",
                        models=(
                            "deepseek-ai/DeepSeek-R1",
                            "deepseek-ai/DeepSeek-V3-0324",
                            "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
                            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
                            "moonshotai/Kimi-K2-Instruct",
                            "openai/gpt-oss-120b",
                            "Qwen/Qwen3-235B-A22B-Instruct-2507",
                            "Qwen/Qwen3.8-27B",
                        ),
                        options=MappingProxyType({"base_url": "str", **_CHAT_OPTIONS}),
                    ),
                    Stage.TTS: StageSpec(
                        default_model="orpheus",
                        default_voice="tara",
                        models=("orpheus", "qwen3-tts"),
                        options=MappingProxyType(
                            {
                                **_DEPLOYMENT_OPTIONS,
                                "transport": "str",
                                "language": "str",
                                "temperature": "float",
                                "max_tokens": "int",
                                "buffer_size": "int",
                                "task_type": "str",
                                "instructions": "str",
                                "max_new_tokens": "int",
                                "initial_codec_chunk_frames": "int",
                                "x_vector_only_mode": "bool",
                                "ref_audio": "str",
                                "ref_text": "str",
                                "word_timestamps": "bool",
                                "extra": "mapping",
                            }
                        ),
                        keys=(_BASETEN_ENDPOINT,),
                    ),
                }
            ),
        ),
        "livekit": ProviderSpec(
            name="livekit",
            title="LiveKit Inference",
            note="Models are named provider/model, an STT's as provider/model:language too and a "
            "TTS's as provider/model:voice; what is the vendor's own goes into extra.",
            keys=_INFERENCE_KEYS,
            stages=MappingProxyType(
                {
                    Stage.STT: StageSpec(
                        default_model="deepgram/nova-3",
                        models=(
                            "auto",
                            "assemblyai/u3-rt-pro",
                            "assemblyai/universal-streaming",
                            "assemblyai/universal-streaming-multilingual",
                            "cartesia/ink-2",
                            "cartesia/ink-whisper",
                            "deepgram/flux-general",
                            "deepgram/nova-2",
                            "deepgram/nova-3",
                            "deepgram/nova-3-medical",
                            "google/gemini-3.5-transcribe-live",
                            "inworld/inworld-stt-1",
                            "openai/gpt-live-transcribe",
                            "speechmatics/enhanced",
                            "speechmatics/standard",
                            "xai/stt-1",
                        ),
                        options=MappingProxyType(
                            {"language": "str", "extra": "mapping", "fallback": "list"}
                        ),
                    ),
                    Stage.LLM: StageSpec(
                        default_model="moonshotai/kimi-k2.6",
                        models=(
                            "deepseek-ai/deepseek-v3.2",
                            "google/gemini-2.5-flash-lite",
                            "moonshotai/kimi-k2.5",
                            "moonshotai/kimi-k2.6",
                            "openai/gpt-4.1-mini",
                            "openai/gpt-4o",
                            "openai/gpt-oss-120b",
                            "zai/glm-5.1",
                        ),
                        options=MappingProxyType(
                            {
                                "provider": "str",
                                "inference_class": "str",
                                "extra": "mapping",
                                **_CHAT_OPTIONS,
                            }
                        ),
                    ),
                    Stage.TTS: StageSpec(
                        default_model="cartesia/sonic-3",
                        models=(
                            "cartesia/sonic-2",
                            "cartesia/sonic-3",
                            "cartesia/sonic-3.5",
                            "cartesia/sonic-turbo",
                            "deepgram/aura",
                            "deepgram/aura-2",
                            "fishaudio/s2.1-pro",
                            "inworld/inworld-tts-1.5-max",
                            "inworld/inworld-tts-1.5-mini",
                            "inworld/inworld-tts-2",
                            "rime/coda",
                            "rime/mistv3",
                            "xai/tts-1",
                        ),
                        options=MappingProxyType(
                            {"language": "str", "extra": "mapping", "fallback": "list"}
                        ),
                    ),
                }
            ),
        ),
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
        "speko": ProviderSpec(
            name="speko",
            title="Speko",
            note="A router: model auto lets it choose, vendor:model allows that one alone. Its "
            "OpenAI-like router is the provider openai with base_url https://api.speko.ai/v1, "
            "api_key_variable and extra_headers such as X-Speko-Objective.",
            keys=(
                EnvironmentKey(
                    name="SPEKO_API_KEY", purpose="platform key", required=True, secret=True
                ),
                EnvironmentKey(
                    name="SPEKO_BASE_URL", purpose="base URL", default="https://api.speko.dev"
                ),
            ),
            stages=MappingProxyType(
                {
                    Stage.STT: StageSpec(
                        default_model="auto",
                        models=("auto",),
                        options=MappingProxyType(
                            {**_SPEKO_OPTIONS, "keywords": "list", "stt_language": "str"}
                        ),
                    ),
                    Stage.LLM: StageSpec(
                        default_model="auto",
                        models=("auto",),
                        options=MappingProxyType(
                            {
                                **_SPEKO_OPTIONS,
                                "temperature": "float",
                                "max_tokens": "int",
                                "reasoning_effort": "str",
                                "max_tool_hops": "int",
                                "buffered": "bool",
                            }
                        ),
                    ),
                    Stage.TTS: StageSpec(
                        default_model="auto",
                        models=("auto",),
                        options=MappingProxyType(
                            {**_SPEKO_OPTIONS, "speed": "float", "instructions": "str"}
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
                                "keywords": "list",
                                "realtime": "bool",
                                "turn_detection": "mapping",
                                "noise_reduction": "str",
                                "extra_headers": "mapping",
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
                            {
                                "base_url": "str",
                                "api_key_variable": "str",
                                "extra_headers": "mapping",
                                **_SPEECH_OPTIONS,
                            }
                        ),
                    ),
                }
            ),
        ),
    }
)
