"""A trial under way: the caller's line, what it is played with, what it leaves behind."""

from dataclasses import dataclass

from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableBargeIn, PlayableUtterance
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.domain.trial import TrialKey
from harness.pipeline.drivers.assembly import Schedule
from harness.pipeline.drivers.clients import Clients
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.line.source import PIPELINE_RATE, Line, PacedInput, room_tone
from harness.pipeline.recording.recording import Recorder

__all__ = ["Performance", "line_for"]

_NS = 1_000_000_000
LEAD_IN_MS = 300
"""Open line before the recording: connections are made in it, as before a caller's first word."""


def line_for(utterance: PlayableUtterance, suite: Suite) -> Line:
    """Return the caller's line for an utterance."""
    trailing = room_tone(PIPELINE_RATE) if suite.trailing == "room" else b""
    return Line(
        pcm=utterance.pcm,
        frame_ms=suite.frame_ms,
        lead_in_frames=LEAD_IN_MS // suite.frame_ms,
        trailing=trailing,
    )


@dataclass(slots=True, kw_only=True)
class Performance:
    """A trial under way: what it is played with and what it leaves behind.

    Attributes:
        key: which trial of the plan.
        candidate: whose trial it is.
        utterance: what is played.
        clients: what it is played with.
        cold: its connections are not yet there.
        recorder: what the probes write down.
        source: the caller's microphone.
        sink: the caller's ear.
        origin_ns: when the recording's first sample is due; the trial's begin until that is known.
        emulated: the stages of a user's own agent that a gateway answered; None for candidates of
            the suite's own.
    """

    key: TrialKey
    candidate: Candidate
    utterance: PlayableUtterance
    clients: Clients
    cold: bool
    recorder: Recorder
    source: PacedInput
    sink: PlayoutClock
    origin_ns: int
    emulated: frozenset[Stage] | None = None

    @property
    def barge_in(self) -> PlayableBargeIn | None:
        """What is to be said over the reply, if anything."""
        return self.utterance.barge_ins.get(self.key.barge_in)

    @property
    def audio_end_ns(self) -> int:
        """When the recording's last sample is due."""
        return self.origin_ns + len(self.utterance.pcm) // 2 * _NS // PIPELINE_RATE

    @property
    def speech_start_due_ns(self) -> int:
        """When the first speech sample is due; the recording's first where none is known."""
        return self.origin_ns + (self.utterance.speech_start_ns or 0)

    @property
    def speech_end_due_ns(self) -> int:
        """When the last speech sample is due; the recording's last where none is known."""
        end = self.utterance.speech_end_ns
        return self.audio_end_ns if end is None else self.origin_ns + end

    def schedule(self) -> Schedule:
        """Return when the utterance was due."""
        origin = self.origin_ns
        start, end = self.utterance.speech_start_ns, self.utterance.speech_end_ns
        return Schedule(
            origin_ns=origin,
            audio_end_ns=self.audio_end_ns,
            speech_start_ns=None if start is None else origin + start,
            speech_end_ns=None if end is None else origin + end,
            released=self.source.speech_released,
            released_due_ns=self.source.speech_released_due,
        )
