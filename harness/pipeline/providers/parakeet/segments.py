"""From Parakeet's messages to livekit's speech events: pure, no I/O and no clock.

Parakeet sends texts and nothing else: no start or end of speech, no usage. livekit's session needs
all three: with ``turn_detection="stt"`` it commits a turn on END_OF_SPEECH alone, which must follow
the FINAL_TRANSCRIPT, or the turn is committed without its text. A segment's events are therefore

    START_OF_SPEECH  INTERIM_TRANSCRIPT*  FINAL_TRANSCRIPT  END_OF_SPEECH  RECOGNITION_USAGE

with START_OF_SPEECH at the segment's first text (or at an onset of energy, see
:class:`EnergyOnset`). A final without text ends the segment and is no transcript.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from livekit.agents import stt
from livekit.agents.language import LanguageCode

from harness.pipeline.recording.observer import SttObserver

__all__ = ["DUPLICATE_WITHIN_S", "EnergyOnset", "OnsetDetector", "Segmenter"]

DUPLICATE_WITHIN_S: Final = 0.1
"""A final with the same text as the one before is a repetition of the message, not of the words,
when less audio than this was sent in between: nobody says a word twice in it."""

_START: Final = stt.SpeechEventType.START_OF_SPEECH
_INTERIM: Final = stt.SpeechEventType.INTERIM_TRANSCRIPT
_FINAL: Final = stt.SpeechEventType.FINAL_TRANSCRIPT
_END: Final = stt.SpeechEventType.END_OF_SPEECH
_USAGE: Final = stt.SpeechEventType.RECOGNITION_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyOnset:
    """When the client itself takes loudness for the start of speech.

    Attributes:
        threshold_dbfs: a frame is loud from this root mean square on.
        after_s: START_OF_SPEECH comes after so much unbroken loudness.
        release_s: END_OF_SPEECH comes after so much quiet if the server never sent a text.
    """

    threshold_dbfs: float = -40.0
    after_s: float = 0.06
    release_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what can never trigger."""
        if not -100.0 <= self.threshold_dbfs < 0.0:
            raise ValueError(f"threshold_dbfs {self.threshold_dbfs} is not in -100..0")
        if not (self.after_s > 0 and self.release_s > 0):
            raise ValueError("after_s and release_s must be positive")


class OnsetDetector:
    """Runs an :class:`EnergyOnset` over frames of 16-bit mono samples."""

    def __init__(self, onset: EnergyOnset, sample_rate: int) -> None:
        self._floor = (32768.0 * math.pow(10.0, onset.threshold_dbfs / 20.0)) ** 2
        self._after = onset.after_s * sample_rate
        self._release = onset.release_s * sample_rate
        self._loud = 0
        self._quiet = 0

    def push(self, samples: memoryview) -> str:
        """Return "onset" once loudness has lasted, "release" once quiet has, else ""."""
        values = np.frombuffer(samples, dtype=np.int16).astype(np.float64)
        count = len(values)
        if count and float(np.dot(values, values)) / count >= self._floor:
            before, self._loud, self._quiet = self._loud, self._loud + count, 0
            return "onset" if before < self._after <= self._loud else ""
        before, self._quiet, self._loud = self._quiet, self._quiet + count, 0
        return "release" if before < self._release <= self._quiet else ""


class Segmenter:
    """Turns texts into speech events.

    Args:
        language: of the transcripts; the wire names none.
        sample_rate: of the audio on the wire.
        observer: told of transcripts.
        name: the prefix of request ids, unique for each stream.
    """

    def __init__(
        self, *, language: str, sample_rate: int, observer: SttObserver, name: str
    ) -> None:
        self._language = LanguageCode(language)
        self._rate = sample_rate
        self._observer = observer
        self._name = name
        self._segment = 1
        self._ended_id = ""
        self._open = False
        self._has_text = False
        self._unbilled = 0
        self._since_final: int | None = None
        self._last_text = ""

    @property
    def open(self) -> bool:
        """Whether a START_OF_SPEECH still lacks its END_OF_SPEECH."""
        return self._open

    @property
    def request_id(self) -> str:
        """The present segment's id."""
        return f"{self._name}-{self._segment}"

    def sent(self, samples: int) -> None:
        """Note audio that was handed to the socket."""
        self._unbilled += samples
        if self._since_final is not None:
            self._since_final += samples

    def onset(self) -> list[stt.SpeechEvent]:
        """Open a segment because the audio is loud."""
        return self._start()

    def release(self) -> list[stt.SpeechEvent]:
        """Close a segment that loudness opened and that never got a text."""
        return self._end() if self._open and not self._has_text else []

    def interim(self, text: str, received_ns: int) -> list[stt.SpeechEvent]:
        """Return an interim text's events; none for an empty one."""
        text = text.strip()
        if not text:
            self._observer.on_dropped(received_ns, text, "empty")
            return []
        events = self._start()
        self._has_text = True
        self._observer.on_interim(received_ns, text)
        events.append(self._transcript(_INTERIM, text, received_ns))
        return events

    def final(self, text: str, received_ns: int) -> list[stt.SpeechEvent]:
        """Return a final text's events; an empty one only ends the segment."""
        text = text.strip()
        if not text:
            self._observer.on_dropped(received_ns, text, "empty")
            return [*self._end(), *self._usage()]
        if (
            not self._has_text
            and text == self._last_text
            and self._since_final is not None
            and self._since_final < DUPLICATE_WITHIN_S * self._rate
        ):
            self._observer.on_dropped(received_ns, text, "duplicate")
            return []
        events = self._start()
        self._observer.on_final(received_ns, text)
        events.append(self._transcript(_FINAL, text, received_ns))
        self._last_text, self._since_final = text, 0
        return [*events, *self._end(), *self._usage()]

    def finalized(self) -> list[stt.SpeechEvent]:
        """Return what ends with the server's answer to a finalize."""
        return [*self._end(), *self._usage()]

    def lost(self) -> list[stt.SpeechEvent]:
        """Close an open segment whose connection is gone, so that nobody waits for its end."""
        return self._end()

    def _start(self) -> list[stt.SpeechEvent]:
        if self._open:
            return []
        self._open = True
        return [stt.SpeechEvent(type=_START, request_id=self.request_id)]

    def _end(self) -> list[stt.SpeechEvent]:
        if not self._open:
            return []
        event = stt.SpeechEvent(type=_END, request_id=self.request_id)
        self._open = self._has_text = False
        self._ended_id = self.request_id
        self._segment += 1
        return [event]

    def _usage(self) -> list[stt.SpeechEvent]:
        if not self._unbilled:
            return []
        duration_s, self._unbilled = self._unbilled / self._rate, 0
        return [
            stt.SpeechEvent(
                type=_USAGE,
                request_id=self._ended_id or self.request_id,
                recognition_usage=stt.RecognitionUsage(audio_duration=duration_s),
            )
        ]

    def _transcript(
        self, kind: stt.SpeechEventType, text: str, received_ns: int
    ) -> stt.SpeechEvent:
        # Parakeet tells no confidence; livekit has no word for "unknown" and reads 0.0 as doubt.
        data = stt.SpeechData(
            language=self._language,
            text=text,
            confidence=1.0,
            metadata={"received_ns": received_ns},
        )
        return stt.SpeechEvent(type=kind, request_id=self.request_id, alternatives=[data])
