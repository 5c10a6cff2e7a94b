"""``turnbench compare``: what differs, how sure that is, and who is worth having."""

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from harness.analysis.combine import Composition, composition_checks
from harness.analysis.comparable import MeasuredRun
from harness.analysis.comparison import (
    Comparison,
    MetricChange,
    PairComparison,
    RateFinding,
    compare_runs,
    compare_within,
)
from harness.analysis.definitions import METRICS
from harness.analysis.estimate import Unsupported
from harness.analysis.pareto import Contender, Standing, pareto
from harness.analysis.standings import contenders
from harness.analysis.summary import summarise
from harness.cli.console import make_console, safe
from harness.cli.measured import measured_run
from harness.domain.suite import Driver, Via
from harness.errors import ConfigurationError
from harness.report.decisions import composition_table, pareto_table
from harness.report.format import DASH, Unit, cell, decimal, percent, signed_quantity
from harness.report.terminal import plain_table
from harness.report.view import PlainTable
from harness.store.runs import find_run, open_run

__all__ = ["as_json", "compare", "decision_tables"]

_STYLES = {"faster": "bold green", "slower": "bold red", "not comparable": "dim"}
_RATES = {"wer": "Word error rate", "failures": "Failures"}
_RATE_WORDS = {"faster": "fewer", "slower": "more"}
_LATENCIES = ("response", "llm_ttft", "stt_finalize", "tts_first_audible", "tts_first_byte")


def as_json(value: Any) -> Any:
    """Return a value of the analysis as JSON has it; an unbounded number is null."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {
            each.name: as_json(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
        kind = type(value).__name__
        return {"kind": kind, **found} if kind in {"Unsupported", "TimedOut"} else found
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def compare(options: argparse.Namespace) -> int:
    """Compare the candidates of one run, or two runs."""
    if len(options.runs) > 2:
        raise ConfigurationError("compare: name one run, or two")
    runs = [
        measured_run(open_run(find_run(each, reports=Path(options.out)))) for each in options.runs
    ]
    if len(runs) == 2:
        if options.by is not None:
            raise ConfigurationError("compare: --by is for one run; two are compared by candidate")
        found = compare_runs(runs[0], runs[1])
    else:
        found = compare_within(runs[0], by=options.by or "candidate")
    tables: tuple[PlainTable, ...] = ()
    if len(runs) == 1:
        decided = _Decided.of(runs[0])
        tables = decided.tables()
        if options.json:
            document = {
                **as_json(found),
                "standings": as_json(decided.standings),
                "objectives": as_json(decided.contenders),
                "combinations": as_json(decided.combinations),
            }
            print(json.dumps(document, ensure_ascii=False, indent=1))
            return 0
    elif options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
        return 0
    _print(found)
    out = make_console()
    for table in tables:
        out.print()
        out.print(plain_table(table))
    return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What a run with several candidates says beside their comparison."""

    contenders: tuple[Contender, ...]
    standings: tuple[Standing, ...]
    combinations: tuple[Composition, ...]
    emulated: bool

    @classmethod
    def of(cls, run: MeasuredRun) -> "_Decided":
        summary = summarise(run.trials, run.utterances, run.suite)
        latency = next(
            (
                each
                for each in _LATENCIES
                if all(each in candidate.metrics for candidate in summary.candidates.values())
            ),
            None,
        )
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
            emulated=run.suite.via is Via.GATEWAY,
        )

    def tables(self) -> tuple[PlainTable, ...]:
        """Return what there is to show."""
        found = []
        if len(self.contenders) > 1:
            found.append(pareto_table(self.contenders, self.standings, emulated=self.emulated))
        if self.combinations:
            found.append(composition_table(self.combinations, emulated=self.emulated))
        return tuple(found)


def decision_tables(run: MeasuredRun) -> tuple[PlainTable, ...]:
    """Return the candidates' standings, and predicted combinations against those really run."""
    return _Decided.of(run).tables()


