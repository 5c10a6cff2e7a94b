"""From what went wrong to a failure's stage and kind.

livekit folds many causes into one ``APIConnectionError``; the exchange at the transport tells them
apart.
"""

import asyncio
import json
import re
from collections.abc import Callable

import httpx2
from aiohttp.http_exceptions import BadHttpMessage
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Stage
from harness.errors import ProviderError
from harness.pipeline.recording.recording import Exchange
from harness.pipeline.transport.bodies import SPEKO_SPEECH, ChatBody, SpeechBody

__all__ = [
    "chat_failure",
    "exchange_failure",
    "failure_of",
    "speech_failure",
    "status_kind",
]

Redact = Callable[[str], str]

_BY_STATUS = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.UNAUTHORIZED,
    402: FailureKind.FORBIDDEN,
    403: FailureKind.FORBIDDEN,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    422: FailureKind.BAD_REQUEST,
    429: FailureKind.RATE_LIMITED,
}
_UNREADABLE = (
    TypeError, ValueError, LookupError, AttributeError, RecursionError, OverflowError,
)  # fmt: skip
"""What reading an answer raises that is not as the protocol has it."""
_AGENT = "livekit.agents.voice"
"""What runs a user's agent, whose own mistakes pass through it."""
_READERS = frozenset({"json", "base64", "asyncio", "contextlib", "pydantic"})
_OK = 200
_CLIENT = 400
_SERVER = 500


def status_kind(status: int) -> FailureKind:
    """Return the kind of failure that an HTTP status is."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER:
        return FailureKind.SERVER_ERROR
    return FailureKind.BAD_REQUEST


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _stated_kind(error: BaseException) -> FailureKind | None:
    """Return the kind that our own plugins put into an API error's body."""
    body = getattr(error, "body", None)
    kind = body.get("kind") if isinstance(body, dict) else None
    if isinstance(kind, str) and kind in set(FailureKind):
        return FailureKind(kind)
    return None


