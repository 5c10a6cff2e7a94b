"""A reply's audio as a file's bytes and back."""

import io
from pathlib import Path

import numpy as np
import soundfile

from harness.domain.driver import ReplyAudio
from harness.errors import ConfigurationError

__all__ = ["encode_reply", "read_reply"]


def encode_reply(audio: ReplyAudio) -> bytes:
    """Return a reply as FLAC; encoded in memory, so that a full disk is met in one place."""
    samples = np.frombuffer(audio.pcm[: len(audio.pcm) // 2 * 2], dtype="<i2")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, audio.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read_reply(path: Path) -> ReplyAudio:
    """Read a stored reply, sample for sample as it was played.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.SoundFileError) as error:
        raise ConfigurationError(f"{path}: the reply cannot be read: {error}") from error
    return ReplyAudio(pcm=samples.astype("<i2").tobytes(), sample_rate=int(rate))
