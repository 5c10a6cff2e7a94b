"""Agents of somebody's own, each with something that a clock has to be right about."""

import asyncio
import os
import time
from typing import Any

from livekit.agents import Agent, AgentSession, ChatContext, ChatMessage
from livekit.plugins import openai

from harness.pipeline.providers.parakeet import ParakeetSTT

__all__ = ["asking", "blocking", "burning", "dying", "in_a_thread", "plain", "waiting"]


def _session() -> AgentSession[Any]:
    root, key = os.environ["TURNBENCH_GATEWAY_URL"], os.environ["TURNBENCH_GATEWAY_KEY"]
    profile = f"{root}/kimi-k2.6@baseten/v1"
    return AgentSession(
        stt=ParakeetSTT(
            api_key=os.environ["PARAKEET_API_KEY"], ws_url=os.environ["PARAKEET_WS_URL"]
        ),
        llm=openai.LLM(model="any", base_url=profile, api_key=key),
        tts=openai.TTS(voice="alloy", response_format="pcm"),
        vad=None,
        turn_handling={
            "turn_detection": "stt",
            "endpointing": {"mode": "fixed", "min_delay": 0.0, "max_delay": 3.0},
        },
    )


class _Agent(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Answer in a sentence.")


def _agent(hook: Any) -> tuple[AgentSession[Any], Agent]:
    class Hooked(_Agent):
        async def on_user_turn_completed(
            self, turn_ctx: ChatContext, new_message: ChatMessage
        ) -> None:
            assert new_message.text_content
            await hook(self, turn_ctx)

    return _session(), Hooked()


def plain() -> Any:
    """Return an agent that only answers."""
    return _session(), _Agent()


def waiting() -> Any:
    """Return one whose hook waits for 20 ms."""

    async def hook(_: Agent, __: ChatContext) -> None:
        await asyncio.sleep(0.020)

    return _agent(hook)


def blocking() -> Any:
    """Return one whose hook blocks the loop for 150 ms."""

    async def hook(_: Agent, __: ChatContext) -> None:
        time.sleep(0.150)  # noqa: ASYNC251  (its mistake)

    return _agent(hook)


def in_a_thread() -> Any:
    """Return one whose hook sleeps for 70 ms in a thread."""

    async def hook(_: Agent, __: ChatContext) -> None:
        await asyncio.to_thread(time.sleep, 0.070)

    return _agent(hook)


def burning() -> Any:
    """Return one whose hook takes 300 ms of processor time."""

    async def hook(_: Agent, __: ChatContext) -> None:
        end = time.thread_time() + 0.300
        while time.thread_time() < end:
            pass

    return _agent(hook)


def asking() -> Any:
    """Return one whose hook asks the model one more time."""

    async def hook(agent: Agent, context: ChatContext) -> None:
        model: Any = agent.session.llm
        await model.chat(chat_ctx=context.copy()).collect()

    return _agent(hook)


def dying() -> Any:
    """Return one that takes its process with it at its first turn in a folder."""

    async def hook(_: Agent, __: ChatContext) -> None:
        try:
            os.close(os.open(os.environ["DIED"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os._exit(1)

    return _agent(hook)
