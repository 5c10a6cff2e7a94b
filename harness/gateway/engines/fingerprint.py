"""Finding which known recording a piece of received audio came from, and where in it.

Two ways, pure functions of samples. `ExactIndex` recognises samples that are bit for bit those of
a recording (what a harness sends that reads the same file) within microseconds, by hashing the
neighbourhood of local peaks. `BandIndex` correlates the course of band energies: it survives
another resampler, gain, noise and packet loss, and takes milliseconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.gateway.engines.pcm import HEARD_RATE, Samples

__all__ = ["BandIndex", "ExactIndex", "Match"]

_PEAK_NEIGHBOURHOOD = 80
_PEAK_LEVEL = 300
_HASHED = 48
_MIN_VOTES = 3
# Recordings of one synthetic voice share sounds bit for bit: most peaks must agree.
_MIN_SHARE = 0.5

_HOP = HEARD_RATE // 100
_WINDOW = 400
_FFT = 512
_BANDS = 14
_MIN_SCORE = 0.55
# Scores of one recording's copies differ by less.
_ALIKE = 0.02
_MIN_FRAMES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Where received audio belongs.

    Attributes:
        utterance: the position of the recording in the sequence that was indexed.
        offset: the index in the recording of the received audio's first sample; may be negative.
        score: votes of peaks (exact), or the correlation within 0 and 1.
        method: "exact" or "bands".
    """

    utterance: int
    offset: int
    score: float
    method: str


def _peaks(samples: Samples) -> npt.NDArray[np.intp]:
    """Return the indices of peaks that are the largest of their neighbourhood and not faint."""
    reach = _PEAK_NEIGHBOURHOOD
    if len(samples) < 2 * reach + 1:
        return np.empty(0, dtype=np.intp)
    size = np.abs(samples.astype(np.int32))
    top = _sliding_maximum(size, 2 * reach + 1)
    centre = size[reach:-reach]
    return np.flatnonzero((centre == top) & (centre >= _PEAK_LEVEL)) + reach


def _sliding_maximum(values: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """Return the maximum of each `width` successive values, by doubling windows."""
    covered, top = 1, values
    while covered * 2 <= width:
        top = np.maximum(top[:-covered], top[covered:])
        covered *= 2
    rest = width - covered
    return np.maximum(top[: len(top) - rest], top[rest:])


class ExactIndex:
    """Peaks of known recordings by the hash of the samples around them."""

    def __init__(self, recordings: Sequence[Samples]) -> None:
        self._places: dict[bytes, list[tuple[int, int]]] = {}
        for number, samples in enumerate(recordings):
            for peak in _peaks(samples):
                key = samples[peak - _HASHED : peak + _HASHED].tobytes()
                self._places.setdefault(key, []).append((number, int(peak)))

    def find(self, samples: Samples) -> Match | None:
        """Return the recording and offset on which the peaks agree, or None."""
        votes: Counter[tuple[int, int]] = Counter()
        peaks = _peaks(samples)
        for peak in peaks:
            key = samples[peak - _HASHED : peak + _HASHED].tobytes()
            for number, place in self._places.get(key, ()):
                votes[number, place - int(peak)] += 1
        if not votes:
            return None
        (number, offset), count = votes.most_common(1)[0]
        if count < max(_MIN_VOTES, _MIN_SHARE * len(peaks)):
            return None
        return Match(utterance=number, offset=offset, score=float(count), method="exact")


def _band_edges() -> npt.NDArray[np.intp]:
    mel = np.linspace(2595 * np.log10(1 + 150 / 700), 2595 * np.log10(1 + 4000 / 700), _BANDS + 1)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    return np.asarray(np.round(hertz * _FFT / HEARD_RATE), dtype=np.intp)


_EDGES = _band_edges()
_HANN = np.hanning(_WINDOW)


def _bands(samples: Samples) -> npt.NDArray[np.float64]:
    """Return log energies, frames x bands, each band's mean removed over the frames."""
    if len(samples) < _WINDOW:
        return np.zeros((0, _BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * _HANN, _FFT)) ** 2
    energies = np.add.reduceat(power, _EDGES[:-1], axis=1)[:, :_BANDS]
    logs = np.log(energies + 1.0)
    # What lies 45 dB under a band's peak is noise or another resampler's dither.
    logs = np.maximum(logs, logs.max(axis=0) - 4.5 * np.log(10))
    return np.asarray(logs - logs.mean(axis=0), dtype=np.float64)


class BandIndex:
    """Courses of band energies of known recordings."""

    def __init__(self, recordings: Sequence[Samples]) -> None:
        self._courses = [_bands(samples) for samples in recordings]

    def find(self, samples: Samples) -> Match | None:
        """Return the best correlated recording and offset (to 10 ms), or None if none is like.

        Of recordings that are as good as equally like it, such as copies of one that were cut or
        converted, the one that holds most of what was heard.
        """
        heard = _bands(samples)
        if len(heard) < _MIN_FRAMES or not np.any(heard):
            return None
        found: list[tuple[int, Match]] = []
        for number, course in enumerate(self._courses):
            if len(course) < _MIN_FRAMES:
                continue
            lag, score = _correlate(heard, course)
            if score >= _MIN_SCORE:
                held = min(lag + len(heard), len(course)) - max(lag, 0)
                match = Match(utterance=number, offset=lag * _HOP, score=score, method="bands")
                found.append((held, match))
        best = max((match.score for _, match in found), default=0.0)
        alike = [each for each in found if each[1].score >= best - _ALIKE]
        return max(alike, key=lambda each: (each[0], each[1].score))[1] if alike else None


def _correlate(
    heard: npt.NDArray[np.float64], course: npt.NDArray[np.float64]
) -> tuple[int, float]:
    """Return the lag (frames of `course` before `heard` begins) and the normalised correlation."""
    n, m = len(heard), len(course)
    size = 1 << (n + m - 1).bit_length()
    spectrum = np.fft.rfft(course, size, axis=0) * np.conj(np.fft.rfft(heard, size, axis=0))
    products = np.fft.irfft(spectrum, size, axis=0).sum(axis=1)
    lags = np.arange(-(n - 1), m)
    values = products[lags % size]
    energy_course = np.concatenate(([0.0], np.cumsum((course * course).sum(axis=1))))
    energy_heard = np.concatenate(([0.0], np.cumsum((heard * heard).sum(axis=1))))
    start_course, end_course = np.maximum(lags, 0), np.minimum(lags + n, m)
    start_heard = start_course - lags
    end_heard = end_course - lags
    norm = np.sqrt(
        (energy_course[end_course] - energy_course[start_course])
        * (energy_heard[end_heard] - energy_heard[start_heard])
    )
    overlap = end_course - start_course
    # A short overlap correlates by chance: ask for most of the shorter of the two.
    legal = (overlap >= 0.6 * min(n, m)) & (norm > 0)
    scores = np.where(legal, values / np.where(norm > 0, norm, 1.0), -1.0)
    top = int(np.argmax(scores))
    return int(lags[top]), float(scores[top])
