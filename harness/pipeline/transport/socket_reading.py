"""Reading what sockets carried, after the trial: transcripts, audio, errors, and when they came.

A provider's messages are described by a dialect: plain functions from a message to what it says.
Nothing here runs on the timed path, and nothing here raises on a message that makes no sense: it is
counted, as for HTTP bodies.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import aiohttp

from harness.domain.request import Connection, Failure, FailureKind, Wait, WaitCause
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import Exchange, Sent, Stamp
from harness.pipeline.transport.bodies import SpeechBody
from harness.pipeline.transport.failures import failure_of, status_kind

__all__ = [
    "ListenDialect",
    "Payload",
    "Silence",
    "SpeakDialect",
    "closed_failure",
    "dial_failure",
    "json_object",
    "read_spoken",
    "sent_at",
    "socket_connection",
    "spoken_failure",
]

Payload = str | bytes
_UPGRADED = 101
_OK = 200
_NORMAL = 1000
_CLOSES: Mapping[int, FailureKind] = MappingProxyType(
    {
        # A message that breaks the protocol, is of no known kind or encoding, or is too long.
        1002: FailureKind.MALFORMED,
        1003: FailureKind.MALFORMED,
        1007: FailureKind.MALFORMED,
        1008: FailureKind.BAD_REQUEST,
        1009: FailureKind.MALFORMED,
        1011: FailureKind.SERVER_ERROR,
        1012: FailureKind.SERVER_ERROR,
        1013: FailureKind.SERVER_ERROR,
    }
)
_ABNORMAL = 1006
_AUDIO_TYPES = ("audio/", "application/octet-stream", "binary/")


def json_object(data: Payload) -> dict[str, Any] | None:
    """Return a message as a JSON object, or None where it is none."""
    try:
        value = json.loads(data if isinstance(data, str) else data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What silence a server was told to end an utterance with, in milliseconds.

    Attributes:
        shortest_ms: it waits for that much at least; None where it was told of none.
        longest_ms: it waits for no more than that; None where it was told of none.
    """

    shortest_ms: float | None = None
    longest_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenDialect:
    """How an STT's messages are read.

    Attributes:
        samples: how many samples at 16 kHz an outgoing message holds; 0 for any other message.
        transcript: kind ("interim", "preflight", "final") and text of an incoming message that the
            plugin makes a transcript of; None for any other.
        error: what an incoming message says has gone wrong; None for any other.
        readable: whether an incoming message is what the protocol allows at all.
        facts: what an incoming message tells of the model, the request or the session.
        rate: the samples' rate on the wire; where it is not the pipeline's, livekit resamples.
        silence: what an outgoing message tells the server of endpointing; None for any other.
        ends: whether an outgoing message tells the server that the utterance has ended.
    """

    samples: Callable[[Payload], int]
    transcript: Callable[[Payload], tuple[str, str] | None]
    error: Callable[[Payload], str | None]
    readable: Callable[[Payload], bool]
    facts: Callable[[Payload], Mapping[str, Any]]
    rate: int = 16_000
    silence: Callable[[Payload], Silence | None] = lambda _: None
    ends: Callable[[Payload], bool] = lambda _: False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakDialect:
    """How a TTS's messages are read.

    Attributes:
        audio: how many bytes of samples an incoming message holds; None where they cannot be read.
        ended: whether an incoming message ends the synthesis; None where the socket's end does.
        error: what an incoming message says has gone wrong; None for any other.
        mismatch: how the audio that an incoming message announces is not what was asked for; None
            where it is, and for any other message.
        begun: the index of the first outgoing message with text to speak; None if there was none.
        released: the index of the outgoing message with which the server had the text of its first
            audio; None if it never had.
        trigger: the index of the piece of text with which the plugin had the text that its first
            such message needed; None if that took the end of the text.
        facts: what an incoming message tells of the request or the session.
    """

    audio: Callable[[Payload], int | None]
    ended: Callable[[Payload], bool] | None
    error: Callable[[Payload], str | None]
    mismatch: Callable[[Payload], str | None]
    begun: Callable[[Sequence[Sent]], int | None]
    released: Callable[[Sequence[Sent]], int | None]
    trigger: Callable[[Sequence[str]], int | None]
    facts: Callable[[Payload], Mapping[str, Any]]


