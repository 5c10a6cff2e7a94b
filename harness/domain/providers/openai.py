"""OpenAI, and every server that speaks its protocols."""

import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
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

__all__ = ["SPEC", "is_local"]

_KEY: Final = EnvironmentKey(name="OPENAI_API_KEY", purpose="key", required=True, secret=True)


def is_local(base_url: object) -> bool:
    """Return whether an address is this machine's, whose servers mostly ask for no key."""
    if not isinstance(base_url, str):
        return False
    try:
        host = urllib.parse.urlsplit(base_url).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1", "host.docker.internal") or host.startswith("127.")


def _keys(model: str | None, options: Mapping[str, object]) -> tuple[EnvironmentKey, ...]:
    del model
    local = is_local(options.get("base_url")) and not options.get("api_key_variable")
    return (replace(_KEY, required=not local),)


SPEC: Final = ProviderSpec(
    name="openai",
    title="OpenAI-compatible",
    note="Any endpoint that speaks OpenAI's protocols: name it with base_url. One on this machine "
    "needs no key.",
    keys=(
        EnvironmentKey(
            name="OPENAI_BASE_URL",
            purpose="base URL",
            default="https://api.openai.com/v1",
        ),
    ),
    key_checks=(
        KeyCheck(
            stages=(Stage.STT, Stage.LLM, Stage.TTS),
            keys=("OPENAI_API_KEY",),
            address="OPENAI_BASE_URL",
            base_url="https://api.openai.com/v1",
            path="/models",
        ),
    ),
    stages=MappingProxyType(
        {
            Stage.STT: StageSpec(
                does="hears whole utterances over REST; streams with realtime = true",
                keys=(_KEY,),
                keys_for=_keys,
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
                does="streams; tools",
                keys=(_KEY,),
                keys_for=_keys,
                default_model="gpt-4.1-mini",
                options=MappingProxyType(
                    {"base_url": "str", "api_key_variable": "str", **CHAT_OPTIONS}
                ),
            ),
            Stage.TTS: StageSpec(
                does="each sentence a request, its audio streamed",
                keys=(_KEY,),
                keys_for=_keys,
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
