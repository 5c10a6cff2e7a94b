"""The Parakeet plugin inside livekit's own session: turn after turn, and after drops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, llm, stt, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice import io
from livekit.agents.voice.agent_session import SessionConnectOptions

from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from tests.pipeline.providers.parakeet_client import frames, make_stt, until
from tests.pipeline.providers.parakeet_server import (
    FINALIZED,
    Close,
    Drop,
    ParakeetScript,
    ParakeetServer,
    Step,
    final,
)

pytestmark = pytest.mark.realtime

LOUD, QUIET = 15, 25
TURN_SAMPLES = (LOUD + QUIET) * 320
PACE_S = 0.005


def turns(*said: str) -> dict[int, Sequence[Step]]:
    """A final for each turn, 0.1 s after its speech, by the count of samples received."""
    return {
        turn * TURN_SAMPLES + (LOUD + 5) * 320: (final(text),) for turn, text in enumerate(said)
    }


class EchoLLM(llm.LLM[Any]):
    """Replies with what the user said last."""

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[Any] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> "EchoStream":
        return EchoStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class EchoStream(llm.LLMStream):
    async def _run(self) -> None:
        said = [
            item.text_content
            for item in self._chat_ctx.items
            if isinstance(item, llm.ChatMessage) and item.role == "user"
        ]
        delta = llm.ChoiceDelta(role="assistant", content=f"heard: {said[-1]}")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class LoudnessVAD(vad.VAD):
    """Speech is what is loud; its end comes after 0.2 s of quiet."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.02))

    def stream(self) -> "LoudnessStream":
        return LoudnessStream(self)


class LoudnessStream(vad.VADStream):
    async def _main_task(self) -> None:
        speaking, quiet, heard = False, 0.0, 0
        async for item in self._input_ch:
            if not isinstance(item, rtc.AudioFrame):
                speaking, quiet = False, 0.0
                continue
            heard += item.samples_per_channel
            loud = bool(np.abs(np.frombuffer(item.data, np.int16)).max() > 500)
            quiet = 0.0 if loud else quiet + item.duration
            if loud and not speaking:
                speaking = True
                self._tell(vad.VADEventType.START_OF_SPEECH, heard, 0.0)
            elif speaking and quiet >= 0.2:
                speaking = False
                self._tell(vad.VADEventType.END_OF_SPEECH, heard, quiet)

    def _tell(self, kind: vad.VADEventType, heard: int, quiet: float) -> None:
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=kind,
                samples_index=heard,
                timestamp=heard / 16_000,
                speech_duration=0.3,
                silence_duration=quiet,
            )
        )


class Microphone(io.AudioInput):
    """Plays what it is given, frame by frame, four times as fast as real."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._queue: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await self._queue.get()
        await asyncio.sleep(PACE_S)
        return frame

    def speak(self, *, quiet: int = QUIET) -> None:
        """Say something, then be quiet."""
        for frame in [*frames(LOUD), *frames(quiet, amplitude=0)]:
            self._queue.put_nowait(frame)


class Talk:
    """A session under test and what it did."""

    def __init__(self, session: AgentSession[None]) -> None:
        self.session = session
        self.microphone = Microphone()
        self.replies: asyncio.Queue[str] = asyncio.Queue()
        self.errors: list[stt.STTError] = []
        session.on("conversation_item_added", self._on_item)
        session.on("error", lambda event: self.errors.append(event.error))

    def _on_item(self, event: Any) -> None:
        if isinstance(event.item, llm.ChatMessage) and event.item.role == "assistant":
            self.replies.put_nowait(event.item.text_content or "")

    async def reply(self) -> str:
        """Wait for the agent's next reply."""
        return await asyncio.wait_for(self.replies.get(), 8)


@contextlib.asynccontextmanager
async def talking(
    plugin: ParakeetSTT, turn_detection: Literal["stt", "vad"], *, max_retry: int = 0
) -> AsyncIterator[Talk]:
    """Run a session on a plugin, with a VAD where the turn detection needs one."""
    session: AgentSession[None] = AgentSession(
        stt=plugin,
        vad=LoudnessVAD() if turn_detection == "vad" else None,
        llm=EchoLLM(),
        aec_warmup_duration=None,
        user_away_timeout=None,
        conn_options=SessionConnectOptions(
            stt_conn_options=APIConnectOptions(max_retry=max_retry, timeout=5.0)
        ),
        turn_handling={
            "turn_detection": turn_detection,
            "endpointing": {"mode": "fixed", "min_delay": 0.0, "max_delay": 1.0},
            "preemptive_generation": {"enabled": False},
        },
    )
    talk = Talk(session)
    session.input.audio = talk.microphone
    await session.start(Agent(instructions="Echo."))
    try:
        yield talk
    finally:
        await session.aclose()


