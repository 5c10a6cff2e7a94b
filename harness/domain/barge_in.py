"""Barge-ins: what is said over the agent's reply, when, and what the agent should make of it.

A barge-in is an axis of a suite, like an acoustic condition: every utterance is played once with
each of them. Its recordings come from a dataset; which one is heard over which reply, and how long
after the reply became audible, follows from the run's seed alone and is the same for every
candidate and repeat, so that candidates are compared over the same speech.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from harness.domain.utterance import is_sha256, is_utterance_id
from harness.errors import ConfigurationError

__all__ = [
    "DEFAULT_AFTER_S",
    "NO_BARGE_IN",
    "BargeIn",
    "Expects",
    "assign_recordings",
    "describe_barge_in",
]

NO_BARGE_IN: Final = "none"
"""What is shown for trials over whose reply nothing is said."""
DEFAULT_AFTER_S: Final = (1.5, 1.5)
LONGEST_S: Final = 60.0


class Expects(StrEnum):
    """What an agent should make of speech over its reply."""

    INTERRUPTS = "interrupts"
    """the speaker wants the floor: the reply has to stop"""
    BACKCHANNEL = "backchannel"
    """the speaker is listening: the reply has to go on"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeIn:
    """Speech over the reply, under one name.

    Attributes:
        name: shown in tables.
        path: the dataset of the recordings: a folder, a manifest, or a shipped one's name.
        ids: recordings by id; empty takes all that have the tags.
        tags: what the manifest has to say of a recording, by key.
        expect: what the agent should make of it.
        after_s: from the reply's first audible sample to the recording's first speech sample: the
            least and the most, in seconds; equal ends are a constant.
        dataset_sha256: of the dataset, as the run found it.
    """

    name: str
    path: str
    expect: Expects
    ids: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    after_s: tuple[float, float] = DEFAULT_AFTER_S
    dataset_sha256: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be played.

        Raises:
            ConfigurationError: with a line for each mistake, which starts with the field's name.
        """
        problems = []
        if not is_utterance_id(self.name) or len(self.name) > 80:
            problems.append(f"name: {self.name!r} has to be at most 80 characters without slashes")
        if not self.path.strip():
            problems.append("path: is missing; name the dataset of the recordings")
        low, high = self.after_s
        if not (math.isfinite(low) and math.isfinite(high) and 0 < low <= high <= LONGEST_S):
            problems.append(
                f"after_s: {low:g} to {high:g} has to ascend, and lie within 0…{LONGEST_S:g}"
            )
        if self.dataset_sha256 is not None and not is_sha256(self.dataset_sha256):
            problems.append("dataset_sha256: has to be 64 hexadecimal digits")
        if problems:
            raise ConfigurationError(problems)
        object.__setattr__(self, "tags", MappingProxyType(dict(self.tags)))


def assign_recordings(
    barge_in: BargeIn, recordings: Sequence[str], utterances: Sequence[str], seed: int
) -> dict[str, tuple[str, int]]:
    """Return for each utterance the recording over its reply, and its delay in nanoseconds.

    The recordings take turns in an order shuffled by the seed, so that each is heard equally often;
    delays are uniform. Equal arguments give equal results on every machine and Python version.

    Args:
        barge_in: whose recordings they are.
        recordings: their ids; at least one.
        utterances: ids of what the user says first.
        seed: of the run.
    """
    generator = random.Random(f"{seed}/{barge_in.name}")  # noqa: S311 - an order, not a secret
    order = sorted(recordings)
    for index in range(len(order) - 1, 0, -1):
        other = int(generator.random() * (index + 1))
        order[index], order[other] = order[other], order[index]
    low, high = barge_in.after_s
    return {
        utterance: (
            order[position % len(order)],
            round((low + (high - low) * generator.random()) * 1e9),
        )
        for position, utterance in enumerate(utterances)
    }


def describe_barge_in(barge_in: BargeIn) -> str:
    """Return what is played and expected, in words; equal texts are equal but for the name.

    The dataset is told by its hash where that is known, not by where it lies.
    """
    if barge_in.dataset_sha256 is not None:
        source = f"dataset {barge_in.dataset_sha256[:12]}"
    else:
        source = barge_in.path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    chosen = ", ".join(barge_in.ids)
    tagged = ", ".join(f"{key} = {value}" for key, value in sorted(barge_in.tags.items()))
    which = "; ".join(each for each in (chosen, tagged) if each)
    low, high = barge_in.after_s
    when = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
    does = "the reply has to stop" if barge_in.expect is Expects.INTERRUPTS else "it has to go on"
    return f"{source}{f' ({which})' if which else ''}, {when} into the reply; {does}"
