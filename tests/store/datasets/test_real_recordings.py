"""Real recordings run through: TURNBENCH_SPEECH names a folder with dev, awkward and noise."""

import os
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ConfigurationError
from harness.store.datasets.audio import load_audio, to_pipeline
from harness.store.datasets.check import check_dataset
from harness.store.datasets.imports import import_dataset
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.datasets.speech_bounds import NoSpeech, SpeechBounds, estimate_bounds

FOLDER = os.environ.get("TURNBENCH_SPEECH")
pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(FOLDER is None, reason="TURNBENCH_SPEECH names no folder of recordings"),
]
SPEECH = Path(FOLDER or ".")


@pytest.mark.parametrize(
    ("name", "rows"),
    [("dev", 66), ("dev/manifest_slots.jsonl", 22), ("noise", 10)],
)
def test_manifests_read_as_they_are(name: str, rows: int) -> None:
    """Manifests of others are read without a change, every row of them."""
    dataset = read_dataset(SPEECH / name)
    assert (len(dataset.utterances), dataset.skipped) == (rows, ())
    for utterance in dataset.utterances:
        assert (utterance.expect == "none") == (name == "noise")
        assert (utterance.speech_end_s is None) == (name == "noise")
        assert utterance.licence


def test_malformed_files_are_told_and_the_rest_is_read() -> None:
    """Of the awkward recordings, the four malformed ones are named, and fifty can be played."""
    with pytest.raises(ConfigurationError) as caught:
        read_dataset(SPEECH / "awkward")
    dataset = read_dataset(SPEECH / "awkward", skip_unreadable=True)
    assert caught.value.problems == dataset.skipped
    assert len(dataset.utterances) == 50
    assert ["malformed_" in line for line in dataset.skipped] == [True] * 4
    for utterance in dataset.utterances:
        samples = to_pipeline(load_audio(audio_path(dataset, utterance)))
        assert utterance.duration_s == pytest.approx(samples.size / 16_000, abs=1e-3)


def errors_ms(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of the estimated start and end against the bounds set by hand."""
    dataset = read_dataset(SPEECH / name, estimate_missing=False)
    starts, ends = [], []
    for utterance in dataset.utterances:
        audio = load_audio(audio_path(dataset, utterance))
        found = estimate_bounds(audio.samples, audio.sample_rate)
        assert isinstance(found, SpeechBounds), utterance.id
        assert utterance.speech_start_s is not None
        assert utterance.speech_end_s is not None
        starts.append(1000 * (found.start_s - utterance.speech_start_s))
        ends.append(1000 * (found.end_s - utterance.speech_end_s))
    return np.abs(starts), np.abs(ends)


def test_estimated_bounds_are_as_good_as_stated() -> None:
    """Median and 90th percentile of the error are those that the module states, or better."""
    starts, ends = errors_ms("dev")
    assert np.median(starts) <= 16
    assert np.median(ends) <= 16
    assert np.percentile(ends, 90) <= 91
    starts, ends = errors_ms("dev/manifest_slots.jsonl")
    assert np.percentile(starts, 90) <= 15
    assert np.percentile(ends, 90) <= 17


def test_even_noise_is_not_taken_for_speech() -> None:
    """At least four in ten recordings of noise hold no speech, all the even ones among them."""
    dataset = read_dataset(SPEECH / "noise")
    silent = set()
    for utterance in dataset.utterances:
        audio = load_audio(audio_path(dataset, utterance))
        if isinstance(estimate_bounds(audio.samples, audio.sample_rate), NoSpeech):
            silent.add(utterance.id)
    assert {"noise_white", "noise_engine_idling", "noise_stp_background"} <= silent
    assert len(silent) >= 4


def test_real_recordings_import_read_and_check(tmp_path: Path) -> None:
    """A folder of real recordings with its manifest imports whole, and what was given is kept."""
    report = import_dataset(SPEECH / "dev", tmp_path / "dev", name="dev")
    old, new = read_dataset(SPEECH / "dev"), read_dataset(report.manifest)
    assert report.skipped == ()
    # Both manifests of the folder are its tables.
    assert report.imported == 66 + 22
    for utterance in old.utterances:
        twin = new.utterance(utterance.id)
        assert (twin.text, twin.sha256) == (utterance.text, utterance.sha256)
        assert (twin.speech_start_s, twin.speech_end_s, twin.tolerance_ms) == (
            utterance.speech_start_s,
            utterance.speech_end_s,
            utterance.tolerance_ms,
        )
    assert check_dataset(report.manifest).is_sound


def test_awkward_recordings_import_with_their_reasons(tmp_path: Path) -> None:
    """Of the awkward recordings what cannot be taken has its line, and the rest reads."""
    report = import_dataset(SPEECH / "awkward", tmp_path / "awkward", name="awkward")
    assert [line for line in report.skipped if "malformed_" not in line] == []
    assert report.imported == 50
    assert len(read_dataset(report.manifest).utterances) == 50
