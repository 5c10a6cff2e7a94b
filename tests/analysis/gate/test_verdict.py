"""Budgets are judged on what was measured; a mistake or a doubt is never a pass."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.gate.baseline import (
    Baseline,
    against_baseline,
    build_baseline,
    machine_difference,
)
from harness.analysis.gate.judged import GateVerdict, exit_code
from harness.analysis.gate.verdict import judge, limit_of
from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.statistics.gate_rule import Verdict
from harness.domain.suite import Budget, BudgetKind, Suite
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from tests.synthetic import Script, make_health, make_run, make_suite, make_utterances

UTTERANCES = {each.id: each for each in make_utterances(30)}
MACHINE = {"cpu": "x", "cores": "2"}


def measured(
    trials: Sequence[Trial | FailedTrial],
    *budgets: Budget,
    suite: Suite | None = None,
    name: str = "run",
) -> MeasuredRun:
    """Return a run whose suite has these budgets."""
    return MeasuredRun(
        name=name,
        suite=replace(suite or make_suite(), budgets=budgets),
        utterances=UTTERANCES,
        trials=trials,
        datasets={"starter": "a" * 64},
        machine=MACHINE,
    )


def relative(metric: str = "llm_ttft", statistic: str = "p50", **rest: object) -> Budget:
    """Return a budget of 10 % against candidate a, with an mde that 96 trials can see."""
    plain = Budget(
        metric=metric,
        statistic=statistic,
        limit=1.10,
        kind=BudgetKind.RELATIVE,
        candidate="b",
        reference="a",
        mde=1.5,
    )
    return replace(plain, **rest)  # type: ignore[arg-type]


def absolute(metric: str, statistic: str, limit: float, **rest: object) -> Budget:
    """Return an absolute budget."""
    plain = Budget(metric=metric, statistic=statistic, limit=limit, kind=BudgetKind.ABSOLUTE)
    return replace(plain, **rest)  # type: ignore[arg-type]


def against_main(**rest: object) -> Budget:
    """Return a budget against the stored baseline."""
    return replace(relative(), candidate=None, reference=None, **rest)  # type: ignore[arg-type]


def verdict(found: GateVerdict) -> str:
    """Return the verdict's word."""
    return found.verdict.value


class TestPaired:
    """Against a reference of the same run."""

    def test_unchanged(self) -> None:
        """Unchanged code passes, exit code 0."""
        found = judge(measured(make_run(utterances=24, repeats=5), relative()))
        assert verdict(found) == "PASS"
        assert exit_code(found) == 0
        assert found.reason == "the budget is kept"
        entry = found.budgets[0]
        assert (entry.candidate, entry.reference, entry.emulated) == ("b", "a", True)
        assert isinstance(entry.measured, Estimate)
        assert isinstance(entry.measured_reference, Estimate)

    def test_regression(self) -> None:
        """A planted regression fails, exit code 1, and says what."""
        trials = make_run({"a": 1.0, "b": 1.5}, utterances=24, repeats=5)
        found = judge(measured(trials, relative(), relative("response")))
        assert verdict(found) == "FAIL"
        assert exit_code(found) == 1
        assert found.reason.startswith("b: llm_ttft p50 is beyond the budget")
        assert exit_code(found, allow_inconclusive=True) == 1

    def test_too_few(self) -> None:
        """Too few trials for the mde is inconclusive, exit code 3."""
        found = judge(measured(make_run(utterances=4, repeats=1), relative(mde=1.15)))
        assert verdict(found) == "INCONCLUSIVE"
        assert exit_code(found) == 3
        assert exit_code(found, allow_inconclusive=True) == 0

    def test_slower_never_passes_more(self) -> None:
        """Making the candidate slower never turns FAIL into PASS."""
        verdicts = [
            verdict(judge(measured(make_run({"a": 1.0, "b": scale}, utterances=12), relative())))
            for scale in (1.0, 1.3, 1.6, 3.0, 10.0)
        ]
        assert "PASS" not in verdicts[verdicts.index("FAIL") :]

    def test_rates(self) -> None:
        """Failures against a reference are judged by the trials that failed."""
        failing = make_run(utterances=24, repeats=5, failed={"a": 2, "b": 60})
        budget = relative("failures", "rate", limit=1.5, mde=8.0)
        assert verdict(judge(measured(failing, budget))) == "FAIL"

    def test_words(self) -> None:
        """Word errors of equal sides never fail."""
        budget = relative("wer", "rate", limit=1.5, mde=3.0)
        found = judge(measured(make_run(utterances=24), budget))
        assert verdict(found) != "FAIL"

    @pytest.mark.parametrize(
        ("metric", "failed", "expected"),
        [("failures", 0, "PASS"), ("failures", 60, "FAIL"), ("wer", 0, "PASS")],
    )
    def test_an_increase(self, metric: str, failed: int, expected: str) -> None:
        """Two points more than a reference without any: none is kept, half of the trials is not."""
        trials = make_run(utterances=24, repeats=5, failed={"b": failed})
        budget = relative(metric, "rate", limit=0.02, kind=BudgetKind.INCREASE, mde=None)
        found = judge(measured(trials, budget))
        assert verdict(found) == expected
        assert found.budgets[0].limit.kind == "increase"

    def test_more_is_better(self) -> None:
        """A lower output rate is slower and fails."""
        base = Script()
        slow = make_run(
            ["b"], utterances=24, repeats=5, base=replace(base, sentence=2 * base.sentence)
        )
        fast = make_run(["a"], utterances=24, repeats=5)
        found = judge(measured((*fast, *slow), relative("llm_tokens_per_second")))
        assert verdict(found) == "FAIL"
        swapped = judge(
            measured(
                (*fast, *slow),
                relative("llm_tokens_per_second", candidate="a", reference="b"),
            )
        )
        assert verdict(swapped) == "PASS"


