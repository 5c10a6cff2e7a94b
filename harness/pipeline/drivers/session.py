"""The session driver: a real AgentSession without a room.

This is what a user's agent does. The utterance comes in through livekit's audio input at the pace
of speech, the reply goes out through livekit's audio output into a playout clock, and between the
two runs livekit's own pipeline with the suite's options.
"""

import asyncio
import contextlib
import functools
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

from livekit.agents import NOT_GIVEN, llm, stt, tts, voice
from livekit.agents.inference import VAD, TurnDetector
from livekit.agents.voice.agent_session import SessionConnectOptions

from harness.domain.driver import PlayableBargeIn
from harness.domain.suite import (
    Candidate,
    InterruptionSettings,
    SessionOptions,
    TurnDetection,
)
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Failure, FailureKind, Turn
from harness.errors import ConfigurationError
from harness.pipeline.drivers.clients import Clients, connect_options
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.drivers.interruption import Detector, probe_interruption
from harness.pipeline.drivers.overlap import speak_over
from harness.pipeline.drivers.performer import Base, Performance, wait_until
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.probes.probes import (
    probe_activity,
    probe_agent,
    probe_llm,
    probe_stt,
    probe_tools,
    probe_tts,
)
from harness.pipeline.recording.recording import Recorder
from harness.pipeline.transport.addresses import GatewayFinder, watch_connections
from harness.pipeline.transport.transforms import known_transforms

__all__ = ["SessionPerformer", "load_agent"]

_NS = 1_000_000_000
_QUIET_S = 1.0
"""How long an utterance without speech is watched after its end for a reply that must not come."""
_DROPPED = Failure(
    stage=Stage.INTERRUPTION,
    kind=FailureKind.NO_REPLY,
    message="the agent took the caller's own turn for an interruption, and dropped its reply "
    "before it could be heard",
)


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


