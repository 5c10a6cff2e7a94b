"""Tables and bars for a terminal, as rich renderables; the command line prints them."""

import unicodedata
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.report.carried import carried_rows
from harness.report.format import (
    DASH,
    VIRTUAL_CLOCK,
    VIRTUAL_NOTE,
    Cell,
    CellState,
    milliseconds,
    percent,
)
from harness.report.trial_view import Bar, BarKind
from harness.report.view import ComparisonView, PlainTable, ReportView, VerdictKind

__all__ = [
    "answer",
    "budget_table",
    "comparison_table",
    "failure_table",
    "headline_table",
    "plain_table",
    "time_table",
]

STAGE_STYLES = {
    "stt": "cyan",
    "endpointing": "yellow",
    "llm": "blue",
    "tts": "green",
    "playout": "magenta",
    "harness": "bright_black",
}
KIND_SIGNS = {
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


def printable(text: str, style: str = "") -> Text:
    """Return text without control characters: a provider's escape sequence moves no cursor."""
    kept = "".join(
        c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs", "Cf") else "\ufffd"
        for c in text
    )
    return Text(kept, style=style)


def _cell(cell: Cell) -> Text:
    text = printable(cell.text, _STATE_STYLES[cell.state])
    if cell.interval:
        text.append(f"\n{cell.interval}", style="not bold dim")
    return text


def name_text(view: ReportView, index: int) -> Text:
    """Return a candidate's name; that of what is emulated says so."""
    return printable(view.candidates[index].name)


def clock_mark() -> Text:
    """Return what every output of a run on the virtual clock begins with."""
    return Text.assemble((VIRTUAL_CLOCK, EMULATED), " ", (VIRTUAL_NOTE, "yellow"))


def answer(view: ReportView) -> RenderableType:
    """Return the answer in words, with what is emulated and the cautions."""
    parts: list[RenderableType] = []
    if view.emulated:
        parts.append(
            Text.assemble(("EMULATED", EMULATED), " ", printable(view.emulated, style="yellow"))
        )
    if view.virtual:
        parts.append(clock_mark())
    if view.verdict is not None:
        parts.append(
            Text.assemble(
                (view.verdict.kind.value, _VERDICT_STYLES[view.verdict.kind]),
                "  ",
                printable(view.verdict.reason),
            )
        )
    parts.append(printable(view.answer, "bold"))
    parts += [printable(f"  {line}") for line in view.support]
    for caution in view.cautions:
        sign = "!" if caution.serious else "·"
        style = "yellow" if caution.serious else "dim"
        parts.append(printable(f"{sign} {caution.title}. {caution.advice}", style))
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
                printable(column.name) if first == 0 else "",
                name_text(view, row.candidate),
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
                "red" if bar.kind is BarKind.UNATTRIBUTED else STAGE_STYLES.get(bar.stage, "white")
            )
            text.append(KIND_SIGNS[bar.kind] * (end - drawn), style=style)
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
                style=STAGE_STYLES.get(name, ""),
            )
        table.add_row(
            name_text(view, each.candidate) if each.candidate != before else "",
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
            printable(each.name),
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
        title=printable(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for number, column in enumerate(table.columns[:columns]):
        found.add_column(printable(column), style="bold" if number == 0 else "")
    before: Cell | str = ""
    for row in table.rows:
        first = "" if row[0] == before else row[0]
        before = row[0]
        found.add_row(
            *(
                _cell(x) if isinstance(x, Cell) else printable(x)
                for x in (first, *row[1:])[:columns]
            )
        )
    return Group(found, printable(table.note, "dim")) if table.note else found


def failure_table(view: ReportView) -> Table | None:
    """Return failures by stage and kind; None where no trial failed."""
    if not view.failures:
        return None
    table = Table(title="Failures", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Stage")
    table.add_column("Kind")
    for candidate in view.candidates:
        table.add_column(printable(candidate.name), justify="right")
    table.add_column("Said")
    table.add_column("Example")
    for row in view.failures:
        table.add_row(
            row.stage,
            row.kind,
            *(str(number) for number in row.counts),
            printable(row.message),
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
        measured = printable(each.measured)
        if each.emulated:
            measured.append(" ")
            measured.append("EMULATED", style=EMULATED)
        table.add_row(
            Text(each.kind.value, style=_VERDICT_STYLES[each.kind]),
            printable(each.budget),
            printable(each.candidate),
            measured,
            printable(each.limit),
            printable(each.margin or DASH),
            printable(each.reason),
        )
    return table
