"""One utterance being heard, and what is known when it has ended."""

from dataclasses import dataclass

import numpy as np

from harness.gateway.calls.context import NS_PER_S, Call
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from harness.gateway.engines.recogniser import Hearing
from harness.gateway.engines.transcripts import Heard
from harness.gateway.profiles.faults import FaultKind

__all__ = ["Ended", "EndpointTimer", "Utterance"]

_LOUD = 330


class Utterance:
    """One utterance being heard: its audio from shortly before the first speech sample."""

    def __init__(
        self,
        call: Call,
        hearing: Hearing,
        preroll: Samples,
        speech_start: int,
        fault: FaultKind | None,
    ) -> None:
        self.call = call
        self.hearing = hearing
        self.pcm = bytearray(preroll.tobytes())
        self.speech_start = speech_start
        self.fault = fault
        self.over = False
        hearing.feed(bytes(self.pcm))

    def feed(self, samples: Samples) -> None:
        """Hear further audio."""
        data = samples.tobytes()
        self.pcm += data
        self.hearing.feed(data)

    def content(self) -> bytes:
        """Return the loud part of the audio, whatever silence the client sent around it."""
        samples = np.frombuffer(bytes(self.pcm), dtype="<i2")
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= _LOUD)
        if not len(loud):
            return samples.tobytes()
        return samples[loud[0] : loud[-1] + 1].tobytes()


class EndpointTimer:
    """A pending endpoint after one particular last sample of speech."""

    def __init__(self, ended_at: int, silence_ns: int, due_ns: int) -> None:
        self.ended_at = ended_at
        self.silence_ns = silence_ns
        self.due_ns = due_ns
        self.overdue = False

    @property
    def silence(self) -> int:
        """Return the silence that ends the utterance, in samples."""
        return self.silence_ns * HEARD_RATE // NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An utterance whose end has been found."""

    utterance: Utterance
    number: int
    endpoint_ns: int
    silence_ns: int
    start_s: float
    end_s: float
    asked: bool

    def heard(self, text: str) -> Heard:
        """Return what is to be told of it."""
        return Heard(
            text=text,
            start_s=self.start_s,
            end_s=self.end_s,
            request=self.utterance.call.request,
            number=self.number,
            asked=self.asked,
        )