class TestAbsolute:
    """Against a fixed limit."""

    def test_latency(self) -> None:
        """A generous limit passes, an impossible one fails."""
        trials = make_run(["a"], utterances=24, repeats=5)
        suite = make_suite("a")
        kept = judge(measured(trials, absolute("response", "p50", 1_500), suite=suite))
        assert verdict(kept) == "PASS"
        broken = judge(measured(trials, absolute("response", "p50", 300), suite=suite))
        assert verdict(broken) == "FAIL"
        assert broken.budgets[0].reference is None

    def test_more_is_better(self) -> None:
        """A floor under an output rate is kept by a fast model and broken by a slow one."""
        trials = make_run(["a"], utterances=24, repeats=5)
        suite = make_suite("a")
        kept = judge(measured(trials, absolute("llm_tokens_per_second", "p50", 40), suite=suite))
        assert verdict(kept) == "PASS"
        broken = judge(measured(trials, absolute("llm_tokens_per_second", "p50", 200), suite=suite))
        assert verdict(broken) == "FAIL"

    def test_failures_and_words(self) -> None:
        """Rates have absolute limits too."""
        suite = make_suite("a")
        failing = make_run(["a"], utterances=24, repeats=5, failed={"a": 40})
        rate = absolute("failures", "rate", 0.01, mde=20.0)
        assert verdict(judge(measured(failing, rate, suite=suite))) == "FAIL"
        clean = make_run(["a"], utterances=24, repeats=5)
        words = absolute("wer", "rate", 0.12, mde=5.0)
        assert verdict(judge(measured(clean, words, suite=suite))) == "PASS"
        for metric, limit in (("wer", 0.12), ("failures", 0.05)):
            sharp = absolute(metric, "rate", limit)
            assert verdict(judge(measured(clean, sharp, suite=suite))) == "PASS"
            beyond = absolute(metric, "rate", 0.002)
            assert verdict(judge(measured(clean, beyond, suite=suite))) == "INCONCLUSIVE"

    def test_timed_out(self) -> None:
        """A percentile among the failures is beyond any limit."""
        failing = make_run(["a"], utterances=24, repeats=5, failed={"a": 90})
        budget = absolute("response", "p50", 10_000)
        found = judge(measured(failing, budget, suite=make_suite("a")))
        assert verdict(found) == "FAIL"

    def test_every_candidate(self) -> None:
        """Without a candidate a budget binds each, and one that breaks it fails the gate."""
        trials = make_run({"a": 1.0, "b": 5.0}, utterances=24, repeats=5)
        found = judge(measured(trials, absolute("response", "p50", 1_100)))
        assert [each.candidate for each in found.budgets] == ["a", "b"]
        assert [each.ruling.verdict for each in found.budgets] == [Verdict.PASS, Verdict.FAIL]
        assert verdict(found) == "FAIL"


