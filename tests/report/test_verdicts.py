"""The gate, comparisons and the harness's own error in the words of the report."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_runs, compare_within
from harness.analysis.gate.verdict import judge
from harness.analysis.summary.selferror import SelfError
from harness.domain.suite import Budget, BudgetKind, Via
from harness.report.assemble import build_view
from harness.report.comparisons import comparison_answer, comparison_views
from harness.report.format import DASH
from harness.report.html import render_html
from harness.report.inputs import RunData
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import comparison_table
from harness.report.verdicts import self_error_table, verdict_view
from harness.report.view import VerdictKind
from tests.report.test_assemble import make_data


def measured(data: RunData, *budgets: Budget, name: str = "run-1") -> MeasuredRun:
    """Return the run of a report as gate and comparison read it."""
    return MeasuredRun(
        name=name,
        suite=replace(data.suite, budgets=budgets),
        utterances=data.utterances,
        trials=data.trials,
        machine={"cpu": "synthetic"},
    )


DATA = make_data({"a": 1.0, "b": 2.0}, utterances=12, repeats=8, via=Via.LIVE)
BUDGETS = (
    Budget(metric="response", statistic="p50", limit=5_000.0, kind=BudgetKind.ABSOLUTE),
    Budget(
        metric="llm_ttft",
        statistic="p50",
        limit=1.1,
        kind=BudgetKind.RELATIVE,
        candidate="b",
        reference="a",
    ),
    Budget(metric="failures", statistic="rate", limit=0.2, kind=BudgetKind.ABSOLUTE, mde=1.5),
)


def test_a_failed_gate_says_what_failed() -> None:
    """The planted slowdown fails its budget; limit and measured figures are in words and units."""
    shown = verdict_view(judge(measured(DATA, *BUDGETS)))
    assert shown.kind is VerdictKind.FAIL
    bad = next(each for each in shown.budgets if each.kind is VerdictKind.FAIL)
    assert bad.budget == "llm_ttft p50"
    assert bad.candidate == "b"
    assert bad.limit.replace("\u00a0", " ") == "at most 10 % slower than a"
    assert "against" in bad.measured
    assert "points beyond" in bad.margin
    good = shown.budgets[0]
    assert good.limit.replace("\u00a0", " ").replace("\u202f", " ") == "at most 5 000 ms"
    assert "ms" in good.margin


def test_the_verdict_stands_in_every_output() -> None:
    """Page, Markdown and JUnit all show the verdict of one gated run."""
    verdict = verdict_view(judge(measured(DATA, *BUDGETS)))
    view = build_view(replace(DATA, verdict=verdict))
    assert "✕ FAIL" in render_html(view)
    assert "❌ FAIL" in render_markdown(view)
    assert "<failure" in render_junit(view)


def test_a_comparison_by_llm() -> None:
    """Compared by LLM, the faster model is named, and the table has typical change and p95."""
    comparison = compare_within(measured(DATA), by="llm")
    views = comparison_views(comparison)
    names = {each.name for each in views}
    assert {"Voice-to-voice response, typical", "Voice-to-voice response, p95"} <= names
    answer, support = comparison_answer(comparison)
    assert "llm-a" in answer
    assert "sooner" in answer
    assert any("corrected over" in line for line in support)
    view = build_view(replace(DATA, comparison=comparison))
    assert view.answer == answer
    assert "Every comparison" in render_html(view)
    out = io.StringIO()
    Console(file=out, width=140, color_system=None).print(comparison_table(views))
    assert "Voice-to-voice response, typical" in out.getvalue()
    assert "slower" in out.getvalue()


def test_a_run_against_itself_is_no_change() -> None:
    """Compared with itself, a run shows no detectable difference anywhere."""
    run = measured(DATA)
    views = comparison_views(compare_runs(run, run))
    assert views
    assert not any(each.detected for each in views)
    answer = comparison_answer(compare_runs(run, run))[0]
    assert answer.startswith("No detectable difference in voice-to-voice response between a in")


def test_emulated_comparisons_name_profiles() -> None:
    """Behind the gateway a comparison speaks of profiles, not of models."""
    data = make_data({"a": 1.0, "b": 2.0}, utterances=12, repeats=4)
    answer, _ = comparison_answer(compare_within(measured(data), by="candidate"))
    assert "the profile of" in answer
    assert all(each.emulated for each in comparison_views(compare_within(measured(data))))


@pytest.mark.parametrize("largest", [None, 2.5])
def test_self_error(largest: float | None) -> None:
    """The harness's own error is shown in milliseconds, and its absence in words, once."""
    row = SelfError(
        what="llm_first_byte",
        kind="transport",
        n=0 if largest is None else 200,
        p50=None if largest is None else 0.4,
        p99=largest,
        largest=largest,
        disturbed=0.05,
    )
    table = self_error_table([row, replace(row, what="tts_first_byte")])
    text = " ".join(str(each) for each in table.rows[0])
    assert text.count(DASH) == (3 if largest is None else 0)
    assert table.note.count("No trial was undisturbed") == (largest is None)
    assert ("0.40\u00a0ms" in text) is (largest is not None)
    view = build_view(replace(DATA, self_error=table))
    assert "The harness&#39;s own error" in render_html(view)
    some = self_error_table([row, replace(row, n=1, p50=0.1, p99=0.1, largest=0.1)])
    assert ("n = 0: no trial was undisturbed" in some.note) is (largest is None)
