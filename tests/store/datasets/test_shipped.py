"""The shipped recordings are what their pages say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.store.datasets.audio import load_audio, to_pipeline
from harness.store.datasets.check import check_dataset
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.datasets.shipped import find_dataset, shipped_datasets
from harness.store.datasets.speech_bounds import NoSpeech, SpeechBounds, estimate_bounds
from tests.store.datasets.recordings import write_dataset

RECIPE = Path(__file__).parents[3] / "datasets" / "make_starter.py"


@pytest.mark.parametrize("name", ["starter", "interruptions", "silence"])
def test_shipped_datasets_are_sound(name: str) -> None:
    """A shipped dataset has neither a problem nor a caution."""
    report = check_dataset(shipped_datasets()[name])
    assert (report.problems, report.cautions) == ((), ())
    assert report.dataset is not None
    assert report.dataset.synthetic


def test_the_starter_set_fits_a_short_benchmark() -> None:
    """24 utterances in three voices, 2 to 25 words, at most 3 s in the mean, at 16 kHz."""
    dataset = read_dataset(shipped_datasets()["starter"])
    assert len(dataset.utterances) == 24
    assert dataset.duration_s is not None
    assert dataset.duration_s / 24 <= 3.0
    voices = [utterance.tags["voice"] for utterance in dataset.utterances]
    assert {voice: voices.count(voice) for voice in voices} == {"kal16": 8, "slt": 8, "rms": 8}
    words = [len((utterance.reference or "").split()) for utterance in dataset.utterances]
    assert min(words) == 2
    assert 20 <= max(words) <= 25
    for utterance in dataset.utterances:
        assert load_audio(audio_path(dataset, utterance)).sample_rate == 16_000
        assert utterance.timing == "given"


def test_starter_bounds_are_where_the_speech_is() -> None:
    """The energy finds each end within 20 ms, each start within 60: the hum of a g is soft."""
    dataset = read_dataset(shipped_datasets()["starter"])
    for utterance in dataset.utterances:
        audio = load_audio(audio_path(dataset, utterance))
        found = estimate_bounds(to_pipeline(audio), 16_000)
        assert isinstance(found, SpeechBounds)
        assert found.start_s == pytest.approx(utterance.speech_start_s, abs=0.06)
        assert found.end_s == pytest.approx(utterance.speech_end_s, abs=0.02)


def test_nobody_speaks_in_silence() -> None:
    """Both recordings of the silence set expect no speech, and none is found."""
    dataset = read_dataset(shipped_datasets()["silence"])
    assert [utterance.expect for utterance in dataset.utterances] == ["none", "none"]
    for utterance in dataset.utterances:
        audio = load_audio(audio_path(dataset, utterance))
        assert isinstance(estimate_bounds(audio.samples, audio.sample_rate), NoSpeech)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_recipe_makes_the_same_samples() -> None:
    """With flite, the recipe gives every shipped recording again, bit by bit."""
    done = subprocess.run(
        [sys.executable, str(RECIPE), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_recipe_says_how_to_get_flite() -> None:
    """Without flite, the recipe names the package to install and changes nothing."""
    done = subprocess.run(
        [sys.executable, str(RECIPE), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/nonexistent"},
    )
    assert done.returncode == 1
    assert "apt install flite" in done.stderr


def test_a_suite_finds_datasets_by_path_or_name(tmp_path: Path) -> None:
    """A path beside the suite comes first, then a shipped name; a slip is met with a guess."""
    folder = write_dataset(tmp_path / "mine", {"id": "a", "audio": "voice.wav", "text": "x"})
    assert find_dataset("mine", base=tmp_path) == folder
    assert find_dataset(str(folder), base=Path("/")) == folder
    assert find_dataset("starter", base=tmp_path) == shipped_datasets()["starter"]
    own = write_dataset(tmp_path / "starter", {"id": "a", "audio": "voice.wav", "text": "x"})
    assert find_dataset("starter", base=tmp_path) == own
    with pytest.raises(ConfigurationError, match=r"no such dataset: did you mean silence\?"):
        find_dataset("silense", base=tmp_path)
    with pytest.raises(ConfigurationError, match="one of interruptions, silence, starter"):
        find_dataset("librispeech", base=tmp_path)