class TestBaseline:
    """Against several stored runs."""

    def runs(self, count: int, scale: float = 1.0) -> list[MeasuredRun]:
        """Return runs of one plan, each with its own draws."""
        return [
            measured(
                make_run({"a": scale}, utterances=24, repeats=5, seed=10 + seed),
                against_main(mde=2.0),
                suite=make_suite("a"),
                name=f"run{seed}",
            )
            for seed in range(count)
        ]

    def test_unchanged_and_regression(self) -> None:
        """An unchanged run passes; twice as slow fails."""
        stored = build_baseline("main", self.runs(6))
        assert stored.runs == tuple(f"run{n}" for n in range(6))
        assert len(stored.get("a", "llm_ttft", "p50") or ()) == 6
        fresh = self.runs(7)[6]
        found = judge(fresh, baseline=stored)
        assert verdict(found) == "PASS", found.reason
        assert found.budgets[0].reference == "baseline main"
        slow = replace(self.runs(7, scale=2.5)[6], suite=fresh.suite)
        assert verdict(judge(slow, baseline=stored)) == "FAIL"

    def test_one_run_is_not_enough(self) -> None:
        """A baseline of one run does not know how runs differ: inconclusive."""
        stored = build_baseline("main", self.runs(1))
        found = judge(self.runs(2)[1], baseline=stored)
        assert verdict(found) == "INCONCLUSIVE"
        assert isinstance(found.budgets[0].ruling.evidence, Unsupported)

    def test_other_machine(self) -> None:
        """A baseline of another machine is inconclusive, whatever the numbers say."""
        stored = replace(build_baseline("main", self.runs(6)), machine={"cpu": "y", "cores": "8"})
        for scale in (1.0, 9.0):
            found = judge(self.runs(1, scale)[0], baseline=stored)
            assert verdict(found) == "INCONCLUSIVE"
            assert "cores 2 instead of 8; cpu x instead of y" in found.reason
        assert machine_difference(MACHINE, MACHINE) == ""
        assert machine_difference(MACHINE, {"cpu": "x"}) == "cores 2 instead of unknown"

    def test_a_run_of_the_baseline_itself(self) -> None:
        """A run that the baseline was built from is inconclusive against it: it is part of it."""
        stored = build_baseline("main", self.runs(6))
        own, fresh = self.runs(7)[5:]
        found = judge(own, baseline=stored)
        assert verdict(found) == "INCONCLUSIVE"
        assert "run5 is one of the runs that baseline main was built from" in found.reason
        assert not judge(fresh, baseline=stored).doubts

    def test_misuse(self) -> None:
        """No baseline, a candidate or metric that it lacks, other options: mistakes, no verdict."""
        run = self.runs(1)[0]
        with pytest.raises(ConfigurationError, match="there is none; give --baseline"):
            judge(run)
        stored = build_baseline("main", self.runs(5))
        empty = replace(stored, figures={})
        with pytest.raises(ConfigurationError, match="has no candidate 'a'"):
            judge(run, baseline=empty)
        partial = replace(stored, figures={"a": {"response": {"p50": (1.0,) * 5}}})
        with pytest.raises(ConfigurationError, match="has no p50 of llm_ttft"):
            judge(run, baseline=partial)
        session = replace(run.suite.session, preemptive_generation=True)
        other = replace(run, suite=replace(run.suite, session=session))
        assert against_baseline(other, stored)
        with pytest.raises(ConfigurationError, match=r"session\.preemptive_generation"):
            judge(other, baseline=stored)
        changed = replace(stored, definitions={**stored.definitions, "llm_ttft": "000"})
        with pytest.raises(ConfigurationError, match="definition changed"):
            judge(run, baseline=changed)
        elsewhere = replace(run, datasets={"mine": "b" * 64})
        with pytest.raises(ConfigurationError, match="other recordings"):
            judge(elsewhere, baseline=stored)

    def test_runs_of_one_plan(self) -> None:
        """Runs that differ make no baseline, and every difference is named."""
        runs = self.runs(2)
        suite = replace(runs[1].suite, frame_ms=10)
        odd = replace(runs[1], suite=suite, machine={"cpu": "y", "cores": "2"})
        with pytest.raises(ConfigurationError) as error:
            build_baseline("main", [runs[0], odd])
        assert "frame_ms" in str(error.value)
        assert "another machine: cpu x instead of y" in str(error.value)
        with pytest.raises(ConfigurationError, match="at least one run"):
            build_baseline("main", [])

    def test_unsupported_figures_are_not_kept(self) -> None:
        """A percentile that a run cannot carry is no figure of the baseline."""
        small = measured(make_run(["a"], utterances=8), suite=make_suite("a"))
        stored = build_baseline("main", [small])
        assert stored.get("a", "response", "p50") is not None
        assert stored.get("a", "response", "p99") is None
        assert stored.get("a", "failures", "rate") == (0.0,)
        assert stored.get("a", "wer", "rate") == (0.0,)
        assert isinstance(stored, Baseline)


