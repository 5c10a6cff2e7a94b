# ruff: noqa: INP001  # a file of its own, started from its folder
"""An agent of one's own, as turnbench measures it: ``turnbench run SUITE --agent my_agent:make``.

Start in this folder. The clients are the agent's: they reach OpenAdapter with the keys in the
environment, or, without keys, the gateway that ``turnbench gateway --dataset starter`` runs::

    export OPENADAPTER_API_KEY=turnbench-gateway-key PARAKEET_API_KEY=turnbench-gateway-key
    export OPENADAPTER_BASE_URL=http://127.0.0.1:PORT/exact/v1
    export PARAKEET_WS_URL=ws://127.0.0.1:PORT/exact/parakeet/v1/audio/stream
"""

import asyncio
import os

from livekit.agents import Agent, AgentSession, function_tool
from livekit.plugins import openai

from harness.pipeline.providers.parakeet import ParakeetSTT


class Assistant(Agent):
    """Answers in a sentence, and can look the weather up."""

    def __init__(self) -> None:
        super().__init__(instructions="You are a helpful voice assistant. Answer in one sentence.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """Look up the weather in a city.

        Args:
            city: the city's name.
        """
        await asyncio.sleep(0.2)  # a real one asks a service
        return f"It is sunny in {city}, twenty two degrees."


def make() -> tuple[AgentSession[None], Agent]:
    """Return a session and an agent for one conversation; called once for each trial."""
    key = os.environ["OPENADAPTER_API_KEY"]
    address = os.environ.get("OPENADAPTER_BASE_URL", "https://api.openadapter.in/v1")
    session: AgentSession[None] = AgentSession(
        stt=ParakeetSTT(
            api_key=os.environ["PARAKEET_API_KEY"],
            ws_url=os.environ.get(
                "PARAKEET_WS_URL", "wss://edge.openadapter.in/parakeet/v1/audio/stream"
            ),
        ),
        llm=openai.LLM(model="Kimi-K2.5", api_key=key, base_url=address),
        tts=openai.TTS(
            model="tts-1", voice="alloy", api_key=key, base_url=address, response_format="pcm"
        ),
        turn_detection="stt",
        min_endpointing_delay=0.0,
    )
    return session, Assistant()
