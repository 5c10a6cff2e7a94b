"""A body as lines, and as server-sent events: each with the stamp of the bytes that completed it.

Lines end as the WHATWG's event streams have it (CR, LF, or both), a mark of byte order is dropped,
and the data of several lines is one event. Each byte is looked at once, however long a line is.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from harness.pipeline.recording.recording import Exchange, Stamp

__all__ = ["BOM", "Event", "error_words", "events_of", "json_event", "lines_of"]

BOM: Final = b"\xef\xbb\xbf"
_LARGEST_EVENT: Final = 1 << 20
"""More than any delta of a reply or of its audio is; clients refuse such messages."""
_END: Final = re.compile(rb"\r\n|\n|\r")
_KNOWN: Final = (b":", b"event:", b"id:", b"retry:")


class Event(NamedTuple):
    """One event of a stream.

    Attributes:
        at: when the last line of its data had come.
        name: what it is called; "message" where nothing says.
        data: its data; None for a line that belongs to no event stream.
    """

    at: Stamp
    name: str
    data: bytes | None


def lines_of(exchange: Exchange) -> Iterator[tuple[Stamp, bytes]]:
    """Split a body into lines, without their ends; the last one may have had none."""
    pending: list[bytes] = []
    first, after_cr = True, False
    at: Stamp | None = None
    for chunk in exchange.chunks:
        at, data = chunk
        if after_cr and data[:1] == b"\n":
            data = data[1:]
            after_cr = False
        if not data:
            continue
        after_cr = data.endswith(b"\r")
        *complete, rest = _END.split(data)
        for piece in complete:
            pending.append(piece)
            line = b"".join(pending)
            pending.clear()
            yield at, line.removeprefix(BOM) if first else line
            first = False
        if rest:
            pending.append(rest)
    line = b"".join(pending)
    if at is not None and line.strip():
        yield at, line.removeprefix(BOM) if first else line


def events_of(exchange: Exchange) -> Iterator[Event]:
    """Read a body as an event stream; what follows ``[DONE]`` is read by no client."""
    name = "message"
    data: list[bytes] = []
    at: Stamp | None = None
    for here, line in lines_of(exchange):
        if line.startswith(b"data:"):
            at = here
            data.append(line[5:].strip())
            if data == [b"[DONE]"]:
                # Nobody waits for the empty line that would end this one.
                yield Event(here, name, data[0])
                return
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode(errors="replace")
        elif not line.strip():
            if at is not None and any(data):
                yield Event(at, name, b"\n".join(data))
            name, at = "message", None
            data.clear()
        elif not line.startswith(_KNOWN):
            yield Event(here, name, None)
    if at is not None and any(data):
        yield Event(at, name, b"\n".join(data))


def json_event(data: bytes | None) -> dict[str, Any] | None:
    """Return an event's JSON object, or None where there is none that a client should take."""
    if data is None or len(data) > _LARGEST_EVENT:
        return None
    try:
        # Decoded first: given bytes, json takes half a character for a whole one.
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def error_words(error: Any) -> str:
    """Return what an error says, on one short line."""
    try:
        return json.dumps(error)[:500]
    except (ValueError, RecursionError):
        return "an error that cannot be printed"
