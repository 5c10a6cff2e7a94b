"""The caller's microphone: recorded speech on an absolute schedule.

Frame *k* is released when its last sample is due, at ``origin + (k + 1) × frame``; a late frame
never moves the ones after it. Before the recording the line carries a lead-in, after it silence or
room tone until the trial ends, as a telephone line does.
"""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from harness.loops.accounting import harness_work
from harness.pacing import Pacer
from harness.pipeline.recording.recording import Stamp, stamp

__all__ = ["PIPELINE_RATE", "Line", "PacedInput", "room_tone"]

PIPELINE_RATE = 16_000
_NS = 1_000_000_000


def room_tone(samples: int, *, seed: int = 7) -> bytes:
    """Return faint pink-ish noise at about -70 dBFS: 16-bit mono, the same for each seed."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(samples + 8)
    tone = np.convolve(white, np.hanning(9) / np.hanning(9).sum(), mode="valid")[:samples]
    tone *= 10 ** (-70 / 20) / (float(np.sqrt(np.mean(tone**2))) or 1.0)
    return bytes((tone * 32767).astype("<i2").tobytes())


@dataclass(slots=True)
class Line:
    """What the microphone picks up: lead-in, recording, then the open line.

    Attributes:
        pcm: the recording, 16-bit mono at 16 kHz.
        frame_ms: length of a frame.
        lead_in_frames: frames before the recording's first sample.
        trailing: a second of what follows, repeated; empty for digital silence.
        mixed: recordings that are added to the line, each from a sample of it on.
    """

    pcm: bytes
    frame_ms: int
    lead_in_frames: int
    trailing: bytes = b""
    mixed: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return PIPELINE_RATE * self.frame_ms // 1000 * 2

    @property
    def frame_ns(self) -> int:
        """Length of one frame in nanoseconds."""
        return self.frame_ms * 1_000_000

    def frame(self, index: int) -> bytes:
        """Return the samples of frame ``index``; frame 0 is the first of the lead-in."""
        data = self._recorded(index)
        for first, pcm in self.mixed:
            data = self._added(data, index * self.frame_bytes - 2 * first, pcm)
        return data

    def _added(self, data: bytes, start: int, pcm: bytes) -> bytes:
        """Return a frame's samples with those of a recording, of which it begins at a byte."""
        part = pcm[max(start, 0) : max(start + len(data), 0)]
        if not part:
            return data
        sum_of = np.frombuffer(data, dtype="<i2").astype(np.int32)
        offset = max(-start, 0) // 2
        sum_of[offset : offset + len(part) // 2] += np.frombuffer(part, dtype="<i2")
        return bytes(np.clip(sum_of, -32_768, 32_767).astype("<i2").tobytes())

    def _recorded(self, index: int) -> bytes:
        size = self.frame_bytes
        start = (index - self.lead_in_frames) * size
        if start >= 0:
            part = self.pcm[start : start + size]
            if len(part) == size:
                return part
            return part + self._open_line(index, size - len(part))
        return self._open_line(index, size)

    def _open_line(self, index: int, size: int) -> bytes:
        if not self.trailing:
            return bytes(size)
        offset = index * self.frame_bytes % (len(self.trailing) - size)
        return self.trailing[offset : offset + size]


class PacedInput(io.AudioInput):
    """livekit's audio input, fed from a :class:`Line` on the schedule.

    Args:
        line: what is played.
        pacer: wakes the line when a frame is due; serves all lines of a loop.
        speech_end_ns: from the recording's first sample; None where there is no speech.
    """

    def __init__(self, line: Line, pacer: Pacer, speech_end_ns: int | None) -> None:
        super().__init__(label="turnbench")
        self._line = line
        self._pacer = pacer
        self._index = 0
        self._origin: int | None = None
        self._closed = False
        self._speech_end_ns = speech_end_ns
        self._begun = asyncio.Event()
        lead_in_ns = line.lead_in_frames * line.frame_ns
        self._speech_frame = (
            None if speech_end_ns is None else (lead_in_ns + speech_end_ns - 1) // line.frame_ns
        )
        self.lateness: list[int] = []
        self.speech_released: Stamp | None = None
        self.speech_released_due: int | None = None

    def begin(self) -> int:
        """Start the schedule now; return when the recording's first sample is due."""
        self._origin = time.perf_counter_ns()
        self._begun.set()
        return self._origin + self._line.lead_in_frames * self._line.frame_ns

    def mix(self, pcm: bytes, *, at_ns: int, may_drop: int = 0) -> int:
        """Add a recording to the line; return when its first sample is (or would have been) due.

        Frames that have been given out stay as they are. What was to be in them is left out, up to
        ``may_drop`` samples at the recording's beginning; beyond that the recording comes later.

        Args:
            pcm: 16-bit mono at 16 kHz.
            at_ns: when its first sample is wanted, on the run's clock; rounded up to a sample.
            may_drop: so many samples at its beginning hold nothing of interest.
        """
        assert self._origin is not None, "begin() comes first"
        wanted = -(-(at_ns - self._origin) * PIPELINE_RATE // _NS)
        free = self._index * (self._line.frame_bytes // 2)
        dropped = min(max(free - wanted, 0), may_drop)
        first = max(wanted + dropped, free)
        self._line.mixed.append((first, pcm[2 * dropped :]))
        return self._origin + (first - dropped) * _NS // PIPELINE_RATE

    @property
    def frame(self) -> int:
        """How many samples a frame holds."""
        return self._line.frame_bytes // 2

    @property
    def sample_of_speech_end(self) -> int | None:
        """The number of samples from the first of the line to the last of speech."""
        if self._speech_end_ns is None:
            return None
        lead_in = self._line.lead_in_frames * (self._line.frame_bytes // 2)
        return lead_in + -(-self._speech_end_ns * PIPELINE_RATE // _NS)

    def release_of(self, samples: int) -> tuple[int, int] | None:
        """Return when the frame that completes so many samples was due, and was released."""
        index = (samples - 1) // (self._line.frame_bytes // 2)
        if self._origin is None or not 0 <= index < len(self.lateness):
            return None
        due = self._origin + (index + 1) * self._line.frame_ns
        return due, due + self.lateness[index]

    async def __anext__(self) -> rtc.AudioFrame:
        """Wait until the next frame is due and return it."""
        await self._begun.wait()
        if self._closed or self._origin is None:
            raise StopAsyncIteration
        line = self._line
        index = self._index
        self._index += 1
        with harness_work():
            data = line.frame(index)
            frame = rtc.AudioFrame(
                data=data,
                sample_rate=PIPELINE_RATE,
                num_channels=1,
                samples_per_channel=len(data) // 2,
            )
        due = self._origin + (index + 1) * line.frame_ns
        await self._pacer.until(due)
        if self._closed:
            raise StopAsyncIteration
        if index == self._speech_frame:
            self.speech_released = stamp()
            self.speech_released_due = due
        self.lateness.append(time.perf_counter_ns() - due)
        return frame

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        self._begun.set()
