"""Baseten: deployments of one's own, and its model APIs."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from harness.domain.providers.spec import (
    CHAT_OPTIONS,
    EnvironmentKey,
    KeyCheck,
    ProviderSpec,
    StageSpec,
)
from harness.domain.timeline import Stage

__all__ = ["SPEC"]

_DEPLOYMENT_OPTIONS = MappingProxyType({"endpoint": "str", "model_id": "str", "chain_id": "str"})
_BASETEN_ENDPOINT = EnvironmentKey(
    name="BASETEN_MODEL_ENDPOINT",
    purpose="address of the deployment, where the stage names none",
    single=True,
)


def _deployment_keys(
    model: str | None, options: Mapping[str, object]
) -> tuple[EnvironmentKey, ...]:
    """Return the variable of the address, required where the stage names no deployment."""
    del model
    if any(options.get(name) for name in ("endpoint", "model_id", "chain_id")):
        return ()
    return (replace(_BASETEN_ENDPOINT, required=True),)


SPEC: Final = ProviderSpec(
    name="baseten",
    title="Baseten",
    note="Recognition and synthesis are deployments of one's own: each stage names its own "
    "by endpoint, model_id or chain_id. One that is scaled to zero takes minutes to boot: "
    "it is woken before anything is measured, for up to boot_s (300) of [timeouts].",
    keys=(EnvironmentKey(name="BASETEN_API_KEY", purpose="key", required=True, secret=True),),
    key_checks=(
        # A deployment is not asked: that may boot it.
        KeyCheck(
            stages=(Stage.LLM,),
            keys=("BASETEN_API_KEY",),
            base_url="https://inference.baseten.co/v1",
            path="/models",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                does="streams; partial transcripts on a timer",
                default_model="whisper",
                models=("whisper", "qwen3-asr"),
                options=MappingProxyType(
                    {
                        **_DEPLOYMENT_OPTIONS,
                        "dialect": "whisper|qwen3-asr",
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
                keys_for=_deployment_keys,
            ),
            Stage.LLM: StageSpec(
                does="streams; tools",
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
                options=MappingProxyType({"base_url": "str", **CHAT_OPTIONS}),
            ),
            Stage.TTS: StageSpec(
                does="a socket for each reply, the text as it comes; over HTTP by sentences",
                default_model="orpheus",
                default_voice="tara",
                models=("orpheus", "qwen3-tts"),
                options=MappingProxyType(
                    {
                        **_DEPLOYMENT_OPTIONS,
                        "dialect": "orpheus|qwen3-tts",
                        "transport": "websocket|http",
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
                keys_for=_deployment_keys,
            ),
        }
    ),
)
