"""Views that are kept with their run."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from harness.report.html import render_html
from harness.report.kept import UnreadableViewError, decode_view, encode_view, packed_view
from harness.report.view import VerdictKind
from tests.report.samples import HOSTILE, make_view

VIEW = make_view(80, verdict=VerdictKind.FAIL)
KEPT = packed_view(VIEW)


def changed(change: Any) -> bytes:
    """Return the kept view with its JSON changed by a function."""
    document = json.loads(gzip.decompress(encode_view(KEPT)))
    change(document)
    return gzip.compress(json.dumps(document).encode())


def test_a_view_comes_back_as_it_was() -> None:
    """What was kept is read as the same view, and the same bytes."""
    data = encode_view(KEPT)
    assert decode_view(data) == KEPT
    assert encode_view(decode_view(data)) == data


def test_the_page_of_a_kept_view_is_the_page() -> None:
    """A report made from what was kept is the report, byte by byte."""
    assert render_html(decode_view(encode_view(KEPT))) == render_html(VIEW)


def test_an_open_view_is_not_kept() -> None:
    """Details are packed before they are kept; a view that would lose them is refused."""
    with pytest.raises(ValueError, match="packed"):
        encode_view(VIEW)


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"{}"), gzip.compress(b"[1,2]")],
    ids=["empty", "no gzip", "an object", "a list of numbers"],
)
def test_damaged_bytes_are_told(data: bytes) -> None:
    """What is not a view is unreadable, whatever it is."""
    with pytest.raises(UnreadableViewError):
        decode_view(data)


def test_torn_bytes_are_told() -> None:
    """A file that ends early is unreadable."""
    data = encode_view(KEPT)
    for length in range(0, len(data), len(data) // 20):
        with pytest.raises(UnreadableViewError):
            decode_view(data[:length])


def test_altered_bytes_are_told() -> None:
    """A byte that is not as it was written makes the file unreadable, wherever it is."""
    data = encode_view(KEPT)
    for place in range(10, len(data), len(data) // 60):
        altered = bytearray(data)
        altered[place] ^= 0xFF
        with pytest.raises(UnreadableViewError):
            decode_view(bytes(altered))


def test_only_parts_of_a_view_are_made() -> None:
    """A name that is no part of a view makes nothing: no other class can be called."""

    def plant(document: Any) -> None:
        document[0]["answer"] = {"$": "Popen", "args": "true"}

    with pytest.raises(UnreadableViewError):
        decode_view(changed(plant))


def test_packed_details_carry_no_markup() -> None:
    """Details stand in the page as they are; what is not base64 does not get there."""

    def plant(document: Any) -> None:
        document[0]["packed"][0] = "</script><script>alert(1)</script>"

    with pytest.raises(UnreadableViewError, match="base64"):
        decode_view(changed(plant))


def test_planted_texts_stay_texts() -> None:
    """A kept view with a hostile text gives a page in which it is escaped."""
    kept = decode_view(encode_view(packed_view(replace(VIEW, answer=HOSTILE))))
    assert HOSTILE not in render_html(kept)
