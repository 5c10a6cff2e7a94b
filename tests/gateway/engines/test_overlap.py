"""The rule that tells who wants the floor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.engines.overlap import (
    FRAME_MS,
    frame_probabilities,
    probability_of,
    wants_floor,
)
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from harness.gateway.profiles.types import InterruptionProfile
from harness.store.datasets.audio import load_audio, to_pipeline
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.datasets.shipped import shipped_datasets

SUSTAINED_MS = InterruptionProfile().sustained_ms


def babble(ms: int, *, level: float = 0.1, seed: int = 3) -> Samples:
    """Return noise in syllables of 200 ms, each fading to almost nothing: speech, to this rule."""
    count = HEARD_RATE * ms // 1000
    noise = np.random.default_rng(seed).standard_normal(count)
    position = np.arange(count) % (HEARD_RATE // 5) / (HEARD_RATE // 5)
    return np.clip(noise * level * (1.05 - position) * 32_767, -32_768, 32_767).astype(np.int16)


def quiet(ms: int) -> Samples:
    """Return a line without a sound."""
    return np.zeros(HEARD_RATE * ms // 1000, dtype=np.int16)


def wanted(*parts: Samples) -> bool:
    """Tell what the rule makes of sounds one after the other."""
    return wants_floor(frame_probabilities(np.concatenate(parts), SUSTAINED_MS), 0.5, 2)


def test_every_shipped_recording_is_what_its_manifest_says() -> None:
    """Of the shipped recordings interruptions want the floor and backchannels do not."""
    dataset = read_dataset(shipped_datasets()["interruptions"])
    for each in dataset.utterances:
        samples = to_pipeline(load_audio(audio_path(dataset, each)))
        assert wanted(samples) is (each.tags["kind"] == "interruption"), each.id


def test_sustained_speech_wants_the_floor_and_a_short_burst_does_not() -> None:
    """The length of the speech decides."""
    assert wanted(quiet(500), babble(1_000))
    assert not wanted(quiet(500), babble(200), quiet(500))


def test_short_bursts_far_apart_do_not_add_up() -> None:
    """Three noises of a listener, a second apart, are three backchannels."""
    parts = [each for _ in range(3) for each in (babble(250), quiet(750))]
    assert not wanted(quiet(300), *parts[:-1])


def test_a_pause_between_words_does_not_end_a_stretch() -> None:
    """Two halves of a sentence 150 ms apart are one stretch."""
    assert wanted(quiet(500), babble(300), quiet(150), babble(300))


@pytest.mark.parametrize("samples", [quiet(1_000), np.full(16_000, 3_000, dtype=np.int16)])
def test_a_sound_without_ups_and_downs_is_no_speech(samples: Samples) -> None:
    """Neither silence nor a hum wants the floor, however long."""
    assert not wanted(samples)


@given(gain=st.floats(0.05, 0.9))
def test_loudness_does_not_decide(gain: float) -> None:
    """The same speech louder or softer, as long as it is audible, is judged alike."""
    assert wanted(quiet(500), babble(1_000, level=gain / 4))


@given(
    probabilities=st.lists(st.floats(0, 1), max_size=40),
    threshold=st.floats(0.01, 0.99),
    frames=st.integers(1, 6),
)
def test_the_probability_is_the_threshold_up_to_which_it_is_an_interruption(
    probabilities: list[float], threshold: float, frames: int
) -> None:
    """A window wants the floor exactly where its probability reaches the threshold."""
    found = probability_of(probabilities, frames)
    assert wants_floor(probabilities, threshold, frames) is (found >= threshold)


@given(ms=st.integers(0, 400))
def test_one_probability_for_each_whole_frame(ms: int) -> None:
    """A window has a probability for each of its whole frames, all within 0 and 1."""
    found = frame_probabilities(quiet(ms), SUSTAINED_MS)
    assert len(found) == ms // FRAME_MS
    assert all(0 <= each <= 1 for each in found)
