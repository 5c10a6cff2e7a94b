"""The gate's promises, by simulation: false alarms, power, and INCONCLUSIVE for what is too small.

A fast form of ``bench/calibrate.py``, whose full figures are in ``bench/CALIBRATION.md``. Seeded; a
bound is broken only when the count lies beyond what chance gives a gate that keeps its promise in
one of 10,000 test runs.
"""

import math

import numpy as np
import pytest
from scipy import stats

from harness.analysis.gate.evidence import absolute_evidence, baseline_evidence, paired_evidence
from harness.analysis.statistics.estimate import Sample
from harness.analysis.statistics.gate_rule import ALPHA, GateResult, Limit, Verdict, combine, rule
from harness.analysis.statistics.quantile import quantile
from harness.analysis.statistics.sequential import look_sizes, measure_until_clear
from harness.analysis.statistics.simulate import SCENARIOS, Plan, Slowdown, Twin, draw, slow_down

P50 = Limit(kind="ratio", limit=1.10, mde=1.20)
P95 = Limit(kind="ratio", limit=1.20, mde=1.50)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def most(n: int, rate: float) -> int:
    """Return how many of n are still explained by the promised rate."""
    return int(stats.binom.ppf(1 - 1e-4, n, rate))


def least(n: int, rate: float) -> int:
    """Return how few of n are still explained by the promised rate."""
    return int(stats.binom.ppf(1e-4, n, rate))


def verdict(twin: Twin, share: float, *, budgets: int = 1) -> Verdict:
    """Judge one budget."""
    limit = P50 if share == 0.5 else P95
    evidence = paired_evidence(*twin.samples(), limit, share=share, budgets=budgets)
    return rule(limit, evidence).verdict


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_gate_of_one_budget_alarms_falsely_in_at_most_one_percent(scenario: str) -> None:
    """Unchanged code fails p50 and p95 gates in at most 1 % of runs, whatever the shape."""
    random = np.random.default_rng([1, SCENARIOS.index(scenario)])
    n = 500
    counts = {0.5: 0, 0.95: 0}
    for _ in range(n):
        twin = draw(scenario, random)
        for share in counts:
            counts[share] += verdict(twin, share) is Verdict.FAIL
    assert max(counts.values()) <= most(n, 0.01)
    assert sum(counts.values()) <= most(2 * n, ALPHA)


# Half a minute each: two kinds of noise by day, all of them by night.
BY_DAY = ("lognormal-1.8", "heavy-tailed")
NOISES = [
    each if each in BY_DAY else pytest.param(each, marks=pytest.mark.long) for each in SCENARIOS
]


@pytest.mark.parametrize("scenario", NOISES)
def test_a_gate_of_24_budgets_alarms_falsely_in_at_most_one_percent(scenario: str) -> None:
    """p50 and p95 of twelve metrics together fail in at most 1 % of unchanged runs."""
    random = np.random.default_rng([2, SCENARIOS.index(scenario)])
    n, alarms = 60, 0
    for _ in range(n):
        twins = [draw(scenario, random) for _ in range(12)]
        alarms += any(
            verdict(twin, share, budgets=24) is Verdict.FAIL
            for twin in twins
            for share in (0.5, 0.95)
        )
    assert alarms <= most(n, 0.01)


@pytest.mark.parametrize(("share", "factor", "power"), [(0.5, 1.2, 0.95), (0.95, 1.5, 0.90)])
def test_a_planted_regression_is_found(share: float, factor: float, power: float) -> None:
    """In the 1.8 lognormal, +20 % of p50 is found in 95 %, +50 % of p95 in 90 % of runs."""
    random = np.random.default_rng([3, int(100 * share)])
    n = 400
    found = sum(
        verdict(slow_down(draw("lognormal-1.8", random), factor), share) is Verdict.FAIL
        for _ in range(n)
    )
    assert found >= least(n, power)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    ("share", "factor", "kind"),
    [(0.5, 1.2, "everything"), (0.95, 1.5, "everything"), (0.95, 1.5, "tail")],
)
def test_what_the_suite_asks_to_exclude_does_not_pass(
    scenario: str, share: float, factor: float, kind: Slowdown
) -> None:
    """A regression of the size of the mde passes in at most 10 % of runs, whatever the shape."""
    random = np.random.default_rng([4, SCENARIOS.index(scenario), int(100 * share)])
    n = 120
    passed = sum(
        verdict(slow_down(draw(scenario, random), factor, kind), share) is Verdict.PASS
        for _ in range(n)
    )
    assert passed <= most(n, 0.10)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_undersized_gate_is_inconclusive(scenario: str) -> None:
    """With 6 utterances x 3 repeats a slowdown of 20 % passes in 5 %, and mostly all is open."""
    random = np.random.default_rng([5, SCENARIOS.index(scenario)])
    plan = Plan(utterances=6, repeats=3)
    n = 200
    passed = 0
    open_ = 0
    for _ in range(n):
        twin = draw(scenario, random, plan)
        passed += verdict(slow_down(twin, 1.2), 0.5) is Verdict.PASS
        open_ += verdict(twin, 0.5) is Verdict.INCONCLUSIVE
        assert verdict(twin, 0.95) is Verdict.INCONCLUSIVE
    assert passed <= most(n, 0.05)
    assert open_ >= least(n, 0.5)


