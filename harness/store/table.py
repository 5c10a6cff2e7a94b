"""Typed reading of a document's tables (TOML or JSON) that collects every mistake.

A reader never raises: what is wrong becomes a line with the key's path and the mend, and a
default stands in, so that one reading finds all mistakes. Keys that nobody asked for are found by
:meth:`Table.finish`.
"""

import difflib
import math
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

__all__ = ["Table", "nearest"]

_E = TypeVar("_E", bound=StrEnum)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return advice for a word that is not among the known ones."""
    names = sorted(set(known))
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    if not names:
        return "none is known"
    return f"known: {', '.join(names)}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in (
        (str, "text"),
        (int, "an integer"),
        (float, "a number"),
        (list, "a list"),
        (Mapping, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


class Table:
    """One table of a document.

    Args:
        values: the table; anything else is a mistake.
        path: the key's path from the document's top, "" for the document.
        problems: gathers a line for each mistake.
    """

    def __init__(self, values: Any, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._asked: set[str] = set()
        if isinstance(values, Mapping):
            self._values: Mapping[str, Any] = values
        else:
            self._values = {}
            problems.append(f"{path}: {_kind(values)}, but a table is needed")

    def where(self, key: str) -> str:
        """Return the path of one of the table's keys."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, what: str) -> None:
        """Note a mistake at a key."""
        self.problems.append(f"{self.where(key)}: {what}")

    def has(self, key: str) -> bool:
        """Tell whether the table has the key."""
        return key in self._values

    def take(self, key: str) -> Any:
        """Return a key's raw value, or None."""
        self._asked.add(key)
        return self._values.get(key)

    def rest(self) -> tuple[str, ...]:
        """Return the keys that nobody has asked for yet."""
        return tuple(key for key in self._values if key not in self._asked)

    def maybe_text(self, key: str) -> str | None:
        """Return text that is not blank, or None where the key is absent."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.problem(key, f"{_kind(value)}, but text is needed")
            return None
        if not value.strip():
            self.problem(key, "is blank; leave it out or fill it in")
            return None
        if "\0" in value:
            self.problem(key, "holds a null character; take it out")
            return None
        return value

    def text(self, key: str, default: str) -> str:
        """Return text that is not blank, or the default."""
        value = self.maybe_text(key)
        return default if value is None else value

    def needed_text(self, key: str) -> str:
        """Return text that has to be there; "" stands in after a mistake."""
        if not self.has(key):
            self._asked.add(key)
            self.problem(key, "is missing")
            return ""
        return self.text(key, "")

    def word(self, key: str, default: str, known: Iterable[str]) -> str:
        """Return one of several words."""
        value = self.maybe_text(key)
        if value is None:
            return default
        words = tuple(known)
        if value not in words:
            self.problem(key, f"{value!r} is unknown; {nearest(value, words)}")
            return default
        return value

    def enum(self, key: str, default: _E) -> _E:
        """Return one of an enumeration's values."""
        kind = type(default)
        return kind(self.word(key, default.value, [each.value for each in kind]))

    def maybe_number(
        self, key: str, *, above: float | None = None, low: float | None = None
    ) -> float | None:
        """Return a finite number greater than ``above`` or at least ``low``, or None."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(key, f"{_kind(value)}, but a number is needed")
            return None
        if abs(value) > sys.float_info.max or not math.isfinite(value):
            self.problem(key, f"{str(value)[:40]} is not finite")
            return None
        if above is not None and value <= above:
            self.problem(key, f"{value} has to be greater than {above:g}")
            return None
        if low is not None and value < low:
            self.problem(key, f"{value} has to be at least {low:g}")
            return None
        return float(value)

    def number(
        self, key: str, default: float, *, above: float | None = None, low: float | None = None
    ) -> float:
        """Return a finite number, or the default."""
        value = self.maybe_number(key, above=above, low=low)
        return default if value is None else value

    def maybe_integer(self, key: str, *, low: int, high: int | None = None) -> int | None:
        """Return an integer between two bounds, or None where the key is absent."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(key, f"{_kind(value)}, but an integer is needed")
            return None
        if value < low or (high is not None and value > high):
            bounds = f"{low}…{high}" if high is not None else f"{low} or more"
            self.problem(key, f"{value} has to be {bounds}")
            return None
        return value

    def integer(self, key: str, default: int, *, low: int, high: int | None = None) -> int:
        """Return an integer between two bounds, or the default."""
        value = self.maybe_integer(key, low=low, high=high)
        return default if value is None else value

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false, or the default."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, f"{_kind(value)}, but true or false is needed")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts that are not blank; () where the key is absent."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(key, f"{_kind(value)}, but a list of texts is needed")
            return ()
        found = []
        for number, each in enumerate(value, start=1):
            if isinstance(each, str) and each.strip():
                found.append(each)
            else:
                self.problem(f"{key}[{number}]", "has to be text that is not blank")
        return tuple(found)

    def table(self, key: str) -> "Table":
        """Return a table within this one; an empty one where the key is absent."""
        value = self.take(key)
        return Table({} if value is None else value, self.where(key), self.problems)

    def tables(self, key: str) -> tuple["Table", ...]:
        """Return a list of tables, counted from 1 in their paths; () where the key is absent."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(key, f"{_kind(value)}, but a list of tables is needed: [[{key}]]")
            return ()
        return tuple(
            Table(each, f"{self.where(key)}[{number}]", self.problems)
            for number, each in enumerate(value, start=1)
        )

    def finish(self, also: Iterable[str] = ()) -> None:
        """Note every key that nobody has asked for, with the nearest one that would be known."""
        known = self._asked | set(also)
        for key in self.rest():
            self.problem(key, f"unknown key; {nearest(key, known)}")
