"""What livekit's filters for the reply's text hold back, found by letting them run again.

The filters for markdown and emoji stand between the LLM and the TTS; that for markdown keeps the
last word until it knows what follows it. Which piece of the reply let a text go is therefore told
by the filters themselves, given the same pieces once more after the trial.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from livekit.agents.voice.transcription.text_transforms import _apply_text_transforms

__all__ = ["known_transforms", "replay", "unheld"]

_KNOWN = frozenset({"filter_markdown", "filter_emoji"})
# Filters of livekit's own: they wait for nothing but text, and do nothing else.


def known_transforms(given: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Return the filters' names; None where one of them is an agent's own."""
    names = tuple(each for each in given or () if isinstance(each, str))
    return names if len(names) == len(given or ()) and _KNOWN.issuperset(names) else None


def replay(pieces: Sequence[str], transforms: Sequence[str]) -> list[tuple[str, int]] | None:
    """Return the filters' output, each piece with the index of the input that let it go.

    What comes only with the end of the text has the number of pieces for an index.

    Args:
        pieces: what went in.
        transforms: names of known filters, in order.

    Returns:
        None where a filter waits for something else than text.
    """
    found: list[tuple[str, int]] = []
    given = 0

    async def source() -> AsyncIterator[str]:
        nonlocal given
        for given, piece in enumerate(pieces):  # noqa: B007  (read by what collects)
            yield piece
        given = len(pieces)

    async def collect() -> None:
        async for piece in _apply_text_transforms(source(), transforms):  # type: ignore[arg-type]
            found.append((piece, given))

    running = collect()
    try:
        running.send(None)
    except StopIteration:
        return found
    running.close()
    return None


def unheld(pieces: Sequence[str], transforms: Sequence[str], characters: int) -> int | None:
    """Return the index of the piece with which more than so many characters would be out.

    That is, were nothing held back for what may follow.

    Args:
        pieces: what goes in.
        transforms: names of filters, in order.
        characters: of the filters' output, white space left out.
    """
    low, high = 0, len(pieces) - 1
    if high < 0 or _out(pieces, transforms) <= characters:
        return None
    while low < high:
        middle = (low + high) // 2
        if _out(pieces[: middle + 1], transforms) > characters:
            high = middle
        else:
            low = middle + 1
    return low


def _out(pieces: Sequence[str], transforms: Sequence[str]) -> int:
    """Return how many characters come out of a text that ends there."""
    found = replay(pieces, transforms) or []
    return sum(len("".join(text.split())) for text, _ in found)
