"""Damaging TOML files, as hands and editors do."""

import random
from collections.abc import Callable

from tests.pipeline.mutations import mutate

__all__ = ["damaged_toml"]

_LITERALS = (
    "nan", "inf", "-inf", "-1", "0", "1e308", "1e-320", "0x7fffffffffffffff", "9" * 400, "true",
    "false", '""', '"x"', '"\\u0000"', '"\\u202e"', '" "', "'../../../..'", "'/'", '"~"', "[]",
    "[[]]", "[1]", '["a"]', "[nan]", "[true, 1]", "{}", "{ a = 1 }", "{ p50_ms = nan }",
    "{ values_ms = [] }", "{ values_ms = [inf] }", "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00",
    "'''\nlines\n'''", "0.1", "1_000", "-0.0", "9223372036854775808", "[" * 40 + "]" * 40,
    "[" * 3000 + "]" * 3000,
    '"日本語"', '"openadapter"', '"exact"', '"livekit"', '"gateway"', '"stage"',
)  # fmt: skip


def _lines(text: str, rng: random.Random) -> tuple[list[str], int]:
    lines = text.split("\n")
    kept = [number for number, line in enumerate(lines) if line.strip()] or [0]
    return lines, rng.choice(kept)


def _value(text: str, rng: random.Random) -> str:
    lines, number = _lines(text, rng)
    key, equals, _ = lines[number].partition("=")
    if equals:
        lines[number] = f"{key}= {rng.choice(_LITERALS)}"
    return "\n".join(lines)


def _key(text: str, rng: random.Random) -> str:
    lines, number = _lines(text, rng)
    key, equals, rest = lines[number].partition("=")
    if equals:
        changed = rng.choice((key.strip() + "s", key.strip()[:-1], '""', '"a.b"', "a.b", "x"))
        lines[number] = f"{changed} {equals}{rest}"
    return "\n".join(lines)


def _header(text: str, rng: random.Random) -> str:
    lines, number = _lines(text, rng)
    line = lines[number]
    if line.startswith("[["):
        lines[number] = line[1:-1]
    elif line.startswith("["):
        lines[number] = rng.choice((f"[{line}]", line.replace("]", ".x]"), line.upper()))
    return "\n".join(lines)


def _drop(text: str, rng: random.Random) -> str:
    lines, number = _lines(text, rng)
    del lines[number]
    return "\n".join(lines)


def _double(text: str, rng: random.Random) -> str:
    lines, number = _lines(text, rng)
    lines.insert(rng.randrange(len(lines) + 1), lines[number])
    return "\n".join(lines)


def _bytes(text: str, rng: random.Random) -> str:
    return mutate(text.encode("utf-8", "surrogateescape"), rng).decode("utf-8", "surrogateescape")


_WAYS: tuple[Callable[[str, random.Random], str], ...] = (
    _value, _value, _value, _value, _key, _header, _drop, _double, _bytes,
)  # fmt: skip


def damaged_toml(text: str, rng: random.Random) -> bytes:
    """Return a TOML file damaged in one to three ways."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = rng.choice(_WAYS)(text, rng)
    return text.encode("utf-8", "surrogateescape")
