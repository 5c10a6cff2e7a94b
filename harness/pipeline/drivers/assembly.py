"""From what the probes wrote down to a turn.

Runs after the trial, and decides nothing about time: each mark is a stamp that a probe took, chosen
by cause.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.domain.reply import PlayoutSegment
from harness.domain.request import Idle, Request, Transcript, TranscriptKind, Wait, WaitCause
from harness.domain.suite import SessionOptions, TurnDetection
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.pipeline.drivers.overlap import (
    drop_what_followed,
    drop_what_preceded,
    overlap_marks,
    overlap_of,
)
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.recording.recording import Recorder, Stamp
from harness.pipeline.transport.calls import CallReader, Marks
from harness.pipeline.transport.exchanges import facts_of
from harness.pipeline.transport.listening import join_transcripts, listen_request
from harness.pipeline.transport.uploads import join_uploads, last_upload, upload_requests

__all__ = ["Schedule", "assemble"]

_NS = 1_000_000_000
_TIMER_NS = 1_100_000
"""asyncio's timers fire up to a millisecond late: the selector waits in whole milliseconds."""


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
    sink: PlayoutClock, requests: list[Request], marks: Marks
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
    work = CallReader(recorder, redact, idle, 0 if sink is None else sink.rate)
    drop_what_followed(recorder)
    if recorder.session_started is not None:
        # Each stage alone is asked without waiting for a caller.
        drop_what_preceded(recorder, schedule.speech_start_ns)
    join_transcripts(recorder)
    join_uploads(recorder)
    marks = Marks()
    greeted = recorder.greeting_audible_ns
    if greeted is None and sink is not None:
        greeted = sink.greeted_ns
    if greeted is not None and recorder.session_started is not None:
        marks.at[Mark.SESSION_START] = recorder.session_started.ns
        marks.at[Mark.GREETING_AUDIBLE] = greeted
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
    requests += upload_requests(
        recorder, redact, connect=work.connection, facts_of=facts_of, commit=commit, idle=idle
    )
    heard = None if requests else listen_request(recorder, redact)
    if heard is not None:
        requests.append(heard)
        # What comes later is the next stretch's business.
        sent_ns = marks.at.get(Mark.SPEECH_SENT)
        waits += [
            replace(each, end_ns=min(each.end_ns, sent_ns))
            for each in heard.waits
            if sent_ns is not None and each.start_ns < sent_ns
        ]
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
    overlapping, judged = overlap_marks(recorder, redact, marks.put)
    marks.at.update(overlapping)
    requests += judged
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
        overlap=overlap_of(recorder, redact),
        agent_cpu_ns=recorder.agent_cpu_ns,
    )
