"""A gate's verdict and what became of each budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.analysis.gate.draws import DrawPairs
from harness.analysis.statistics.estimate import (
    Statistic,
)
from harness.analysis.statistics.gate_rule import (
    Limit,
    Ruling,
    Verdict,
)
from harness.domain.suite import Budget

__all__ = ["EXIT_CODES", "GateVerdict", "JudgedBudget", "exit_code"]


EXIT_CODES: Mapping[Verdict, int] = MappingProxyType(
    {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBudget:
    """One budget as it bound one candidate.

    Attributes:
        budget: as the suite states it.
        candidate: whom it bound.
        reference: what a relative budget was held against: a candidate of the run or a baseline;
            None for an absolute one.
        limit: its numbers, on the scale of ``ruling``: of a metric where more is better, that of
            its reciprocal.
        ruling: the verdict with margin and reason.
        measured: the candidate's own figure, in the metric's unit.
        measured_reference: the reference's, where it is in the run.
        emulated: a gateway profile stood behind it.
        draws: candidate and reference draw for draw, of a paired budget on the virtual clock.
    """

    budget: Budget
    candidate: str
    reference: str | None
    limit: Limit
    ruling: Ruling
    measured: Statistic | None
    measured_reference: Statistic | None
    emulated: bool
    draws: DrawPairs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What the gate says of a run.

    Attributes:
        verdict: PASS, FAIL or INCONCLUSIVE.
        reason: one sentence.
        budgets: each as it bound each candidate, in the suite's order.
        doubts: why no verdict on this run can be more than INCONCLUSIVE; none where nothing is.
        alpha: the one-sided level of the whole gate.
    """

    verdict: Verdict
    reason: str
    budgets: tuple[JudgedBudget, ...]
    doubts: tuple[str, ...]
    alpha: float


def exit_code(verdict: GateVerdict, *, allow_inconclusive: bool = False) -> int:
    """Return the process's exit code: 0 pass, 1 regression, 3 inconclusive.

    Args:
        verdict: the gate's.
        allow_inconclusive: INCONCLUSIVE does not stop the caller, unless a budget failed in a run
            that is in doubt: it may be a regression. It is still no pass in words.
    """
    failed = any(each.ruling.verdict is Verdict.FAIL for each in verdict.budgets)
    if allow_inconclusive and verdict.verdict is Verdict.INCONCLUSIVE and not failed:
        return 0
    return EXIT_CODES[verdict.verdict]
