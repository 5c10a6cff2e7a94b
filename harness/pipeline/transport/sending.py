"""How the last words got to the STT, read after the trial: what its client waited for on the way.

A client may bring the samples to another rate, whose filter holds the latest of them back; it may
send larger packets than the frames that it is given; and it may itself have to say when the
utterance has ended. Each is a wait that is known, and none is the provider's. A provider that has
been told how much silence ends an utterance waits for it: that is known too, from what was sent.
"""

import functools
from bisect import bisect_left
from typing import Final

from livekit import rtc

from harness.domain.request import Wait, WaitCause
from harness.pipeline.line.source import PIPELINE_RATE, PacedInput
from harness.pipeline.recording.recording import Exchange, Recorder, Stamp

__all__ = ["note_speech_sent", "samples_pushed_for"]

_NS_PER_MS: Final = 1_000_000


class _Resampler:
    """How many samples come out of livekit's resampler, push by push.

    That depends on how many go in and how they are cut, and not on what they are.
    """

    def __init__(self, rate: int, frame: int) -> None:
        # As livekit's base class for streams makes it.
        self._resampler = rtc.AudioResampler(
            PIPELINE_RATE, rate, quality=rtc.AudioResamplerQuality.HIGH
        )
        self._frame = rtc.AudioFrame(
            data=bytes(2 * frame),
            sample_rate=PIPELINE_RATE,
            num_channels=1,
            samples_per_channel=frame,
        )
        self._out: list[int] = []

    def pushes_for(self, samples: int) -> int:
        """Return after how many frames so many samples had come out."""
        while not self._out or self._out[-1] < samples:
            came = sum(each.samples_per_channel for each in self._resampler.push(self._frame))
            self._out.append((self._out[-1] if self._out else 0) + came)
        return bisect_left(self._out, samples) + 1


@functools.cache
def _resampler(rate: int, frame: int) -> _Resampler:
    return _Resampler(rate, frame)


def samples_pushed_for(samples: int, *, rate: int, frame: int) -> int:
    """Return how many samples livekit's resampler had to be given to let so many out.

    Args:
        samples: how many came out, at ``rate``.
        rate: what the client sends.
        frame: how many samples the client is given at once, at the pipeline's rate.
    """
    return _resampler(rate, frame).pushes_for(samples) * frame


def note_speech_sent(recorder: Recorder, source: PacedInput) -> None:
    """Write down when the STT had all that its last final needed, and what was waited for.

    ``speech_sent`` is when the message with the last speech sample went to the transport, or, of a
    client that ends utterances itself, the message that says so.
    """
    sample = source.sample_of_speech_end
    entry = recorder.stt.log.entry(sample - 1) if sample is not None else None
    if sample is None or entry is None:
        return
    recorder.speech_sent = Stamp(entry[0], entry[1])
    socket = recorder.sockets[-1] if recorder.sockets else None
    told = None if socket is None else _told(recorder, socket)
    own = source.release_of(sample)
    if told is not None and own is not None:
        # The detector hears the frames as they come, whatever becomes of them on the way out.
        decided, recorder.speech_sent = told
        recorder.waits.append(Wait(cause=WaitCause.VAD, start_ns=own[0], end_ns=decided.ns))
        return
    _note_packing(recorder, source, sample, entry[2], socket)
    if socket is not None:
        _note_silence(recorder, socket)


def _note_packing(
    recorder: Recorder, source: PacedInput, sample: int, end: int, socket: Exchange | None
) -> None:
    """Note what the client waited for after the frame with the last speech sample.

    Args:
        recorder: the trial's.
        source: what was played, frame by frame.
        sample: how many samples there are to the end of speech.
        end: how many there are to the end of the message that holds the last of speech.
        socket: what carried it; None where the client has its own log of what it sends.
    """
    rate = PIPELINE_RATE if socket is None else socket.dialect.rate
    needed, whole = sample, end
    if rate != PIPELINE_RATE:
        needed, whole = (
            samples_pushed_for(-(-each * rate // PIPELINE_RATE), rate=rate, frame=source.frame)
            for each in (sample, end)
        )
    releases = [source.release_of(each) for each in (sample, needed, whole)]
    if any(each is None for each in releases) or recorder.speech_sent is None:
        return
    (own, _), (resampled, _), (due, released) = (each for each in releases if each is not None)
    if due > recorder.speech_sent.ns:
        # A client that is told to finish sends what it has.
        return
    if resampled > own:
        recorder.waits.append(Wait(cause=WaitCause.RESAMPLING, start_ns=own, end_ns=resampled))
    if due > resampled:
        recorder.waits.append(Wait(cause=WaitCause.PACKET, start_ns=resampled, end_ns=due))
    if due > own and released > due:
        recorder.waits.append(Wait(cause=WaitCause.PACING, start_ns=due, end_ns=released))


def _told(recorder: Recorder, socket: Exchange) -> tuple[Stamp, Stamp] | None:
    """Return when the client's own detector found the end of speech, and when the server knew."""
    assert recorder.speech_sent is not None
    sent = recorder.speech_sent.ns
    decided = next((at for at in recorder.detector_ends if at.ns >= sent), None)
    if decided is None:
        return None
    told = (
        each.at
        for each in socket.sends
        if each.at.ns >= decided.ns and socket.dialect.ends(each.data)
    )
    at = next(told, None)
    return None if at is None else (decided, at)


def _note_silence(recorder: Recorder, socket: Exchange) -> None:
    """Note the silence that the provider was told to wait for, from the arrival of the last word.

    An upper limit counts where it was reached, and then instead of a lower one.
    """
    assert recorder.speech_sent is not None
    sent = recorder.speech_sent.ns
    stated = None
    for each in socket.sends:
        if each.at.ns <= sent:
            stated = socket.dialect.silence(each.data) or stated
    if stated is None:
        return
    finals = [at.ns for at, _, kind, _ in recorder.transcripts if kind == "final" and at.ns > sent]
    shortest, longest = (
        None if each is None else round(each * _NS_PER_MS)
        for each in (stated.shortest_ms, stated.longest_ms)
    )
    reached = longest is not None and bool(finals) and finals[0] >= sent + longest
    waited = longest if reached else shortest
    if waited is None or waited <= 0:
        return
    # What is told to finish does not wait on.
    ended = [each.at.ns for each in socket.sends if socket.dialect.ends(each.data)]
    end = min([sent + waited, *(at for at in ended if at >= sent)])
    recorder.stt_facts["endpointing_silence_ms"] = waited / _NS_PER_MS
    if end > sent:
        recorder.waits.append(Wait(cause=WaitCause.SILENCE, start_ns=sent, end_ns=end))
