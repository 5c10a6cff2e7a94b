"""A checksum within a JSON object: what a flipped bit has changed is told from what was written.

The last member of a sealed object is ``"crc"``, eight digits: the CRC-32 of every byte before that
member, from the opening brace on. A text without one is of an older version, or somebody's own.
"""

import re
import zlib
from typing import Final

__all__ = ["is_sealed", "seal", "unbroken"]

_SEAL: Final = re.compile(rb',\s*"crc":\s*"([0-9a-f]{8})"\s*\}\s*\Z')
_LONGEST: Final = 64


def seal(text: str) -> str:
    """Return a JSON object's text with its checksum as its last member; line ends stay outside.

    Raises:
        ValueError: it is no object, or an empty one.
    """
    body = text.rstrip()
    if not body.endswith("}") or len(body) < 3:
        raise ValueError("only an object with members is sealed")
    # A lone surrogate is no UTF-8; within JSON it is written as an escape.
    inner = body[:-1].rstrip().encode("utf-8", "backslashreplace").decode("utf-8")
    crc = zlib.crc32(inner.encode("utf-8"))
    return f'{inner},"crc":"{crc:08x}"}}{text[len(body) :]}'


def is_sealed(data: bytes) -> bool:
    """Tell whether an object's bytes end in a checksum."""
    return _SEAL.search(data, max(0, len(data) - _LONGEST)) is not None


def unbroken(data: bytes) -> bool:
    """Tell whether an object's bytes are as they were sealed; True where they were not sealed."""
    found = _SEAL.search(data, max(0, len(data) - _LONGEST))
    return found is None or zlib.crc32(data[: found.start()]) == int(found[1], 16)
