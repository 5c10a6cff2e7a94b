"""What a stream of speech to an STT was: its sockets, its transcripts, its failures."""

from collections.abc import Callable
from typing import Any

from harness.domain.request import (
    Attempt,
    Cause,
    Connection,
    Failure,
    FailureKind,
    Request,
    Wait,
    WaitCause,
)
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import Exchange, Recorder, Stamp
from harness.pipeline.transport.exchanges import source_of
from harness.pipeline.transport.failures import failure_of
from harness.pipeline.transport.socket_reading import (
    closed_failure,
    dial_failure,
    socket_connection,
)

__all__ = ["join_transcripts", "listen_request"]

_HEARD_RATE = 16_000


def join_transcripts(recorder: Recorder) -> None:
    """Give each transcript that left the STT the stamp of the message that carried it.

    Plugins hand out transcripts in the order of the messages, so each is looked for after the one
    before it.
    """
    carried: list[tuple[str, str, Stamp]] = []
    for exchange in recorder.sockets:
        for message in exchange.messages:
            found = exchange.dialect.transcript(message.data)
            if found is not None:
                carried.append((*found, message.at))
    position = 0
    for number, event in enumerate(recorder.transcripts):
        if event.received is not None:
            continue
        for index in range(position, len(carried)):
            kind, text, at = carried[index]
            if kind == event.kind and text == event.text and at.ns <= event.at.ns:
                recorder.transcripts[number] = event._replace(received=at)
                position = index + 1
                break


def listen_request(recorder: Recorder, redact: Callable[[str], str]) -> Request | None:
    """Return the STT's part of a trial, or None where nothing is known of it."""
    facts: dict[str, Any] = dict(recorder.stt_facts)
    connection: Connection | None = None
    waits: tuple[Wait, ...] = ()
    failure: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    samples = sum(log.samples for _, log in recorder.stt.streams)
    if samples:
        # What went out, which is what a service counts that bills an open line.
        facts.setdefault("audio_seconds", round(samples / _HEARD_RATE, 3))
    if recorder.sockets:
        last = recorder.sockets[-1]
        connection, waits = socket_connection(last)
        facts["attempts"] = len(recorder.sockets)
        facts.update(source_of(last))
        for message in last.messages:
            facts.update(last.dialect.facts(message.data))
        failure = _listen_failure(recorder, redact)
        attempts = _lost_sockets(recorder, redact)
        began = last.opened.ns
    else:
        if recorder.stt.connections:
            opened = recorder.stt.connections[-1]
            connection = Connection(
                reused=opened.reused, rtt_ns=opened.tcp_rtt_ns, path_rtt_ns=recorder.stt.path_rtt_ns
            )
        attempts = _failed_streams(recorder, redact)
        began = recorder.stt.connected_ns[-1] if recorder.stt.connected_ns else 0
    if "session_id" in facts:
        facts.setdefault("request_id", facts["session_id"])
    waits = (*_between(attempts, began), *waits)
    if not facts and connection is None:
        return None
    return Request(
        id="stt0",
        stage=Stage.STT,
        cause=Cause.STREAM,
        waits=waits,
        connection=connection,
        facts=facts,
        failure=failure,
        attempts=attempts,
    )


def _lost_sockets(recorder: Recorder, redact: Callable[[str], str]) -> tuple[Attempt, ...]:
    """Return the sockets before the last which failed: what was said on them was said again."""
    found = []
    for number, exchange in enumerate(recorder.sockets[:-1], 1):
        failure = dial_failure(Stage.STT, exchange, redact) or _told(exchange, redact)
        if failure is None and exchange.closed is not None:
            failure = closed_failure(Stage.STT, exchange, "before its final transcript")
        ended = exchange.closed or exchange.ended
        if failure is None:
            continue
        connection, _ = socket_connection(exchange)
        facts: dict[str, Any] = {"status": exchange.status} if exchange.status is not None else {}
        if exchange.request_id is not None:
            facts["truth_id"] = exchange.request_id
        found.append(
            Attempt(
                number=number,
                start_ns=exchange.opened.ns,
                end_ns=None if ended is None else max(ended.ns, exchange.opened.ns),
                failure=failure,
                connection=connection,
                facts=facts,
            )
        )
    return tuple(found)


def _failed_streams(recorder: Recorder, redact: Callable[[str], str]) -> tuple[Attempt, ...]:
    """Return the earlier attempts of a stream whose sockets nobody saw, by livekit's word."""
    found: list[Attempt] = []
    since = recorder.stt.streams[0][0] if recorder.stt.streams else 0
    for number, problem in enumerate(recorder.retries, 1):
        connected = [at for at in recorder.stt.connected_ns if since <= at <= problem.at_ns]
        start = min(connected[0] if connected else since, problem.at_ns)
        found.append(
            Attempt(
                number=number,
                start_ns=start,
                end_ns=problem.at_ns,
                failure=failure_of(Stage.STT, problem.error, redact),
            )
        )
        since = problem.at_ns
    return tuple(found)


def _between(attempts: tuple[Attempt, ...], began: int) -> tuple[Wait, ...]:
    """Return the times without a connection: from each failure to the next attempt."""
    nexts = [*(each.start_ns for each in attempts[1:]), began]
    return tuple(
        Wait(cause=WaitCause.RETRY, start_ns=each.end_ns, end_ns=following)
        for each, following in zip(attempts, nexts, strict=False)
        if each.end_ns is not None and following >= each.end_ns
    )


def _told(exchange: Exchange, redact: Callable[[str], str]) -> Failure | None:
    """Return what a message of the socket said had gone wrong, or None."""
    for message in exchange.messages:
        said = exchange.dialect.error(message.data)
        if said is not None:
            return Failure(
                stage=Stage.STT, kind=FailureKind.STREAM_ERROR, message=redact(said[:300])
            )
        if not exchange.dialect.readable(message.data):
            return Failure(
                stage=Stage.STT,
                kind=FailureKind.MALFORMED,
                message="a message could not be read",
            )
    return None


def _listen_failure(recorder: Recorder, redact: Callable[[str], str]) -> Failure | None:
    """Return what the sockets tell of a recognition that livekit says failed, or that is missing.

    Errors after a good final are the next turn's: the caller has been understood.
    """
    reported = any(problem.stage is Stage.STT for problem in recorder.turn_problems())
    understood = any(each.kind == "final" and each.text.strip() for each in recorder.transcripts)
    if understood and not reported:
        return _unstated(recorder)
    for exchange in reversed(recorder.sockets):
        failed = dial_failure(Stage.STT, exchange, redact)
        if failed is not None:
            return failed
        told = _told(exchange, redact)
        if told is not None:
            return told
        if exchange.closed is not None:
            return closed_failure(Stage.STT, exchange, "before its final transcript")
    return None


def _unstated(recorder: Recorder) -> Failure | None:
    """Return a failure if a final left the STT that no message states, or None.

    A plugin may make a transcript of a message that is not as its protocol has it.
    """
    if any(
        each.kind == "final" and each.text.strip() and each.received is None
        for each in recorder.transcripts
    ):
        return Failure(
            stage=Stage.STT,
            kind=FailureKind.MALFORMED,
            message="a final transcript that no readable message states",
        )
    return None