@pytest.mark.parametrize("turn_detection", ["stt", "vad"])
@pytest.mark.parametrize("finalize", [False, True], ids=["server ends", "finalize"])
async def test_turn_after_turn_is_answered(
    turn_detection: Literal["stt", "vad"], *, finalize: bool
) -> None:
    """Four turns, four replies, one connection, with either turn detection."""
    said = [f"turn {number}" for number in range(4)]
    by_vad = finalize and turn_detection == "vad"
    script = ParakeetScript(
        # With a VAD and manual flush the server is asked; otherwise it finds the ends itself.
        after_samples={} if by_vad else turns(*said),
        on_finalize=([(final(text), FINALIZED) for text in said] if by_vad else ((FINALIZED,),)),
    )
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, finalize=finalize) as plugin,
    ):
        async with talking(plugin, turn_detection) as talk:
            for text in said:
                talk.microphone.speak()
                assert await talk.reply() == f"heard: {text}"
        assert talk.errors == []
        assert server.dialled == 1


@pytest.mark.parametrize(
    ("turn_detection", "drop", "max_retry"),
    [
        ("stt", Close(code=1011), 0),
        ("stt", Drop(), 1),
        ("vad", Close(code=1000), 0),
        ("vad", Drop(), 0),
        ("vad", Close(code=1011), 1),
    ],
)
async def test_a_drop_between_turns_costs_no_turn(
    turn_detection: Literal["stt", "vad"], drop: Close | Drop, max_retry: int
) -> None:
    """After a reply the server hangs up; the next turn is answered over a new connection."""
    first = ParakeetScript(after_samples=turns("one"))
    second = ParakeetScript(after_samples=turns("two", "three"))
    async with ParakeetServer(first, second).running() as server, make_stt(server) as plugin:
        async with talking(plugin, turn_detection, max_retry=max_retry) as talk:
            talk.microphone.speak()
            assert await talk.reply() == "heard: one"
            await until(lambda: server.connections[0].samples >= TURN_SAMPLES)
            await server.push(drop)
            for text in ("two", "three"):
                talk.microphone.speak()
                assert await talk.reply() == f"heard: {text}"
        assert server.dialled == 2
        clean = isinstance(drop, Close) and drop.code == 1000
        assert len(talk.errors) == (0 if clean else 1)


@pytest.mark.parametrize("turn_detection", ["stt", "vad"])
@pytest.mark.parametrize("max_retry", [0, 1])
async def test_after_a_drop_in_mid_speech_the_next_turn_is_answered(
    turn_detection: Literal["stt", "vad"], max_retry: int
) -> None:
    """The interrupted turn is lost with one error; the session is not deaf afterwards."""
    bad = ParakeetScript(after_samples={10 * 320: (Drop(),)})
    good = ParakeetScript()
    async with ParakeetServer(bad, good).running() as server, make_stt(server) as plugin:
        async with talking(plugin, turn_detection, max_retry=max_retry) as talk:
            talk.microphone.speak()
            await until(lambda: len(server.connections) == 2 and server.connections[1].samples > 0)
            for number in (1, 2):
                talk.microphone.speak()
                await asyncio.sleep((LOUD + QUIET) * PACE_S)
                await server.push(final(f"turn {number}"))
                assert await talk.reply() == f"heard: turn {number}"
        assert [error.recoverable for error in talk.errors] == [max_retry > 0]


async def test_sessions_one_after_the_other_share_the_connection() -> None:
    """Three sessions on one plugin dial once, and none hears the words of another."""
    script = ParakeetScript(on_finalize=((final("left over"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        for count in range(3):
            async with talking(plugin, "stt") as talk:
                talk.microphone.speak()
                await asyncio.sleep((LOUD + QUIET) * PACE_S)
                await server.push(final(f"session {count}"))
                assert await talk.reply() == f"heard: session {count}"
                talk.microphone.speak()
                await asyncio.sleep(LOUD * PACE_S)
            assert talk.errors == []
            assert talk.replies.empty()
        assert server.dialled == 1
