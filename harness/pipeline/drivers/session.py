"""The session driver: a real AgentSession without a room.

This is what a user's agent does. The utterance comes in through livekit's audio input at the pace
of speech, the reply goes out through livekit's audio output into a playout clock, and between the
two runs livekit's own pipeline with the suite's options.
"""

import asyncio
import contextlib
import functools
from typing import Any

from livekit.agents import llm, stt, tts, voice

from harness.domain.candidate import Candidate
from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.loops.accounting import Owner, accounts, owned_by
from harness.pipeline.drivers.blame import DROPPED
from harness.pipeline.drivers.clients import Clients
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.drivers.conversation import Conversation
from harness.pipeline.drivers.greeting import hear_greeting
from harness.pipeline.drivers.interruption import Detector, probe_interruption
from harness.pipeline.drivers.own_agent import make_own
from harness.pipeline.drivers.performance import Performance
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.suite_session import suite_session
from harness.pipeline.probes.activity import probe_activity
from harness.pipeline.probes.nodes import probe_agent
from harness.pipeline.recording.recording import Recorder, stamp
from harness.pipeline.transport.addresses import GatewayFinder, watch_connections
from harness.pipeline.transport.purposes import tell_purposes
from harness.pipeline.transport.transforms import known_transforms

__all__ = ["SessionPerformer"]


class SessionPerformer(Base):
    """Performs utterances through a real AgentSession."""

    driver = "session"
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
        self, candidate: Candidate, clients: Clients
    ) -> tuple[voice.AgentSession[Any], voice.Agent]:
        return suite_session(self._suite, candidate, clients, self.history)

    async def _play(self, performance: Performance) -> Failure | None:
        """Play the utterance through a fresh session."""
        recorder, source, sink = performance.recorder, performance.source, performance.sink
        session: voice.AgentSession[Any] | None = None
        try:
            asked = self._ask_detector(performance.candidate)
            recorder.planned_overlap = performance.barge_in
            if performance.candidate.agent is not None:
                watch_connections()
                tell_purposes(self._place.gateway)
                recorder.connected = []
            with owned_by(Owner.AGENT):
                if performance.candidate.agent is None:
                    session, agent = self._session(performance.candidate, performance.clients)
                else:
                    session, agent = await make_own(performance.candidate.agent)
            self._listen(session, recorder)
            recorder.text_transforms = known_transforms(session.options.tts_text_transforms)
            session.input.audio = source
            session.output.audio = sink
            probe_agent(agent, recorder)
            recorder.session_started = stamp()
            async with asyncio.timeout(self._suite.timeouts.connect_s):
                with owned_by(Owner.AGENT):
                    await session.start(agent)
            probe_activity(agent, recorder)
            probe_interruption(agent, recorder, asked=asked)
            if performance.candidate.agent is not None:
                timeouts = self._suite.timeouts
                with owned_by(Owner.AGENT):
                    failure = await hear_greeting(
                        session, sink, recorder, timeouts.reply_s + timeouts.playout_s
                    )
                if failure is not None:
                    return failure
            performance.origin_ns = source.begin()
            sink.listens_from_ns = performance.speech_start_due_ns
            books = accounts()
            spent_ns = 0 if books is None else books.spent_ns(Owner.AGENT)
            failure = await Conversation(performance, session, self._suite).ended()
            if books is not None:
                recorder.agent_cpu_ns = books.spent_ns(Owner.AGENT) - spent_ns
            if self._suite.session.context == "growing":
                self.history = agent.chat_ctx.copy(exclude_instructions=True)
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
            return DROPPED
        if Mark.SPEECH_END in turn.marks and turn.reply is None:
            return Failure(
                stage=Stage.PLAYOUT, kind=FailureKind.NO_REPLY, message="there was no reply"
            )
        if Mark.SPEECH_END in turn.marks and not audible:
            # Without a sound there is no response, whatever was played.
            return Failure(
                stage=Stage.TTS, kind=FailureKind.SILENT, message="the reply had no audible sample"
            )
        return None
