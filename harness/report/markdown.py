"""A summary in Markdown, for a CI job's page or a comment on a pull request."""

import re
from collections.abc import Iterable, Sequence

from harness.report.carried import carried_rows
from harness.report.format import VIRTUAL_CLOCK, Cell, CellState, milliseconds, percent
from harness.report.trial_view import BarKind
from harness.report.view import PlainTable, ReportView, VerdictKind

__all__ = ["escape_markdown", "render_markdown"]

_SIGNS = {VerdictKind.PASS: "✅", VerdictKind.FAIL: "❌", VerdictKind.INCONCLUSIVE: "❔"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$])")


def escape_markdown(text: str) -> str:
    """Return text that shows as itself: no markup, no HTML, no mention, on one line."""
    one_line = " ".join(text.split())
    escaped = _SPECIAL.sub(lambda found: "\\" + found.group(1), one_line)
    # A zero-width space keeps "@name" and "owner/name#1" from calling anyone.
    return re.sub(r"@(?=\w)", "@\u200b", escaped)


def _cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    if cell.state is CellState.VALUE and cell.interval:
        text += f" <sub>{escape_markdown(cell.interval)}</sub>"
    return text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, ""]


def _plain(table: PlainTable) -> list[str]:
    rows = [
        [_cell(value) if isinstance(value, Cell) else escape_markdown(value) for value in row]
        for row in table.rows
    ]
    return [
        f"**{escape_markdown(table.title)}**",
        "",
        *_table([escape_markdown(column) for column in table.columns], rows),
    ]


def _headline(view: ReportView) -> list[str]:
    header = ["Candidate", *(escape_markdown(column.name) for column in view.columns), "Failed"]
    rows = []
    for row in carried_rows(view):
        candidate = view.candidates[row.candidate]
        name = f"**{escape_markdown(candidate.name)}**"
        cells = [
            "<br>".join(f"{label} {_cell(each)}" for label, each in cell.statistics)
            + f"<br><sub>n = {cell.n}"
            + (f", {cell.failures} failed" if cell.failures else "")
            + "</sub>"
            for cell in row.cells
        ]
        rows.append([name, *cells, f"{row.failures} of {row.trials}"])
    return _table(header, rows)


def _time(view: ReportView) -> list[str]:
    rows = []
    for each in view.waterfalls:
        sums: dict[str, int] = {}
        for bar in each.bars:
            apart = bar.kind in (BarKind.CLIENT, BarKind.UNATTRIBUTED)
            name = bar.kind.value if apart else bar.stage.upper()
            sums[name] = sums.get(name, 0) + bar.end_ns - bar.start_ns
        parts = ", ".join(
            f"{escape_markdown(name)} {milliseconds(ns)}"
            + (f" ({percent(ns / each.response_ns, 0)})" if each.response_ns else "")
            for name, ns in sorted(sums.items(), key=lambda item: -item[1])
        )
        rows.append(
            [
                escape_markdown(view.candidates[each.candidate].name),
                escape_markdown(each.title),
                each.response,
                parts,
            ]
        )
    return _table(["Candidate", "Turn", "Response", "Where it went"], rows) if rows else []


def render_markdown(view: ReportView, *, link: str = "") -> str:
    """Return the summary.

    Args:
        view: what to show.
        link: address of the HTML report, where it can be reached.
    """
    lines = [f"## {escape_markdown(view.title)}", ""]
    if view.emulated:
        lines += ["> [!WARNING]", f"> **EMULATED.** {escape_markdown(view.emulated)}", ""]
    if view.virtual:
        lines += ["> [!NOTE]", f"> **{VIRTUAL_CLOCK}:** {escape_markdown(view.virtual)}", ""]
    if view.verdict is not None:
        verdict = view.verdict
        lines += [
            f"### {_SIGNS[verdict.kind]} {verdict.kind.value}: {escape_markdown(verdict.reason)}",
            "",
            *_table(
                ["", "Budget", "Candidate", "Measured", "Limit", "Margin", "Why"],
                [
                    [
                        f"{_SIGNS[each.kind]} {each.kind.value}",
                        *(
                            escape_markdown(text)
                            for text in (
                                each.budget,
                                each.candidate,
                                each.measured + (" (EMULATED)" if each.emulated else ""),
                                each.limit,
                                each.margin,
                                each.reason,
                            )
                        ),
                    ]
                    for each in verdict.budgets
                ],
            ),
        ]
    lines += [f"**{escape_markdown(view.answer)}**", ""]
    lines += [f"- {escape_markdown(line)}" for line in view.support]
    lines += [""] if view.support else []
    lines += [] if view.matrix is None else _plain(view.matrix)
    lines += _headline(view)
    lines += _time(view)
    if view.comparisons:
        lines += _table(
            ["Compared", "Candidate", "against", "Difference", "Ratio", "p", "Could have seen", ""],
            [
                [
                    escape_markdown(each.name),
                    escape_markdown(each.candidate) + (" EMULATED" if each.emulated else ""),
                    escape_markdown(each.reference),
                    _cell(each.difference),
                    _cell(each.ratio),
                    escape_markdown(each.p_value),
                    escape_markdown(each.detectable),
                    escape_markdown(each.finding),
                ]
                for each in view.comparisons
            ],
        )
        lines += [f"- {escape_markdown(line)}" for line in view.comparison_notes]
        lines += [""] if view.comparison_notes else []
    if view.word_error_totals is not None:
        lines += _plain(view.word_error_totals)
    if view.failures:
        lines += _table(
            ["Failed at", "How", *(escape_markdown(each.name) for each in view.candidates), "Said"],
            [
                [
                    escape_markdown(each.stage),
                    escape_markdown(each.kind),
                    *(str(number) for number in each.counts),
                    escape_markdown(each.message),
                ]
                for each in view.failures
            ],
        )
    for table in (*view.breakdowns, *view.extra):
        lines += _plain(table)
    if view.cautions:
        lines += [
            *(
                f"- {'**' if each.serious else ''}{escape_markdown(each.title)}"
                f"{'**' if each.serious else ''}. {escape_markdown(each.advice)}"
                for each in view.cautions
            ),
            "",
        ]
    facts = " · ".join((*view.subtitle, f"run {view.run}"))
    lines.append(f"<sub>{escape_markdown(facts)}</sub>")
    if link:
        # Parentheses and spaces would end the link early.
        address = link.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
        lines += ["", f"[The whole report]({address})"]
    return "\n".join(lines).rstrip() + "\n"
