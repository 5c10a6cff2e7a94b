"""Where Parakeet is, and its failures as livekit's errors.

livekit retries what its ``APIError`` family calls retryable and recreates a stream that ended with
one of them; anything else leaves a session deaf. Each error's ``body`` says how it failed:
``{"kind": a value of FailureKind}`` and, where the server named seconds, ``"retry_after_s"``.

No error holds a word of the original exception, which may hold the URI and the token in it: errors
are made here and raised by the caller outside its handler, so that nothing stays in ``__cause__``
or ``__context__`` either. A server's own words are scrubbed of the key.
"""

import socket
import ssl
import urllib.parse
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from harness.domain.request import FailureKind
from harness.errors import ConfigurationError

__all__ = [
    "ParakeetEndpoint",
    "api_error",
    "closed_error",
    "connection_error",
    "status_error",
    "timeout_error",
    "transport_error",
]

_DETAIL_LENGTH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ParakeetEndpoint:
    """Where Parakeet is, and who asks.

    Attributes:
        ws_url: ``ws://`` or ``wss://``; further query parameters are kept.
        api_key: the Parakeet key; not in the repr.
        key_in: "query" sends it as ``?token=``, which is what OpenAdapter documents; "header" as
            ``Authorization: Bearer``, which servers do not write into their access logs.

    Raises:
        ConfigurationError: the URL or the key cannot be used; the key is not in the message.
    """

    ws_url: str
    api_key: str = field(repr=False)
    key_in: Literal["query", "header"] = "query"

    def __post_init__(self) -> None:
        """Refuse what cannot be dialled."""
        problems = []
        try:
            parts = urllib.parse.urlsplit(self.ws_url)
            usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            problems.append("PARAKEET_WS_URL: no ws:// or wss:// address with a host")
        elif parts.username is not None or parts.fragment:
            problems.append("PARAKEET_WS_URL: a user name or a fragment has no place in it")
        elif "token" in urllib.parse.parse_qs(parts.query, keep_blank_values=True):
            problems.append("PARAKEET_WS_URL: put the token into PARAKEET_API_KEY, not the address")
        key = self.api_key
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            problems.append("PARAKEET_API_KEY: empty, or holds blanks or non-ASCII characters")
        if self.key_in not in ("query", "header"):
            problems.append('key_in: neither "query" nor "header"')
        if problems:
            # The URL may hold what somebody pasted into it, so it is not repeated.
            raise ConfigurationError(problems)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urllib.parse.urlsplit(self.ws_url).netloc

    def dial_url(self) -> str:
        """Return the URL to open. Secret."""
        if self.key_in == "header":
            return self.ws_url
        parts = urllib.parse.urlsplit(self.ws_url)
        token = f"token={urllib.parse.quote(self.api_key, safe='')}"
        query = f"{parts.query}&{token}" if parts.query else token
        return urllib.parse.urlunsplit(parts._replace(query=query))

    def headers(self) -> dict[str, str]:
        """Return the headers of the upgrade. Secret."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.key_in == "header" else {}

    def scrub(self, text: str) -> str:
        """Return a server's words on one line, short, and without the key."""
        for secret in (self.api_key, urllib.parse.quote(self.api_key, safe="")):
            text = text.replace(secret, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _DETAIL_LENGTH else text[: _DETAIL_LENGTH - 1] + "…"


def api_error(message: str, kind: FailureKind, *, retryable: bool = True) -> APIError:
    """Return an error for what the protocol does not allow; ``body["kind"]`` says how it failed."""
    return APIError(message, body={"kind": kind.value}, retryable=retryable)


def connection_error(message: str, kind: FailureKind, *, retryable: bool = True) -> APIError:
    """Return an error for a connection that is not there or went away."""
    error = APIConnectionError(message, retryable=retryable)
    error.body = {"kind": kind.value}
    return error


def timeout_error(message: str) -> APIError:
    """Return an error for an answer that did not come in time."""
    error = APITimeoutError(message)
    error.body = {"kind": FailureKind.TIMEOUT.value}
    return error


_STATUS_KINDS: Final = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.UNAUTHORIZED,
    402: FailureKind.FORBIDDEN,
    403: FailureKind.FORBIDDEN,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    429: FailureKind.RATE_LIMITED,
}


