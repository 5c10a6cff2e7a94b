"""Marks and the partial order that they obey.

A mark is a named instant on the run's clock, in integer nanoseconds. A timeline holds the marks of
one turn. The marks are partially ordered: :data:`ORDER` lists the pairs whose order no legal turn
can break. What is not listed may happen either way round: with preemptive generation the LLM is
asked before the turn is committed, and an agent may answer before the user has ended.

Every file and every function names a mark by its value here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from harness.errors import InvariantError

__all__ = ["ORDER", "TRANSPORT_MARKS", "Mark", "Span", "Stage", "Timeline"]


class Stage(StrEnum):
    """A part of the pipeline that can be slow or fail."""

    STT = "stt"
    ENDPOINTING = "endpointing"
    LLM = "llm"
    TTS = "tts"
    PLAYOUT = "playout"
    INTERRUPTION = "interruption"
    HARNESS = "harness"


class Mark(StrEnum):
    """The instant when…."""

    SESSION_START = "session_start"
    """…the agent's session has started, and the caller listens."""
    GREETING_AUDIBLE = "greeting_audible"
    """…playout of the first audible sample of what the agent says before the caller has spoken."""
    SPEECH_START = "speech_start"
    """…the first audible speech sample of the utterance is due at the pipeline."""
    SPEECH_END = "speech_end"
    """…the last audible speech sample of the utterance is due at the pipeline."""
    AUDIO_END = "audio_end"
    """…the last sample of the recording is due."""
    SPEECH_SENT = "speech_sent"
    """…the frame with the last speech sample has been handed to the STT's transport."""
    TRANSCRIPT_FIRST = "transcript_first"
    """…the first non-empty transcript (interim or final) reaches the agent."""
    FINAL_RECEIVED = "final_received"
    """…the message with the last final transcript before the commit arrives (transport level)."""
    TRANSCRIPT_FINAL = "transcript_final"
    """…the last final transcript at or before the commit reaches the agent."""
    VAD_END = "vad_end"
    """…the agent's voice activity detector says that speech has ended."""
    TURN_COMMITTED = "turn_committed"
    """…the agent decides that the user has finished."""
    LLM_REQUEST = "llm_request"
    """…the chat request is handed to the LLM client."""
    LLM_SENT = "llm_sent"
    """…the last byte of the chat request has been written (transport level)."""
    LLM_FIRST_BYTE = "llm_first_byte"
    """…the first byte of the response body arrives (transport level)."""
    LLM_FIRST_REASONING = "llm_first_reasoning"
    """…the first reasoning delta arrives (transport level)."""
    LLM_TEXT_RECEIVED = "llm_text_received"
    """…the bytes of the first answer text or complete tool call arrive (transport level)."""
    LLM_FIRST_TEXT = "llm_first_text"
    """…the first non-blank answer text or complete tool call leaves the LLM client."""
    SENTENCE_RECEIVED = "sentence_received"
    """…the bytes that complete the first text for the TTS arrive (transport level)."""
    LLM_FIRST_SENTENCE = "llm_first_sentence"
    """…the first text is handed to the TTS."""
    LLM_END = "llm_end"
    """…the reply's text ends."""
    TTS_REQUEST = "tts_request"
    """…the first text goes to the TTS provider's client."""
    TTS_SENT = "tts_sent"
    """…the last byte of the first TTS request has been written (transport level)."""
    TTS_HEADER = "tts_header"
    """…the first byte of a container's header or a message's envelope arrives."""
    TTS_FIRST_BYTE = "tts_first_byte"
    """…the first byte of sample data arrives (transport level)."""
    TTS_FRAME_RECEIVED = "tts_frame_received"
    """…the bytes that complete the first decoded frame arrive (transport level)."""
    TTS_FIRST_FRAME = "tts_first_frame"
    """…the first decoded frame reaches the agent's output."""
    TTS_END = "tts_end"
    """…the last byte of the synthesis arrives (transport level)."""
    PLAYOUT_START = "playout_start"
    """…the first sample of the reply is played."""
    FIRST_AUDIBLE = "first_audible"
    """…the first sample above the silence floor is played."""
    PLAYOUT_END = "playout_end"
    """…the last sample of the reply has been played."""
    OVERLAP_START = "overlap_start"
    """…the first speech sample said over the reply is due at the pipeline."""
    OVERLAP_END = "overlap_end"
    """…the last speech sample said over the reply is due at the pipeline."""
    WINDOW_SENT = "window_sent"
    """…a window of the overlapping speech has been handed to the detector's socket."""
    VERDICT_RECEIVED = "verdict_received"
    """…the detector's verdict on that window arrives (transport level)."""
    INTERRUPTION_DETECTED = "interruption_detected"
    """…the agent decides that it is being interrupted."""
    REPLY_STOPPED = "reply_stopped"
    """…the agent stops the playout of the reply."""


