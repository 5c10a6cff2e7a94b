"""One path of a wire protocol, and what answers there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from harness.gateway.calls.context import Gateway

__all__ = ["Handler", "Route"]

Handler = Callable[[Gateway, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of a protocol.

    Attributes:
        method: the HTTP method.
        path: the path below ``/`` and below ``/<profile>``.
        handler: what answers.
        checks_key: whether the gateway's key is asked for before the handler runs; False for a
            protocol that proves who it is in its own way.
    """

    method: str
    path: str
    handler: Handler
    checks_key: bool = True
