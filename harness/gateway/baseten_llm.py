"""Baseten's model APIs: OpenAI's chat protocol under a path of their own."""

from typing import Final

from harness.gateway.models import models
from harness.gateway.openai_chat import chat_completions
from harness.gateway.route import Route

__all__ = ["ROUTES"]

ROUTES: Final = (
    Route(method="POST", path="/baseten/v1/chat/completions", handler=chat_completions),
    Route(method="GET", path="/baseten/v1/models", handler=models),
)
