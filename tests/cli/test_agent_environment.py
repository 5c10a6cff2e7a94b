"""An agent of the user's own finds the run's gateway in its environment."""

import os

import pytest

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Suite
from harness.lanes.agent_environment import agent_environment
from harness.lanes.manifest import Gateway
from harness.lanes.parts import performers_for
from tests.runner.scripted_performer import suite_of

GATEWAY = Gateway(url="http://127.0.0.1:4321", key="the-gateway-key")


def _suite(*, own: bool) -> Suite:
    stage = StageSettings(provider="openadapter")
    if own:
        return suite_of(candidates=(Candidate(name="mine", agent="my_agent:make"),))
    return suite_of(candidates=(Candidate(name="a", stt=stage, llm=stage, tts=stage),))


async def test_the_way_to_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set while the run goes on, in place of live keys, and put back afterwards."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-and-secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    async with performers_for(_suite(own=True), GATEWAY) as performers:
        assert os.environ["TURNBENCH_GATEWAY_URL"] == "http://127.0.0.1:4321"
        assert os.environ["OPENAI_BASE_URL"] == "http://127.0.0.1:4321/exact/v1"
        assert os.environ["LIVEKIT_INFERENCE_URL"] == "http://127.0.0.1:4321/exact/livekit/v1"
        assert os.environ["PARAKEET_WS_URL"].startswith("ws://127.0.0.1:4321/exact/parakeet/")
        assert os.environ["OPENAI_API_KEY"] == GATEWAY.key
        told = performers["mine"]._redact("refused sk-of-the-user-and-secret")  # type: ignore[attr-defined]
        assert "of-the-user" not in told
    assert os.environ["OPENAI_API_KEY"] == "sk-of-the-user-and-secret"
    assert not {"OPENAI_BASE_URL", "TURNBENCH_GATEWAY_URL"} & set(os.environ)


@pytest.mark.parametrize(("own", "gateway"), [(False, GATEWAY), (True, None)])
async def test_nobody_else_is_led(*, own: bool, gateway: Gateway | None) -> None:
    """Live agents and the suite's own candidates keep the environment that they were given."""
    before = {name: os.environ.get(name) for name in agent_environment("http://x", "k")}
    async with performers_for(_suite(own=own), gateway):
        assert {name: os.environ.get(name) for name in before} == before
