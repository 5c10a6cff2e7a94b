"""How much a wire takes and gives: the one place that knows."""

from typing import Final

__all__ = ["MAX_MESSAGE", "OVERSIZED_BYTES"]

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""The largest message of a socket that is read."""
OVERSIZED_BYTES: Final = 4 * 1024 * 1024
"""What the fault of an oversized message holds: more than clients take by default."""
