"""Speko's platform API on the wire: one endpoint, its requests, its events, its errors.

    POST {base}/v1/transcribe    a recording               → server-sent events
    POST {base}/v1/complete      JSON                      → server-sent events
    POST {base}/v1/synthesize    JSON                      → audio

Each request carries the intent (language, region, what to optimise for), by which Speko chooses the
provider that answers. Errors become livekit's; their ``body["kind"]`` says how the call failed.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
)

from harness.domain.request import FailureKind
from harness.pipeline.transport.failures import status_kind

__all__ = ["SpekoEndpoint", "compact", "events", "failed", "missing_done"]

_MAX_EVENT_BYTES: Final = 1 << 20
"""The longest event that is read; a transcript or a delta is never near it."""
_MAX_ERROR_BYTES: Final = 16 * 1024
_OK: Final = 200


def compact(value: Any) -> str:
    """Return JSON that can stand in a header: no spaces, ASCII alone."""
    return json.dumps(value, separators=(",", ":"))


def failed(message: str, kind: FailureKind, *, retryable: bool = True) -> APIError:
    """Return livekit's error for what the protocol does not allow."""
    return APIError(message, body={"kind": kind.value}, retryable=retryable)


def _unreachable(message: str, kind: FailureKind) -> APIConnectionError:
    error = APIConnectionError(message)
    error.body = {"kind": kind.value}
    return error


def missing_done() -> APIConnectionError:
    """Return the error for a stream that ended without its last event."""
    return _unreachable("Speko's stream ended without a done event", FailureKind.TRUNCATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpekoEndpoint:
    """Where Speko is reached and what is asked of its router.

    Attributes:
        base_url: without a slash at the end.
        api_key: the platform key.
        client: the HTTP client.
        intent: ``{"language", "region", "optimizeFor"}`` as on the wire; the last two may be left
            out.
        constraints: ``{"allowedProviders": …}``, or None.
    """

    base_url: str
    api_key: str = field(repr=False)
    client: httpx2.AsyncClient
    intent: Mapping[str, Any]
    constraints: Mapping[str, Any] | None = None

    def _scrub(self, text: str) -> str:
        line = " ".join(text.split())
        return line.replace(self.api_key, "***") if self.api_key else line

    @contextlib.asynccontextmanager
    async def post(
        self,
        path: str,
        options: APIConnectOptions,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and give its successful response, whose body has not been read.

        Args:
            path: below the base URL.
            options: livekit's; the time-out is that of each step and of each gap in the body.
            body: JSON.
            content: or bytes.
            headers: further headers.

        Raises:
            APIError: of livekit's family, for whatever went wrong until the body's end.
        """
        request = self.client.build_request(
            "POST",
            f"{self.base_url}{path}",
            json=body,
            content=content,
            headers={"Authorization": f"Bearer {self.api_key}", **(headers or {})},
            timeout=httpx2.Timeout(options.timeout),
        )
        failure: APIError
        try:
            response = await self.client.send(request, stream=True)
            try:
                if response.status_code != _OK:
                    raise await self._refusal(response)
                yield response
            finally:
                await response.aclose()
        except httpx2.TimeoutException as error:
            failure = APITimeoutError(f"Speko did not answer in time ({type(error).__name__})")
            failure.body = {"kind": FailureKind.TIMEOUT.value}
        except httpx2.ConnectError:
            failure = _unreachable("Speko cannot be reached", FailureKind.REFUSED)
        except httpx2.RequestError as error:
            failure = _unreachable(
                f"the connection to Speko broke ({type(error).__name__})", FailureKind.RESET
            )
        else:
            return
        raise failure

    async def _refusal(self, response: httpx2.Response) -> APIStatusError:
        """Return the error for a status that is no success."""
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > _MAX_ERROR_BYTES:
                break
        status = response.status_code
        body: dict[str, Any] = {"kind": status_kind(status).value}
        said = bytes(data[:300]).decode(errors="replace")
        with contextlib.suppress(ValueError, RecursionError):
            told = json.loads(data)
            if isinstance(told, dict) and isinstance(told.get("error"), str):
                said = told["error"]
                body["code"] = str(told.get("code", "UNKNOWN"))
        retry_after = response.headers.get("retry-after", "").strip()
        if retry_after.isdigit():
            body["retry_after_s"] = int(retry_after[:9])
        code = f" {body['code']}" if "code" in body else ""
        return APIStatusError(
            f"Speko answered {status}{code}: {self._scrub(said)[:300]}",
            status_code=status,
            request_id=response.headers.get("x-request-id"),
            body=body,
        )


def _blocks(buffer: bytearray) -> list[bytes]:
    """Take the whole events from the front of a buffer; they end with LF LF."""
    whole, found, rest = bytes(buffer).rpartition(b"\n\n")
    if not found:
        return []
    buffer[:] = rest
    return [block for block in whole.split(b"\n\n") if block.strip()]


def _decoded(block: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return an event's name and data; None for a comment."""
    name, data = "message", []
    for line in block.replace(b"\r", b"").split(b"\n"):
        key, _, rest = line.partition(b":")
        if key == b"event":
            name = rest.strip().decode(errors="replace")
        elif key == b"data":
            data.append(rest.strip())
    if not data:
        return None
    value: Any
    try:
        value = json.loads(b"\n".join(data).decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise failed("Speko sent an event that is no JSON object", FailureKind.MALFORMED)
    return name, value


async def events(response: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the named events of a response, up to its end.

    Raises:
        APIError: the response holds no events, one that cannot be read, one that is too long, or an
            ``error`` event.
    """
    content_type = response.headers.get("content-type", "")
    if "event-stream" not in content_type:
        raise failed(
            f"Speko answered {content_type[:80] or 'no content type'}, not events",
            FailureKind.WRONG_TYPE,
        )
    buffer = bytearray()
    async for chunk in response.aiter_bytes():
        buffer += chunk
        blocks = _blocks(buffer) if b"\n\n" in chunk or b"\n\n" in buffer[-len(chunk) - 1 :] else []
        for block in blocks:
            if len(block) > _MAX_EVENT_BYTES:
                raise failed("Speko sent an event over the size limit", FailureKind.MALFORMED)
            found = _decoded(block)
            if found is None:
                continue
            if found[0] == "error":
                raise _said(found[1])
            yield found
        if len(buffer) > _MAX_EVENT_BYTES:
            raise failed("Speko sent an event over the size limit", FailureKind.MALFORMED)
    if buffer.strip() and (found := _decoded(bytes(buffer))) is not None:
        if found[0] == "error":
            raise _said(found[1])
        yield found


def _said(event: Mapping[str, Any]) -> APIError:
    code = event.get("code", "STREAM_ERROR")
    error = failed(
        f"Speko reported {code}: {str(event.get('error', ''))[:300]}", FailureKind.STREAM_ERROR
    )
    error.body = {"kind": FailureKind.STREAM_ERROR.value, "code": str(code)}
    return error
