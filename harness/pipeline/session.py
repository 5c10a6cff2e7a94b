"""The session driver: a real AgentSession without a room.

This is what a user's agent does. The utterance comes in through livekit's audio input at the pace
of speech, the reply goes out through livekit's audio output into a playout clock, and between the
two runs livekit's own pipeline with the suite's options.
"""

import asyncio
import contextlib
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

from livekit.agents import NOT_GIVEN, llm, stt, tts, utils, voice
from livekit.agents.inference import VAD, TurnDetector
from livekit.agents.voice.agent_session import SessionConnectOptions

from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.suite import Candidate, SessionOptions, TurnDetection
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Failure, FailureKind, Trial, TrialKey, Turn
from harness.errors import ConfigurationError
from harness.pipeline.assembly import Schedule, assemble
from harness.pipeline.health import health
from harness.pipeline.performer import (
    Base,
    audio_failure,
    connect_options,
    note_speech_sent,
    primary_failure,
    wait_until,
)
from harness.pipeline.probes import (
    probe_activity,
    probe_agent,
    probe_llm,
    probe_tools,
    probe_tts,
)
from harness.pipeline.recording import CURRENT_RECORDER, Recorder
from harness.pipeline.sink import PlayoutClock
from harness.pipeline.source import PacedInput

__all__ = ["SessionPerformer", "load_agent"]

_NS = 1_000_000_000
_QUIET_S = 1.0
"""How long an utterance without speech is watched after its end for a reply that must not come."""


