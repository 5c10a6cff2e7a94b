"""The order of a run's trials, and what the run will take: pure functions of a suite.

Candidates are compared fairly only if they are measured under the same conditions, so the plan is
made of blocks. A block is one repeat: each utterance under each condition and with each barge-in
once for each candidate. Within a block these recordings are shuffled, and the candidates of one
recording stand side by side in a random order, so that a machine or a provider that drifts weighs
on all of them, and on all conditions, alike. Warm-ups come first, under the first condition and
with the first barge-in.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from harness.domain.barge_in import BargeIn
from harness.domain.suite import Clock, Suite
from harness.domain.trial import TrialKey
from harness.errors import ConfigurationError

__all__ = ["each_recording_first", "make_plan"]

_Value = TypeVar("_Value")


def make_plan(suite: Suite, utterance_ids: Sequence[str], seed: int) -> tuple[TrialKey, ...]:
    """Return every trial of a run in the order in which it is to be started.

    Equal arguments give equal plans on every machine and Python version (Mersenne Twister; the
    shuffle is written out here because ``random.shuffle`` does not promise that).

    Args:
        suite: the candidates, repeats and warm-ups.
        utterance_ids: the utterances, each once.
        seed: of the order.

    Returns:
        Warm-ups of all candidates, then one block for each repeat; ``order`` counts from 0. On the
        virtual clock there are no warm-ups: each trial begins alike.

    Raises:
        ConfigurationError: there is no utterance, or one stands twice.
    """
    if not utterance_ids:
        raise ConfigurationError(f"{suite.name}: the datasets hold no utterance to play")
    if len(set(utterance_ids)) != len(utterance_ids):
        twice = sorted({each for each in utterance_ids if utterance_ids.count(each) > 1})
        raise ConfigurationError(
            f"{suite.name}: utterance {name!r} is in two datasets; ids are unique within a run"
            for name in twice
        )
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret
    names = [candidate.name for candidate in suite.candidates]
    conditions = suite.condition_names
    found: list[TrialKey] = []

    barge_ins: Sequence[BargeIn | None] = suite.barge_ins or (None,)

    def add(
        candidate: str,
        utterance: str,
        repeat: int,
        *,
        warmup: bool,
        condition: str,
        barge_in: BargeIn | None,
    ) -> None:
        found.append(
            TrialKey(
                candidate=candidate,
                utterance=utterance,
                repeat=repeat,
                order=len(found),
                warmup=warmup,
                condition=condition,
                barge_in="" if barge_in is None else barge_in.name,
                expects=None if barge_in is None else barge_in.expect,
            )
        )

    warm = _shuffled(utterance_ids, generator)
    for index in range(0 if suite.clock is Clock.VIRTUAL else suite.warmups):
        for name in _shuffled(names, generator):
            utterance = warm[index % len(warm)]
            add(
                name,
                utterance,
                index // len(warm),
                warmup=True,
                condition=conditions[0],
                barge_in=barge_ins[0],
            )
    recordings = [
        (each, condition, barge_in)
        for each in utterance_ids
        for condition in conditions
        for barge_in in barge_ins
    ]
    for repeat in range(suite.repeats):
        for utterance, condition, barge_in in _shuffled(recordings, generator):
            for name in _shuffled(names, generator):
                add(
                    name,
                    utterance,
                    repeat,
                    warmup=False,
                    condition=condition,
                    barge_in=barge_in,
                )
    return tuple(found)


def each_recording_first(plan: Sequence[TrialKey]) -> tuple[TrialKey, ...]:
    """Return a plan with the first trial of each recording before all others.

    Where trials know nothing of each other their order is free, and lanes at once then hear
    different recordings, of which the recogniser's answers are kept.
    """
    first = {key.recording: key.order for key in reversed(plan) if not key.warmup}
    return tuple(sorted(plan, key=lambda key: first.get(key.recording) != key.order))


def _shuffled(values: Sequence[_Value], generator: random.Random) -> list[_Value]:
    """Return the values in random order (Fisher and Yates)."""
    result = list(values)
    for index in range(len(result) - 1, 0, -1):
        other = int(generator.random() * (index + 1))
        result[index], result[other] = result[other], result[index]
    return result
