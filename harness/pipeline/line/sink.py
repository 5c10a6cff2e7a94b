"""The caller's ear: a playout clock that keeps the reply.

Audio that arrives while nothing plays is played at once; what arrives earlier is queued behind. A
gap in which the queue ran dry before the reply was complete is an underrun, and starts a new
segment. The instant at which any sample was played is therefore known to the nanosecond, without a
sound card.
"""

import asyncio
import time

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from harness.domain.reply import PlayoutSegment, Reply
from harness.pipeline.line.wav import wav_header
from harness.pipeline.recording.recording import Stamp, stamp

__all__ = ["SILENCE_FLOOR_DBFS", "PlayoutClock", "leading_silence"]

SILENCE_FLOOR_DBFS = -50.0
_WINDOW_MS = 10
_NS = 1_000_000_000


def leading_silence(pcm: bytes, sample_rate: int) -> int:
    """Return how many samples precede the first audible one; all of them if none is audible.

    Windows of 10 ms from the reply's first sample; the first whose RMS exceeds -50 dBFS is audible,
    from its first sample whose magnitude exceeds that level. The header of a WAV that a server has
    put before bare samples is no sound.
    """
    header = wav_header(pcm)
    begin = 0 if header is None else min(header.size // 2, len(pcm) // 2)
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64) / 32768.0
    window = sample_rate * _WINDOW_MS // 1000
    floor = 10 ** (SILENCE_FLOOR_DBFS / 20)
    for start in range(begin, len(samples), window):
        part = samples[start : start + window]
        if float(np.sqrt(np.mean(part**2))) > floor:
            return start + int(np.argmax(np.abs(part) > floor))
    return len(samples)


