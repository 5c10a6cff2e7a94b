"""The report as one HTML page: no network, no second file.

The page holds its style, its script and its data. Texts reach it in two ways, both closed to
markup: through jinja2 with autoescape, and through JSON in which ``<``, ``>`` and ``&`` are written
as escapes. A content security policy allows the page's own scripts by their hash and nothing from
elsewhere. Trial details are packed by gzip in chunks, unpacked when one is opened.
"""

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import jinja2
from markupsafe import Markup

from harness.collector import collector_off
from harness.report.carried import carried_rows, carried_table, has_tail
from harness.report.format import (
    DASH,
    MINUS,
    Cell,
    CellState,
    candidate_title,
    milliseconds,
    percent,
)
from harness.report.page_data import base64_of, embed_json, pack_trials, page_data
from harness.report.trial_view import Bar, BarKind, WaterfallView
from harness.report.view import PlainTable, ReportView

__all__ = ["AudioClip", "render_html"]

_STAGES = (
    ("stt", "STT"),
    ("endpointing", "Endpointing"),
    ("llm", "LLM"),
    ("tts", "TTS"),
    ("playout", "Playout"),
    ("harness", "Harness"),
)
_STAGE_NAMES = dict(_STAGES)
CHARTED = 8
# Turns side by side; more would run out of the page.
_WIDEST = 4
# A number with its unit and share ("1 119 ms · 51 %", "5 of 6"), or a dash where there is none.
_FIGURE = re.compile(
    rf"{DASH}?|[±+{MINUS}]?\d[\d\s.]*\s?(ms|s|%|tokens/s|of \d+)?(\W+[\d.]+\s?%\W*)?"
)
_KINDS = (
    (BarKind.PROVIDER, "provider"),
    (BarKind.CLIENT, "client"),
    (BarKind.WAIT, "known wait"),
    (BarKind.UNATTRIBUTED, "unattributed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioClip:
    """A reply's audio to embed.

    Attributes:
        media_type: "audio/wav" or another that browsers play.
        data: the file's bytes.
    """

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A statistic on a column's scale, in percent of its width."""

    at: float
    low: float | None
    high: float | None
    main: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _BarBox:
    """A bar of the waterfall, in percent of the track."""

    left: float
    width: float
    stage: str
    kind: str
    text: str
    short: str
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _WaterfallRow:
    """A waterfall with the places of its bars."""

    view: WaterfallView
    bars: tuple[_BarBox, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _WaterfallGroup:
    """The waterfalls of one candidate."""

    candidate: int
    rows: tuple[_WaterfallRow, ...] = field(default_factory=tuple)


def _sparks(view: ReportView) -> list[dict[int, tuple[_Mark, ...]]]:
    """Place each statistic of the headline table on its column's scale."""
    sparks: list[dict[int, tuple[_Mark, ...]]] = []
    for column in range(len(view.columns)):
        cells = {row.candidate: row.cells[column] for row in view.rows}
        values = [
            edge
            for cell in cells.values()
            for _, each in cell.statistics
            for edge in (each.value, each.low, each.high)
            if edge is not None and math.isfinite(edge)
        ]
        high, low = max(values, default=1.0), min([*values, 0.0])
        if high <= low:
            high = low + 1.0

        def place(value: float | None, low: float = low, high: float = high) -> float | None:
            return None if value is None else round((value - low) / (high - low) * 100, 2)

        placed: dict[int, tuple[_Mark, ...]] = {}
        for candidate, cell in cells.items():
            marks = []
            for k, (_, each) in enumerate(cell.statistics):
                at = place(each.value) if each.state is CellState.VALUE else None
                if at is not None:
                    marks.append(
                        _Mark(at=at, low=place(each.low), high=place(each.high), main=k == 0)
                    )
            placed[candidate] = tuple(marks)
        sparks.append(placed)
    return sparks


def _step(span: float, parts: int) -> float:
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return next((k * power for k in (1, 2, 2.5, 5, 10) if k * power >= raw), 10 * power)


def _waterfalls(
    view: ReportView,
) -> tuple[list[_WaterfallGroup], list[tuple[float, str]], float]:
    """Place all bars on one scale; return them with the axis."""
    edges = [edge for each in view.waterfalls for bar in each.bars for edge in bar[3:5]]
    low, high = min([*edges, 0]), max([*edges, 1])
    span = high - low
    step = _step(span, 6)
    ticks = [
        (round((at - low) / span * 100, 3), milliseconds(at, 0))
        for at in (k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))
    ]
    groups: dict[int, list[_WaterfallRow]] = {}
    for each in view.waterfalls:
        boxes = []
        for bar in each.bars:
            start, end = sorted((bar.start_ns, bar.end_ns))
            width = (end - start) / span * 100
            length = milliseconds(bar.end_ns - bar.start_ns)
            share = (
                f" · {percent((bar.end_ns - bar.start_ns) / each.response_ns, 0)}"
                if each.response_ns > 0
                else ""
            )
            boxes.append(
                _BarBox(
                    left=round((start - low) / span * 100, 3),
                    width=round(width, 3),
                    stage=bar.stage or "none",
                    kind=bar.kind.value,
                    text=f"{bar.label} {length}",
                    short=length,
                    tip=f"{bar.label}: {length}{share}\n{_blame(bar)}",
                )
            )
        groups.setdefault(each.candidate, []).append(_WaterfallRow(view=each, bars=tuple(boxes)))
    placed = [
        _WaterfallGroup(candidate=candidate, rows=tuple(rows)) for candidate, rows in groups.items()
    ]
    return placed, ticks, round(step / span * 100, 4)


def _blame(bar: Bar) -> str:
    kind = dict(_KINDS)[bar.kind]
    stage = _STAGE_NAMES.get(bar.stage, "")
    return " · ".join(part for part in (stage, kind) if part)


def _stage_table(view: ReportView) -> PlainTable:
    """Sum the bars by stage and by what spent them."""
    headers = [f"{view.candidates[each.candidate].name}, {each.title}" for each in view.waterfalls]
    rows: list[tuple[Cell | str, ...]] = []

    def shown(text: str, whole: WaterfallView) -> Cell:
        return Cell(text=text, emulated=view.candidates[whole.candidate].emulated)

    def line(name: str, keep: Any) -> None:
        sums = [
            sum(bar.end_ns - bar.start_ns for bar in each.bars if keep(bar))
            for each in view.waterfalls
        ]
        if any(sums):
            rows.append(
                (
                    name,
                    *(
                        shown(
                            milliseconds(ns, 0 if abs(ns) >= 10_000_000 else 1)
                            + (
                                f" · {percent(ns / whole.response_ns, 0)}"
                                if whole.response_ns
                                else ""
                            ),
                            whole,
                        )
                        for ns, whole in zip(sums, view.waterfalls, strict=True)
                    ),
                )
            )

    for stage, name in _STAGES:
        line(
            name,
            lambda bar, stage=stage: (
                bar.stage == stage and bar.kind not in (BarKind.UNATTRIBUTED, BarKind.CLIENT)
            ),
        )
    line("Client (Python, plugin)", lambda bar: bar.kind is BarKind.CLIENT)
    line("Unattributed", lambda bar: bar.kind is BarKind.UNATTRIBUTED)
    rows.append(("Response", *(shown(each.response, each) for each in view.waterfalls)))
    columns = ("Stage", *headers)
    if len(headers) > _WIDEST:
        # Many turns go down the page, not across it.
        turned = tuple(zip(columns, *rows, strict=True))
        columns, rows = ("Turn", *map(str, turned[0][1:])), list(turned[1:])
    return PlainTable(title="By stage", columns=columns, rows=tuple(rows))


def _part_tables(view: ReportView) -> list[PlainTable]:
    return [
        PlainTable(
            title=f"{view.candidates[each.candidate].name}, {each.title} ({each.trial})",
            columns=("Part", "Stage", "Spent by", "From", "To", "Length"),
            rows=tuple(
                (
                    bar.label,
                    _STAGE_NAMES.get(bar.stage, "–"),
                    dict(_KINDS)[bar.kind],
                    milliseconds(bar.start_ns, 1),
                    milliseconds(bar.end_ns, 1),
                    Cell(
                        text=milliseconds(bar.end_ns - bar.start_ns),
                        emulated=view.candidates[each.candidate].emulated,
                    ),
                )
                for bar in each.bars
            ),
        )
        for each in view.waterfalls
    ]


def _charted(view: ReportView) -> list[int]:
    """Return which comparisons get a chart: those of the first metric, as far as they are few."""
    drawn = [k for k, each in enumerate(view.comparisons) if each.points]
    if not drawn:
        return []
    leading = view.comparisons[drawn[0]].metric
    return [k for k in drawn if view.comparisons[k].metric == leading][:CHARTED]


def _numeric(table: PlainTable) -> tuple[bool, ...]:
    """Return which columns hold figures, which stand right so that their digits meet."""
    columns = [[row[k] for row in table.rows] for k in range(len(table.columns))]
    return tuple(
        k > 0
        and bool(column)
        and all(isinstance(each, Cell) or _FIGURE.fullmatch(each) for each in column)
        and any(isinstance(each, Cell) or each.strip(DASH) for each in column)
        for k, column in enumerate(columns)
    )


def _sections(view: ReportView) -> list[tuple[str, str]]:
    wanted = (
        ("numbers", "Numbers", True),
        ("time", "Where time goes", bool(view.waterfalls)),
        ("comparison", "Compared", bool(view.comparisons)),
        ("distribution", "Distribution", bool(view.distributions)),
        (
            "accuracy",
            "Accuracy",
            bool(view.pareto or view.word_error_totals or view.word_errors),
        ),
        ("failures", "Failures", True),
        ("trust", "Trust", bool(view.trust)),
        ("trials", "Trials", bool(view.trials)),
        ("settings", "Settings", bool(view.settings)),
        ("definitions", "Definitions", bool(view.definitions)),
    )
    return [(anchor, label) for anchor, label, shown in wanted if shown]


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _asset(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text(encoding="utf-8")


def _image(svg: str | None) -> str | None:
    return None if svg is None else f"data:image/svg+xml;base64,{base64_of(svg.encode('utf-8'))}"


def render_html(
    view: ReportView,
    *,
    prints: Mapping[str, str] = MappingProxyType({}),
    audio: Mapping[tuple[str, int], AudioClip] = MappingProxyType({}),
    audio_base: str = "",
) -> str:
    """Return the page.

    Args:
        view: what it shows.
        prints: SVG texts of ``harness.report.charts`` by name ("ecdf", "paired", "pareto"), which
            stand in for the interactive charts on paper and without JavaScript.
        audio: replies to embed, by trial id and index of the turn; others are linked where the
            view has a link.
        audio_base: what comes before such a link, from the page's own folder.
    """
    view = replace(view, rows=carried_rows(view))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(_asset("report.html.j2"))
    script, theme = _asset("report.js"), _asset("theme.js")
    waterfalls, ticks, grid = _waterfalls(view) if view.waterfalls else ([], [], 25.0)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)} {_hash(theme)}",
            # Bars are placed by style attributes; nothing of a provider's reaches one.
            "style-src 'unsafe-inline'",
            "img-src data:",
            "media-src data: 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    clips = {
        f"{trial}.{turn}": f"data:{clip.media_type};base64,{base64_of(clip.data)}"
        for (trial, turn), clip in audio.items()
    }
    with collector_off():
        return template.render(
            view=view,
            # Where all is emulated, the banner, the heading and each name say it: not each number.
            badged=not view.throughout,
            titled=candidate_title,
            tails=has_tail(view),
            tail_turns=any(each.title != "median turn" for each in view.waterfalls),
            every_metric=None if view.all_metrics is None else carried_table(view.all_metrics),
            sections=_sections(view),
            sparks=_sparks(view),
            waterfalls=waterfalls,
            ticks=ticks,
            grid=grid,
            stage_names=_STAGES,
            numeric=_numeric,
            stage_table=_stage_table(view),
            part_tables=_part_tables(view),
            definitions={each.metric: each.formula for each in view.definitions},
            prints={name: _image(prints.get(name)) for name in ("ecdf", "paired", "pareto")},
            charted=_charted(view),
            leading=[c for c in view.comparisons if c.metric == view.comparisons[0].metric],
            policy=policy,
            css=Markup(_asset("report.css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            theme_script=Markup(theme),  # noqa: S704
            data=embed_json(page_data(view, audio_base=audio_base)),
            chunks=[*map(Markup, view.packed)] or pack_trials(view.trials),
            audio=embed_json(clips),
        )
