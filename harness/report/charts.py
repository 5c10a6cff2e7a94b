"""Charts for paper and slides: SVG drawn by matplotlib, without a display or a date.

The page draws its own charts; these stand in for them in print and go into files when asked. Text
stays text, so that it can be searched and edited. The same view gives the same bytes.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.collector import collector_off
from harness.report.format import VIRTUAL_CLOCK, milliseconds
from harness.report.trial_view import BarKind
from harness.report.view import ComparisonView, Distribution, ReportView

__all__ = ["CHARTS", "draw_charts"]

# Okabe and Ito, "Color Universal Design", 2008.
CANDIDATE_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#aa4a86",
    "#9a6a00",
    "#2b8cc4",
    "#5b5f67",
    "#7a4fb5",
)
# A longer one would leave no room for the chart.
LONGEST_NAME = 48
# Paper needs no more.
PRINTED_POINTS = 120
DASHES = ("-", "--", ":", "-.", (0, (4, 2)), (0, (12, 4)), (0, (1, 4)), (0, (6, 2, 2, 2)))
STAGE_COLOURS = {
    "stt": "#56b4e9",
    "endpointing": "#e69f00",
    "llm": "#0072b2",
    "tts": "#009e73",
    "playout": "#cc79a7",
    "harness": "#8a929c",
    "": "#d55e00",
}
HATCHES = {
    BarKind.PROVIDER: "",
    BarKind.CLIENT: "//",
    BarKind.WAIT: "..",
    BarKind.UNATTRIBUTED: "xx",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "turnbench",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#8a929c",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e1e4e8",
    "grid.linewidth": 0.7,
    "xtick.color": "#565e6b",
    "ytick.color": "#565e6b",
    "axes.labelcolor": "#565e6b",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "hatch.linewidth": 0.6,
}
_UNITS = {"ms": "ms", "rate": "%", "ratio": "", "tokens/s": "tokens/s", "count": ""}


def _plain(text: str) -> str:
    """Keep a name from being read as mathematics, and drop what XML 1.0 cannot hold."""
    kept = "".join(c for c in text if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF)
    if len(kept) > LONGEST_NAME:
        kept = kept[: LONGEST_NAME - 1] + "…"
    return kept.replace("$", r"\$")


def _mark(figure: Figure, view: ReportView, *, emulated: bool) -> None:
    marks = (*(["EMULATED"] if emulated else []), *([VIRTUAL_CLOCK] if view.virtual else []))
    if marks:
        figure.text(
            0.995,
            0.995,
            " · ".join(marks),
            ha="right",
            va="top",
            color="#8a5a00",
            weight="bold",
            fontsize=10,
        )


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
        buffer, metadata={"Date": None, "Creator": "turnbench", "Title": title}
    )
    return buffer.getvalue()


def _scaled(values: Sequence[float], unit: str) -> list[float]:
    return [value * 100 for value in values] if unit == "rate" else list(values)


def _curves(axes: Axes, distribution: Distribution, names: Sequence[str]) -> None:
    for curve in distribution.curves:
        if not curve.points:
            continue
        points = curve.points[:: max(1, len(curve.points) // PRINTED_POINTS)]
        xs = _scaled([value for value, _ in points], distribution.unit)
        ys = [share * 100 for _, share in points]
        style = DASHES[curve.candidate % len(DASHES)]
        axes.step(
            xs,
            ys,
            where="post",
            color=CANDIDATE_COLOURS[curve.candidate % len(CANDIDATE_COLOURS)],
            linestyle=style,
            linewidth=1.4,
            label=_plain(names[curve.candidate]),
        )
    if distribution.target is not None:
        axes.axvline(distribution.target, color="#15181e", linewidth=0.9, linestyle=(0, (5, 3)))
        axes.annotate(
            _plain(f"target {distribution.target:g} {distribution.unit}"),
            (distribution.target, 2),
            xytext=(4, 2),
            textcoords="offset points",
        )
    axes.set_ylim(0, 101)
    axes.set_title(_plain(distribution.name))
    axes.set_xlabel(_UNITS.get(distribution.unit, distribution.unit))
    axes.set_ylabel("% of trials")


def _ecdf(view: ReportView) -> str | None:
    headline = {column.metric for column in view.columns}
    shown = [
        each
        for each in view.distributions
        if each.metric in headline and any(curve.points for curve in each.curves)
    ]
    if not shown:
        return None
    names = [each.name for each in view.candidates]
    columns = 2 if len(shown) > 1 else 1
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(8.4, 2.5 * rows + 0.5), layout="constrained")
    for k, each in enumerate(shown):
        _curves(figure.add_subplot(rows, columns, k + 1), each, names)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
    _mark(figure, view, emulated=any(each.emulated for each in shown))
    return _svg(figure, "Cumulative distributions")


def _draw_pairs(axes: Axes, comparison: ComparisonView) -> None:
    points = sorted(comparison.points, key=lambda each: each.difference)
    xs = _scaled([each.difference for each in points], comparison.unit)
    cell = comparison.difference
    scale = 100.0 if comparison.unit == "rate" else 1.0
    if cell.low is not None and cell.high is not None:
        axes.axvspan(cell.low * scale, cell.high * scale, color="#0a5a9c", alpha=0.15, lw=0)
    if cell.value is not None and math.isfinite(cell.value):
        axes.axvline(cell.value * scale, color="#0a5a9c", linewidth=1.4)
    axes.axvline(0, color="#15181e", linewidth=0.9, linestyle="--")
    axes.scatter(xs, range(len(xs)), s=10, color=["#0072b2" if x <= 0 else "#d55e00" for x in xs])
    axes.set_yticks([])
    axes.set_title(
        f"{_plain(comparison.name)}\n"
        f"{_plain(comparison.candidate)}\nminus {_plain(comparison.reference)}",
        fontsize=8.5,
    )
    axes.set_xlabel(_UNITS.get(comparison.unit, comparison.unit))


def _paired(view: ReportView) -> str | None:
    shown = [each for each in view.comparisons if each.points]
    shown = [each for each in shown if each.metric == shown[0].metric][:12]
    if not shown:
        return None
    columns = 2 if len(shown) > 1 else 1
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(8.4, 2.8 * rows), layout="constrained")
    for k, each in enumerate(shown):
        _draw_pairs(figure.add_subplot(rows, columns, k + 1), each)
    _mark(figure, view, emulated=any(each.emulated for each in shown))
    return _svg(figure, "Paired differences")


def _pareto(view: ReportView) -> str | None:
    shown = [
        (point, point.latency.value, point.error.value)
        for point in view.pareto
        if point.latency.value is not None
        and math.isfinite(point.latency.value)
        and point.error.value is not None
    ]
    if not shown:
        return None
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for point, x, error in shown:
        y = error * 100
        colour = CANDIDATE_COLOURS[point.candidate % len(CANDIDATE_COLOURS)]
        if point.latency.low is not None and point.latency.high is not None:
            axes.plot([point.latency.low, point.latency.high], [y, y], color=colour, alpha=0.6)
        if point.error.low is not None and point.error.high is not None:
            axes.plot([x, x], [point.error.low * 100, point.error.high * 100], color=colour)
        axes.scatter([x], [y], color=colour, s=28, zorder=3)
        if point.on_front:
            axes.scatter([x], [y], facecolors="none", edgecolors=colour, s=110, zorder=3)
        axes.annotate(
            _plain(view.candidates[point.candidate].name),
            (x, y),
            xytext=(8, 7),
            textcoords="offset points",
        )
    axes.margins(0.25)
    axes.set_xlabel(_plain(f"{view.latency_name}, p50, ms"))
    axes.set_ylabel("WER, %")
    emulated = any(view.candidates[point.candidate].emulated for point, _, _ in shown)
    _mark(figure, view, emulated=emulated)
    return _svg(figure, "Response against word error rate")


def _waterfall(view: ReportView) -> str | None:
    if not view.waterfalls:
        return None
    figure = Figure(figsize=(8.4, 0.55 * len(view.waterfalls) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for row, each in enumerate(view.waterfalls):
        labels.append(_plain(f"{view.candidates[each.candidate].name}, {each.title}"))
        for bar in each.bars:
            stage = "" if bar.kind is BarKind.UNATTRIBUTED else bar.stage
            axes.barh(
                row,
                (bar.end_ns - bar.start_ns) / 1e6,
                left=bar.start_ns / 1e6,
                height=0.62,
                color=STAGE_COLOURS.get(stage, "#8a929c"),
                alpha=0.5 if bar.kind is BarKind.WAIT else 1.0,
                hatch=HATCHES[bar.kind],
                edgecolor="white",
                linewidth=0.4,
            )
        axes.text(each.response_ns / 1e6, row, f"  {milliseconds(each.response_ns)}", va="center")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    axes.set_xlabel("ms after the end of speech")
    used = {bar.stage for each in view.waterfalls for bar in each.bars}
    handles = [
        Patch(facecolor=colour, label=stage or "unattributed")
        for stage, colour in STAGE_COLOURS.items()
        if stage in used
    ]
    handles += [
        Patch(facecolor="#ccd1d8", hatch=HATCHES[kind], edgecolor="white", label=kind.value)
        for kind in BarKind
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False)
    _mark(figure, view, emulated=any(each.emulated for each in view.candidates))
    return _svg(figure, "Where the time goes")


CHARTS: dict[str, Callable[[ReportView], str | None]] = {
    "waterfall": _waterfall,
    "ecdf": _ecdf,
    "paired": _paired,
    "pareto": _pareto,
}


def draw_charts(view: ReportView, names: Sequence[str] = tuple(CHARTS)) -> dict[str, str]:
    """Return the SVG text of each chart that the view has the numbers for, by name.

    Args:
        view: what to draw.
        names: of "waterfall", "ecdf", "paired", "pareto".
    """
    drawn: dict[str, str] = {}
    with collector_off(), rc_context(_STYLE):
        for name in names:
            text = CHARTS[name](view)
            if text is not None:
                drawn[name] = text
    return drawn