def _print(found: Comparison) -> None:
    out = make_console()
    if found.emulated:
        out.print(
            Text.assemble(
                ("EMULATED", "black on yellow"),
                " profiles are compared, not models: nothing here says which real model is better",
            )
        )
    for pair in found.pairs:
        out.print()
        out.print(
            Text.assemble(
                safe(pair.candidate, "bold"),
                " against ",
                safe(pair.reference, "bold"),
                f"  ({pair.trials[0]} and {pair.trials[1]} trials)",
            )
        )
        out.print(_pair_table(pair))
        # What the trials cannot carry is one line, not a row for each metric.
        for reason in dict.fromkeys(_tail_reasons(pair)):
            out.print(safe(reason, "dim"))
        for line in pair.refused:
            out.print(safe(f"not compared: {line}", "yellow"))
    for line in found.left_out:
        out.print(safe(f"left out: {line}", "dim"))
    level = percent(found.confidence, 0)
    out.print()
    out.print(
        f"Ratio above 1 is slower. {level} intervals; p is corrected over {found.family} tests.",
        style="dim",
    )


def _is_unsupported_tail(change: MetricChange) -> bool:
    return change.share != 0.5 and isinstance(change.change, Unsupported)


def _tail_reasons(pair: PairComparison) -> Iterator[str]:
    for change in pair.metrics:
        if change.share != 0.5 and isinstance(change.change, Unsupported):
            yield f"no p{100 * change.share:g}: {change.change.reason}"


def _pair_table(pair: PairComparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Metric", style="bold")
    for heading in ("", "Difference", "Ratio", "p", "Would have seen"):
        table.add_column(heading, justify="right")
    table.add_column("Finding")
    for change in pair.metrics:
        if _is_unsupported_tail(change):
            continue
        table.add_row(*_metric_row(change, METRICS[change.metric].title))
    if pair.correct is not None:
        turns = f"of correct turns ({pair.correct_turns[0]} and {pair.correct_turns[1]})"
        title = f"{METRICS[pair.correct.metric].title} {turns}"
        table.add_row(*_metric_row(pair.correct, title))
    for rate in pair.rates:
        table.add_row(*_rate_row(rate))
    return table


def _with_interval(point: str, interval: str) -> Text:
    text = Text(point)
    if interval:
        text.append(f"\n{interval}", style="dim")
    return text


def _metric_row(change: MetricChange, title: str) -> tuple[Text, ...]:
    share = "typical" if change.share == 0.5 else f"p{100 * change.share:g}"
    style = _STYLES.get(change.finding, "")
    found = change.change
    if isinstance(found, Unsupported):
        note = Text(found.reason, style="dim")
        return Text(title), Text(share), Text(DASH), Text(DASH), Text(DASH), Text(DASH), note
    unit = Unit.COUNT if change.reciprocal else Unit(METRICS[change.metric].unit)
    difference = cell(found.difference, unit, signed=True)
    ratio = cell(found.ratio, Unit.RATIO)
    seen = found.detectable_ratio
    return (
        Text(f"{title} (time per unit)" if change.reciprocal else title),
        Text(share),
        _with_interval(difference.text, difference.interval),
        _with_interval(ratio.text, ratio.interval),
        Text(_p(change.p)),
        Text(f"{decimal(seen, 2)} ×" if math.isfinite(seen) else "nothing"),
        Text(change.finding, style=style),
    )


def _rate_row(rate: RateFinding) -> tuple[Text, ...]:
    title, found = Text(_RATES[rate.rate]), rate.change
    if isinstance(found, Unsupported):
        note = Text(found.reason, style="dim")
        return title, Text("rate"), Text(DASH), Text(DASH), Text(DASH), Text(DASH), note
    difference = cell(found.difference, Unit.RATE, signed=True)
    seen = found.detectable
    return (
        title,
        Text("rate"),
        _with_interval(difference.text, difference.interval),
        Text(f"{percent(found.candidate)} / {percent(found.reference)}"),
        Text(_p(rate.p)),
        Text(signed_quantity(seen, Unit.RATE) if math.isfinite(seen) else "nothing"),
        Text(_RATE_WORDS.get(rate.finding, rate.finding), style=_STYLES.get(rate.finding, "")),
    )


def _p(value: float | None) -> str:
    if value is None:
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"
