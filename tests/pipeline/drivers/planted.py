"""Agents that sleep where nothing is instrumented."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, voice

from harness.domain.candidate import Candidate
from harness.domain.request import Failure
from harness.domain.suite import SessionOptions, Timeouts
from harness.pipeline.drivers.performance import Performance
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.line.sink import PlayoutClock
from tests.pipeline.playing import Played, candidate, playable
from tests.pipeline.virtual_gateway import play_virtually

__all__ = ["AGENTS", "HANG_UP", "PLANTED_MS", "UTTERANCE", "performer", "played"]

PLANTED_MS = 50.0
HANG_UP = Timeouts(hang_up_s=0.1)
UTTERANCE = "slt-clock"


async def _nap() -> None:
    await asyncio.sleep(PLANTED_MS / 1000)


class SlowTranscript(voice.Agent):
    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: voice.ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        async for event in voice.Agent.default.stt_node(self, audio, model_settings):
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                await _nap()
            yield event


class SlowDecision(voice.Agent):
    async def on_user_turn_completed(
        self,
        turn_ctx: llm.ChatContext,  # noqa: ARG002
        new_message: llm.ChatMessage,  # noqa: ARG002
    ) -> None:
        await _nap()


class SlowQuestion(voice.Agent):
    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[Any], model_settings: voice.ModelSettings
    ) -> AsyncIterator[llm.ChatChunk]:
        await _nap()
        async for chunk in voice.Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            yield chunk  # type: ignore[misc]


class SlowAnswer(voice.Agent):
    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[Any], model_settings: voice.ModelSettings
    ) -> AsyncIterator[llm.ChatChunk]:
        # The whole stream is held back, so that the first sentence is late by as much.
        chunks: list[Any] = []
        async for chunk in voice.Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            chunks.append(chunk)
        await _nap()
        for chunk in chunks:
            yield chunk


class SlowSentence(voice.Agent):
    async def tts_node(
        self, text: AsyncIterable[str], model_settings: voice.ModelSettings
    ) -> AsyncIterator[rtc.AudioFrame]:
        async def whole() -> AsyncIterator[str]:
            pieces = [piece async for piece in text]
            await _nap()
            for piece in pieces:
                yield piece

        async for frame in voice.Agent.default.tts_node(self, whole(), model_settings):
            yield frame


class SlowVoice(voice.Agent):
    async def tts_node(
        self, text: AsyncIterable[str], model_settings: voice.ModelSettings
    ) -> AsyncIterator[rtc.AudioFrame]:
        first = True
        async for frame in voice.Agent.default.tts_node(self, text, model_settings):
            if first:
                first = False
                await _nap()
            yield frame


AGENTS: Mapping[str, type[voice.Agent]] = {
    "plain": voice.Agent,
    "playout": voice.Agent,
    "stt": SlowTranscript,
    "endpointing": SlowDecision,
    "llm-request": SlowQuestion,
    "llm-answer": SlowAnswer,
    "tts-request": SlowSentence,
    "tts": SlowVoice,
}


def _delay(sink: PlayoutClock) -> None:
    """Let a sleep pass between the TTS and the speaker."""
    capture = sink.capture_frame

    async def slow(frame: rtc.AudioFrame) -> None:
        if not sink.arrivals:
            await _nap()
        await capture(frame)

    setattr(sink, "capture_frame", slow)  # noqa: B010  (a method to the type checker)


def performer(agent: str) -> type[SessionPerformer]:
    """Return what performs with an agent; that of "playout" speaks through a slow speaker."""

    class Planted(SessionPerformer):
        async def _play(self, performance: Performance) -> Failure | None:
            if agent == "playout":
                _delay(performance.sink)
            return await super()._play(performance)

        def _session(
            self, chosen: Candidate, clients: Any
        ) -> tuple[voice.AgentSession[Any], voice.Agent]:
            session, _ = super()._session(chosen, clients)
            return session, AGENTS[agent](instructions=chosen.instructions)

    return Planted


def played(agent: str, session: SessionOptions | None = None) -> list[Played]:
    """Play on virtual time: a trial that opens its connections, and one that finds them open."""
    return play_virtually(
        candidate(),
        [playable(UTTERANCE)] * 2,
        performer=performer(agent),
        session=session,
        timeouts=HANG_UP,
    )
