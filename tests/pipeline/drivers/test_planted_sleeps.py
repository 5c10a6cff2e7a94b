"""What attribution claims is tested against a truth of our own making.

A sleep where nothing is instrumented is time without a cause. It must come back as unattributed,
whatever stage it hides in, and never as the provider's or the client's.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import llm, stt, voice

from harness.domain.candidate import Candidate
from harness.domain.suite import SessionOptions, Timeouts, TurnDetection
from harness.domain.trial import Trial
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.line.sink import PlayoutClock
from tests.pipeline.playing import (
    candidate,
    play,
    playable,
    response_ns,
    total_ns,
    unattributed_ms,
)

PLANTED_MS = 50.0
TOLERANCE_MS = 4.0
"""Of the sleep itself: a timer of asyncio fires up to a millisecond late, a busy loop later."""

HANG_UP = Timeouts(hang_up_s=0.1)

pytestmark = [pytest.mark.realtime, pytest.mark.timing, pytest.mark.timeout(90)]


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


def _performer(agent: type[voice.Agent]) -> type[SessionPerformer]:
    class Planted(SessionPerformer):
        def _session(
            self, chosen: Candidate, clients: Any
        ) -> tuple[voice.AgentSession[Any], voice.Agent]:
            session, _ = super()._session(chosen, clients)
            return session, agent(instructions=chosen.instructions)

    return Planted


async def _measure(address: tuple[str, str], agent: type[voice.Agent]) -> tuple[float, list[Trial]]:
    """Return the median unattributed time of three trials after a warm-up."""
    utterance = playable("slt-clock")
    found = await play(
        *address, candidate(), [utterance] * 4, performer=_performer(agent), timeouts=HANG_UP
    )
    trials = [each for each in found[1:] if isinstance(each, Trial)]
    assert len(trials) == 3, [getattr(each, "failure", None) for each in found]
    return sorted(unattributed_ms(each) for each in trials)[1], trials


@pytest.mark.parametrize(
    "agent",
    [SlowTranscript, SlowDecision, SlowQuestion, SlowVoice],
    ids=["stt", "endpointing", "llm-request", "tts"],
)
async def test_a_sleep_with_no_cause_is_unattributed(
    address: tuple[str, str], agent: type[voice.Agent]
) -> None:
    """A sleep of 50 ms that nothing instruments comes back as 50 ms unattributed."""
    unattributed, trials = await _measure(address, agent)
    assert PLANTED_MS - TOLERANCE_MS <= unattributed <= PLANTED_MS + TOLERANCE_MS
    for trial in trials:
        assert total_ns(trial) == response_ns(trial)


@pytest.mark.parametrize("agent", [SlowAnswer, SlowSentence], ids=["llm-answer", "tts-request"])
async def test_text_held_back_by_the_agent_is_unattributed(
    address: tuple[str, str], agent: type[voice.Agent]
) -> None:
    """Text that an agent holds back until the reply is complete is no provider's delay.

    From the arrival of the sentence's last token the agent waits for the tokens of the rest of the
    reply and sleeps: at least the sleep is unattributed.
    """
    unattributed, _ = await _measure(address, agent)
    assert unattributed >= PLANTED_MS - TOLERANCE_MS


async def test_a_sleep_in_the_playout_is_unattributed(
    address: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sleep between the TTS and the speaker comes back as unattributed."""
    capture = PlayoutClock.capture_frame

    async def slow(self: PlayoutClock, frame: rtc.AudioFrame) -> None:
        if not self.arrivals:
            await _nap()
        await capture(self, frame)

    monkeypatch.setattr(PlayoutClock, "capture_frame", slow)
    unattributed, _ = await _measure(address, voice.Agent)
    assert PLANTED_MS - TOLERANCE_MS <= unattributed <= PLANTED_MS + TOLERANCE_MS


@pytest.mark.parametrize(
    "options",
    [
        SessionOptions(),
        SessionOptions(preemptive_generation=True),
        SessionOptions(turn_detection=TurnDetection.VAD, min_endpointing_delay_s=0.5),
    ],
    ids=["stt", "preemptive", "vad"],
)
async def test_without_a_planted_sleep_everything_has_a_cause(
    address: tuple[str, str], options: SessionOptions
) -> None:
    """On undisturbed trials the unattributed part is under a millisecond."""
    utterance = playable("slt-clock")
    found = await play(*address, candidate(), [utterance] * 4, session=options, timeouts=HANG_UP)
    trials = [each for each in found[1:] if isinstance(each, Trial)]
    assert len(trials) == 3, [getattr(each, "failure", None) for each in found]
    # The median: on a small machine one trial in three may be disturbed.
    assert sorted(unattributed_ms(each) for each in trials)[1] < 1.0
