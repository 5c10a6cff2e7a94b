"""A stored reference: several runs of one plan, as the figures that budgets are held against.

One run does not know how runs differ from day to day, so a baseline is built from at least five
(``harness.analysis.gate.evidence``) and keeps each run's figure. It also keeps what makes a later
run comparable with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.analysis.compare.comparable import (
    MeasuredRun,
    changed_metrics,
    differences,
    option_values,
    recogniser_of,
)
from harness.analysis.compare.sides import main_rows
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.interruptions import event_rate
from harness.analysis.summary.samples import Row
from harness.analysis.summary.summary import SHARES, statistics_of
from harness.analysis.summary.words import WORD_RATES, pooled_words
from harness.analysis.turn.definitions import EVENTS, METRICS, definition_digests
from harness.analysis.words.transcript import NORMALISER_VERSION
from harness.domain.suite import Clock
from harness.domain.trial import FailedTrial
from harness.errors import ConfigurationError

__all__ = ["Baseline", "against_baseline", "build_baseline", "machine_difference"]

STATISTICS = tuple(f"p{100 * share:g}" for share in SHARES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The figures of several runs of one plan.

    Attributes:
        name: what the user calls it.
        runs: the names of the runs.
        figures: candidate → metric → statistic → one figure for each run that supports it; metrics
            beside latencies are "wer", "tts_wer" and "failures", with the statistic "rate".
        trials: candidate → trials of each run.
        options: every option that moves a latency, as text.
        datasets: the sha256 of each dataset by name.
        machine: what identifies the machine.
        definitions: the digest of each metric's definition.
        normaliser: version of the normaliser of transcripts.
        recogniser: which one heard the replies again; "" where none did.
    """

    name: str
    runs: tuple[str, ...]
    figures: Mapping[str, Mapping[str, Mapping[str, tuple[float, ...]]]]
    trials: Mapping[str, tuple[int, ...]]
    options: Mapping[str, str]
    datasets: Mapping[str, str]
    machine: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    definitions: Mapping[str, str] = field(default_factory=definition_digests)
    normaliser: str = NORMALISER_VERSION
    recogniser: str = ""

    def get(self, candidate: str, metric: str, statistic: str) -> tuple[float, ...] | None:
        """Return a figure of every run; None where there is none."""
        return self.figures.get(candidate, {}).get(metric, {}).get(statistic)


def _figures(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for metric_id in METRICS:
        statistics = statistics_of(metric_id, rows)
        if statistics.n == 0:
            continue
        for name in STATISTICS:
            estimate = statistics.get(name)
            if isinstance(estimate, Estimate):
                found.setdefault(metric_id, {})[name] = estimate.point
    failed = sum(isinstance(row.trial, FailedTrial) for row in rows)
    found["failures"] = {"rate": failed / len(rows)}
    for event in EVENTS:
        rate = event_rate(event, rows)
        if isinstance(rate, Estimate):
            found[event] = {"rate": rate.point}
    for kind in WORD_RATES:
        words = pooled_words(kind, rows)
        if words is not None and words.reference_words:
            found.setdefault(kind, {})["rate"] = (
                words.substitutions + words.deletions + words.insertions
            ) / words.reference_words
    return found


def build_baseline(name: str, runs: Sequence[MeasuredRun]) -> Baseline:
    """Build a baseline from runs of one plan.

    A figure counts only where every run has it. Fewer than five runs make a baseline against which
    every relative budget is INCONCLUSIVE.

    Raises:
        ConfigurationError: there is no run, or one is not comparable with the first.
    """
    if not runs:
        raise ConfigurationError("baseline: name at least one run; five or more make it useful")
    first = runs[0]
    problems: list[str] = [
        f"{name} is named twice: a copy knows nothing of how runs differ"
        for name, times in Counter(run.name for run in runs).items()
        if times > 1
    ]
    for other in runs[1:]:
        problems.extend(differences(first, other))
        problems.extend(changed_metrics(first, other).values())
        machine = machine_difference(first.machine, other.machine)
        if machine and first.suite.clock is Clock.REAL:
            problems.append(f"machine: {other.name} ran on another machine: {machine}")
    if problems:
        raise ConfigurationError(["baseline: the runs are not several of one plan", *problems])
    measured = [main_rows(run) for run in runs]
    figures: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {}
    trials: dict[str, tuple[int, ...]] = {}
    for candidate in (each.name for each in first.suite.candidates):
        rows = [each.get(candidate, ()) for each in measured]
        if not all(rows):
            continue
        trials[candidate] = tuple(len(each) for each in rows)
        by_run = [_figures(each) for each in rows]
        for metric, statistics in by_run[0].items():
            for statistic in statistics:
                values = [run.get(metric, {}).get(statistic) for run in by_run]
                present = tuple(each for each in values if each is not None)
                if len(present) == len(runs):
                    figures.setdefault(candidate, {}).setdefault(metric, {})[statistic] = present
    return Baseline(
        name=name,
        runs=tuple(run.name for run in runs),
        figures=figures,
        trials=trials,
        options=option_values(first.suite),
        datasets=dict(first.datasets),
        machine=dict(first.machine),
        definitions=dict(first.definitions),
        normaliser=first.normaliser,
        recogniser=recogniser_of(first),
    )


def against_baseline(run: MeasuredRun, baseline: Baseline) -> tuple[str, ...]:
    """Return what forbids to hold a run against a baseline, one line each."""
    found = []
    # Baselines of before there were two clocks are of the real one.
    clock = baseline.options.get("clock", Clock.REAL.value)
    if clock != run.suite.clock.value:
        mine = run.suite.clock.value
        return (f"clock: {run.name} has the {mine} one, baseline {baseline.name} the {clock} one",)
    ours = option_values(run.suite)
    for key in sorted((ours.keys() | baseline.options.keys()) - {"clock"}):
        mine, theirs = ours.get(key, "none"), baseline.options.get(key, "none")
        if mine != theirs:
            found.append(f"{key}: {mine} in {run.name}, {theirs} in baseline {baseline.name}")
    if sorted(run.datasets.values()) != sorted(baseline.datasets.values()):
        found.append(f"dataset: {run.name} heard other recordings than baseline {baseline.name}")
    return tuple(found)


def machine_difference(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return how two machines differ, in words; "" where nothing tells them apart."""
    return "; ".join(
        f"{key} {mine.get(key, 'unknown')} instead of {theirs.get(key, 'unknown')}"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    )
