"""A recording under a condition: pure functions of samples, equal on every run and machine.

The steps, in the order of a telephone call, each only where the condition asks for it:

1. **Silence.** Digital zeros before and after the recording; the speech bounds move with it.
2. **Noise.** Added over the whole length, silence included. White and pink noise are generated; a
   recording is resampled, entered at a drawn place and looped. The signal's level is the mean power
   between the speech bounds, whatever noise the recording brings; where nobody speaks, -26 dBFS
   stands in for it (the nominal active speech level of ITU-T P.56 measurements). The noise's level
   is the mean power of the whole noise, so a noise that comes and goes has that ratio over its own
   length, not over each utterance.
3. **Clipping** so many decibels below the loudest sample: an overloaded microphone.
4. **Gain.** What passes full scale saturates.
5. **Telephony.** Resampled to 8 kHz (soxr, linear phase, no delay), coded and decoded by ITU-T
   G.711, resampled back. There is no 300 Hz high-pass: a line may have one, the codec has none.
6. **Packet loss** in packets of 20 ms from the first sample on.

Every draw comes from a generator that is seeded by the utterance's id and the condition's name
(SHA-256 into PCG64, whose bit stream numpy keeps), so that a repeat, another candidate and another
machine hear the same samples, but for the last bit of a resampler.

The speech bounds stay those of what was spoken: a lost last packet moves no bound, since the caller
has spoken it.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from harness.domain.condition import (
    PACKET_MS,
    Concealment,
    Condition,
    PacketLoss,
    Telephony,
)
from harness.domain.driver import PlayableUtterance
from harness.domain.trial import recording_name
from harness.domain.utterance import Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import (
    FULL_SCALE,
    PIPELINE_RATE,
    Samples,
    load_audio,
    sha256_file,
    to_int16,
    to_pipeline,
    write_flac,
)

__all__ = [
    "HEARD",
    "apply_condition",
    "decode_g711",
    "encode_g711",
    "lost_packets",
    "read_noises",
    "store_conditioned",
    "with_hash",
]

_Floats = npt.NDArray[np.float64]
_Bytes = npt.NDArray[np.uint8]

HEARD: Final = "heard"
"""The folder of a run that holds recordings as they were played."""

NANOSECONDS: Final = 1_000_000_000
TELEPHONE_RATE: Final = 8_000
PACKET: Final = PIPELINE_RATE * PACKET_MS // 1000
NOMINAL_DBFS: Final = -26.0
_FADE: Final = 0.5
_LEAST_POWER: Final = 1e-12


def with_hash(condition: Condition) -> Condition:
    """Return the condition with the hash of its noise recording.

    Raises:
        ConfigurationError: the recording is missing, or not the one that the hash belongs to.
    """
    if not condition.is_recorded_noise or condition.noise is None:
        return condition
    path = Path(condition.noise)
    try:
        found = sha256_file(path)
    except OSError as error:
        raise ConfigurationError(
            f"condition {condition.name!r}: noise {path}: cannot be read ({error.strerror}): give"
            ' a recording, "white" or "pink"'
        ) from error
    if condition.noise_sha256 not in (None, found):
        raise ConfigurationError(
            f"condition {condition.name!r}: noise {path} is another recording than at the start;"
            " restore it, or start a new run"
        )
    return replace(condition, noise_sha256=found)


def read_noises(conditions: tuple[Condition, ...]) -> dict[str, Samples]:
    """Decode the noise recordings of conditions, by path, to 16 kHz.

    Raises:
        ConfigurationError: a line for each that cannot be played or is silent.
    """
    found: dict[str, Samples] = {}
    problems: list[str] = []
    for condition in conditions:
        name = condition.noise
        if name is None or not condition.is_recorded_noise or name in found:
            continue
        try:
            samples = to_pipeline(load_audio(Path(name)))
        except ConfigurationError as error:
            problems.extend(f"condition {condition.name!r}: noise {x}" for x in error.problems)
            continue
        if not np.any(samples):
            problems.append(f"condition {condition.name!r}: noise {name} is digital silence")
            continue
        found[name] = samples
    if problems:
        raise ConfigurationError(problems)
    return found


def apply_condition(
    clean: PlayableUtterance, condition: Condition, noises: Mapping[str, Samples]
) -> PlayableUtterance:
    """Return an utterance as it is heard under a condition.

    Args:
        clean: the recording at 16 kHz with its bounds.
        condition: what happens to it.
        noises: from :func:`read_noises`.
    """
    samples = np.frombuffer(clean.pcm, dtype="<i2").astype(np.int16)
    if (
        condition.noise is None
        and condition.telephony is None
        and condition.packet_loss is None
        and condition.clip_db is None
        and not condition.gain_db
        and not condition.silence_s
    ):
        return clean
    draws = _Draws(clean.utterance.id, condition.name)
    lead = round(condition.lead_silence_s * PIPELINE_RATE)
    trail = round(condition.trail_silence_s * PIPELINE_RATE)
    power = _speech_power(samples, clean)
    signal = np.pad(samples.astype(np.float64) / FULL_SCALE, (lead, trail))
    if condition.noise is not None and condition.snr_db is not None:
        noise = _noise(condition.noise, signal.size, noises, draws)
        signal = signal + noise * math.sqrt(power * 10 ** (-condition.snr_db / 10))
    if condition.clip_db is not None:
        limit = float(np.max(np.abs(signal), initial=0.0)) * 10 ** (-condition.clip_db / 20)
        signal = np.clip(signal, -limit, limit)
    if condition.gain_db:
        signal = np.clip(signal * 10 ** (condition.gain_db / 20), -1.0, 1.0)
    if condition.telephony is not None:
        signal = _telephoned(signal, condition.telephony)
    heard = to_int16(signal)
    if condition.packet_loss is not None:
        heard = _lossy(heard, condition.packet_loss, draws)
    shift_ns = lead * NANOSECONDS // PIPELINE_RATE
    start, end = clean.speech_start_ns, clean.speech_end_ns
    return PlayableUtterance(
        utterance=clean.utterance,
        pcm=heard.astype("<i2").tobytes(),
        speech_start_ns=None if start is None else start + shift_ns,
        speech_end_ns=None if end is None else end + shift_ns,
    )


class _Draws:
    """A stream of draws that depends on the utterance and the condition alone."""

    def __init__(self, utterance: str, condition: str) -> None:
        digest = hashlib.sha256(f"{utterance}\0{condition}".encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def uniform(self, count: int) -> _Floats:
        """Return numbers in [0, 1), from the upper 53 bits of each word."""
        words = np.asarray(self._bits.random_raw(count), dtype=np.uint64)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, count: int) -> _Floats:
        """Return standard normal numbers (Box and Muller, 1958)."""
        half = (count + 1) // 2
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(half)))
        angle = 2.0 * np.pi * self.uniform(half)
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return both[:count]


def _speech_power(samples: Samples, clean: PlayableUtterance) -> float:
    """Return the mean power between the speech bounds, of full scale."""
    start, end = clean.speech_start_ns, clean.speech_end_ns
    if start is not None and end is not None:
        first, last = (round(at * PIPELINE_RATE / NANOSECONDS) for at in (start, end))
        speech = samples[first:last].astype(np.float64) / FULL_SCALE
        if speech.size and (power := float(np.mean(speech**2))) > _LEAST_POWER:
            return power
    return float(10 ** (NOMINAL_DBFS / 10))


def _noise(name: str, length: int, noises: Mapping[str, Samples], draws: _Draws) -> _Floats:
    """Return noise of mean power 1."""
    if name == "white":
        return draws.normal(length)
    if name == "pink":
        return _pink(length, draws)
    recorded = noises[name].astype(np.float64) / FULL_SCALE
    recorded = recorded / math.sqrt(float(np.mean(recorded**2)))
    start = int(draws.uniform(1)[0] * recorded.size)
    return recorded[(start + np.arange(length)) % recorded.size]


def _pink(length: int, draws: _Draws) -> _Floats:
    """Return noise whose power falls by 3 dB an octave above 20 Hz, of mean power 1."""
    spectrum = np.fft.rfft(draws.normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / PIPELINE_RATE)
    shape = 1 / np.sqrt(np.maximum(frequencies, 20.0))
    shape[0] = 0.0
    pink: _Floats = np.fft.irfft(spectrum * shape, length)
    power = float(np.mean(pink**2))
    return pink / math.sqrt(power) if power > 0 else pink


def _telephoned(signal: _Floats, codec: Telephony) -> _Floats:
    """Return the signal after G.711 at 8 kHz; its length and its instants stay."""
    narrow = to_int16(soxr.resample(signal, PIPELINE_RATE, TELEPHONE_RATE, quality="VHQ"))
    decoded = decode_g711(encode_g711(narrow, codec), codec).astype(np.float64) / FULL_SCALE
    wide: _Floats = soxr.resample(decoded, TELEPHONE_RATE, PIPELINE_RATE, quality="VHQ")
    return np.pad(wide, (0, max(0, signal.size - wide.size)))[: signal.size]


def lost_packets(count: int, loss: PacketLoss, uniform: _Floats) -> npt.NDArray[np.bool_]:
    """Return which of ``count`` packets are lost, from as many uniform draws.

    The chain starts in its stationary state, so the expected share holds from the first packet on.
    """
    stay = 1 - 1 / loss.burst
    enter = loss.share / (loss.burst * (1 - loss.share))
    lost = np.zeros(count, dtype=np.bool_)
    bad = False
    for index in range(count):
        chance = loss.share if index == 0 else stay if bad else enter
        bad = bool(uniform[index] < chance)
        lost[index] = bad
    return lost


def _lossy(samples: Samples, loss: PacketLoss, draws: _Draws) -> Samples:
    count = -(-samples.size // PACKET)
    heard = samples.copy()
    last: npt.NDArray[np.float64] | None = None
    for index, lost in enumerate(lost_packets(count, loss, draws.uniform(count))):
        place = slice(index * PACKET, min((index + 1) * PACKET, samples.size))
        if not lost:
            last = samples[place].astype(np.float64)
            continue
        if loss.concealment is Concealment.REPEAT and last is not None:
            heard[place] = np.rint(last[: place.stop - place.start]).astype(np.int16)
            last = last * _FADE
        else:
            heard[place] = 0
    return heard


def _mulaw_table() -> npt.NDArray[np.int16]:
    """Return the value of each µ-law code (ITU-T G.711 table 2, in 16 bits)."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 0x0F
    size = ((mantissa << 3) + 0x84 << exponent) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _alaw_table() -> npt.NDArray[np.int16]:
    """Return the value of each A-law code (ITU-T G.711 table 1, in 16 bits)."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 0x0F
    size = np.where(
        exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 0x108 << np.maximum(exponent - 1, 0)
    )
    return np.where(code & 0x80, size, -size).astype(np.int16)


_TABLES: Final[Mapping[Telephony, npt.NDArray[np.int16]]] = {
    Telephony.MULAW: _mulaw_table(),
    Telephony.ALAW: _alaw_table(),
}


def decode_g711(codes: _Bytes, codec: Telephony) -> Samples:
    """Return the 16-bit samples of G.711 codes."""
    return _TABLES[codec][codes]


def encode_g711(samples: Samples, codec: Telephony) -> _Bytes:
    """Return the G.711 codes of 16-bit samples: segment and step by the decision values."""
    wide = samples.astype(np.int32)
    return _mulaw(wide) if codec is Telephony.MULAW else _alaw(wide)


def _mulaw(samples: npt.NDArray[np.int32]) -> _Bytes:
    # 14 bits count; the bias of 33 of them makes segments of powers of two.
    size = np.minimum(np.abs(samples) >> 2, 8158) + 33
    exponent = np.floor(np.log2(size)).astype(np.int32) - 5
    mantissa = (size >> (exponent + 1)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    codes: _Bytes = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return codes


def _alaw(samples: npt.NDArray[np.int32]) -> _Bytes:
    # 12 bits of size count.
    size = np.minimum(np.abs(samples) >> 4, 2047)
    exponent = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 3, 0)
    mantissa = (size >> np.maximum(exponent - 1, 0)) & 0x0F
    sign = np.where(samples < 0, 0, 0x80)
    codes: _Bytes = ((sign | (exponent << 4) | mantissa) ^ 0x55).astype(np.uint8)
    return codes


def store_conditioned(
    run: Path, utterances: Mapping[str, PlayableUtterance], conditions: Sequence[Condition]
) -> list[tuple[str, Path, Utterance]]:
    """Write what is heard under conditions to a run's folder, as ``heard/CONDITION/ID.flac``.

    A person can hear it there, and the gateway's oracle knows it by it.

    Returns:
        The recording's name, its file and its utterance, for each.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    found: list[tuple[str, Path, Utterance]] = []
    ids = {played.utterance.id for played in utterances.values()}
    pairs = [(utterance, condition.name) for utterance in sorted(ids) for condition in conditions]
    for utterance, condition in pairs:
        name = recording_name(utterance, condition)
        played = utterances[name]
        samples = np.frombuffer(played.pcm, dtype="<i2").astype(np.int16)
        path = run / HEARD / condition / f"{utterance}.flac"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_flac(path, samples, PIPELINE_RATE)
        except (OSError, soundfile.LibsndfileError) as error:
            raise ConfigurationError(f"{path}: cannot be written: {error}") from error
        found.append((name, path, played.utterance))
    return found
