"""Markdown, JUnit, JSON, traces and charts of one view."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report.charts import CHARTS, draw_charts
from harness.report.export import render_json
from harness.report.junit import render_junit
from harness.report.markdown import escape_markdown, render_markdown
from harness.report.trace import render_trace
from harness.report.view import VerdictKind
from tests.report.samples import HOSTILE, make_view

VIEW = make_view(80, verdict=VerdictKind.FAIL)


def test_markdown_says_the_answer_first() -> None:
    """The summary opens with the verdict and the answer, and says EMULATED before any number."""
    text = render_markdown(VIEW, link="https://ci.example/run (1)/report.html")
    assert text.index("EMULATED") < text.index("FAIL") < text.index("sooner")
    assert "timed out" in text or "n too small" in text or "p95" in text
    assert "](https://ci.example/run%20%281%29/report.html)" in text


def test_markdown_tables_are_rectangular() -> None:
    """Every row of a table has as many cells as its header, whatever the texts hold."""
    hostile = replace(
        VIEW,
        failures=tuple(replace(each, message=f"a | b\n{HOSTILE}") for each in VIEW.failures),
    )
    width = None
    for line in render_markdown(hostile).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.replace("\\|", "").count("|") - 1
        width = cells if width is None else width
        assert cells == width, line


@given(st.text(max_size=60))
def test_markdown_is_inert(text: str) -> None:
    """No text opens a tag, a link, a table cell, a mention or a new line."""
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    for k, character in enumerate(escaped):
        if character in "<>[]|`*_":
            assert escaped[k - 1] == "\\"
    assert "@a" not in escape_markdown("@anyone")


def test_junit_counts_each_budget() -> None:
    """A failed budget is a failure with what was measured; a passed one is an empty case."""
    root = ET.fromstring(render_junit(VIEW))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    cases = root.findall("./testsuite/testcase")
    assert len(cases[0]) == 0
    failure = cases[1].find("failure")
    assert failure is not None
    assert "474 ms (EMULATED)" in (failure.text or "")


def test_junit_never_passes_the_inconclusive() -> None:
    """An inconclusive budget is an error, or skipped where the merge may go on; never a pass."""
    view = make_view(40, verdict=VerdictKind.INCONCLUSIVE)
    strict = ET.fromstring(render_junit(view))
    assert (strict.get("errors"), strict.get("skipped")) == ("1", "0")
    mild = ET.fromstring(render_junit(view, inconclusive_fails=False))
    assert (mild.get("errors"), mild.get("skipped")) == ("0", "1")


def test_junit_of_a_run_inconclusive_as_a_whole() -> None:
    """Where every budget passed but the gate is inconclusive, one case says so."""
    assert VIEW.verdict is not None
    passed = tuple(replace(each, kind=VerdictKind.PASS) for each in VIEW.verdict.budgets)
    verdict = replace(VIEW.verdict, kind=VerdictKind.INCONCLUSIVE, budgets=passed, reason="noisy")
    root = ET.fromstring(render_junit(replace(VIEW, verdict=verdict)))
    assert (root.get("tests"), root.get("errors")) == ("3", "1")


def test_junit_needs_a_gate() -> None:
    """A run that was not gated has no verdict to write."""
    with pytest.raises(ValueError, match="not gated"):
        render_junit(replace(VIEW, verdict=None))


@given(st.text(max_size=40))
@settings(max_examples=60)
def test_junit_is_wellformed(text: str) -> None:
    """Any text of a provider leaves well-formed XML."""
    assert VIEW.verdict is not None
    budget = replace(VIEW.verdict.budgets[1], reason=text, candidate=text)
    verdict = replace(VIEW.verdict, budgets=(budget,), reason=text)
    ET.fromstring(render_junit(replace(VIEW, verdict=verdict)))


def test_json_holds_every_trial() -> None:
    """The JSON export has the answer, the headline and a record for each trial, without NaN."""
    body = json.loads(render_json(VIEW), parse_constant=pytest.fail)
    assert body["format"] == 1
    assert body["answer"] == VIEW.answer
    assert len(body["trials"]) == len(VIEW.trials)
    assert body["trials"][3]["response_ms"] == VIEW.trials[3].values[0]
    assert body["rows"][0]["cells"][0]["statistics"][0][0] == "p50"


def test_trace_holds_every_bar() -> None:
    """A trace has each part of the response with its length, on a track of its own."""
    trial = next(each for each in VIEW.trials if each.turns[0].bars)
    body = json.loads(render_trace(VIEW, trial))
    events = body["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    response = [e for e in events if e["ph"] == "X" and tracks[e["tid"]] == "response"]
    bars = trial.turns[0].bars
    assert [e["dur"] for e in response] == [(b.end_ns - b.start_ns) / 1000 for b in bars]
    assert min(e["ts"] for e in events if "ts" in e) == 0
    assert body["otherData"]["emulated"] is True
    spans = [e for e in events if e["ph"] == "X" and e["tid"] in tracks]
    assert {e["name"] for e in spans} >= {"speech", "llm-1", "tts-1", "playout"}


def test_charts_are_closed_svg() -> None:
    """Every chart is well-formed SVG, says EMULATED, refers to nothing outside, and repeats."""
    drawn = draw_charts(VIEW)
    assert set(drawn) == set(CHARTS)
    for text in drawn.values():
        root = ET.fromstring(text)
        assert root.tag.endswith("svg")
        assert "EMULATED" in text
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith("#") for link in links)
        assert not any(e.tag.endswith(("script", "foreignObject")) for e in root.iter())
    assert draw_charts(VIEW, ("pareto",)) == {"pareto": drawn["pareto"]}


def test_charts_escape_names() -> None:
    """A hostile candidate's name is drawn as text."""
    candidates = (replace(VIEW.candidates[0], name=f"$x^2$ {HOSTILE}\x00"), VIEW.candidates[1])
    text = draw_charts(replace(VIEW, candidates=candidates), ("pareto",))["pareto"]
    assert not any(e.tag.endswith("script") for e in ET.fromstring(text).iter())


def test_charts_of_nothing() -> None:
    """A view without numbers draws no chart, and says so by its absence."""
    empty = replace(VIEW, waterfalls=(), distributions=(), comparisons=(), pareto=())
    assert draw_charts(empty) == {}
