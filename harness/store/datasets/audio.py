"""Recordings in, replies out: decoding, downmixing, resampling and FLAC.

Every recording becomes 16-bit mono at its own rate (:func:`load_audio`), then 16-bit mono at the
pipeline's rate (:func:`to_pipeline`). Two rules are fixed, because they decide what the pipeline
hears:

* **Downmix.** Several channels become their arithmetic mean, so nothing clips; a talker who is on
  one channel of two alone comes out 6 dB quieter. ``channel`` takes one channel as it is instead.
* **Headerless files.** Only G.711 has a rule: ``.ulaw``, ``.mulaw`` and ``.ul`` are µ-law,
  ``.alaw`` and ``.al`` are A-law, all 8 kHz mono. Other headerless samples are refused, because
  their rate and width would be a guess.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from harness.errors import ConfigurationError
from harness.store.datasets.container import DecodeError, decode_container

__all__ = [
    "AUDIO_SUFFIXES",
    "FULL_SCALE",
    "PIPELINE_RATE",
    "Audio",
    "Samples",
    "load_audio",
    "sha256_file",
    "to_int16",
    "to_pipeline",
    "write_flac",
    "write_wav",
]

Samples = npt.NDArray[np.int16]
_Floats = npt.NDArray[np.float64]

PIPELINE_RATE = 16_000
FULL_SCALE = 32_768.0
# libFLAC and libvorbis are fed a second or so at a time: one very long write has crashed them.
_BLOCK = 16_384
_RATES = (4_000, 384_000)
# Float samples a little beyond full scale are a mastering habit and saturate; beyond this factor
# they are integers stored as floats, and would be noise at full volume.
_FLOAT_LIMIT = 4.0

_MULAW = frozenset({".ulaw", ".mulaw", ".ul"})
_ALAW = frozenset({".alaw", ".al"})
_CONTAINERS = frozenset(
    {".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr", ".3gp", ".mov"}
)
_SOUNDFILE = frozenset(
    {
        ".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc",
        ".sph", ".nist", ".au", ".snd", ".caf", ".w64", ".rf64",
    }
)  # fmt: skip
AUDIO_SUFFIXES = _SOUNDFILE | _CONTAINERS | _MULAW | _ALAW


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audio:
    """A decoded recording.

    Attributes:
        samples: mono, int16, shape ``(n,)``, n > 0, not writeable.
        sample_rate: of the file, in hertz.
        channels: of the file, before the downmix.
        channels_agree: whether all channels hold the same, so that the downmix changes nothing.
    """

    samples: Samples
    sample_rate: int
    channels: int
    channels_agree: bool = True

    def __post_init__(self) -> None:
        """Refuse what is not mono 16-bit audio."""
        if self.samples.dtype != np.int16 or self.samples.ndim != 1 or self.samples.size == 0:
            raise ValueError("samples must be a non-empty vector of int16")
        if self.sample_rate <= 0 or self.channels <= 0:
            raise ValueError("sample_rate and channels must be positive")
        self.samples.setflags(write=False)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.size / self.sample_rate

    @property
    def peak(self) -> float:
        """The largest magnitude, of full scale."""
        return float(np.max(np.abs(self.samples.astype(np.int32)))) / FULL_SCALE


def load_audio(path: Path, *, channel: int | None = None) -> Audio:
    """Decode a recording to 16-bit mono at its own rate.

    WAV (PCM, float, extensible, G.711, ADPCM), FLAC, MP3, Ogg Vorbis and Opus, AIFF, SPHERE and AU
    are read by libsndfile; M4A, MP4, WebM and the like by PyAV; headerless G.711 by the rule above.
    Samples are rounded to 16 bits without dither; floats beyond full scale saturate.

    Args:
        path: the file.
        channel: the channel to take, from 0; None takes the mean of all.

    Raises:
        ConfigurationError: the file is missing, cannot be decoded, holds no sample, holds NaN or
            infinity, or lacks that channel. One line, with the mend.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such audio file: give the path of a recording")
    if path.stat().st_size == 0:
        raise ConfigurationError(f"{path}: the file is empty: record it again")
    suffix = path.suffix.lower()
    if suffix in _MULAW or suffix in _ALAW:
        frames, rate = _decode_g711(path, alaw=suffix in _ALAW)
    elif suffix in _CONTAINERS:
        frames, rate = _decode_container(path)
    else:
        frames, rate = _decode_soundfile(path)
    channels = frames.shape[1]
    if frames.shape[0] == 0:
        raise ConfigurationError(f"{path}: the recording holds no sample: record it again")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise ConfigurationError(
            f"{path}: the header claims a sample rate of {rate} Hz, so it is damaged:"
            " export the recording again"
        )
    if not np.isfinite(frames).all():
        raise ConfigurationError(
            f"{path}: the recording holds NaN or infinite samples: export it again as 16-bit PCM"
        )
    if channel is not None and not 0 <= channel < channels:
        raise ConfigurationError(
            f"{path}: channel {channel} does not exist: the recording has {channels},"
            f" give 0 to {channels - 1}"
        )
    mono = frames.mean(axis=1) if channel is None else frames[:, channel]
    peak = float(np.max(np.abs(mono)))
    if peak > _FLOAT_LIMIT:
        raise ConfigurationError(
            f"{path}: float samples reach {peak:.4g} times full scale:"
            " scale them to -1..1, or export 16-bit PCM"
        )
    # A lossy codec's two channels may differ in the last bits.
    agree = channels == 1 or bool(np.max(np.abs(frames - frames[:, :1])) <= 4 / FULL_SCALE)
    return Audio(samples=to_int16(mono), sample_rate=rate, channels=channels, channels_agree=agree)


