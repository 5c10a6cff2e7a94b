"""Speech-shaped sound for machines without espeak-ng: audible, timed like speech, not intelligible.

A pulse train at the voice's pitch through three resonances that move from letter to letter, with
noise for voiceless consonants: about 14 letters a second, pauses at punctuation.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.gateway.engines.pcm import SPOKEN_RATE, Samples, to_int16

__all__ = ["babble"]

_LETTER_S = 1 / 14
_PAUSES_S: Final = {" ": 0.03, ",": 0.15, ";": 0.15, ":": 0.15, ".": 0.25, "?": 0.25, "!": 0.25}
_VOWELS: Final = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "y": (390, 1990, 2550),
}
_NOISY: Final = frozenset("sfhtkpcxzq")
_BANDWIDTHS = (80, 110, 160)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sound:
    formants: tuple[int, int, int]
    noisy: bool
    level: float


def _sound(letter: str) -> _Sound:
    if letter in _VOWELS:
        return _Sound(formants=_VOWELS[letter], noisy=False, level=1.0)
    if letter in _NOISY:
        return _Sound(formants=(1500, 3200, 5000), noisy=True, level=0.25)
    spread = ord(letter) % 7 if letter.isascii() else 3
    return _Sound(formants=(320 + 20 * spread, 1100 + 120 * spread, 2400), noisy=False, level=0.5)


def _resonate(
    source: npt.NDArray[np.float64], formants: tuple[int, int, int]
) -> npt.NDArray[np.float64]:
    """Shape a source by the resonances' magnitudes, in the frequency domain."""
    spectrum = np.fft.rfft(source)
    hertz = np.fft.rfftfreq(len(source), 1 / SPOKEN_RATE)
    gain = np.zeros_like(hertz)
    for strength, (centre, width) in zip(
        (1.0, 0.6, 0.3), zip(formants, _BANDWIDTHS, strict=True), strict=True
    ):
        gain += strength / np.sqrt(1.0 + ((hertz - centre) / width) ** 2)
    return np.asarray(np.fft.irfft(spectrum * gain, len(source)), dtype=np.float64)


def babble(text: str, *, pitch_hz: float, speed: float) -> Samples:
    """Return PCM16 at 24 kHz, deterministic for the same arguments."""
    generator = np.random.default_rng(0)
    parts: list[npt.NDArray[np.float64]] = []
    phase = 0.0
    for letter in text.lower():
        if letter in _PAUSES_S:
            parts.append(np.zeros(round(_PAUSES_S[letter] / speed * SPOKEN_RATE)))
            continue
        if not letter.isalnum():
            continue
        sound = _sound(letter)
        length = round(_LETTER_S / speed * SPOKEN_RATE)
        if sound.noisy:
            source = generator.normal(size=length)
        else:
            cycles = phase + np.arange(length) * pitch_hz / SPOKEN_RATE
            phase = float(cycles[-1] + pitch_hz / SPOKEN_RATE) % 1.0
            source = 1.0 - 2.0 * (cycles % 1.0)
        shaped = _resonate(source, sound.formants)
        peak = float(np.abs(shaped).max()) or 1.0
        fade = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / 120.0)
        parts.append(shaped / peak * fade * sound.level * 0.4)
    if not parts:
        return np.zeros(0, dtype=np.int16)
    return to_int16(np.concatenate(parts))
