"""Waiting for a session's turn to end, and telling why it did not, if it did not."""

import time
from typing import Any

from livekit.agents import voice

from harness.domain.driver import PlayableBargeIn
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import Suite, TurnDetection
from harness.domain.timeline import Stage
from harness.pipeline.drivers.blame import no_transcript, silence_failure
from harness.pipeline.drivers.overlap import speak_over
from harness.pipeline.drivers.performance import Performance
from harness.pipeline.drivers.waiting import wait_until

__all__ = ["Conversation"]

_NS = 1_000_000_000
_QUIET_S = 1.0
"""How long an utterance without speech is watched after its end for a reply that must not come."""
_LISTENING = ("listening", "idle")


class Conversation:
    """One utterance and what the agent makes of it, from the recording's begin to the turn's end.

    Args:
        performance: the trial, whose line is open.
        session: the agent's, which has started.
        suite: says how long each step may take.
    """

    def __init__(
        self, performance: Performance, session: voice.AgentSession[Any], suite: Suite
    ) -> None:
        self._performance = performance
        self._session = session
        self._options = suite.session
        self._timeouts = suite.timeouts
        self._patience_s = suite.session.request_timeout_s
        self._recorder, self._sink = performance.recorder, performance.sink

    async def ended(self) -> Failure | None:
        """Wait for the turn to end; return why it did not, if it did not."""
        performance, recorder, sink = self._performance, self._recorder, self._sink
        timeouts = self._timeouts
        if performance.utterance.speech_end_ns is None:
            return await self._expect_nothing()
        end = performance.speech_end_due_ns
        source = performance.source
        manual = self._options.turn_detection is TurnDetection.MANUAL
        if manual and self._options.preset == "measure":
            await wait_until(
                lambda: source.speech_released is not None,
                until_ns=performance.audio_end_ns + _NS,
            )
            self._session.commit_user_turn()
        heard = await wait_until(
            lambda: recorder.understood() or self._broken() or sink.started_ns is not None,
            until_ns=end + round(timeouts.transcript_s * _NS),
        )
        if not heard:
            return no_transcript(timeouts.transcript_s)
        answered = await wait_until(
            lambda: sink.started_ns is not None or self._broken() or self._gave_up(),
            until_ns=end + round(timeouts.reply_s * _NS),
        )
        if not answered or (sink.started_ns is None and not self._broken()):
            return silence_failure(recorder, timeouts.reply_s)
        if sink.started_ns is None:
            return None
        if performance.barge_in is not None:
            return await self._speak_over(performance.barge_in, sink.started_ns)
        return await self._heard_out(sink.started_ns)

    async def _heard_out(self, started_ns: int) -> Failure | None:
        """Listen to the reply to its end, or hang up; return why it does not end."""
        sink, hang_up_s = self._sink, self._timeouts.hang_up_s

        def hung_up() -> bool:
            # The caller waits for a sound: silence that comes before it is no answer yet.
            return (
                hang_up_s is not None
                and sink.audible_ns is not None
                and time.perf_counter_ns() >= sink.audible_ns + round(hang_up_s * _NS)
            )

        broken = self._broken_off if hang_up_s is None else self._broken
        ended = await wait_until(
            lambda: (
                (sink.finished.is_set() and self._idle())
                or broken()
                or self._stalled()
                or hung_up()
            ),
            until_ns=started_ns + round(self._timeouts.playout_s * _NS),
        )
        if hang_up_s is not None and (self._broken() or hung_up()):
            sink.clear_buffer()
            return None
        if self._stalled() and not self._broken():
            return self._no_further_audio()
        if not ended and not sink.finished.is_set():
            return self._too_long()
        return None

    async def _speak_over(self, barge_in: PlayableBargeIn, started_ns: int) -> Failure | None:
        """Speak over the reply; return when it has stopped or ended, or why it does neither."""
        recorder, sink, timeouts = self._recorder, self._sink, self._timeouts
        last = started_ns + round(timeouts.playout_s * _NS)
        await wait_until(
            lambda: (
                sink.audible_ns is not None or self._over() or self._broken() or self._stalled()
            ),
            until_ns=last,
        )
        if sink.audible_ns is not None:
            spoken = speak_over(self._performance.source, sink, barge_in)
            recorder.overlapped = spoken
            if timeouts.hang_up_s is not None:
                last = min(last, spoken.end_ns + round(timeouts.hang_up_s * _NS))

            def settled() -> bool:
                if sink.stopped is not None:
                    sink.leave()
                    # The speaker is heard out; the agent's answer to it is another turn's.
                    return time.perf_counter_ns() >= spoken.end_ns
                return self._over() or self._stalled() or self._broken_off()

            await wait_until(settled, until_ns=last)
            spoken.stopped = sink.stopped
            if sink.stopped is None and sink.finished.is_set():
                spoken.ended_ns = sink.ends_ns
        if sink.stopped is None and not sink.finished.is_set() and not self._broken():
            if self._stalled() or sink.audible_ns is None:
                return self._no_further_audio()
            if timeouts.hang_up_s is None:
                return self._too_long()
        sink.leave()
        return None

    async def _expect_nothing(self) -> Failure | None:
        recorder, sink = self._recorder, self._sink
        await wait_until(
            lambda: sink.started_ns is not None or bool(recorder.problems),
            until_ns=self._performance.audio_end_ns + round(_QUIET_S * _NS),
        )
        if sink.started_ns is not None:
            return Failure(
                stage=Stage.STT,
                kind=FailureKind.UNEXPECTED_REPLY,
                message="the agent answered an utterance without speech",
            )
        return None

    def _broken(self) -> bool:
        """Whether a request failed that livekit does not retry: nothing is left to wait for."""
        return self._options.max_retries == 0 and bool(self._recorder.turn_problems())

    def _broken_off(self) -> bool:
        """Whether what was said before a request failed has been played."""
        return self._broken() and time.perf_counter_ns() > self._sink.ends_ns

    def _stalled(self) -> bool:
        """Whether the reply's audio has ceased to come without an end."""
        patience = round(self._patience_s * _NS)
        return (
            not self._sink.finished.is_set()
            and time.perf_counter_ns() > self._sink.ends_ns + patience
        )

    def _over(self) -> bool:
        """Whether the reply that is spoken over has been played to its end."""
        spoken = self._recorder.overlapped
        # An agent that has taken the speech over its reply for a turn goes on to the next one.
        answers = spoken is not None and any(
            each.stage is Stage.LLM and each.opened.ns > spoken.start_ns
            for each in self._recorder.nodes
        )
        return self._sink.finished.is_set() and (answers or self._idle())

    def _idle(self) -> bool:
        return self._session.agent_state in _LISTENING and all(
            node.ended is not None for node in self._recorder.nodes
        )

    def _gave_up(self) -> bool:
        """Whether the agent is done with the turn without having said anything."""
        ended = [node.ended for node in self._recorder.nodes]
        finished = [each.ns for each in ended if each is not None]
        return (
            bool(self._recorder.commits)
            and bool(finished)
            and self._idle()
            and time.perf_counter_ns() > max(finished) + _NS
        )

    def _no_further_audio(self) -> Failure:
        return Failure(
            stage=Stage.TTS,
            kind=FailureKind.TIMEOUT,
            message=f"no further audio within {self._patience_s:g} s, and no end of the reply",
        )

    def _too_long(self) -> Failure:
        return Failure(
            stage=Stage.PLAYOUT,
            kind=FailureKind.TIMEOUT,
            message=f"the reply did not end within {self._timeouts.playout_s:g} s",
        )