class PlayoutClock(io.AudioOutput):
    """livekit's audio output as a clock."""

    def __init__(self) -> None:
        super().__init__(
            label="turnbench",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=None,
        )
        self.arrivals: list[tuple[Stamp, int]] = []
        self.chunks: list[bytes] = []
        self.rate = 0
        self.interrupted = False
        self.finished = asyncio.Event()
        self.stopped: Stamp | None = None
        self._left = False
        self._audible_ns: int | None = None
        self._searched = 0
        self.listens_from_ns = 0
        """What began to be played before is no reply, however long it goes on."""
        self.earlier_audible_ns: int | None = None
        self._segments: list[list[int]] = []
        self._total = 0
        self._head_ns = 0
        self._capture_start = 0
        self._open = False
        self._pending: set[asyncio.Task[None]] = set()
        self._playing: list[asyncio.Task[None]] = []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Queue a frame for playout."""
        at = stamp()
        await super().capture_frame(frame)
        if self._left:
            self._open = True
            return
        if self.rate == 0:
            self.rate = frame.sample_rate
        first_of_capture = not self._open
        if first_of_capture:
            self._open = True
            if not self._is_reply():
                audible = self._sounds_at()
                self.forget()
                self.earlier_audible_ns = audible
            self._capture_start = self._total
            self.finished.clear()
        samples = frame.samples_per_channel
        if at.ns >= self._head_ns or not self._segments:
            start = at.ns if self._segments else max(at.ns, self._head_ns)
            self._segments.append([start, self._total, 0])
            self._head_ns = start
        self._segments[-1][2] += samples
        self._total += samples
        start, _, played = self._segments[-1]
        self._head_ns = start + played * _NS // self.rate
        self.arrivals.append((at, samples))
        data = bytes(frame.data)
        if frame.num_channels > 1:
            mixed = np.frombuffer(data, dtype="<i2").reshape(-1, frame.num_channels).mean(axis=1)
            data = mixed.astype("<i2").tobytes()
        self.chunks.append(data)
        if first_of_capture:
            self.on_playback_started(created_at=time.time())  # noqa: TID251  (livekit's clock)

    def flush(self) -> None:
        """Mark the end of a segment of speech; it is finished when it has played out."""
        super().flush()
        if not self._open:
            return
        self._open = False
        if self._left:
            self._report(0, interrupted=True)
            return
        task = asyncio.create_task(self._finish(self._capture_start, self._total))
        self._playing.append(task)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _finish(self, start: int, end: int) -> None:
        while (remaining := self._head_ns - time.perf_counter_ns()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(remaining / _NS)
        self._report(end - start, interrupted=False)

    def _report(self, samples: int, *, interrupted: bool) -> None:
        self.on_playback_finished(
            playback_position=samples / (self.rate or 1), interrupted=interrupted
        )
        self.finished.set()

    def leave(self) -> None:
        """Stop playout and play nothing more: nobody listens, whatever the agent still says."""
        self.clear_buffer()
        self._left = True

    def clear_buffer(self) -> None:
        """Stop playout at once."""
        at = stamp()
        now = at.ns
        unfinished = [task for task in self._playing if not task.done()]
        if not unfinished and not self._open:
            return
        for task in unfinished:
            task.cancel()
        self._playing.clear()
        if self._head_ns > now and self._segments:
            start, _, played = self._segments[-1]
            cut = max(0, (now - start) * self.rate // _NS)
            self._total -= max(0, played - cut)
            self._segments[-1][2] = min(played, cut)
            self._head_ns = now
        self.interrupted = True
        self.stopped = self.stopped or at
        self._open = False
        self._report(self._total - self._capture_start, interrupted=True)

    def forget(self) -> None:
        """Begin anew: what has been heard so far was no reply."""
        self.arrivals.clear()
        self.chunks.clear()
        self._segments.clear()
        self._total = self._capture_start = self._searched = 0
        self._audible_ns = None
        self.interrupted = False
        self.stopped = None
        self.finished.clear()

    @property
    def playing(self) -> bool:
        """Whether something is being played, or has begun to come."""
        return self._open or time.perf_counter_ns() < self._head_ns

    @property
    def greeted_ns(self) -> int | None:
        """When something became audible that began before a reply could, None where nothing did."""
        return self._sounds_at() if not self._is_reply() else self.earlier_audible_ns

    def _is_reply(self) -> bool:
        return not self._segments or self._segments[0][0] >= self.listens_from_ns

    @property
    def started_ns(self) -> int | None:
        """When the first sample was played."""
        return self._segments[0][0] if self._segments and self._is_reply() else None

    @property
    def audible_ns(self) -> int | None:
        """When the first audible sample is played, as far as is known; None before it came."""
        return self._sounds_at() if self._is_reply() else None

    def _sounds_at(self) -> int | None:
        if self._audible_ns is None and self.rate and self._total != self._searched:
            self._searched = self._total
            # Whole windows alone, so that what is found now is what the whole reply has.
            window = self.rate * _WINDOW_MS // 1000 * 2
            pcm = self.pcm()
            pcm = pcm[: len(pcm) // window * window]
            silent = leading_silence(pcm, self.rate)
            if silent < len(pcm) // 2:
                start, offset, _ = next(
                    each for each in reversed(self._segments) if silent >= each[1]
                )
                self._audible_ns = start + (silent - offset) * _NS // self.rate
        return self._audible_ns

    @property
    def ends_ns(self) -> int:
        """When all that has been queued will have been played."""
        return self._head_ns

    def pcm(self) -> bytes:
        """Return the reply's samples, as far as they were played."""
        return b"".join(self.chunks)[: self._total * 2]

    def reply(self) -> Reply | None:
        """Return the reply as it was played, or None if nothing was."""
        if not self._segments or self._total == 0 or not self._is_reply():
            return None
        pcm = self.pcm()
        return Reply(
            sample_rate=self.rate,
            samples=self._total,
            segments=tuple(
                PlayoutSegment(start_ns=start, offset=offset, samples=samples)
                for start, offset, samples in self._segments
                if samples > 0
            ),
            leading_silence=leading_silence(pcm, self.rate),
            interrupted=self.interrupted,
        )

    async def aclose(self) -> None:
        """Drop what has not been played."""
        for task in tuple(self._pending):
            task.cancel()
