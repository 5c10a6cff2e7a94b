"""From a call of an LLM or TTS client to a request: its marks, its arrivals, what was told of it.

Each mark is a stamp that a probe took, chosen by cause.
"""

import re
from collections.abc import Callable

from harness.clock import Work
from harness.domain.request import (
    Arrival,
    Attempt,
    Cause,
    Connection,
    Failure,
    FailureKind,
    Request,
    Wait,
)
from harness.domain.timeline import Mark, Stage
from harness.pipeline.recording.recording import Call, Exchange, Recorder, Stamp
from harness.pipeline.transport.bodies import ChatBody, SpeechBody, read_chat, read_speech
from harness.pipeline.transport.exchanges import (
    attempts_of,
    connection_of,
    facts_of,
    retried,
    retry_wait,
)
from harness.pipeline.transport.failures import chat_failure, failure_of, speech_failure
from harness.pipeline.transport.sentences import handed, sentence_received, source_of
from harness.pipeline.transport.socket_reading import read_spoken, spoken_failure

__all__ = ["CallReader", "Marks"]

_SAMPLES = ("audio/pcm", "audio/l16", "audio/wav", "audio/x-wav", "text/event-stream")


def _before(one: Stamp | None, other: Stamp | None) -> bool:
    return one is not None and other is not None and one.ns < other.ns


class Marks:
    """Marks with the work done by then."""

    def __init__(self) -> None:
        self.at: dict[Mark, int] = {}
        self.work: dict[Mark, Work] = {}

    def put(self, mark: Mark, stamp: Stamp | None) -> None:
        """Place a mark, if there is a stamp for it."""
        if stamp is not None:
            self.at[mark] = stamp.ns
            self.work[mark] = stamp.work


