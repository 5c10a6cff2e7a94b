"""How many trials a wanted detectable change needs."""

import numpy as np
import pytest

from harness.analysis.estimate import Sample, Unsupported
from harness.analysis.evidence import paired_evidence
from harness.analysis.gate_rule import Limit, Verdict, rule
from harness.analysis.plan import TrialPlan, detectable_with, plan_trials
from harness.analysis.simulate import Plan, draw, slow_down


def pilot(repeats: int = 10, scenario: str = "lognormal-1.8", seed: int = 1) -> Sample:
    """Draw a pilot run of one candidate."""
    return draw(scenario, np.random.default_rng(seed), Plan(repeats=repeats)).samples()[0]


def planned(result: TrialPlan | Unsupported) -> TrialPlan:
    """Return what must be a plan."""
    assert isinstance(result, TrialPlan)
    return result


def test_a_smaller_change_needs_more_trials() -> None:
    """Half the change needs about four times the trials."""
    coarse = planned(plan_trials(pilot(), 1.20, utterances=24))
    fine = planned(plan_trials(pilot(), 1.10, utterances=24))
    assert fine.trials / coarse.trials == pytest.approx((np.log(1.2) / np.log(1.1)) ** 2, rel=0.25)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_plan_is_the_smallest_that_keeps_its_promise(share: float) -> None:
    """The planned size detects what was wanted, one repeat less does not."""
    plan = planned(plan_trials(pilot(), 1.3, utterances=24, share=share))
    assert plan.detectable <= 1.3
    assert plan.trials == 2 * 24 * plan.repeats
    if plan.repeats > 3:
        fewer = plan.deviation * np.sqrt(plan.repeats / (plan.repeats - 1))
        assert detectable_with(fewer) > 1.3


def test_the_planned_run_finds_the_change() -> None:
    """Of 60 runs of the planned size, 45 or more fail the planned regression (power 0.9)."""
    limit = Limit(kind="ratio", limit=1.05, mde=1.5)
    plan = planned(plan_trials(pilot(20), 1.2, utterances=24, limit=1.05))
    random = np.random.default_rng(2)
    found = 0
    for _ in range(60):
        twin = slow_down(draw("lognormal-1.8", random, Plan(repeats=plan.repeats)), 1.2)
        found += rule(limit, paired_evidence(*twin.samples(), limit)).verdict is Verdict.FAIL
    assert found >= 45


def test_a_percentile_needs_its_trials_whatever_the_spread() -> None:
    """A huge change of p95 still needs 59 trials a side."""
    plan = planned(plan_trials(pilot(), 50.0, utterances=24, share=0.95))
    assert plan.repeats == 3
    assert "percentile" in plan.reason


def test_a_pilot_that_tells_nothing_is_unsupported() -> None:
    """No repeats, no spread at all, or too few trials for the tail."""
    assert isinstance(plan_trials(Sample.of(np.arange(1.0, 30.0)), 1.2, utterances=24), Unsupported)
    flat = Sample.of(np.full(40, 5.0), clusters=np.repeat(np.arange(8), 5))
    assert isinstance(plan_trials(flat, 1.2, utterances=24), Unsupported)
    assert isinstance(plan_trials(pilot(2), 1.2, utterances=24, share=0.95), Unsupported)


def test_what_cannot_be_detected_is_refused() -> None:
    """A change within the limit, or a run without utterances, is misuse."""
    with pytest.raises(ValueError, match="above the limit"):
        plan_trials(pilot(), 1.1, utterances=24, limit=1.1)
    with pytest.raises(ValueError, match="utterance"):
        plan_trials(pilot(), 1.2, utterances=0)