def to_pipeline(audio: Audio, rate: int = PIPELINE_RATE) -> Samples:
    """Resample to the pipeline's rate, in one piece and without delay.

    soxr at its highest quality, linear phase: an instant of the recording stays where it was,
    and what lies above half of the new rate is gone instead of folded back. Overshoot of
    the filter saturates.

    Returns:
        int16, shape ``(round(n * rate / audio.sample_rate),)``.
    """
    if rate == audio.sample_rate:
        return audio.samples
    wanted = max(1, round(audio.samples.size * rate / audio.sample_rate))
    floats = audio.samples.astype(np.float64) / FULL_SCALE
    resampled: _Floats = soxr.resample(floats, audio.sample_rate, rate, quality="VHQ")
    # soxr may round the length the other way by a sample.
    if resampled.size < wanted:
        resampled = np.pad(resampled, (0, wanted - resampled.size))
    return to_int16(resampled[:wanted])


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_flac(path: Path, samples: Samples, rate: int) -> None:
    """Write 16-bit mono samples as FLAC, without loss, block by block.

    Args:
        path: is overwritten where it exists.
        samples: int16, shape ``(n,)``, n > 0: FLAC cannot hold nothing.
        rate: in hertz.
    """
    _write(path, samples, rate, container="FLAC")


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """Write 16-bit mono samples as WAV; arguments as for :func:`write_flac`."""
    _write(path, samples, rate, container="WAV")


def _write(path: Path, samples: Samples, rate: int, *, container: str) -> None:
    if samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        raise ValueError("samples must be a non-empty vector of int16")
    with soundfile.SoundFile(
        path, "w", samplerate=rate, channels=1, format=container, subtype="PCM_16"
    ) as file:
        for start in range(0, samples.size, _BLOCK):
            file.write(samples[start : start + _BLOCK])


def to_int16(mono: _Floats) -> Samples:
    """Round floats of full scale 1 to 16 bits, without dither; what lies beyond saturates."""
    return np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _undecodable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: cannot be decoded ({reason.strip().rstrip('.:').strip() or 'unknown format'}):"
        " give a WAV, FLAC, MP3, Ogg or M4A recording"
    )


def _decode_soundfile(path: Path) -> tuple[_Floats, int]:
    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            # The header's frame count is a claim; reading by blocks believes only what is there.
            blocks = [np.zeros((0, int(file.channels)))]
            while True:
                block: _Floats = file.read(_BLOCK * 4, dtype="float64", always_2d=True)
                if block.shape[0] == 0:
                    break
                blocks.append(block)
    except soundfile.LibsndfileError as error:
        raise _undecodable(path, str(error.error_string)) from error
    return np.concatenate(blocks), rate


def _decode_g711(path: Path, *, alaw: bool) -> tuple[_Floats, int]:
    subtype = "ALAW" if alaw else "ULAW"
    try:
        frames, rate = soundfile.read(
            path, samplerate=8_000, channels=1, format="RAW", subtype=subtype,
            dtype="float64", always_2d=True,
        )  # fmt: skip
    except soundfile.LibsndfileError as error:
        raise _undecodable(path, str(error.error_string)) from error
    return frames, int(rate)


def _decode_container(path: Path) -> tuple[_Floats, int]:
    try:
        return decode_container(path)
    except DecodeError as error:
        raise _undecodable(path, str(error)) from error
