"""The stage driver: each stage alone, under fixed input.

The STT hears the paced utterance and is told to finalize at the known end of speech; the LLM is
asked with the reference text; the TTS speaks a fixed text. No turn detector and no coupling between
stages, so models and voices are compared with few trials.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from livekit import rtc
from livekit.agents import APIError, llm, stt

from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableUtterance
from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Stage
from harness.pipeline.drivers.blame import no_transcript
from harness.pipeline.drivers.clients import connect_options
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.drivers.performance import Performance
from harness.pipeline.drivers.performer import Base
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.line.source import PacedInput
from harness.pipeline.probes.nodes import on_speech_event
from harness.pipeline.recording.recording import Recorder, stamp
from harness.pipeline.transport.failures import failure_of

__all__ = ["STAGE_TEXTS", "StagePerformer"]

_NS = 1_000_000_000
_SETTLE_S = 0.15
"""How long the STT is listened to after its final, for a further one."""

STAGE_TEXTS = (
    "Your kitchen lights are now set to a warm white at forty percent.",
    "The next train to the airport leaves at seven fifteen from platform four.",
    "I have added apples, bread and two bottles of milk to your shopping list.",
    "It will be mostly sunny today, with a high of twenty two degrees.",
    "Your appointment with Doctor Lee is on Thursday at half past nine.",
    "I could not find that song, but here is one that sounds much like it.",
)
"""What the TTS speaks where the suite names no texts: sentences of an assistant."""


class StagePerformer(Base):
    """Performs each stage of a candidate alone."""

    driver = "stage"

    async def _play(self, performance: Performance) -> Failure | None:
        """Measure the candidate's stages one after the other."""
        recorder, candidate, utterance = (
            performance.recorder,
            performance.candidate,
            performance.utterance,
        )
        clients = performance.clients
        failure: Failure | None = None
        if clients.stt is not None:
            performance.origin_ns, failure = await self._hear(
                clients.stt, recorder, performance.source, utterance
            )
        text = utterance.utterance.reference
        if failure is None and clients.llm is not None and text:
            client = clients.llm
            failure = await self._bounded(
                Stage.LLM,
                recorder,
                lambda opened: self._ask(client, recorder, candidate, text, opened),
            )
        if failure is None and clients.tts is not None:
            texts = self._suite.stage_texts or STAGE_TEXTS
            spoken = texts[(performance.key.order + performance.key.repeat) % len(texts)]
            speaker = clients.tts
            failure = await self._bounded(
                Stage.TTS,
                recorder,
                lambda opened: self._speak(speaker, recorder, performance.sink, spoken, opened),
            )
        return failure

    async def _bounded(
        self,
        stage: Stage,
        recorder: Recorder,
        run: Callable[[list[Any]], Awaitable[Failure | None]],
    ) -> Failure | None:
        """Run a stage within the suite's time-out for a reply, then close what it has opened.

        Closing has a bound of its own: it is no part of the reply, and may take its time.
        """
        limit = self._suite.timeouts.reply_s
        opened: list[Any] = []
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                return await run(opened)
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything)
            if bound.expired():
                return Failure(
                    stage=stage, kind=FailureKind.TIMEOUT, message=f"did not end within {limit:g} s"
                )
            recorder.problem(stage, error)
            return failure_of(stage, error, self._redact)
        finally:
            for stream in opened:
                await close_within(stream.aclose)

    async def _hear(
        self, client: Any, recorder: Recorder, source: PacedInput, utterance: PlayableUtterance
    ) -> tuple[int, Failure | None]:
        """Play the utterance to the STT, finalize at the speech end, wait for the final."""
        if not client.capabilities.streaming:
            return await self._hear_whole(client, recorder, source, utterance)
        if isinstance(getattr(client, "finalize", None), bool):
            # A session leaves the ends of utterances to the server; here the end is known.
            client.finalize = True
        stream = client.stream(conn_options=connect_options(self._suite))
        heard = asyncio.Event()
        origin = source.begin()
        end = utterance.speech_end_ns
        due = origin + (end if end is not None else len(utterance.pcm) // 2 * _NS // 16_000)

        async def feed() -> None:
            sample = source.sample_of_speech_end
            pushed = 0
            finalized = False
            async for frame in source:
                with contextlib.suppress(RuntimeError):
                    stream.push_frame(frame)
                pushed += frame.samples_per_channel
                if sample is not None and pushed >= sample and not finalized:
                    finalized = True
                    with contextlib.suppress(RuntimeError):
                        stream.flush()

        async def listen() -> None:
            async for event in _events(stream):
                on_speech_event(recorder, event)
                final = event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
                # An empty final may be what a finalize flushed; it is no transcript by itself.
                if final and recorder.understood() and time.perf_counter_ns() >= due:
                    heard.set()

        failure: Failure | None = None
        feeding = asyncio.create_task(feed())
        listening = asyncio.create_task(listen())
        waiting = asyncio.create_task(heard.wait())
        timeout_s = self._suite.timeouts.transcript_s if end is not None else 1.0
        try:
            remaining = (due - time.perf_counter_ns()) / _NS + timeout_s
            done, _ = await asyncio.wait(
                {listening, waiting}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting in done:
                await asyncio.sleep(_SETTLE_S)
            elif listening in done and (error := listening.exception()) is not None:
                recorder.problem(Stage.STT, error)
                failure = failure_of(Stage.STT, error, self._redact)
            elif end is not None and not recorder.understood():
                failure = no_transcript(timeout_s)
        finally:
            source.close()
            for task in (feeding, listening, waiting):
                task.cancel()
            await asyncio.gather(feeding, listening, waiting, return_exceptions=True)
            await close_within(stream.aclose)
        return origin, failure

    async def _hear_whole(
        self,
        client: stt.STT[Any],
        recorder: Recorder,
        source: PacedInput,
        utterance: PlayableUtterance,
    ) -> tuple[int, Failure | None]:
        """Play the utterance, hand it over whole at the speech end, wait for the final.

        No detector decides: such an STT is told of the end by being given the recording.
        """
        origin = source.begin()
        end = utterance.speech_end_ns
        timeout_s = self._suite.timeouts.transcript_s
        frames: list[rtc.AudioFrame] = []
        pushed = 0
        last = source.sample_of_speech_end
        whole_ns = origin + len(utterance.pcm) // 2 * _NS // 16_000
        async for frame in source:
            frames.append(frame)
            pushed += frame.samples_per_channel
            if time.perf_counter_ns() >= whole_ns if last is None else pushed >= last:
                break
        try:
            async with asyncio.timeout(timeout_s):
                event = await client.recognize(frames, conn_options=connect_options(self._suite))
            on_speech_event(recorder, event)
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything)
            recorder.problem(Stage.STT, error)
            return origin, failure_of(Stage.STT, error, self._redact)
        if end is not None and not any(each.text.strip() for each in recorder.transcripts):
            return origin, no_transcript(timeout_s)
        return origin, None

    async def _ask(
        self,
        client: llm.LLM[Any],
        recorder: Recorder,
        candidate: Candidate,
        text: str,
        opened: list[Any],
    ) -> Failure | None:
        """Ask the LLM with the reference text and read its answer to the end."""
        context = llm.ChatContext.empty()
        context.add_message(role="system", content=candidate.instructions)
        context.add_message(role="user", content=text)
        stream = client.chat(chat_ctx=context, conn_options=connect_options(self._suite))
        opened.append(stream)
        call = next(each for each in reversed(recorder.calls) if each.stage is Stage.LLM)
        async for chunk in stream:
            delta = chunk.delta
            if delta is None:
                continue
            content = delta.content or ""
            if content or delta.tool_calls:
                at = stamp()
                call.pieces.append((at, content))
                if call.first_text is None and (content.strip() or delta.tool_calls):
                    call.first_text = at
        call.ended = stamp()
        return None

    async def _speak(
        self, client: Any, recorder: Recorder, sink: PlayoutClock, text: str, opened: list[Any]
    ) -> Failure | None:
        """Synthesise a text and play it out."""
        options = connect_options(self._suite)
        try:
            if client.capabilities.streaming:
                stream = client.stream(conn_options=options)
                opened.append(stream)
                stream.push_text(text)
                stream.end_input()
            else:
                stream = client.synthesize(text, conn_options=options)
                opened.append(stream)
            async for audio in stream:
                await sink.capture_frame(audio.frame)
        except APIError as error:
            recorder.problem(Stage.TTS, error)
            return failure_of(Stage.TTS, error, self._redact)
        finally:
            sink.flush()
        if not sink.rate:
            return Failure(
                stage=Stage.TTS, kind=FailureKind.EMPTY, message="the synthesis gave no audio"
            )
        return None


async def _events(stream: Any) -> AsyncIterator[stt.SpeechEvent]:
    async for event in stream:
        yield event
