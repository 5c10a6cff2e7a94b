"""LiveKit Inference: every vendor behind one key."""

from types import MappingProxyType
from typing import Final

from harness.domain.livekit_options import chat_options, hearing_options, speaking_options
from harness.domain.providers.spec import (
    CHAT_OPTIONS,
    EnvironmentKey,
    KeyCheck,
    ProviderSpec,
    StageSpec,
)
from harness.domain.timeline import Stage

__all__ = ["SPEC"]

_KEYS: Final = (
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

_OPTIONS: Final = MappingProxyType({"language": "str", "extra": "mapping", "fallback": "list"})

SPEC: Final = ProviderSpec(
    name="livekit",
    title="LiveKit Inference",
    module="livekit_inference",
    note="Models are named provider/model, an STT's as provider/model:language too and a "
    "TTS's as provider/model:voice; what is the vendor's own goes into extra, and fallback lists "
    "models that LiveKit turns to.",
    keys=_KEYS,
    key_checks=(
        KeyCheck(
            stages=(Stage.STT, Stage.LLM, Stage.TTS),
            keys=("LIVEKIT_INFERENCE_API_KEY", "LIVEKIT_API_KEY"),
            secrets=("LIVEKIT_INFERENCE_API_SECRET", "LIVEKIT_API_SECRET"),
            address="LIVEKIT_INFERENCE_URL",
            base_url="https://agent-gateway.livekit.cloud/v1",
            path="/models",
            scheme="signed",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                does="streams; interim and preflight transcripts where the vendor has them",
                default_model="deepgram/nova-3",
                models=(
                    "assemblyai/u3-rt-pro",
                    "assemblyai/universal-3-5-pro",
                    "assemblyai/universal-3-6-pro",
                    "assemblyai/universal-streaming",
                    "assemblyai/universal-streaming-multilingual",
                    "auto",
                    "cartesia/ink-2",
                    "cartesia/ink-whisper",
                    "deepgram/flux-general",
                    "deepgram/flux-general-en",
                    "deepgram/flux-general-multi",
                    "deepgram/nova-2",
                    "deepgram/nova-2-conversationalai",
                    "deepgram/nova-2-medical",
                    "deepgram/nova-2-phonecall",
                    "deepgram/nova-3",
                    "deepgram/nova-3-medical",
                    "google/gemini-3.5-transcribe-live",
                    "inworld/inworld-stt-1",
                    "openai/gpt-live-transcribe",
                    "speechmatics/enhanced",
                    "speechmatics/linden-1",
                    "speechmatics/standard",
                    "xai/stt-1",
                ),
                extra_options=hearing_options,
                options=_OPTIONS,
            ),
            Stage.LLM: StageSpec(
                does="streams; tools",
                default_model="moonshotai/kimi-k2.6",
                models=(
                    "deepseek-ai/deepseek-v3",
                    "deepseek-ai/deepseek-v3.2",
                    "google/gemini-2.5-flash",
                    "google/gemini-2.5-flash-lite",
                    "google/gemini-2.5-pro",
                    "google/gemini-3-flash",
                    "google/gemini-3.1-flash-lite",
                    "google/gemini-3.1-pro",
                    "google/gemini-3.5-flash",
                    "google/gemini-4-argon",
                    "moonshotai/kimi-k2.5",
                    "moonshotai/kimi-k2.6",
                    "openai/chat-latest",
                    "openai/gpt-4.1",
                    "openai/gpt-4.1-mini",
                    "openai/gpt-4.1-nano",
                    "openai/gpt-4o",
                    "openai/gpt-4o-mini",
                    "openai/gpt-5",
                    "openai/gpt-5-mini",
                    "openai/gpt-5-nano",
                    "openai/gpt-5.1",
                    "openai/gpt-5.1-chat-latest",
                    "openai/gpt-5.2",
                    "openai/gpt-5.2-chat-latest",
                    "openai/gpt-5.3-chat-latest",
                    "openai/gpt-5.4",
                    "openai/gpt-5.4-mini",
                    "openai/gpt-5.4-nano",
                    "openai/gpt-5.5",
                    "openai/gpt-5.6-luna",
                    "openai/gpt-5.6-sol",
                    "openai/gpt-5.6-terra",
                    "openai/gpt-6-luna",
                    "openai/gpt-6-sol",
                    "openai/gpt-6.1-sol",
                    "openai/gpt-oss-120b",
                    "xai/grok-4-1-fast-non-reasoning",
                    "xai/grok-4-1-fast-reasoning",
                    "xai/grok-4.20-0309-non-reasoning",
                    "xai/grok-4.20-0309-reasoning",
                    "xai/grok-4.20-multi-agent-0309",
                    "xai/grok-4.3",
                    "xai/grok-4.5",
                    "zai/glm-5.1",
                ),
                extra_options=chat_options,
                options=MappingProxyType(
                    {
                        "provider": "str",
                        "inference_class": "priority|standard|low",
                        "extra": "mapping",
                        **CHAT_OPTIONS,
                    }
                ),
            ),
            Stage.TTS: StageSpec(
                does="one socket, the text by sentences; times of words where the vendor has them",
                default_model="cartesia/sonic-3",
                models=(
                    "cartesia/sonic",
                    "cartesia/sonic-2",
                    "cartesia/sonic-3",
                    "cartesia/sonic-3-latest",
                    "cartesia/sonic-3.5",
                    "cartesia/sonic-latest",
                    "cartesia/sonic-turbo",
                    "deepgram/aura",
                    "deepgram/aura-2",
                    "fishaudio/drama-3",
                    "fishaudio/s2-pro",
                    "fishaudio/s2.1-pro",
                    "fishaudio/s2.1-pro-free",
                    "inworld/inworld-tts-1",
                    "inworld/inworld-tts-1-max",
                    "inworld/inworld-tts-1.5",
                    "inworld/inworld-tts-1.5-max",
                    "inworld/inworld-tts-1.5-mini",
                    "inworld/inworld-tts-2",
                    "rime/coda",
                    "rime/mist",
                    "rime/mistv2",
                    "rime/mistv3",
                    "xai/tts-1",
                ),
                extra_options=speaking_options,
                options=_OPTIONS,
            ),
        }
    ),
)
