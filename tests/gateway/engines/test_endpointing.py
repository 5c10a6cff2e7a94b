"""Speech bounds by energy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gateway.engines.endpointing import Endpointer
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from tests.gateway.spoken import TEXTS, murmur, silence


def _feed(endpointer: Endpointer, samples: Samples, step: int = 320) -> None:
    for start in range(0, len(samples), step):
        endpointer.feed(samples[start : start + step])


def _noise(seconds: float, level_dbfs: float) -> Samples:
    sigma = 32768 * 10 ** (level_dbfs / 20)
    generator = np.random.default_rng(5)
    return generator.normal(0, sigma, round(seconds * HEARD_RATE)).astype(np.int16)


def test_speech_is_bounded_within_ten_milliseconds() -> None:
    """The first and the last sample of speech are found to within one window."""
    spoken = murmur(0, TEXTS[0])
    loud = np.flatnonzero(np.abs(spoken.astype(int)) > 400)
    endpointer = Endpointer()
    _feed(endpointer, np.concatenate((silence(1), spoken, silence(1))))
    assert endpointer.started_at == pytest.approx(HEARD_RATE + loud[0], abs=320)
    assert endpointer.ended_at == pytest.approx(HEARD_RATE + loud[-1], abs=320)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=12))
def test_the_size_of_messages_does_not_matter(sizes: list[int]) -> None:
    """The bounds are the same however the audio is cut into messages."""
    audio = np.concatenate((silence(0.3), murmur(3, TEXTS[3]), silence(0.5)))
    whole, pieces = Endpointer(), Endpointer()
    whole.feed(audio)
    start, turn = 0, 0
    while start < len(audio):
        size = sizes[turn % len(sizes)]
        pieces.feed(audio[start : start + size])
        start, turn = start + size, turn + 1
    assert (pieces.started_at, pieces.ended_at) == (whole.started_at, whole.ended_at)
    assert pieces.received == len(audio)


@pytest.mark.parametrize("level", [-70.0, -55.0, -42.0])
def test_steady_noise_is_not_speech(level: float) -> None:
    """Once its level is known, noise starts no utterance and does not hide an end of speech."""
    endpointer = Endpointer()
    _feed(endpointer, _noise(3, level))
    endpointer.reset()
    noisy = murmur(0, TEXTS[0])
    _feed(endpointer, (noisy + _noise(len(noisy) / HEARD_RATE, level)).astype(np.int16))
    _feed(endpointer, _noise(0.6, level))
    assert endpointer.started_at is not None
    assert endpointer.silence >= 0.5 * HEARD_RATE


def test_a_click_after_the_end_does_not_prolong_speech() -> None:
    """A single loud window long after the last word is not speech."""
    audio = np.concatenate((murmur(0, TEXTS[0]), silence(0.8)))
    clicked = audio.copy()
    clicked[-4000:-3960] = 20000
    one, other = Endpointer(), Endpointer()
    _feed(one, audio)
    _feed(other, clicked)
    assert one.ended_at == other.ended_at


def test_silence_is_never_an_utterance() -> None:
    """Digital silence has neither start nor end."""
    endpointer = Endpointer()
    _feed(endpointer, silence(5))
    assert endpointer.started_at is None
    assert endpointer.silence == 0


def test_after_a_reset_the_next_utterance_begins() -> None:
    """Two utterances in one stream have their own bounds, counted from the stream's start."""
    first = np.concatenate((murmur(0, TEXTS[0]), silence(0.5)))
    endpointer = Endpointer()
    _feed(endpointer, first)
    ended = endpointer.ended_at
    endpointer.reset()
    _feed(endpointer, murmur(1, TEXTS[1]))
    assert ended is not None
    assert endpointer.started_at is not None
    assert endpointer.started_at > len(first) > ended
