"""The energy says where speech starts and ends, and says when there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store.datasets.speech_bounds import NoSpeech, SpeechBounds, estimate_bounds
from tests.store.datasets.recordings import RATE, noise, to_int16, voice


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
def test_bounds_are_found_at_any_rate(rate: int) -> None:
    """Start and end come out within three windows' hops at every common rate."""
    found = estimate_bounds(voice(lead_s=0.7, speech_s=1.2, trail_s=0.6, rate=rate), rate)
    assert isinstance(found, SpeechBounds)
    assert found.start_s == pytest.approx(0.7, abs=0.03)
    assert found.end_s == pytest.approx(1.9, abs=0.03)


@given(
    lead=st.floats(0.0, 2.0), speech=st.floats(0.3, 3.0), trail=st.floats(0.0, 2.0)
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_bounds_lie_in_the_recording(lead: float, speech: float, trail: float) -> None:
    """Whatever surrounds speech, 0 <= start < end <= duration, and both near the truth."""
    samples = voice(lead_s=lead, speech_s=speech, trail_s=trail)
    found = estimate_bounds(samples, RATE)
    assert isinstance(found, SpeechBounds)
    assert 0 <= found.start_s < found.end_s <= samples.size / RATE
    assert found.start_s == pytest.approx(lead, abs=0.04)
    assert found.end_s == pytest.approx(lead + speech, abs=0.04)


@given(st.floats(-30, 6))
@settings(max_examples=20, deadline=None)
def test_the_level_does_not_matter(gain_db: float) -> None:
    """A quieter or louder recording of the same has the same bounds, within two hops."""
    louder = to_int16(voice() / 32_768 * 10 ** (gain_db / 20))
    plain, changed = estimate_bounds(voice(), RATE), estimate_bounds(louder, RATE)
    assert isinstance(plain, SpeechBounds)
    assert isinstance(changed, SpeechBounds)
    assert changed.start_s == pytest.approx(plain.start_s, abs=0.02)
    assert changed.end_s == pytest.approx(plain.end_s, abs=0.02)


def test_a_released_stop_belongs_to_speech() -> None:
    """A burst 80 ms after the voice, 15 dB weaker, is the end; one after half a second is not."""
    for gap_s, is_speech in ((0.08, True), (0.5, False)):
        floats = voice(trail_s=1.0).astype(float) / 32_768
        start = round((1.5 + gap_s) * RATE)
        burst = np.random.default_rng(3).standard_normal(round(0.03 * RATE)) * 0.01
        floats[start : start + burst.size] += burst
        found = estimate_bounds(to_int16(floats), RATE)
        assert isinstance(found, SpeechBounds)
        expected = 1.5 + gap_s + 0.03 if is_speech else 1.5
        assert found.end_s == pytest.approx(expected, abs=0.03)


def test_speech_is_found_in_noise() -> None:
    """With noise 20 dB below speech the bounds are still within 60 ms."""
    floats = (voice().astype(float) + noise(level=0.015)) / 32_768
    found = estimate_bounds(to_int16(floats), RATE)
    assert isinstance(found, SpeechBounds)
    assert found.start_s == pytest.approx(0.5, abs=0.06)
    assert found.end_s == pytest.approx(1.5, abs=0.06)


def test_a_tightly_cut_recording_is_all_speech() -> None:
    """Without any background around it, speech spans the recording."""
    found = estimate_bounds(voice(lead_s=0, trail_s=0), RATE)
    assert isinstance(found, SpeechBounds)
    assert found.start_s == pytest.approx(0, abs=0.02)
    assert found.end_s == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("zeros", "silence"), ("dither", "silence"), ("hiss", "even noise"), ("scrap", "too short")],
)
def test_no_speech_is_said_with_its_reason(name: str, reason: str) -> None:
    """Silence, even noise and a scrap of a few milliseconds hold no speech."""
    samples = {
        "zeros": np.zeros(RATE, dtype=np.int16),
        "dither": np.random.default_rng(1).integers(-1, 2, RATE).astype(np.int16),
        "hiss": noise(),
        "scrap": voice()[:100],
    }[name]
    assert estimate_bounds(samples, RATE) == NoSpeech(reason=reason)


def test_an_hour_fits_into_memory() -> None:
    """A long recording is analysed in blocks, with the same result as its part."""
    samples = np.concatenate((voice(trail_s=30.0), noise(seconds=60, level=0.000_5)))
    found = estimate_bounds(samples, RATE)
    assert isinstance(found, SpeechBounds)
    assert found.end_s == pytest.approx(1.5, abs=0.03)
