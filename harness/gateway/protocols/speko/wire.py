"""What the routes of Speko's platform API share: keys, intents, errors, events, routing.

Errors are flat: ``{"error": …, "code": …}``. Events are named, one JSON line each, ended by LF LF
alone.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call, Gateway
from harness.gateway.calls.refusals import Refusal
from harness.gateway.calls.replying import early_fault
from harness.gateway.calls.routed import Served, note_route, served
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import FaultKind, FaultMix, Stage
from harness.gateway.profiles.profiles import Profile
from harness.gateway.profiles.routing import OBJECTIVES, NoUpstream

__all__ = [
    "Intent",
    "Opening",
    "Problem",
    "answering",
    "event",
    "flat_error",
    "intent_of",
    "json_body",
    "opening",
    "route_facts",
    "text_of",
]

_LANGUAGE: Final = re.compile(r"^[a-z]{2}(-[A-Z]{2})?$")
_REGIONS: Final = ("global", "us-east4", "europe-west3", "asia-southeast1")
_CODES: Final[Mapping[int, str]] = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    402: "PAYMENT_REQUIRED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    429: "RATE_LIMITED",
    503: "ALL_PROVIDERS_FAILED",
}
_FAILED: Final = {
    Stage.STT: "TRANSCRIBE_FAILED",
    Stage.LLM: "COMPLETE_FAILED",
    Stage.TTS: "SYNTHESIZE_FAILED",
}


class Problem(Exception):  # noqa: N818  # an answer to the client, not a defect
    """A request that is answered with an error of Speko's form."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES.get(status, "INTERNAL_ERROR")


def flat_error(message: str, code: str) -> str:
    """Return an error as Speko writes it."""
    return json.dumps({"error": message, "code": code})


def _answer(status: int, message: str, code: str) -> web.Response:
    return web.Response(
        status=status, text=flat_error(message, code), content_type="application/json"
    )


Handler = Callable[[Gateway, web.Request], Awaitable[web.StreamResponse]]


def answering(handler: Handler) -> Handler:
    """Return the handler with Speko's check of the key and Speko's words for refusals."""

    async def answer(gateway: Gateway, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "") != f"Bearer {gateway.config.key}":
            return _answer(401, "Invalid API key", "UNAUTHORIZED")
        try:
            return await handler(gateway, request)
        except Problem as problem:
            return _answer(problem.status, str(problem), problem.code)
        except Refusal as refusal:
            words = str(refusal.body["error"]["message"])
            return _answer(refusal.status, words, _CODES.get(refusal.status, "INTERNAL_ERROR"))

    return answer


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {name}\ndata: {text}\n\n".encode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What the client wants of the router, checked.

    Attributes:
        language: a BCP-47 tag.
        region: where from.
        optimize_for: a key of ``OBJECTIVES``.
        allow: the only upstreams that may answer; empty for all.
    """

    language: str
    region: str
    optimize_for: str
    allow: tuple[str, ...]


def json_body(data: bytes | str, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Problem: 400.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Problem(400, f"{what} must be a JSON object")
    return value


def text_of(body: Mapping[str, Any], name: str, longest: int) -> str:
    """Return a text that must be there.

    Raises:
        Problem: 400.
    """
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.strip():
        raise Problem(400, f"{name} must be a string of 1 to {longest} characters")
    return value


def intent_of(intent: Any, constraints: Any, stage: Stage) -> Intent:
    """Return the intent and constraints of a request.

    Raises:
        Problem: 400.
    """
    if not isinstance(intent, dict):
        raise Problem(400, "intent must be an object")
    unknown = set(intent) - {"language", "region", "optimizeFor"}
    if unknown:
        raise Problem(400, f"intent has an unknown key {min(unknown)!r}")
    language = intent.get("language")
    if not isinstance(language, str) or not _LANGUAGE.match(language):
        raise Problem(400, "intent.language must be a BCP-47 tag such as en or es-MX")
    region = intent.get("region", "global")
    if region not in _REGIONS:
        raise Problem(400, f"intent.region must be one of {', '.join(_REGIONS)}")
    optimize_for = intent.get("optimizeFor", "balanced")
    if optimize_for not in OBJECTIVES or optimize_for == "quality":
        raise Problem(400, "intent.optimizeFor must be balanced, accuracy, latency or cost")
    return Intent(
        language=language,
        region=region,
        optimize_for=optimize_for,
        allow=_allowed(constraints, stage),
    )


def _allowed(constraints: Any, stage: Stage) -> tuple[str, ...]:
    if constraints is None:
        return ()
    providers = constraints.get("allowedProviders") if isinstance(constraints, dict) else None
    if not isinstance(providers, dict) or set(providers) - {"stt", "llm", "tts", "s2s"}:
        raise Problem(400, "constraints.allowedProviders must be an object of stt, llm, tts, s2s")
    for name, entries in providers.items():
        if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
            raise Problem(400, f"constraints.allowedProviders.{name} must be a list of names")
    return tuple(providers.get(stage.value) or ())


@dataclass(slots=True, kw_only=True)
class Opening:
    """How a request begins: by whose settings, with which numbers, and which fault strikes."""

    route: Served
    draws: Draws
    fault: FaultKind | None


def opening(  # noqa: PLR0917  # what a request is made of
    call: Call,
    request: web.Request,
    profile: Profile,
    intent: Intent,
    content: bytes,
    faults: FaultMix,
) -> Opening | web.Response:
    """Choose the route and let an early fault strike.

    Returns:
        How to go on, or the response that ends the request at once.
    """
    draws = call.gateway.draws(profile.name, call.stage, content)
    fault = faults.draw(draws)
    refused = early_fault(call, request, fault, faults)
    if refused is not None:
        if refused.status >= 400 and fault is not FaultKind.REFUSED:
            code = _CODES.get(refused.status, _FAILED[call.stage])
            refused.text = flat_error(f"The request failed: {fault}", code)
        return refused
    if fault is FaultKind.SLOW_HELLO:
        call.fault(fault)
        call.held_ns = round(faults.slow_hello_s * NS_PER_S)
    try:
        route = served(
            call.gateway,
            profile,
            call.stage,
            draws,
            objective=intent.optimize_for,
            allow=intent.allow,
        )
    except NoUpstream as none:
        if none.asked == 0:
            raise Problem(400, "no provider matches the constraints") from None
        raise Problem(503, f"all {none.asked} providers failed", "ALL_PROVIDERS_FAILED") from None
    if route.chosen is not None:
        call.held_ns += route.chosen.delay_ns
        note_route(call, route.chosen)
    return Opening(route=route, draws=draws, fault=fault)


def route_facts(route: Served, profile: str) -> dict[str, Any]:
    """Return what Speko tells of the route; a profile without upstreams is its own."""
    chosen = route.chosen
    return {
        "provider": "turnbench-gateway" if chosen is None else chosen.upstream.provider,
        "model": profile if chosen is None else chosen.upstream.model,
        "failoverCount": 0 if chosen is None else chosen.failovers,
        "scoresRunId": route.scores_run,
    }
