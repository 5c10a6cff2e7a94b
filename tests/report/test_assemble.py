"""From a run and its analysis to what the report shows."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.summary.caution import RunFacts
from harness.analysis.summary.summary import summarise
from harness.analysis.summary.validity import cautions
from harness.domain.request import FailureKind
from harness.domain.suite import Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.report.assemble import build_view
from harness.report.charts import draw_charts
from harness.report.format import Cell, CellState
from harness.report.html import _numeric, render_html
from harness.report.inputs import RunData, peaks_of
from harness.report.trial_view import BarKind, TrialStatus
from harness.report.view import PlainTable, ReportView
from tests.synthetic import (
    MS,
    Script,
    draw_scripts,
    make_failed,
    make_run,
    make_suite,
    make_trial,
    make_utterances,
)


def make_data(
    candidates: Mapping[str, float] | Sequence[str] = ("a", "b"),
    *,
    utterances: int = 12,
    repeats: int = 6,
    via: Via = Via.GATEWAY,
    failed: Mapping[str, int] | None = None,
    trials: Sequence[Trial | FailedTrial] | None = None,
) -> RunData:
    """Return a synthetic run with its analysis."""
    if trials is None:
        trials = make_run(candidates, utterances=utterances, repeats=repeats, failed=failed)
    known = {each.id: each for each in make_utterances(max(utterances, 12))}
    suite = replace(make_suite(*candidates, profile="kimi"), via=via)
    summary = summarise(trials, known, suite)
    emulated = {name: each.emulated for name, each in summary.candidates.items()}
    return RunData(
        run="run-1",
        suite=suite,
        utterances=known,
        trials=trials,
        summary=summary,
        cautions=cautions(trials, known, RunFacts(emulated=emulated)),
        started="2026-11-21 08:50 UTC",
        seed=7,
        environment=[{"python": "CPython 3.11", "packages": {"livekit-agents": "1.8.9"}}],
        datasets=[{"name": "starter", "version": "1", "sha256": "c0" * 32}],
    )


@pytest.fixture(scope="module")
def slower() -> ReportView:
    """Return the view of a live run in which the LLM of "b" is planted twice as slow."""
    return build_view(make_data({"a": 1.0, "b": 2.0}, via=Via.LIVE))


def test_the_planted_winner_is_named(slower: ReportView) -> None:
    """The answer names the faster candidate, the difference and its interval."""
    assert slower.answer.startswith("a answers ")
    assert "sooner than b" in slower.answer
    assert "interval" in slower.support[0]
    assert slower.emulated == ""


def test_where_the_time_goes_is_said(slower: ReportView) -> None:
    """A sentence says which stage takes the largest share of each median turn."""
    line = next(each for each in slower.support if each.startswith("Where the time goes"))
    assert "the LLM takes" in line
    assert "b's median turn" in line
    turn = next(each for each in slower.waterfalls if each.title == "median turn")
    llm_ns = sum(
        bar.end_ns - bar.start_ns
        for bar in turn.bars
        if bar.stage == "llm" and bar.kind in (BarKind.PROVIDER, BarKind.WAIT)
    )
    assert f"the LLM takes {100 * llm_ns / turn.response_ns:.0f}\N{NO-BREAK SPACE}% of" in line


def test_no_difference_is_no_winner() -> None:
    """Two candidates that are the same are not ranked, and the reader learns what was missed."""
    view = build_view(make_data(("a", "b"), via=Via.LIVE))
    assert view.answer.startswith("No detectable difference between")
    assert any("would have seen" in each for each in view.support)


def test_emulated_profiles_declare_no_winner() -> None:
    """Behind the gateway every candidate is named as a profile and every cell is marked."""
    view = build_view(make_data({"kimi": 1.0, "glm": 2.0}))
    assert "The profile of kimi" in view.answer
    assert "the profile of glm" in view.answer
    assert "no winner between real models" in view.emulated
    assert all(each.name.endswith("(emulated)") for each in view.candidates)
    cells = [c for row in view.rows for each in row.cells for _, c in each.statistics]
    assert all(c.emulated for c in cells)
    assert all(each.emulated for each in view.distributions)
    assert all(each.emulated for each in view.trials)


def test_too_few_trials_print_no_p95() -> None:
    """With 12 trials a candidate's p95 is "n too small", and no p95 turn is drawn."""
    view = build_view(make_data(("a", "b"), utterances=12, repeats=1))
    first = dict(view.rows[0].cells[0].statistics)
    assert first["p95"].state is CellState.TOO_SMALL
    assert first["p95"].value is None
    assert {each.title for each in view.waterfalls} == {"median turn"}


