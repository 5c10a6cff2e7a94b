"""Why a trial failed: the stage to blame, and what of it is told."""

from collections.abc import Callable
from typing import Final

from harness.domain.request import Failure, FailureKind, Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.pipeline.line.reply_check import reply_fault
from harness.pipeline.recording.recording import Recorder
from harness.pipeline.transport.failures import failure_of

__all__ = ["DROPPED", "audio_failure", "no_transcript", "primary_failure", "silence_failure"]

DROPPED: Final = Failure(
    stage=Stage.INTERRUPTION,
    kind=FailureKind.NO_REPLY,
    message="the agent took the caller's own turn for an interruption, and dropped its reply "
    "before it could be heard",
)
"""The agent was ready to answer, and was stopped before anybody could hear it."""


def primary_failure(recorder: Recorder, turn: Turn, redact: Callable[[str], str]) -> Failure | None:
    """Return the first cause of a trial's failure.

    A request that failed tells more than livekit's error of it; errors that no request explains
    come next.
    """
    failed = [
        each
        for each in turn.requests
        # Without its detector of interruptions livekit goes on by voice activity.
        if each.failure is not None and not each.cancelled and each.stage is not Stage.INTERRUPTION
    ]
    if failed:
        first = min(failed, key=_begin)
        assert first.failure is not None
        # A reset that livekit's own time-out caused is a time-out.
        for problem in recorder.turn_problems():
            described = failure_of(problem.stage, problem.error, redact)
            if problem.stage is first.stage and described.kind is FailureKind.TIMEOUT:
                return described
        return first.failure
    problems = recorder.turn_problems()
    if problems:
        first_problem = min(problems, key=lambda problem: problem.at_ns)
        described = failure_of(first_problem.stage, first_problem.error, redact)
        if described.kind is FailureKind.RESET:
            # livekit calls many an error a lost connection; the server's own words say more, also
            # where the request was dropped on account of it.
            told = [
                each.failure
                for each in turn.requests
                if each.failure is not None and each.stage is first_problem.stage
            ]
            return told[0] if told else described
        return described
    return None


def audio_failure(turn: Turn, pcm: bytes) -> Failure | None:
    """Return why the reply's audio cannot be speech, or None."""
    reply = turn.reply
    if reply is None or reply.interrupted:
        return None
    if reply.leading_silence >= reply.samples:
        return Failure(
            stage=Stage.TTS, kind=FailureKind.SILENT, message="the reply's audio is silent"
        )
    text = "".join(
        each.text for each in turn.requests if each.stage is Stage.TTS and not each.cancelled
    )
    found = reply_fault(pcm, reply.sample_rate, text)
    if found is None:
        return None
    kind, message = found
    return Failure(stage=Stage.TTS, kind=FailureKind(kind), message=message)


def _begin(request: Request) -> int:
    return request.marks.get(Mark.LLM_REQUEST) or request.marks.get(Mark.TTS_REQUEST) or 0


def no_transcript(timeout_s: float) -> Failure:
    """Return the failure of an STT that was waited for so long, in vain."""
    return Failure(
        stage=Stage.STT,
        kind=FailureKind.NO_TRANSCRIPT,
        message=f"no final transcript within {timeout_s:g} s of the speech end",
    )


def silence_failure(recorder: Recorder, reply_s: float) -> Failure:
    """Name the stage at which a turn without a reply stopped.

    Args:
        recorder: the trial's.
        reply_s: how many seconds a reply was waited for.
    """
    within = f"within {reply_s:g} s of the speech end"
    if recorder.nodes and all(node.ended is not None for node in recorder.nodes):
        within = "and the agent went on listening"
    asked = [call for call in recorder.calls if call.stage is Stage.LLM]
    spoken = [call for call in recorder.calls if call.stage is Stage.TTS]
    if not recorder.commits and not asked:
        return Failure(
            stage=Stage.ENDPOINTING,
            kind=FailureKind.TIMEOUT,
            message=f"the turn was not committed {within}",
        )
    if recorder.interruptions:
        # What took the reply for interrupted is to blame, and not who was still at it.
        return DROPPED
    stage = Stage.TTS if spoken else Stage.LLM
    return Failure(stage=stage, kind=FailureKind.TIMEOUT, message=f"no audible reply {within}")
