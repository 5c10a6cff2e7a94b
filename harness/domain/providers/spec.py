"""What a provider's table says: its stages, their options, and the variables that it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from harness.domain.timeline import Stage

__all__ = [
    "CHAT_OPTIONS",
    "SPEECH_OPTIONS",
    "EnvironmentKey",
    "KeyCheck",
    "ProviderSpec",
    "StageSpec",
    "words",
]


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
        single: it can serve one stage of a candidate, not two.
    """

    name: str
    purpose: str
    required: bool = False
    secret: bool = False
    default: str | None = None
    instead: str | None = None
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage that a provider offers.

    Attributes:
        does: how it works, in a few words: what streams, and what waits for what.
        default_model: used where neither the suite nor the environment names one.
        model_variable: the environment variable that names the model.
        voice_variable: the environment variable that names the voice.
        default_voice: for the TTS.
        options: each further setting and its type: "str", "int", "float", "bool", "list",
            "mapping", or the words that it may be, as "one|or another".
        extra_options: given a model, the names that the mapping ``extra`` may hold for it; None
            where they are not known, so that any passes.
        models: names known to be offered; others are passed through.
        voices: likewise.
        keys: environment variables of this stage beside the provider's own.
        keys_for: given a model (None: the default) and options, those of ``keys`` that count, and
            whether each is required; None where all do as they stand.
    """

    does: str
    default_model: str | None
    model_variable: str | None = None
    voice_variable: str | None = None
    default_voice: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extra_options: Callable[[str], frozenset[str] | None] | None = None
    models: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    keys: tuple[EnvironmentKey, ...] = ()
    keys_for: Callable[[str | None, Mapping[str, object]], tuple[EnvironmentKey, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """How a provider can be asked, at no cost, whether it takes a key.

    Attributes:
        stages: those that use the key.
        keys: the variables that may hold it, in the order in which they are read.
        address: the variable of the base URL; empty where there is none.
        base_url: what stands in for it.
        path: below the base URL, answered to whom the key is good.
        scheme: "bearer", "signed" (a token of LiveKit's, signed with a secret) or "token" (a
            WebSocket that takes the key in its query).
        secrets: the variables that may hold the secret.
    """

    stages: tuple[Stage, ...]
    keys: tuple[str, ...]
    address: str = ""
    base_url: str
    path: str = ""
    scheme: str = "bearer"
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """A provider.

    Attributes:
        name: as a suite names it.
        title: as a report names it.
        stages: what it offers.
        keys: the environment variables it reads.
        note: what a user must know, in a sentence.
        key_checks: how its keys are tried.
        module: of ``harness.pipeline.providers``, which builds its clients; the name if empty.
    """

    name: str
    title: str
    stages: Mapping[Stage, StageSpec]
    keys: tuple[EnvironmentKey, ...] = ()
    note: str = ""
    key_checks: tuple[KeyCheck, ...] = ()
    module: str = ""


def words(kind: str) -> tuple[str, ...]:
    """Return the words that an option of this type may be; none where it is no choice of words."""
    return tuple(kind.split("|")) if "|" in kind else ()


CHAT_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
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
"""What a chat model behind OpenAI's protocol can be told."""
SPEECH_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "speed": "float",
        "instructions": "str",
        "response_format": "pcm|wav|mp3|opus|flac|aac",
        "extra_headers": "mapping",
        "extra_body": "mapping",
    }
)
"""What a voice behind OpenAI's protocol can be told."""
