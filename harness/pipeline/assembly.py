"""From what the probes wrote down to a turn.

Runs after the trial. Decides nothing about time: each mark is a stamp that a probe took, chosen by
cause. Where a sentence was completed by a certain token, it is the text that tells which token it
was, never "the last one before"; otherwise a pause between two steps would pass for the provider's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from harness.clock import Work
from harness.domain.suite import SessionOptions, TurnDetection
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import (
    Arrival,
    Cause,
    Connection,
    Failure,
    Idle,
    PlayoutSegment,
    Request,
    Transcript,
    TranscriptKind,
    Turn,
    Wait,
    WaitCause,
)
from harness.pipeline.bodies import ChatBody, SpeechBody, read_chat, read_speech
from harness.pipeline.failures import chat_failure, speech_failure
from harness.pipeline.recording import Call, Exchange, Node, Recorder, Stamp
from harness.pipeline.routes import route_of
from harness.pipeline.sink import PlayoutClock
from harness.pipeline.socket_reading import (
    join_transcripts,
    listen_request,
    read_spoken,
    sent_at,
    socket_connection,
    spoken_failure,
)
from harness.pipeline.uploads import join_uploads, last_upload, upload_requests

__all__ = ["Schedule", "assemble"]

_NS = 1_000_000_000
_TIMER_NS = 1_100_000
"""asyncio's timers fire up to a millisecond late: the selector waits in whole milliseconds."""