def test_a_first_transcript_that_is_the_final_has_no_column() -> None:
    """Where every STT sends finals only, the time to first transcript is no figure of its own."""
    finals = Script(first_transcript=None)
    trials = make_run(("a", "b"), utterances=12, repeats=2, base=finals)
    view = build_view(make_data(("a", "b"), trials=trials))
    shown = {each.metric for each in view.columns} | {each.metric for each in view.distributions}
    shown |= {metric for metric, _, _ in view.trial_metrics}
    shown |= {each.metric for each in view.comparisons}
    assert "stt_final" in shown
    assert "stt_first_transcript" not in shown
    streaming = build_view(make_data(("a", "b"), utterances=12, repeats=2))
    assert "stt_first_transcript" in {each.metric for each in streaming.columns}


def test_the_suite_s_target_is_a_line_of_the_response_alone() -> None:
    """The response's curves bear the suite's target, 800 ms by default; others bear none."""
    data = make_data(("a", "b"), utterances=12, repeats=2)
    for suite, target in ((data.suite, 800.0), (replace(data.suite, target_ms=650.0), 650.0)):
        view = build_view(replace(data, suite=suite))
        found = {each.metric: each.target for each in view.distributions}
        assert found.pop("response") == target
        assert set(found.values()) == {None}
        assert f"target {target:g} ms" in draw_charts(view, ("ecdf",))["ecdf"]


def test_beside_a_streaming_stt_finals_only_is_a_dash() -> None:
    """A candidate of finals only has no time to first transcript beside one that streams."""
    trials = [
        *make_run(("a",), utterances=12, repeats=1, base=Script(first_transcript=None)),
        *make_run(("b",), utterances=12, repeats=1),
    ]
    view = build_view(make_data(("a", "b"), trials=trials))
    place = [each.metric for each in view.columns].index("stt_first_transcript")
    finals, streaming = (dict(row.cells[place].statistics)["p50"] for row in view.rows)
    assert (finals.state, finals.note) == (CellState.MISSING, "its STT sends finals only")
    assert streaming.state is CellState.VALUE


def test_an_interval_that_bounds_nothing_is_not_printed() -> None:
    """With four recordings the difference has no interval, and no empty brackets stand for one."""
    view = build_view(make_data({"a": 1.0, "b": 2.0}, utterances=4, repeats=1, via=Via.LIVE))
    (said,) = [line for line in view.support if "b against a" in line]
    assert "interval" not in said
    assert "()" not in said
    response = view.comparisons[0]
    assert (response.difference.interval, response.ratio.interval) == ("", "")


def test_percentiles_among_failures_time_out() -> None:
    """Where a tenth of the trials failed, p95 is "timed out", and the failures are counted."""
    view = build_view(make_data(("a", "b"), utterances=12, repeats=8, failed={"b": 12}))
    statistics = dict(view.rows[1].cells[0].statistics)
    assert statistics["p95"].text == "timed out"
    assert view.rows[1].failures == 12
    assert view.failures[0].counts == (0, 12)
    assert view.failures[0].message == "no answer within 30 s"


def test_the_median_turn_is_real(slower: ReportView) -> None:
    """The waterfall is that of a stored trial, and its parts sum to the response to the ns."""
    stored = {each.id: each for each in slower.trials}
    for fall in slower.waterfalls:
        assert sum(bar.end_ns - bar.start_ns for bar in fall.bars) == fall.response_ns
        trial = stored[fall.trial]
        assert trial.turns[0].bars == fall.bars
        assert trial.values[0] == pytest.approx(fall.response_ns / MS)


def test_warmups_and_reruns_are_labelled() -> None:
    """Every stored trial is listed; warm-ups and superseded attempts say what they are."""
    data = make_data(("a", "b"))
    view = build_view(data)
    assert len(view.trials) == len(data.trials)
    warm = [each for each in view.trials if each.status is TrialStatus.WARMUP]
    assert [each.id[0] for each in warm] == ["w"] * len(warm)
    assert len(warm) == sum(trial.key.warmup for trial in data.trials)


def test_curves_end_below_one_by_their_failures() -> None:
    """A distribution's curve stops at the share of trials that were answered."""
    view = build_view(make_data(("a", "b"), failed={"b": 9}))
    response = next(each for each in view.distributions if each.metric == "response")
    curve = response.curves[1]
    assert curve.points[-1][1] == pytest.approx(1 - curve.failures / curve.n)
    assert response.curves[0].points[-1][1] == pytest.approx(1.0)


def test_only_failures() -> None:
    """A run in which nothing was answered is still reported, in words."""
    trials = [
        make_failed(candidate=name, utterance=f"u{k + 1}", order=2 * k + j)
        for k in range(12)
        for j, name in enumerate(("a", "b"))
    ]
    view = build_view(make_data(("a", "b"), trials=trials))
    assert view.waterfalls == ()
    assert view.failures[0].counts == (12, 12)
    assert "</html>" in render_html(view)


def test_nothing_measured() -> None:
    """An empty run makes a page that says so."""
    view = build_view(make_data(("a", "b"), trials=[]))
    assert "nothing" in view.answer
    assert "</html>" in render_html(view)


