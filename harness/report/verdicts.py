"""The gate's verdict, and the harness's own error, in the words of the report."""

import math
from collections.abc import Sequence

from harness.analysis.gate.judged import GateVerdict, JudgedBudget
from harness.analysis.statistics.gate_rule import Verdict
from harness.analysis.summary.selferror import SelfError
from harness.analysis.turn.definitions import METRICS
from harness.domain.suite import BudgetKind
from harness.report.format import (
    DASH,
    CellState,
    Unit,
    cell,
    count,
    decimal,
    milliseconds,
    percent,
    quantity,
    signed_quantity,
)
from harness.report.view import BudgetView, PlainTable, VerdictKind, VerdictView

__all__ = ["self_error_table", "verdict_view"]

_KINDS = {
    Verdict.PASS: VerdictKind.PASS,
    Verdict.FAIL: VerdictKind.FAIL,
    Verdict.INCONCLUSIVE: VerdictKind.INCONCLUSIVE,
}
NANOSECONDS_PER_MS = 1_000_000


def _unit(metric: str) -> Unit:
    return Unit(METRICS[metric].unit) if metric in METRICS else Unit.RATE


def _worse(metric: str) -> str:
    if metric in METRICS and METRICS[metric].unit == "ms":
        return "slower"
    return "worse" if metric in METRICS and METRICS[metric].better == "higher" else "more"


def _limit(judged: JudgedBudget) -> str:
    budget = judged.budget
    floor = budget.metric in METRICS and METRICS[budget.metric].better == "higher"
    match judged.limit.kind:
        case "ratio":
            more = percent(judged.limit.limit - 1.0, 0)
            return f"at most {more} {_worse(budget.metric)} than {judged.reference}"
        case "increase":
            points = decimal(judged.limit.limit * 100, 1)
            return f"at most {points} points more than {judged.reference}"
        case "absolute":
            word = "at least" if floor else "at most"
            return f"{word} {quantity(budget.limit, _unit(budget.metric))}"


def _margin(judged: JudgedBudget) -> str:
    margin = judged.ruling.margin
    if margin is None:
        return ""
    if math.isinf(margin):
        return "timed out"
    beyond = " beyond" if margin < 0 else ""
    budget = judged.budget
    match judged.limit.kind:
        case "ratio" | "increase":
            return f"{decimal(abs(margin) * 100, 1)} points{beyond}"
        case "absolute":
            if budget.metric in METRICS and METRICS[budget.metric].better == "higher":
                # Judged by the reciprocal: the distance has no unit that a reader knows.
                return "below the floor" if margin < 0 else "above the floor"
            return f"{quantity(abs(margin), _unit(budget.metric))}{beyond}"


def _reason(judged: JudgedBudget) -> str:
    """Return why, with the differences by turn where both sides met the same draws."""
    reason, draws = judged.ruling.reason, judged.draws
    if draws is None:
        return reason
    if draws.equal:
        return f"equal in all {count(draws.turns)} turns"
    found = f"{count(draws.differing)} of {count(draws.turns)} turns differ"
    if draws.median is not None and draws.least is not None and draws.most is not None:
        unit = _unit(judged.budget.metric)
        middle, least, most = (
            signed_quantity(each, unit) for each in (draws.median, draws.least, draws.most)
        )
        found += f", by {middle} in the median"
        if least != most:
            found += f" ({least} to {most})"
    if draws.one_sided:
        found += f", {count(draws.one_sided)} failed on one side alone"
    return f"{reason}; {found}"


def _budget(judged: JudgedBudget) -> BudgetView:
    budget = judged.budget
    unit = _unit(budget.metric)
    shown = cell(judged.measured, unit)
    measured = shown.text
    if shown.state is CellState.VALUE and shown.interval:
        measured += f" ({shown.interval})"
    if budget.kind is not BudgetKind.ABSOLUTE and judged.measured_reference is not None:
        measured += f" against {cell(judged.measured_reference, unit).text}"
    kind = _KINDS[judged.ruling.verdict]
    decides = budget.required or kind is not VerdictKind.INCONCLUSIVE
    reason = _reason(judged)
    return BudgetView(
        budget=f"{budget.metric} {budget.statistic}",
        candidate=judged.candidate,
        measured=measured,
        limit=_limit(judged),
        margin=_margin(judged),
        kind=kind,
        reason=reason if decides else f"does not decide (not required): {reason}",
        emulated=judged.emulated,
        decides=decides,
    )


def verdict_view(verdict: GateVerdict) -> VerdictView:
    """Return a gate's verdict as reports show it, with what casts doubt on the run."""
    further = [each for each in verdict.doubts if each != verdict.reason]
    return VerdictView(
        kind=_KINDS[verdict.verdict],
        reason="; ".join((verdict.reason, *further)),
        budgets=tuple(_budget(each) for each in verdict.budgets),
    )


def self_error_table(errors: Sequence[SelfError]) -> PlainTable:
    """Return the harness's own error, mark by mark, over undisturbed trials."""

    def shown(value: float | None) -> str:
        return DASH if value is None else milliseconds(value * NANOSECONDS_PER_MS)

    silent = sum(each.n == 0 for each in errors)
    unmeasured = ""
    if silent:
        every = silent == len(errors)
        unmeasured = " No trial was undisturbed." if every else " n = 0: no trial was undisturbed."

    return PlainTable(
        title="The harness's own error",
        columns=("Mark", "Stamped by", "n", "p50", "p99", "Largest", "Disturbed, left out"),
        rows=tuple(
            (
                each.what,
                each.kind,
                count(each.n),
                shown(each.p50),
                shown(each.p99),
                shown(each.largest),
                percent(each.disturbed),
            )
            for each in errors
        ),
        note="Each mark minus the instant at which the gateway sent what it marks, on one clock; "
        "for the response, what neither an injected delay nor a known wait explains."
        f"{unmeasured}",
    )
