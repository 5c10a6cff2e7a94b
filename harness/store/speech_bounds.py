"""Where speech starts and ends in a recording, estimated from its energy.

For recordings whose bounds nobody gave. The estimate is an engineer's rule, not a model: it finds
what stands out of the recording's own background, so it takes a slammed door for speech and loses
speech that is as quiet as the noise. Figures against bounds set by hand stand at
:data:`ESTIMATED_TOLERANCE_MS`.

How: Hann windows of 20 ms every 10 ms; power in ten bands from 100 Hz to 7.5 kHz, so that mains hum
is left out and a fricative counts in its own bands; each band against its background (a low
percentile over the recording); the mean over bands of the excess in dB, each band's clipped at 30.
A stretch well above the background is the core of speech. From the first and last core the bounds
go on outward while weaker sound follows within the hangover, which keeps the releases of stops
and final fricatives.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.store.audio import FULL_SCALE, Samples

__all__ = ["ESTIMATED_TOLERANCE_MS", "NoSpeech", "SpeechBounds", "estimate_bounds"]

ESTIMATED_TOLERANCE_MS: Final = 100.0

_Floats = npt.NDArray[np.float64]

WINDOW_S: Final = 0.02
HOP_S: Final = 0.01
_EDGES_HZ: Final = (100, 300, 500, 800, 1200, 1700, 2400, 3300, 4400, 5800, 7500)
# Excess over the background, in dB: the core of speech, and what still belongs to it.
_CORE_DB: Final = 16.0
_TAIL_DB: Final = 9.0
_CLIP_DB: Final = 30.0
_CORE_FRAMES: Final = 7
_HANGOVER_FRAMES: Final = 12
_BACKGROUND_PERCENTILE: Final = 15.0
# A background is never taken for higher than this below the loudest speech of its band (a tightly
# cut recording has none), nor lower than this below the whole (digital silence has none either).
_HEADROOM_DB: Final = 30.0
_DYNAMIC_DB: Final = 55.0
_SILENCE: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechBounds:
    """The estimate, in seconds from the recording's start; ``start_s < end_s``."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSpeech:
    """Nothing in the recording stands out of its background; ``reason`` in plain words."""

    reason: str


def estimate_bounds(samples: Samples, rate: int) -> SpeechBounds | NoSpeech:
    """Estimate where speech starts and ends.

    Args:
        samples: int16 mono, shape ``(n,)``.
        rate: in hertz.
    """
    bands = _band_power(samples, rate)
    if bands.shape[0] == 0 or float(bands.max(initial=0.0)) <= _SILENCE:
        return NoSpeech(reason="silence")
    excess = _excess_db(bands)
    cores = [(a, b) for a, b in _stretches(excess > _CORE_DB) if b - a >= _CORE_FRAMES]
    if not cores:
        return NoSpeech(reason="even noise")
    audible = excess > _TAIL_DB
    first = _reach(audible, cores[0][0], -1)
    last = _reach(audible, cores[-1][1] - 1, 1)
    duration = samples.size / rate
    edge = (WINDOW_S - HOP_S) / 2
    return SpeechBounds(
        start_s=round(max(0.0, first * HOP_S + edge), 3),
        end_s=round(min(duration, (last + 1) * HOP_S + edge), 3),
    )


def _band_power(samples: Samples, rate: int) -> _Floats:
    """Return the power of each band in each window, shape ``(frames, bands)``."""
    width = round(rate * WINDOW_S)
    if samples.size < width:
        return np.zeros((0, 1))
    starts = np.arange(0.0, samples.size - width + 1, rate * HOP_S).astype(np.int64)
    frequencies = np.fft.rfftfreq(width, 1 / rate)
    top = min(float(_EDGES_HZ[-1]), rate * 0.475)
    edges = [float(edge) for edge in _EDGES_HZ if edge <= top]
    if top - edges[-1] >= 200:
        edges.append(top)
    window = np.hanning(width)
    power = np.empty((starts.size, len(edges) - 1))
    floats = samples.astype(np.float64) / FULL_SCALE
    # In blocks, so that an hour's recording does not become gigabytes of spectra.
    for begin in range(0, starts.size, 4096):
        block = starts[begin : begin + 4096]
        frames = floats[block[:, np.newaxis] + np.arange(width)] * window
        spectrum = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / (np.sum(window**2) * width / 2)
        for index, (low, high) in enumerate(pairwise(edges)):
            inside = (frequencies >= low) & (frequencies < high)
            power[begin : begin + block.size, index] = spectrum[:, inside].sum(axis=1)
    return power


def _excess_db(bands: _Floats) -> _Floats:
    """Return each frame's mean excess over the background in dB, shape ``(frames,)``."""
    bands = np.maximum(bands, _SILENCE)
    background = np.percentile(bands, _BACKGROUND_PERCENTILE, axis=0)
    loudest = np.percentile(bands, 98, axis=0)
    background = np.minimum(background, loudest * 10 ** (-_HEADROOM_DB / 10))
    least = bands.sum(axis=1).max() * 10 ** (-_DYNAMIC_DB / 10) / bands.shape[1]
    excess = 10 * np.log10(bands / np.maximum(background, least))
    mean: _Floats = np.clip(excess, 0, _CLIP_DB).mean(axis=1)
    return mean


def _stretches(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches of true flags as half-open index ranges."""
    steps = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [(int(a), int(b)) for a, b in zip(begins, ends, strict=True)]


def _reach(audible: npt.NDArray[np.bool_], frame: int, step: int) -> int:
    """Return the last audible frame from ``frame`` in the direction of ``step``."""
    reached, gap = frame, 0
    while gap <= _HANGOVER_FRAMES and 0 <= frame + step < audible.size:
        frame += step
        if audible[frame]:
            reached, gap = frame, 0
        else:
            gap += 1
    return reached
