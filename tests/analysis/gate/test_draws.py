"""On the virtual clock candidate and reference are held against each other draw for draw."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.analysis.compare.comparable import MeasuredRun, differences, option_values
from harness.analysis.gate.baseline import against_baseline, build_baseline
from harness.analysis.gate.judged import GateVerdict
from harness.analysis.gate.verdict import judge
from harness.domain.suite import Budget, BudgetKind, Clock
from harness.domain.trial import FailedTrial, Trial
from harness.report.verdicts import verdict_view
from tests.synthetic import (
    MS,
    Script,
    draw_scripts,
    make_failed,
    make_suite,
    make_trial,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(30)}
Change = Callable[[Script, int], Script | None]
"""What the change makes of a turn's script; None where the turn fails."""


def same(script: Script, _: int) -> Script:
    """Change nothing."""
    return script


def later(ms: float) -> Change:
    """Answer so much later in every turn."""
    return lambda script, _: replace(script, llm=script.llm + round(ms * MS))


def drawn(
    change: Change = same,
    *,
    utterances: int = 24,
    repeats: int = 5,
    limit: float = 1.06,
    mde: float = 1.2,
    metric: str = "response",
    statistic: str = "p50",
    clock: Clock = Clock.VIRTUAL,
    main: Change = same,
) -> MeasuredRun:
    """Return a run in which both candidates meet the same draws, with one budget."""
    rng = random.Random(7)
    trials: list[Trial | FailedTrial] = []
    for repeat in range(repeats):
        for number in range(utterances):
            script = draw_scripts(1, rng)[0]
            for name, way in (("main", main), ("change", change)):
                which = {"candidate": name, "utterance": f"u{number + 1}", "repeat": repeat}
                place = {"order": len(trials), "start_ns": (5 + 6 * len(trials)) * 1_000 * MS}
                found = way(script, number)
                trials.append(
                    make_failed(**which, **place)  # type: ignore[arg-type]
                    if found is None
                    else make_trial(found, **which, **place)  # type: ignore[arg-type]
                )
    budget = Budget(
        metric=metric,
        statistic=statistic,
        limit=limit,
        kind=BudgetKind.RELATIVE,
        candidate="change",
        reference="main",
        mde=mde,
    )
    suite = replace(make_suite("main", "change"), budgets=(budget,), clock=clock)
    return MeasuredRun(name="run", suite=suite, utterances=UTTERANCES, trials=trials)


def why(found: GateVerdict) -> str:
    """Return what the report says of the only budget."""
    return verdict_view(found).budgets[0].reason


class TestEqual:
    """What is equal needs no statistics."""

    @pytest.mark.parametrize(("utterances", "repeats"), [(24, 5), (3, 1), (1, 1)])
    @pytest.mark.parametrize("statistic", ["p50", "p99"])
    def test_passes_however_few(self, utterances: int, repeats: int, statistic: str) -> None:
        """An unchanged agent passes and is never inconclusive, be the turns ever so few."""
        run = drawn(utterances=utterances, repeats=repeats, statistic=statistic)
        found = judge(run)
        assert found.verdict.value == "PASS"
        turns = utterances * repeats
        assert found.reason == f"the budget is kept, equal in all {turns} turns"
        assert why(found) == f"equal in all {turns} turns"

    def test_rates(self) -> None:
        """Failures that are the same in every turn are equal, with a reference that has none."""

        def some(script: Script, number: int) -> Script | None:
            return None if number == 3 else script

        both = judge(drawn(some, metric="failures", statistic="rate", main=some))
        assert why(both) == "equal in all 120 turns"
        assert judge(drawn(metric="failures", statistic="rate")).verdict.value == "PASS"

    def test_equal_failures_are_no_answer(self) -> None:
        """Where the percentile lies among the failures of both sides, nothing is said of it."""

        def most(script: Script, number: int) -> Script | None:
            return None if number < 20 else script

        assert judge(drawn(most, main=most)).verdict.value == "INCONCLUSIVE"

    def test_only_on_the_virtual_clock(self) -> None:
        """On the real clock equal values are a sample like any other."""
        found = judge(drawn(clock=Clock.REAL, utterances=3, repeats=1))
        assert found.budgets[0].draws is None
        assert found.verdict.value == "INCONCLUSIVE"

    def test_unpaired(self) -> None:
        """A trial without its partner leaves the usual judgement."""
        run = drawn()
        found = judge(replace(run, trials=run.trials[:-1]))
        assert found.budgets[0].draws is None


