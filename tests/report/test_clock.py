"""Every output of a run on the virtual clock says so, in one place; none of another run does."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from rich.console import Console

from harness.domain.suite import Clock
from harness.report.assemble import build_view
from harness.report.charts import draw_charts
from harness.report.export import render_json, trial_records
from harness.report.format import VIRTUAL_CLOCK, VIRTUAL_NOTE
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import answer
from harness.report.trace import render_trace
from harness.report.trial_terminal import show_trial
from harness.report.view import FactTable, PlainTable, ReportView, VerdictKind
from tests.report.samples import make_view
from tests.report.test_assemble import make_data


def printed(what: Callable[[ReportView], object], view: ReportView) -> str:
    """Return what the terminal shows."""
    out = Console(file=io.StringIO(), width=200)
    out.print(what(view))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


OUTPUTS: dict[str, Callable[[ReportView], str]] = {
    "terminal": partial(printed, answer),
    "one trial": partial(printed, lambda view: show_trial(view, view.trials[0])),
    "page": render_html,
    "Markdown": render_markdown,
    "JUnit": render_junit,
    "trace": lambda view: render_trace(view, view.trials[0]),
    **{
        f"chart {name}": lambda view, name=name: draw_charts(view)[name]  # type: ignore[misc]
        for name in draw_charts(make_view(20))
    },
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_marked_once(output: str) -> None:
    """The mark stands in every output of a virtual run, once, and in none of a real one."""
    real = make_view(20, verdict=VerdictKind.PASS)
    virtual = replace(real, virtual=VIRTUAL_NOTE)
    assert VIRTUAL_CLOCK not in OUTPUTS[output](real)
    found = OUTPUTS[output](virtual)
    # A trace names each turn's track.
    assert found.count(VIRTUAL_CLOCK) == (len(real.trials[0].turns) if output == "trace" else 1)


def test_records() -> None:
    """Rows and JSON name the clock of the run."""
    real = make_view(20)
    virtual = replace(real, virtual=VIRTUAL_NOTE)
    for view, clock in ((real, "real"), (virtual, "virtual")):
        assert {each["clock"] for each in trial_records(view)} == {clock}
        assert json.loads(render_json(view))["clock"] == clock


def test_trust() -> None:
    """The page of a virtual run says that it cannot have stalls, and leaves disturbances out."""
    data = make_data()

    def titles(clock: Clock) -> dict[str, PlainTable | FactTable]:
        view = build_view(replace(data, suite=replace(data.suite, clock=clock)))
        assert bool(view.virtual) is (clock is Clock.VIRTUAL)
        return {each.title: each for each in view.trust}

    real, virtual = titles(Clock.REAL), titles(Clock.VIRTUAL)
    assert {"With and without disturbed trials", "The machine's timekeeping"} <= set(real)
    assert not {"With and without disturbed trials", "The machine's timekeeping"} & set(virtual)
    assert "no stall of the machine can be in these figures" in virtual["The virtual clock"].note
