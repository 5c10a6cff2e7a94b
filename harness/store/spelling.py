"""The nearest known name to a misspelt one."""

from collections.abc import Iterable

__all__ = ["distance", "nearest"]


def distance(left: str, right: str) -> int:
    """Return how many letters must be put in, left out, changed or swapped with the next.

    The optimal string alignment distance (Damerau 1964, each stretch edited once).
    """
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        before, previous, row = row, before, [i]
        for j, b in enumerate(right, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is likely meant to be, or None if none is near.

    Near means one slip in a name of up to six letters, two in a longer one.
    """
    ranked = sorted((distance(name, candidate), candidate) for candidate in known)
    if not ranked:
        return None
    slips, candidate = ranked[0]
    allowed = 1 if len(candidate) <= 6 else 2
    return candidate if len(name) >= 3 and slips <= allowed else None
