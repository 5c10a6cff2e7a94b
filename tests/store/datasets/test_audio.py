"""What the pipeline hears is what was recorded."""

import json
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigurationError
from harness.store.datasets.audio import (
    Audio,
    Samples,
    load_audio,
    sha256_file,
    to_pipeline,
    write_flac,
    write_wav,
)
from tests.store.datasets.recordings import RATE, to_int16, voice


def tone(frequency: float, *, rate: int, seconds: float = 1.0, level: float = 0.5) -> Samples:
    """Return a sine."""
    return to_int16(level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate))


def rms_db(samples: Samples) -> float:
    """Return the level in dBFS."""
    return float(20 * np.log10(np.sqrt(np.mean((samples / 32_768) ** 2)) + 1e-12))


@pytest.mark.parametrize(
    ("suffix", "container", "subtype", "bits"),
    [
        ("wav", "WAV", "PCM_16", 16),
        ("wav", "WAV", "PCM_24", 16),
        ("wav", "WAV", "PCM_32", 16),
        ("wav", "WAV", "FLOAT", 16),
        ("wav", "WAV", "PCM_U8", 7),
        ("wav", "WAVEX", "PCM_24", 16),
        ("wav", "WAV", "ULAW", 5),
        ("wav", "WAV", "ALAW", 5),
        ("flac", "FLAC", "PCM_16", 16),
        ("flac", "FLAC", "PCM_24", 16),
        ("aiff", "AIFF", "PCM_16", 16),
        ("au", "AU", "PCM_16", 16),
        ("sph", "NIST", "PCM_16", 16),
        ("ogg", "OGG", "VORBIS", 4),
        ("opus", "OGG", "OPUS", 4),
        ("mp3", "MP3", "MPEG_LAYER_III", 4),
    ],
)
def test_common_formats_are_read(
    tmp_path: Path, suffix: str, container: str, subtype: str, bits: int
) -> None:
    """Each common format comes back as the samples that were written, to its precision."""
    samples = voice()
    path = tmp_path / f"voice.{suffix}"
    floats = samples / 32_768
    with soundfile.SoundFile(path, "w", RATE, 1, subtype=subtype, format=container) as file:
        for start in range(0, samples.size, RATE):
            file.write(floats[start : start + RATE])
    audio = load_audio(path)
    assert (audio.sample_rate, audio.channels) == (RATE, 1)
    # MP3 frames pad the end.
    assert samples.size <= audio.samples.size < samples.size + 3000
    error = audio.samples[: samples.size].astype(float) - samples
    assert np.sqrt(np.mean(error**2)) <= (0.5 if bits == 16 else 32_768 / 2**bits)
    if bits == 16:
        assert np.array_equal(audio.samples, samples)


def test_headerless_g711_follows_the_stated_rule(tmp_path: Path) -> None:
    """A .ulaw file is µ-law, an .alaw file is A-law, both 8 kHz mono."""
    samples = tone(440, rate=8000)
    for suffix, subtype in ((".ulaw", "ULAW"), (".alaw", "ALAW")):
        path = tmp_path / f"tone{suffix}"
        soundfile.write(path, samples, 8000, format="RAW", subtype=subtype)
        audio = load_audio(path)
        assert (audio.sample_rate, audio.samples.size) == (8000, samples.size)
        assert np.max(np.abs(audio.samples.astype(int) - samples)) < 700