def test_one_candidate_is_described() -> None:
    """With one candidate the answer is its median response, and nothing is compared."""
    view = build_view(make_data(("solo",)))
    assert "in the median turn" in view.answer
    assert view.comparisons == ()


def test_failed_trial_keeps_what_it_measured() -> None:
    """A trial whose LLM timed out still shows its transcript's time, and no response."""
    good = make_run(("a",), utterances=12, repeats=2)
    sample = next(each for each in good if isinstance(each, Trial) and not each.key.warmup)
    broken = FailedTrial(
        key=replace(sample.key, order=9_999, repeat=7),
        driver="session",
        started_ns=sample.started_ns,
        ended_ns=sample.ended_ns,
        failure=make_failed(stage=Stage.LLM, kind=FailureKind.RATE_LIMITED).failure,
        turns=(replace(sample.turns[0], requests=(), audible_request=None),),
    )
    view = build_view(make_data(("a",), trials=[*good, broken]))
    shown = view.trials[-1]
    columns = [metric for metric, _, _ in view.trial_metrics]
    assert shown.status is TrialStatus.FAILED
    assert shown.failure == "llm · rate_limited"
    assert shown.values[columns.index("response")] is None
    assert shown.values[columns.index("stt_final")] is not None


def test_every_script_can_be_shown() -> None:
    """Tools, preemption, several sentences, gaps and a missing transport all make a page."""
    scripts = [
        Script(),
        Script(tool=200 * MS),
        Script(preemptive=100 * MS),
        Script(sentences=3, underrun=30 * MS),
        Script(transport=False, work=False),
        Script(reasoning=90 * MS, connect=40 * MS),
        Script(first_transcript=None, vad=250 * MS, endpointing=300 * MS),
        Script(idle={"decode": 50 * MS}),
    ]
    trials = [
        make_trial(script, candidate="a", utterance=f"u{k + 1}", order=k)
        for k, script in enumerate(scripts)
    ]
    view = build_view(make_data(("a",), trials=trials))
    assert len(view.trials) == len(scripts)
    for trial in view.trials:
        for turn in trial.turns:
            assert turn.bars
            for request in turn.requests:
                assert request.arrivals == tuple(sorted(request.arrivals))
    assert "</html>" in render_html(view)


@given(seed=st.integers(0, 10_000), shift=st.integers(-(10**15), 10**15))
@settings(max_examples=15, deadline=None)
def test_the_clock_has_no_origin(seed: int, shift: int) -> None:
    """Shifting a trial on the run's clock changes nothing that its details show."""
    script = draw_scripts(1, random.Random(seed))[0]
    views = []
    for start in (5_000_000_000, 5_000_000_000 + abs(shift)):
        trial = make_trial(script, start_ns=start)
        views.append(build_view(make_data(("a",), trials=[trial])).trials[0].turns)
    assert views[0] == views[1]


def test_peaks_of_a_recording() -> None:
    """Peaks are one byte per slice, 255 at the loudest, 0 in silence; any length is drawn."""
    loud, quiet = (20_000).to_bytes(2, "little", signed=True), bytes(2)
    assert peaks_of(quiet * 400 + loud * 400, 8) == bytes([0] * 4 + [255] * 4)
    assert peaks_of(b"") == b""
    assert peaks_of(quiet * 10, 4) == bytes(4)
    assert len(peaks_of(loud * 3 + b"\x01", 160)) == 3
    assert peaks_of((-32_768).to_bytes(2, "little", signed=True), 1) == b"\xff"


def test_cautions_in_the_same_words_are_said_once() -> None:
    """What is true of both candidates is one line with both names; a whole run's has none."""
    view = build_view(make_data({"a": 1.0, "b": 1.0}, utterances=4, repeats=2))
    titles = [each.title for each in view.cautions]
    assert any(title.startswith("a, b: ") for title in titles)
    assert len(titles) == len(set(titles))


def test_large_parts_of_the_settings_are_tables_of_their_own() -> None:
    """Packages stand in a table by their names, not under a prefix on every line."""
    packages = {f"package-{k}": "1.0" for k in range(8)}
    data = replace(make_data(utterances=4, repeats=2), environment=[{"packages": packages}])
    tables = {table.title: dict(table.rows) for table in build_view(data).settings}
    assert tables["Environment: packages"] == packages


def test_figures_stand_right_and_words_left() -> None:
    """A column of numbers, shares or cells is set right; names and sentences are not."""
    table = PlainTable(
        title="t",
        columns=("name", "ms", "share", "words", "of", "none", "id"),
        rows=(
            ("a", "1\u202f119\u00a0ms", "51\u00a0%", "no undisturbed trial", "5 of 6", "–", "t1"),
            ("b", Cell(text="n too small"), "7 of 7 (100.0\u00a0%)", "–", "–", "–", "2026-11-21"),
        ),
    )
    assert _numeric(table) == (False, True, True, False, True, False, False)
