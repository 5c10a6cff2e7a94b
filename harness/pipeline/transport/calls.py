"""From a call of an LLM or TTS client to a request: its marks, its arrivals, what was told of it.

Each mark is a stamp that a probe took, chosen by cause. Where a sentence was completed by a certain
token, it is the text that tells which token it was, never "the last one before"; otherwise a pause
between two steps would pass for the provider's.
"""

import re
from collections.abc import Callable

from harness.clock import Work
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import (
    Arrival,
    Attempt,
    Cause,
    Connection,
    Failure,
    Request,
    Wait,
    WaitCause,
)
from harness.pipeline.recording.recording import Call, Exchange, Node, Recorder, Stamp
from harness.pipeline.transport.bodies import ChatBody, SpeechBody, read_chat, read_speech
from harness.pipeline.transport.exchanges import (
    attempts_of,
    connection_of,
    facts_of,
    retried,
    retry_wait,
)
from harness.pipeline.transport.failures import chat_failure, failure_of, speech_failure
from harness.pipeline.transport.socket_reading import read_spoken, sent_at, spoken_failure
from harness.pipeline.transport.transforms import replay, unheld

__all__ = ["CallReader", "Marks"]

_SAMPLES = ("audio/pcm", "audio/l16", "audio/wav", "audio/x-wav", "text/event-stream")


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


def _squeezed(text: str) -> int:
    return len("".join(text.split()))


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
        first_text = call.first_text or (node.first_output if node is not None else None)
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
        source = self._source(call, llm_calls)
        attempts, lost = self._attempts(call, self._speech_failure)
        exchange = call.exchanges[-1] if call.exchanges else None
        handed, before = _handed(call, exchange)
        text = call.text or "".join(piece for _, piece in call.pieces)
        marks.put(Mark.LLM_FIRST_SENTENCE, handed)
        marks.put(Mark.TTS_REQUEST, handed)
        held: tuple[Wait, ...] = ()
        if source is not None:
            received, held = self._sentence_received(call, source, text, before)
            if received is not None and received.ns <= handed.ns:
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
            if "route.model" in facts:
                facts["model"] = facts["route.model"]
            if rate:
                facts["audio_seconds"] = round(body.size / 2 / rate, 3)
            facts.update({f"usage.{key}": value for key, value in body.usage.items()})
            arrivals = tuple(
                Arrival(received_ns=at.ns, at_ns=None, size=size) for at, size in body.arrivals
            )
            judge = spoken_failure if spoken else speech_failure
            failure = judge(exchange, body, self.redact)
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

    @staticmethod
    def _source(call: Call, llm_calls: list[Call]) -> Call | None:
        """Find the LLM call whose answer this text is part of."""
        if call.node is None:
            return None
        wanted = "".join("".join(text for _, text in call.node.pieces).split())
        for candidate in reversed(llm_calls):
            if candidate.node is None or candidate.opened.ns > call.opened.ns:
                continue
            said = "".join("".join(text for _, text in candidate.node.pieces).split())
            if said and (said.startswith(wanted[:40]) or wanted.startswith(said[:40])):
                return candidate
        earlier = [each for each in llm_calls if each.opened.ns <= call.opened.ns]
        return earlier[-1] if earlier else None

    def _sentence_received(
        self, call: Call, source: Call, text: str, streamed_before: int
    ) -> tuple[Stamp | None, tuple[Wait, ...]]:
        """Return when the bytes arrived that let this text go, and what the agent held it back for.

        A sentence goes when text follows it, or when the reply ends. The piece that brought it is
        found by counting characters other than spaces.

        Args:
            call: the TTS call.
            source: the LLM call that the text is from.
            text: the call's text.
            streamed_before: of a stream, how many characters were not yet enough.
        """
        node = call.node
        body = self.bodies.get(source.index)
        if node is None or body is None or not node.pieces or source.node is None:
            return None, ()
        # Only the first text of the reply: earlier sentences of the same node come before it.
        before = sum(
            _squeezed(each.text)
            for each in self.recorder.calls
            if each.stage is Stage.TTS and each.node is node and each.index < call.index
        )
        needed = before + (_squeezed(text) if not call.pieces else streamed_before)
        trigger = _first_beyond(node.pieces, needed)
        deltas = [delta for delta in body.deltas if delta.text]
        # A reply's end is told by [DONE], or by the finish reason.
        ended = body.done_at or body.finish_at or (deltas[-1].at if deltas else None)
        if trigger is None:
            return ended, ()
        piece_at, count = trigger
        through = self._through_filters(node, source.node, needed)
        arrived = [delta.at for delta in deltas]
        if through is not None and len(arrived) == len(_texts(source.node)):
            free, released = through
            at = arrived[released] if released < len(arrived) else ended
            if at is None or arrived[free].ns >= at.ns:
                return at, ()
            held = Wait(cause=WaitCause.TRANSFORMS, start_ns=arrived[free].ns, end_ns=at.ns)
            return at, (held,)
        total = 0
        for delta in deltas:
            total += _squeezed(delta.text)
            if total >= count:
                # An agent's own filters may hold text back until a later token: then it is the
                # last delta that the agent had before the piece came out.
                had = [at for at in arrived if at.ns <= piece_at.ns]
                if len(_texts(source.node)) == len(arrived) and _filtered(node, source.node):
                    return (had[-1] if had else delta.at), ()
                return delta.at, ()
        return None, ()

    def _through_filters(
        self, tts_node: Node, llm_node: Node, needed: int
    ) -> tuple[int, int] | None:
        """Return which piece of the reply held more than the needed text, and which let it go.

        None where the filters are not livekit's own, or do not explain what the TTS was given.

        Args:
            tts_node: was given what the filters let go.
            llm_node: gave the pieces that went in.
            needed: how many characters other than spaces do not yet let the text go.
        """
        transforms = self.recorder.text_transforms
        if not transforms:
            return None
        pieces = _texts(llm_node)
        again = [each for each in replay(pieces, transforms) or () if each[0]]
        given = _texts(tts_node)
        if [text for text, _ in again[: len(given)]] != given:
            return None
        total = 0
        for text, index in again:
            total += _squeezed(text)
            if total > needed:
                free = unheld(pieces, transforms, needed)
                return None if free is None else (free, index)
        return None