def load_agent(reference: str) -> Callable[[], Any]:
    """Return the function that makes the user's session and agent.

    Args:
        reference: ``module:function``; the function returns ``(AgentSession, Agent)``, or an
            awaitable of that.

    Raises:
        ConfigurationError: there is no such module or function.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(f"agent: {reference!r} is not of the form module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"agent: {module_name} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(f"agent: {module_name} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _turn_handling(options: SessionOptions) -> dict[str, Any]:
    detection: Any = {
        TurnDetection.STT: "stt",
        TurnDetection.VAD: "vad",
        TurnDetection.MANUAL: "manual",
    }.get(options.turn_detection)
    if options.turn_detection is TurnDetection.MODEL:
        detection = TurnDetector()
    return {
        "turn_detection": detection,
        "endpointing": {
            "mode": "fixed",
            "min_delay": options.min_endpointing_delay_s,
            "max_delay": options.max_endpointing_delay_s,
        },
        "interruption": {
            "enabled": options.interruptions,
            "mode": "vad",
            "discard_audio_if_uninterruptible": True,
            "false_interruption_timeout": None,
        },
        "preemptive_generation": {
            "enabled": options.preemptive_generation,
            "preemptive_tts": options.preemptive_tts,
        },
    }


class SessionPerformer(Base):
    """Performs utterances through a real AgentSession."""

    driver = "session"
    _history: llm.ChatContext | None = None
    """What has been said in earlier trials, where the suite lets the context grow."""

    def _session(
        self, candidate: Candidate, clients: Any
    ) -> tuple[voice.AgentSession[Any], voice.Agent]:
        options = self._suite.session
        growing = options.context == "growing" and self._history is not None
        agent = voice.Agent(
            instructions=candidate.instructions,
            chat_ctx=self._history.copy() if growing else NOT_GIVEN,  # type: ignore[union-attr]
        )
        connect = connect_options(self._suite)
        conn_options = SessionConnectOptions(
            stt_conn_options=connect, llm_conn_options=connect, tts_conn_options=connect
        )
        if options.preset == "livekit-defaults":
            return (
                voice.AgentSession(stt=clients.stt, llm=clients.llm, tts=clients.tts),
                agent,
            )
        wants_vad = options.vad or options.turn_detection in (
            TurnDetection.VAD,
            TurnDetection.MODEL,
        )
        streaming = clients.stt is None or clients.stt.capabilities.streaming
        vad = (
            VAD(model="silero", min_silence_duration=options.vad_min_silence_s)
            if wants_vad or not streaming
            else None
        )
        session: voice.AgentSession[Any] = voice.AgentSession(
            stt=clients.stt,
            llm=clients.llm,
            tts=clients.tts,
            vad=vad,
            turn_handling=_turn_handling(options),  # type: ignore[arg-type]
            tts_text_transforms=list(options.text_transforms) or None,  # type: ignore[arg-type]
            aec_warmup_duration=None,
            user_away_timeout=None,
            session_close_transcript_timeout=0.0,
            conn_options=conn_options,
        )
        return session, agent

    async def _make(self, candidate: Candidate) -> tuple[voice.AgentSession[Any], voice.Agent]:
        if candidate.agent is None:
            return self._session(candidate, self._clients)
        made = load_agent(candidate.agent)()
        if inspect.isawaitable(made):
            made = await made
        pair = made if isinstance(made, tuple) and len(made) == 2 else (None, None)
        session, agent = pair
        if not isinstance(session, voice.AgentSession) or not isinstance(agent, voice.Agent):
            raise ConfigurationError(
                f"agent: {candidate.agent} has to return (AgentSession, Agent), "
                f"not {type(made).__name__}"
            )
        probe_tools()
        for owner in (session, agent):
            if isinstance(owner.llm, llm.LLM):
                probe_llm(owner.llm)
            if isinstance(owner.tts, tts.TTS):
                probe_tts(owner.tts)
        return session, agent

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        """Play one utterance through a fresh session and return what happened."""
        cold = await self.before(key)
        self._running += 1
        try:
            return await asyncio.create_task(self._perform(key, candidate, utterance, cold=cold))
        finally:
            self._running -= 1

    async def _perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance, *, cold: bool
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        recorder = Recorder()
        CURRENT_RECORDER.set(recorder)
        started = time.perf_counter_ns()
        source = self.line(utterance)
        sink = PlayoutClock()
        failure: Failure | None = None
        origin = started
        async with utils.http_context.open():
            session: voice.AgentSession[Any] | None = None
            try:
                session, agent = await self._make(candidate)
                self._listen(session, recorder)
                session.input.audio = source
                session.output.audio = sink
                probe_agent(agent, recorder)
                async with asyncio.timeout(self._suite.timeouts.connect_s):
                    await session.start(agent)
                probe_activity(agent, recorder)
                origin = source.begin()
                failure = await self._converse(recorder, source, sink, utterance, origin, session)
                if self._suite.session.context == "growing":
                    self._history = agent.chat_ctx.copy(exclude_instructions=True)
            except TimeoutError:
                failure = Failure(
                    stage=Stage.HARNESS,
                    kind=FailureKind.TIMEOUT,
                    message="the session did not start in time",
                )
            except Exception as error:  # noqa: BLE001  (a user's agent may raise anything)
                failure = Failure(
                    stage=Stage.HARNESS,
                    kind=FailureKind.INTERNAL,
                    message=self._redact(f"{type(error).__name__}: {error}"[:300]),
                )
            finally:
                source.close()
                await sink.aclose()
                if session is not None:
                    with contextlib.suppress(Exception):
                        # The turn is over: livekit need not wait for another transcript (2 s).
                        session.options.session_close_transcript_timeout = 0.0
                    with contextlib.suppress(Exception):
                        async with asyncio.timeout(5):
                            await session.aclose()
        ended = time.perf_counter_ns()
        turn = self._turn(recorder, source, sink, utterance, origin)
        failure = self._verdict(recorder, turn, sink.pcm(), failure)
        reply = (
            ReplyAudio(pcm=sink.pcm(), sample_rate=sink.rate)
            if self._suite.keep_audio and sink.rate
            else None
        )
        common: dict[str, Any] = {
            "key": key,
            "driver": self.driver,
            "started_ns": started,
            "ended_ns": ended,
            "turns": (turn,),
            "health": health(source.lateness, self._watch, started, ended),
            "cold": cold,
        }
        if failure is not None:
            return FailedTrial(failure=failure, **common), reply
        return Trial(**common), reply

    def _listen(self, session: voice.AgentSession[Any], recorder: Recorder) -> None:
        stages = ((stt.STT, Stage.STT), (llm.LLM, Stage.LLM), (tts.TTS, Stage.TTS))

        def on_error(event: Any) -> None:
            if getattr(event.error, "recoverable", False):
                # livekit asks again; only the last of its attempts can fail the turn.
                return
            error = getattr(event.error, "error", event.error)
            stage = next((s for kind, s in stages if isinstance(event.source, kind)), Stage.HARNESS)
            if isinstance(error, BaseException):
                recorder.problem(stage, error)

        def on_item(event: Any) -> None:
            metrics = getattr(event.item, "metrics", None) or {}
            role = getattr(event.item, "role", "item")
            for name, value in dict(metrics).items():
                if isinstance(value, int | float) and not name.endswith("_at"):
                    recorder.reported[f"{role}.{name}"] = float(value)

        session.on("error", on_error)
        session.on("conversation_item_added", on_item)

    async def _converse(  # noqa: PLR0917  (the parts of one conversation)
        self,
        recorder: Recorder,
        source: PacedInput,
        sink: PlayoutClock,
        utterance: PlayableUtterance,
        origin: int,
        session: voice.AgentSession[Any],
    ) -> Failure | None:
        """Wait for the turn to end; return why it did not, if it did not."""
        timeouts = self._suite.timeouts
        audio_end = origin + len(utterance.pcm) // 2 * _NS // 16_000
        if utterance.speech_end_ns is None:
            return await self._expect_nothing(recorder, sink, audio_end)
        end = origin + utterance.speech_end_ns
        manual = self._suite.session.turn_detection is TurnDetection.MANUAL
        if manual and self._suite.session.preset == "measure":
            await wait_until(lambda: source.speech_released is not None, until_ns=audio_end + _NS)
            session.commit_user_turn()

        def broken() -> bool:
            # A failed request that livekit does not retry leaves nothing to wait for.
            return self._suite.session.max_retries == 0 and bool(recorder.turn_problems())

        def finals() -> bool:
            return any(each.kind == "final" and each.text.strip() for each in recorder.transcripts)

        heard = await wait_until(
            lambda: finals() or broken() or sink.started_ns is not None,
            until_ns=end + round(timeouts.transcript_s * _NS),
        )
        if not heard:
            return Failure(
                stage=Stage.STT,
                kind=FailureKind.NO_TRANSCRIPT,
                message=f"no final transcript within {timeouts.transcript_s:g} s of the speech end",
            )
        answered = await wait_until(
            lambda: sink.started_ns is not None or broken() or self._gave_up(session, recorder),
            until_ns=end + round(timeouts.reply_s * _NS),
        )
        if not answered or (sink.started_ns is None and not broken()):
            return self._silence(recorder)
        if sink.started_ns is None:
            return None
        hang_up_s = timeouts.hang_up_s
        if hang_up_s is not None:
            await wait_until(
                lambda: broken() or (sink.finished.is_set() and self._idle(session, recorder)),
                until_ns=sink.started_ns + round(hang_up_s * _NS),
            )
            sink.clear_buffer()
            return None
        patience = round(self._suite.session.request_timeout_s * _NS)

        def stalled() -> bool:
            return not sink.finished.is_set() and time.perf_counter_ns() > sink.ends_ns + patience

        ended = await wait_until(
            lambda: (
                (sink.finished.is_set() and self._idle(session, recorder))
                or (broken() and time.perf_counter_ns() > sink.ends_ns)
                or stalled()
            ),
            until_ns=sink.started_ns + round(timeouts.playout_s * _NS),
        )
        if stalled() and not broken():
            return Failure(
                stage=Stage.TTS,
                kind=FailureKind.TIMEOUT,
                message=f"no further audio within {patience / _NS:g} s, and no end of the reply",
            )
        if not ended and not sink.finished.is_set():
            return Failure(
                stage=Stage.PLAYOUT,
                kind=FailureKind.TIMEOUT,
                message=f"the reply did not end within {timeouts.playout_s:g} s",
            )
        return None

    @staticmethod
    def _gave_up(session: voice.AgentSession[Any], recorder: Recorder) -> bool:
        """Whether the agent is done with the turn without having said anything."""
        ended = [node.ended for node in recorder.nodes]
        finished = [each.ns for each in ended if each is not None]
        return (
            bool(recorder.commits)
            and bool(finished)
            and len(finished) == len(ended)
            and session.agent_state in ("listening", "idle")
            and time.perf_counter_ns() > max(finished) + _NS
        )

    @staticmethod
    def _idle(session: voice.AgentSession[Any], recorder: Recorder) -> bool:
        return session.agent_state in ("listening", "idle") and all(
            node.ended is not None for node in recorder.nodes
        )

    async def _expect_nothing(
        self, recorder: Recorder, sink: PlayoutClock, audio_end: int
    ) -> Failure | None:
        await wait_until(
            lambda: sink.started_ns is not None or bool(recorder.problems),
            until_ns=audio_end + round(_QUIET_S * _NS),
        )
        if sink.started_ns is not None:
            return Failure(
                stage=Stage.STT,
                kind=FailureKind.UNEXPECTED_REPLY,
                message="the agent answered an utterance without speech",
            )
        return None

    def _silence(self, recorder: Recorder) -> Failure:
        """Name the stage at which a turn without a reply stopped."""
        within = f"within {self._suite.timeouts.reply_s:g} s of the speech end"
        if recorder.nodes and all(node.ended is not None for node in recorder.nodes):
            within = "and the agent went on listening"
        asked = [call for call in recorder.calls if call.stage is Stage.LLM]
        spoken = [call for call in recorder.calls if call.stage is Stage.TTS]
        if not recorder.commits and not asked:
            return Failure(
                stage=Stage.ENDPOINTING,
                kind=FailureKind.TIMEOUT,
                message=f"the turn was not committed {within}",
            )
        stage = Stage.TTS if spoken else Stage.LLM
        return Failure(stage=stage, kind=FailureKind.TIMEOUT, message=f"no audible reply {within}")

    def _turn(
        self,
        recorder: Recorder,
        source: PacedInput,
        sink: PlayoutClock,
        utterance: PlayableUtterance,
        origin: int,
    ) -> Turn:
        note_speech_sent(recorder, source)
        start, end = utterance.speech_start_ns, utterance.speech_end_ns
        schedule = Schedule(
            origin_ns=origin,
            audio_end_ns=origin + len(utterance.pcm) // 2 * _NS // 16_000,
            speech_start_ns=None if start is None else origin + start,
            speech_end_ns=None if end is None else origin + end,
            released=source.speech_released,
            released_due_ns=source.speech_released_due,
        )
        return assemble(
            recorder=recorder,
            schedule=schedule,
            options=self._suite.session,
            sink=sink,
            utterance=utterance.utterance.id,
            redact=self._redact,
            idle=self._watch.idle_between(origin, time.perf_counter_ns()),
        )

    def _verdict(
        self, recorder: Recorder, turn: Turn, pcm: bytes, failure: Failure | None
    ) -> Failure | None:
        """Return the first cause of failure, or None for a turn that ended well."""
        if failure is not None and failure.kind is FailureKind.UNEXPECTED_REPLY:
            return failure
        found = primary_failure(recorder, turn, self._redact)
        if found is not None:
            return found
        if failure is not None:
            return failure
        wrong = audio_failure(turn, pcm)
        if wrong is not None:
            return wrong
        if Mark.SPEECH_END in turn.marks and turn.reply is None:
            return Failure(
                stage=Stage.PLAYOUT, kind=FailureKind.NO_REPLY, message="there was no reply"
            )
        return None
