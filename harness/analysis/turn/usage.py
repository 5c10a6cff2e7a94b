"""What a request used, in one spelling: tokens, cached tokens, characters, seconds of audio."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.analysis.turn.formulas import usage_of
from harness.domain.request import Request

__all__ = ["Tokens", "audio_seconds_of", "cached_tokens", "tokens_of"]

_SPELLINGS = (
    ("prompt_tokens", "completion_tokens"),
    ("input_tokens", "output_tokens"),
    ("promptTokens", "completionTokens"),
)
_CACHED = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "input_token_details.cached_tokens",
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cachedTokens",
)
"""Where services tell how much of the prompt a cache served: OpenAI's two, DeepSeek's, Anthropic's,
and others' plain ones."""

_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""What Anthropic counts beside ``input_tokens``; all others count the cached within the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """An LLM request's tokens, as the provider counted them.

    Attributes:
        sent: of the prompt, cached ones included.
        received: of the answer, reasoning included.
        cached: of the prompt, served from a cache; None where the provider does not say.
    """

    sent: int
    received: int
    cached: int | None


def cached_tokens(usage: Mapping[str, int]) -> int | None:
    """Return how many of the prompt's tokens a cache served; None where nothing is told."""
    return next((usage[name] for name in _CACHED if name in usage), None)


def tokens_of(request: Request) -> Tokens | None:
    """Return a request's tokens; None where the provider reported no usage."""
    usage = usage_of(request)
    for sent, received in _SPELLINGS:
        if sent in usage and received in usage:
            beside = sum(usage.get(name, 0) for name in _BESIDE) if sent == "input_tokens" else 0
            return Tokens(
                sent=usage[sent] + beside, received=usage[received], cached=cached_tokens(usage)
            )
    return None


def audio_seconds_of(request: Request) -> float | None:
    """Return the seconds of audio that a request carried; None where they were not counted."""
    found = request.facts.get("audio_seconds")
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found)
