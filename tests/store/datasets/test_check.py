"""A check tells what is wrong with a dataset, and what is worth a look."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness.errors import ConfigurationError
from harness.store.datasets.audio import sha256_file, write_wav
from harness.store.datasets.check import check_dataset
from tests.store.datasets.recordings import RATE, noise, to_int16, voice, write_dataset

TRUE: dict[str, Any] = {"text": "x", "speech_start_s": 0.5, "speech_end_s": 1.5}


def cautions(folder: Path, row: dict[str, Any]) -> tuple[str, ...]:
    """Return what a check finds in a dataset of that row, its hash added."""
    row = {"id": "a", "audio": "own.wav", **row}
    row.setdefault("sha256", sha256_file(folder / row["audio"]))
    (folder / "manifest.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    report = check_dataset(folder)
    assert report.is_sound
    assert report.dataset is not None
    return report.cautions


def test_a_good_dataset_has_no_findings(tmp_path: Path) -> None:
    """Right bounds, hash and level leave nothing to say, nor do facts that are stated right."""
    write_wav(tmp_path / "own.wav", voice(), RATE)
    facts = {"duration_s": 2.0, "sample_rate": RATE, "channels": 1}
    assert cautions(tmp_path, {**TRUE, **facts}) == ()
    write_wav(tmp_path / "own.wav", noise(), RATE)
    assert cautions(tmp_path, {"expect": "none"}) == ()


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"sha256": ""}, "sha256 is not given"),
        ({"text": None}, "text is unknown: word errors will be missing"),
        ({"duration_s": 2.2}, "duration_s is stated as 2.2, but is 2:"),
        ({"sample_rate": 8000}, "sample_rate is stated as 8000, but is 16000"),
        ({"channels": "one"}, "channels is stated as one, but is 1"),
        ({"speech_end_s": 1.2}, "speech_end_s is 1.200, but the energy says 1.5"),
        ({"speech_start_s": 0.8}, "speech_start_s is 0.800, but the energy says 0.4"),
        ({"text": None, "speech_start_s": None, "speech_end_s": None, "expect": "none"},
         "expect is none, but sound stands out"),
    ],
)  # fmt: skip
def test_each_doubt_has_its_line(tmp_path: Path, changes: dict[str, Any], finding: str) -> None:
    """Each doubtful statement gives one line with the manifest, the id, the field and advice."""
    write_wav(tmp_path / "own.wav", voice(), RATE)
    (line,) = cautions(tmp_path, {**TRUE, **changes})
    assert line.startswith(f"{tmp_path}/manifest.jsonl: a: ")
    assert finding in line


def test_a_wide_tolerance_is_believed(tmp_path: Path) -> None:
    """Bounds that the energy doubts by less than their own tolerance are not doubted."""
    write_wav(tmp_path / "own.wav", voice(), RATE)
    assert cautions(tmp_path, {**TRUE, "speech_end_s": 1.2, "tolerance_ms": 400}) == ()


def test_bad_recordings_are_told(tmp_path: Path) -> None:
    """Clipping, whispers, telephony, differing channels, missing and endless quiet are told."""
    own = tmp_path / "own.wav"
    floats = voice().astype(float) / 32_768

    write_wav(own, to_int16(floats * 20), RATE)
    assert any("audio is clipped (" in line for line in cautions(tmp_path, TRUE))

    write_wav(own, to_int16(floats / 60), RATE)
    (line,) = cautions(tmp_path, TRUE)
    assert "speech is quiet (-" in line

    write_wav(own, voice(rate=8000), 8000)
    (line,) = cautions(tmp_path, TRUE)
    assert "8000 Hz: recognisers hear it as telephony" in line

    soundfile.write(own, np.stack([voice(), noise(level=0.001)], axis=1), RATE)
    (line,) = cautions(tmp_path, TRUE)
    assert "2 channels that differ" in line
    assert cautions(tmp_path, {**TRUE, "channel": 0}) == ()

    write_wav(own, voice(lead_s=0), RATE)
    (line,) = cautions(tmp_path, {"text": "x", "speech_start_s": 0, "speech_end_s": 1})
    assert "detectors need some quiet before it" in line

    write_wav(own, voice(lead_s=6, trail_s=7), RATE)
    lines = cautions(tmp_path, {"text": "x", "speech_start_s": 6, "speech_end_s": 7})
    assert ["quiet go before" in lines[0], "quiet follow" in lines[1]] == [True, True]

    write_wav(own, noise(), RATE)
    (line,) = cautions(tmp_path, TRUE)
    assert "no speech can be told from noise (even noise)" in line

    silent = np.concatenate((voice(trail_s=0), np.zeros(RATE, dtype=np.int16)))
    write_wav(own, silent, RATE)
    lines = cautions(tmp_path, {"text": "x", "speech_start_s": 1.6, "speech_end_s": 2.4})
    assert any("digital silence where speech is said to be" in line for line in lines)


def test_a_loud_peak_is_no_clipping(tmp_path: Path) -> None:
    """A single sample at full scale is a loud peak, not a cut one."""
    samples = voice().copy()
    samples[12_000] = 32_767
    write_wav(tmp_path / "own.wav", samples, RATE)
    assert cautions(tmp_path, TRUE) == ()


def test_the_same_recording_twice_is_told(tmp_path: Path) -> None:
    """Two utterances of one recording would count as independent, which they are not."""
    digest = sha256_file(write_dataset(tmp_path) / "voice.wav")
    row = {"audio": "voice.wav", "sha256": digest, **TRUE}
    write_dataset(tmp_path, {"id": "a", **row}, {"id": "b", **row})
    (line,) = check_dataset(tmp_path).cautions
    assert line.endswith("b: audio is that of a too: repeats belong into the suite")


def test_problems_come_from_reading(tmp_path: Path) -> None:
    """Unreadable audio is a problem beside the other findings; a broken manifest stands alone."""
    row = {"id": "a", "audio": "voice.wav", **TRUE}
    write_dataset(tmp_path, row, {**row, "id": "b", "audio": "gone.wav"})
    report = check_dataset(tmp_path)
    assert not report.is_sound
    assert ["no such audio file" in line for line in report.problems] == [True]
    assert ["sha256 is not given" in line for line in report.cautions] == [True]
    write_dataset(tmp_path, row, row)
    report = check_dataset(tmp_path)
    assert (report.dataset, len(report.problems), report.cautions) == (None, 1, ())
    with pytest.raises(ConfigurationError, match="no such dataset"):
        check_dataset(tmp_path / "gone")
