"""Hooks at livekit's nodes.

An agent, ours or a user's, is measured as it is: its class is extended by one that stamps what
passes through ``stt_node``, ``llm_node`` and ``tts_node`` and calls the original. What a probe adds
to the path is one clock reading and an append.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, voice

from harness.clock import read_clock_pair
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_NODE,
    Recorder,
    TranscriptEvent,
    stamp,
)
from harness.pipeline.transport.purposes import asking_for

__all__ = ["on_speech_event", "probe_agent"]

_KINDS = {
    stt.SpeechEventType.INTERIM_TRANSCRIPT: "interim",
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT: "preflight",
    stt.SpeechEventType.FINAL_TRANSCRIPT: "final",
}


def on_speech_event(recorder: Recorder, event: stt.SpeechEvent | str) -> None:
    """Record what left the STT."""
    at = stamp()
    if isinstance(event, str):
        recorder.transcripts.append(TranscriptEvent(at, None, "final", event))
        return
    kind = _KINDS.get(event.type)
    if kind is not None:
        best = event.alternatives[0] if event.alternatives else None
        received_ns = best.metadata.get("received_ns") if best and best.metadata else None
        received = recorder.received.get(received_ns) if received_ns is not None else None
        recorder.transcripts.append(
            # A plugin may hand on what a provider sent instead of a text.
            TranscriptEvent(
                at, received, kind, best.text if best and isinstance(best.text, str) else ""
            )
        )
        if event.request_id:
            recorder.stt_facts["request_id"] = event.request_id
    elif event.type is stt.SpeechEventType.END_OF_SPEECH:
        recorder.speech_ends.append(at)
        if event.speech_end_time is not None:
            anchor = read_clock_pair().from_wall_seconds(event.speech_end_time)
            # The agent does not believe a time to come.
            recorder.speech_anchors.append(min(anchor, at.ns))
    elif event.type is stt.SpeechEventType.RECOGNITION_USAGE and event.recognition_usage:
        before = recorder.stt_facts.get("audio_seconds", 0.0)
        recorder.stt_facts["audio_seconds"] = before + event.recognition_usage.audio_duration


async def _resolved(node: Any) -> Any:
    return await node if asyncio.iscoroutine(node) else node


class _ProbedNodes(voice.Agent):
    """The stamping layer; placed before the agent's own class."""

    _turnbench_recorder: Recorder

    async def on_enter(self) -> None:
        with asking_for("hook on_enter"):
            await super().on_enter()

    async def on_exit(self) -> None:
        with asking_for("hook on_exit"):
            await super().on_exit()

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        with asking_for("hook on_user_turn_completed"):
            await super().on_user_turn_completed(turn_ctx, new_message)

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: voice.ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent | str]:
        recorder = self._turnbench_recorder
        events = await _resolved(super().stt_node(audio, model_settings))
        if events is None:
            return
        async for event in events:
            on_speech_event(recorder, event)
            yield event

    async def llm_node(
        self,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        model_settings: voice.ModelSettings,
    ) -> AsyncIterator[Any]:
        node = self._turnbench_recorder.open_node(Stage.LLM)
        token = CURRENT_NODE.set(node)
        try:
            chunks = await _resolved(super().llm_node(chat_ctx, tools, model_settings))
            if chunks is None:
                return
            if isinstance(chunks, str | llm.ChatChunk):
                chunks = _single(chunks)
            async for chunk in chunks:
                text = _text_of(chunk)
                called = isinstance(chunk, llm.ChatChunk) and bool(
                    chunk.delta and chunk.delta.tool_calls
                )
                if text or called:
                    at = stamp()
                    node.tool_call = node.tool_call or called
                    node.pieces.append((at, text))
                    if node.first_output is None and (called or text.strip()):
                        node.first_output = at
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            node.cancelled = True
            raise
        except Exception as error:
            # livekit logs what an agent's own node raises, and speaks what there is.
            self._turnbench_recorder.problem(Stage.LLM, error)
            raise
        finally:
            node.ended = stamp()
            _reset(CURRENT_NODE, token)

    async def tts_node(
        self, text: AsyncIterable[str], model_settings: voice.ModelSettings
    ) -> AsyncIterator[rtc.AudioFrame]:
        node = self._turnbench_recorder.open_node(Stage.TTS)
        token = CURRENT_NODE.set(node)

        async def stamped() -> AsyncIterator[str]:
            async for piece in text:
                node.pieces.append((stamp(), piece))
                yield piece
            node.input_ended = stamp()

        try:
            frames = await _resolved(super().tts_node(stamped(), model_settings))
            if frames is None:
                return
            async for frame in frames:
                if node.first_output is None:
                    node.first_output = stamp()
                yield frame
        except (asyncio.CancelledError, GeneratorExit):
            node.cancelled = True
            raise
        except Exception as error:
            self._turnbench_recorder.problem(Stage.TTS, error)
            raise
        finally:
            node.ended = stamp()
            _reset(CURRENT_NODE, token)


def _reset(variable: Any, token: Any) -> None:
    try:
        variable.reset(token)
    except ValueError:
        # A generator that is closed from another task runs there in another context.
        variable.set(None)


async def _single(value: Any) -> AsyncIterator[Any]:
    yield value


def _text_of(chunk: Any) -> str:
    if isinstance(chunk, str):
        return chunk
    if isinstance(chunk, llm.ChatChunk) and chunk.delta is not None:
        return chunk.delta.content or ""
    return ""


def probe_agent(agent: voice.Agent, recorder: Recorder) -> None:
    """Extend the agent's class, of this instance alone, by the stamping layer."""
    own = type(agent)
    if not issubclass(own, _ProbedNodes):
        agent.__class__ = type(own.__name__, (_ProbedNodes, own), {"__doc__": own.__doc__})
    agent._turnbench_recorder = recorder  # type: ignore[attr-defined]  # noqa: SLF001