def _handed(call: Call, exchange: Exchange | None) -> tuple[Stamp, int]:
    """Return when the TTS client had the text of its first request.

    Also how many characters other than spaces it had been given before and had not sufficed. A
    client that takes text as it comes may itself wait for a whole sentence, and a server may: that
    wait is for the LLM, and no part of the synthesis.
    """
    if not call.pieces:
        return call.opened, 0
    if exchange is None or exchange.dialect is None:
        return call.pieces[0][0], 0
    trigger = exchange.dialect.trigger([text for _, text in call.pieces])
    sent = sent_at(exchange)
    if sent is not None and (trigger is None or call.pieces[trigger][0].ns > sent.ns):
        # The client did not wait for what it is known to wait for.
        given = [number for number, (at, _) in enumerate(call.pieces) if at.ns <= sent.ns]
        ended = None if call.node is None else call.node.input_ended
        if given and (trigger is not None or (ended is not None and ended.ns > sent.ns)):
            trigger = given[-1]
    if trigger is not None:
        before = sum(_squeezed(text) for _, text in call.pieces[:trigger])
        return call.pieces[trigger][0], before
    whole = sum(_squeezed(text) for _, text in call.pieces)
    node = call.node
    if node is not None and node.input_ended is not None:
        return node.input_ended, whole
    return call.pieces[-1][0], whole


def _texts(node: Node) -> list[str]:
    return [text for _, text in node.pieces if text]


def _filtered(tts_node: Node, llm_node: Node) -> bool:
    return [text for _, text in tts_node.pieces] != [text for _, text in llm_node.pieces]


def _first_beyond(pieces: list[tuple[Stamp, str]], needed: int) -> tuple[Stamp, int] | None:
    total = 0
    for at, text in pieces:
        total += _squeezed(text)
        if total > needed:
            return at, total
    return None


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
