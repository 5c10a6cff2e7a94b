"""Who may use a dedicated deployment on Baseten: ``Authorization: Api-Key …``."""

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.refusals import Refusal

__all__ = ["require_api_key"]


def require_api_key(gateway: Gateway, request: web.Request) -> None:
    """Check the request's key.

    Raises:
        Refusal: 401, as a provider words it.
    """
    if request.headers.get("Authorization") != f"Api-Key {gateway.config.key}":
        raise Refusal(401, "Invalid API key: send Authorization: Api-Key <key>")
