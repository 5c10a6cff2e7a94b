"""The order of trials and what a plan will take."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.condition import Condition
from harness.domain.costs import estimate, model_name, trial_cost
from harness.domain.plan import each_recording_first, make_plan
from harness.domain.suite import Clock, Driver, Limits, Price, Suite, Timeouts, Via
from harness.domain.timeline import Stage
from harness.domain.trial import TrialKey
from harness.errors import ConfigurationError
from tests.runner.scripted_performer import suite_of, trial_of

suites = st.builds(
    lambda names, repeats, warmups: suite_of(*names, repeats=repeats, warmups=warmups),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True),
    st.integers(1, 4),
    st.integers(0, 3),
)
utterances = st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=6, unique=True)


@given(suites, utterances, st.integers(0, 2**40))
def test_every_trial_once(suite: Suite, ids: list[str], seed: int) -> None:
    """Each candidate performs each utterance once in each repeat, and so many warm-ups."""
    plan = make_plan(suite, ids, seed)
    assert [key.order for key in plan] == list(range(len(plan)))
    measured = Counter((k.candidate, k.utterance, k.repeat) for k in plan if not k.warmup)
    names = [candidate.name for candidate in suite.candidates]
    wanted = [(name, each, r) for name in names for each in ids for r in range(suite.repeats)]
    assert measured == Counter(wanted)
    assert Counter(k.candidate for k in plan if k.warmup) == {
        name: suite.warmups for name in names if suite.warmups
    }


@given(suites, utterances, st.integers(0, 2**40))
def test_warmups_come_first(suite: Suite, ids: list[str], seed: int) -> None:
    """No measured trial stands before a warm-up."""
    flags = [key.warmup for key in make_plan(suite, ids, seed)]
    assert flags == sorted(flags, reverse=True)


@given(suites, utterances, st.integers(0, 2**40))
def test_candidates_stand_side_by_side(suite: Suite, ids: list[str], seed: int) -> None:
    """All candidates perform an utterance one after the other before the next one's turn."""
    measured = [key for key in make_plan(suite, ids, seed) if not key.warmup]
    width = len(suite.candidates)
    for start in range(0, len(measured), width):
        group = measured[start : start + width]
        assert len({(key.utterance, key.repeat) for key in group}) == 1
        assert len({key.candidate for key in group}) == width


@given(suites, utterances, st.integers(0, 2**40))
def test_each_recording_first(suite: Suite, ids: list[str], seed: int) -> None:
    """The first measured trial of each recording moves up; nothing is lost, and all else stays."""
    plan = make_plan(suite, ids, seed)
    found = each_recording_first(plan)
    assert sorted(found, key=lambda key: key.order) == list(plan)
    measured = [key for key in found if not key.warmup]
    recordings = len({key.recording for key in measured})
    assert len({key.recording for key in measured[:recordings]}) == recordings
    rest = [key.order for key in measured[recordings:]]
    assert rest == sorted(rest)


def test_no_warmups_on_the_virtual_clock() -> None:
    """On the virtual clock each trial begins alike, so that nothing is warmed up."""
    suite = suite_of("a", "b", warmups=2)
    assert sum(key.warmup for key in make_plan(suite, ("u",), 1)) == 4
    virtual = dataclasses.replace(suite, clock=Clock.VIRTUAL)
    assert [key.warmup for key in make_plan(virtual, ("u",), 1)] == [False, False]


def test_estimate_on_the_virtual_clock() -> None:
    """On the virtual clock a plan takes processor time, however long its recordings are."""
    suite = dataclasses.replace(suite_of("a"), clock=Clock.VIRTUAL)
    plan = make_plan(suite, ("u",), 1)
    short, long = (estimate(suite, plan, {"u": seconds}).seconds for seconds in (1.0, 100.0))
    assert short == long
    assert any("processor" in line for line in estimate(suite, plan, {"u": 1.0}).assumptions)


