"""A response's bytes as its client reads them, within bounds.

Compression is not asked for: it delays the first bytes and costs both sides work. What comes
compressed all the same is decoded here, so that what is kept is what the agent had.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from harness.domain.request import FailureKind
from harness.errors import ProviderError

__all__ = ["LARGEST_BODY", "LONGEST_LINE", "Decoder", "decoder_for"]

LARGEST_BODY: Final = 64 * 1024 * 1024
"""More than any answer of a turn has: 23 minutes of speech at 24 kHz."""
LONGEST_LINE: Final = 16 * 1024 * 1024
"""More than any line of a stream has; clients gather lines whole."""
_PIECE: Final = 256 * 1024


class Decoder:
    """Decodes gzip, zlib or bare deflate, piece by piece."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16 if self._gzip else zlib.MAX_WBITS)
        self._begun = False

    @property
    def whole(self) -> bool:
        """Whether the encoded data has come to its end."""
        return self._inner.eof or not self._begun

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes hold, in pieces of bounded size.

        Raises:
            ProviderError: the data is not as its encoding has it.
        """
        while data:
            if self._inner.eof:
                if not self._gzip or not data.strip(b"\0"):
                    return
                # Another member may follow the first.
                self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                piece = self._decoded(data)
            except zlib.error as error:
                raise ProviderError(
                    f"the compressed answer could not be read: {error}", kind=FailureKind.MALFORMED
                ) from None
            self._begun = True
            if piece:
                yield piece
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if not piece and not data:
                return

    def _decoded(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data, _PIECE)
        except zlib.error:
            if self._begun or self._gzip:
                raise
        # "deflate" is zlib's format by the standard, and bare by some servers.
        self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._inner.decompress(data, _PIECE)


def decoder_for(encoding: str) -> Decoder | None:
    """Return what decodes a content encoding; None where it needs none, or none is known."""
    name = encoding.strip().lower()
    return Decoder(name) if name in {"gzip", "x-gzip", "deflate"} else None
