"""Whether a reply's audio can be the speech that was asked for.

Two signs that need no recogniser: noise has a flat spectrum where speech never has one for long,
and nobody speaks twenty-four letters a second. Both limits are set far outside what speech does,
because a false accusation is worse than a missed one; what a reply says is the business of
``tts_wer``.
"""

import numpy as np

__all__ = ["FASTEST_CHARACTERS_PER_SECOND", "FLATTEST_SPEECH", "flatness", "reply_fault"]

FLATTEST_SPEECH = 0.35
"""Median spectral flatness of the audible 20 ms windows; white noise has 0.55, speech under 0.2."""
FASTEST_CHARACTERS_PER_SECOND = 24.0
"""Without spaces; a brisk speaker has 14, an auctioneer 20."""
_SHORTEST_TEXT = 24
_FLOOR = 10 ** (-50 / 20)


def flatness(pcm: bytes, sample_rate: int) -> float | None:
    """Return the median spectral flatness of the audible windows; None if fewer than 10 are.

    Flatness is the geometric over the arithmetic mean of a window's power spectrum between 100 Hz
    and 7 kHz.
    """
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64) / 32768.0
    window = sample_rate // 50
    count = len(samples) // window
    frames = samples[: count * window].reshape(count, window)
    audible = frames[np.sqrt(np.mean(frames**2, axis=1)) > _FLOOR]
    if len(audible) < 10:
        return None
    power = np.abs(np.fft.rfft(audible * np.hanning(window), axis=1)) ** 2 + 1e-12
    frequencies = np.fft.rfftfreq(window, 1 / sample_rate)
    band = power[:, (frequencies >= 100) & (frequencies <= 7000)]
    each = np.exp(np.mean(np.log(band), axis=1)) / np.mean(band, axis=1)
    return float(np.median(each))


def reply_fault(pcm: bytes, sample_rate: int, text: str) -> tuple[str, str] | None:
    """Return a failure's kind and message if the audio cannot be this text's speech, or None."""
    flat = flatness(pcm, sample_rate)
    if flat is not None and flat > FLATTEST_SPEECH:
        return "malformed", f"the audio is noise, not speech (spectral flatness {flat:.2f})"
    seconds = len(pcm) / 2 / sample_rate
    spoken = len("".join(text.split()))
    if spoken >= _SHORTEST_TEXT and spoken / seconds > FASTEST_CHARACTERS_PER_SECOND:
        return "truncated", f"{seconds:.1f} s of audio cannot hold {spoken} characters"
    return None
