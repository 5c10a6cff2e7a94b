"""Samples: levels, speech bounds, decoding and resampling. PCM16 little-endian mono throughout."""

import base64
import binascii
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

__all__ = [
    "FLOOR_DBFS",
    "HEARD_RATE",
    "SPOKEN_RATE",
    "Samples",
    "decode",
    "encode",
    "first_audible",
    "read_mono",
    "resample",
    "samples_in_base64",
    "to_int16",
    "wav_header",
    "whole_samples",
    "window_dbfs",
]

Samples = npt.NDArray[np.int16]

HEARD_RATE = 16_000
"""What recognisers are given, in samples per second."""
SPOKEN_RATE = 24_000
"""What the speech protocols send, in samples per second."""
FLOOR_DBFS = -50.0
"""The silence floor: audible means a 10 ms window above it."""

_ENCODED = {"mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}
# libsndfile crashes when a minute of Vorbis or Opus is written in one call.
_WRITE_BLOCK = SPOKEN_RATE


def whole_samples(data: bytes) -> Samples:
    """Return the samples of a message; half a sample at its end is dropped."""
    return np.frombuffer(data[: len(data) - len(data) % 2], dtype="<i2")


def samples_in_base64(encoded: Any) -> Samples | None:
    """Return the samples of a message in base64; None where it is none."""
    try:
        return whole_samples(base64.b64decode(encoded, validate=True))
    except (binascii.Error, TypeError, ValueError):
        return None


def window_dbfs(samples: Samples, window: int) -> npt.NDArray[np.float64]:
    """Return the RMS level in dB of full scale of each whole window; -inf for digital silence."""
    whole = len(samples) - len(samples) % window
    blocks = samples[:whole].astype(np.float64).reshape(-1, window)
    power = np.mean(blocks * blocks, axis=1) / (32768.0 * 32768.0)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(power), dtype=np.float64)


def first_audible(samples: Samples, rate: int) -> int | None:
    """Return the index of the first sample of the first 10 ms window above the floor, or None."""
    window = rate // 100
    above = np.flatnonzero(window_dbfs(samples, window) > FLOOR_DBFS)
    return int(above[0]) * window if len(above) else None


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Return the samples at another rate, without aliasing."""
    if from_rate == to_rate:
        return samples
    resampled = soxr.resample(samples.astype(np.float32) / 32768.0, from_rate, to_rate)
    return to_int16(resampled)


def to_int16(samples: npt.NDArray[np.floating]) -> Samples:
    """Return floating-point samples within -1 and 1 as PCM16, rounded and clipped."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def _mono(data: npt.NDArray[np.float32], rate: int, to_rate: int) -> Samples:
    mono = data.mean(axis=1) if data.ndim == 2 else data
    if rate != to_rate:
        mono = soxr.resample(mono, rate, to_rate)
    return to_int16(mono)


def read_mono(path: Path, rate: int) -> Samples:
    """Read an audio file as mono PCM16.

    Raises:
        OSError, soundfile.SoundFileError: the file cannot be read.
    """
    data, file_rate = sf.read(path, dtype="float32")
    return _mono(data, file_rate, rate)


def decode(data: bytes, rate: int) -> Samples:
    """Decode a WAV, FLAC, MP3 or OGG file in memory as mono PCM16.

    Raises:
        soundfile.SoundFileError: it is none of them.
    """
    samples, file_rate = sf.read(io.BytesIO(data), dtype="float32")
    return _mono(samples, file_rate, rate)


def encode(samples: Samples, rate: int, container: str) -> bytes:
    """Encode as "mp3", "flac" or "opus".

    Raises:
        KeyError: another container.
    """
    file_format, subtype = _ENCODED[container]
    buffer = io.BytesIO()
    with sf.SoundFile(buffer, "w", rate, 1, format=file_format, subtype=subtype) as file:
        for start in range(0, len(samples), _WRITE_BLOCK):
            file.write(samples[start : start + _WRITE_BLOCK])
    return buffer.getvalue()


def wav_header(rate: int, data_bytes: int | None) -> bytes:
    """Return the 44 bytes before PCM16 mono samples; None for a stream of unknown length."""
    size = 0xFFFFFFFF if data_bytes is None else data_bytes
    riff = 0xFFFFFFFF if data_bytes is None else data_bytes + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        size,
    )
