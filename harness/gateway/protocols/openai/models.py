"""OpenAI's list of models: the gateway's profiles, and the names that its providers use."""

import json
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.refusals import Refusal
from harness.gateway.calls.route import Route
from harness.gateway.profiles.profiles import Profile

__all__ = ["ROUTES", "model", "models"]

_TYPES = {"stt": "audio-transcription", "llm": "chat", "tts": "audio-speech"}
_ALIASES = {"tts-1": "tts", "whisper-1": "stt", "whisper-large-v3": "stt"}


def _entry(name: str, stages: tuple[str, ...], profile: Profile | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "turnbench-gateway",
        "model_type": _TYPES.get(stages[0], "other"),
        "stages": list(stages),
        "emulated": True,
    }
    if profile is not None and profile.published is not None:
        entry["published"] = {
            "measures": profile.published.measures,
            "p50_ms": profile.published.p50_ms,
            "p95_ms": profile.published.p95_ms,
            "max_ms": profile.published.max_ms,
            "source": profile.published.source,
            "assumed": profile.published.assumed,
        }
    elif profile is not None:
        entry["note"] = profile.note
    return entry


def _entries(gateway: Gateway) -> dict[str, dict[str, Any]]:
    entries = {
        profile.name: _entry(profile.name, tuple(map(str, profile.stages)), profile)
        for profile in gateway.profiles.values()
    }
    for alias, stage in _ALIASES.items():
        entries.setdefault(alias, _entry(alias, (stage,), None))
    return entries


async def models(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/models``."""
    del request
    return web.Response(
        text=json.dumps({"object": "list", "data": list(_entries(gateway).values())}),
        content_type="application/json",
    )


async def model(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/models/{id}``."""
    name = request.match_info["model"]
    entry = _entries(gateway).get(name)
    if entry is None:
        raise Refusal(404, f"The model '{name}' does not exist")
    return web.Response(text=json.dumps(entry), content_type="application/json")


ROUTES: Final = (
    Route(method="GET", path="/v1/models", handler=models),
    Route(method="GET", path="/v1/models/{model}", handler=model),
)