def socket_connection(exchange: Exchange) -> tuple[Connection, tuple[Wait, ...]]:
    """Return how a socket was had, and what was waited for."""
    if exchange.reused:
        return Connection(reused=True, path_rtt_ns=exchange.path_rtt_ns), ()
    began = {name: at for name, at in exchange.trace if name.endswith(".started")}
    ended = {name: at for name, at in exchange.trace if name.endswith(".complete")}
    waits = []
    pool, out = began.get("pool.started"), ended.get("pool.complete")
    if pool is not None and out is not None:
        waits.append(Wait(cause=WaitCause.POOL, start_ns=pool, end_ns=out))
    start, end = began.get("connect.started"), ended.get("connect.complete")
    if exchange.headers_at is not None and exchange.status == _UPGRADED:
        # A socket can be used only when its upgrade has been answered.
        first = exchange.opened.ns if start is None else start
        waits.append(Wait(cause=WaitCause.CONNECT, start_ns=first, end_ns=exchange.headers_at.ns))
    elif start is not None and end is not None:
        waits.append(Wait(cause=WaitCause.CONNECT, start_ns=start, end_ns=end))
    secure = exchange.url.startswith(("wss:", "https:"))
    # With TLS the two handshakes are one step, which is no round trip.
    rtt = None if secure or start is None or end is None else end - start
    connection = Connection(reused=start is None, rtt_ns=rtt, path_rtt_ns=exchange.path_rtt_ns)
    return connection, tuple(waits)


def dial_failure(stage: Stage, exchange: Exchange, redact: Callable[[str], str]) -> Failure | None:
    """Return why a socket was not opened, or None."""
    if exchange.status not in (None, _UPGRADED, _OK):
        assert exchange.status is not None
        return Failure(
            stage=stage,
            kind=status_kind(exchange.status),
            message=redact(f"HTTP {exchange.status} where a socket was to be opened"),
            status=exchange.status,
        )
    error = exchange.error
    if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
        return None
    kind = _connect_kind(error)
    if kind is None:
        return failure_of(stage, error, redact)
    return Failure(stage=stage, kind=kind, message=redact(str(error) or type(error).__name__))


def _connect_kind(error: BaseException) -> FailureKind | None:
    if isinstance(error, TimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return FailureKind.REFUSED
    if isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError):
        return FailureKind.RESET
    return None


def closed_failure(stage: Stage, exchange: Exchange, when: str) -> Failure:
    """Return the failure that a socket's untimely end is."""
    code = exchange.close_code
    if code in (None, _ABNORMAL):
        kind, what = FailureKind.RESET, "lost"
    else:
        assert code is not None
        kind, what = _CLOSES.get(code, FailureKind.TRUNCATED), f"closed ({code})"
    return Failure(
        stage=stage,
        kind=kind,
        message=f"the socket was {what} {when}",
        status=None if code is None else int(code),
    )


def sent_at(exchange: Exchange) -> Stamp | None:
    """Return when the text of the first audio had been handed to the transport, or None.

    For a body over HTTP, when the request had been written. A server that speaks before it has
    what its kind is known to wait for had enough with the last message before its audio.
    """
    if not exchange.sends:
        return exchange.sent if exchange.status == _OK else None
    dialect: SpeakDialect = exchange.dialect
    index = dialect.released(exchange.sends)
    audio = next((each.began for each in exchange.messages if dialect.audio(each.data)), None)
    if audio is not None and (index is None or exchange.sends[index].at.ns > audio.ns):
        before = [each.at for each in exchange.sends if each.at.ns <= audio.ns]
        return before[-1] if before else None
    return None if index is None else exchange.sends[index].at


def _asked_ns(exchange: Exchange) -> int | None:
    """Return when the first text was handed to a socket's server; None if none was."""
    dialect: SpeakDialect = exchange.dialect
    index = dialect.begun(exchange.sends)
    return None if index is None else exchange.sends[index].at.ns


