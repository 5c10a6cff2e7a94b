"""Utterances and datasets are legal, or they do not exist."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.utterance import Dataset, Utterance, is_language, is_utterance_id

LEGAL: dict[str, Any] = {"id": "u1", "audio": "u1.wav", "text": "hello"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "cannot name"),
        ({"id": "a/b"}, "cannot name"),
        ({"id": ".."}, "cannot name"),
        ({"id": " a"}, "cannot name"),
        ({"id": "a\nb"}, "cannot name"),
        ({"id": "a" * 161}, "cannot name"),
        ({"audio": " "}, "audio"),
        ({"text": " "}, "text"),
        ({"language": "english, I think"}, "language"),
        ({"channel": -1}, "channel"),
        ({"duration_s": 0.0}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"tolerance_ms": -1.0}, "tolerance_ms"),
        ({"tolerance_ms": float("inf")}, "tolerance_ms"),
        ({"timing": "guessed"}, "timing"),
        ({"expect": "music"}, "expect"),
        ({"sha256": "abc"}, "sha256"),
        ({"slots": {}}, "slots"),
        ({"speech_start_s": -0.1}, "speech_start_s"),
        ({"speech_end_s": float("nan")}, "speech_end_s"),
        ({"speech_start_s": 2.0, "speech_end_s": 1.0}, "after"),
        ({"speech_start_s": 1.0, "speech_end_s": 1.0}, "after"),
        ({"duration_s": 1.0, "speech_end_s": 1.5}, "outside"),
        ({"expect": "none"}, "no text"),
        ({"expect": "none", "text": None, "slots": {"size": "large"}}, "no text"),
        ({"expect": "none", "text": None, "speech_end_s": 1.0}, "bounds"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    """An utterance that contradicts itself cannot be made, and the error names the field."""
    with pytest.raises(ValueError, match=message):
        Utterance(**{**LEGAL, **changes})


def test_absent_bounds_are_none() -> None:
    """A bound that nobody gave is None, which is not the instant 0."""
    utterance = Utterance(**LEGAL)
    assert utterance.speech_start_s is None
    assert utterance.speech_start_ns is None
    assert Utterance(**LEGAL, speech_start_s=0.0).speech_start_ns == 0


@given(st.floats(0, 3600), st.floats(0.001, 100))
def test_bounds_in_nanoseconds_are_the_bounds_in_seconds(start: float, length: float) -> None:
    """The integer bounds differ from the written ones by at most half a nanosecond's rounding."""
    utterance = Utterance(**LEGAL, speech_start_s=start, speech_end_s=start + length)
    assert utterance.speech_start_ns is not None
    assert utterance.speech_end_ns is not None
    assert utterance.speech_start_ns < utterance.speech_end_ns
    assert abs(utterance.speech_end_ns / 1e9 - (start + length)) < 1e-6


def test_reference_prefers_the_normalised_text() -> None:
    """Word errors count against text_norm where it is given, and the raw text is kept."""
    plain = Utterance(**LEGAL)
    assert plain.reference == "hello"
    both = Utterance(**LEGAL, tags={"text_norm": "hallo"})
    assert (both.reference, both.text) == ("hallo", "hello")
    assert Utterance(id="u", audio="u.wav").reference is None


def test_values_do_not_change_with_their_sources() -> None:
    """An utterance keeps its own copy of tags and slots, can be hashed and pickled."""
    tags, slots = {"kind": "command"}, {"size": "large"}
    utterance = Utterance(**LEGAL, tags=tags, slots=slots)
    tags["kind"] = slots["size"] = "other"
    assert utterance.tags == {"kind": "command"}
    assert utterance.slots == {"size": "large"}
    assert hash(utterance) == hash(pickle.loads(pickle.dumps(utterance)))
    assert pickle.loads(pickle.dumps(utterance)) == utterance


@pytest.mark.parametrize(
    ("tag", "legal"),
    [
        ("en", True),
        ("en-US", True),
        ("zh-Hans-CN", True),
        ("de-1996", True),
        ("x-klingon", True),
        ("en+es", True),
        ("en_US", False),
        ("English", False),
        ("e", False),
        ("", False),
        ("en-", False),
        ("en+", False),
        ("en-toolongsubtag", False),
    ],
)
def test_language_tags_have_the_form_of_bcp_47(tag: str, *, legal: bool) -> None:
    """A language is a BCP 47 tag in form, or several joined by a plus."""
    assert is_language(tag) is legal


@given(st.text(max_size=200))
def test_an_id_is_one_path_component(text: str) -> None:
    """Whatever is taken for an id holds no separator, no control character and no blank end."""
    if is_utterance_id(text):
        assert "/" not in text
        assert "\\" not in text
        assert text.strip() == text != ""
        assert text not in {".", ".."}
        assert not any(ord(character) < 32 for character in text)


def dataset(*utterances: Utterance, **changes: Any) -> Dataset:
    """Return a dataset of those utterances."""
    values: dict[str, Any] = {"name": "d", "version": "1", "path": "m", "sha256": "0" * 64}
    return Dataset(**{**values, **changes}, utterances=utterances)


def test_a_dataset_needs_distinct_utterances() -> None:
    """A dataset without utterances, or with two of one id, cannot be made."""
    with pytest.raises(ValueError, match="utterance"):
        dataset()
    with pytest.raises(ValueError, match="repeated utterance ids: u1"):
        dataset(Utterance(**LEGAL), Utterance(**LEGAL))
    with pytest.raises(ValueError, match="sha256"):
        dataset(Utterance(**LEGAL), sha256="")


def test_an_unknown_duration_makes_the_total_unknown() -> None:
    """The total length is the sum, or None where one recording's is unknown."""
    known = Utterance(**LEGAL, duration_s=1.5)
    other = Utterance(id="u2", audio="a", duration_s=2.0)
    assert dataset(known, other).duration_s == 3.5
    assert dataset(known, Utterance(id="u2", audio="a")).duration_s is None
    assert dataset(known, other).utterance("u2") is other
    with pytest.raises(KeyError):
        dataset(known).utterance("u2")
