"""Acoustic conditions: what happens to a recording before it is played.

A condition changes the samples, never the utterance: its text, its speaker and the cluster that it
forms in every statistic stay the same. What it does, in this order, is written down in
``harness.store.datasets.conditions``, which applies it.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harness.domain.utterance import is_sha256, is_utterance_id
from harness.errors import ConfigurationError

__all__ = [
    "CLEAN",
    "GENERATED_NOISE",
    "Concealment",
    "Condition",
    "PacketLoss",
    "Telephony",
    "condition_label",
    "describe_condition",
]

CLEAN: Final = "clean"
"""What is shown for trials without a condition."""
GENERATED_NOISE: Final = ("white", "pink")
PACKET_MS: Final = 20

_LIMITS: Final = {
    "snr_db": (-40.0, 80.0),
    "gain_db": (-80.0, 40.0),
    "clip_db": (0.0, 60.0),
    "lead_silence_s": (0.0, 60.0),
    "trail_silence_s": (0.0, 60.0),
}


class Telephony(StrEnum):
    """A telephone line's codec; either is ITU-T G.711 at 8 kHz."""

    MULAW = "g711-mulaw"
    ALAW = "g711-alaw"


class Concealment(StrEnum):
    """What is heard in the place of a lost packet."""

    SILENCE = "silence"
    REPEAT = "repeat"
    """the packet before it, 6 dB quieter with every further lost packet in a row"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLoss:
    """Packets of 20 ms lost in bursts (Gilbert's two-state channel, 1960).

    Attributes:
        share: the expected share of lost packets.
        burst: the expected number of packets lost in a row; 1 / (1 - share) is independent loss.
        concealment: what is heard instead.
    """

    share: float
    burst: float = 1.0
    concealment: Concealment = Concealment.SILENCE

    def __post_init__(self) -> None:
        """Refuse a channel that does not exist.

        Raises:
            ConfigurationError: with a line for each mistake.
        """
        problems = []
        if not (math.isfinite(self.share) and 0 < self.share < 1):
            problems.append(f"share: {self.share:g} has to lie between 0 and 1")
        if not (math.isfinite(self.burst) and 1 <= self.burst <= 1_000):
            problems.append(f"burst: {self.burst:g} lies outside 1…1000")
        if not problems and self.share > self.burst * (1 - self.share):
            least = self.share / (1 - self.share)
            problems.append(
                f"burst: {self.burst:g} packets in a row cannot lose {self.share:.0%} of them;"
                f" give at least {least:.3g}"
            )
        if problems:
            raise ConfigurationError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What happens to every recording of a suite under one name.

    Attributes:
        name: shown in tables; names a folder of the run.
        noise: "white", "pink", or the path of a recording; None adds none.
        noise_sha256: of the noise recording's file, as the run found it.
        snr_db: mean power of the speech between its bounds over the noise's mean power.
        telephony: the round trip through a codec at 8 kHz; None leaves the band alone.
        packet_loss: None loses nothing.
        gain_db: of speech and noise together; what passes full scale saturates.
        clip_db: cuts so many decibels below the loudest sample; None cuts nothing.
        lead_silence_s, trail_silence_s: put before and after the recording.
    """

    name: str
    noise: str | None = None
    noise_sha256: str | None = None
    snr_db: float | None = None
    telephony: Telephony | None = None
    packet_loss: PacketLoss | None = None
    gain_db: float = 0.0
    clip_db: float | None = None
    lead_silence_s: float = 0.0
    trail_silence_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be applied.

        Raises:
            ConfigurationError: with a line for each mistake, which starts with the field's name.
        """
        problems = []
        if not is_utterance_id(self.name) or len(self.name) > 80:
            problems.append(
                f"name: {self.name!r} has to be at most 80 characters without slashes; it names a"
                " folder"
            )
        for field, (low, high) in _LIMITS.items():
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                problems.append(f"{field}: {value:g} lies outside {low:g}…{high:g}")
        if (self.noise is None) != (self.snr_db is None):
            lacking = "snr_db" if self.snr_db is None else "noise"
            problems.append(f"{lacking}: is missing; noise and snr_db go together")
        if self.noise_sha256 is not None and (
            not self.is_recorded_noise or not is_sha256(self.noise_sha256)
        ):
            problems.append("noise_sha256: belongs to a noise recording, in 64 hexadecimal digits")
        if problems:
            raise ConfigurationError(problems)

    @property
    def is_recorded_noise(self) -> bool:
        """Whether the noise comes from a file."""
        return self.noise is not None and self.noise not in GENERATED_NOISE

    @property
    def silence_s(self) -> float:
        """By how much the condition lengthens a recording, in seconds."""
        return self.lead_silence_s + self.trail_silence_s


def condition_label(name: str) -> str:
    """Return what is shown for a trial's condition: "clean" where it has none."""
    return name or CLEAN


def describe_condition(condition: Condition) -> str:
    """Return what a condition does, in words; equal texts are equal conditions but for the name.

    A noise recording is told by its hash where it is known, not by where it lies.
    """
    parts = []
    if condition.lead_silence_s:
        parts.append(f"{condition.lead_silence_s:g} s of silence before")
    if condition.trail_silence_s:
        parts.append(f"{condition.trail_silence_s:g} s of silence after")
    if condition.noise is not None:
        kind = condition.noise.replace("\\", "/").rpartition("/")[2]
        if condition.noise_sha256 is not None:
            kind += f" ({condition.noise_sha256[:12]})"
        parts.append(f"{kind} noise at {condition.snr_db:g} dB SNR")
    if condition.clip_db is not None:
        parts.append(f"clipped {condition.clip_db:g} dB below the peak")
    if condition.gain_db:
        parts.append(f"gain {condition.gain_db:+g} dB")
    if condition.telephony is not None:
        parts.append(f"{condition.telephony.value} at 8 kHz")
    loss = condition.packet_loss
    if loss is not None:
        parts.append(
            f"{loss.share:.4g} of packets lost, {loss.burst:g} in a row, {loss.concealment.value}"
        )
    return ", ".join(parts) or "as recorded"
