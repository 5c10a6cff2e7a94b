"""A reply's audio as a file's bytes and back."""

import io
from pathlib import Path

import numpy as np
import soundfile

from harness.domain.driver import ReplyAudio
from harness.errors import ConfigurationError
from harness.store.files import read_inside

__all__ = ["encode_reply", "read_reply", "reply_bytes"]

_FLAC = b"fLaC"
_LARGEST = 1 << 27
# Silence is packed to nothing: a few hundred kilobytes may be hours of it.
_LONGEST_S = 3600


def encode_reply(audio: ReplyAudio) -> bytes:
    """Return a reply as FLAC; encoded in memory, so that a full disk is met in one place."""
    samples = np.frombuffer(audio.pcm[: len(audio.pcm) // 2 * 2], dtype="<i2")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, audio.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def reply_bytes(folder: Path, name: str) -> bytes:
    """Return the file of a stored reply as it is.

    Args:
        folder: the run's.
        name: as the trial has it; it may be a stranger's word.

    Raises:
        ConfigurationError: it is no reply of this folder, or cannot be read.
    """
    try:
        data = read_inside(folder, name, limit=_LARGEST)
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"{folder / name}: the reply cannot be read: {why}") from error
    if not data.startswith(_FLAC):
        raise ConfigurationError(f"{folder / name}: the reply cannot be read: it is no FLAC")
    return data


def read_reply(folder: Path, name: str) -> ReplyAudio:
    """Read a stored reply, sample for sample as it was played.

    Args:
        folder: the run's.
        name: as the trial has it.

    Raises:
        ConfigurationError: it is no reply of this folder, or cannot be decoded.
    """
    data = reply_bytes(folder, name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > _LONGEST_S * file.samplerate:
                raise ConfigurationError(f"{folder / name}: longer than any reply: left out")
            samples, rate = file.read(dtype="int16"), file.samplerate
    except (OSError, soundfile.SoundFileError) as error:
        why = str(error)
        raise ConfigurationError(f"{folder / name}: the reply cannot be read: {why}") from error
    return ReplyAudio(pcm=samples.astype("<i2").tobytes(), sample_rate=int(rate))
