"""Baseten's model APIs: OpenAI's chat protocol under a path of their own."""

from typing import Final

from harness.gateway.calls.route import Route
from harness.gateway.protocols.openai.chat import chat_completions
from harness.gateway.protocols.openai.models import models

__all__ = ["ROUTES"]

ROUTES: Final = (
    Route(method="POST", path="/baseten/v1/chat/completions", handler=chat_completions),
    Route(method="GET", path="/baseten/v1/models", handler=models),
)
