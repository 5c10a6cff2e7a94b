"""A user's own agent through the session driver: the example, and agents that go wrong."""

import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession
from livekit.plugins import openai

from harness.analysis.turn.attribution import Waterfall, unattributed_ns, waterfall
from harness.domain.candidate import Candidate
from harness.domain.request import Cause, FailureKind, WaitCause
from harness.domain.suite import Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.pipeline.drivers.own_agent import load_agent
from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from tests.pipeline.playing import Played, play, playable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realtime,
]

EXAMPLES = Path(__file__).parents[3] / "examples"
TIMEOUTS = Timeouts(connect_s=3, transcript_s=3, reply_s=6, playout_s=15)


@pytest.fixture
async def at_gateway(
    address: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, str]]:
    """Point the agent's own clients to the gateway, and close them: turnbench leaves them open."""
    gateway, key = address
    monkeypatch.setenv("OPENADAPTER_API_KEY", key)
    monkeypatch.setenv("PARAKEET_API_KEY", key)
    monkeypatch.setenv("OPENADAPTER_BASE_URL", f"{gateway}/exact/v1")
    socket = gateway.replace("http", "ws", 1)
    monkeypatch.setenv("PARAKEET_WS_URL", f"{socket}/exact/parakeet/v1/audio/stream")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield address
    for client in gc.get_objects():
        if type(client) in (openai.LLM, openai.TTS, ParakeetSTT):
            await client.aclose()


async def perform(address: tuple[str, str], agent: str, utterance: str) -> Played:
    """Play an utterance to an agent."""
    chosen = Candidate(name="mine", agent=agent)
    (trial,) = await play(*address, chosen, [playable(utterance)], timeouts=TIMEOUTS)
    return trial


async def test_the_example_answers_by_a_tool(at_gateway: tuple[str, str]) -> None:
    """The example's tool call is a request of its own, and its time a part of the waterfall."""
    trial = await perform(at_gateway, "my_agent:make", "slt-weather")
    assert isinstance(trial, Trial), trial.failure
    (turn,) = trial.turns
    chats = [each for each in turn.requests if each.stage is Stage.LLM]
    assert [each.cause for each in chats] == [Cause.TURN, Cause.TOOL]
    (tool,) = [each for each in turn.waits if each.cause is WaitCause.TOOL]
    assert 200 <= (tool.end_ns - tool.start_ns) / 1e6 < 400
    found = waterfall(turn)
    assert isinstance(found, Waterfall)
    assert sum(part.ns for part in found.parts) == found.response_ns
    named = {part.name: part.ns / 1e6 for part in found.parts}
    assert any(name.startswith("tool") and ms >= 195 for name, ms in named.items()), named
    # The agent's own clients are not ours: between their marks nobody saw the transport.
    assert unattributed_ns(found) / 1e6 < 100, named


async def test_the_example_without_a_tool(at_gateway: tuple[str, str]) -> None:
    """The same agent answers what needs no tool with one request."""
    trial = await perform(at_gateway, "my_agent:make", "slt-stop")
    assert isinstance(trial, Trial), trial.failure
    chats = [each for each in trial.turns[0].requests if each.stage is Stage.LLM]
    assert [each.cause for each in chats] == [Cause.TURN]
    # Its clients are its own, and still it is known that a gateway answered them.
    assert trial.emulated is not None
    assert set(trial.emulated) == {Stage.STT, Stage.LLM, Stage.TTS}


def raises() -> Any:
    """Raise as a user's function may."""
    raise RuntimeError("the database is down")


def nonsense() -> Any:
    """Return what is no session and agent."""
    return 42


def swapped() -> Any:
    """Return agent and session in the wrong order."""
    session, agent = load_agent("my_agent:make")()
    return agent, session


def deaf() -> Any:
    """Return a session that hears nothing and so never commits."""
    return AgentSession(turn_detection="manual"), Agent(instructions="x")


class _Silent(Agent):
    async def llm_node(self, *_: Any) -> AsyncIterator[str]:
        nothing: tuple[str, ...] = ()
        for each in nothing:
            yield each


def silent() -> Any:
    """Return an agent that commits and then says nothing."""
    session, _ = load_agent("my_agent:make")()
    return session, _Silent(instructions="x")


class _Broken(Agent):
    async def llm_node(self, *_: Any) -> AsyncIterator[str]:
        yield "I "
        raise RuntimeError("a bug of the agent")


def broken() -> Any:
    """Return an agent whose node raises in mid-reply."""
    session, _ = load_agent("my_agent:make")()
    return session, _Broken(instructions="x")


@pytest.mark.parametrize(
    ("name", "stages", "kinds", "told"),
    [
        ("raises", {Stage.HARNESS}, {FailureKind.INTERNAL}, "the database is down"),
        ("nonsense", {Stage.HARNESS}, {FailureKind.INTERNAL}, "(AgentSession, Agent)"),
        ("swapped", {Stage.HARNESS}, {FailureKind.INTERNAL}, "(AgentSession, Agent)"),
        ("deaf", {Stage.STT}, {FailureKind.NO_TRANSCRIPT}, "no final transcript"),
        ("silent", {Stage.LLM}, {FailureKind.TIMEOUT, FailureKind.EMPTY}, "no audible reply"),
        ("broken", {Stage.LLM}, {FailureKind.INTERNAL}, "a bug of the agent"),
    ],
)
async def test_agents_that_go_wrong(
    at_gateway: tuple[str, str], name: str, stages: set[Stage], kinds: set[FailureKind], told: str
) -> None:
    """An agent that raises, is none, hears nothing or says nothing is one clear failed trial."""
    trial = await perform(at_gateway, f"{__name__}:{name}", "slt-stop")
    assert isinstance(trial, FailedTrial)
    assert trial.failure.stage in stages, trial.failure
    assert trial.failure.kind in kinds, trial.failure
    assert told in trial.failure.message, trial.failure
    assert (trial.ended_ns - trial.started_ns) / 1e9 < 25


def test_agents_that_are_not_there() -> None:
    """A module or function that does not exist is a configuration error that names it."""
    assert __name__ in sys.modules
    for reference, told in (
        ("nocolon", "module:function"),
        ("no_such_module_x:make", "cannot be imported"),
        (f"{__name__}:missing", "has no function 'missing'"),
        (f"{__name__}:EXAMPLES", "has no function 'EXAMPLES'"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            load_agent(reference)
