"""How many trials a wanted detectable change needs."""

import numpy as np
import pytest

from harness.analysis.gate.evidence import paired_evidence
from harness.analysis.statistics.estimate import Sample, Unsupported
from harness.analysis.statistics.gate_rule import Limit, Verdict, rule
from harness.analysis.statistics.plan import TrialPlan, detectable_with, plan_trials
from harness.analysis.statistics.simulate import Plan, draw, slow_down


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
    """Fewer than eight utterances played once, or no spread at all."""
    assert isinstance(plan_trials(Sample.of(np.arange(1.0, 8.0)), 1.2, utterances=24), Unsupported)
    flat = Sample.of(np.full(40, 5.0), clusters=np.repeat(np.arange(8), 5))
    assert isinstance(plan_trials(flat, 1.2, utterances=24), Unsupported)
    lost = Sample.of(np.arange(1.0, 30.0), failed=np.arange(29) % 4 == 0)
    assert isinstance(plan_trials(lost, 1.2, utterances=24), Unsupported)


def single(seed: int) -> tuple[Sample, Sample]:
    """Return two sides that played each of 24 utterances once."""
    one, other = draw("lognormal-1.8", np.random.default_rng(seed), Plan(repeats=1)).samples()
    return one, other


def test_a_pilot_of_one_repeat() -> None:
    """Its pairs plan for what repeats would have: within a half and twice, over thirty pilots."""
    wanted = planned(plan_trials(pilot(20), 1.2, utterances=24)).deviation
    repeats = planned(plan_trials(pilot(20), 1.2, utterances=24)).repeats
    sizes = []
    for seed in range(30):
        mine, theirs = single(seed)
        plan = planned(plan_trials(mine, 1.2, utterances=24, partners=[theirs]))
        assert "paired with the run's other candidates" in plan.assumption
        sizes.append(plan.repeats)
    assert wanted > 0
    assert repeats / 2 <= np.median(sizes) <= 2 * repeats


def test_one_repeat_without_a_partner_is_an_upper_bound() -> None:
    """Alone, the spread between utterances counts too: such a plan asks for more."""
    sizes = []
    for seed in range(30):
        mine, theirs = single(seed)
        alone = planned(plan_trials(mine, 1.2, utterances=24))
        paired = planned(plan_trials(mine, 1.2, utterances=24, partners=[theirs]))
        assert "upper bound" in alone.assumption
        sizes.append(alone.deviation**2 * alone.repeats / (paired.deviation**2 * paired.repeats))
    assert np.median(sizes) > 1.2


def test_a_tail_that_the_pilot_cannot_show() -> None:
    """With too few trials the tail is taken to be lognormal, and the plan says so."""
    small = planned(plan_trials(pilot(2), 1.5, utterances=24, share=0.95))
    assert "lognormal" in small.assumption
    large = planned(plan_trials(pilot(20), 1.5, utterances=24, share=0.95))
    assert large.assumption == ""
    assert large.repeats / 2 <= small.repeats <= 3 * large.repeats


def test_what_cannot_be_detected_is_refused() -> None:
    """A change within the limit, or a run without utterances, is misuse."""
    with pytest.raises(ValueError, match="above the limit"):
        plan_trials(pilot(), 1.1, utterances=24, limit=1.1)
    with pytest.raises(ValueError, match="utterance"):
        plan_trials(pilot(), 1.2, utterances=0)
