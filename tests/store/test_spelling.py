"""A misspelt name is met with the one that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.spelling import distance, nearest

WORDS = st.text("abcde", max_size=8)


@given(WORDS, WORDS)
def test_distance_is_symmetric_and_zero_for_equals(left: str, right: str) -> None:
    """The distance does not depend on the order, and only equal names have none."""
    assert distance(left, right) == distance(right, left)
    assert (distance(left, right) == 0) == (left == right)
    assert abs(len(left) - len(right)) <= distance(left, right) <= max(len(left), len(right))


@given(WORDS, st.integers(0, 7), st.sampled_from("abcde"))
def test_one_slip_is_one(word: str, place: int, letter: str) -> None:
    """A letter more, a letter less or two letters swapped is a distance of at most one."""
    place = min(place, len(word))
    assert distance(word, word[:place] + letter + word[place:]) == 1
    assert distance(word, word[:place] + word[place + 1 :]) <= 1
    swapped = word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
    assert distance(word, swapped) <= 1


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("speech_end", "speech_end_s"),
        ("spech_end_s", "speech_end_s"),
        ("txet", "text"),
        ("silero_end_s", None),
        ("te", None),
        ("", None),
        ("category", None),
    ],
)
def test_only_near_names_are_guessed(name: str, guess: str | None) -> None:
    """Two slips are forgiven in a long name, one in a short one, none in a scrap."""
    assert nearest(name, ("speech_end_s", "text", "audio")) == guess
    assert nearest(name, ()) is None
