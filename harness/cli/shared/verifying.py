"""Whether two runs of one plan have measured the same, value by value."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from harness.domain.trial import FailedTrial, Trial
from harness.store.runs.encode import encode_trial

__all__ = ["Verified", "verify"]

_MEASURED = frozenset({"agent_cpu", "memory", "sum"})
"""What is measured in real time, and the checksum over it."""


class Verified:
    """What a comparison of two runs has found.

    Attributes:
        trials: how many were in both.
        values: how many values were compared.
        differences: where they differ, in words.
    """

    def __init__(self) -> None:
        self.trials = 0
        self.values = 0
        self.differences: list[str] = []

    @property
    def text(self) -> str:
        """The finding in a sentence."""
        if not self.differences:
            values = f"all {self.values:,} values of {self.trials} trials"
            return f"verified: played twice, {values} are equal"
        first = "; ".join(self.differences[:3])
        return f"not verified: {len(self.differences):,} of {self.values:,} values differ: {first}"


def verify(first: Sequence[Trial | FailedTrial], second: Sequence[Trial | FailedTrial]) -> Verified:
    """Compare the trials of two runs of one plan, whatever their order.

    Args:
        first: of one run.
        second: of the other.
    """
    found = Verified()
    ours = {trial.key.id: json.loads(encode_trial(trial)) for trial in first}
    theirs = {trial.key.id: json.loads(encode_trial(trial)) for trial in second}
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.values += 1
            found.differences.append(f"{name} is in one of them alone")
            continue
        found.trials += 1
        here, there = dict(_values(ours[name])), dict(_values(theirs[name]))
        found.values += len(here.keys() | there.keys())
        found.differences += [
            f"{name} {path}: {here.get(path)!r} and {there.get(path)!r}"
            for path in sorted(here.keys() | there.keys())
            if here.get(path) != there.get(path) or (path in here) != (path in there)
        ]
    return found


def _values(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a document with its path, but for what is measured in real time."""
    if isinstance(document, dict):
        for key, each in document.items():
            if key not in _MEASURED:
                yield from _values(each, f"{path}.{key}" if path else key)
    elif isinstance(document, list):
        yield f"{path} (length)", len(document)
        for index, each in enumerate(document):
            yield from _values(each, f"{path}[{index}]")
    else:
        yield path, document
