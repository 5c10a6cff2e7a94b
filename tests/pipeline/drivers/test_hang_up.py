"""A caller who hangs up has heard something."""

from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from harness.domain.candidate import Candidate
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts
from harness.pipeline.drivers.conversation import Conversation
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.recording.recording import Recorder

pytestmark = pytest.mark.realtime

RATE = 24_000
HANG_UP_S = 0.05


@pytest.mark.parametrize("silent_ms", [0, 150, 300])
async def test_the_caller_hangs_up_after_the_first_sound(silent_ms: int) -> None:
    """However long a reply is silent at first, its first audible sample is heard."""
    suite = Suite(
        name="hang-up",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(Candidate(name="mine", agent="some:agent"),),
        session=SessionOptions(),
        timeouts=Timeouts(hang_up_s=HANG_UP_S),
    )
    sink = PlayoutClock()
    samples = RATE * silent_ms // 1000
    speech = b"\0\0" * samples + b"\0\x40" * RATE
    await sink.capture_frame(rtc.AudioFrame(speech, RATE, 1, samples + RATE))
    performance: Any = SimpleNamespace(recorder=Recorder("t"), sink=sink)
    session: Any = SimpleNamespace(agent_state="speaking")
    started = sink.started_ns
    assert started is not None
    assert await Conversation(performance, session, suite)._heard_out(started) is None
    reply = sink.reply()
    assert reply is not None
    assert reply.leading_silence == samples
    assert reply.samples >= samples + RATE * HANG_UP_S
    assert reply.samples < samples + RATE
    await sink.aclose()
