"""Whether speech over a reply wants the floor: by how long it goes on, from the sound alone.

A listener's "mhm" is short and stands alone; who wants to be heard goes on speaking. So each frame
of 25 ms gets a probability that grows with the loud time of its stretch of speech: a logistic
function, even at ``sustained_ms``. Pauses as they lie between words belong to a stretch and do not
count; a longer one ends it. A sound without ups and downs (a hum, noise) is no speech.

This is a rule, not a model: it knows neither words nor melody, so a short "stop" is taken for a
backchannel until it is as long as one that is not.
"""

from typing import Final

import numpy as np

from harness.gateway.engines.pcm import HEARD_RATE, Samples

__all__ = ["FRAME_MS", "frame_probabilities", "probability_of", "wants_floor"]

FRAME_MS: Final = 25

_FRAME = HEARD_RATE * FRAME_MS // 1000
_PAUSE_FRAMES = 10
_FLOOR_SHARE = 10
_QUIETEST_DBFS = -45.0
_MARGIN_DB = 8.0
_LEAST_RANGE_DB = 12.0
_SLOPE_MS = 25.0
_SILENT = 1e-10


def _loud(samples: Samples) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    count = len(samples) // _FRAME
    frames = samples[: count * _FRAME].reshape(count, _FRAME).astype(np.float64) / 32_768
    levels = 10 * np.log10(np.mean(frames**2, axis=1) + _SILENT)
    floor = float(np.percentile(levels, _FLOOR_SHARE))
    if float(levels.max()) - floor < _LEAST_RANGE_DB:
        return np.zeros(count, dtype=np.bool_)
    loud: np.ndarray[tuple[int], np.dtype[np.bool_]] = levels > max(
        _QUIETEST_DBFS, floor + _MARGIN_DB
    )
    return loud


def frame_probabilities(samples: Samples, sustained_ms: float) -> list[float]:
    """Return for each frame of 25 ms how probable it is that the speaker wants the floor.

    Args:
        samples: a window at 16 kHz; what does not fill a frame at its end is left out.
        sustained_ms: the loud time of a stretch at which the probability is one half.
    """
    if len(samples) < _FRAME:
        return []
    found: list[float] = []
    spoken = pause = 0
    for loud in _loud(samples):
        if loud:
            spoken, pause = spoken + 1, 0
        else:
            pause += 1
            if pause > _PAUSE_FRAMES:
                spoken = 0
        surplus = (spoken * FRAME_MS - sustained_ms) / _SLOPE_MS if spoken else -20.0
        found.append(float(1 / (1 + np.exp(-max(-20.0, min(20.0, surplus))))))
    return found


def wants_floor(probabilities: list[float], threshold: float, min_frames: int) -> bool:
    """Tell whether so many frames in a row reach the threshold."""
    run = 0
    for each in probabilities:
        run = run + 1 if each >= threshold else 0
        if run >= max(1, min_frames):
            return True
    return False


def probability_of(probabilities: list[float], min_frames: int) -> float:
    """Return the threshold up to which a window would be an interruption; 0.0 where none is."""
    count = max(1, min_frames)
    if len(probabilities) < count:
        return 0.0
    return max(
        min(probabilities[start : start + count]) for start in range(len(probabilities) - count + 1)
    )
