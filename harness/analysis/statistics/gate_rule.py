"""The rule of the gate: PASS, FAIL or INCONCLUSIVE, and why.

**FAIL** when the point is beyond the budget and the interval, corrected over all budgets of the
gate (Bonferroni), excludes no change; for an absolute budget when the interval's near end itself is
beyond the limit.

**PASS** when it does not fail and the run's own upper bound on the statistic, at confidence
:data:`PASS_CONFIDENCE`, lies within what the budget allows: the limit, or the ``mde`` where there
is one. No other condition: what else this run could have caught is shown and decides nothing. A
PASS is wrong in at most 5 % of the runs of a candidate that lies at what is allowed.

**INCONCLUSIVE** otherwise: too few trials, too much noise, no number. Never a pass by error.

The chance that a gate fails on unchanged code, over all its budgets, is at most :data:`ALPHA`. It
is half of the promised 1 %, because the promise must also hold where the exchange of trials is not
quite right; ``bench/CALIBRATION.md`` has the measured rates.

Law: a slower candidate never turns FAIL into PASS. The point grows with every trial that becomes
slower, but so may the spread, and with it the interval. Therefore each evidence carries a
*suspicion* that cannot shrink when the candidate becomes slower
(``harness.analysis.gate.evidence``). FAIL needs it, and it forbids PASS.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from harness.analysis.statistics.estimate import Unsupported

__all__ = [
    "ALPHA",
    "PASS_CONFIDENCE",
    "Evidence",
    "GateResult",
    "Limit",
    "Ruling",
    "Verdict",
    "combine",
    "rule",
]

#: One-sided error rate of a whole gate on unchanged code.
ALPHA = 0.005

#: Confidence of the upper bound that PASS rests on, for each budget.
PASS_CONFIDENCE = 0.95


class Verdict(Enum):
    """What a budget or a gate says."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A budget's numbers.

    Attributes:
        kind: ``absolute`` limits the statistic itself; ``ratio`` candidate over reference; and
            ``increase`` candidate minus reference, in the metric's unit or as a rate.
        limit: an absolute value in the metric's unit, a ratio above 1, or an increase above 0.
        mde: the true value, on the limit's own scale, that PASS excludes: 1.25 with a limit of 1.10
            means "10 % is promised, and what is 25 % slower does not pass". Above the limit of a
            change, since a change just at its limit cannot be told from one beyond it; an absolute
            limit may be its own.
    """

    kind: Literal["absolute", "ratio", "increase"]
    limit: float
    mde: float

    def __post_init__(self) -> None:
        floor = {"absolute": -math.inf, "ratio": 1.0, "increase": 0.0}[self.kind]
        if not math.isfinite(self.limit) or self.limit < floor:
            raise ValueError(f"a limit of kind {self.kind} is at least {floor:g}, got {self.limit}")
        if self.mde < self.limit or (self.kind != "absolute" and self.mde == self.limit):
            raise ValueError(
                f"mde {self.mde} must lie above the limit {self.limit}: a change just at the limit "
                "is caught only every other time"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run says about one limit, on the limit's scale.

    Attributes:
        point: the statistic: a value, a ratio or an increase; +inf when it timed out.
        p_value: one-sided, of "no change" (relative) or of "the limit is kept" (absolute).
        suspicious: whether the monotone test condemns the candidate; see the module's law.
        detectable: the smallest true value that FAIL would have been found for with power 0.9;
            +inf when none.
        upper: the one-sided upper bound of the true value at :data:`PASS_CONFIDENCE`.
        alpha: the level that ``suspicious`` and ``detectable`` were computed for.
        method: by name.
        endless: what an infinite point means.
    """

    point: float
    p_value: float
    suspicious: bool
    detectable: float
    upper: float
    alpha: float
    method: str
    endless: str = "the candidate's value falls among its failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The verdict on one budget.

    Attributes:
        verdict: PASS, FAIL or INCONCLUSIVE.
        reason: one sentence for the reader.
        margin: limit minus point on the limit's scale; negative when beyond; -inf when timed out;
            None without a point.
        evidence: what it rests on, or why there is none.
    """

    verdict: Verdict
    reason: str
    margin: float | None
    evidence: Evidence | Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The verdict of a gate: FAIL if any budget fails, PASS if all pass, else INCONCLUSIVE.

    Attributes:
        verdict: of the whole gate.
        rulings: one for each budget, in the suite's order.
        alpha: the one-sided level of the whole gate.
    """

    verdict: Verdict
    rulings: tuple[Ruling, ...]
    alpha: float


def rule(limit: Limit, evidence: Evidence | Unsupported) -> Ruling:
    """Judge one budget."""
    if isinstance(evidence, Unsupported):
        return Ruling(
            verdict=Verdict.INCONCLUSIVE, reason=evidence.reason, margin=None, evidence=evidence
        )
    beyond = evidence.point > limit.limit
    margin = limit.limit - evidence.point
    if beyond and evidence.suspicious and evidence.p_value <= evidence.alpha:
        verdict = Verdict.FAIL
        reason = "beyond the budget, and chance does not explain it"
        if math.isinf(evidence.point):
            reason = f"{evidence.endless}, and chance does not explain it"
    elif beyond and (evidence.suspicious or limit.kind == "absolute"):
        verdict = Verdict.INCONCLUSIVE
        reason = "beyond the budget, but chance could explain it: measure more trials"
    elif evidence.upper <= limit.mde:
        verdict = Verdict.PASS
        reason = (
            "beyond the budget by chance: no change is not excluded" if beyond else "within budget"
        )
    elif math.isinf(evidence.upper):
        verdict = Verdict.INCONCLUSIVE
        reason = "too few trials or too much noise to say how bad it may be: measure more trials"
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"it may be as bad as {evidence.upper:.3g}, and to pass it must lie within "
            f"{limit.mde:.3g} for all that chance leaves open: measure more trials"
        )
    return Ruling(verdict=verdict, reason=reason, margin=margin, evidence=evidence)


def combine(rulings: Sequence[Ruling], *, alpha: float = ALPHA) -> GateResult:
    """Return the gate's verdict over its budgets.

    Raises:
        ValueError: there is no budget; an empty gate would pass anything.
    """
    if not rulings:
        raise ValueError("a gate needs a budget")
    verdicts = {ruling.verdict for ruling in rulings}
    if Verdict.FAIL in verdicts:
        verdict = Verdict.FAIL
    elif verdicts == {Verdict.PASS}:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    return GateResult(verdict=verdict, rulings=tuple(rulings), alpha=alpha)
