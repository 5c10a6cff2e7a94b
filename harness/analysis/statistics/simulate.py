"""Simulated runs with known truth, for calibrating the gate.

Each scenario draws the latencies of two sides that performed the same utterances, interleaved in
one run: an effect of the utterance (standard deviation 0.20 of the log), an effect of the day
(0.05, shared by interleaved sides), and noise within the utterance:

* ``lognormal-1.8``: p95/p50 = 1.8 over all trials, as published for Kimi K2.6 without thinking;
* ``lognormal-3.5``: p95/p50 = 3.5, as with thinking;
* ``bimodal``: 30 % of the trials take 2.5 times as long (a cold cache, a second endpoint);
* ``drifting``: the latency climbs by 50 % over the run and swings by 15 %;
* ``heavy-tailed``: Student's t with 2.5 degrees of freedom on the log scale;
* ``stalls``: the 1.8 lognormal with 1 % of the trials taking ten times as long.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.statistics.estimate import Sample

__all__ = ["SCENARIOS", "Plan", "Slowdown", "Twin", "draw", "slow_down"]

SCENARIOS = (
    "lognormal-1.8",
    "lognormal-3.5",
    "bimodal",
    "drifting",
    "heavy-tailed",
    "stalls",
)

Slowdown = Literal["everything", "tail"]

_BETWEEN = 0.20
_DAY = 0.05
_P95 = 1.6448536269514722
_TYPICAL_MS = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a run: utterances, and repeats of each on each side."""

    utterances: int = 24
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.utterances < 1 or self.repeats < 1:
            raise ValueError("a plan has an utterance and a repeat")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """Latencies in milliseconds of two sides; each of shape (utterances, repeats)."""

    candidate: NDArray[np.float64]
    reference: NDArray[np.float64]

    def samples(self) -> tuple[Sample, Sample]:
        """Return both as samples clustered by utterance."""
        utterances, repeats = self.candidate.shape
        clusters = np.repeat(np.arange(utterances), repeats)
        return (
            Sample.of(self.candidate.ravel(), clusters=clusters),
            Sample.of(self.reference.ravel(), clusters=clusters),
        )


def draw(
    scenario: str,
    random: np.random.Generator,
    plan: Plan | None = None,
    *,
    days: Literal["same", "different"] = "same",
) -> Twin:
    """Draw two sides between which nothing differs.

    Args:
        scenario: one of :data:`SCENARIOS`.
        random: a seeded generator.
        plan: the size; 24 x 5 a side when absent.
        days: ``different`` for sides that were not measured in one run.
    """
    plan = plan or Plan()
    shape = (2, plan.utterances, plan.repeats)
    utterance = random.normal(0.0, _BETWEEN, (1, plan.utterances, 1))
    day = random.normal(0.0, _DAY, (2, 1, 1))
    if days == "same":
        day[1] = day[0]
    logs = utterance + day + _noise(scenario, random, shape)
    candidate, reference = _TYPICAL_MS * np.exp(logs)
    return Twin(candidate=candidate, reference=reference)


def _noise(
    scenario: str, random: np.random.Generator, shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    within = _within(1.8)
    if scenario == "lognormal-1.8":
        return random.normal(0.0, within, shape)
    if scenario == "lognormal-3.5":
        return random.normal(0.0, _within(3.5), shape)
    if scenario == "bimodal":
        slow = random.random(shape) < 0.30
        return random.normal(0.0, 0.15, shape) + math.log(2.5) * slow
    if scenario == "drifting":
        # Interleaved: the trials of both sides lie in random order over the run.
        place = random.permutation(math.prod(shape)).reshape(shape) / math.prod(shape)
        drift = math.log(1.5) * place + 0.15 * np.sin(4.0 * math.pi * place)
        return random.normal(0.0, within, shape) + drift
    if scenario == "heavy-tailed":
        return 0.25 * random.standard_t(2.5, shape)
    if scenario == "stalls":
        stalled = random.random(shape) < 0.01
        return random.normal(0.0, within, shape) + math.log(10.0) * stalled
    raise ValueError(f"no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")


def _within(tail_ratio: float) -> float:
    """Return the deviation within an utterance that gives p95/p50 over all trials."""
    return math.sqrt((math.log(tail_ratio) / _P95) ** 2 - _BETWEEN**2)


def slow_down(twin: Twin, factor: float, kind: Slowdown = "everything") -> Twin:
    """Return the twin with its candidate slower.

    Args:
        twin: two equal sides.
        factor: by which every trial (``everything``) or the p95 (``tail``) becomes longer.
        kind: ``tail`` stretches what lies above the median, on the log scale, so that p95 grows by
            the factor while p50 stays.
    """
    if kind == "everything":
        return Twin(candidate=twin.candidate * factor, reference=twin.reference)
    logs = np.log(twin.candidate)
    median, top = np.quantile(logs, (0.5, 0.95))
    stretch = 1.0 + math.log(factor) / (top - median)
    logs = np.where(logs > median, median + stretch * (logs - median), logs)
    return Twin(candidate=np.exp(logs), reference=twin.reference)
