"""Speko's platform API: its handlers, and what it tells of voices and routes.

Surface A of Speko: raw audio or JSON in, server-sent events or audio out, errors flat. Its
OpenAI-like router is the gateway's OpenAI protocol under a profile with upstreams.
"""

import json
from typing import Final

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.route import Route
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.routing import OBJECTIVES, NoUpstream, choose
from harness.gateway.protocols.speko.llm import complete
from harness.gateway.protocols.speko.stt import transcribe
from harness.gateway.protocols.speko.tts import synthesize
from harness.gateway.protocols.speko.wire import Problem, answering

__all__ = ["ROUTES"]


async def _voices(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/voices``."""
    profile = gateway.profile(request, Stage.TTS)
    assert profile.tts is not None
    upstreams = () if profile.routing is None else profile.routing.tts
    vendors = {each.provider for each in upstreams} or {"turnbench-gateway"}
    body = {
        "voices": [
            {"vendor": vendor, "id": voice, "name": voice.replace("_", " ").title()}
            for vendor in sorted(vendors)
            for voice in profile.tts.voices
        ],
        "providers": [
            {
                "key": vendor,
                "name": vendor.title(),
                "models": [each.model for each in upstreams if each.provider == vendor],
                "voicesFetchedLive": False,
            }
            for vendor in sorted(vendors)
        ],
    }
    return web.Response(text=json.dumps(body), content_type="application/json")


async def _preview(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/routing/preview``: the route that a request would take now."""
    try:
        stage = Stage(request.query.get("stage", ""))
    except ValueError:
        raise Problem(400, "stage must be stt, llm or tts") from None
    objective = request.query.get("objective", "balanced")
    if objective not in OBJECTIVES:
        raise Problem(400, f"objective must be one of {', '.join(OBJECTIVES)}")
    profile = gateway.profile(request, stage)
    body = {
        "id": f"turnbench-gateway:{profile.name}",
        "provider": "turnbench-gateway",
        "reason": "the profile answers for itself",
        "evidence": None,
        "measured": False,
    }
    if profile.routing is not None and profile.routing.of(stage):
        draws = gateway.draws(profile.name, stage, b"preview", "preview", again=True)
        try:
            chosen = choose(profile.routing, stage, draws, objective=objective)
        except NoUpstream:
            raise Problem(503, "no provider is available") from None
        body |= {
            "id": chosen.upstream.name,
            "provider": chosen.upstream.provider,
            "reason": chosen.reason,
            "evidence": profile.routing.scores_run,
        }
    return web.Response(text=json.dumps(body), content_type="application/json")


ROUTES: Final = tuple(
    Route(method=method, path=path, handler=answering(handler), checks_key=False)
    for method, path, handler in (
        ("POST", "/v1/transcribe", transcribe),
        ("POST", "/v1/complete", complete),
        ("POST", "/v1/synthesize", synthesize),
        ("GET", "/v1/voices", _voices),
        ("GET", "/v1/routing/preview", _preview),
    )
)
"""The handlers check the key themselves."""
