"""Recordings that are speech enough for energy, envelopes and the oracle."""

from typing import Final

import numpy as np
import numpy.typing as npt

from harness.gateway.engines.formant import babble
from harness.gateway.engines.pcm import HEARD_RATE, SPOKEN_RATE, Samples, resample

__all__ = ["TEXTS", "murmur", "silence"]

TEXTS: Final = (
    "set a timer for ten minutes",
    "what is the weather like in London tomorrow",
    "please turn off the lights in the kitchen",
    "order two pizzas",
    "wake me at half past six",
    "play some quiet music",
)


def murmur(number: int, text: str) -> Samples:
    """Return the text as murmured speech at 16 kHz, with 0.2 s of silence around it."""
    spoken = babble(text, pitch_hz=100.0 + 15.0 * number, speed=1.0)
    heard = resample(spoken, SPOKEN_RATE, HEARD_RATE)
    edge = silence(0.2)
    return np.concatenate((edge, heard, edge))


def silence(seconds: float) -> npt.NDArray[np.int16]:
    """Return digital silence at 16 kHz."""
    return np.zeros(round(seconds * HEARD_RATE), dtype=np.int16)
