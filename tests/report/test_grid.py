"""A grid's page answers what its parts do, before it compares candidates."""

from dataclasses import replace
from itertools import product

import pytest

from harness.analysis.summary.summary import summarise
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Via
from harness.domain.timeline import Mark
from harness.domain.trial import Trial
from harness.report.assemble import build_view
from harness.report.format import Cell
from harness.report.html import render_html
from harness.report.inputs import RunData
from harness.report.markdown import render_markdown
from harness.report.view import ReportView
from tests.synthetic import MS, make_run, make_suite, make_utterances


def grid_data(slower: float, *, utterances: int = 20, via: Via = Via.LIVE) -> RunData:
    """Return a run of kimi and glm times three voices, of which glm is so much slower."""
    cells = [
        Candidate(
            name=f"{llm}-{voice}",
            stt=StageSettings(provider="openadapter", model="stt-1"),
            llm=StageSettings(provider="openadapter", model=llm),
            tts=StageSettings(provider="openadapter", model="tts-1", voice=voice),
        )
        for llm, voice in product(("kimi", "glm"), ("alloy", "nova", "onyx"))
    ]
    factors = {each.name: slower if each.name.startswith("glm") else 1.0 for each in cells}
    trials = make_run(factors, utterances=utterances, repeats=1)
    known = {each.id: each for each in make_utterances(utterances)}
    suite = replace(make_suite(), candidates=tuple(cells), via=via)
    return RunData(
        run="run-1",
        suite=suite,
        utterances=known,
        trials=trials,
        summary=summarise(trials, known, suite),
    )


@pytest.fixture(scope="module")
def planted() -> ReportView:
    """Return the view of a grid in which one model is planted 2.5 times as slow."""
    return build_view(grid_data(2.5))


def test_the_answer_names_the_factors(planted: ReportView) -> None:
    """The first sentence says which model is faster, the second that the voice does not matter."""
    assert planted.answer.startswith("openadapter/kimi answers ")
    assert "sooner than openadapter/glm." in planted.answer
    assert planted.answer.endswith("The voice makes no difference that 120 trials can see.")
    assert any("openadapter/glm against openadapter/kimi" in line for line in planted.support)
    assert any("typical one between two answers" in line for line in planted.support)


def test_the_matrix_has_each_candidate_s_median(planted: ReportView) -> None:
    """Models go down and voices across, and each cell is the headline's own figure."""
    matrix = planted.matrix
    assert matrix is not None
    assert matrix.columns == ("LLM", "alloy", "nova", "onyx")
    assert [row[0] for row in matrix.rows] == ["openadapter/kimi", "openadapter/glm"]
    shown = [each for row in matrix.rows for each in row[1:]]
    headline = [dict(row.cells[0].statistics)["p50"] for row in planted.rows]
    assert shown == headline
    assert all(isinstance(each, Cell) for each in shown)


def test_the_factors_come_before_the_pairs(planted: ReportView) -> None:
    """The comparison shown is that of the factors; the candidates one by one come after it."""
    factors = {(each.candidate, each.reference) for each in planted.comparisons}
    assert factors == {
        ("openadapter/glm", "openadapter/kimi"),
        ("nova", "alloy"),
        ("onyx", "alloy"),
        ("onyx", "nova"),
    }
    assert {each.candidate for each in planted.pairs} <= {
        f"{llm}-{voice}" for llm, voice in product(("kimi", "glm"), ("alloy", "nova", "onyx"))
    }
    page = render_html(planted)
    assert page.index('class="matrix"') < page.index('id="numbers"')
    assert page.index("Every comparison") < page.index("Candidate against candidate")
    assert "| LLM | alloy | nova | onyx |" in render_markdown(planted)


def test_a_grid_without_a_difference() -> None:
    """Where nothing is planted, each factor is said to make none, and what would have been seen."""
    view = build_view(grid_data(1.0, utterances=12))
    assert view.answer == (
        "The LLM makes no difference that 72 trials can see. "
        "The voice makes no difference that 72 trials can see."
    )
    assert sum("would have seen" in line for line in view.support) == 2


def test_a_hole_is_answered_as_candidates() -> None:
    """Where a cell has no trial, candidates are compared one by one as in any suite."""
    data = grid_data(1.0, utterances=12)
    trials = [
        each for each in data.trials if isinstance(each, Trial) and each.key.candidate != "glm-nova"
    ]
    summary = summarise(trials, data.utterances, data.suite)
    view = build_view(replace(data, trials=trials, summary=summary))
    assert view.matrix is None
    assert view.pairs == ()


def test_medians_that_lie_elsewhere_are_explained() -> None:
    """Where table and answer give two distances, a sentence beside them says what each is."""
    data = grid_data(2.5)
    suite = replace(data.suite, candidates=data.suite.candidates[::3])
    names = {each.name for each in suite.candidates}
    trials = [each for each in data.trials if each.key.candidate in names]
    summary = summarise(trials, data.utterances, suite)
    view = build_view(replace(data, suite=suite, trials=trials, summary=summary))
    points = [dict(row.cells[0].statistics)["p50"].value for row in view.rows]
    assert points[0] is not None
    assert points[1] is not None
    (line,) = [each for each in view.support if each.startswith("The medians in the table")]
    apart = round(abs(points[1] - points[0]))
    assert str(apart) in line.replace("\u202f", "")


def test_a_difference_of_microseconds_is_no_answer() -> None:
    """What only a quiet clock can find, and no caller hear, does not lead the page."""
    data = grid_data(2.5)
    steps = {"alloy": 0, "nova": 40_000, "onyx": 80_000}
    shifted = []
    for each in make_run(
        {name.name: 1.0 for name in data.suite.candidates}, utterances=20, repeats=1
    ):
        assert isinstance(each, Trial)
        name = f"glm-alloy/{each.key.utterance}"
        base = 600 * MS + sum(map(ord, name)) % 97 * MS
        base += 400 * MS if each.key.candidate.startswith("glm") else 0
        base += steps[each.key.candidate.partition("-")[2]]
        (turn,) = each.turns
        marks = {**turn.marks, Mark.FIRST_AUDIBLE: turn.marks[Mark.SPEECH_END] + base}
        shifted.append(replace(each, turns=(replace(turn, marks=marks),)))
    summary = summarise(shifted, data.utterances, data.suite)
    view = build_view(replace(data, trials=shifted, summary=summary))
    assert "kimi answers 400\u00a0ms sooner than openadapter/glm" in view.answer
    assert view.answer.endswith("The voice makes less than a millisecond of difference.")
