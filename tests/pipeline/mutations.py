"""Damaging messages, as networks, proxies and servers in trouble do."""

import json
import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

__all__ = ["cut", "mutate", "strictly"]

_VALUES = (
    b"null", b"true", b"[]", b"{}", b'""', b"0", b"-1", b"1e999", b"NaN", b"9" * 5000,
    b'"\\ud800"', b'"\\u0000"', b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe",
    b'"' + b"x" * 3000 + b'"',
)  # fmt: skip
_INSERTED = (
    b"\n", b"\r", b"\n\n", b"\x00", b"\xc3", b"\xf0\x9f", b"data:", b"data: {}\n\n",
    b"event: error\n", b": ping\n\n", b"data: [DONE]\n\n", b'"', b"}", b"\\",
    b'data: {"error": {"message": "no"}}\n\n',
)  # fmt: skip
# A string's plain stretches whole: one by one they would cost a hundred bytes of stack each.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?|true|false|null')


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 40)]


def _double(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, 200)]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.choice(_INSERTED)


def _replace(data: bytearray, rng: random.Random) -> None:
    found = list(_TOKEN.finditer(data))
    if found:
        token = rng.choice(found)
        data[token.start() : token.end()] = rng.choice(_VALUES)


def _swap(data: bytearray, rng: random.Random) -> None:
    lines = bytes(data).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    data[:] = b"\n".join(lines)


_WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _truncate, _drop, _double, _insert, _replace, _replace, _swap,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return data damaged in one to three ways."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if damaged:
            rng.choice(_WAYS)(damaged, rng)
    return bytes(damaged)


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """Return data in pieces at random places, as a network delivers it."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 6)))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]


def strictly(data: bytes) -> list[dict[str, Any]] | None:
    """Return the events of a stream that no strict client could object to; None if one could."""
    events: list[dict[str, Any]] = []
    gathered: list[bytes] = []
    for line in (*re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf")), b""):
        if line.startswith(b"data:"):
            gathered.append(line[5:].strip())
            if gathered == [b"[DONE]"]:
                # No client reads what follows.
                events.append({"done": True})
                break
            continue
        if line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
            return None
        if line.strip() or not any(gathered):
            gathered = gathered if line.strip() else []
            continue
        try:
            event = json.loads(b"\n".join(gathered).decode())
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict):
            return None
        events.append(event)
        gathered = []
    return events