def status_error(
    endpoint: ParakeetEndpoint, status: int, *, detail: str = "", retry_after: str | None = None
) -> APIStatusError:
    """Return the error for an HTTP status that is no success.

    ``body`` holds ``kind`` and, where the server named seconds, ``retry_after_s``.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    kind = _STATUS_KINDS.get(
        status,
        FailureKind.SERVER_ERROR
        if status >= 500
        else FailureKind.BAD_REQUEST
        if status >= 400
        else FailureKind.WRONG_TYPE,
    )
    body: dict[str, Any] = {"kind": kind.value}
    if retry_after is not None and retry_after.strip().isdigit():
        body["retry_after_s"] = int(retry_after.strip()[:9])
    detail = endpoint.scrub(detail)
    message = f"Parakeet at {endpoint.host} answered {status} {phrase}"
    return APIStatusError(
        f"{message}: {detail}" if detail else message,
        status_code=status,
        body=body,
        retryable=status >= 400,
    )


_FATAL_CLOSES: Final = {
    1002: FailureKind.BAD_REQUEST,
    1003: FailureKind.BAD_REQUEST,
    1007: FailureKind.BAD_REQUEST,
    1008: FailureKind.FORBIDDEN,
    1009: FailureKind.BAD_REQUEST,
    1010: FailureKind.BAD_REQUEST,
    3000: FailureKind.UNAUTHORIZED,
    3003: FailureKind.FORBIDDEN,
}
"""Close codes from the server after which the same request would fail the same way."""


def closed_error(exc: ConnectionClosed, endpoint: ParakeetEndpoint) -> APIError:
    """Return the error for a connection that closed while something was due.

    Codes 4400 to 4599 are read as the HTTP status 4000 below them, which is common usage.
    """
    where = f"Parakeet at {endpoint.host}"
    if exc.rcvd is None or (exc.sent is not None and exc.rcvd_then_sent is False):
        sent = None if exc.sent is None else exc.sent.code
        if sent == 1009:
            return api_error(f"{where} sent a message over the size limit", FailureKind.MALFORMED)
        if sent in (1002, 1007):
            return api_error(f"{where} broke the WebSocket protocol", FailureKind.MALFORMED)
        if sent == 1011:
            return timeout_error(f"{where} did not answer a keep-alive ping")
        return connection_error(f"{where} dropped the connection", FailureKind.RESET)
    code, reason = exc.rcvd.code, endpoint.scrub(exc.rcvd.reason)
    message = f"{where} closed the connection ({code})" + (f": {reason}" if reason else "")
    if code in _FATAL_CLOSES:
        kind, retryable = _FATAL_CLOSES[code], False
    elif 4400 <= code < 4600:
        body = status_error(endpoint, code - 4000).body
        return APIStatusError(message, status_code=code - 4000, body=body)
    elif code in (1011, 1012, 1013, 1014):
        kind, retryable = FailureKind.SERVER_ERROR, True
    else:
        return connection_error(message, FailureKind.TRUNCATED)
    return APIStatusError(message, status_code=code, body={"kind": kind.value}, retryable=retryable)


def transport_error(exc: Exception, endpoint: ParakeetEndpoint, *, doing: str) -> APIError:
    """Return livekit's error for a failure of the transport, without a word of the original.

    Args:
        exc: what was raised.
        endpoint: the peer.
        doing: what was under way, as a verb.
    """
    where = f"Parakeet at {endpoint.host}"
    if isinstance(exc, APIError):
        return exc
    if isinstance(exc, TimeoutError):
        return timeout_error(f"{where}: no answer in time to {doing}")
    if isinstance(exc, ConnectionClosed):
        return closed_error(exc, endpoint)
    if isinstance(exc, InvalidStatus):
        response = exc.response
        return status_error(
            endpoint,
            response.status_code,
            detail=bytes(response.body or b"")[:1000].decode(errors="replace"),
            retry_after=response.headers.get("Retry-After"),
        )
    if isinstance(exc, ssl.SSLCertVerificationError):
        return connection_error(
            f"{where}: its certificate is not trusted", FailureKind.REFUSED, retryable=False
        )
    if isinstance(exc, socket.gaierror):
        return connection_error(f"{where}: the name is unknown", FailureKind.REFUSED)
    if isinstance(exc, OSError):
        kind = (
            FailureKind.RESET
            if isinstance(exc, ConnectionResetError | BrokenPipeError)
            else FailureKind.REFUSED
        )
        reason = exc.strerror if isinstance(exc.strerror, str) else type(exc).__name__
        return connection_error(f"{where}: cannot {doing}: {endpoint.scrub(reason)}", kind)
    if isinstance(exc, ProxyError):
        return connection_error(f"{where}: the proxy refused to {doing}", FailureKind.REFUSED)
    if isinstance(exc, InvalidMessage) and isinstance(exc.__cause__, EOFError | ConnectionError):
        return connection_error(f"{where} hung up instead of answering", FailureKind.RESET)
    if isinstance(exc, InvalidHandshake):
        return api_error(f"{where} does not speak WebSocket", FailureKind.MALFORMED)
    if isinstance(exc, WebSocketException):
        return api_error(f"{where}: {type(exc).__name__}", FailureKind.MALFORMED)
    return connection_error(f"{where}: cannot {doing}: {type(exc).__name__}", FailureKind.INTERNAL)
