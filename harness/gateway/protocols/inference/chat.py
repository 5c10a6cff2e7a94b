"""LiveKit Inference's chat completions: OpenAI's protocol behind a token, with quota headers."""

import time
from typing import Final

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.route import Route
from harness.gateway.protocols.inference.auth import require_grant
from harness.gateway.protocols.openai.chat import chat_completions
from harness.gateway.protocols.openai.models import models

__all__ = ["QUOTA", "ROUTES", "inference_chat", "inference_models", "stamp_quota"]

QUOTA = {
    "X-LiveKit-Inference-RPM-Limit": "100",
    "X-LiveKit-Inference-RPM-Used": "1",
    "X-LiveKit-Inference-TPM-Limit": "600000",
    "X-LiveKit-Inference-TPM-Used": "1000",
}
"""The quota of a Build plan; used is a constant, for the gateway limits nobody."""


async def inference_chat(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /livekit/v1/chat/completions``; errors carry the quota too."""
    require_grant(gateway, request)
    request["headers"] = {
        **QUOTA,
        "X-LiveKit-Request-Id": f"req-{time.perf_counter_ns():x}",
    }
    return await chat_completions(gateway, request)


async def inference_models(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /livekit/v1/models``, which livekit asks for when a session begins."""
    require_grant(gateway, request)
    return await models(gateway, request)


async def stamp_quota(request: web.Request, response: web.StreamResponse) -> None:
    """Put a handler's headers on its response as it is prepared."""
    for name, value in request.get("headers", {}).items():
        response.headers.setdefault(name, value)


ROUTES: Final = (
    Route(
        method="POST", path="/livekit/v1/chat/completions", handler=inference_chat, checks_key=False
    ),
    Route(method="GET", path="/livekit/v1/models", handler=inference_models, checks_key=False),
)