def write_m4a(path: Path, samples: Samples, channels: int) -> None:
    """Encode 48 kHz samples, the same on each channel, as AAC in an M4A container."""
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=48_000, layout=layout)
        data = np.repeat(samples.astype(np.float32) / 32_768, channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format="flt", layout=layout)
        frame.sample_rate = 48_000
        packer = av.AudioResampler(format="fltp", layout=layout, rate=48_000, frame_size=1024)
        for piece in [*packer.resample(frame), *packer.resample(None), None]:
            for packet in stream.encode(piece):
                container.mux(packet)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_m4a_is_read_with_any_channel_count(tmp_path: Path, channels: int) -> None:
    """AAC in an M4A container, which libsndfile does not know, is read and mixed down."""
    path = tmp_path / "-voice.m4a"
    samples = voice(rate=48_000)
    write_m4a(path, samples, channels)
    audio = load_audio(path)
    assert (audio.sample_rate, audio.channels) == (48_000, channels)
    assert audio.duration_s == pytest.approx(2.0, abs=0.1)
    assert rms_db(audio.samples) == pytest.approx(rms_db(samples), abs=1.5)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_m4a_ends_no_run(tmp_path: Path, seed: int) -> None:
    """A container whose index is overwritten, which can crash FFmpeg, is an error of one line."""
    path = tmp_path / "damaged.m4a"
    write_m4a(path, voice(rate=48_000), 8)
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(len(content) - 1500, len(content), 300):
        content[place] = generator.integers(256)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_audio(path)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: cannot be decoded (")
    assert "\n" not in line


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "aiff", "sph"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    """Whatever a few wrong bytes do to a recording, it is read or refused, and nothing crashes."""
    path = tmp_path / f"voice.{suffix}"
    soundfile.write(path, voice(), RATE, format="NIST" if suffix == "sph" else suffix)
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    outcomes = []
    for _ in range(60):
        content = bytearray(whole)
        for place in generator.integers(0, min(len(content), 400), 4):
            content[place] = generator.integers(256)
        path.write_bytes(content)
        try:
            outcomes.append(load_audio(path).samples.size > 0)
        except ConfigurationError as error:
            outcomes.append(len(error.problems) == 1)
    assert outcomes == [True] * 60


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    """The downmix is the mean of the channels; a chosen channel is taken as it is."""
    left, right = tone(300, rate=RATE), tone(1100, rate=RATE)
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE)
    mixed = load_audio(path)
    assert (mixed.channels, mixed.channels_agree) == (2, False)
    mean = (left.astype(float) + right) / 2
    assert np.max(np.abs(mixed.samples - mean)) <= 0.5
    assert np.array_equal(load_audio(path, channel=1).samples, right)
    with pytest.raises(ConfigurationError, match=r"channel 2 does not exist.*give 0 to 1"):
        load_audio(path, channel=2)
    soundfile.write(path, np.stack([left, left], axis=1), RATE)
    assert load_audio(path).channels_agree
    assert np.array_equal(load_audio(path).samples, left)


