"""What a run with several candidates decides beside their comparison."""

import dataclasses
from collections.abc import Mapping
from typing import Self

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.standings import (
    CorrectTurns,
    contenders,
    correct_turns,
    leading_latency,
)
from harness.analysis.predict.combine import Composition, composition_checks
from harness.analysis.statistics.pareto import Contender, Standing, pareto
from harness.analysis.summary.figures import RunSummary
from harness.analysis.summary.summary import summarise
from harness.domain.suite import Driver, Via
from harness.errors import ConfigurationError
from harness.report.decisions import composition_table, pareto_table
from harness.report.view import PlainTable

__all__ = ["Decided"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a run with several candidates says beside their comparison."""

    contenders: tuple[Contender, ...]
    standings: tuple[Standing, ...]
    combinations: tuple[Composition, ...]
    correct: Mapping[str, CorrectTurns]
    emulated: bool

    @classmethod
    def of(cls, run: MeasuredRun, summary: RunSummary | None = None) -> Self:
        """Return what a run decides; ``summary`` is of the same trials, where it is known."""
        if summary is None:
            summary = summarise(run.trials, run.utterances, run.suite)
        latency = leading_latency(summary)
        found = () if latency is None else contenders(summary, latency=latency)
        try:
            checks = composition_checks(run) if run.suite.driver is Driver.SESSION else ()
        except ConfigurationError:
            # Stages that overlap do not add up: `turnbench compose` says so to whoever asks.
            checks = ()
        return cls(
            contenders=found,
            standings=pareto(found),
            combinations=checks,
            correct={} if latency is None else correct_turns(run, latency),
            emulated=run.suite.via is Via.GATEWAY,
        )

    def tables(self) -> tuple[PlainTable, ...]:
        """Return what there is to show."""
        found = []
        if len(self.contenders) > 1:
            found.append(
                pareto_table(
                    self.contenders, self.standings, emulated=self.emulated, correct=self.correct
                )
            )
        if self.combinations:
            found.append(composition_table(self.combinations, emulated=self.emulated))
        return tuple(found)
