"""The header of a WAV in a stream, whose lengths may not be known yet."""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from harness.pipeline.recording.recording import Chunk

__all__ = ["WavHeader", "wav_header", "wav_header_of"]

_LONGEST: Final = 4096
"""Where no samples have begun by then, there is no header that can be read."""
_CHUNK: Final = struct.Struct("<4sI")
_FORMAT: Final = struct.Struct("<HHIIHH")


class WavHeader(NamedTuple):
    """What a header says.

    Attributes:
        size: how many bytes precede the samples.
        rate: samples a second.
        frame: bytes of one sample in all channels.
    """

    size: int
    rate: int
    frame: int


def wav_header(data: bytes) -> WavHeader | None:
    """Return the header with which these bytes begin; None where they do not."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    position, rate, frame = 12, 0, 0
    while position + _CHUNK.size <= min(len(data), _LONGEST):
        name, length = _CHUNK.unpack_from(data, position)
        position += _CHUNK.size
        if name == b"data":
            return WavHeader(size=position, rate=rate, frame=frame)
        if name == b"fmt " and position + _FORMAT.size <= len(data):
            _, _, rate, _, frame, _ = _FORMAT.unpack_from(data, position)
        position += length + length % 2
    return None


def wav_header_of(chunks: Sequence[Chunk]) -> WavHeader | None:
    """Return the header with which a body begins, however it came in pieces."""
    head = b""
    for chunk in chunks:
        head += chunk.data[: _LONGEST - len(head)]
        if len(head) >= _LONGEST:
            break
    return wav_header(head)
