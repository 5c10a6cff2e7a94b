"""Who is blamed for a reply that nobody heard."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.domain.candidate import Candidate
from harness.domain.reply import PlayoutSegment, Reply
from harness.domain.request import FailureKind
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.pipeline.drivers.blame import silence_failure
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.pipeline.recording.recording import Recorder, stamp

SILENT = Reply(
    sample_rate=24_000,
    samples=240,
    segments=(PlayoutSegment(start_ns=2, offset=0, samples=240),),
    leading_silence=240,
    interrupted=True,
)


def _driver() -> SessionPerformer:
    candidate = Candidate(name="mine", agent="some:agent")
    suite = Suite(
        name="blame",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(candidate,),
        session=SessionOptions(),
    )
    place = Place(via=Via.LIVE, options=suite.session)
    return SessionPerformer(candidate, suite, place=place, watch=Watch(), redact=str)


@pytest.mark.parametrize("reply", [None, SILENT])
async def test_a_reply_that_the_agent_cut_before_it_was_audible(reply: Reply | None) -> None:
    """It is a failure of telling interruptions, whether some of its silence was played or not."""
    recorder = Recorder("t")
    recorder.interruptions.append(stamp())
    driver = _driver()
    turn = Turn(index=0, utterance="u", marks={Mark.SPEECH_END: 1}, reply=reply)
    performance: Any = SimpleNamespace(recorder=recorder, sink=PlayoutClock())
    failure = driver._verdict(performance, (turn,), None)
    assert failure is not None
    assert (failure.stage, failure.kind) == (Stage.INTERRUPTION, FailureKind.NO_REPLY)
    recorder.commits.append(stamp())
    assert silence_failure(recorder, 1.0) == failure


async def test_a_reply_that_did_not_come_is_no_interruption() -> None:
    """Without an interruption, the stage at which the turn stopped is blamed as ever."""
    recorder = Recorder("t")
    recorder.commits.append(stamp())
    assert silence_failure(recorder, 1.0).stage is Stage.LLM
    turn = Turn(index=0, utterance="u", marks={Mark.SPEECH_END: 1})
    performance: Any = SimpleNamespace(recorder=recorder, sink=PlayoutClock())
    failure = _driver()._verdict(performance, (turn,), None)
    assert failure is not None
    assert failure.stage is Stage.PLAYOUT
