"""Hooks at livekit's nodes and at the clients that they call.

An agent, ours or a user's, is measured as it is: its class is extended by one that stamps what
passes through ``stt_node``, ``llm_node`` and ``tts_node`` and calls the original. The clients'
``chat``, ``synthesize`` and ``stream`` are wrapped on the instance, so that the call itself and the
exchanges that it makes are known. What a probe adds to the path is one clock reading and an append.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, tts, vad, voice
from livekit.agents.voice import agent_activity

from harness.clock import read_clock_pair
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_NODE,
    CURRENT_RECORDER,
    Problem,
    Recorder,
    TranscriptEvent,
    stamp,
)
from harness.pipeline.transport.pools import note_queueing

__all__ = [
    "on_speech_event",
    "probe_activity",
    "probe_agent",
    "probe_llm",
    "probe_stt",
    "probe_tools",
    "probe_tts",
    "stamped_detector",
]

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


def probe_activity(agent: voice.Agent, recorder: Recorder) -> None:
    """Stamp the commit of the turn, the detector's end of speech and its predictions.

    livekit has no public hook at the instant of the decision; ``on_user_turn_completed`` comes
    after other awaits.
    """
    activity: Any = agent._get_activity_or_raise()  # noqa: SLF001
    on_end_of_turn = activity.on_end_of_turn
    on_end_of_speech = activity.on_end_of_speech
    on_eot_prediction = activity.on_eot_prediction

    def end_of_turn(info: Any) -> bool:
        at = stamp()
        committed: bool = on_end_of_turn(info)
        if committed and not info.skip_reply:
            recorder.commits.append(at)
        return committed

    def end_of_speech(event: Any) -> None:
        if event is not None:
            recorder.vad_ends.append(
                (stamp(), float(event.silence_duration), float(event.inference_duration))
            )
        on_end_of_speech(event)

    def eot_prediction(event: Any) -> None:
        recorder.eot.append((stamp().ns, float(event.probability), float(event.threshold)))
        on_eot_prediction(event)

    activity.on_end_of_turn = end_of_turn
    activity.on_end_of_speech = end_of_speech
    activity.on_eot_prediction = eot_prediction


def _wrap_once(client: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(client, name)
    if getattr(original, "_turnbench", False):
        return
    wrapped = make(original)
    wrapped._turnbench = True  # noqa: SLF001
    setattr(client, name, wrapped)


def probe_tools() -> None:
    """Stamp when an agent's tools run; once for the process, as livekit has no hook for it."""
    module: Any = agent_activity
    original = module.perform_tool_executions
    if getattr(original, "_turnbench", False):
        return

    def perform(**kwargs: Any) -> tuple[asyncio.Task[None], Any]:
        task, output = original(**kwargs)
        recorder = CURRENT_RECORDER.get()
        if recorder is not None:
            started: list[int] = []
            output.first_tool_started_fut.add_done_callback(lambda _: started.append(stamp().ns))
            task.add_done_callback(
                lambda _: recorder.tool_runs.extend((at, stamp().ns) for at in started)
            )
        return task, output

    perform._turnbench = True  # type: ignore[attr-defined]  # noqa: SLF001
    module.perform_tool_executions = perform


def _note_retries(client: Any) -> None:
    """Keep the errors after which livekit asks again, with the call or the trial they belong to.

    livekit tells of them in the task that asks, whose context is the trial's.
    """
    if getattr(client, "_turnbench_retries", False):
        return
    client._turnbench_retries = True  # noqa: SLF001

    def note(event: Any) -> None:
        error = getattr(event, "error", None)
        if not getattr(event, "recoverable", False) or not isinstance(error, BaseException):
            return
        call, recorder = CURRENT_CALL.get(), CURRENT_RECORDER.get()
        problem_at = stamp().ns
        if call is not None:
            call.retries.append(Problem(problem_at, call.stage, error))
        elif recorder is not None and isinstance(client, stt.STT):
            recorder.retries.append(Problem(problem_at, Stage.STT, error))

    client.on("error", note)


