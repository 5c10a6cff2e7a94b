"""Reading what an STT sent and got that takes whole stretches of speech over HTTP.

livekit puts a voice activity detector before such an STT. When that says that speech has ended, the
stretch is uploaded; the transcript comes back in one answer. The detector's silence, the upload and
the provider's computation are therefore three parts of the time from the end of speech to the
final, and each is known: the detector's verdict and the request's begin and end are stamped.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.domain.request import Cause, Connection, Failure, FailureKind, Request, Wait, WaitCause
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import Exchange, Recorder, Stamp
from harness.pipeline.transport.bodies import (
    SPEKO_HEARD,
    scalars,
    speko_error,
    speko_events,
    speko_route,
)
from harness.pipeline.transport.events import BOM, error_words
from harness.pipeline.transport.exchanges import attempts_of, retry_wait
from harness.pipeline.transport.failures import exchange_failure

__all__ = ["HeardBody", "Sending", "join_uploads", "last_upload", "read_heard", "upload_requests"]

Connect = Callable[[Exchange], tuple[Connection, tuple[Wait, ...], Stamp | None]]
Redact = Callable[[str], str]
_OK = 200
_OWN = frozenset({"audio_seconds", "request_id"})
"""What an upload tells of itself."""


@dataclass(slots=True)
class HeardBody:
    """An answer with a transcript, read.

    Attributes:
        text: the transcript; None where there is none, "" where nothing was understood.
        at: the arrival of the bytes that complete it.
        route: what the provider told of the route that answered.
        usage: what it counted.
        malformed: how many pieces could not be read.
        error: what the provider said went wrong.
        ended: the answer came to its end as the protocol has it.
    """

    text: str | None = None
    at: Stamp | None = None
    route: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    malformed: int = 0
    error: str | None = None
    ended: bool = False


def read_heard(exchange: Exchange) -> HeardBody:
    """Read the answer to an upload: Speko's events, OpenAI's JSON, or plain text."""
    body = HeardBody()
    if exchange.status != _OK or not exchange.chunks:
        return body
    content_type = exchange.headers.get("content-type", "").lower()
    if exchange.url.endswith(SPEKO_HEARD):
        if "event-stream" in content_type:
            _read_events(exchange, body)
        return body
    data = b"".join(chunk.data for chunk in exchange.chunks).removeprefix(BOM)
    last = exchange.chunks[-1].at
    value = _json_value(data)
    if "json" not in content_type and not isinstance(value, dict):
        if content_type.startswith("text/plain") or not content_type:
            body.text, body.at, body.ended = data.decode(errors="replace").strip(), last, True
        return body
    if not isinstance(value, dict):
        body.malformed = 1
    elif value.get("error"):
        body.error = error_words(value["error"])
    elif isinstance(value.get("text"), str):
        body.text, body.at, body.ended = value["text"], last, True
        usage = value.get("usage")
        if isinstance(usage, dict):
            body.usage = scalars(usage)
    else:
        body.malformed = 1
    return body


def _json_value(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def _read_events(exchange: Exchange, body: HeardBody) -> None:
    found, body.malformed = speko_events(exchange)
    for at, name, event in found:
        if name in ("meta", "done"):
            body.route |= speko_route(event)
        if name == "error":
            body.error = speko_error(event)
        elif name == "done" and isinstance(event.get("text"), str):
            body.text, body.at, body.ended = event["text"], at, True


def join_uploads(recorder: Recorder) -> None:
    """Give each final that left the STT the stamp of the answer that carried it.

    Stretches are recognised one after the other, and one without words gives no transcript.
    """
    bodies = [read_heard(each) for each in recorder.uploads]
    carried = [(body.text.strip(), body.at) for body in bodies if body.text and body.at]
    position = 0
    for number, event in enumerate(recorder.transcripts):
        if event.received is not None or event.kind != "final":
            continue
        for index in range(position, len(carried)):
            text, at = carried[index]
            if text == event.text.strip() and at.ns <= event.at.ns:
                recorder.transcripts[number] = event._replace(received=at)
                position = index + 1
                break


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How the stretch with the last words went out.

    Attributes:
        sent: when the last byte of the request had been written; None if it never was.
        waits: what the way there consisted of.
    """

    sent: Stamp | None
    waits: tuple[Wait, ...]


