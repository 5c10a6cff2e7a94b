"""One comparison: the same lines, numbers and family wherever it is shown."""

import json
import random
from dataclasses import replace

import pytest

from harness.analysis.compare.changes import Comparison
from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import MOST_PAIRS, compare_within
from harness.analysis.statistics.paired import Change, RateChange
from harness.analysis.summary.summary import summarise
from harness.analysis.turn.definitions import EVENTS
from harness.domain.trial import FailedTrial, Trial
from harness.report.assemble import build_view
from harness.report.comparisons import comparison_answer, comparison_notes, comparison_views
from harness.report.export import render_json
from harness.report.findings import proviso, typical_of
from harness.report.html import render_html
from harness.report.inputs import RunData
from harness.report.markdown import escape_markdown, render_markdown
from tests.synthetic import (
    MS,
    draw_scripts,
    make_failed,
    make_run,
    make_suite,
    make_trial,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(24)}


def data_of(trials: list[Trial | FailedTrial], *names: str) -> RunData:
    """Return a report's input."""
    suite = make_suite(*names)
    return RunData(
        run="run-1",
        suite=suite,
        utterances=UTTERANCES,
        trials=trials,
        summary=summarise(trials, UTTERANCES, suite),
    )


def compared(data: RunData) -> Comparison:
    """Return what ``turnbench compare`` finds in the same run."""
    return compare_within(
        MeasuredRun(name=data.run, suite=data.suite, utterances=data.utterances, trials=data.trials)
    )


def wrong_and_fast() -> list[Trial | FailedTrial]:
    """Return a run in which b is fast where it misheard, and as fast as a elsewhere."""
    scripts = draw_scripts(192, random.Random(5))
    trials: list[Trial | FailedTrial] = []
    for number in range(96):
        utterance, repeat = f"u{number % 24 + 1}", number // 24
        wrong = number % 24 < 14
        for candidate, script in (("a", scripts[number]), ("b", scripts[96 + number])):
            misheard = wrong and candidate == "b"
            trials.append(
                make_trial(
                    replace(script, llm=50 * MS) if misheard else script,
                    candidate=candidate,
                    utterance=utterance,
                    repeat=repeat,
                    order=len(trials),
                    text="burn the chicken tights" if misheard else "turn on the kitchen lights",
                )
            )
    return trials


def test_every_output_shows_one_comparison() -> None:
    """Terminal, Markdown, JSON and page have the same lines, with the same p and the same note."""
    data = data_of(list(make_run({"a": 1.0, "b": 1.4}, utterances=24, repeats=4)), "a", "b")
    found = compared(data)
    lines = comparison_views(found, leading="response")
    view = build_view(data)
    assert view.comparisons == lines
    assert view.comparison_notes == comparison_notes(found)
    page, markdown = render_html(view), render_markdown(view)
    body = json.loads(render_json(view))
    assert [each["p_value"] for each in body["comparisons"]] == [each.p_value for each in lines]
    for line in lines:
        assert line.difference.text in page
        assert escape_markdown(line.detectable) in markdown
    assert f"corrected over {found.family} tests" in page
    assert f"corrected over {found.family} tests" in markdown.replace("\\", "")
    assert any(f"over {found.family} tests" in line for line in view.support)


def test_the_family_is_everything_asked() -> None:
    """Every pair, metric, tail, rate and correct turns: so many p-values are corrected together."""
    data = data_of(list(make_run(("a", "b", "c"), utterances=12, repeats=6)), "a", "b", "c")
    found = compared(data)
    changes = [
        each
        for pair in found.pairs
        for each in (
            *(line.change for line in pair.metrics),
            *(line.change for line in pair.rates),
            *([] if pair.correct is None else [pair.correct.change]),
        )
    ]
    asked = len([each for each in changes if isinstance(each, Change | RateChange)])
    assert len(found.pairs) == 3
    assert found.family == asked > 60