def _in_plugin(error: BaseException) -> bool:
    """Whether it was livekit that raised an error, itself or by what it had read the answer with.

    livekit's plugins do not wrap all that they stumble over.
    """
    name = ""
    frame = error.__traceback__
    while frame is not None:
        module = str(frame.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _READERS:
            name = module
        frame = frame.tb_next
    return name.startswith(("livekit.plugins", "livekit.agents")) and not name.startswith(_AGENT)


def _kind_of(error: BaseException) -> tuple[FailureKind, int | None]:
    chain = _causes(error)
    for each in chain:
        stated = _stated_kind(each)
        if stated is not None:
            status = getattr(each, "status_code", None)
            return stated, status if isinstance(status, int) and status > 0 else None
    for each in chain:
        if isinstance(each, ProviderError):
            return FailureKind(each.kind), each.status
    for each in chain:
        if isinstance(each, APIStatusError) and each.status_code >= _CLIENT:
            return status_kind(each.status_code), each.status_code
    for each in chain:
        if isinstance(each, APITimeoutError | TimeoutError | httpx2.TimeoutException):
            return FailureKind.TIMEOUT, None
        if isinstance(each, httpx2.ConnectError | ConnectionRefusedError):
            return FailureKind.REFUSED, None
        if isinstance(each, httpx2.RemoteProtocolError):
            # One class for a peer that went away and for one that speaks no HTTP.
            gone = "disconnected" in str(each) or "closed connection" in str(each)
            return FailureKind.RESET if gone else FailureKind.MALFORMED, None
        if isinstance(each, httpx2.ReadError | ConnectionResetError | BrokenPipeError):
            return FailureKind.RESET, None
        if isinstance(each, BadHttpMessage) and "Not enough data" in str(each):
            # So aiohttp calls a body that breaks off.
            return FailureKind.RESET, None
        if isinstance(each, json.JSONDecodeError | BadHttpMessage):
            return FailureKind.MALFORMED, None
    wrapped = any(isinstance(each, APIConnectionError) for each in chain)
    if wrapped and any(isinstance(each, _UNREADABLE) for each in chain):
        # A plugin that stumbles over an answer calls it a connection error.
        return FailureKind.MALFORMED, None
    stumbles = (*_UNREADABLE, RuntimeError)
    if any(isinstance(each, stumbles) and _in_plugin(each) for each in chain):
        return FailureKind.MALFORMED, None
    for each in chain:
        if isinstance(each, APIStatusError):
            return FailureKind.STREAM_ERROR, each.status_code
        if isinstance(each, APIConnectionError):
            return FailureKind.RESET, None
        if isinstance(each, APIError):
            return FailureKind.STREAM_ERROR, None
    return FailureKind.INTERNAL, None


def failure_of(stage: Stage, error: BaseException, redact: Redact) -> Failure:
    """Describe an error that a stage raised."""
    if isinstance(error, asyncio.CancelledError):
        return Failure(stage=stage, kind=FailureKind.INTERNAL, message="cancelled")
    kind, status = _kind_of(error)
    # livekit's status errors print all their fields; the sentence is in `message`.
    words = getattr(error, "message", None)
    said = (words if isinstance(words, str) else str(error)).strip() or type(error).__name__
    if kind is FailureKind.MALFORMED and isinstance(error, APIConnectionError):
        # livekit's own words are "Connection error."; the cause says what could not be read.
        cause = next((each for each in _causes(error) if isinstance(each, _UNREADABLE)), None)
        said = said if cause is None else f"{type(cause).__name__}: {cause}"
    first = said.splitlines()[0][:300]
    return Failure(stage=stage, kind=kind, message=redact(first), status=status)


def exchange_failure(stage: Stage, exchange: Exchange, redact: Redact) -> Failure | None:
    """Return what the transport itself shows to have failed, or None."""
    if exchange.status is not None and exchange.status != _OK:
        said = b"".join(chunk.data for chunk in exchange.chunks)[:300]
        text = " ".join(said.decode("utf-8", "replace").split())
        return Failure(
            stage=stage,
            kind=status_kind(exchange.status),
            message=redact(
                f"HTTP {exchange.status}: {text}" if text else f"HTTP {exchange.status}"
            ),
            status=exchange.status,
        )
    error = exchange.error
    if error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
        return failure_of(stage, error, redact)
    return None


def chat_failure(exchange: Exchange, body: ChatBody, redact: Redact) -> Failure | None:
    """Return why a chat response is not a complete answer, or None."""
    plain = exchange_failure(Stage.LLM, exchange, redact)
    if plain is not None:
        return plain
    if exchange.status is None:
        return None

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(stage=Stage.LLM, kind=kind, message=redact(message))

    if body.error is not None:
        # Also where its reader left at the error.
        return failure(FailureKind.STREAM_ERROR, f"error in the stream: {body.error}")
    content_type = exchange.headers.get("content-type", "")
    if "event-stream" not in content_type.lower() and not body.deltas:
        # Also of an answer that its reader left at what it took for the end.
        return failure(
            FailureKind.WRONG_TYPE,
            f"answered {content_type or 'no content type'}, not an SSE stream",
        )
    if body.finish_reason == "error":
        return failure(FailureKind.STREAM_ERROR, "the answer's finish reason is an error")
    left = isinstance(exchange.error, asyncio.CancelledError | GeneratorExit)
    if left and body.done_at is None:
        return None
    if body.malformed:
        return failure(FailureKind.MALFORMED, f"{body.malformed} events could not be read")
    if exchange.ended is not None and body.finish_reason is None and body.done_at is None:
        if body.deltas:
            return failure(
                FailureKind.TRUNCATED, "the stream ended without a finish reason or [DONE]"
            )
        return failure(FailureKind.EMPTY, "the stream ended without an answer")
    if body.done_at is not None or body.finish_reason is not None:
        said = any(delta.text.strip() or delta.tool_call for delta in body.deltas)
        if not said:
            return failure(FailureKind.EMPTY, "the answer has no text and no tool call")
    return None


def _is_text(exchange: Exchange) -> bool:
    """Whether a body begins as texts do, and no samples; an empty one does."""
    head = b"".join(chunk.data for chunk in exchange.chunks[:8])[:256]
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


PROMISED_RATE = 24_000
"""What livekit's OpenAI plugin takes headerless samples for."""
_BARE = ("audio/pcm", "audio/l16")
"""Types of samples without a header, which alone tells how fast they are."""
_AUDIO_TYPES = ("audio/", "application/octet-stream", "text/event-stream", "binary/")


def speech_failure(exchange: Exchange, body: SpeechBody, redact: Redact) -> Failure | None:
    """Return why a synthesis response is not audio, or None."""
    plain = exchange_failure(Stage.TTS, exchange, redact)
    if plain is not None:
        return plain

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(stage=Stage.TTS, kind=kind, message=redact(message))

    if body.error is not None:
        # Also where its reader left at the error.
        return failure(FailureKind.STREAM_ERROR, f"error in the stream: {body.error}")
    if exchange.status is None or isinstance(
        exchange.error, asyncio.CancelledError | GeneratorExit
    ):
        return None
    content_type = exchange.headers.get("content-type", "").lower()
    if content_type and not content_type.startswith(_AUDIO_TYPES) and _is_text(exchange):
        return failure(FailureKind.WRONG_TYPE, f"answered {content_type}, not audio")
    if body.malformed:
        return failure(FailureKind.MALFORMED, f"{body.malformed} events could not be read")
    if exchange.ended is not None and body.size == 0:
        return failure(FailureKind.EMPTY, "answered with no audio")
    # What states no format of audio is taken for samples, unless it begins like a file.
    samples = not content_type.startswith(("audio/", "text/")) and not body.container
    bare = content_type.startswith(_BARE)
    if (samples or bare) and body.size % 2 and exchange.ended:
        return failure(FailureKind.MALFORMED, "an odd number of bytes is no 16-bit audio")
    if bare:
        rate = re.search(r"rate=([0-9]{1,9})", content_type)
        states_rate = exchange.url.endswith(SPEKO_SPEECH)
        if rate is not None and not states_rate and int(rate[1]) != PROMISED_RATE:
            return failure(
                FailureKind.WRONG_TYPE, f"audio at {rate[1]} Hz where {PROMISED_RATE} Hz is due"
            )
    if body.events and body.done and body.size % 2 and not body.container:
        return failure(FailureKind.MALFORMED, "an odd number of bytes is no 16-bit audio")
    if body.events and exchange.ended is not None and not body.done:
        return failure(FailureKind.TRUNCATED, "the stream ended without speech.audio.done")
    promised = exchange.headers.get("content-length", "")
    received = exchange.received or sum(len(chunk.data) for chunk in exchange.chunks)
    if re.fullmatch(r"[0-9]{1,18}", promised) and received < int(promised):
        return failure(FailureKind.TRUNCATED, f"{received} of {promised} bytes came")
    return None
