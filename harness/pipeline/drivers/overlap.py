"""Speaking over the agent's reply, and watching what becomes of it.

The recording is mixed into the caller's line when the reply has become audible, on the line's own
schedule: when each of its samples is due is known, whatever the machine does in between.
"""

from collections.abc import Callable

from harness.domain.driver import PlayableBargeIn
from harness.domain.reply import Overlap
from harness.domain.request import Request
from harness.domain.timeline import Mark
from harness.pipeline.drivers.interruption import judge_requests
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.line.source import PIPELINE_RATE, PacedInput
from harness.pipeline.recording.recording import Call, Overlapped, Recorder, Stamp

__all__ = ["drop_what_followed", "drop_what_preceded", "overlap_marks", "overlap_of", "speak_over"]

_NS = 1_000_000_000


def speak_over(source: PacedInput, sink: PlayoutClock, barge_in: PlayableBargeIn) -> Overlapped:
    """Put a recording over the reply, which has become audible; return when its speech is due.

    Its first speech sample is due ``after_ns`` after the reply's first audible sample, or as soon
    as the line has not yet given out its audio.
    """
    audible = sink.audible_ns
    assert audible is not None, "the reply is not audible yet"
    lead = barge_in.speech_start_ns * PIPELINE_RATE // _NS
    wanted = audible + barge_in.after_ns - barge_in.speech_start_ns
    begun = source.mix(barge_in.pcm, at_ns=wanted, may_drop=lead)
    return Overlapped(
        recording=barge_in.recording,
        expects=barge_in.expects,
        start_ns=begun + barge_in.speech_start_ns,
        end_ns=begun + barge_in.speech_end_ns,
    )


def drop_what_followed(recorder: Recorder) -> None:
    """Forget what the agent began after the reply had stopped or ended: that is another turn."""
    spoken = recorder.overlapped
    last = None if spoken is None else spoken.ended_ns
    if spoken is not None and spoken.stopped is not None:
        last = spoken.stopped.ns
    if last is None:
        return
    recorder.calls = [each for each in recorder.calls if each.opened.ns <= last]
    recorder.problems = [each for each in recorder.problems if each.at_ns <= last]


def drop_what_preceded(recorder: Recorder, speech_start_ns: int | None) -> None:
    """Forget what the agent began before the caller spoke: that is its greeting, and no answer.

    Args:
        recorder: the trial's.
        speech_start_ns: the caller's first sample; None where nobody speaks.
    """
    if speech_start_ns is None:
        return

    def belongs(call: Call) -> bool:
        begun = call.opened if call.node is None else call.node.opened
        return begun.ns >= speech_start_ns

    recorder.calls = [each for each in recorder.calls if belongs(each)]


def overlap_of(recorder: Recorder, redact: Callable[[str], str]) -> Overlap | None:
    """Return what was to be said over the reply, and who was to judge it.

    Args:
        recorder: the trial's.
        redact: removes secrets from what a provider said.
    """
    planned = recorder.planned_overlap
    if planned is None:
        return None
    return Overlap(
        recording=planned.recording,
        expects=planned.expects,
        detector=recorder.detector,
        fell_back=redact(recorder.fell_back),
    )


def overlap_marks(
    recorder: Recorder, redact: Callable[[str], str], put: Callable[[Mark, Stamp | None], None]
) -> tuple[dict[Mark, int], list[Request]]:
    """Return the due instants of the speech over the reply and the detector's requests.

    Args:
        recorder: the trial's.
        redact: removes secrets from what a provider said.
        put: takes the marks that were stamped.
    """
    requests = judge_requests(recorder, redact)
    spoken = recorder.overlapped
    if spoken is None:
        return {}, requests
    stopped = spoken.stopped
    if spoken.ended_ns is not None and spoken.ended_ns <= spoken.start_ns:
        # The reply was over before: nothing was said over it.
        return {}, requests
    if stopped is not None and stopped.ns < spoken.start_ns:
        return {}, requests
    put(Mark.REPLY_STOPPED, stopped)
    decided = [
        each
        for each in recorder.interruptions
        if spoken.start_ns <= each.ns and (stopped is None or each.ns <= stopped.ns)
    ]
    put(Mark.INTERRUPTION_DETECTED, decided[0] if decided else None)
    for request in requests:
        if request.facts.get("verdict") == "interruption":
            for mark, at in request.marks.items():
                put(mark, Stamp(at, request.work[mark]))
            break
    return {Mark.OVERLAP_START: spoken.start_ns, Mark.OVERLAP_END: spoken.end_ns}, requests
