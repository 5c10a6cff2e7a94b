"""Conditions: what happens to the samples, measured on the samples."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.domain.condition import (
    Concealment,
    Condition,
    PacketLoss,
    Telephony,
    describe_condition,
)
from harness.domain.driver import PlayableUtterance
from harness.domain.utterance import Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import Samples, load_audio, write_wav
from harness.store.datasets.conditions import (
    apply_condition,
    decode_g711,
    encode_g711,
    lost_packets,
    read_noises,
    store_conditioned,
    with_hash,
)
from tests.store.datasets.recordings import RATE, noise, to_int16, voice

SECOND = 1_000_000_000


def spoken(name: str = "u", samples: Samples | None = None) -> PlayableUtterance:
    """Return two seconds in which a voice speaks from 0.5 s to 1.5 s."""
    pcm = voice() if samples is None else samples
    return PlayableUtterance(
        utterance=Utterance(id=name, audio="u.wav", text="hello"),
        pcm=pcm.astype("<i2").tobytes(),
        speech_start_ns=SECOND // 2,
        speech_end_ns=3 * SECOND // 2,
    )


def heard(
    condition: Condition, clean: PlayableUtterance | None = None, **noises: Samples
) -> npt.NDArray[np.float64]:
    """Return the samples after a condition, of full scale 1."""
    found = apply_condition(clean or spoken(), condition, noises)
    return np.frombuffer(found.pcm, dtype="<i2").astype(np.float64) / 32_768


def db(samples: npt.NDArray[np.float64]) -> float:
    """Return the mean power in decibels of full scale."""
    return float(10 * np.log10(np.mean(samples**2)))


@pytest.mark.parametrize(
    ("codec", "subtype"), [(Telephony.MULAW, "ULAW"), (Telephony.ALAW, "ALAW")]
)
def test_g711_is_that_of_libsndfile(codec: Telephony, subtype: str) -> None:
    """Every one of the 65,536 samples has libsndfile's code, every code libsndfile's sample."""
    every = np.arange(-32_768, 32_768).astype(np.int16)
    written = io.BytesIO()
    soundfile.write(written, every, 8_000, format="RAW", subtype=subtype)
    theirs = np.frombuffer(written.getvalue(), dtype=np.uint8)
    assert np.array_equal(encode_g711(every, codec), theirs)
    codes = np.arange(256, dtype=np.uint8)
    read, _ = soundfile.read(
        io.BytesIO(codes.tobytes()),
        samplerate=8_000, channels=1, format="RAW", subtype=subtype, dtype="int16",
    )  # fmt: skip
    assert np.array_equal(decode_g711(codes, codec), read)


@given(st.sampled_from(Telephony), st.integers(-32_768, 32_767))
def test_g711_is_idempotent(codec: Telephony, sample: int) -> None:
    """A sample that has been through the codec goes through it unchanged."""
    once = decode_g711(encode_g711(np.array([sample], dtype=np.int16), codec), codec)
    assert np.array_equal(decode_g711(encode_g711(once, codec), codec), once)


def test_nothing_asked_changes_nothing() -> None:
    """A condition without a setting plays the very samples of the recording."""
    clean = spoken()
    assert apply_condition(clean, Condition(name="clean"), {}) is clean


@pytest.mark.parametrize("kind", ["white", "pink", "recorded"])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_has_its_level(kind: str, snr_db: float) -> None:
    """The noise that was added lies so many decibels below the speech between its bounds."""
    noises = {"recorded": noise(seconds=3.0, level=0.02)}
    condition = Condition(name="n", noise=kind, snr_db=snr_db)
    quiet = (voice().astype(np.float64) / 8).astype(np.int16)
    clean = spoken(samples=quiet)
    added = heard(condition, clean, **noises) - quiet / 32_768
    speech = quiet[RATE // 2 : 3 * RATE // 2] / 32_768
    assert db(speech) - db(added) == pytest.approx(snr_db, abs=0.6)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    """Each octave of pink noise has the power of its neighbour; of white noise, twice as much."""
    silence = np.zeros(20 * RATE, dtype=np.int16)
    clean = spoken(samples=silence)
    for kind, step in (("pink", 0.0), ("white", 3.0)):
        spectrum = np.abs(np.fft.rfft(heard(Condition(name="n", noise=kind, snr_db=0), clean))) ** 2
        frequencies = np.fft.rfftfreq(silence.size, 1 / RATE)
        octaves = [
            10 * np.log10(spectrum[(frequencies >= low) & (frequencies < 2 * low)].sum())
            for low in (100, 200, 400, 800, 1600, 3200)
        ]
        assert np.diff(octaves) == pytest.approx([step] * 5, abs=0.5)


def test_equal_for_equal_names_and_else_other() -> None:
    """The same utterance and condition give the same bytes; another of either gives others."""
    hiss = Condition(name="hiss", noise="white", snr_db=10)
    other = Condition(name="other", noise="white", snr_db=10)
    first = apply_condition(spoken("a"), hiss, {}).pcm
    assert apply_condition(spoken("a"), hiss, {}).pcm == first
    assert apply_condition(spoken("b"), hiss, {}).pcm != first
    assert apply_condition(spoken("a"), other, {}).pcm != first


def test_silence_moves_the_bounds() -> None:
    """Leading silence moves start and end by its length; the recording itself is untouched."""
    clean = spoken()
    found = apply_condition(
        clean, Condition(name="s", lead_silence_s=1.25, trail_silence_s=0.5), {}
    )
    assert found.speech_start_ns == SECOND // 2 + 1_250_000_000
    assert found.speech_end_ns == 3 * SECOND // 2 + 1_250_000_000
    lead, trail = 1.25 * RATE * 2, 0.5 * RATE * 2
    assert found.pcm == bytes(int(lead)) + clean.pcm + bytes(int(trail))
    assert found.utterance is clean.utterance


def test_a_recording_without_speech_stays_without_bounds() -> None:
    """Where nobody speaks there are no bounds to move, and noise stands at -26 dBFS - SNR."""
    clean = PlayableUtterance(
        utterance=Utterance(id="u", audio="u.wav", expect="none"),
        pcm=bytes(2 * 2 * RATE), speech_start_ns=None, speech_end_ns=None,
    )  # fmt: skip
    condition = Condition(name="n", noise="white", snr_db=10, lead_silence_s=1)
    found = apply_condition(clean, condition, {})
    assert (found.speech_start_ns, found.speech_end_ns) == (None, None)
    assert db(heard(condition, clean)) == pytest.approx(-36, abs=0.2)


def test_gain_and_clipping() -> None:
    """Gain scales and saturates; clipping cuts so many decibels below the loudest sample."""
    plain = heard(Condition(name="c"))
    assert db(heard(Condition(name="g", gain_db=-30))) - db(plain) == pytest.approx(-30, abs=0.1)
    assert np.max(np.abs(heard(Condition(name="g", gain_db=40)))) <= 1.0
    clipped = heard(Condition(name="k", clip_db=12))
    peak = np.max(np.abs(plain))
    assert np.max(np.abs(clipped)) == pytest.approx(peak * 10 ** (-12 / 20), rel=1e-3)
    assert np.count_nonzero(np.abs(clipped) > 0.999 * np.max(np.abs(clipped))) > 100


@pytest.mark.parametrize("codec", list(Telephony))
def test_a_telephone_is_narrow_and_in_time(codec: Telephony) -> None:
    """Above 4 kHz nothing is left, below it the tone stays, and no instant moves by a sample."""
    t = np.arange(2 * RATE) / RATE
    low, high = (0.3 * np.sin(2 * np.pi * f * t) for f in (1_000, 6_000))
    line = Condition(name="t", telephony=codec)
    assert db(heard(line, spoken(samples=to_int16(high)))) < -65
    found = heard(line, spoken(samples=to_int16(low)))
    middle = slice(RATE // 2, 3 * RATE // 2)
    assert db(found[middle] - low[middle]) < db(low[middle]) - 30
    buzz = voice() / 32_768
    lags = np.correlate(heard(line)[RATE : RATE + 4000], buzz[RATE - 20 : RATE + 4020], "valid")
    assert int(np.argmax(lags)) == 20


@given(
    share=st.floats(0.02, 0.4),
    burst=st.floats(1.0, 6.0),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25)
def test_packets_are_lost_at_the_stated_rate(share: float, burst: float, seed: int) -> None:
    """Over many packets the share that is lost and the length of a burst are those stated."""
    if share > burst * (1 - share):
        return
    loss = PacketLoss(share=share, burst=burst)
    lost = lost_packets(60_000, loss, np.random.default_rng(seed).random(60_000))
    bursts = np.count_nonzero(np.diff(lost.astype(np.int8)) == 1) + int(lost[0])
    assert np.mean(lost) == pytest.approx(share, rel=0.25)
    assert np.count_nonzero(lost) / bursts == pytest.approx(burst, rel=0.15)


@pytest.mark.parametrize("concealment", list(Concealment))
def test_lost_packets_are_concealed(concealment: Concealment) -> None:
    """A lost packet is silent, or the packet before it and then ever quieter; the rest is kept."""
    loss = PacketLoss(share=0.3, burst=3, concealment=concealment)
    before = voice()
    after = (heard(Condition(name="p", packet_loss=loss)) * 32_768).astype(np.int16)
    assert after.size == before.size
    changed = 0
    last, fades = None, 0
    for start in range(0, before.size, 320):
        place = slice(start, start + 320)
        if np.array_equal(after[place], before[place]):
            last, fades = before[place].astype(np.float64), 0
            continue
        changed += 1
        if concealment is Concealment.SILENCE or last is None:
            assert not np.any(after[place])
        else:
            assert np.array_equal(after[place], np.rint(last * 0.5**fades).astype(np.int16))
            fades += 1
    assert 0.1 < changed / 100 < 0.6


@given(
    st.builds(
        Condition,
        name=st.just("all"),
        noise=st.just("pink"),
        snr_db=st.floats(-40, 80),
        telephony=st.sampled_from([None, *Telephony]),
        packet_loss=st.none() | st.builds(PacketLoss, share=st.floats(0.01, 0.4)),
        gain_db=st.floats(-80, 40),
        clip_db=st.none() | st.floats(0, 60),
        lead_silence_s=st.floats(0, 0.3),
        trail_silence_s=st.floats(0, 0.3),
    ),
    st.integers(1, 3_000),
)
@settings(max_examples=60, deadline=None)
def test_any_condition_keeps_length_and_bounds(condition: Condition, length: int) -> None:
    """However short the recording and hard the condition, only silence changes the length."""
    clean = PlayableUtterance(
        utterance=Utterance(id="u", audio="u.wav", text="x"),
        pcm=voice()[8_000 : 8_000 + length].astype("<i2").tobytes(),
        speech_start_ns=0,
        speech_end_ns=length * SECOND // RATE,
    )
    found = apply_condition(clean, condition, {})
    lead, trail = round(condition.lead_silence_s * RATE), round(condition.trail_silence_s * RATE)
    assert len(found.pcm) == 2 * (length + lead + trail)
    assert found.speech_start_ns is not None
    assert found.speech_end_ns is not None
    assert clean.speech_end_ns is not None
    assert found.speech_end_ns - found.speech_start_ns == clean.speech_end_ns


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a/b"}, "name:"),
        ({"name": ""}, "name:"),
        ({"noise": "pink"}, "snr_db: is missing"),
        ({"snr_db": 3.0}, "noise: is missing"),
        ({"snr_db": float("nan"), "noise": "pink"}, "snr_db: nan"),
        ({"gain_db": 300.0}, "gain_db: 300"),
        ({"clip_db": -1.0}, "clip_db: -1"),
        ({"lead_silence_s": -0.1}, "lead_silence_s"),
        ({"noise": "white", "snr_db": 1.0, "noise_sha256": "0" * 64}, "noise_sha256"),
    ],
)
def test_illegal_conditions(fields: dict[str, object], words: str) -> None:
    """What cannot be applied cannot be made."""
    with pytest.raises(ConfigurationError, match=words):
        Condition(**{"name": "n", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "burst"), [(0.0, 1.0), (1.0, 9.0), (0.1, 0.5), (0.8, 1.0)])
def test_illegal_losses(share: float, burst: float) -> None:
    """A channel whose share and burst contradict each other cannot be made."""
    with pytest.raises(ConfigurationError):
        PacketLoss(share=share, burst=burst)


def test_noise_recordings_are_read_and_known_by_hash(tmp_path: Path) -> None:
    """A noise recording is resampled, known by its hash, and refused once it has changed."""
    path = tmp_path / "train.wav"
    write_wav(path, noise(rate=44_100), 44_100)
    condition = Condition(name="train", noise=str(path), snr_db=5)
    known = with_hash(condition)
    assert known.noise_sha256 is not None
    assert describe_condition(known) == f"train.wav ({known.noise_sha256[:12]}) noise at 5 dB SNR"
    found = read_noises((known,))
    assert found[str(path)].size == pytest.approx(2 * RATE, abs=2)
    write_wav(path, noise(level=0.1), RATE)
    with pytest.raises(ConfigurationError, match="another recording than at the start"):
        with_hash(known)
    write_wav(path, np.zeros(100, dtype=np.int16), RATE)
    with pytest.raises(ConfigurationError, match="digital silence"):
        read_noises((condition,))
    path.unlink()
    for call in (lambda: with_hash(condition), lambda: read_noises((condition,))):
        with pytest.raises(ConfigurationError, match="condition 'train': noise"):
            call()


def test_what_was_heard_is_kept(tmp_path: Path) -> None:
    """The run's folder holds, without loss, every sample that was played under a condition."""
    conditions = (Condition(name="clean"), Condition(name="far", gain_db=-20))
    played = {
        f"{name}/{each.name}": apply_condition(spoken(name), each, {})
        for name in ("a", "b")
        for each in conditions
    }
    found = store_conditioned(tmp_path, played, conditions)
    assert [(name, path.relative_to(tmp_path).as_posix()) for name, path, _ in found] == [
        ("a/clean", "heard/clean/a.flac"),
        ("a/far", "heard/far/a.flac"),
        ("b/clean", "heard/clean/b.flac"),
        ("b/far", "heard/far/b.flac"),
    ]
    for name, path, _ in found:
        assert load_audio(path).samples.astype("<i2").tobytes() == played[name].pcm
