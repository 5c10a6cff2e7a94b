"""What an agent says before its caller has spoken is no reply, whoever makes it say it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import Agent

from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure_turn
from harness.domain.candidate import Candidate
from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.pipeline.drivers.own_agent import load_agent
from tests.pipeline.drivers.test_own_agent import at_gateway as at_gateway  # noqa: PLC0414
from tests.pipeline.playing import play, playable

pytestmark = [pytest.mark.slow, pytest.mark.realtime]

WORDS = "Hello, this is the front desk."
TIMEOUTS = Timeouts(connect_s=3, transcript_s=4, reply_s=8, playout_s=15, hang_up_s=0.3)


class _Greets(Agent):
    """Greets as its maker says."""

    def __init__(self, greet: Callable[[Agent], Any]) -> None:
        super().__init__(instructions="Be brief.")
        self._greet = greet

    async def on_enter(self) -> None:
        """Greet."""
        await self._greet(self)


async def _says(agent: Agent) -> None:
    agent.session.say(WORDS)


async def _asks_the_model(agent: Agent) -> None:
    await asyncio.sleep(0.3)
    await agent.session.generate_reply(instructions="Greet the caller.")


async def _remembers_late(agent: Agent) -> None:
    async def late() -> None:
        await asyncio.sleep(0.35)
        agent.session.say("Hello.")

    agent.late = asyncio.create_task(late())  # type: ignore[attr-defined]


def says() -> Any:
    """Return an agent that speaks a fixed greeting."""
    return load_agent("my_agent:make")()[0], _Greets(_says)


def asks_the_model() -> Any:
    """Return an agent whose model makes the greeting."""
    return load_agent("my_agent:make")()[0], _Greets(_asks_the_model)


def remembers_late() -> Any:
    """Return an agent that begins to greet when the caller's line is already open."""
    return load_agent("my_agent:make")()[0], _Greets(_remembers_late)


def waits() -> Any:
    """Return an agent that says nothing before it is asked."""
    return load_agent("my_agent:make")()


@pytest.mark.parametrize("name", ["says", "asks_the_model", "remembers_late", "waits"])
async def test_a_greeting_is_heard_out_and_is_no_reply(
    at_gateway: tuple[str, str], name: str
) -> None:
    """The response is that of the answer; the greeting has its own metric, and no request of it."""
    chosen = Candidate(name="mine", agent=f"{__name__}:{name}")
    spoken = playable("slt-stop")
    (trial,) = await play(*at_gateway, chosen, [spoken], timeouts=TIMEOUTS)
    assert isinstance(trial, Trial), trial.failure
    (turn,) = trial.turns
    response = measure_turn("response", turn, spoken.utterance)
    assert isinstance(response, Measurement)
    assert 0 < response.value < 4000
    greeting = measure_turn("greeting", turn, spoken.utterance)
    if name == "waits":
        assert isinstance(greeting, Missing)
    else:
        assert isinstance(greeting, Measurement)
        assert greeting.value > 0
        assert turn.marks[Mark.GREETING_AUDIBLE] < turn.marks[Mark.SPEECH_START]
    said = [each.text for each in turn.requests if each.stage is Stage.TTS]
    assert said
    assert not any("ello" in each for each in said)
    chats = [each for each in turn.requests if each.stage is Stage.LLM]
    assert len(chats) == 1