def probe_stt(client: stt.STT[Any]) -> None:
    """Note how much audio each stretch holds that is given to an STT whole, and its retries."""
    _note_retries(client)
    note_queueing(client, Stage.STT)

    def make(original: Any) -> Any:
        async def recognize(buffer: Any, **kwargs: Any) -> stt.SpeechEvent:
            recorder = CURRENT_RECORDER.get()
            if recorder is not None:
                frames = buffer if isinstance(buffer, list) else [buffer]
                seconds = sum(each.samples_per_channel / each.sample_rate for each in frames)
                recorder.stretches.append((stamp().ns, seconds))
            return await original(buffer, **kwargs)  # type: ignore[no-any-return]

        return recognize

    if not client.capabilities.streaming:
        _wrap_once(client, "recognize", make)


def probe_llm(client: llm.LLM[Any]) -> None:
    """Record every ``chat`` of this client that a recorded trial causes."""
    _note_retries(client)

    def make(original: Any) -> Any:
        def chat(**kwargs: Any) -> llm.LLMStream:
            recorder = CURRENT_RECORDER.get()
            if recorder is None:
                return original(**kwargs)  # type: ignore[no-any-return]
            call = recorder.open_call(Stage.LLM)
            call.node = CURRENT_NODE.get()
            context = kwargs.get("chat_ctx")
            if context is not None and context.items:
                call.last_item = context.items[-1].type
                call.context_items = len(context.items)
            token = CURRENT_CALL.set(call)
            try:
                return original(**kwargs)  # type: ignore[no-any-return]
            finally:
                CURRENT_CALL.reset(token)

        return chat

    _wrap_once(client, "chat", make)


def probe_tts(client: tts.TTS[Any]) -> None:
    """Record every synthesis of this client that a recorded trial causes."""
    _note_retries(client)
    note_queueing(client, Stage.TTS)

    def make_synthesize(original: Any) -> Any:
        def synthesize(text: str, **kwargs: Any) -> tts.ChunkedStream:
            recorder = CURRENT_RECORDER.get()
            if recorder is None:
                return original(text, **kwargs)  # type: ignore[no-any-return]
            call = recorder.open_call(Stage.TTS, text)
            call.node = CURRENT_NODE.get()
            token = CURRENT_CALL.set(call)
            try:
                return original(text, **kwargs)  # type: ignore[no-any-return]
            finally:
                CURRENT_CALL.reset(token)

        return synthesize

    def make_stream(original: Any) -> Any:
        def stream(**kwargs: Any) -> tts.SynthesizeStream:
            recorder = CURRENT_RECORDER.get()
            if recorder is None:
                return original(**kwargs)  # type: ignore[no-any-return]
            call = recorder.open_call(Stage.TTS)
            call.node = CURRENT_NODE.get()
            token = CURRENT_CALL.set(call)
            try:
                opened: tts.SynthesizeStream = original(**kwargs)
            finally:
                CURRENT_CALL.reset(token)
            push_text = opened.push_text

            def push(piece: str) -> None:
                call.pieces.append((stamp(), piece))
                push_text(piece)

            opened.push_text = push  # type: ignore[method-assign, assignment]
            return opened

        return stream

    _wrap_once(client, "synthesize", make_synthesize)
    if client.capabilities.streaming:
        _wrap_once(client, "stream", make_stream)


def stamped_detector(detector: vad.VAD) -> vad.VAD:
    """Stamp when a voice activity detector within an STT's client finds the end of speech."""

    def make(original: Any) -> Any:
        def stream() -> vad.VADStream:
            opened: Any = original()
            recorder = CURRENT_RECORDER.get()
            if recorder is None:
                return opened  # type: ignore[no-any-return]
            channel = opened._event_ch  # noqa: SLF001  (where its verdicts leave it)
            pass_on = channel.send_nowait

            def send(event: vad.VADEvent) -> None:
                if event.type is vad.VADEventType.END_OF_SPEECH:
                    recorder.detector_ends.append(stamp())
                pass_on(event)

            channel.send_nowait = send
            return opened  # type: ignore[no-any-return]

        return stream

    _wrap_once(detector, "stream", make)
    return detector