def last_upload(
    recorder: Recorder, speech_end_ns: int | None, received: Stamp | None, connect: Connect
) -> Sending | None:
    """Return how the upload went out that brought the last final; None where nothing was uploaded.

    Args:
        recorder: the trial's.
        speech_end_ns: the last speech sample's instant.
        received: the last final's arrival; None takes the last upload.
        connect: reads how an exchange got its connection.
    """
    before = [each for each in recorder.uploads if received is None or each.opened.ns < received.ns]
    if not before:
        return None
    exchange = before[-1]
    _, connecting, sent = connect(exchange)
    tries = next(each for each in _stretches(recorder) if exchange in each)
    tries = tries[: tries.index(exchange) + 1]
    waits = [*retry_wait(tries), *connecting]
    # The verdict is stamped where it leaves the STT, which may be after the upload was begun.
    verdicts = [at.ns for at in recorder.speech_ends if at.ns <= exchange.opened.ns]
    first = tries[0].opened.ns
    decided = min(verdicts[-1], first) if verdicts else first
    if recorder.speech_ends and speech_end_ns is not None and speech_end_ns < decided:
        waits.append(Wait(cause=WaitCause.VAD, start_ns=speech_end_ns, end_ns=decided))
    writing = [at for name, at in exchange.trace if name.endswith("send_request_body.started")]
    if sent is not None and writing and writing[-1] <= sent.ns:
        waits.append(Wait(cause=WaitCause.UPLOAD, start_ns=writing[-1], end_ns=sent.ns))
    return Sending(sent=sent, waits=tuple(waits))


def upload_requests(
    recorder: Recorder,
    redact: Redact,
    *,
    connect: Connect,
    facts_of: Callable[[Exchange], dict[str, object]],
    commit: Stamp | None,
    idle: list[tuple[int, int]],
) -> list[Request]:
    """Return a request for each stretch of speech that was uploaded.

    A stretch that failed after the turn was committed is the next turn's business.
    """
    found = []
    for number, tries in enumerate(_stretches(recorder)):
        exchange = tries[-1]
        body = read_heard(exchange)
        connection, waits, _ = connect(exchange)
        facts: dict[str, Any] = facts_of(exchange)
        facts["attempts"] = len(tries)
        seconds = [each for at, each in recorder.stretches if at <= tries[0].opened.ns]
        if seconds:
            facts["audio_seconds"] = round(seconds[-1], 3)
        if exchange is recorder.uploads[-1]:
            # The stretch's own length, not what a whole stream has come to.
            told = recorder.stt_facts.items()
            facts |= {key: each for key, each in told if key not in _OWN or key not in facts}
        facts |= {f"route.{key}": value for key, value in body.route.items()}
        facts |= {f"usage.{key}": value for key, value in body.usage.items()}
        if "model" in body.route:
            facts["model"] = body.route["model"]
        if "provider" in body.route:
            facts["served_by"] = body.route["provider"]

        def fail(each: Exchange) -> Failure | None:
            return _failure(each, read_heard(each), redact)

        if _taken(recorder, exchange, body):
            facts["unread"] = body.malformed
        late = commit is not None and (exchange.ended is None or exchange.ended.ns > commit.ns)
        found.append(
            Request(
                id=f"stt{number}",
                stage=Stage.STT,
                cause=Cause.STREAM,
                text=body.text or "",
                waits=(*retry_wait(tries), *waits),
                connection=connection,
                facts=facts,
                failure=None if late or _taken(recorder, exchange, body) else fail(exchange),
                attempts=attempts_of(Stage.STT, tries, fail, idle),
            )
        )
    return found


def _taken(recorder: Recorder, exchange: Exchange, body: HeardBody) -> bool:
    """Whether the agent had a transcript from an answer that we could not read."""
    ended = exchange.ended
    return (
        bool(body.malformed)
        and ended is not None
        and exchange.error is None
        and not any(each.stage is Stage.STT for each in recorder.problems)
        and any(
            each.kind == "final" and each.text.strip() and each.at.ns >= ended.ns
            for each in recorder.transcripts
        )
    )


def _stretches(recorder: Recorder) -> list[list[Exchange]]:
    """Return the exchanges of each stretch of speech: the one that did, after those that failed.

    An exchange belongs to the stretch that was handed over last before it.
    """
    starts = [at for at, _ in recorder.stretches]
    found: list[list[Exchange]] = []
    before: int | None = None
    for exchange in recorder.uploads:
        own = max((at for at in starts if at <= exchange.opened.ns), default=None)
        if found and own is not None and own == before:
            found[-1].append(exchange)
        else:
            found.append([exchange])
        before = own
    return found


def _failure(exchange: Exchange, body: HeardBody, redact: Redact) -> Failure | None:
    """Return why an upload brought no transcript, or None."""
    plain = exchange_failure(Stage.STT, exchange, redact)
    if plain is not None or exchange.status is None or exchange.error is not None:
        return plain

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(stage=Stage.STT, kind=kind, message=redact(message))

    content_type = exchange.headers.get("content-type", "").lower()
    if exchange.url.endswith(SPEKO_HEARD):
        expected = "event-stream" in content_type
    else:
        expected = "json" in content_type or body.ended or body.error is not None
    if not expected:
        return failure(
            FailureKind.WRONG_TYPE, f"answered {content_type or 'no content type'}, no transcript"
        )
    if body.error is not None:
        return failure(FailureKind.STREAM_ERROR, f"error in the answer: {body.error}")
    if body.malformed:
        return failure(FailureKind.MALFORMED, "the answer could not be read")
    if exchange.ended is not None and not body.ended:
        return failure(FailureKind.TRUNCATED, "the answer ended without a transcript")
    return None