def _turn_handling(options: SessionOptions, interruption: InterruptionSettings) -> dict[str, Any]:
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
            "mode": interruption.mode,
            "min_duration": interruption.min_duration_s,
            "min_words": 0,
            "backchannel_boundary": (
                options.backchannel_boundary_s,
                options.backchannel_boundary_s,
            ),
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
    _detector: Detector | None = None

    @functools.cached_property
    def _finder(self) -> GatewayFinder:
        return GatewayFinder()

    async def aclose(self) -> None:
        """Close the clients, and the way to the detector of interruptions."""
        await super().aclose()
        if self._detector is not None:
            await self._detector.aclose()
            self._detector = None

    def _ask_detector(self, candidate: Candidate) -> str:
        """Let this trial's detector go the candidate's way; return which one is asked for."""
        suite = self._suite
        own = candidate.agent is not None or suite.session.preset != "measure"
        settings = None if own else suite.interruption(candidate)
        if settings is not None and settings.mode != "adaptive":
            return settings.mode
        if self._detector is None:
            self._detector = Detector(
                settings, self._place, timeout_s=suite.session.request_timeout_s
            )
        self._detector.use()
        return "" if settings is None else settings.mode

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
            turn_handling=_turn_handling(  # type: ignore[arg-type]
                options, self._suite.interruption(candidate)
            ),
            tts_text_transforms=list(options.text_transforms) or None,  # type: ignore[arg-type]
            aec_warmup_duration=None,
            user_away_timeout=None,
            session_close_transcript_timeout=0.0,
            conn_options=conn_options,
        )
        return session, agent

    async def _make(
        self, candidate: Candidate, clients: Clients
    ) -> tuple[voice.AgentSession[Any], voice.Agent]:
        if candidate.agent is None:
            return self._session(candidate, clients)
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
            if isinstance(owner.stt, stt.STT):
                probe_stt(owner.stt)
            if isinstance(owner.llm, llm.LLM):
                probe_llm(owner.llm)
            if isinstance(owner.tts, tts.TTS):
                probe_tts(owner.tts)
        return session, agent

    async def _play(self, performance: Performance) -> Failure | None:
        """Play the utterance through a fresh session."""
        recorder, source, sink = performance.recorder, performance.source, performance.sink
        session: voice.AgentSession[Any] | None = None
        try:
            asked = self._ask_detector(performance.candidate)
            recorder.planned_overlap = performance.barge_in
            if performance.candidate.agent is not None:
                watch_connections()
                recorder.connected = []
            session, agent = await self._make(performance.candidate, performance.clients)
            self._listen(session, recorder)
            recorder.text_transforms = known_transforms(session.options.tts_text_transforms)
            session.input.audio = source
            session.output.audio = sink
            probe_agent(agent, recorder)
            async with asyncio.timeout(self._suite.timeouts.connect_s):
                await session.start(agent)
            probe_activity(agent, recorder)
            probe_interruption(agent, recorder, asked=asked)
            performance.origin_ns = source.begin()
            failure = await self._converse(performance, session)
            if self._suite.session.context == "growing":
                self._history = agent.chat_ctx.copy(exclude_instructions=True)
        except TimeoutError:
            return Failure(
                stage=Stage.HARNESS,
                kind=FailureKind.TIMEOUT,
                message="the session did not start in time",
            )
        except Exception as error:  # noqa: BLE001  (a user's agent may raise anything)
            return Failure(
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
                await close_within(session.aclose)
            if recorder.connected is not None:
                performance.emulated = await self._finder.stages(recorder)
        return failure

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

    async def _converse(
        self, performance: Performance, session: voice.AgentSession[Any]
    ) -> Failure | None:
        """Wait for the turn to end; return why it did not, if it did not."""
        recorder, source, sink = performance.recorder, performance.source, performance.sink
        utterance = performance.utterance
        timeouts = self._suite.timeouts
        audio_end = performance.audio_end_ns
        if utterance.speech_end_ns is None:
            return await self._expect_nothing(recorder, sink, audio_end)
        end = performance.origin_ns + utterance.speech_end_ns
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
        if performance.barge_in is not None:
            return await self._speak_over(performance, performance.barge_in, session, broken)
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

    async def _speak_over(
        self,
        performance: Performance,
        barge_in: PlayableBargeIn,
        session: voice.AgentSession[Any],
        broken: Callable[[], bool],
    ) -> Failure | None:
        """Speak over the reply; return when it has stopped or ended, or why it does neither."""
        recorder, source, sink = performance.recorder, performance.source, performance.sink
        timeouts = self._suite.timeouts
        patience = round(self._suite.session.request_timeout_s * _NS)
        assert sink.started_ns is not None
        last = sink.started_ns + round(timeouts.playout_s * _NS)

        def over() -> bool:
            """Whether the reply has been played to its end."""
            spoken = recorder.overlapped
            # An agent that has taken the speech over its reply for a turn goes on to the next one.
            answers = spoken is not None and any(
                each.stage is Stage.LLM and each.opened.ns > spoken.start_ns
                for each in recorder.nodes
            )
            return sink.finished.is_set() and (answers or self._idle(session, recorder))

        def stalled() -> bool:
            return not sink.finished.is_set() and time.perf_counter_ns() > sink.ends_ns + patience

        await wait_until(
            lambda: sink.audible_ns is not None or over() or broken() or stalled(), until_ns=last
        )
        if sink.audible_ns is not None:
            spoken = speak_over(source, sink, barge_in)
            recorder.overlapped = spoken
            if timeouts.hang_up_s is not None:
                last = min(last, spoken.end_ns + round(timeouts.hang_up_s * _NS))

            def settled() -> bool:
                if sink.stopped is not None:
                    sink.leave()
                    # The speaker is heard out; the agent's answer to it is another turn's.
                    return time.perf_counter_ns() >= spoken.end_ns
                return over() or stalled() or (broken() and time.perf_counter_ns() > sink.ends_ns)

            await wait_until(settled, until_ns=last)
            spoken.stopped = sink.stopped
            if sink.stopped is None and sink.finished.is_set():
                spoken.ended_ns = sink.ends_ns
        if sink.stopped is None and not sink.finished.is_set() and not broken():
            if stalled() or sink.audible_ns is None:
                return Failure(
                    stage=Stage.TTS,
                    kind=FailureKind.TIMEOUT,
                    message=f"no further audio within {patience / _NS:g} s, and no end of the "
                    "reply",
                )
            if timeouts.hang_up_s is None:
                return Failure(
                    stage=Stage.PLAYOUT,
                    kind=FailureKind.TIMEOUT,
                    message=f"the reply did not end within {timeouts.playout_s:g} s",
                )
        sink.leave()
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
        if recorder.interruptions:
            # What took the reply for interrupted is to blame, and not who was still at it.
            return _DROPPED
        stage = Stage.TTS if spoken else Stage.LLM
        return Failure(stage=stage, kind=FailureKind.TIMEOUT, message=f"no audible reply {within}")

    def _verdict(
        self, performance: Performance, turns: tuple[Turn, ...], failure: Failure | None
    ) -> Failure | None:
        """Return the first cause of failure, or None for a trial that ended well."""
        if failure is not None and failure.kind is FailureKind.UNEXPECTED_REPLY:
            return failure
        found = super()._verdict(performance, turns, failure)
        if found is not None:
            return found
        turn = turns[0]
        audible = Mark.FIRST_AUDIBLE in turn.marks
        if Mark.SPEECH_END in turn.marks and not audible and performance.recorder.interruptions:
            return _DROPPED
        if Mark.SPEECH_END in turn.marks and turn.reply is None:
            return Failure(
                stage=Stage.PLAYOUT, kind=FailureKind.NO_REPLY, message="there was no reply"
            )
        return None
