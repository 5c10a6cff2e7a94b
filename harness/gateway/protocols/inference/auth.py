"""Who may use LiveKit Inference: a JSON Web Token, signed with the client's secret (HS256).

The gateway's key is the secret; any key id (``iss``) will do. A token must be in force and grant
``inference.perform``, as livekit's own service wants it.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.refusals import Refusal

__all__ = ["InvalidToken", "require_grant", "verify_token"]

# Clocks of client and server may differ by so much.
_LEEWAY_S = 5.0


class InvalidToken(ValueError):  # noqa: N818  # a token is invalid; nothing of ours erred
    """A token that grants nothing, and why."""


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidToken("the token is not base64url") from error


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decoded(part))
    except ValueError as error:
        if isinstance(error, InvalidToken):
            raise
        raise InvalidToken("the token holds no JSON") from error
    if not isinstance(value, dict):
        raise InvalidToken("the token holds no JSON object")
    return value


def verify_token(token: str, secret: str, *, now_s: float) -> dict[str, Any]:
    """Return the claims of a token.

    Args:
        token: the compact form of a JSON Web Token.
        secret: what it must be signed with.
        now_s: seconds since the epoch.

    Raises:
        InvalidToken: signature, time or grant are not as they must be.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("the token does not have three parts")
    header = _object(parts[0])
    if header.get("alg") != "HS256":
        raise InvalidToken("the token is not signed with HS256")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii", "replace")
    wanted = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    if not hmac.compare_digest(wanted, _decoded(parts[2])):
        raise InvalidToken("the token's signature is not by the configured secret")
    claims = _object(parts[1])
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(expires, int | float) or expires + _LEEWAY_S < now_s:
        raise InvalidToken("the token has expired")
    if not isinstance(begins, int | float) or begins - _LEEWAY_S > now_s:
        raise InvalidToken("the token is not yet in force")
    if not claims.get("iss"):
        raise InvalidToken("the token names no key (iss)")
    grant = claims.get("inference")
    if not isinstance(grant, dict) or grant.get("perform") is not True:
        raise InvalidToken("the token does not grant inference.perform")
    return claims


def require_grant(gateway: Gateway, request: web.Request) -> None:
    """Check the request's token.

    Raises:
        Refusal: 401, as a provider words it.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(401, "no access token: send Authorization: Bearer <token>")
    try:
        # A token's times are wall time, and nothing else here is.
        now_s = time.time()  # noqa: TID251
        verify_token(token.strip(), gateway.config.key, now_s=now_s)
    except InvalidToken as error:
        raise Refusal(401, str(error)) from None
