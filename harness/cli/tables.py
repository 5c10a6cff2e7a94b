"""Tables for the terminal that need a stored run alone: its summary, and one turn's waterfall."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.analysis.attribution import (
    UNATTRIBUTED,
    Waterfall,
    stage_totals,
    typical_turn,
    unattributed_ns,
    waterfall,
)
from harness.analysis.disturbance import disturbance
from harness.analysis.metrics import Missing, transcript_text
from harness.analysis.summary import CandidateSummary, RunSummary
from harness.analysis.validity import Caution
from harness.domain.trial import FailedTrial, Trial, Turn
from harness.report.format import Cell, CellState, Unit, cell, milliseconds, missing
from harness.store.plans import RunPlan

__all__ = ["cautions_text", "console", "stage_table", "summary_table", "trial_text", "trials_table"]

EMULATED = "black on yellow"
BAR_WIDTH = 44
SMALLEST_SHOWN_NS = 50_000

_STATE_STYLES = {
    CellState.VALUE: "bold",
    CellState.TOO_SMALL: "dim italic",
    CellState.TIMED_OUT: "bold red",
    CellState.MISSING: "dim",
}
_STAGES = {
    "stt": ("STT", "cyan"),
    "endpointing": ("endpointing", "yellow"),
    "llm": ("LLM", "blue"),
    "tts": ("TTS", "green"),
    "playout": ("playout", "magenta"),
    "harness": ("harness", "bright_black"),
    UNATTRIBUTED: ("unattributed", "red"),
}


def console(*, to_stderr: bool = False) -> Console:
    """Return a console that is wide enough for tables where nobody looks at its width."""
    found = Console(stderr=to_stderr, highlight=False, emoji=False, markup=False)
    if not found.is_terminal:
        found.width = 130
    return found


def safe(text: str, style: str = "") -> Text:
    """Return a provider's or a dataset's text without anything that a terminal obeys."""
    kept = "".join(each if each.isprintable() else "�" for each in " ".join(text.split()))
    return Text(kept, style=style)


def _cell_text(value: Cell) -> Text:
    text = Text(value.text, style=_STATE_STYLES[value.state])
    if value.interval:
        text.append(f"\n{value.interval}", style="not bold dim")
    return text


def _name(candidate: CandidateSummary) -> Text:
    text = safe(candidate.candidate)
    if candidate.emulated:
        text.append(" ")
        text.append("EMULATED", style=EMULATED)
    return text


def summary_table(summary: RunSummary) -> RenderableType:
    """Return for each headline metric a line of each candidate: p50, p95, n and failures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("Metric", style="bold")
    table.add_column("Candidate")
    for heading in ("p50", "p95", "n", "failed"):
        table.add_column(heading, justify="right")
    shown = [
        each.metric
        for candidate in summary.candidates.values()
        for each in candidate.metrics.values()
        if each.metric.headline and each.metric.id != "wer"
    ]
    for metric in dict.fromkeys(shown):
        rows = [each for each in summary.candidates.values() if metric.id in each.metrics]
        for number, candidate in enumerate(rows):
            found = candidate.metrics[metric.id].main
            unit = Unit(metric.unit)
            table.add_row(
                metric.title if number == 0 else "",
                _name(candidate),
                _cell_text(cell(found.p50, unit)),
                _cell_text(cell(found.p95, unit)),
                str(found.n),
                Text(str(found.failures), style="bold red" if found.failures else "dim"),
                end_section=number == len(rows) - 1,
            )
    for number, candidate in enumerate(summary.candidates.values()):
        words = candidate.words
        rate = missing("no utterance has a text") if words is None else cell(words.rate, Unit.RATE)
        table.add_row(
            "Word error rate (pooled)" if number == 0 else "",
            _name(candidate),
            _cell_text(rate),
            "",
            str(candidate.judged),
            "",
        )
    return table


