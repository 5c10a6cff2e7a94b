"""Prompts that no cache can serve: each begins with a few characters of its own.

Providers keep what they computed for a prompt's beginning and serve the next prompt that begins
alike from it, from some length on. Whether that is to be measured is the suite's choice. A nonce at
the very start of the first message leaves nothing in common; what stands before the messages in a
provider's own template (a date, tools) stays as it is.
"""

import hashlib
from typing import Any

from livekit.agents import llm

from harness.pipeline.recording.recording import CURRENT_RECORDER

__all__ = ["bust_cache", "busted", "nonce_of"]

NONCE_CHARACTERS = 12


def nonce_of(run: str, candidate: str, trial: str, number: int) -> str:
    """Return the nonce of a trial's request: the same for the same run, and for no other.

    Args:
        run: the run's name, so that a suite that is run again meets no cache of the first time.
        candidate: its name.
        trial: the trial's id within the run, attempt included.
        number: of the request within the trial, from 0.
    """
    content = "\n".join((run, candidate, trial, str(number)))
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:NONCE_CHARACTERS]


def busted(context: llm.ChatContext, nonce: str) -> llm.ChatContext:
    """Return a copy of a conversation that begins with a nonce, and leaves the original as it is.

    It stands before the system's first words; where there are none it is a system message itself.
    """
    copy = context.copy()
    mark = f"[{nonce}]"
    first = copy.items[0] if copy.items else None
    if first is None or first.type != "message" or first.role not in ("system", "developer"):
        copy.items.insert(0, llm.ChatMessage(role="system", content=[mark]))
        return copy
    content: list[Any] = list(first.content)
    if content and isinstance(content[0], str):
        content[0] = f"{mark}\n{content[0]}"
    else:
        content.insert(0, mark)
    copy.items[0] = first.model_copy(update={"content": content})
    return copy


def bust_cache(client: llm.LLM[Any], *, run: str, candidate: str) -> None:
    """Begin every prompt of this client that a recorded trial causes with a nonce.

    The client's own call is stamped after that: it is no part of what the provider took.
    """
    original: Any = client.chat

    def chat(**kwargs: Any) -> llm.LLMStream:
        recorder, context = CURRENT_RECORDER.get(), kwargs.get("chat_ctx")
        if recorder is None or context is None:
            return original(**kwargs)  # type: ignore[no-any-return]
        number = len(recorder.calls)
        nonce = nonce_of(run, candidate, recorder.trial, number)
        stream: llm.LLMStream = original(**{**kwargs, "chat_ctx": busted(context, nonce)})
        if len(recorder.calls) > number:
            recorder.calls[number].facts["cache_nonce"] = nonce
        return stream

    client.chat = chat  # type: ignore[method-assign]
