"""One trial for a terminal: its facts, its waterfall as bars, its events in order of time."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from harness.report.format import milliseconds
from harness.report.terminal import (
    EMULATED,
    KIND_SIGNS,
    STAGE_STYLES,
    clock_mark,
    name_text,
    printable,
)
from harness.report.trial_view import BarKind, RequestView, TrialView, TurnView
from harness.report.view import ReportView

__all__ = ["show_trial"]


_SLIVER_NS = 10_000
"""Shorter parts are told of in one line: no stamp is that exact."""


def _turn(turn: TurnView, width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("Part")
    table.add_column("Spent by")
    table.add_column("From", justify="right")
    table.add_column("Length", justify="right")
    table.add_column("")
    edges = [edge for bar in turn.bars for edge in (bar.start_ns, bar.end_ns)]
    low, high = min([0, *edges]), max([1, *edges])
    slivers = [bar for bar in turn.bars if abs(bar.end_ns - bar.start_ns) < _SLIVER_NS]
    for bar in turn.bars:
        if bar in slivers:
            continue
        start, end = sorted((bar.start_ns, bar.end_ns))
        first = min(width - 1, round((start - low) / (high - low) * width))
        cells = max(1, round((end - low) / (high - low) * width) - first)
        style = "red" if bar.kind is BarKind.UNATTRIBUTED else STAGE_STYLES.get(bar.stage, "white")
        table.add_row(
            printable(bar.label),
            bar.kind.value,
            milliseconds(bar.start_ns),
            milliseconds(bar.end_ns - bar.start_ns),
            Text(" " * first).append(KIND_SIGNS[bar.kind] * cells, style=style),
        )
    if slivers:
        # The parts sum to the response, these included.
        parts = f"{len(slivers)} part{'' if len(slivers) == 1 else 's'}"
        whole = sum(bar.end_ns - bar.start_ns for bar in slivers)
        limit = milliseconds(_SLIVER_NS, digits=2)
        table.add_row(f"below {limit}, {parts}", "", "", milliseconds(whole), Text(), style="dim")
    return table


def _events(turn: TurnView) -> Text:
    events: list[tuple[int, str]] = [(at, name) for name, at in turn.marks]
    for each in turn.transcripts:
        kind = f"late {each.kind}" if each.late else each.kind
        events.append((each.at_ns, f"{kind} transcript: {each.text}"))
    for request in turn.requests:
        if request.start_ns is not None:
            said = f" · failed: {request.failure}" if request.failure else ""
            dropped = " · cancelled" if request.cancelled else ""
            events.append(
                (request.start_ns, f"{request.stage} request {request.id}{dropped}{said}")
            )
    text = Text()
    for at, name in sorted(events):
        text.append(f"{milliseconds(at, 1):>12}  ", style="dim")
        text.append_text(printable(name))
        text.append("\n")
    text.rstrip()
    return text


def _told(request: RequestView) -> Text:
    """Return on one line what is known of a request beside its times."""
    text = Text.assemble((f"{request.id:<8}", "bold"))
    text.append_text(
        printable(" · ".join(f"{name} {value}" for name, value in request.lines), "dim")
    )
    return text


def show_trial(view: ReportView, trial: TrialView, *, width: int = 40) -> RenderableType:
    """Return one trial: its facts, its waterfall as bars, its events in order of time."""
    head = Text.assemble(
        (trial.id, "bold"),
        "  ",
        name_text(view, trial.candidate),
        "  ",
        printable(trial.utterance),
        "  ",
    )
    head.append(trial.status.value, style="dim")
    if trial.emulated:
        # No banner stands above a single trial.
        head.append("  ")
        head.append("EMULATED", style=EMULATED)
    parts: list[RenderableType] = [head]
    if view.virtual:
        parts.insert(0, clock_mark())
    if trial.note or trial.failure:
        parts.append(printable(" · ".join(filter(None, (trial.failure, trial.note))), "red"))
    for number, turn in enumerate(trial.turns):
        if len(trial.turns) > 1:
            parts.append(Text(f"\nturn {number + 1}", style="bold"))
        if turn.bars:
            whole = turn.bars[-1].end_ns - turn.bars[0].start_ns
            parts += [Text(f"\nresponse {milliseconds(whole)}", style="bold"), _turn(turn, width)]
        heard = " ".join(piece.heard for piece in turn.pieces if piece.heard)
        said = " ".join(piece.reference for piece in turn.pieces if piece.reference)
        if said:
            parts.append(Text.assemble("\n", ("said   ", "dim"), printable(said)))
            parts.append(Text.assemble(("heard  ", "dim"), printable(heard)))
        if turn.reply_text:
            parts.append(Text.assemble(("reply  ", "dim"), printable(turn.reply_text)))
        parts.append(Panel(_events(turn), title="from the end of speech", title_align="left"))
        parts += [_told(request) for request in turn.requests if request.lines]
    if trial.facts:
        parts.append(printable(" · ".join(f"{name} {value}" for name, value in trial.facts), "dim"))
    return Group(*parts)
