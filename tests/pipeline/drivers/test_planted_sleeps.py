"""What attribution claims is tested against a truth of our own making.

A sleep where nothing is instrumented is time without a cause. It must come back as unattributed,
whatever stage it hides in, and never as the provider's or the client's: to the microsecond on
virtual time, within a stated reserve on the real clock.
"""

from concurrent.futures import ProcessPoolExecutor

import pytest

from harness.domain.suite import SessionOptions, TurnDetection
from harness.domain.trial import Trial
from tests.pipeline.drivers.planted import HANG_UP, PLANTED_MS, UTTERANCE, performer, played
from tests.pipeline.playing import (
    Played,
    candidate,
    play,
    playable,
    response_ns,
    total_ns,
    unattributed_ms,
)

EXACT_MS = 0.001
TOLERANCE_MS = 4.0
"""Of the sleep itself: a timer of asyncio fires up to a millisecond late, a busy loop later."""


def _unattributed_ms(found: list[Played]) -> list[float]:
    trials = [each for each in found if isinstance(each, Trial)]
    assert len(trials) == len(found), [getattr(each, "failure", None) for each in found]
    for trial in trials:
        assert total_ns(trial) == response_ns(trial)
    return [unattributed_ms(each) for each in trials]


@pytest.mark.parametrize("agent", ["stt", "endpointing", "llm-request", "tts", "playout"])
def test_a_sleep_with_no_cause_is_unattributed(virtually: ProcessPoolExecutor, agent: str) -> None:
    """A sleep of 50 ms that nothing instruments comes back as 50 ms unattributed."""
    found = virtually.submit(played, agent).result()
    assert _unattributed_ms(found) == pytest.approx([PLANTED_MS] * 2, abs=EXACT_MS)


@pytest.mark.parametrize("agent", ["llm-answer", "tts-request"])
def test_text_held_back_by_the_agent_is_unattributed(
    virtually: ProcessPoolExecutor, agent: str
) -> None:
    """Text that an agent holds back until the reply is complete is no provider's delay.

    From the arrival of the sentence's last token the agent waits for the tokens of the rest of the
    reply and sleeps: at least the sleep is unattributed.
    """
    found = virtually.submit(played, agent).result()
    assert min(_unattributed_ms(found)) >= PLANTED_MS - EXACT_MS


@pytest.mark.parametrize(
    "options",
    [
        SessionOptions(),
        SessionOptions(preemptive_generation=True),
        SessionOptions(turn_detection=TurnDetection.VAD, min_endpointing_delay_s=0.5),
    ],
    ids=["stt", "preemptive", "vad"],
)
def test_without_a_planted_sleep_everything_has_a_cause(
    virtually: ProcessPoolExecutor, options: SessionOptions
) -> None:
    """Nothing is left without a cause."""
    found = virtually.submit(played, "plain", options).result()
    assert max(_unattributed_ms(found)) <= EXACT_MS


@pytest.mark.realtime
@pytest.mark.timing
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("agent", "least", "most"),
    [
        ("stt", PLANTED_MS - TOLERANCE_MS, PLANTED_MS + TOLERANCE_MS),
        ("playout", PLANTED_MS - TOLERANCE_MS, PLANTED_MS + TOLERANCE_MS),
        ("plain", 0.0, 1.0),
    ],
)
async def test_real_time_is_told_apart_as_well(
    address: tuple[str, str], agent: str, least: float, most: float
) -> None:
    """On the real clock the sleep comes back, and without one under a millisecond is left.

    The median of three trials after a warm-up: on a small machine one in three may be disturbed.
    """
    found = await play(
        *address,
        candidate(),
        [playable(UTTERANCE)] * 4,
        performer=performer(agent),
        timeouts=HANG_UP,
    )
    assert least <= sorted(_unattributed_ms(found[1:]))[1] <= most