def write_float_wav(path: Path, values: list[float]) -> None:
    """Write those samples as floats."""
    soundfile.write(path, np.array(values), RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.wav", None, "no such audio file"),
        ("nothing.wav", b"", "the file is empty"),
        ("text.wav", b"this is no audio at all, it is a text", "cannot be decoded"),
        ("text.mp3", b"this is no audio at all, it is a text" * 20, "cannot be decoded"),
        ("text.m4a", b"this is no audio at all, it is a text", "cannot be decoded"),
        ("nothing.ulaw", b"", "the file is empty"),
        (
            "header.wav",
            b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
            + b"data" + struct.pack("<I", 0),
            "holds no sample",
        ),
        (
            "rate.wav",
            b"RIFF" + struct.pack("<I", 136) + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 1_092_676, 2 * 1_092_676, 2, 16)
            + b"data" + struct.pack("<I", 100) + bytes(100),
            "sample rate of 1092676 Hz",
        ),
    ],
)  # fmt: skip
def test_unreadable_audio_is_named_with_its_mend(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    """A recording that cannot be played gives one line with the file, the reason and the mend."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_audio(path)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: ")
    assert line.count(": ") >= 2
    assert "\n" not in line


def test_nan_and_integer_floats_are_refused(tmp_path: Path) -> None:
    """Float samples that are NaN, infinite or integers in disguise are no recording."""
    path = tmp_path / "float.wav"
    for values, message in (
        ([0.0, float("nan")], "NaN"),
        ([0.0, float("inf")], "infinite"),
        ([0.0, 12_000.0], "times full scale"),
    ):
        write_float_wav(path, values)
        with pytest.raises(ConfigurationError, match=message):
            load_audio(path)


def test_floats_beyond_full_scale_saturate(tmp_path: Path) -> None:
    """A float a little beyond full scale becomes full scale, and never wraps around."""
    path = tmp_path / "loud.wav"
    write_float_wav(path, [1.5, -1.5, 1.0, -1.0])
    assert load_audio(path).samples.tolist() == [32_767, -32_768, 32_767, -32_768]


def test_a_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    """A WAV whose header promises more than the file holds is read as far as it goes."""
    path = tmp_path / "cut.wav"
    samples = voice()
    write_wav(path, samples, RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 1000])
    assert np.array_equal(load_audio(path).samples, samples[:1000])


@given(
    size=st.integers(1, 3000),
    rates=st.tuples(
        st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]),
        st.sampled_from([8000, 16_000, 24_000]),
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_resampling_keeps_the_length(size: int, rates: tuple[int, int], seed: int) -> None:
    """Resampled audio is as long as the recording, to the nearest sample."""
    have, want = rates
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, size).astype(np.int16)
    audio = Audio(samples=samples, sample_rate=have, channels=1)
    result = to_pipeline(audio, want)
    assert result.dtype == np.int16
    assert result.size == max(1, round(size * want / have))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_resampling_moves_no_instant(rate: int) -> None:
    """A click at half a second is at half a second after resampling, to the sample."""
    samples = np.zeros(rate, dtype=np.int16)
    samples[rate // 2] = 20_000
    result = to_pipeline(Audio(samples=samples, sample_rate=rate, channels=1))
    assert abs(int(np.argmax(np.abs(result.astype(int)))) - 8000 * (rate // 2) * 2 / rate) <= 1


@pytest.mark.parametrize("frequency", [9_000, 12_000, 20_000])
def test_resampling_does_not_alias(frequency: float) -> None:
    """A tone above half of the new rate is gone, at least 80 dB down, instead of folded back."""
    samples = tone(frequency, rate=48_000)
    result = to_pipeline(Audio(samples=samples, sample_rate=48_000, channels=1))
    assert rms_db(result[800:-800]) < rms_db(samples) - 80


def test_resampling_keeps_speech_and_saturates() -> None:
    """A tone in the band keeps its level; a full-scale square overshoots into saturation."""
    samples = tone(1000, rate=48_000)
    result = to_pipeline(Audio(samples=samples, sample_rate=48_000, channels=1))
    assert rms_db(result[800:-800]) == pytest.approx(rms_db(samples), abs=0.01)
    square = np.where(np.arange(48_000) // 100 % 2, 32_767, -32_768).astype(np.int16)
    result = to_pipeline(Audio(samples=square, sample_rate=48_000, channels=1))
    middle = result[1000:-1000].reshape(-1)
    assert middle.max() == 32_767
    # A wrapped overshoot would be a sample of the wrong sign inside a half-wave.
    assert np.count_nonzero(np.diff(np.sign(middle.astype(int)))) <= 2 * middle.size * 3 / 200


def test_the_pipeline_rate_changes_nothing() -> None:
    """A recording at the pipeline's rate is passed on bit by bit."""
    audio = Audio(samples=voice(), sample_rate=RATE, channels=1)
    assert np.array_equal(to_pipeline(audio), audio.samples)


@given(st.integers(1, 50_000), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_flac_and_wav_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, size: int, seed: int
) -> None:
    """What is written comes back bit by bit, in blocks or not."""
    folder = tmp_path_factory.mktemp("written")
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, size).astype(np.int16)
    for write, name in ((write_flac, "a.flac"), (write_wav, "a.wav")):
        path = folder / name
        write(path, samples, 24_000)
        back, rate = soundfile.read(path, dtype="int16")
        assert rate == 24_000
        assert np.array_equal(back, samples)


def test_only_16_bit_vectors_are_written(tmp_path: Path) -> None:
    """Floats, several channels and nothing are refused, since they would be written wrong."""
    illegal: tuple[Any, ...] = (np.zeros(4), np.zeros((4, 2), np.int16), np.zeros(0, np.int16))
    for samples in illegal:
        with pytest.raises(ValueError, match="int16"):
            write_flac(tmp_path / "x.flac", samples, RATE)
        with pytest.raises(ValueError, match="int16"):
            Audio(samples=samples, sample_rate=RATE, channels=1)


def test_samples_cannot_be_changed(tmp_path: Path) -> None:
    """Loaded audio is read-only: trials share it."""
    write_wav(tmp_path / "v.wav", voice(), RATE)
    audio = load_audio(tmp_path / "v.wav")
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0] = 1


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    """The hash is SHA-256 over the file, as sha256sum prints it."""
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path).startswith("ba7816bf8f01cfea")
    assert json.loads(f'"{sha256_file(path)}"').islower()
