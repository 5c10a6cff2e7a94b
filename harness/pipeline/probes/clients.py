"""Hooks at the clients that livekit's nodes call.

The clients' ``chat``, ``synthesize`` and ``stream`` are wrapped on the instance, so that the call
itself and the exchanges that it makes are known.
"""

from collections.abc import Callable
from typing import Any

from livekit.agents import llm, stt, tts, vad

from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_NODE,
    CURRENT_RECORDER,
    Problem,
    stamp,
)
from harness.pipeline.transport.pools import note_queueing

__all__ = ["probe_llm", "probe_stt", "probe_tts", "stamped_detector"]


def _wrap_once(client: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(client, name)
    if getattr(original, "_turnbench", False):
        return
    wrapped = make(original)
    wrapped._turnbench = True  # noqa: SLF001
    setattr(client, name, wrapped)


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
