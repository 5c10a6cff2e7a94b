"""Tables and bars for a terminal, as rich renderables; the command line prints them."""

import unicodedata
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from harness.report.carried import carried_rows
from harness.report.format import DASH, Cell, CellState, milliseconds, percent
from harness.report.view import (
    Bar,
    BarKind,
    ComparisonView,
    PlainTable,
    ReportView,
    RequestView,
    TrialView,
    TurnView,
    VerdictKind,
)

__all__ = [
    "answer",
    "budget_table",
    "comparison_table",
    "failure_table",
    "headline_table",
    "plain_table",
    "show_trial",
    "time_table",
]

_STAGE_STYLES = {
    "stt": "cyan",
    "endpointing": "yellow",
    "llm": "blue",
    "tts": "green",
    "playout": "magenta",
    "harness": "bright_black",
}
_KIND_SIGNS = {
    BarKind.PROVIDER: "█",
    BarKind.CLIENT: "▒",
    BarKind.WAIT: "░",
    BarKind.UNATTRIBUTED: "?",
}
_FINDING_STYLES = {
    "faster": "bold green",
    "fewer": "bold green",
    "slower": "bold red",
    "more": "bold red",
    "no detectable difference": "dim",
    "not comparable": "dim",
}
_VERDICT_STYLES = {
    VerdictKind.PASS: "bold green",
    VerdictKind.FAIL: "bold red",
    VerdictKind.INCONCLUSIVE: "bold yellow",
}
_STATE_STYLES = {
    CellState.VALUE: "bold",
    CellState.TOO_SMALL: "dim italic",
    CellState.TIMED_OUT: "bold red",
    CellState.MISSING: "dim",
}
EMULATED = "black on yellow"
_SLIVER_NS = 10_000
"""Shorter parts are told of in one line: no stamp is that exact."""


def _safe(text: str, style: str = "") -> Text:
    """Return text without control characters: a provider's escape sequence moves no cursor."""
    kept = "".join(
        c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs", "Cf") else "\ufffd"
        for c in text
    )
    return Text(kept, style=style)


def _cell(cell: Cell) -> Text:
    text = _safe(cell.text, _STATE_STYLES[cell.state])
    if cell.interval:
        text.append(f"\n{cell.interval}", style="not bold dim")
    return text


def _name(view: ReportView, index: int) -> Text:
    candidate = view.candidates[index]
    text = _safe(candidate.name)
    if candidate.emulated:
        text.append(" ")
        text.append("EMULATED", style=EMULATED)
    return text


def answer(view: ReportView) -> RenderableType:
    """Return the answer in words, with what is emulated and the cautions."""
    parts: list[RenderableType] = []
    if view.emulated:
        parts.append(
            Text.assemble(("EMULATED", EMULATED), " ", _safe(view.emulated, style="yellow"))
        )
    if view.verdict is not None:
        parts.append(
            Text.assemble(
                (view.verdict.kind.value, _VERDICT_STYLES[view.verdict.kind]),
                "  ",
                _safe(view.verdict.reason),
            )
        )
    parts.append(_safe(view.answer, "bold"))
    parts += [_safe(f"  {line}") for line in view.support]
    for caution in view.cautions:
        sign = "!" if caution.serious else "·"
        style = "yellow" if caution.serious else "dim"
        parts.append(_safe(f"{sign} {caution.title}. {caution.advice}", style))
    return Group(*parts)


_WHOLE = ("pooled", "rate")
"""Statistics of which a candidate has one figure and no percentile."""