_FACT_HEADERS = (
    "x-request-id",
    "x-route",
    "x-route-reason",
    "x-speko-failover-count",
    "x-speko-provider",
    "x-speko-model",
    "x-speko-scores-run-id",
    "x-ratelimit-remaining-requests",
    "x-livekit-request-id",
    "x-livekit-inference-rpm-limit",
    "x-livekit-inference-rpm-used",
    "x-livekit-inference-tpm-limit",
    "x-livekit-inference-tpm-used",
    "retry-after",
    "content-type",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the utterance was due.

    Attributes:
        origin_ns: the recording's first sample.
        speech_start_ns, speech_end_ns: absolute; None where no speech is expected.
        audio_end_ns: the recording's last sample.
        released, released_due_ns: when the frame with the last speech sample was released, and due.
    """

    origin_ns: int
    audio_end_ns: int
    speech_start_ns: int | None
    speech_end_ns: int | None
    released: Stamp | None
    released_due_ns: int | None


class _Marks:
    """Marks with the work done by then."""

    def __init__(self) -> None:
        self.at: dict[Mark, int] = {}
        self.work: dict[Mark, Work] = {}

    def put(self, mark: Mark, stamp: Stamp | None) -> None:
        if stamp is not None:
            self.at[mark] = stamp.ns
            self.work[mark] = stamp.work


def _connection(
    exchange: Exchange, idle: list[tuple[int, int]]
) -> tuple[Connection, tuple[Wait, ...], Stamp | None]:
    """Read the trace: how the connection was had, what was waited for, when the request was out."""
    if exchange.dialect is not None:
        connection, socket_waits = socket_connection(exchange)
        return connection, socket_waits, sent_at(exchange)
    waits: list[Wait] = []
    opened: dict[str, int] = {}
    rtt: int | None = None
    first = exchange.trace[0][1] if exchange.trace else None
    if first is not None:
        # If the loop went idle before httpcore's first event, it waited for the pool.
        queued = [each for each in idle if each[1] > exchange.opened.ns and each[0] < first]
        if queued:
            start = max(exchange.opened.ns, queued[0][0])
            end = min(first, queued[-1][1])
            waits.append(Wait(cause=WaitCause.POOL, start_ns=start, end_ns=end))
    for name, at in exchange.trace:
        step, _, phase = name.rpartition(".")
        if phase == "started":
            opened[step] = at
        elif phase in {"complete", "failed"} and step in opened:
            if step.endswith(("connect_tcp", "connect_unix_socket")):
                rtt = at - opened[step]
                waits.append(Wait(cause=WaitCause.CONNECT, start_ns=opened[step], end_ns=at))
            elif step.endswith("start_tls"):
                waits.append(Wait(cause=WaitCause.TLS, start_ns=opened[step], end_ns=at))
    return Connection(reused=rtt is None, rtt_ns=rtt), tuple(waits), exchange.sent


def _facts(exchange: Exchange) -> dict[str, object]:
    facts: dict[str, object] = {"attempts": 1}
    if exchange.status is not None:
        facts["status"] = exchange.status
    if exchange.request_id is not None:
        facts["truth_id"] = exchange.request_id
    facts.update(
        (name, exchange.headers[name]) for name in _FACT_HEADERS if name in exchange.headers
    )
    facts.update(route_of(exchange.headers))
    return facts


def _squeezed(text: str) -> int:
    return len("".join(text.split()))


class _Assembler:
    def __init__(
        self, recorder: Recorder, redact: Callable[[str], str], idle: list[tuple[int, int]]
    ) -> None:
        self.recorder = recorder
        self.redact = redact
        self.idle = idle
        self.bodies: dict[int, ChatBody] = {}
        self.requests: dict[int, Request] = {}

    def connection(self, exchange: Exchange) -> tuple[Connection, tuple[Wait, ...], Stamp | None]:
        return _connection(exchange, self.idle)

    def commit(self) -> Stamp | None:
        return self.recorder.commits[0] if self.recorder.commits else None

    def llm(self, call: Call, previous: Call | None) -> Request:
        marks = _Marks()
        marks.put(Mark.LLM_REQUEST, call.opened)
        node = call.node
        waits: tuple[Wait, ...] = ()
        connection: Connection | None = None
        facts: dict[str, object] = dict(call.facts)
        failure: Failure | None = None
        body: ChatBody | None = None
        if call.exchanges:
            exchange = call.exchanges[-1]
            body = read_chat(exchange)
            self.bodies[call.index] = body
            connection, waits, sent = _connection(exchange, self.idle)
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
            facts.update(_facts(exchange))
            facts["attempts"] = len(call.exchanges)
            facts["done"] = body.done_at is not None
            if body.finish_reason is not None:
                facts["finish_reason"] = body.finish_reason
            if body.model is not None:
                facts["model"] = body.model
            facts.update({f"usage.{key}": value for key, value in body.usage.items()})
            facts.update({f"route.{key}": value for key, value in body.route.items()})
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
            waits=waits,
            connection=connection,
            facts=facts,
            failure=failure,
        )

    def tts(self, call: Call, llm_calls: list[Call]) -> Request:
        marks = _Marks()
        source = self._source(call, llm_calls)
        exchange = call.exchanges[-1] if call.exchanges else None
        handed, before = _handed(call, exchange)
        text = call.text or "".join(piece for _, piece in call.pieces)
        marks.put(Mark.LLM_FIRST_SENTENCE, handed)
        marks.put(Mark.TTS_REQUEST, handed)
        if source is not None:
            received = self._sentence_received(call, source, text, before)
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
            connection, waits, sent = _connection(exchange, self.idle)
            marks.put(Mark.TTS_SENT, sent)
            marks.put(Mark.TTS_HEADER, body.header)
            marks.put(Mark.TTS_FIRST_BYTE, body.first_audio)
            marks.put(Mark.TTS_FRAME_RECEIVED, body.frame)
            marks.put(Mark.TTS_END, body.last)
            facts.update(_facts(exchange))
            facts["attempts"] = len(call.exchanges)
            facts["bytes"] = body.size
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
            waits=waits,
            connection=connection,
            facts=facts,
            failure=failure,
        )

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
    ) -> Stamp | None:
        """Return when the bytes arrived that let this text go.

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
            return None
        # Only the first text of the reply: earlier sentences of the same node come before it.
        before = sum(
            _squeezed(each.text)
            for each in self.recorder.calls
            if each.stage is Stage.TTS and each.node is node and each.index < call.index
        )
        needed = before + (_squeezed(text) if not call.pieces else streamed_before)
        trigger = _first_beyond(node.pieces, needed)
        deltas = [delta for delta in body.deltas if delta.text]
        if trigger is None:
            # The reply ended; its end is told by [DONE], or by the finish reason.
            return body.done_at or body.finish_at or (deltas[-1].at if deltas else None)
        piece_at, count = trigger
        total = 0
        for delta in deltas:
            total += _squeezed(delta.text)
            if total >= count:
                # The agent's filters may hold text back until a later token: then it is the last
                # delta that the agent had before the piece came out.
                held = [each.at for each in deltas if each.at.ns <= piece_at.ns]
                node_times = [at for at, _ in source.node.pieces]
                if len(node_times) == len(deltas) and _filtered(node, source.node):
                    return held[-1] if held else delta.at
                return delta.at
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


def _endpointing_waits(recorder: Recorder, options: SessionOptions, commit: Stamp) -> list[Wait]:
    """Return the endpointing delay that the agent is known to have waited."""
    delays = [options.min_endpointing_delay_s]
    if options.turn_detection is TurnDetection.MODEL:
        delays.append(options.max_endpointing_delay_s)
    triggers = [each.at.ns for each in recorder.transcripts if each.kind == "final"]
    triggers += [at.ns for at in recorder.speech_ends]
    triggers += [at.ns for at, _, _ in recorder.vad_ends]
    if recorder.vad_ends and options.turn_detection is not TurnDetection.STT:
        # The delay counts from the detector's idea of the speech end.
        anchors = [
            at.ns - round((silence_s + inference_s) * _NS)
            for at, silence_s, inference_s in recorder.vad_ends
            if at.ns <= commit.ns
        ]
    elif recorder.speech_anchors and options.turn_detection is TurnDetection.STT:
        anchors = [each for each in recorder.speech_anchors if each <= commit.ns]
    else:
        # Without word times livekit counts from the arrival of the transcript.
        anchors = [each for each in triggers if each <= commit.ns]
    triggers = [each for each in triggers if each <= commit.ns]
    if not triggers or not anchors:
        return []
    anchor = max(anchors)
    start = max(triggers)
    ends = [anchor + round(delay * _NS) for delay in delays if delay > 0]
    # With a model two delays are possible; the one that was waited is the one nearest the commit.
    due = [end for end in ends if start < end <= commit.ns + _TIMER_NS]
    if not due:
        return []
    end = min(max(due) + _TIMER_NS, commit.ns)
    return [Wait(cause=WaitCause.ENDPOINTING, start_ns=start, end_ns=max(start, end))]


def _idle_between_marks(
    marks: dict[Mark, int], requests: list[Request], idle: list[tuple[int, int]]
) -> tuple[Idle, ...]:
    """Keep, for each gap between neighbouring marks, the first idleness's start, the last's end."""
    instants = sorted({*marks.values(), *(at for each in requests for at in each.marks.values())})
    found: list[Idle] = []
    position = 0
    for start, end in pairwise(instants):
        while position < len(idle) and idle[position][1] <= start:
            position += 1
        last = position
        while last < len(idle) and idle[last][0] < end:
            last += 1
        if last > position:
            found.append(
                Idle(start_ns=max(start, idle[position][0]), end_ns=min(end, idle[last - 1][1]))
            )
    return tuple(found)


def _playout(
    sink: PlayoutClock, requests: list[Request], marks: _Marks
) -> tuple[list[Wait], str | None]:
    """Place the playout marks and find the request that the first audible sample came from."""
    reply = sink.reply()
    tts = [each for each in requests if each.stage is Stage.TTS]
    if reply is None or not sink.arrivals:
        return [], None
    waits: list[Wait] = []
    first = sink.arrivals[0][0]
    start = reply.segments[0].start_ns
    marks.put(Mark.TTS_FIRST_FRAME, first)
    marks.put(Mark.PLAYOUT_START, Stamp(start, first.work))
    marks.at[Mark.PLAYOUT_END] = max(
        segment.start_ns + segment.samples * _NS // reply.sample_rate for segment in reply.segments
    )
    producers = [each for each in tts if not each.cancelled and each.facts.get("bytes", 1)]
    producer = producers[0].id if producers else None
    if reply.leading_silence >= reply.samples:
        return waits, producer
    audible = _instant_of(reply.leading_silence, reply.segments, reply.sample_rate)
    marks.at[Mark.FIRST_AUDIBLE] = audible
    cursor = start
    for segment in reply.segments:
        if segment.start_ns > audible:
            break
        if segment.start_ns > cursor:
            waits.append(Wait(cause=WaitCause.UNDERRUN, start_ns=cursor, end_ns=segment.start_ns))
        end = min(audible, segment.start_ns + segment.samples * _NS // reply.sample_rate)
        if end > segment.start_ns:
            waits.append(
                Wait(cause=WaitCause.LEADING_SILENCE, start_ns=segment.start_ns, end_ns=end)
            )
        cursor = max(cursor, end)
    # Each request's audio follows the one before it; which one the first audible sample came from
    # follows from how much each gave. Encoded audio gives no count: then it is the first.
    offset = reply.leading_silence
    for each in producers:
        size = each.facts.get("bytes")
        encoded = "pcm" not in str(each.facts.get("content-type", "pcm"))
        samples = 0 if not isinstance(size, int) or encoded else size // 2
        if samples == 0 or offset < samples:
            return waits, each.id
        offset -= samples
    return waits, producer


def _instant_of(sample: int, segments: tuple[PlayoutSegment, ...], rate: int) -> int:
    segment = next(each for each in reversed(segments) if sample >= each.offset)
    return segment.start_ns + (sample - segment.offset) * _NS // rate


def assemble(
    *,
    recorder: Recorder,
    schedule: Schedule,
    options: SessionOptions,
    sink: PlayoutClock | None,
    utterance: str,
    redact: Callable[[str], str],
    idle: list[tuple[int, int]],
    index: int = 0,
) -> Turn:
    """Build the turn that the probes saw.

    Args:
        recorder: what they wrote down.
        schedule: when the utterance was due.
        options: the suite's session options.
        sink: the playout clock.
        utterance: the utterance's id.
        redact: removes secrets from what a provider said.
        idle: when the event loop was idle, in order.
        index: the turn's position in its trial.
    """
    work = _Assembler(recorder, redact, idle)
    join_transcripts(recorder)
    join_uploads(recorder)
    marks = _Marks()
    if schedule.speech_start_ns is not None and schedule.speech_end_ns is not None:
        marks.at[Mark.SPEECH_START] = schedule.speech_start_ns
        marks.at[Mark.SPEECH_END] = schedule.speech_end_ns
    marks.at[Mark.AUDIO_END] = schedule.audio_end_ns
    waits: list[Wait] = list(recorder.waits)
    end = schedule.speech_end_ns
    if schedule.released is not None and end is not None and schedule.released_due_ns is not None:
        # Until the frame is released nothing is the client's doing: its account starts there.
        marks.work[Mark.SPEECH_END] = schedule.released.work
        due = max(end, schedule.released_due_ns)
        waits.append(Wait(cause=WaitCause.FRAME, start_ns=end, end_ns=due))
        if schedule.released.ns > due:
            waits.append(Wait(cause=WaitCause.PACING, start_ns=due, end_ns=schedule.released.ns))
    marks.put(Mark.SPEECH_SENT, recorder.speech_sent)
    commit = recorder.commits[0] if recorder.commits else None
    transcripts = tuple(
        Transcript(
            kind=TranscriptKind(each.kind),
            text=each.text,
            at_ns=each.at.ns,
            received_ns=None if each.received is None else each.received.ns,
            late=commit is not None and each.at.ns > commit.ns,
        )
        for each in recorder.transcripts
    )
    spoken = [each for each in recorder.transcripts if each.text.strip()]
    if spoken:
        marks.put(Mark.TRANSCRIPT_FIRST, spoken[0].at)
    finals = [
        each
        for each in spoken
        if each.kind == "final" and (commit is None or each.at.ns <= commit.ns)
    ]
    if finals:
        marks.put(Mark.TRANSCRIPT_FINAL, finals[-1].at)
        marks.put(Mark.FINAL_RECEIVED, finals[-1].received)
    sending = last_upload(recorder, end, finals[-1].received if finals else None, work.connection)
    if sending is not None:
        marks.put(Mark.SPEECH_SENT, sending.sent)
        waits += sending.waits
    if commit is not None:
        marks.put(Mark.TURN_COMMITTED, commit)
        vad = [at for at, _, _ in recorder.vad_ends if at.ns <= commit.ns]
        if vad:
            marks.put(Mark.VAD_END, vad[-1])
        waits += _endpointing_waits(recorder, options, commit)
    waits += [
        Wait(cause=WaitCause.TOOL, start_ns=start, end_ns=stop)
        for start, stop in recorder.tool_runs
    ]
    llm_calls = [each for each in recorder.calls if each.stage is Stage.LLM]
    requests: list[Request] = []
    later = [each for each in recorder.problems if each not in recorder.turn_problems()]
    if later:
        recorder.stt_facts["error_after_commit"] = redact(str(later[0].error).splitlines()[0][:300])
    requests += upload_requests(recorder, redact, work.connection, _facts, commit)
    heard = None if requests else listen_request(recorder, redact)
    if heard is not None:
        requests.append(heard)
    for call in recorder.calls:
        if call.stage is Stage.LLM:
            position = llm_calls.index(call)
            requests.append(work.llm(call, llm_calls[position - 1] if position else None))
        else:
            requests.append(work.tts(call, llm_calls))
    audible: str | None = None
    reply = None
    if sink is not None:
        playout_waits, audible = _playout(sink, requests, marks)
        waits += playout_waits
        reply = sink.reply()
    return Turn(
        index=index,
        utterance=utterance,
        marks=marks.at,
        work=marks.work,
        transcripts=transcripts,
        requests=tuple(requests),
        audible_request=audible,
        waits=tuple(sorted(waits, key=lambda wait: (wait.start_ns, wait.end_ns))),
        idle=_idle_between_marks(marks.at, requests, idle),
        reply=reply,
        reported=dict(recorder.reported),
    )