class TestMistakes:
    """Misuse is a mistake with its mend, all mistakes together; never a pass."""

    def test_no_budget(self) -> None:
        """An empty gate would pass anything."""
        with pytest.raises(ConfigurationError, match="no \\[\\[budget\\]\\]"):
            judge(measured(make_run()))

    def test_all_together(self) -> None:
        """Unknown metric, a mean, a missing candidate and a missing metric stand in one error."""
        only_a = [trial for trial in make_run() if trial.key.candidate == "a"]
        run = measured(
            only_a,
            absolute("ttfs", "p50", 100, candidate="a"),
            absolute("llm_ttft", "mean", 100, candidate="a"),
            absolute("failures", "p50", 0.1, candidate="a"),
            absolute("response", "p50", 900, candidate="b"),
            absolute("stt_finalize", "p50", 900, candidate="a"),
            relative(mde=1.05, candidate="a", reference="a"),
        )
        with pytest.raises(ConfigurationError) as error:
            judge(run)
        text = str(error.value)
        assert len(error.value.problems) == 6
        for part in (
            "there is no metric 'ttfs'",
            "a mean cannot gate",
            'failures are limited by statistic = "rate"',
            "run has no trial of candidate 'b'",
            "no trial of 'a' has stt_finalize; the session driver",
            "binds no candidate but its own reference",
        ):
            assert part in text

    def test_limits(self) -> None:
        """Numbers that contradict each other are refused; defaults are as stated."""
        with pytest.raises(ConfigurationError, match="must lie above the limit"):
            limit_of(relative(mde=1.05))
        with pytest.raises(ConfigurationError, match="at least 1"):
            limit_of(relative(limit=0.9))
        assert limit_of(relative(mde=None)).mde == pytest.approx(1.2)
        assert limit_of(relative(mde=None, limit=1.3)).mde == pytest.approx(1.6)
        assert limit_of(absolute("response", "p95", 1_200)).mde == pytest.approx(1_200)
        assert limit_of(absolute("response", "p95", 1_200, mde=1.25)).mde == pytest.approx(1_500)
        assert limit_of(absolute("tts_underruns", "p95", 0)).mde == pytest.approx(0.0)
        rate = limit_of(absolute("llm_tokens_per_second", "p50", 40))
        assert rate.limit == pytest.approx(1 / 40)
        assert rate.mde == pytest.approx(1 / 40)
        with pytest.raises(ConfigurationError, match="a floor lies above 0"):
            limit_of(absolute("llm_tokens_per_second", "p50", 0))

    def test_judged_as_stated(self) -> None:
        """The verdict keeps each budget as the suite states it."""
        budget = absolute("response", "p50", 1_500, candidate="a")
        found = judge(measured(make_run(utterances=24), budget))
        assert found.budgets[0].budget == budget
        assert dataclasses.is_dataclass(found)


class TestDoubts:
    """A disturbed run cannot carry a verdict."""

    def disturbed(self, slower: float, late_ms: float, budget: Budget) -> GateVerdict:
        """Judge a run most of whose trials the machine made so late."""
        health = make_health(late_frames=1, lateness_max_ns=int(late_ms * 1_000_000))
        trials = [
            replace(trial, health=health)
            if isinstance(trial, Trial) and trial.key.order % 4
            else trial
            for trial in make_run({"a": 1.0, "b": slower}, utterances=24)
        ]
        return judge(measured(trials, budget))

    def test_disturbed(self) -> None:
        """Where most trials stayed disturbed, nothing passes, and what it may explain is open."""
        quiet = self.disturbed(1.0, 25.0, relative())
        assert verdict(quiet) == "INCONCLUSIVE"
        assert "disturbed" in quiet.reason
        assert exit_code(quiet, allow_inconclusive=True) == 0
        found = self.disturbed(3.0, 5_000.0, relative())
        assert found.budgets[0].ruling.verdict is Verdict.FAIL
        assert verdict(found) == "INCONCLUSIVE"
        assert exit_code(found) == exit_code(found, allow_inconclusive=True) == 3

    def test_what_a_disturbance_cannot_have_caused_fails(self) -> None:
        """25 ms late explain neither three times the latency nor a failure."""
        for budget in (relative(), absolute("response", "p50", 300)):
            found = self.disturbed(3.0, 25.0, budget)
            assert verdict(found) == "FAIL"
            assert "disturbed" not in found.reason
            assert found.doubts
            assert exit_code(found, allow_inconclusive=True) == 1
        health = make_health(late_frames=1)
        trials = [
            replace(trial, health=health) if isinstance(trial, Trial) else trial
            for trial in make_run(utterances=24, repeats=5, failed={"b": 60})
        ]
        assert verdict(judge(measured(trials, absolute("failures", "rate", 0.05)))) == "FAIL"

    @pytest.mark.parametrize("utterances", [1, 2, 14])
    def test_who_answers_nothing_fails(self, utterances: int) -> None:
        """However few the trials and whatever is limited: no answer keeps no budget."""
        trials = make_run(utterances=utterances, failed={"b": 100})
        for budget in (
            absolute("response", "p50", 5_000, candidate="b"),
            absolute("response", "p95", 5_000, candidate="b"),
            relative("response"),
        ):
            found = judge(measured(trials, budget))
            assert verdict(found) == "FAIL", budget
            assert "answered nothing" in found.reason