@given(suites, utterances, st.integers(0, 2**40))
def test_repeats_are_blocks(suite: Suite, ids: list[str], seed: int) -> None:
    """A repeat begins when the one before it has ended."""
    repeats = [key.repeat for key in make_plan(suite, ids, seed) if not key.warmup]
    assert repeats == sorted(repeats)


def test_equal_seeds_give_equal_plans() -> None:
    """The order is the seed's alone, and the same in every version."""
    suite = suite_of("a", "b", repeats=2)
    ids = ["u", "v", "w"]
    assert make_plan(suite, ids, 7) == make_plan(suite, ids, 7)
    assert make_plan(suite, ids, 7) != make_plan(suite, ids, 8)
    text = " ".join(f"{key.candidate}{key.utterance}" for key in make_plan(suite, ids, 7))
    assert text == PINNED


PINNED = "av bv bw aw bv av au bu bv av bw aw bu au"


def test_either_candidate_may_go_first() -> None:
    """Over many pairs each candidate goes first about as often as the other."""
    suite = suite_of("a", "b", repeats=100, warmups=0)
    plan = make_plan(suite, [f"u{n}" for n in range(10)], 3)
    first = Counter(key.candidate for key in plan[::2])
    assert abs(first["a"] - 500) < 80


def test_plans_that_cannot_be() -> None:
    """No utterance, or one from two datasets, is a mistake of the suite."""
    with pytest.raises(ConfigurationError, match="no utterance"):
        make_plan(suite_of(), [], 1)
    with pytest.raises(ConfigurationError, match="two datasets"):
        make_plan(suite_of(), ["u", "u"], 1)


def test_estimate_counts() -> None:
    """Trials, audio and tokens are counted for each candidate, warm-ups included."""
    suite = suite_of("a", "b", repeats=2, warmups=1, concurrency=2)
    plan = make_plan(suite, ["u", "v"], 1)
    found = estimate(suite, plan, {"u": 2.0, "v": 2.0}, characters={"u": 40, "v": 40})
    assert (found.trials, found.measured) == (10, 8)
    first = found.candidates[0]
    assert (first.trials, first.audio_in_s) == (5, 10.0)
    assert first.input_tokens == round(5 * (len(suite.candidates[0].instructions) + 40) / 4)
    assert found.cost is None
    assert first.unpriced == (Stage.STT, Stage.LLM, Stage.TTS)


def test_estimate_of_time() -> None:
    """Concurrency shortens a run and a rate limit lengthens it."""
    suite = suite_of("a", repeats=10)
    plan = make_plan(suite, ["u", "v"], 1)
    durations = {"u": 3.0, "v": 3.0}
    alone = estimate(suite, plan, durations).seconds
    four = estimate(suite_of("a", repeats=10, concurrency=4), plan, durations).seconds
    limited = estimate(
        suite_of("a", repeats=10, limits=Limits(trials_per_minute=1)), plan, durations
    ).seconds
    assert four < alone / 2
    assert limited >= 60 * len(plan)


def test_estimate_of_time_where_the_caller_hangs_up() -> None:
    """A reply that is not heard to its end takes only as long as it is heard, and it is said."""
    whole = suite_of("a", repeats=10)
    brief = suite_of("a", repeats=10, timeouts=Timeouts(hang_up_s=0.1))
    plan = make_plan(whole, ["u"], 1)
    heard, cut = (estimate(each, plan, {"u": 3.0}) for each in (whole, brief))
    assert heard.seconds - cut.seconds == pytest.approx(len(plan) * (4.2 - 0.1))
    assert any("heard for 0.1 s (hang_up_s)" in line for line in cut.assumptions)
    assert any("played to its end" in line for line in heard.assumptions)


def priced() -> dict[str, object]:
    """Return the part of a suite that prices its STT and LLM."""
    return {
        "via": Via.LIVE,
        "prices": {
            "openadapter/Kimi-K2.5": Price(
                per_million_input_tokens=1.0, per_million_output_tokens=2.0
            ),
            "openadapter/nvidia/parakeet-tdt-0.6b-v2": Price(per_audio_minute=0.6),
        },
    }


