"""By whose settings a request is answered: the profile's own, or those of a router's choice."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aiohttp import web

from harness.gateway.calls.context import Call, Gateway
from harness.gateway.calls.refusals import Refusal
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import LlmProfile, Profile, SttProfile, TtsProfile
from harness.gateway.profiles.routing import Chosen, NoUpstream, choose

__all__ = ["NO_HEADERS", "Served", "note_asked", "note_route", "routed_by_headers", "served"]

_OURS = frozenset({"x-turnbench-request"})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a request is answered.

    Attributes:
        settings: the stage's settings.
        chosen: the router's choice; None where the profile answers for itself.
        scores_run: what the choice rests on.
        headers: what an OpenAI-like router tells of its choice.
    """

    settings: Any
    chosen: Chosen | None = None
    scores_run: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)


def _settings_of(profile: Profile, stage: Stage) -> SttProfile | LlmProfile | TtsProfile | None:
    return {Stage.STT: profile.stt, Stage.LLM: profile.llm, Stage.TTS: profile.tts}[stage]


def served(
    gateway: Gateway,
    profile: Profile,
    stage: Stage,
    draws: Draws,
    *,
    objective: str = "balanced",
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
) -> Served:
    """Return by whose settings a request is answered.

    Raises:
        NoUpstream: the router may ask none, or all failed.
    """
    own = _settings_of(profile, stage)
    if profile.routing is None or not profile.routing.of(stage):
        return Served(settings=own)
    chosen = choose(profile.routing, stage, draws, objective=objective, allow=allow, deny=deny)
    other = chosen.upstream.profile
    settings = own if other is None else _settings_of(gateway.profiles[other], stage)
    return Served(
        settings=settings,
        chosen=chosen,
        scores_run=profile.routing.scores_run,
        headers={
            "x-route": chosen.upstream.name,
            "x-route-reason": chosen.reason,
            "x-speko-failover-count": str(chosen.failovers),
        },
    )


def note_route(call: Call, chosen: Chosen) -> None:
    """Keep a router's choice in the truth."""
    call.mark(
        "routed",
        time.perf_counter_ns(),
        kind=chosen.upstream.name,
        index=chosen.failovers,
        injected_ns=chosen.delay_ns,
        detail=chosen.reason,
    )


def note_asked(call: Call, request: web.Request | None, asked: Mapping[str, object]) -> None:
    """Keep in the truth what a request asked for: settings, and the client's own ``x-`` headers."""
    wanted = dict(asked)
    for name, value in () if request is None else request.headers.items():
        key = name.lower()
        if key.startswith("x-") and key not in _OURS and not key.startswith("x-stainless"):
            wanted[key] = value
    text = json.dumps(wanted, ensure_ascii=False, default=str)
    call.mark("asked", time.perf_counter_ns(), detail=text[:4000])


def _listed(request: web.Request, name: str) -> tuple[str, ...]:
    given = request.headers.get(name, "")
    return tuple(each.strip() for each in given.split(",") if each.strip())


def routed_by_headers(call: Call, profile: Profile, request: web.Request, draws: Draws) -> Served:
    """Route a request of OpenAI's protocols as the router's request headers ask.

    What failed upstreams cost is added to the call's own delay.

    Raises:
        Refusal: 503 where no upstream may be asked, 502 where all failed.
    """
    try:
        found = served(
            call.gateway,
            profile,
            call.stage,
            draws,
            objective=request.headers.get("x-speko-objective", "balanced"),
            allow=_listed(request, "x-speko-allow"),
            deny=_listed(request, "x-speko-deny"),
        )
    except NoUpstream as none:
        if none.asked == 0:
            raise Refusal(503, "no_candidate: no provider matches the request") from None
        raise Refusal(502, "all_upstreams_failed") from None
    if found.chosen is not None:
        call.held_ns += found.chosen.delay_ns
        note_route(call, found.chosen)
    return found
