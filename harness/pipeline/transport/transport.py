"""The HTTP transport with a stamp on every chunk, before anything parses it.

livekit's OpenAI plugin takes a client; ours differs from the plugin's own in its transport alone:
each body chunk is stamped when the connection hands it over, and httpcore's trace events tell when
the request had been written and whether a connection was opened for it. The pool is sized so that
concurrent trials never queue in it unseen; if one does, the wait is known as ``pool``.
"""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from harness.authorities import trusted
from harness.domain.request import FailureKind
from harness.domain.timeline import Stage
from harness.errors import ProviderError
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_RECORDER,
    Chunk,
    Exchange,
    stamp,
)
from harness.pipeline.transport.decoding import LARGEST_BODY, LONGEST_LINE, Decoder, decoder_for
from harness.pipeline.transport.names import next_client
from harness.pipeline.transport.path_rtt import path_rtt_ns

__all__ = ["REQUEST_HEADER", "TimedTransport", "timed_client"]

REQUEST_HEADER = "x-turnbench-request"
"""Joins an exchange with the gateway's truth; sent to loopback gateways only."""

_SECRET_HEADERS = frozenset({"authorization", "set-cookie", "cookie", "api-key", "x-api-key"})


class _TimedStream(httpx2.AsyncByteStream):
    """A response body whose chunks are stamped on arrival."""

    def __init__(
        self, inner: Any, exchange: Exchange, sock: Any, decoder: Decoder | None, *, lines: bool
    ) -> None:
        self._inner = inner
        self._exchange = exchange
        self._sock = sock
        self._decoder = decoder
        self._lines = lines

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, decoder = self._exchange, self._decoder
        chunks = exchange.chunks
        size = line = 0
        try:
            async for data in self._inner:
                at = stamp()
                exchange.received += len(data)
                for piece in (data,) if decoder is None else decoder.feed(data):
                    size += len(piece)
                    end = piece.rfind(b"\n") if self._lines else -1
                    line = line + len(piece) if end < 0 else len(piece) - end
                    _check_bounds(size, line if self._lines else 0)
                    chunks.append(Chunk(at, piece))
                    yield piece
            if decoder is not None and not decoder.whole:
                # A client takes what it had for the whole.
                exchange.error = ProviderError(
                    "the compressed answer broke off", kind=FailureKind.TRUNCATED
                )
        except BaseException as error:
            exchange.error = error
            raise
        finally:
            exchange.ended = stamp()
            exchange.path_rtt_ns = path_rtt_ns(self._sock)

    async def aclose(self) -> None:
        if self._exchange.path_rtt_ns is None:
            self._exchange.path_rtt_ns = path_rtt_ns(self._sock)
        await self._inner.aclose()


def _check_bounds(size: int, line: int) -> None:
    """Refuse an answer before it fills the memory, or stops its reader.

    Raises:
        ProviderError: it is too large, or a line of it too long.
    """
    if size > LARGEST_BODY:
        raise ProviderError(
            f"the answer has more than {LARGEST_BODY >> 20} MiB", kind=FailureKind.MALFORMED
        )
    if line > LONGEST_LINE:
        raise ProviderError(
            f"a line of the answer has more than {LONGEST_LINE >> 20} MiB",
            kind=FailureKind.MALFORMED,
        )


class TimedTransport(httpx2.AsyncBaseTransport):
    """An HTTP transport that records exchanges into the current call.

    Args:
        inner: the transport that does the work.
        label: prefix of the request ids sent to a gateway; None sends none.
        stage: STT for a client whose requests belong to the trial, not to a call of it.
        timeout_s: the longest that a step of an STT's request may take, whatever the client says.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        label: str | None = None,
        stage: Stage | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._inner = inner
        # A run has many clients, and goes on in another process: the ids must differ among all.
        self._label = None if label is None else f"{label}-{next_client()}"
        self._stage = stage
        self._timeout_s = timeout_s
        self._count = 0

    def _kept(self) -> list[Exchange] | None:
        """Return where an exchange of the running code is kept; None for nowhere."""
        if self._stage is Stage.STT:
            recorder = CURRENT_RECORDER.get()
            return None if recorder is None else recorder.uploads
        call = CURRENT_CALL.get()
        return None if call is None else call.exchanges

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, recording it when a call or a trial is current."""
        kept = self._kept()
        if kept is None:
            return await self._inner.handle_async_request(request)
        exchange = Exchange(
            url=f"{request.url.scheme}://{request.url.host}{request.url.path}", opened=stamp()
        )
        kept.append(exchange)
        if self._label is not None:
            self._count += 1
            exchange.request_id = f"{self._label}-{self._count}"
            request.headers[REQUEST_HEADER] = exchange.request_id
        request.headers["accept-encoding"] = "identity"
        trace = exchange.trace

        async def on_event(name: str, _info: Mapping[str, Any]) -> None:
            trace.append((name, time.perf_counter_ns()))
            if name.endswith("send_request_body.complete"):
                exchange.sent = stamp()

        request.extensions = {**request.extensions, "trace": on_event}
        if self._stage is Stage.STT and self._timeout_s is not None:
            # livekit's plugin waits 30 s for a transcript, whatever the session's time-out is.
            given = request.extensions.get("timeout", {})
            request.extensions["timeout"] = {
                step: self._timeout_s if limit is None else min(limit, self._timeout_s)
                for step, limit in given.items()
            }
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            exchange.error = error
            exchange.ended = stamp()
            raise
        exchange.headers_at = stamp()
        exchange.status = response.status_code
        exchange.headers = {
            name.lower(): value
            for name, value in response.headers.items()
            if name.lower() not in _SECRET_HEADERS
        }
        network = response.extensions.get("network_stream")
        sock = None if network is None else network.get_extra_info("socket")
        decoder = decoder_for(response.headers.get("content-encoding", ""))
        if decoder is not None:
            del response.headers["content-encoding"]
        lines = "event-stream" in response.headers.get("content-type", "").lower()
        response.stream = _TimedStream(response.stream, exchange, sock, decoder, lines=lines)
        return response

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._inner.aclose()


async def _stay(response: httpx2.Response) -> None:
    """Let nobody send what is asked on to another host: audio, texts, headers and keys stay.

    An answer that points there is taken as it is, an answer of its status. The same host by TLS is
    the same host.
    """
    if not response.has_redirect_location:
        return
    here = response.request.url
    try:
        there = here.join(response.headers["location"])
        same = (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
        upgraded = (here.scheme, there.scheme) == ("http", "https") and (
            here.host == there.host and here.port is None and there.port is None
        )
    except (httpx2.InvalidURL, ValueError):
        same = upgraded = False
    if not (same or upgraded):
        del response.headers["location"]


def timed_client(
    *,
    label: str | None,
    timeout_s: float,
    connections: int = 256,
    stage: Stage | None = None,
) -> httpx2.AsyncClient:
    """Return an HTTP client with a stamped transport.

    Args:
        label: prefix of request ids for a gateway's truth, or None.
        timeout_s: for connect, write and pool, and for each gap in reading.
        connections: the pool's size.
        stage: STT where the client serves an STT.
    """
    transport = httpx2.AsyncHTTPTransport(
        limits=httpx2.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=120,
        ),
        # The environment's proxies would lie in the path unseen.
        trust_env=False,
        verify=trusted(),
    )
    return httpx2.AsyncClient(
        transport=TimedTransport(transport, label=label, stage=stage, timeout_s=timeout_s),
        timeout=httpx2.Timeout(timeout_s),
        follow_redirects=True,
        event_hooks={"response": [_stay]},
    )
