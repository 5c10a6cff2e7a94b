"""The reply as it was played, and what was said over it."""

from dataclasses import dataclass

from harness.domain.barge_in import Expects

__all__ = ["HeardAgain", "Overlap", "PlayoutSegment", "Reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutSegment:
    """A stretch of the reply that played without a gap.

    Attributes:
        start_ns: when its first sample was played.
        offset: its first sample's index in the reply.
        samples: how many samples it holds.
    """

    start_ns: int
    offset: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardAgain:
    """What a recogniser made of a reply's audio after the run; it is stored beside the trials.

    Attributes:
        spoken: the text that was synthesised.
        heard: the final transcript; None where there is none.
        recogniser: which one, and where it was reached, in words.
        reason: why it failed; None where it heard words, or nothing to hear.
    """

    spoken: str
    heard: str | None
    recogniser: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply's audio as it was played.

    Attributes:
        sample_rate: in hertz.
        samples: how many.
        segments: the stretches between underruns, in order.
        leading_silence: samples before the first audible 10 ms window; all of them if none is.
        interrupted: it did not play to its end: the agent stopped it, or the caller hung up.
        audio: the file in the run's folder, where the audio was kept.
        again: what a recogniser made of it later, where one was asked. No part of the trial as it
            is stored.
    """

    sample_rate: int
    samples: int
    segments: tuple[PlayoutSegment, ...]
    leading_silence: int
    interrupted: bool = False
    audio: str | None = None
    again: HeardAgain | None = None

    @property
    def underruns_ns(self) -> tuple[int, ...]:
        """The lengths of the gaps in playout, in nanoseconds."""
        gaps = []
        for before, after in zip(self.segments, self.segments[1:], strict=False):
            played_ns = before.samples * 1_000_000_000 // self.sample_rate
            gaps.append(after.start_ns - before.start_ns - played_ns)
        return tuple(gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What was said over the reply, and who was to judge it.

    Attributes:
        recording: its utterance's id in its dataset.
        expects: what the agent should make of it.
        detector: "adaptive" or "vad", as asked for; "" where an agent of the user's own decides.
        fell_back: why the adaptive detector gave up and left the decision to the voice activity
            detector; "" where it did not.
    """

    recording: str
    expects: Expects
    detector: str = ""
    fell_back: str = ""
