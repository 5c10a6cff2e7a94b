"""A checksum within a JSON object."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.seal import is_sealed, seal, unbroken

documents = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=9) | st.lists(st.integers()), min_size=1
).filter(lambda each: "crc" not in each)


@given(documents, st.sampled_from([None, 1]))
def test_a_seal_changes_nothing_else(document: dict[str, Any], indent: int | None) -> None:
    """A sealed object holds what it held, and the checksum; the seal fits."""
    sealed = seal(json.dumps(document, indent=indent, ensure_ascii=False))
    found = json.loads(sealed)
    assert found.pop("crc")
    assert found == document
    assert is_sealed(sealed.encode())
    assert unbroken(sealed.encode())


@given(documents, st.data())
def test_no_flip_before_the_seal_passes(document: dict[str, Any], data: st.DataObject) -> None:
    """Whatever single byte differs before the checksum, the seal no longer fits."""
    sealed = bytearray(seal(json.dumps(document)).encode())
    at = data.draw(st.integers(0, sealed.rindex(b',"crc"') - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    assert not unbroken(bytes(sealed))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "5"])
def test_what_cannot_be_sealed(text: str) -> None:
    """Only an object with members has a place for a seal."""
    with pytest.raises(ValueError, match="object"):
        seal(text)