class TestDifferent:
    """Where turns differ, the exact differences stand there, and the draws give the interval."""

    def test_five_milliseconds(self) -> None:
        """A change of 5 ms is within the budget, and is seen in every turn."""
        found = judge(drawn(later(5)))
        assert found.verdict.value == "PASS"
        assert why(found) == "within budget; 120 of 120 turns differ, by +5.0\u00a0ms in the median"

    def test_some_turns(self) -> None:
        """Turns that differ are counted, with the least and the most of their differences."""

        def odd(script: Script, number: int) -> Script | None:
            return replace(script, llm=script.llm + number * MS) if number % 2 else script

        found = judge(drawn(odd))
        pairs = found.budgets[0].draws
        assert pairs is not None
        assert (pairs.turns, pairs.differing) == (120, 60)
        assert (pairs.least, pairs.median, pairs.most) == pytest.approx((1.0, 12.0, 23.0))
        assert "(+1.0\u00a0ms to +23\u00a0ms)" in why(found)

    def test_just_beyond(self) -> None:
        """A slow-down just beyond the budget fails, of turns too few to tell on the real clock."""

        def few(clock: Clock) -> GateVerdict:
            return judge(drawn(later(12), utterances=6, repeats=2, limit=1.01, clock=clock))

        found = few(Clock.VIRTUAL)
        assert found.budgets[0].ruling.margin is not None
        assert -0.01 < found.budgets[0].ruling.margin < 0
        assert found.verdict.value == "FAIL"
        assert few(Clock.REAL).verdict.value != "FAIL"

    def test_faster(self) -> None:
        """A faster agent passes."""
        assert judge(drawn(later(-30))).verdict.value == "PASS"

    @pytest.mark.parametrize("statistic", ["p50", "p90"])
    def test_slower_is_never_better(self, statistic: str) -> None:
        """Along growing slow-downs no verdict is better than one before."""
        ranks = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}
        found = [
            ranks[judge(drawn(later(ms), statistic=statistic)).verdict.value]
            for ms in (0, 5, 20, 60, 100, 200, 400)
        ]
        assert found == sorted(found)
        assert (found[0], found[-1]) == (0, 2)

    def test_failed_on_one_side(self) -> None:
        """A turn that only the change fails is told apart from slow ones, and weighs as slowest."""

        def one(script: Script, number: int) -> Script | None:
            return None if number == 0 else script

        found = judge(drawn(one))
        assert "5 failed on one side alone" in why(found)
        assert judge(drawn(one, statistic="p99")).verdict.value != "PASS"

    def test_the_same_again(self) -> None:
        """The same trials give the same evidence, in any order."""
        run = drawn(later(20))
        turned = replace(run, trials=tuple(reversed(run.trials)))
        assert judge(run).budgets[0].ruling == judge(turned).budgets[0].ruling


class TestNeverMixed:
    """Virtual and real figures are not held against each other."""

    def test_two_runs(self) -> None:
        """Runs on two clocks are not compared, and the line says why and what tells more."""
        (line,) = differences(drawn(), replace(drawn(clock=Clock.REAL), name="other"))
        assert line.startswith("clock: run is on the virtual clock, other on the real one")
        assert "--clock-check" in line

    def test_lanes(self) -> None:
        """How many trials are under way is an option of the real clock alone."""
        for clock, names in ((Clock.REAL, True), (Clock.VIRTUAL, False)):
            run = drawn(clock=clock)
            wide = replace(run.suite, concurrency=4)
            assert ("concurrency" in option_values(wide)) is names
            assert bool(differences(run, replace(run, suite=wide))) is names

    def test_baseline(self) -> None:
        """A baseline of one clock says nothing about a run on the other; an old one is real."""
        real, virtual = drawn(clock=Clock.REAL), drawn()
        held = build_baseline("gate", [real])
        assert against_baseline(real, held) == ()
        (line,) = against_baseline(virtual, held)
        assert line == "clock: run has the virtual one, baseline gate the real one"
        old = replace(held, options={k: v for k, v in held.options.items() if k != "clock"})
        assert against_baseline(real, old) == ()
        assert against_baseline(virtual, old) == (line,)

    def test_baseline_of_another_machine(self) -> None:
        """On the virtual clock a baseline holds on every machine."""
        for clock, fits in ((Clock.REAL, False), (Clock.VIRTUAL, True)):
            here = replace(drawn(clock=clock), machine={"cpu": "x"})
            runs = [replace(here, name=f"run {number}") for number in range(5)]
            held = build_baseline("gate", runs)
            budget = replace(here.suite.budgets[0], reference=None, limit=1.25, mde=1.6)
            there = replace(here, name="there", machine={"cpu": "y"})
            found = judge(there, baseline=held, budgets=[budget])
            assert (found.verdict.value == "PASS") is fits