ORDER: tuple[tuple[Mark, Mark], ...] = (
    (Mark.SESSION_START, Mark.GREETING_AUDIBLE),
    (Mark.SPEECH_START, Mark.SPEECH_END),
    (Mark.SPEECH_END, Mark.AUDIO_END),
    (Mark.SPEECH_START, Mark.TRANSCRIPT_FIRST),
    (Mark.TRANSCRIPT_FIRST, Mark.TRANSCRIPT_FINAL),
    (Mark.FINAL_RECEIVED, Mark.TRANSCRIPT_FINAL),
    (Mark.LLM_REQUEST, Mark.LLM_SENT),
    (Mark.LLM_SENT, Mark.LLM_FIRST_BYTE),
    (Mark.LLM_FIRST_BYTE, Mark.LLM_FIRST_REASONING),
    (Mark.LLM_FIRST_BYTE, Mark.LLM_TEXT_RECEIVED),
    (Mark.LLM_REQUEST, Mark.LLM_FIRST_TEXT),
    (Mark.LLM_TEXT_RECEIVED, Mark.LLM_FIRST_TEXT),
    (Mark.LLM_TEXT_RECEIVED, Mark.SENTENCE_RECEIVED),
    (Mark.SENTENCE_RECEIVED, Mark.LLM_FIRST_SENTENCE),
    (Mark.LLM_FIRST_TEXT, Mark.LLM_FIRST_SENTENCE),
    (Mark.LLM_FIRST_TEXT, Mark.LLM_END),
    (Mark.LLM_FIRST_SENTENCE, Mark.TTS_REQUEST),
    (Mark.TTS_REQUEST, Mark.TTS_SENT),
    (Mark.TTS_REQUEST, Mark.TTS_FIRST_BYTE),
    (Mark.TTS_HEADER, Mark.TTS_FIRST_BYTE),
    (Mark.TTS_FIRST_BYTE, Mark.TTS_FRAME_RECEIVED),
    (Mark.TTS_FRAME_RECEIVED, Mark.TTS_FIRST_FRAME),
    (Mark.TTS_REQUEST, Mark.TTS_FIRST_FRAME),
    (Mark.TTS_FIRST_BYTE, Mark.TTS_END),
    (Mark.TTS_FIRST_FRAME, Mark.PLAYOUT_START),
    (Mark.PLAYOUT_START, Mark.FIRST_AUDIBLE),
    (Mark.FIRST_AUDIBLE, Mark.PLAYOUT_END),
    (Mark.FIRST_AUDIBLE, Mark.OVERLAP_START),
    (Mark.OVERLAP_START, Mark.OVERLAP_END),
    (Mark.WINDOW_SENT, Mark.VERDICT_RECEIVED),
)
"""Pairs (earlier, later); equal instants are legal."""

TRANSPORT_MARKS = frozenset(
    {
        Mark.SPEECH_SENT,
        Mark.FINAL_RECEIVED,
        Mark.LLM_SENT,
        Mark.LLM_FIRST_BYTE,
        Mark.LLM_FIRST_REASONING,
        Mark.LLM_TEXT_RECEIVED,
        Mark.SENTENCE_RECEIVED,
        Mark.TTS_SENT,
        Mark.TTS_HEADER,
        Mark.TTS_FIRST_BYTE,
        Mark.TTS_FRAME_RECEIVED,
        Mark.TTS_END,
        Mark.WINDOW_SENT,
        Mark.VERDICT_RECEIVED,
    }
)
"""Marks stamped at the socket, before any parsing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The interval between two marks; negative where the second came first."""

    start_ns: int
    end_ns: int

    @property
    def ns(self) -> int:
        """The span's length in nanoseconds; may be negative."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class Timeline:
    """The legal marks of one turn.

    Args:
        marks: instants in integer nanoseconds on the run's clock.

    Raises:
        InvariantError: an instant is not an integer or a pair of :data:`ORDER` is broken.
    """

    marks: Mapping[Mark, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the instants and their order."""
        for mark, instant in self.marks.items():
            if type(instant) is not int:
                raise InvariantError(f"mark {mark.value} is {instant!r}, not integer nanoseconds")
        for earlier, later in ORDER:
            first, second = self.marks.get(earlier), self.marks.get(later)
            if first is not None and second is not None and first > second:
                raise InvariantError(
                    f"mark {later.value} ({second}) lies before {earlier.value} ({first})"
                )
        object.__setattr__(self, "marks", MappingProxyType(dict(self.marks)))

    def get(self, mark: Mark) -> int | None:
        """Return the instant of a mark, or None where it did not happen."""
        return self.marks.get(mark)

    def span(self, start: Mark, end: Mark) -> Span | None:
        """Return the span between two marks, or None where either is missing."""
        first, second = self.marks.get(start), self.marks.get(end)
        if first is None or second is None:
            return None
        return Span(start_ns=first, end_ns=second)

    def shifted(self, by_ns: int) -> "Timeline":
        """Return the same timeline on a clock whose origin lies ``by_ns`` earlier."""
        return Timeline({mark: instant + by_ns for mark, instant in self.marks.items()})

    def __contains__(self, mark: object) -> bool:
        return mark in self.marks

    def __iter__(self) -> Iterator[Mark]:
        return iter(sorted(self.marks, key=lambda mark: (self.marks[mark], list(Mark).index(mark))))

    def __len__(self) -> int:
        return len(self.marks)
