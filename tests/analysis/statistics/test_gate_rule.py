"""The gate's verdicts, and the law that slower is never better."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.gate.evidence import (
    absolute_evidence,
    baseline_evidence,
    failure_evidence,
    paired_evidence,
    pooled_evidence,
    rate_evidence,
)
from harness.analysis.statistics.estimate import (
    Estimate,
    Sample,
    TimedOut,
    Unsupported,
    estimate_rate,
)
from harness.analysis.statistics.gate_rule import Evidence, Limit, Ruling, Verdict, combine, rule
from harness.analysis.statistics.paired import RateChange, compare, compare_rates
from harness.analysis.statistics.resample import estimate_ratio_of_sums
from harness.analysis.statistics.simulate import SCENARIOS, Plan, draw, slow_down

RATIO = Limit(kind="ratio", limit=1.10, mde=1.30)
TAIL = Limit(kind="ratio", limit=1.20, mde=1.80)


def evidence(**changes: object) -> Evidence:
    """Make evidence well within the budget, changed."""
    fields: dict[str, object] = {
        "point": 1.0,
        "p_value": 0.5,
        "suspicious": False,
        "detectable": 1.2,
        "upper": 1.1,
        "alpha": 0.005,
        "method": "test",
    }
    return Evidence(**(fields | changes))  # type: ignore[arg-type]


class TestRule:
    """FAIL needs point and interval; PASS needs the upper bound, and nothing else."""

    @pytest.mark.parametrize(
        ("changes", "verdict"),
        [
            ({}, Verdict.PASS),
            ({"point": 1.2, "p_value": 0.001, "suspicious": True}, Verdict.FAIL),
            ({"point": 1.09, "p_value": 0.001, "suspicious": True}, Verdict.PASS),
            ({"point": 1.2, "p_value": 0.2, "upper": 1.25}, Verdict.PASS),
            ({"point": 1.2, "p_value": 0.2, "suspicious": True}, Verdict.INCONCLUSIVE),
            ({"detectable": math.inf}, Verdict.PASS),
            ({"upper": 1.3}, Verdict.PASS),
            ({"upper": 1.31}, Verdict.INCONCLUSIVE),
            ({"upper": math.inf}, Verdict.INCONCLUSIVE),
            ({"point": math.inf, "p_value": 0.001, "suspicious": True}, Verdict.FAIL),
            ({"detectable": 9.0, "point": 2.0, "p_value": 0.001, "suspicious": True}, Verdict.FAIL),
        ],
    )
    def test_the_table_of_verdicts(self, changes: dict[str, object], verdict: Verdict) -> None:
        """Each row is one way to stand towards a budget of 10 % with an mde of 30 %."""
        ruling = rule(RATIO, evidence(**changes))
        assert ruling.verdict is verdict
        assert ruling.reason

    def test_the_margin_is_what_is_left(self) -> None:
        """Limit minus point; minus infinity for a time-out; none without a number."""
        assert rule(RATIO, evidence(point=1.04)).margin == pytest.approx(0.06)
        assert rule(RATIO, evidence(point=math.inf)).margin == -math.inf
        nothing = Unsupported(
            reason="too few", needed=9, n=1, effective_n=1.0, failures=0, observed=None
        )
        ruling = rule(RATIO, nothing)
        assert (ruling.verdict, ruling.margin, ruling.reason) == (
            Verdict.INCONCLUSIVE,
            None,
            "too few",
        )

    def test_a_limit_that_promises_nonsense_does_not_exist(self) -> None:
        """A ratio below 1, an mde at the limit, an infinite limit."""
        for kind, limit, mde in (
            ("ratio", 0.9, 1.2),
            ("ratio", 1.1, 1.1),
            ("increase", -0.1, 0.1),
            ("absolute", math.inf, math.inf),
        ):
            with pytest.raises(ValueError, match=r"limit|mde"):
                Limit(kind=kind, limit=limit, mde=mde)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("verdicts", "whole"),
        [
            ("PP", Verdict.PASS),
            ("PI", Verdict.INCONCLUSIVE),
            ("IF", Verdict.FAIL),
            ("PF", Verdict.FAIL),
        ],
    )
    def test_a_gate_is_as_good_as_its_worst_budget(self, verdicts: str, whole: Verdict) -> None:
        """One FAIL fails, one INCONCLUSIVE leaves open, all PASS pass."""
        kinds = {"P": Verdict.PASS, "I": Verdict.INCONCLUSIVE, "F": Verdict.FAIL}
        rulings = [
            Ruling(verdict=kinds[v], reason="", margin=0.0, evidence=evidence()) for v in verdicts
        ]
        assert combine(rulings).verdict is whole

    def test_an_empty_gate_is_misuse(self) -> None:
        """No budget is not a pass."""
        with pytest.raises(ValueError, match="needs a budget"):
            combine([])


class TestMonotone:
    """A slower candidate never turns FAIL into PASS."""

    @settings(deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 100_000),
        scenario=st.sampled_from(SCENARIOS),
        share=st.sampled_from([0.5, 0.95]),
        factor=st.sampled_from([1.15, 1.3, 1.6]),
        kind=st.sampled_from(["one", "some", "utterance", "all", "fail"]),
        mde=st.sampled_from([1.3, 2.0, 50.0]),
    )
    def test_whatever_is_made_slower(
        self, *, seed: int, scenario: str, share: float, factor: float, kind: str, mde: float
    ) -> None:
        """One trial, some, a whole utterance, all, or failures: FAIL never becomes PASS."""
        random = np.random.default_rng(seed)
        twin = slow_down(draw(scenario, random, Plan(utterances=12, repeats=6)), factor)
        a, b = twin.samples()
        limit = Limit(kind="ratio", limit=1.10, mde=mde)
        before = rule(limit, paired_evidence(a, b, limit, share=share))
        values, failed = a.values.copy(), a.failed.copy()
        if kind == "one":
            values[random.integers(a.n)] *= 30
        elif kind == "some":
            values[random.random(a.n) < 0.3] *= random.lognormal(0, 1) + 1
        elif kind == "utterance":
            values[a.clusters == 3] *= 8
        elif kind == "all":
            values *= 1.2
        else:
            failed[random.random(a.n) < 0.2] = True
        worse = Sample.of(values, failed=failed, clusters=a.clusters)
        after = rule(limit, paired_evidence(worse, b, limit, share=share))
        assert not (before.verdict is Verdict.FAIL and after.verdict is Verdict.PASS)

    @settings(deadline=None)
    @given(
        runs=st.lists(st.floats(100, 2_000), min_size=5, max_size=12),
        one=st.floats(100, 4_000),
        slower=st.floats(1, 5),
    )
    def test_against_a_baseline_too(self, runs: list[float], one: float, slower: float) -> None:
        """Against stored runs FAIL stays FAIL when the candidate becomes slower or times out."""
        before = rule(RATIO, baseline_evidence(one, runs, RATIO))
        after = rule(RATIO, baseline_evidence(one * slower, runs, RATIO))
        gone = rule(RATIO, baseline_evidence(TimedOut(n=9, failures=9), runs, RATIO))
        if before.verdict is Verdict.FAIL:
            assert after.verdict is Verdict.FAIL
            assert gone.verdict is Verdict.FAIL
        assert gone.verdict is not Verdict.PASS


class TestAnything:
    """Whatever was measured is judged, and never passes or fails by error."""

    @settings(deadline=None, max_examples=150)
    @given(
        seed=st.integers(0, 1_000_000),
        sizes=st.tuples(st.integers(1, 90), st.integers(1, 90)),
        utterances=st.integers(1, 30),
        share=st.sampled_from([0.5, 0.9, 0.95]),
        lost=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
        shape=st.sampled_from(["lognormal", "ties", "constant", "negative"]),
    )
    def test_any_two_samples_have_a_verdict(
        self,
        *,
        seed: int,
        sizes: tuple[int, int],
        utterances: int,
        share: float,
        lost: float,
        shape: str,
    ) -> None:
        """Unequal, unpaired, tied, failing or negative trials; x against x does not FAIL."""
        random = np.random.default_rng(seed)
        sides = []
        for n in sizes:
            values = {
                "lognormal": random.lognormal(0, 1, n),
                "ties": np.round(random.lognormal(0, 1, n)),
                "constant": np.full(n, 3.0),
                "negative": random.normal(0, 1, n),
            }[shape]
            sides.append(
                Sample.of(
                    values,
                    failed=random.random(n) < lost,
                    clusters=random.integers(0, utterances, n),
                )
            )
        a, b = sides
        assert rule(RATIO, paired_evidence(a, b, RATIO, share=share)).reason
        absolute = Limit(kind="absolute", limit=5.0, mde=9.0)
        assert rule(absolute, absolute_evidence(a, absolute, share=share)).reason
        change = compare(a, b, share=share)
        assert isinstance(change, Unsupported) or 0.0 <= change.p_value <= 1.0
        same = rule(RATIO, paired_evidence(a, a, RATIO, share=share))
        assert same.verdict is not Verdict.FAIL
        if lost == 1.0:
            assert same.verdict is Verdict.INCONCLUSIVE


class TestPaired:
    """A reference measured in the same run."""

    def test_a_run_against_itself_passes_when_it_could_have_seen_something(self) -> None:
        """gate(x, x) passes with enough trials, and is inconclusive with few; it never fails."""
        random = np.random.default_rng(1)
        big = draw("lognormal-1.8", random, Plan(repeats=10)).samples()[0]
        small = draw("lognormal-1.8", random, Plan(utterances=5, repeats=2)).samples()[0]
        assert rule(RATIO, paired_evidence(big, big, RATIO)).verdict is Verdict.PASS
        assert rule(TAIL, paired_evidence(big, big, TAIL, share=0.95)).verdict is Verdict.PASS
        assert rule(RATIO, paired_evidence(small, small, RATIO)).verdict is Verdict.INCONCLUSIVE
        few = rule(TAIL, paired_evidence(small, small, TAIL, share=0.95))
        assert few.verdict is Verdict.INCONCLUSIVE
        assert "needs 59 trials" in few.reason

    def test_a_plain_regression_fails(self) -> None:
        """+50 % fails at p50 and p95, also as one of 24 budgets."""
        random = np.random.default_rng(2)
        a, b = slow_down(draw("lognormal-1.8", random), 1.7).samples()
        for budgets in (1, 24):
            assert (
                rule(RATIO, paired_evidence(a, b, RATIO, budgets=budgets)).verdict is Verdict.FAIL
            )
            tail = paired_evidence(a, b, TAIL, share=0.95, budgets=budgets)
            assert rule(TAIL, tail).verdict is Verdict.FAIL

    def test_failures_fail_the_tail(self) -> None:
        """A candidate that times out in 15 % of its trials fails a p95 budget."""
        random = np.random.default_rng(3)
        a, b = draw("lognormal-1.8", random).samples()
        failed = np.arange(a.n) % 7 == 0
        worse = Sample.of(a.values, failed=failed, clusters=a.clusters)
        ruling = rule(TAIL, paired_evidence(worse, b, TAIL, share=0.95))
        assert ruling.verdict is Verdict.FAIL
        assert ruling.margin == -math.inf
        assert "among its failures" in ruling.reason

    @pytest.mark.parametrize("share", [0.5, 0.95])
    @pytest.mark.parametrize("rate", [0.7, 1.0])
    def test_two_broken_sides_do_not_pass_each_other(self, share: float, rate: float) -> None:
        """When both sides time out there is nothing to compare, and that is no pass."""
        random = np.random.default_rng(11)
        a, b = draw("lognormal-1.8", random).samples()
        a, b = (
            Sample.of(s.values, failed=random.random(s.n) < rate, clusters=s.clusters)
            for s in (a, b)
        )
        ruling = rule(RATIO, paired_evidence(a, b, RATIO, share=share))
        assert ruling.verdict is Verdict.INCONCLUSIVE
        assert "both sides" in ruling.reason

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_a_candidate_that_mostly_fails_fails(self, share: float) -> None:
        """Six of ten trials lost against none: FAIL at the median and at the tail."""
        random = np.random.default_rng(12)
        a, b = draw("lognormal-1.8", random).samples()
        lost = Sample.of(a.values, failed=random.random(a.n) < 0.6, clusters=a.clusters)
        ruling = rule(RATIO, paired_evidence(lost, b, RATIO, share=share))
        assert ruling.verdict is Verdict.FAIL
        assert rule(RATIO, paired_evidence(b, lost, RATIO, share=share)).verdict is not Verdict.FAIL

    def test_values_before_the_end_of_speech_are_limited_by_an_increase(self) -> None:
        """A negative median has no ratio, but "no more than 50 ms slower" judges it."""
        random = np.random.default_rng(13)
        clusters = np.repeat(np.arange(24), 5)
        limit = Limit(kind="increase", limit=50.0, mde=120.0)
        reference = Sample.of(random.normal(-20, 60, 120), clusters=clusters)
        for slower, verdict in ((0.0, Verdict.PASS), (150.0, Verdict.FAIL)):
            candidate = Sample.of(random.normal(slower - 20, 60, 120), clusters=clusters)
            found = rule(limit, paired_evidence(candidate, reference, limit))
            assert found.verdict is verdict
            ratio = rule(RATIO, paired_evidence(candidate, reference, RATIO))
            assert ratio.verdict is Verdict.INCONCLUSIVE
            assert "not positive" in ratio.reason

    def test_more_budgets_ask_for_more(self) -> None:
        """The corrected level and the smallest detectable change grow with the family."""
        a, b = draw("lognormal-1.8", np.random.default_rng(4)).samples()
        one, many = (paired_evidence(a, b, RATIO, budgets=k) for k in (1, 24))
        assert isinstance(one, Evidence)
        assert isinstance(many, Evidence)
        assert many.alpha == one.alpha / 24
        assert many.detectable > one.detectable

    def test_the_detectable_change_is_detected_that_often(self) -> None:
        """A slowdown of the stated size is found in about 90 % of runs: at least 80."""
        random = np.random.default_rng(5)
        found = 0
        for _ in range(150):
            twin = draw("lognormal-1.8", random)
            stated = paired_evidence(*twin.samples(), RATIO)
            assert isinstance(stated, Evidence)
            again = draw("lognormal-1.8", random)
            slow = slow_down(again, stated.detectable)
            found += rule(RATIO, paired_evidence(*slow.samples(), RATIO)).verdict is Verdict.FAIL
        assert found / 150 >= 0.80

    def test_the_wrong_kind_of_limit_is_refused(self) -> None:
        """Each kind of evidence answers its kind of limit only."""
        a, b = draw("lognormal-1.8", np.random.default_rng(4)).samples()
        absolute = Limit(kind="absolute", limit=900.0, mde=1_200.0)
        with pytest.raises(ValueError, match="increase"):
            paired_evidence(a, b, absolute)
        with pytest.raises(ValueError, match="ratio"):
            baseline_evidence(1.0, [1.0] * 5, absolute)
        with pytest.raises(ValueError, match="absolute"):
            absolute_evidence(a, RATIO, share=0.95)


class TestBaseline:
    """Stored runs carry how runs differ."""

    def test_one_run_is_no_baseline(self) -> None:
        """Fewer than five runs are inconclusive."""
        ruling = rule(RATIO, baseline_evidence(900.0, [500.0] * 4, RATIO))
        assert ruling.verdict is Verdict.INCONCLUSIVE
        assert "needs 5 runs" in ruling.reason

    def test_steady_runs_catch_what_unsteady_runs_cannot(self) -> None:
        """The same +30 % fails against steady runs and is inconclusive against unsteady ones."""
        steady = [500.0, 502.0, 498.0, 501.0, 499.0, 500.0]
        unsteady = [400.0, 600.0, 480.0, 530.0, 450.0, 560.0]
        assert rule(RATIO, baseline_evidence(650.0, steady, RATIO)).verdict is Verdict.FAIL
        assert rule(RATIO, baseline_evidence(500.0, steady, RATIO)).verdict is Verdict.PASS
        unsure = rule(RATIO, baseline_evidence(650.0, unsteady, RATIO))
        assert unsure.verdict is Verdict.INCONCLUSIVE

    def test_what_has_no_ratio_is_inconclusive(self) -> None:
        """A run with a value of 0 or a candidate before the end of speech has no ratio."""
        assert isinstance(baseline_evidence(500.0, [0.0] + [5.0] * 5, RATIO), Unsupported)
        assert isinstance(baseline_evidence(-5.0, [5.0] * 6, RATIO), Unsupported)


class TestAbsolute:
    """A limit on the number itself."""

    LIMIT = Limit(kind="absolute", limit=1_200.0, mde=1_500.0)

    def test_the_bound_must_pass_the_limit(self) -> None:
        """Far below passes, far above fails, close to it is inconclusive."""
        random = np.random.default_rng(6)
        clusters = np.repeat(np.arange(60), 5)
        noise = random.lognormal(0, 0.2, 300)
        verdicts = []
        for typical in (500.0, 900.0, 1_400.0):
            sample = Sample.of(typical * noise, clusters=clusters)
            verdicts.append(
                rule(self.LIMIT, absolute_evidence(sample, self.LIMIT, share=0.95)).verdict
            )
        assert verdicts == [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]

    def test_too_few_trials_never_pass(self) -> None:
        """50 fast trials do not show that the p95 is fast."""
        sample = Sample.of(np.full(50, 1.0))
        ruling = rule(self.LIMIT, absolute_evidence(sample, self.LIMIT, share=0.95))
        assert ruling.verdict is Verdict.INCONCLUSIVE

    def test_a_timed_out_percentile_fails(self) -> None:
        """With 20 % of failures the p95 is beyond every limit."""
        sample = Sample.of(np.full(200, 1.0), failed=np.arange(200) % 5 == 0)
        ruling = rule(self.LIMIT, absolute_evidence(sample, self.LIMIT, share=0.95))
        assert ruling.verdict is Verdict.FAIL

    def test_the_level_is_kept_at_the_limit(self) -> None:
        """A candidate whose p95 is the limit fails in at most 0.5 % (here: of 400, at most 7)."""
        random = np.random.default_rng(7)
        limit = Limit(kind="absolute", limit=math.exp(1.6448536), mde=9.0)
        failed = 0
        for _ in range(400):
            sample = Sample.of(random.lognormal(0, 1, 150))
            failed += (
                rule(limit, absolute_evidence(sample, limit, share=0.95)).verdict is Verdict.FAIL
            )
        assert failed <= 7


class TestRates:
    """Failures and word errors."""

    def test_failures_against_a_limit(self) -> None:
        """1 %: none of 600 passes, 5 % of 600 fails, none of 50 is inconclusive."""
        limit = Limit(kind="absolute", limit=0.01, mde=0.05)
        for events, n, verdict in (
            (0, 600, Verdict.PASS),
            (30, 600, Verdict.FAIL),
            (0, 50, Verdict.INCONCLUSIVE),
        ):
            estimate = estimate_rate(np.arange(n) < events)
            assert isinstance(estimate, Estimate)
            assert rule(limit, failure_evidence(estimate, limit)).verdict is verdict

    def test_word_errors_against_a_limit(self) -> None:
        """12 %: about 5 % passes, about 30 % fails."""
        limit = Limit(kind="absolute", limit=0.12, mde=0.20)
        random = np.random.default_rng(8)
        for rate, verdict in ((0.05, Verdict.PASS), (0.3, Verdict.FAIL)):
            words = np.full(80, 10)
            estimate = estimate_ratio_of_sums(random.binomial(words, rate), words)
            assert isinstance(estimate, Estimate)
            assert rule(limit, pooled_evidence(estimate, limit)).verdict is verdict

    def test_a_rate_of_survivors_cannot_gate(self) -> None:
        """What leaves failures out is inconclusive, however good it looks."""
        estimate = Estimate(
            point=0.01,
            low=0.0,
            high=0.02,
            confidence=0.95,
            n=90,
            effective_n=90.0,
            failures=3,
            method="of the answered",
            gateable=False,
        )
        limit = Limit(kind="absolute", limit=0.12, mde=0.20)
        assert rule(limit, pooled_evidence(estimate, limit)).verdict is Verdict.INCONCLUSIVE

    def test_word_errors_against_a_reference(self) -> None:
        """Two points more allowed: equal passes, fifteen points more fail."""
        limit = Limit(kind="increase", limit=0.02, mde=0.10)
        random = np.random.default_rng(9)
        groups = np.repeat(np.arange(30), 4)
        words = np.full(120, 10)
        reference = random.binomial(words, 0.08)
        for extra, verdict in ((0.0, Verdict.PASS), (0.15, Verdict.FAIL)):
            candidate = np.minimum(words, reference + random.binomial(words, extra))
            change = compare_rates((candidate, words, groups), (reference, words, groups))
            assert isinstance(change, RateChange)
            assert rule(limit, rate_evidence(change, limit)).verdict is verdict
            ratio = Limit(kind="ratio", limit=1.3, mde=3.0)
            assert rule(ratio, rate_evidence(change, ratio)).verdict is verdict

    def test_a_ratio_to_no_error_at_all_is_open(self) -> None:
        """Nothing can be said of twice zero."""
        groups = np.arange(30)
        side = (np.zeros(30), np.ones(30), groups)
        change = compare_rates(side, side)
        assert isinstance(change, RateChange)
        ratio = Limit(kind="ratio", limit=1.3, mde=3.0)
        assert rule(ratio, rate_evidence(change, ratio)).verdict is Verdict.INCONCLUSIVE