def read_spoken(exchange: Exchange) -> SpeechBody:
    """Read a synthesis from the messages of a socket, or from a body that was counted."""
    dialect: SpeakDialect = exchange.dialect
    body = SpeechBody()
    # What comes with another status is an error's words.
    for at, size in exchange.counted if exchange.status == _OK else ():
        body.header = body.header or at
        body.arrivals.append((at, size))
        if body.first_audio is None:
            body.first_audio = at
    asked = _asked_ns(exchange)
    for message in exchange.messages:
        said = dialect.error(message.data)
        if said is not None:
            body.error = body.error or said[:500]
            continue
        carried = dialect.audio(message.data)
        if carried is None:
            body.malformed += 1
            continue
        ended = dialect.ended is not None and dialect.ended(message.data)
        if (carried or ended) and (asked is None or message.began.ns < asked):
            # An effect before its cause: of an earlier reply, or of none.
            body.early += 1
        elif carried:
            if body.first_audio is None:
                body.header = body.first_audio = message.began
            body.arrivals.append((message.at, carried))
    for at, size in body.arrivals:
        body.size += size
        if body.frame is None and body.size >= 2:
            body.frame = at
        body.last = at
    return body


def spoken_failure(
    exchange: Exchange, body: SpeechBody, redact: Callable[[str], str]
) -> Failure | None:
    """Return why a synthesis over a socket is not the whole of it, or None."""
    dialect: SpeakDialect = exchange.dialect
    failed = dial_failure(Stage.TTS, exchange, redact)
    if failed is not None:
        return failed

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(stage=Stage.TTS, kind=kind, message=redact(message))

    if body.error is not None:
        return failure(FailureKind.STREAM_ERROR, body.error)
    for message in exchange.messages:
        wrong = dialect.mismatch(message.data)
        if wrong is not None:
            return failure(FailureKind.WRONG_TYPE, wrong)
    if body.malformed:
        return failure(FailureKind.MALFORMED, f"{body.malformed} messages could not be read")
    if body.early:
        return failure(
            FailureKind.MALFORMED, f"{body.early} messages of a reply came before its text was sent"
        )
    if exchange.status == _OK:
        return _body_failure(exchange, body, failure)
    if len(_sessions(exchange)) > 1:
        return failure(FailureKind.MALFORMED, "audio of more than one session in one reply")
    by_close = dialect.ended is None
    ended = not by_close and any(
        dialect.ended is not None and dialect.ended(each.data) for each in exchange.messages
    )
    if exchange.closed is not None and not ended:
        if not by_close or exchange.close_code != _NORMAL:
            return closed_failure(Stage.TTS, exchange, "before the end of the speech")
        ended = True
    if ended and body.size == 0:
        return failure(FailureKind.EMPTY, "answered with no audio")
    if ended and body.size % 2:
        return failure(FailureKind.MALFORMED, "an odd number of bytes is no 16-bit audio")
    return None


def _sessions(exchange: Exchange) -> set[Any]:
    """Return the names of the sessions that a socket's audio says it is of."""
    dialect: SpeakDialect = exchange.dialect
    found = {
        dialect.facts(message.data).get("session_id")
        for message in exchange.messages
        if dialect.audio(message.data)
    }
    return found - {None}


def _body_failure(
    exchange: Exchange, body: SpeechBody, failure: Callable[[FailureKind, str], Failure]
) -> Failure | None:
    """Return why a body over HTTP is not the whole of a synthesis, or None."""
    content_type = exchange.headers.get("content-type", "").lower()
    if content_type and not content_type.startswith(_AUDIO_TYPES):
        return failure(FailureKind.WRONG_TYPE, f"answered {content_type}, not audio")
    if exchange.ended is None:
        return None
    if body.size == 0:
        return failure(FailureKind.EMPTY, "answered with no audio")
    if body.size % 2:
        return failure(FailureKind.MALFORMED, "an odd number of bytes is no 16-bit audio")
    return None
