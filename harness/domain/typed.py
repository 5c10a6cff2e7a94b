"""Whether a value that was read from a file is what its class says its fields are.

Dataclasses check their laws, and trust their callers for the kinds of their fields; what comes from
a file that somebody edited deserves no such trust. Asked where a file is small or where something
has gone wrong with it, because asking costs more than reading.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

__all__ = ["mistyped"]

_LARGEST = 1 << 62
"""No count and no instant in nanoseconds is larger; arrays of 64-bit integers hold no more."""


_FIELDS: dict[Any, tuple[tuple[str, Any], ...]] = {}


def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    if kind not in _FIELDS:
        hints = typing.get_type_hints(kind)
        _FIELDS[kind] = tuple((each.name, hints[each.name]) for each in dataclasses.fields(kind))
    return _FIELDS[kind]


def mistyped(value: Any, name: str = "") -> str | None:
    """Return what is wrong with the first field of a dataclass that is not of its kind, or None.

    Args:
        value: a dataclass of scalars, enumerations, tuples, mappings and other such dataclasses.
        name: of the value, for the message.
    """
    for field, kind in _fields(type(value)):
        told = _wrong(getattr(value, field), kind, f"{name}.{field}" if name else field)
        if told is not None:
            return told
    return None


def _wrong(value: Any, kind: Any, name: str) -> str | None:
    if kind is Any or kind is object:
        return None
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        found = [_wrong(value, each, name) for each in inner]
        return None if None in found else found[0]
    if origin is None:
        return _scalar(value, kind, name)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return f"{name} is no mapping"
        for key, each in value.items():
            told = _wrong(key, inner[0], f"{name}: a key") or _wrong(
                each, inner[1], f"{name}.{key}"
            )
            if told is not None:
                return told
        return None
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        if not isinstance(value, origin):
            return f"{name} is no list"
        kinds = inner if origin is tuple and inner[-1] is not ... else (inner[0],) * len(value)
        for number, (each, wanted) in enumerate(zip(value, kinds, strict=False)):
            told = _wrong(each, wanted, f"{name}[{number}]")
            if told is not None:
                return told
        return None
    return None


def _scalar(value: Any, kind: Any, name: str) -> str | None:
    if dataclasses.is_dataclass(kind):
        return (
            mistyped(value, name)
            if isinstance(value, typing.cast("type", kind))
            else (f"{name} is no {typing.cast('type', kind).__name__}")
        )
    if kind is None or kind is type(None):
        return None if value is None else f"{name} is not null"
    if kind is float:
        good = type(value) in (int, float) and math.isfinite(value)
        return None if good else f"{name} is no finite number"
    if kind is int:
        good = type(value) is int and abs(value) < _LARGEST
        return None if good else f"{name} is no integer of 62 bits"
    if kind is bool:
        return None if type(value) is bool else f"{name} is neither true nor false"
    if kind is str:
        return None if isinstance(value, str) else f"{name} is no text"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return None if isinstance(value, kind) else f"{name} is no {kind.__name__}"
    return None
