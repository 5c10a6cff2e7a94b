"""``turnbench compare`` and ``turnbench plan``: what differs, and what it would take to see it."""

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
from harness.analysis.plan import TrialPlan, plan_trials
from harness.analysis.samples import sample_of
from harness.analysis.sides import main_rows
from harness.cli.console import make_console, safe
from harness.cli.measured import measured_run
from harness.errors import ConfigurationError
from harness.report.format import DASH, Unit, cell, decimal, percent, signed_quantity
from harness.store.runs import find_run, open_run
from harness.store.table import nearest

__all__ = ["as_json", "compare", "plan"]

_STYLES = {"faster": "bold green", "slower": "bold red", "not comparable": "dim"}
_RATES = {"wer": "Word error rate", "failures": "Failures"}
_RATE_WORDS = {"faster": "fewer", "slower": "more"}
_INCONCLUSIVE = 3


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
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
        return 0
    _print(found)
    return 0


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


def plan(options: argparse.Namespace) -> int:
    """Say how many trials a wanted change needs, from a pilot run's spread."""
    if options.metric not in METRICS:
        raise ConfigurationError(
            f"--metric {options.metric}: there is none; {nearest(options.metric, METRICS)}"
        )
    if not 1 < options.change <= 100:
        raise ConfigurationError(f"--change {options.change:g}: give a ratio above 1, as 1.1")
    run = measured_run(open_run(find_run(options.run, reports=Path(options.out))))
    rows = main_rows(run)
    found: dict[str, TrialPlan | Unsupported] = {
        each.name: plan_trials(
            sample_of(options.metric, rows.get(each.name, ())),
            options.change,
            utterances=len(run.utterances),
        )
        for each in run.suite.candidates
    }
    if options.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=1))
    else:
        _print_plans(found, options)
    answered = any(isinstance(each, TrialPlan) for each in found.values())
    return 0 if answered else _INCONCLUSIVE


def _print_plans(found: Mapping[str, TrialPlan | Unsupported], options: argparse.Namespace) -> None:
    out = make_console()
    title = METRICS[options.metric].title
    out.print(f"To see {title} change by a factor of {options.change:g} in 90 % of runs:")
    for name, each in found.items():
        if isinstance(each, Unsupported):
            out.print(safe(f"  {name}: {each.reason}"))
            continue
        out.print(
            safe(
                f"  {name}: {each.repeats} repeats of {each.utterances} utterances on each side, "
                f"{each.trials} trials in all; they would show {each.detectable:.3g} × "
                f"({each.reason})"
            )
        )
