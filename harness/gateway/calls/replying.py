"""How an HTTP request is answered: pieces at absolute deadlines, and what faults make of it."""

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Mapping
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call
from harness.gateway.calls.refusals import error_body
from harness.gateway.profiles.faults import HTTP_STATUS_FAULTS, FaultKind, FaultMix

__all__ = ["HTML_PAGE", "ClientGone", "Reply", "early_fault", "guarded", "reset_connection"]

_CLIENT_CLOSED = 499
HTML_PAGE: Final = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
"""What a proxy answers where a provider should."""


class ClientGone(Exception):  # noqa: N818  # an end of a call, not a defect
    """The client closed the connection before the answer was complete."""


class Reply:
    """A streamed HTTP response whose pieces leave at absolute deadlines.

    Args:
        call: the call that it answers.
        request: the HTTP request.
        content_type: the response's content type.
        headers: further headers.
    """

    def __init__(
        self,
        call: Call,
        request: web.Request,
        content_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._call = call
        self._request = request
        self._pacer = call.gateway.pacer
        self.response = web.StreamResponse(
            status=200,
            headers={
                "Content-Type": content_type,
                "Cache-Control": "no-cache",
                "x-request-id": call.request,
                **(headers or {}),
            },
        )

    async def start(self, due_ns: int) -> None:
        """Send the headers at the deadline.

        Raises:
            ClientGone: the client has hung up.
        """
        self.response.enable_chunked_encoding()
        await self._pacer.until(due_ns)
        sent_ns = time.perf_counter_ns()
        try:
            await self.response.prepare(self._request)
            await self.response.write(b"")
            writer = self.response._payload_writer  # noqa: SLF001  # headers wait for a body
            if writer is not None:
                writer.send_headers()
        except ConnectionError as error:
            raise ClientGone from error
        self._call.mark(
            "headers_sent",
            sent_ns,
            kind="200",
            due_ns=due_ns,
            injected_ns=due_ns - self._call.received_ns,
        )

    async def send(self, data: bytes, due_ns: int) -> int:
        """Send one piece at the deadline and return the instant at which it left.

        Raises:
            ClientGone: the client has hung up.
        """
        await self._pacer.until(due_ns)
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        sent_ns = time.perf_counter_ns()
        try:
            await self.response.write(data)
        except ConnectionError as error:
            raise ClientGone from error
        return sent_ns

    async def end(self) -> None:
        """End the body as the protocol wants it."""
        try:
            await self.response.write_eof()
        except ConnectionError as error:
            raise ClientGone from error

    async def break_off(
        self,
        fault: FaultKind,
        due_ns: int,
        *,
        stall_s: float,
        malformed: bytes,
        error: bytes | None,
    ) -> None:
        """Let a fault strike in the middle of the body, which ends with it.

        Args:
            fault: one of the middle faults.
            due_ns: when the next piece would have been due.
            stall_s: how long nothing comes before a stalled connection is reset.
            malformed: what is sent instead of a piece that can be read.
            error: the error's words as a piece; None where a body has none, and breaks off.
        """
        await self._pacer.until(due_ns)
        if fault is FaultKind.RESET:
            self.reset()
        elif fault is FaultKind.STALL:
            await self._pacer.until(due_ns + round(stall_s * NS_PER_S))
            self.reset()
        elif fault is FaultKind.TRUNCATION:
            await self.end()
        elif fault is FaultKind.MALFORMED or error is not None:
            await self.send(malformed if fault is FaultKind.MALFORMED else error or b"", due_ns)
            await self.end()
        else:
            self.hang_up()

    def reset(self) -> None:
        """Reset the connection (RST)."""
        reset_connection(self._request)

    def hang_up(self) -> None:
        """Close the connection (FIN) with the body unfinished."""
        if self._request.transport is not None:
            self._request.transport.close()


def reset_connection(request: web.Request) -> None:
    """Close the request's connection with RST instead of FIN."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def guarded(call: Call, answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """Return the answer, keeping in the truth when the client does not wait for its end."""
    try:
        return await answer
    except ClientGone:
        call.mark("closed", time.perf_counter_ns(), kind="client")
        return web.Response(status=_CLIENT_CLOSED)
    except asyncio.CancelledError:
        call.mark("closed", time.perf_counter_ns(), kind="client")
        raise


def early_fault(
    call: Call, request: web.Request, fault: FaultKind | None, mix: FaultMix
) -> web.Response | None:
    """Return the response to a request that a fault strikes before any answer; None otherwise."""
    if fault is FaultKind.REFUSED:
        call.fault(fault)
        reset_connection(request)
        return web.Response(status=500)
    status = HTTP_STATUS_FAULTS.get(fault) if fault is not None else None
    if fault is None or status is None:
        return None
    call.fault(fault)
    headers = {"x-request-id": call.request}
    if fault is FaultKind.RATE_LIMITED:
        headers["Retry-After"] = str(round(mix.retry_after_s))
    call.mark("headers_sent", time.perf_counter_ns(), kind=str(status))
    return web.Response(
        status=status,
        headers=headers,
        content_type="application/json",
        text=json.dumps(error_body(status)),
    )