def headline_table(view: ReportView) -> Table:
    """Return the headline: for each metric a line of each candidate, p50 and p95 with intervals."""
    labels: list[str] = []
    rows = carried_rows(view)
    for row in rows:
        for cell in row.cells:
            for label, _ in cell.statistics:
                if label not in labels and label not in _WHOLE:
                    labels.append(label)
    labels = labels or ["p50"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("Metric", style="bold")
    table.add_column("Candidate")
    for label in labels:
        table.add_column(label, justify="right")
    table.add_column("n", justify="right")
    table.add_column("Failed", justify="right")
    for k, column in enumerate(view.columns):
        for first, row in enumerate(rows):
            cell = row.cells[k]
            found = dict(cell.statistics)
            word = next((each for each in _WHOLE if each in found), "")
            values = [
                _cell(found[label])
                if label in found
                else _cell(found[word])
                if word and position == 0
                else Text(word or DASH, style="dim")
                for position, label in enumerate(labels)
            ]
            table.add_row(
                _safe(column.name) if first == 0 else "",
                _name(view, row.candidate),
                *values,
                str(cell.n),
                Text(str(cell.failures), style="bold red" if cell.failures else "dim"),
                end_section=first == len(rows) - 1,
            )
    return table


def _signature(bar: Bar) -> str:
    if bar.kind is BarKind.UNATTRIBUTED:
        return "unattributed"
    return "client" if bar.kind is BarKind.CLIENT else bar.stage


def _stacked(bars: Iterable[Bar], longest_ns: int, width: int) -> Text:
    """Return bars on one line; cells are shared out so that the line has the right length."""
    text = Text()
    drawn = 0
    for bar in bars:
        end = round(max(0, bar.end_ns) / longest_ns * width) if longest_ns > 0 else 0
        if end > drawn:
            style = (
                "red" if bar.kind is BarKind.UNATTRIBUTED else _STAGE_STYLES.get(bar.stage, "white")
            )
            text.append(_KIND_SIGNS[bar.kind] * (end - drawn), style=style)
            drawn = end
    return text


def time_table(view: ReportView, *, width: int = 44) -> Table:
    """Return where the time of the median and the p95 turn goes, for each candidate."""
    table = Table(
        title="Where the time goes (█ provider ▒ client ░ wait ? unattributed)",
        title_justify="left",
        title_style="dim",
        box=None,
        pad_edge=False,
    )
    for name in ("Candidate", "Turn", "Response"):
        table.add_column(name, justify="right" if name == "Response" else "left")
    table.add_column("")
    longest = max((each.response_ns for each in view.waterfalls), default=0)
    before = -1
    for each in view.waterfalls:
        sums: dict[str, int] = {}
        for bar in each.bars:
            name = _signature(bar)
            sums[name] = sums.get(name, 0) + bar.end_ns - bar.start_ns
        shares = Text()
        for name, ns in sorted(sums.items(), key=lambda item: -item[1]):
            if each.response_ns <= 0 or ns / each.response_ns < 0.005:
                continue
            shares.append(", " if shares else "")
            shares.append(f"{name.upper() if len(name) == 3 else name} ", style="dim")
            shares.append(
                f"{milliseconds(ns)} {percent(ns / each.response_ns, 0)}",
                style=_STAGE_STYLES.get(name, ""),
            )
        table.add_row(
            _name(view, each.candidate) if each.candidate != before else "",
            each.title,
            Text(each.response, style="bold"),
            Group(_stacked(each.bars, longest, width), shares),
        )
        before = each.candidate
    return table


def comparison_table(view: Sequence[ComparisonView]) -> Table:
    """Return the comparisons of one pair, one line each; what chance could explain is dim."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Metric", style="bold")
    for name in ("Difference", "Ratio", "p", "Could have seen"):
        table.add_column(name, justify="right")
    table.add_column("Finding")
    for each in view:
        table.add_row(
            _safe(each.name),
            _cell(each.difference),
            _cell(each.ratio),
            Text(each.p_value, style="bold" if each.detected else "dim"),
            Text(each.detectable, style="dim"),
            Text(each.finding, style=_FINDING_STYLES.get(each.finding, "")),
        )
    return table


def plain_table(table: PlainTable, *, columns: int | None = None) -> RenderableType:
    """Return a table of texts with its title and note; the first column names the row.

    Args:
        table: to be shown.
        columns: at most so many, where a terminal is too narrow for all.
    """
    found = Table(
        title=_safe(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for number, column in enumerate(table.columns[:columns]):
        found.add_column(_safe(column), style="bold" if number == 0 else "")
    before: Cell | str = ""
    for row in table.rows:
        first = "" if row[0] == before else row[0]
        before = row[0]
        found.add_row(
            *(_cell(x) if isinstance(x, Cell) else _safe(x) for x in (first, *row[1:])[:columns])
        )
    return Group(found, _safe(table.note, "dim")) if table.note else found


def failure_table(view: ReportView) -> Table | None:
    """Return failures by stage and kind; None where no trial failed."""
    if not view.failures:
        return None
    table = Table(title="Failures", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Stage")
    table.add_column("Kind")
    for candidate in view.candidates:
        table.add_column(_safe(candidate.name), justify="right")
    table.add_column("Said")
    table.add_column("Example")
    for row in view.failures:
        table.add_row(
            row.stage,
            row.kind,
            *(str(number) for number in row.counts),
            _safe(row.message),
            row.trial,
        )
    return table


def budget_table(view: ReportView) -> Table | None:
    """Return each budget with its margin; None where the run was not gated."""
    if view.verdict is None:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("Verdict", "Budget", "Candidate", "Measured", "Limit", "Margin", "Why"):
        table.add_column(name)
    for each in view.verdict.budgets:
        measured = _safe(each.measured)
        if each.emulated:
            measured.append(" ")
            measured.append("EMULATED", style=EMULATED)
        table.add_row(
            Text(each.kind.value, style=_VERDICT_STYLES[each.kind]),
            _safe(each.budget),
            _safe(each.candidate),
            measured,
            _safe(each.limit),
            _safe(each.margin or DASH),
            _safe(each.reason),
        )
    return table


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
        style = "red" if bar.kind is BarKind.UNATTRIBUTED else _STAGE_STYLES.get(bar.stage, "white")
        table.add_row(
            _safe(bar.label),
            bar.kind.value,
            milliseconds(bar.start_ns),
            milliseconds(bar.end_ns - bar.start_ns),
            Text(" " * first).append(_KIND_SIGNS[bar.kind] * cells, style=style),
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
        text.append_text(_safe(name))
        text.append("\n")
    text.rstrip()
    return text


def _told(request: RequestView) -> Text:
    """Return on one line what is known of a request beside its times."""
    text = Text.assemble((f"{request.id:<8}", "bold"))
    text.append_text(_safe(" · ".join(f"{name} {value}" for name, value in request.lines), "dim"))
    return text


def show_trial(view: ReportView, trial: TrialView, *, width: int = 40) -> RenderableType:
    """Return one trial: its facts, its waterfall as bars, its events in order of time."""
    head = Text.assemble(
        (trial.id, "bold"), "  ", _name(view, trial.candidate), "  ", _safe(trial.utterance), "  "
    )
    head.append(trial.status.value, style="dim")
    parts: list[RenderableType] = [head]
    if trial.note or trial.failure:
        parts.append(_safe(" · ".join(filter(None, (trial.failure, trial.note))), "red"))
    for number, turn in enumerate(trial.turns):
        if len(trial.turns) > 1:
            parts.append(Text(f"\nturn {number + 1}", style="bold"))
        if turn.bars:
            whole = turn.bars[-1].end_ns - turn.bars[0].start_ns
            parts += [Text(f"\nresponse {milliseconds(whole)}", style="bold"), _turn(turn, width)]
        heard = " ".join(piece.heard for piece in turn.pieces if piece.heard)
        said = " ".join(piece.reference for piece in turn.pieces if piece.reference)
        if said:
            parts.append(Text.assemble("\n", ("said   ", "dim"), _safe(said)))
            parts.append(Text.assemble(("heard  ", "dim"), _safe(heard)))
        if turn.reply_text:
            parts.append(Text.assemble(("reply  ", "dim"), _safe(turn.reply_text)))
        parts.append(Panel(_events(turn), title="from the end of speech", title_align="left"))
        parts += [_told(request) for request in turn.requests if request.lines]
    if trial.facts:
        parts.append(_safe(" · ".join(f"{name} {value}" for name, value in trial.facts), "dim"))
    return Group(*parts)
