"""Speko: a router before many vendors."""

from types import MappingProxyType
from typing import Final

from harness.domain.providers.spec import EnvironmentKey, KeyCheck, ProviderSpec, StageSpec
from harness.domain.timeline import Stage

__all__ = ["SPEC"]

_SPEKO_OPTIONS = MappingProxyType(
    {
        "language": "str",
        "region": "global|us-east4|europe-west3|asia-southeast1",
        "optimize_for": "balanced|accuracy|latency|cost",
        "allowed_providers": "mapping",
    }
)

SPEC: Final = ProviderSpec(
    name="speko",
    title="Speko",
    note="A router: model auto lets it choose, vendor:model allows that one alone. Its "
    "OpenAI-like router is the provider openai with base_url https://api.speko.ai/v1, "
    "api_key_variable and extra_headers such as X-Speko-Objective.",
    keys=(
        EnvironmentKey(name="SPEKO_API_KEY", purpose="platform key", required=True, secret=True),
        EnvironmentKey(name="SPEKO_BASE_URL", purpose="base URL", default="https://api.speko.dev"),
    ),
    key_checks=(
        KeyCheck(
            stages=(Stage.STT, Stage.LLM, Stage.TTS),
            keys=("SPEKO_API_KEY",),
            address="SPEKO_BASE_URL",
            base_url="https://api.speko.dev",
            path="/v1/voices",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                does="hears whole utterances; the answer is streamed",
                default_model="auto",
                models=("auto",),
                options=MappingProxyType(
                    {**_SPEKO_OPTIONS, "keywords": "list", "stt_language": "str"}
                ),
            ),
            Stage.LLM: StageSpec(
                does="streams; tools; all at once with buffered = true",
                default_model="auto",
                models=("auto",),
                options=MappingProxyType(
                    {
                        **_SPEKO_OPTIONS,
                        "temperature": "float",
                        "max_tokens": "int",
                        "reasoning_effort": "none|minimal|low|medium|high|xhigh",
                        "max_tool_hops": "int",
                        "parallel_tool_calls": "bool",
                        "buffered": "bool",
                    }
                ),
            ),
            Stage.TTS: StageSpec(
                does="each sentence a request, its audio streamed",
                default_model="auto",
                models=("auto",),
                options=MappingProxyType(
                    {
                        **_SPEKO_OPTIONS,
                        "speed": "float",
                        "instructions": "str",
                        "spoken_form": "bool",
                    }
                ),
            ),
        }
    ),
)