def test_what_could_have_been_seen_is_corrected_too() -> None:
    """A change just as large as the run says that it could have seen is found in that family."""
    run = list(make_run(utterances=24, repeats=4, seed=3))
    alone = compared(data_of(run, "a", "b"))
    seen = {}
    for metrics in (("response",), ("response", "llm_ttft", "tts_first_byte", "stt_final")):
        found = compare_within(
            MeasuredRun(name="r", suite=make_suite(), utterances=UTTERANCES, trials=run),
            metrics=metrics,
        )
        change = found.pairs[0].metrics[0].change
        assert isinstance(change, Change)
        seen[found.family] = change.detectable_ratio
    assert len(seen) == 2
    assert seen[min(seen)] < seen[max(seen)]
    assert max(seen) < alone.family


def test_many_candidates_are_compared_with_the_first() -> None:
    """Beyond twelve pairs the questions do not grow with the square of the candidates."""
    names = tuple("abcdefg")
    found = compared(data_of(list(make_run(names, utterances=6, repeats=1)), *names))
    assert len(names) * (len(names) - 1) // 2 > MOST_PAIRS
    assert [(each.candidate, each.reference) for each in found.pairs] == [
        (name, "a") for name in names[1:]
    ]


def test_a_fast_wrong_answer_does_not_win() -> None:
    """The answer names what stands against the faster candidate, in every form of the answer."""
    data = data_of(wrong_and_fast(), "a", "b")
    said = build_view(data).answer
    assert said.startswith("The profile of b answers ")
    assert "but it gets more words wrong" in said
    assert "shows no lead over the turns that both got right" in said
    assert said.endswith("speed alone does not make it the better one.")
    assert comparison_answer(compared(data))[0] == said


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_said_of_events_is_of_events(event: str) -> None:
    """A faster side to which more happens over its replies is said to have that, not bad speech."""
    pair = compared(data_of(wrong_and_fast(), "a", "b")).pairs[0]
    leading = typical_of(pair, "response")
    words = next(each for each in pair.rates if each.rate == "wer")
    assert leading is not None
    assert {leading.finding, words.finding} == {"faster", "slower"}
    said = proviso(replace(pair, rates=(replace(words, rate=event),)), leading)
    assert "understand" not in said
    assert "more" in said


def test_a_run_that_always_fails_is_answered() -> None:
    """Where half of every candidate's trials fail, that is the answer, for one and for two."""
    trials: list[Trial | FailedTrial] = [
        make_failed(candidate=name, utterance=f"u{number + 1}", order=2 * number + which)
        for number in range(24)
        for which, name in enumerate("ab")
    ]
    both = build_view(data_of(trials, "a", "b")).answer
    assert both == "Half of the trials of every candidate failed or timed out."
    alone = [each for each in trials if each.key.candidate == "a"]
    one = build_view(data_of(alone, "a")).answer
    assert one == "Half of the trials of the profile of a failed or timed out."


def test_a_right_and_fast_answer_wins() -> None:
    """Where nothing stands against the faster one, nothing is said against it."""
    data = data_of(list(make_run({"a": 1.0, "b": 1.5}, utterances=24, repeats=4)), "a", "b")
    said = build_view(data).answer
    assert said.startswith("The profile of a answers ")
    assert "but" not in said


@pytest.mark.parametrize("repeats", [1, 4])
def test_what_cannot_be_carried_is_one_note(repeats: int) -> None:
    """Few trials give no p95: one note says so, instead of a line for each metric."""
    data = data_of(list(make_run(utterances=24, repeats=repeats)), "a", "b")
    view = build_view(data)
    tails = [each for each in view.comparisons if each.name.endswith("p95")]
    notes = [each for each in view.comparison_notes if each.startswith("No p95: p95 needs 59")]
    assert (bool(tails), len(notes)) == ((False, 1) if repeats == 1 else (True, 0))


def test_many_candidates_are_answered_against_the_reference() -> None:
    """Of many candidates the fastest is compared with the reference, and that is what is said."""
    names = tuple(f"c{k:02}" for k in range(12))
    speeds = {name: 1.0 - 0.02 * k for k, name in enumerate(names)}
    view = build_view(data_of(list(make_run(speeds, utterances=8, repeats=2)), *names))
    assert "not compared" not in view.answer
    assert names[0] in view.answer
    assert any("compared with c00 alone" in line for line in view.support)
    where = next(line for line in view.support if line.startswith("Where the time goes"))
    assert "candidates" in where
    assert len(where) < 200
