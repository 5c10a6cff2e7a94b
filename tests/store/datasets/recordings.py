"""Recordings made for tests: sound with bounds that are known to the sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.store.datasets.audio import Samples, write_wav

RATE = 16_000


def voice(
    *, lead_s: float = 0.5, speech_s: float = 1.0, trail_s: float = 0.5, rate: int = RATE
) -> Samples:
    """Return a voiced buzz with syllables between ``lead_s`` and its end, over faint noise."""
    generator = np.random.default_rng(7)
    start, count = round(lead_s * rate), round(speech_s * rate)
    samples = generator.standard_normal(start + count + round(trail_s * rate)) * 0.000_5
    t = np.arange(count) / rate
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20) if 150 * k < rate / 2)
    hiss = generator.standard_normal(count) * 0.3
    syllables = 0.6 + 0.4 * np.cos(2 * np.pi * 4 * t)
    samples[start : start + count] += 0.15 * syllables * (buzz + hiss)
    return to_int16(samples)


def noise(*, seconds: float = 2.0, level: float = 0.01, rate: int = RATE) -> Samples:
    """Return even white noise."""
    generator = np.random.default_rng(11)
    return to_int16(generator.standard_normal(round(seconds * rate)) * level)


def to_int16(floats: npt.NDArray[np.float64]) -> Samples:
    """Round to 16 bits, saturating."""
    return np.clip(np.rint(floats * 32_768), -32_768, 32_767).astype(np.int16)


def write_dataset(folder: Path, *rows: dict[str, Any], header: str | None = None) -> Path:
    """Write a manifest of those rows beside ``voice.wav`` (2 s) and ``noise.wav`` (2 s)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / "voice.wav", voice(), RATE)
    write_wav(folder / "noise.wav", noise(), RATE)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    if header is not None:
        (folder / "dataset.toml").write_text(header, encoding="utf-8")
    return folder