def test_estimate_of_cost() -> None:
    """What is priced is added up, and what is not is named."""
    suite = suite_of("a", **priced())
    plan = make_plan(suite, ["u"], 1)
    found = estimate(suite, plan, {"u": 60.0}).candidates[0]
    assert found.cost is not None
    assert found.cost == pytest.approx(
        2 * 0.6 + (found.input_tokens + 2 * found.output_tokens) / 1e6, abs=1e-6
    )
    assert found.unpriced == (Stage.TTS,)


def test_trial_cost_counts_what_a_cache_served() -> None:
    """Usage as drivers record it is counted; cached tokens cost what the price says of them."""
    price = Price(
        per_million_input_tokens=1e6,
        per_million_output_tokens=2e6,
        per_million_cached_input_tokens=1e5,
    )
    suite = suite_of("a", via=Via.LIVE, prices={"openadapter/Kimi-K2.5": price})
    trial = trial_of(TrialKey(candidate="a", utterance="u", repeat=0, order=0))
    request = next(each for each in trial.turns[0].requests if each.stage is Stage.LLM)
    told = {
        "usage.prompt_tokens": 40,
        "usage.completion_tokens": 7,
        "usage.prompt_tokens_details.cached_tokens": 30,
    }
    turn = dataclasses.replace(
        trial.turns[0], requests=(dataclasses.replace(request, facts=told),), audible_request=None
    )
    trial = dataclasses.replace(trial, turns=(turn,))
    cost = trial_cost(suite, suite.candidates[0], trial, 1.0)
    assert cost == pytest.approx((40 - 30) * 1.0 + 30 * 0.1 + 7 * 2.0)


def test_trial_cost_takes_the_providers_count() -> None:
    """A trial costs what the provider's own count of tokens and the audio sent come to."""
    suite = suite_of("a", **priced())
    trial = trial_of(TrialKey(candidate="a", utterance="u", repeat=0, order=0))
    cost = trial_cost(suite, suite.candidates[0], trial, 30.0)
    assert cost == pytest.approx(0.3 + (100 * 1.0 + 50 * 2.0) / 1e6)
    assert trial_cost(suite_of("a"), suite.candidates[0], trial, 30.0) is None


def test_stage_driver_needs_no_playout() -> None:
    """The stage driver does not wait for a reply to be played."""
    candidate = Candidate(name="a", llm=StageSettings(provider="openai"))
    suite = suite_of("a", driver=Driver.STAGE, candidates=(candidate,))
    found = estimate(suite, make_plan(suite, ["u"], 1), {"u": 2.0})
    assert found.candidates[0].audio_out_s == 0.0
    assert found.candidates[0].characters == 0
    assert model_name(StageSettings(provider="openai"), Stage.LLM) == "gpt-4.1-mini"
    assert model_name(StageSettings(provider="unknown"), Stage.LLM) == "default"


@given(suites, utterances, st.integers(0, 2**40))
def test_every_condition_once(suite: Suite, ids: list[str], seed: int) -> None:
    """Each candidate hears each utterance under each condition once in each repeat."""
    heard = dataclasses.replace(
        suite, conditions=(Condition(name="clean"), Condition(name="far", gain_db=-20))
    )
    plan = make_plan(heard, ids, seed)
    measured = Counter((k.candidate, k.recording, k.repeat) for k in plan if not k.warmup)
    assert measured == Counter(
        (each.name, f"{name}/{condition}", repeat)
        for each in suite.candidates
        for name in ids
        for condition in ("clean", "far")
        for repeat in range(suite.repeats)
    )
    assert {k.condition for k in plan if k.warmup} <= {"clean"}
    width = len(suite.candidates)
    rest = [key for key in plan if not key.warmup]
    for start in range(0, len(rest), width):
        assert len({key.recording for key in rest[start : start + width]}) == 1


def test_conditions_stay_apart_in_a_name() -> None:
    """A recording is named after the utterance, and after the condition where there is one."""
    key = TrialKey(candidate="a", utterance="u", repeat=0, order=0)
    assert key.recording == "u"
    assert dataclasses.replace(key, condition="far").recording == "u/far"