class CallReader:
    """Reads a trial's calls after it has ended.

    Args:
        recorder: the trial's.
        redact: removes secrets from what a provider said.
        idle: when the event loop was idle, in order.
        sample_rate: of the reply as it was played, in hertz; 0 where nothing was.
    """

    def __init__(
        self,
        recorder: Recorder,
        redact: Callable[[str], str],
        idle: list[tuple[int, int]],
        sample_rate: int,
    ) -> None:
        self.recorder = recorder
        self.redact = redact
        self.idle = idle
        self.sample_rate = sample_rate
        self.bodies: dict[int, ChatBody] = {}
        self.requests: dict[int, Request] = {}

    def connection(self, exchange: Exchange) -> tuple[Connection, tuple[Wait, ...], Stamp | None]:
        """Return how an exchange was had; see :func:`connection_of`."""
        return connection_of(exchange, self.idle)

    def commit(self) -> Stamp | None:
        """Return when the turn was committed."""
        return self.recorder.commits[0] if self.recorder.commits else None

    def llm(self, call: Call, previous: Call | None) -> Request:
        """Return the request that a call of the LLM was; ``previous`` is the call before it."""
        marks = Marks()
        marks.put(Mark.LLM_REQUEST, call.opened)
        node = call.node
        first_text = call.first_text or (node.first_output if node is not None else None)
        waits: tuple[Wait, ...] = ()
        connection: Connection | None = None
        facts: dict[str, object] = dict(call.facts)
        failure: Failure | None = None
        body: ChatBody | None = None
        attempts, lost = self._attempts(call, self._chat_failure)
        if call.exchanges:
            exchange = call.exchanges[-1]
            body = read_chat(exchange)
            self.bodies[call.index] = body
            connection, waits, sent = connection_of(exchange, self.idle)
            marks.put(Mark.LLM_SENT, sent)
            marks.put(Mark.LLM_FIRST_BYTE, body.first_byte)
            marks.put(
                Mark.LLM_FIRST_REASONING,
                next((delta.at for delta in body.deltas if delta.reasoning.strip()), None),
            )
            received = next(
                (delta.at for delta in body.deltas if delta.text.strip() or delta.tool_call), None
            )
            if not _before(first_text, received):
                # What the agent had before is not what we take for the first text.
                marks.put(Mark.LLM_TEXT_RECEIVED, received)
            facts.update(facts_of(exchange))
            facts["attempts"] = len(call.exchanges)
            facts["done"] = body.done_at is not None
            if body.finish_reason is not None:
                facts["finish_reason"] = body.finish_reason
            if body.model is not None:
                facts["model"] = body.model
            if body.response_id is not None:
                facts.setdefault("request_id", body.response_id)
                facts["response_id"] = body.response_id
            facts.update({f"usage.{key}": value for key, value in body.usage.items()})
            facts.update({f"route.{key}": value for key, value in body.route.items()})
            if "provider" in body.route:
                facts["served_by"] = body.route["provider"]
            failure = chat_failure(exchange, body, self.redact)
            heard = first_text is not None
            if body.malformed and heard and self._unreadable(Stage.LLM, failure):
                facts["unread"], failure = body.malformed, None
        marks.put(Mark.LLM_FIRST_TEXT, first_text)
        ended = call.ended or (node.ended if node is not None else None)
        if first_text is not None and ended is not None:
            marks.put(Mark.LLM_END, ended)
        pieces = call.pieces or (node.pieces if node is not None else [])
        commit = self.commit()
        cause = Cause.FIXED if node is None else Cause.TURN
        parent = None
        if call.last_item == "function_call_output" and previous is not None:
            cause, parent = Cause.TOOL, f"llm{previous.index}"
        elif node is not None and (commit is None or call.opened.ns < commit.ns):
            cause = Cause.PREEMPTIVE
        return Request(
            id=f"llm{call.index}",
            stage=Stage.LLM,
            cause=cause,
            parent=parent,
            cancelled=node is not None and node.cancelled,
            text="".join(text for _, text in pieces),
            marks=marks.at,
            work=marks.work,
            arrivals=_token_arrivals(pieces, body),
            waits=(*lost, *call.waits, *waits),
            connection=connection,
            facts=facts,
            failure=failure,
            attempts=attempts,
        )

    def _unreadable(self, stage: Stage, failure: Failure | None) -> bool:
        """Whether we alone could not read an answer: its client took it without a word."""
        return (
            failure is not None
            and failure.kind is FailureKind.MALFORMED
            and not any(each.stage is stage for each in self.recorder.problems)
        )

    def _chat_failure(self, exchange: Exchange) -> Failure | None:
        return chat_failure(exchange, read_chat(exchange), self.redact)

    def _speech_failure(self, exchange: Exchange) -> Failure | None:
        if exchange.dialect is not None:
            return spoken_failure(exchange, read_spoken(exchange), self.redact)
        return speech_failure(exchange, read_speech(exchange), self.redact)

    def _attempts(
        self, call: Call, fail: Callable[[Exchange], Failure | None]
    ) -> tuple[tuple[Attempt, ...], tuple[Wait, ...]]:
        """Return a call's earlier attempts and the time that was lost to them."""
        if call.exchanges:
            found = attempts_of(call.stage, call.exchanges, fail, self.idle)
            return found, retry_wait(call.exchanges)
        return retried(call, lambda each: failure_of(call.stage, each.error, self.redact))

    def tts(self, call: Call, llm_calls: list[Call]) -> Request:
        """Return the request that a call of the TTS was."""
        marks = Marks()
        source = source_of(call, llm_calls)
        attempts, lost = self._attempts(call, self._speech_failure)
        exchange = call.exchanges[-1] if call.exchanges else None
        handed_at, before = handed(call, exchange)
        text = call.text or "".join(piece for _, piece in call.pieces)
        marks.put(Mark.LLM_FIRST_SENTENCE, handed_at)
        marks.put(Mark.TTS_REQUEST, handed_at)
        held: tuple[Wait, ...] = ()
        if source is not None:
            received, held = sentence_received(
                self.recorder,
                self.bodies.get(source.index),
                call,
                source,
                text=text,
                streamed_before=before,
            )
            if received is not None and received.ns <= handed_at.ns:
                marks.put(Mark.SENTENCE_RECEIVED, received)
        waits: tuple[Wait, ...] = ()
        connection: Connection | None = None
        facts: dict[str, object] = dict(call.facts)
        failure: Failure | None = None
        arrivals: tuple[Arrival, ...] = ()
        if exchange is not None:
            spoken = exchange.dialect is not None
            body: SpeechBody = read_spoken(exchange) if spoken else read_speech(exchange)
            connection, waits, sent = connection_of(exchange, self.idle)
            marks.put(Mark.TTS_SENT, sent)
            marks.put(Mark.TTS_HEADER, body.header)
            marks.put(Mark.TTS_FIRST_BYTE, body.first_audio)
            marks.put(Mark.TTS_FRAME_RECEIVED, body.frame)
            marks.put(Mark.TTS_END, body.last)
            facts.update(facts_of(exchange))
            facts["attempts"] = len(call.exchanges)
            facts["bytes"] = body.size
            rate = self._rate(exchange)
            frame = 2
            if body.wav is not None and body.wav.rate and body.wav.frame:
                rate, frame = body.wav.rate, body.wav.frame
            if "route.model" in facts:
                facts["model"] = facts["route.model"]
            if rate:
                facts["audio_seconds"] = round(body.size / frame / rate, 3)
            facts.update({f"usage.{key}": value for key, value in body.usage.items()})
            arrivals = tuple(
                Arrival(received_ns=at.ns, at_ns=None, size=size) for at, size in body.arrivals
            )
            judge = spoken_failure if spoken else speech_failure
            failure = judge(exchange, body, self.redact)
            heard = self.sample_rate and body.size
            if body.malformed and heard and self._unreadable(Stage.TTS, failure):
                facts["unread"], failure = body.malformed, None
            if spoken:
                for message in exchange.messages:
                    facts.update(exchange.dialect.facts(message.data))
                if exchange.request_id is not None and "session_id" in facts:
                    # A socket serves many requests; the gateway tells each by its session.
                    facts["truth_id"] = facts["session_id"]
                if "session_id" in facts:
                    facts.setdefault("request_id", facts["session_id"])
        facts["characters"] = len(text)
        node = call.node
        streamed = bool(call.pieces)
        return Request(
            id=f"tts{call.index}",
            stage=Stage.TTS,
            cause=Cause.FIXED if node is None else Cause.STREAM if streamed else Cause.SENTENCE,
            parent=None if source is None else f"llm{source.index}",
            cancelled=node is not None and node.cancelled and not call.exchanges,
            text=text,
            marks=marks.at,
            work=marks.work,
            arrivals=arrivals,
            waits=(*held, *lost, *call.waits, *waits),
            connection=connection,
            facts=facts,
            failure=failure,
            attempts=attempts,
        )

    def _rate(self, exchange: Exchange) -> int:
        """Return the samples a second of a body of plain samples; 0 where it is encoded."""
        content_type = exchange.headers.get("content-type", "").lower()
        stated = re.search(r"rate=([0-9]{1,9})", content_type)
        if stated is not None:
            return int(stated[1])
        encoded = exchange.dialect is None and not content_type.startswith(_SAMPLES)
        return 0 if encoded else self.sample_rate


def _token_arrivals(pieces: list[tuple[Stamp, str]], body: ChatBody | None) -> tuple[Arrival, ...]:
    if body is None:
        return tuple(Arrival(received_ns=None, at_ns=at.ns, text=text) for at, text in pieces)
    deltas = [delta for delta in body.deltas if delta.text]
    same = len(deltas) == len([text for _, text in pieces if text])
    texts = [(at, text) for at, text in pieces if text]
    return tuple(
        Arrival(
            received_ns=delta.at.ns,
            at_ns=texts[position][0].ns if same else None,
            text=delta.text,
        )
        for position, delta in enumerate(deltas)
    )
