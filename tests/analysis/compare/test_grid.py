"""A product of parts is asked what each part does."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.comparison import compare_within
from harness.analysis.compare.grid import compare_grid, grid_of
from harness.analysis.statistics.paired import Change
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Suite, Via
from harness.domain.trial import FailedTrial, Trial
from tests.synthetic import make_run, make_suite, make_utterances


def cell(llm: str, voice: str, *, stt: str = "stt-1", tts: str = "tts-1") -> Candidate:
    """Return a candidate that is named after its parts."""
    return Candidate(
        name=f"{stt}/{llm}/{tts}/{voice}",
        stt=StageSettings(provider="openadapter", model=stt),
        llm=StageSettings(provider="openadapter", model=llm),
        tts=StageSettings(provider="openadapter", model=tts, voice=voice),
    )


def suite_of(*candidates: Candidate) -> Suite:
    """Return a live suite of these candidates."""
    return replace(make_suite(), candidates=candidates, via=Via.LIVE)


SIX = suite_of(*(cell(llm, voice) for llm, voice in product(("kimi", "glm"), "abc")))


def measured(trials: Sequence[Trial | FailedTrial], suite: Suite) -> MeasuredRun:
    """Return a run of these trials."""
    utterances = {each.id: each for each in make_utterances(30)}
    return MeasuredRun(name="run", suite=suite, utterances=utterances, trials=trials)


def six(slower: float, *, utterances: int = 8) -> MeasuredRun:
    """Return a run of two models times three voices, one model so much slower."""
    factors = {each.name: slower if "glm" in each.name else 1.0 for each in SIX.candidates}
    return measured(make_run(factors, utterances=utterances, repeats=1), SIX)


def test_models_times_voices_are_a_grid() -> None:
    """Each factor's values are named, and each combination is one candidate."""
    grid = grid_of(SIX)
    assert grid is not None
    assert grid.levels == {
        "llm": ("openadapter/kimi", "openadapter/glm"),
        "voice": ("a", "b", "c"),
    }
    assert grid.cells["openadapter/glm", "b"] == "stt-1/glm/tts-1/b"


@given(st.permutations(SIX.candidates))
def test_the_order_of_the_candidates_does_not_matter(candidates: list[Candidate]) -> None:
    """A grid is one in whatever order its cells are written."""
    grid = grid_of(suite_of(*candidates))
    assert grid is not None
    assert set(grid.cells.values()) == {each.name for each in SIX.candidates}


@given(st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_a_part_of_a_grid_is_one_only_where_it_is_whole(chosen: set[int]) -> None:
    """What lacks a combination is no grid; what is a product of fewer values is a smaller one."""
    candidates = [SIX.candidates[each] for each in sorted(chosen)]
    names = [each.name.split("/")[1::2] for each in candidates]
    models, voices = {name[0] for name in names}, {name[1] for name in names}
    whole = len(candidates) == len(models) * len(voices) and min(len(models), len(voices)) > 1
    assert (grid_of(suite_of(*candidates)) is not None) == whole


def test_a_voice_of_its_own_synthesiser_is_no_factor_beside_it() -> None:
    """Two synthesisers with a voice each are one factor, not two."""
    speakers = (("tts-1", "a"), ("tts-2", "b"))
    suite = suite_of(
        *(cell(llm, voice, tts=tts) for llm, (tts, voice) in product(("kimi", "glm"), speakers))
    )
    grid = grid_of(suite)
    assert grid is not None
    assert list(grid.levels) == ["llm", "tts"]


def test_no_grid() -> None:
    """One candidate, two that differ in one thing, and agents of one's own make no grid."""
    assert grid_of(suite_of(cell("kimi", "a"))) is None
    assert grid_of(suite_of(cell("kimi", "a"), cell("glm", "a"))) is None
    agents = [Candidate(name=name, agent="module:make") for name in "abcd"]
    assert grid_of(suite_of(*agents)) is None


def test_the_slow_model_is_found_and_the_voices_are_not() -> None:
    """Over all voices the planted 60 % are found; between voices, where nothing is, none."""
    found = compare_grid(six(1.6, utterances=16))
    assert found is not None
    (models,) = found.factors["llm"]
    assert (models.candidate, models.reference) == ("openadapter/glm", "openadapter/kimi")
    assert models.trials == (48, 48)
    response = next(each for each in models.metrics if each.metric == "llm_ttft")
    assert response.finding == "slower"
    assert len(found.factors["voice"]) == 3
    typical = [
        next(each for each in pair.metrics if each.metric == "response" and each.share == 0.5)
        for pair in found.factors["voice"]
    ]
    assert {each.finding for each in typical} == {"no detectable difference"}


def test_all_factors_are_one_family() -> None:
    """Each p is corrected over the tests of every factor, and the estimates are the factor's."""
    run = six(1.3)
    found = compare_grid(run)
    assert found is not None
    alone = [compare_within(run, by=by) for by in found.factors]
    assert found.comparison.family == sum(each.family for each in alone)
    for comparison, pairs in zip(alone, found.factors.values(), strict=True):
        for single, joint in zip(comparison.pairs, pairs, strict=True):
            for one, other in zip(single.metrics, joint.metrics, strict=True):
                if not isinstance(one.change, Change):
                    continue
                assert isinstance(other.change, Change)
                assert other.change.difference == one.change.difference
                assert one.p is not None
                assert other.p is not None
                assert other.p >= one.p


@pytest.mark.parametrize("missing", [0, 5])
def test_a_hole_is_no_grid(missing: int) -> None:
    """Where a cell was not performed there is nothing to pool it with."""
    name = SIX.candidates[missing].name
    trials = [each for each in six(1.0).trials if each.key.candidate != name]
    assert compare_grid(measured(trials, SIX)) is None


def test_cells_that_differ_in_something_besides_are_no_grid() -> None:
    """A prompt of its own keeps a cell from being a partner, and so from the grid."""
    first, *rest = SIX.candidates
    suite = suite_of(replace(first, instructions="Answer in verse."), *rest)
    assert compare_grid(measured(six(1.0).trials, suite)) is None
