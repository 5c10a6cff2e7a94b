"""Reading an exchange at the transport, after the trial: how it was had, what it told, and when."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx2

from harness.domain.request import Attempt, Connection, Failure, Wait, WaitCause
from harness.domain.timeline import Mark, Stage
from harness.pipeline.recording.recording import Call, Exchange, Problem, Stamp
from harness.pipeline.transport.routes import route_of
from harness.pipeline.transport.socket_reading import sent_at, socket_connection

__all__ = ["attempts_of", "connection_of", "facts_of", "retried", "retry_wait", "source_of"]

_UPGRADED = 101
_OK = 200
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "speko-request-id",
    "x-livekit-request-id",
    "x-amzn-requestid",
    "cf-ray",
)
"""Headers by which services name a request to those who ask about it, the commonest first."""
_FACT_HEADERS = (
    "x-route",
    "x-route-reason",
    "x-speko-failover-count",
    "x-speko-provider",
    "x-speko-model",
    "x-speko-scores-run-id",
    "x-ratelimit-remaining-requests",
    "x-livekit-inference-rpm-limit",
    "x-livekit-inference-rpm-used",
    "x-livekit-inference-tpm-limit",
    "x-livekit-inference-tpm-used",
    "retry-after",
    "openai-processing-ms",
    "server-timing",
    "content-type",
)


def connection_of(
    exchange: Exchange, idle: list[tuple[int, int]]
) -> tuple[Connection, tuple[Wait, ...], Stamp | None]:
    """Read the trace: how the connection was had, what was waited for, when the request was out."""
    if exchange.dialect is not None:
        connection, socket_waits = socket_connection(exchange)
        return connection, socket_waits, sent_at(exchange)
    waits: list[Wait] = []
    opened: dict[str, int] = {}
    dialled = False
    rtt: int | None = None
    first = exchange.trace[0][1] if exchange.trace else None
    if first is not None:
        # If the loop went idle before httpcore's first event, it waited for the pool.
        queued = [each for each in idle if each[1] > exchange.opened.ns and each[0] < first]
        if queued:
            start = max(exchange.opened.ns, queued[0][0])
            end = min(first, queued[-1][1])
            waits.append(Wait(cause=WaitCause.POOL, start_ns=start, end_ns=end))
    elif exchange.ended is not None and isinstance(exchange.error, httpx2.PoolTimeout):
        waits.append(
            Wait(cause=WaitCause.POOL, start_ns=exchange.opened.ns, end_ns=exchange.ended.ns)
        )
    for name, at in exchange.trace:
        step, _, phase = name.rpartition(".")
        if phase == "started":
            opened[step] = at
        elif phase in {"complete", "failed"} and step in opened:
            if step.endswith(("connect_tcp", "connect_unix_socket")):
                dialled = True
                rtt = at - opened[step] if phase == "complete" else None
                waits.append(Wait(cause=WaitCause.CONNECT, start_ns=opened[step], end_ns=at))
            elif step.endswith("start_tls"):
                waits.append(Wait(cause=WaitCause.TLS, start_ns=opened[step], end_ns=at))
    connection = Connection(
        reused=first is not None and not dialled, rtt_ns=rtt, path_rtt_ns=exchange.path_rtt_ns
    )
    return connection, tuple(waits), exchange.sent


def source_of(answered: Exchange) -> dict[str, object]:
    """Return where an answer came from: the host, the status, and what a gateway's truth names."""
    told = {
        "endpoint": urlsplit(answered.url).hostname or None,
        "status": answered.status,
        "truth_id": answered.request_id,
        "left_over": answered.left_over or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def facts_of(exchange: Exchange) -> dict[str, object]:
    """Return what the answer's head tells, and where it came from.

    ``endpoint`` is the host that was asked; ``request_id`` the service's own name of the request;
    ``served_by`` the provider behind a router, where one is told.
    """
    facts: dict[str, object] = {"attempts": 1, **source_of(exchange)}
    told = next((name for name in _REQUEST_IDS if exchange.headers.get(name)), None)
    if told is not None:
        facts["request_id"] = exchange.headers[told]
    facts.update(
        (name, exchange.headers[name]) for name in _FACT_HEADERS if name in exchange.headers
    )
    route = route_of(exchange.headers)
    facts.update(route)
    if "route.provider" in route:
        facts["served_by"] = route["route.provider"]
    return facts


def attempts_of(
    stage: Stage,
    exchanges: Sequence[Exchange],
    fail: Callable[[Exchange], Failure | None],
    idle: list[tuple[int, int]],
) -> tuple[Attempt, ...]:
    """Return what came of the exchanges before the last, which were made again.

    Args:
        stage: LLM, TTS or STT.
        exchanges: of one request, in order.
        fail: says why an exchange failed.
        idle: when the event loop was idle.
    """
    asked, sent_mark, first_mark = _MARKS.get(stage, (None, None, None))
    found = []
    for number, exchange in enumerate(exchanges[:-1], 1):
        connection, _, sent = connection_of(exchange, idle)
        marks: dict[Mark, int] = {}
        if asked is not None and sent_mark is not None and first_mark is not None:
            marks[asked] = exchange.opened.ns
            if sent is not None:
                marks[sent_mark] = sent.ns
            first = exchange.chunks[0].at if exchange.chunks else None
            first = exchange.messages[0].began if exchange.messages else first
            if first is not None:
                marks[first_mark] = first.ns
        ended = exchange.ended or exchange.closed
        redirected = exchange.status is not None and 300 <= exchange.status < 400
        facts = facts_of(exchange)
        del facts["attempts"]
        found.append(
            Attempt(
                number=number,
                start_ns=exchange.opened.ns,
                end_ns=None if ended is None else ended.ns,
                marks=marks,
                failure=None if redirected else fail(exchange),
                connection=connection,
                facts=facts,
            )
        )
    return tuple(found)


_MARKS = {
    Stage.LLM: (Mark.LLM_REQUEST, Mark.LLM_SENT, Mark.LLM_FIRST_BYTE),
    Stage.TTS: (Mark.TTS_REQUEST, Mark.TTS_SENT, Mark.TTS_FIRST_BYTE),
}


def retry_wait(exchanges: Sequence[Exchange]) -> tuple[Wait, ...]:
    """Return the time that was lost to the exchanges before the last, and to waiting after them."""
    if len(exchanges) < 2:
        return ()
    start, end = exchanges[0].opened.ns, exchanges[-1].opened.ns
    return (Wait(cause=WaitCause.RETRY, start_ns=start, end_ns=max(start, end)),)


def retried(
    call: Call, describe: Callable[[Problem], Failure]
) -> tuple[tuple[Attempt, ...], tuple[Wait, ...]]:
    """Return the earlier attempts at a call whose transport was not seen, by livekit's word.

    A user's own client tells of a failed attempt when it is about to be made again; when the next
    began is not known, so that the wait after a failure is not counted.
    """
    attempts = []
    start = call.opened.ns
    for number, problem in enumerate(call.retries, 1):
        end = max(start, problem.at_ns)
        attempts.append(
            Attempt(number=number, start_ns=start, end_ns=end, failure=describe(problem))
        )
        start = end
    if not attempts:
        return (), ()
    return tuple(attempts), (Wait(cause=WaitCause.RETRY, start_ns=call.opened.ns, end_ns=start),)