@pytest.mark.parametrize("scenario", ["lognormal-1.8", "heavy-tailed", "drifting"])
def test_looking_four_times_keeps_the_level(scenario: str) -> None:
    """The sequential gate of unchanged code fails in at most 1 % of runs, over all looks."""
    random = np.random.default_rng([6, SCENARIOS.index(scenario)])
    sizes = look_sizes(8)
    n, alarms = 250, 0
    for _ in range(n):
        twin = draw(scenario, random, Plan(repeats=sizes[-1]))

        def judge(repeats: int, alpha: float, twin: Twin = twin) -> GateResult:
            part = Twin(
                candidate=twin.candidate[:, :repeats], reference=twin.reference[:, :repeats]
            )
            return combine([rule(P50, paired_evidence(*part.samples(), P50, alpha=alpha))])

        alarms += measure_until_clear(sizes, judge)[0].verdict is Verdict.FAIL
    assert alarms <= most(n, 0.01)


@pytest.mark.parametrize(("before", "after"), [(0.35, 0.55), (0.45, 0.60)])
def test_a_median_that_jumped_to_the_slow_mode_does_not_pass(before: float, after: float) -> None:
    """Where the share of slow answers passes one half, p50 doubles, and PASS is rarer than 1 %."""
    random = np.random.default_rng([10, int(100 * before)])
    n, passed = 150, 0
    clusters = np.repeat(np.arange(24), 5)
    for _ in range(n):
        sides = []
        for slow in (after, before):
            typical = np.where(random.random(120) < slow, 750.0, 320.0)
            sides.append(Sample.of(typical * random.lognormal(0, 0.1, 120), clusters=clusters))
        candidate, reference = sides
        found = rule(P50, paired_evidence(candidate, reference, P50))
        passed += found.verdict is Verdict.PASS
    assert passed <= most(n, 0.01)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_plainly_within_the_limit_passes(scenario: str) -> None:
    """A tenth of an absolute limit, and half of the reference, pass in 99 % of runs."""
    random = np.random.default_rng([11, SCENARIOS.index(scenario)])
    n = 40
    for share, limit in ((0.5, P50), (0.95, P95)):
        kept = faster = 0
        for _ in range(n):
            a, b = slow_down(draw(scenario, random), 0.5).samples()
            far = 10 * quantile(a.ranked, share)
            bar = Limit(kind="absolute", limit=far, mde=far)
            kept += rule(bar, absolute_evidence(a, bar, share=share)).verdict is Verdict.PASS
            faster += rule(limit, paired_evidence(a, b, limit, share=share)).verdict is Verdict.PASS
        assert min(kept, faster) >= least(n, 0.99), (share, kept, faster)


def test_a_baseline_of_runs_carries_the_days() -> None:
    """Days that differ by 5 % make at most 1 % of false alarms against five stored runs."""
    random = np.random.default_rng(7)
    n, alarms = 1_000, 0
    for _ in range(n):
        wide = draw("lognormal-1.8", random, Plan(repeats=30)).candidate
        days = np.exp(random.normal(0.0, 0.05, 6))
        runs = [quantile(wide[:, 5 * i : 5 * i + 5].ravel() * days[i], 0.5) for i in range(6)]
        evidence = baseline_evidence(runs[-1], runs[:-1], P50)
        alarms += rule(P50, evidence).verdict is Verdict.FAIL
    assert alarms <= most(n, 0.01)


def test_the_usual_rules_do_not_keep_such_promises() -> None:
    """On the same unchanged code, "p95 worse by 10 %" and "mean worse by 10 %" alarm often."""
    n = 400
    random = np.random.default_rng(8)
    tail = 0
    for _ in range(n):
        twin = draw("lognormal-1.8", random)
        a, b = twin.candidate.ravel(), twin.reference.ravel()
        tail += quantile(a, 0.95) > 1.1 * quantile(b, 0.95)
    assert tail >= 0.08 * n
    mean = 0
    for _ in range(n):
        twin = draw("stalls", random)
        mean += twin.candidate.mean() > 1.1 * twin.reference.mean()
    assert mean >= 0.05 * n


def test_the_scenarios_are_what_they_say() -> None:
    """The lognormals have p95/p50 of 1.8 and 3.5; the tail slowdown moves p95 and not p50."""
    random = np.random.default_rng(9)
    for scenario, ratio in (("lognormal-1.8", 1.8), ("lognormal-3.5", 3.5)):
        values = draw(scenario, random, Plan(utterances=4_000, repeats=5)).candidate.ravel()
        assert quantile(values, 0.95) / quantile(values, 0.5) == pytest.approx(ratio, rel=0.03)
    twin = draw("lognormal-1.8", random, Plan(utterances=500))
    slow = slow_down(twin, 1.5, "tail")
    for share, factor in ((0.5, 1.0), (0.95, 1.5)):
        before, after = (quantile(t.candidate.ravel(), share) for t in (twin, slow))
        assert after / before == pytest.approx(factor, rel=0.01)
    with pytest.raises(ValueError, match="no scenario"):
        draw("pareto", random)
    assert math.isclose(slow.reference.sum(), twin.reference.sum())
