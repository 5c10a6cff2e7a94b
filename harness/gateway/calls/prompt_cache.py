"""A provider's prompt cache: what a prompt has in common with an earlier one is not computed again.

As services describe theirs: the beginning of a prompt is kept in blocks of tokens, from a least
length on, by model. A block counts when it and all before it are alike. Here nothing is dropped
again while the gateway runs.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from harness.gateway.engines.replies import tokens
from harness.gateway.profiles.types import PromptCache

__all__ = ["PromptMemory", "prompt_tokens"]


def prompt_tokens(messages: Iterable[Any]) -> list[str]:
    """Return a prompt as the tokens that are counted and cached: four for each message's head."""
    found: list[str] = []
    for message in messages:
        if isinstance(message, dict):
            role = str(message.get("role") or "")
            found += [f"<{role}", f"{role}>", "\n", "\n"]
            found += tokens(str(message.get("content") or ""))
    return found


class PromptMemory:
    """Which beginnings of prompts have been seen, by whom they were answered.

    Args:
        instructions: what earlier trials have begun their prompts with; None where none were.
    """

    def __init__(self, instructions: str | None = None) -> None:
        self._seen: set[bytes] = set()
        self._instructions = instructions
        self._primed: set[str] = set()

    def serve(self, cache: PromptCache, owner: str, prompt: list[str]) -> int:
        """Return how many tokens of a prompt are known, and know the prompt from now on.

        Args:
            cache: how the cache works.
            owner: profile and model: caches are not shared among them.
            prompt: the tokens.
        """
        if self._instructions is not None and owner not in self._primed:
            self._primed.add(owner)
            said = {"role": "system", "content": self._instructions}
            self.serve(cache, owner, prompt_tokens((said,)))
        digest = hashlib.sha256(owner.encode(errors="surrogatepass"))
        known, alike = 0, True
        for end in range(cache.block_tokens, len(prompt) + 1, cache.block_tokens):
            for token in prompt[end - cache.block_tokens : end]:
                digest.update(token.encode(errors="surrogatepass") + b"\0")
            beginning = digest.digest()
            alike = alike and beginning in self._seen
            if alike:
                known = end
            self._seen.add(beginning)
        return known if known >= cache.min_tokens else 0