def stage_table(plan: RunPlan, trials: Iterable[Trial | FailedTrial]) -> RenderableType | None:
    """Return which stage costs what in each candidate's median turn; None without a response."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("")
    table.add_column("")
    table.add_column("")
    by_candidate: dict[str, list[Trial | FailedTrial]] = {}
    for trial in trials:
        if not trial.key.warmup:
            by_candidate.setdefault(trial.key.candidate, []).append(trial)
    falls: dict[str, Waterfall] = {}
    for candidate in plan.suite.candidates:
        typical = typical_turn(by_candidate.get(candidate.name, ()), 0.5)
        if not isinstance(typical, Missing):
            falls[candidate.name] = typical.waterfall
    if not falls:
        return None
    longest = max(each.response_ns for each in falls.values())
    for name, fall in falls.items():
        totals = {key: ns for key, ns in stage_totals(fall).items() if ns > 0}
        bar, legend = _bar(totals, longest)
        table.add_row(safe(name, "bold"), bar, milliseconds(fall.response_ns))
        table.add_row("", legend, "")
    return Group(Text("Where the time goes in the median turn", style="bold"), table)


def _bar(totals: Mapping[str, int], longest_ns: int) -> tuple[Text, Text]:
    bar, legend = Text(), Text()
    drawn, reached = 0, 0
    for key, (title, style) in _STAGES.items():
        if key not in totals:
            continue
        reached += totals[key]
        end = round(reached / longest_ns * BAR_WIDTH) if longest_ns > 0 else 0
        bar.append("█" * (end - drawn), style=style)
        drawn = max(drawn, end)
        legend.append("  " if legend else "")
        legend.append(title, style=style)
        legend.append(f" {milliseconds(totals[key])}")
    return bar, legend


def cautions_text(cautions: Iterable[Caution]) -> RenderableType:
    """Return what a reader has to know before believing the numbers."""
    lines = []
    for each in cautions:
        style = "bold yellow" if each.code == "emulated" else "yellow"
        lines.append(Text.assemble(("! ", style), safe(f"{each.text}; {each.advice}", style)))
    return Group(*lines)


def trials_table(trials: Iterable[Trial | FailedTrial]) -> RenderableType:
    """Return a line for each trial: what to give to ``turnbench show``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("trial", "candidate", "utterance"):
        table.add_column(heading)
    table.add_column("response", justify="right")
    table.add_column("heard or failure")
    for trial in sorted(trials, key=lambda each: (each.key.order, each.key.attempt)):
        key = trial.key
        fall = _waterfall(trial.turns[0]) if trial.turns else None
        response = milliseconds(fall.response_ns) if fall is not None else "–"
        if isinstance(trial, FailedTrial):
            said = safe(f"{trial.failure.stage.value} {trial.failure.kind.value}", "red")
        else:
            said = safe(transcript_text(trial.turns[0]) or "–")
            if disturbance(trial) is not None:
                said.append(" (disturbed)", style="yellow")
        table.add_row(key.id, safe(key.candidate), safe(key.utterance), response, said)
    return table


def _waterfall(turn: Turn) -> Waterfall | None:
    found = waterfall(turn)
    return None if isinstance(found, Missing) else found


def trial_text(plan: RunPlan, trial: Trial | FailedTrial) -> RenderableType:
    """Return one trial: what was said and heard, the waterfall, failures and disturbances."""
    key = trial.key
    utterance = plan.utterance(key.utterance)
    parts: list[RenderableType] = []
    title = Text.assemble(
        (key.id, "bold"), "  ", safe(key.candidate), "  ", safe(key.utterance), f"  {trial.driver}"
    )
    if plan.emulated:
        title.append("  ")
        title.append("EMULATED", style=EMULATED)
    parts.append(title)
    if key.warmup:
        parts.append(Text("a warm-up: no summary has it", style="dim"))
    if isinstance(trial, FailedTrial):
        failure = trial.failure
        status = f" ({failure.status})" if failure.status is not None else ""
        parts.append(
            safe(
                f"failed: {failure.stage.value} {failure.kind.value}{status}: {failure.message}",
                "bold red",
            )
        )
    disturbed = disturbance(trial)
    if disturbed is not None:
        parts.append(safe(f"disturbed: {disturbed.text}", "yellow"))
    for turn in trial.turns:
        parts.extend(_turn_text(turn, utterance.text if turn.index == 0 else None))
    return Group(*parts)


def _turn_text(turn: Turn, said: str | None) -> list[RenderableType]:
    replies = [each.text for each in turn.requests if each.stage.value == "llm" and each.text]
    parts: list[RenderableType] = [Text("")]
    for label, text in (
        ("said", said),
        ("heard", transcript_text(turn)),
        ("answered", " ".join(replies) or None),
    ):
        parts.append(Text.assemble((f"{label:9}", "dim"), safe(text) if text else Text("–")))
    fall = _waterfall(turn)
    if fall is None:
        parts.append(Text("no response to take apart", style="dim"))
        return parts
    parts += [Text(""), Text(f"response {milliseconds(fall.response_ns)}", style="bold")]
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False)
    table.add_column("bar", width=BAR_WIDTH)
    table.add_column("ms", justify="right")
    table.add_column("part")
    span = max(1, fall.response_ns)
    for part in fall.parts:
        if part.kind == UNATTRIBUTED and part.ns < SMALLEST_SHOWN_NS:
            continue
        _, style = _STAGES[UNATTRIBUTED if part.kind == UNATTRIBUTED else part.stage.value]
        start = round((part.start_ns - fall.start_ns) / span * BAR_WIDTH)
        end = round((part.end_ns - fall.start_ns) / span * BAR_WIDTH)
        bar = Text(" " * max(0, start))
        bar.append("█" * (end - start) if end > start else "▏", style=style)
        table.add_row(bar, milliseconds(part.ns), Text(part.title, style=style))
    table.add_row("", milliseconds(unattributed_ns(fall)), Text("unattributed in all", style="dim"))
    parts.append(table)
    return parts
