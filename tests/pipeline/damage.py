"""Damaging conversations: what a server says over a socket, or in the pieces of a body.

A conversation is a sequence of things that a server does. :func:`damaged` returns one in which one
to three of them are not as they should be; the rest is as a correct server has it.
"""

import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.pipeline.mutations import mutate

__all__ = ["ODD_VALUES", "Act", "Close", "Garbage", "Reset", "Said", "Silence", "bent", "damaged"]


@dataclass(frozen=True, slots=True)
class Said:
    """A message: its bytes, and whether it goes out as text."""

    data: bytes
    text: bool = True

    def __repr__(self) -> str:
        """Leave out the middle of a long message."""
        data = self.data
        shown = data if len(data) < 400 else data[:120] + b"[...]" + data[-120:]
        return f"{'Text' if self.text else 'Binary'}({len(data)}, {shown!r})"


@dataclass(frozen=True, slots=True)
class Close:
    """The server closes the socket with a code, or a body without its end."""

    code: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection breaks."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no frame of the protocol below."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Silence:
    """The server says nothing more, and leaves the connection open."""


Act = Said | Close | Reset | Garbage | Silence


_DEEP = "a value that is nested too deep"
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, "", 0, -1, 7, 1e308, 1e-320, float("nan"), float("inf"),
    -float("inf"), 2**63, -(2**70), 10**400, "0", "true", "null",
    "\ud800", "\x00", "\u202e", "日本語です", "Grüße, schöne Welt", "مرحبا",
    "x" * 3000, ["a"], [None], [[]], [{}], {"a": 1}, {"text": 5}, [5], ["\ud83d"], " ", "\n",
    {"message": None}, [[[[[[[[[["deep"]]]]]]]]]], _DEEP, "AAA", "AAAA", "====",
    "A" * 4097, "final", "error", "done", "stop",
)  # fmt: skip
"""Values where others are due."""
_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4429, 4999)
_LONG = Said(b'{"type": "' + b"y" * (5 << 20) + b'"}')
_STRANGERS = (
    Said(b"{}"), Said(b"[]"), Said(b"null"), Said(b'"text"'), Said(b"5"), Said(b""),
    Said(b"", text=False), Said(b"\x00" * 5, text=False), Said(b"hello"),
    Said(b"[" * 100_000), Said(b'{"a":' * 5000),
    Said(b'{"type": "error"}'), Said(b'{"type": "error", "message": null, "code": null}'),
    Said(b'{"type": "error", "message": {"\\ud800": NaN}}'), Said(b'{"type": "done"}'),
    Said(b'{"error": true}'), Said(b'{"type": "session.done"}'),
    Said(b'{"type": "session.closed"}'),
    Said(b'{"type": ["done"]}'), Said(b'{"type": {}}'), Said(b'{"type": null}'), Said(b"9" * 5000),
    Said(b'{"type": "transcription", "segments": 5}'), Said(b'{"status": "finalized"}'),
)  # fmt: skip


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    """Collect (container, key) of everything in a JSON value."""
    if isinstance(value, dict):
        for key in value:
            found.append((value, key))
            _places(value[key], found)
    elif isinstance(value, list):
        for index in range(len(value)):
            found.append((value, index))
            _places(value[index], found)


def _bend(value: Any, rng: random.Random) -> None:
    places: list[tuple[Any, Any]] = []
    _places(value, places)
    if not places:
        return
    holder, key = rng.choice(places)
    way = rng.randrange(8)
    if way == 0 and isinstance(holder, dict):
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[rng.choice((key + "s", key.upper(), "", "\ud800"))] = holder.pop(key)
    elif way == 2:
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif way == 3:
        holder[key] = [holder[key]]
    elif way == 4 and isinstance(holder[key], str):
        holder[key] = holder[key][: rng.randrange(len(holder[key]) + 1)]
    elif way == 5 and isinstance(holder[key], str):
        holder[key] += rng.choice(("x", "=", "\ud800", " ", "0"))
    else:
        holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def bent(data: bytes, rng: random.Random) -> bytes:
    """Return a JSON object, or a server-sent event's, with one value out of place.

    Other bytes are mutated.
    """
    if data.startswith((b"event:", b"data:")) and b"data: {" in data:
        head, mark, rest = data.partition(b"data: ")
        body, end, tail = rest.partition(b"\n")
        return head + mark + bent(body, rng) + end + tail
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate(data, rng)
    if not isinstance(value, dict | list):
        return mutate(data, rng)
    _bend(value, rng)
    ascii_alone = rng.random() < 0.8
    text = json.dumps(value, ensure_ascii=ascii_alone)
    # Parsers written by recursion end at some depth; Python's own cannot build such a value.
    text = text.replace(f'"{_DEEP}"', "[" * 1500 + "]" * 1500)
    return text.encode("utf-8", "surrogatepass")


def _at(acts: list[Act], rng: random.Random) -> int:
    return rng.randrange(len(acts))


def _change(acts: list[Act], rng: random.Random) -> None:
    index = _at(acts, rng)
    act = acts[index]
    if isinstance(act, Said):
        how = mutate if rng.random() < 0.35 else bent
        acts[index] = replace(act, data=how(act.data, rng))


def _retype(acts: list[Act], rng: random.Random) -> None:
    index = _at(acts, rng)
    act = acts[index]
    if isinstance(act, Said):
        acts[index] = replace(act, text=not act.text)


def _drop(acts: list[Act], rng: random.Random) -> None:
    if len(acts) > 1:
        del acts[_at(acts, rng)]


def _double(acts: list[Act], rng: random.Random) -> None:
    index = _at(acts, rng)
    acts.insert(rng.randrange(index, len(acts) + 1), acts[index])


def _move(acts: list[Act], rng: random.Random) -> None:
    act = acts.pop(_at(acts, rng))
    acts.insert(rng.randrange(len(acts) + 1), act)


def _end(acts: list[Act], rng: random.Random) -> None:
    index = rng.randrange(len(acts) + 1)
    ends: tuple[Act, ...] = (
        Close(rng.choice(_CODES)), Close(rng.choice(_CODES)), Reset(), Silence(),
        Garbage(rng.randbytes(rng.randint(1, 40))), Garbage(b"HTTP/1.1 500 no\r\n\r\n"),
    )  # fmt: skip
    acts[index:] = [rng.choice(ends)]


def _stranger(acts: list[Act], rng: random.Random) -> None:
    act = _LONG if rng.random() < 0.02 else rng.choice(_STRANGERS)
    acts.insert(rng.randrange(len(acts) + 1), act)


_WAYS: tuple[Callable[[list[Act], random.Random], None], ...] = (
    _change, _change, _change, _change, _change, _retype, _drop, _double, _move, _end, _stranger,
)  # fmt: skip


def damaged(acts: Sequence[Act], rng: random.Random) -> tuple[list[Act], int]:
    """Return a conversation damaged in one to three ways, and how many these are."""
    found = list(acts)
    count = rng.choice((1, 1, 2, 3))
    for _ in range(count):
        if found:
            rng.choice(_WAYS)(found, rng)
    return found, count
