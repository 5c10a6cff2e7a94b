"""The gate: a suite's budgets judged on a run, and the exit code.

Each budget becomes a limit and the run's evidence on it; ``harness.analysis.statistics.gate_rule``
judges. The level is shared by all budgets of the gate, so that a long list of budgets alarms no
more often than a short one. What cannot be judged because it was misstated (an unknown metric, a
candidate that the run lacks, a baseline that is not there) is a mistake of the user and never a
pass.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.sides import (
    ComparedRate,
    compare_sides,
    main_rows,
    side_of_run,
    wholes_of,
)
from harness.analysis.gate.baseline import Baseline
from harness.analysis.gate.budgets import SHARES, Bound, bind, limit_of
from harness.analysis.gate.doubts import excused, find_doubts
from harness.analysis.gate.draws import DrawPairs, draw_pairs, drawn_evidence
from harness.analysis.gate.evidence import (
    absolute_evidence,
    baseline_evidence,
    failure_evidence,
    paired_evidence,
    pooled_evidence,
    rate_evidence,
)
from harness.analysis.gate.judged import GateVerdict, JudgedBudget
from harness.analysis.statistics.estimate import (
    Estimate,
    Sample,
    Statistic,
    TimedOut,
    Unsupported,
    estimate_rate,
)
from harness.analysis.statistics.gate_rule import (
    ALPHA,
    Evidence,
    Limit,
    Ruling,
    Verdict,
    combine,
    rule,
)
from harness.analysis.summary.interruptions import event_rate, is_event
from harness.analysis.summary.samples import Row, cluster_of, pace_of
from harness.analysis.summary.summary import emulated_stages, is_emulated, statistics_of
from harness.analysis.summary.words import RATES, pooled_words, word_rate
from harness.analysis.turn.definitions import METRICS
from harness.domain.suite import Budget, BudgetKind, Clock
from harness.domain.trial import FailedTrial
from harness.errors import ConfigurationError

__all__ = ["judge", "limit_of"]


def judge(
    run: MeasuredRun,
    *,
    baseline: Baseline | None = None,
    budgets: Sequence[Budget] | None = None,
    alpha: float | Callable[[int], float] = ALPHA,
) -> GateVerdict:
    """Judge a run by its suite's budgets.

    Budgets that are not required can fail the gate, but what they cannot tell does not decide.

    Args:
        run: what was measured.
        baseline: what relative budgets without a reference are held against.
        budgets: instead of the suite's own.
        alpha: the one-sided level of the whole gate; in sequential mode that of the present look,
            or a function of the number of budgets that gives it.

    Raises:
        ConfigurationError: a budget cannot be judged on this run; all such budgets together.
    """
    wanted = tuple(run.suite.budgets if budgets is None else budgets)
    if not any(each.required for each in wanted):
        raise ConfigurationError(
            f"{run.name}: the suite has no [[budget]] that is required; an empty gate would pass "
            "anything"
        )
    rows = main_rows(run)
    bound, problems = bind(wanted, run, rows, baseline)
    limits: list[Limit] = []
    for each in bound:
        try:
            limits.append(limit_of(each.budget))
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    level = alpha(len(bound)) if callable(alpha) else alpha
    judged = tuple(
        _judge_one(each, limit, run, rows, baseline, level=(level, len(bound)))
        for each, limit in zip(bound, limits, strict=True)
    )
    result = combine([each.ruling for each in judged if _decides(each)], alpha=level)
    doubts = find_doubts(run, bound, baseline)
    stands = tuple(each for each in judged if _fails(each) and not excused(each, run, rows, doubts))
    if doubts and not stands:
        verdict, reason = Verdict.INCONCLUSIVE, doubts[0].text
    else:
        verdict = result.verdict
        reason = _reason(verdict, stands or judged)
    return GateVerdict(
        verdict=verdict,
        reason=reason,
        budgets=judged,
        doubts=tuple(each.text for each in doubts),
        alpha=level,
    )


def _fails(judged: JudgedBudget) -> bool:
    return judged.ruling.verdict is Verdict.FAIL


def _decides(judged: JudgedBudget) -> bool:
    """Tell whether a budget takes part in the verdict."""
    return judged.budget.required or judged.ruling.verdict is not Verdict.INCONCLUSIVE


def _judge_one(
    bound: Bound,
    limit: Limit,
    run: MeasuredRun,
    rows: Mapping[str, tuple[Row, ...]],
    baseline: Baseline | None,
    *,
    level: tuple[float, int],
) -> JudgedBudget:
    budget, name = bound.budget, bound.candidate
    mine = rows[name]
    theirs = None if budget.reference is None else rows[budget.reference]
    draws: DrawPairs | None = None
    if budget.kind is BudgetKind.ABSOLUTE:
        evidence = _absolute(budget, limit, mine, level)
        reference = None
    elif theirs is not None:
        if run.suite.clock is Clock.VIRTUAL:
            draws = draw_pairs(budget.metric, mine, theirs)
        evidence = _paired(bound, limit, run, rows, level=level, draws=draws)
        reference = budget.reference
    else:
        assert baseline is not None
        evidence = (
            _unsaid(bound.silent)
            if bound.silent
            else _against_runs(bound, limit, mine, baseline, level)
        )
        reference = f"baseline {baseline.name}"
    stages = frozenset().union(
        *(
            emulated_stages(run.suite, each, run.trials)
            for each in run.suite.candidates
            if each.name in {name, budget.reference}
        )
    )
    metric = "response" if budget.metric == "failures" else budget.metric
    return JudgedBudget(
        budget=budget,
        candidate=name,
        reference=reference,
        limit=limit,
        ruling=_silence(mine) or rule(limit, evidence),
        measured=_own_figure(budget, mine),
        measured_reference=None if theirs is None else _own_figure(budget, theirs),
        emulated=is_emulated(metric, stages),
        draws=draws,
    )


def _silence(rows: Sequence[Row]) -> Ruling | None:
    """Return the verdict on a candidate that answered nothing: it keeps no budget."""
    if not all(isinstance(row.trial, FailedTrial) for row in rows):
        return None
    n = len(rows)
    reason = f"not kept: it answered nothing in {n} {'trials' if n > 1 else 'trial'}"
    nothing = Unsupported(
        reason=reason, needed=0, n=n, effective_n=float(n), failures=n, observed=None
    )
    return Ruling(verdict=Verdict.FAIL, reason=reason, margin=-math.inf, evidence=nothing)


def _unsaid(reason: str) -> Unsupported:
    return Unsupported(reason=reason, needed=0, n=0, effective_n=0.0, failures=0, observed=None)


def _own_figure(budget: Budget, rows: Sequence[Row]) -> Statistic | None:
    if budget.metric == "failures":
        return _failure_rate(rows)
    kind = word_rate(budget.metric)
    if kind is not None:
        words = pooled_words(kind, rows)
        return None if words is None else words.rate
    if is_event(budget.metric):
        return event_rate(budget.metric, rows)
    return statistics_of(budget.metric, rows).get(budget.statistic)


def _compared_rate(metric_id: str) -> ComparedRate | None:
    """Return a rate as two sides are compared by it; None for failures."""
    return word_rate(metric_id) or (metric_id if is_event(metric_id) else None)


def _failure_rate(rows: Sequence[Row]) -> Estimate | Unsupported:
    return estimate_rate(
        [isinstance(row.trial, FailedTrial) for row in rows],
        clusters=[cluster_of(row.utterance.id) for row in rows],
    )


def _pace(metric_id: str, rows: Sequence[Row]) -> Sample:
    return pace_of(metric_id, rows, [cluster_of(row.utterance.id) for row in rows])


def _absolute(
    budget: Budget, limit: Limit, rows: Sequence[Row], level: tuple[float, int]
) -> Evidence | Unsupported:
    alpha, budgets = level
    if budget.metric == "failures":
        rate = _failure_rate(rows)
        if isinstance(rate, Unsupported):
            return rate
        return failure_evidence(rate, limit, alpha=alpha, budgets=budgets)
    kind = word_rate(budget.metric)
    if kind is not None:
        words = pooled_words(kind, rows)
        assert words is not None
        if isinstance(words.rate, Unsupported):
            return words.rate
        return pooled_evidence(words.rate, limit, alpha=alpha, budgets=budgets)
    if is_event(budget.metric):
        happened = event_rate(budget.metric, rows)
        assert happened is not None
        if isinstance(happened, Unsupported):
            return happened
        return failure_evidence(happened, limit, alpha=alpha, budgets=budgets)
    return absolute_evidence(
        _pace(budget.metric, rows),
        limit,
        share=SHARES[budget.statistic],
        alpha=alpha,
        budgets=budgets,
    )


def _paired(
    bound: Bound,
    limit: Limit,
    run: MeasuredRun,
    rows: Mapping[str, tuple[Row, ...]],
    *,
    level: tuple[float, int],
    draws: DrawPairs | None,
) -> Evidence | Unsupported:
    budget = bound.budget
    assert budget.reference is not None
    alpha, budgets = level
    if draws is not None:
        share = SHARES.get(budget.statistic)
        found = drawn_evidence(draws, limit, share=share, alpha=alpha / budgets)
        if found is not None:
            return found
    mine = side_of_run(run, bound.candidate, rows[bound.candidate])
    theirs = side_of_run(run, budget.reference, rows[budget.reference])
    if budget.metric in RATES:
        change = compare_sides(mine, theirs, _compared_rate(budget.metric))
        if isinstance(change, Unsupported):
            return change
        return rate_evidence(change, limit, alpha=alpha, budgets=budgets)
    return paired_evidence(
        mine.sample(budget.metric),
        theirs.sample(budget.metric),
        limit,
        share=SHARES[budget.statistic],
        alpha=alpha,
        budgets=budgets,
        wholes=wholes_of(mine, theirs),
    )


def _against_runs(
    bound: Bound,
    limit: Limit,
    rows: Sequence[Row],
    baseline: Baseline,
    level: tuple[float, int],
) -> Evidence | Unsupported:
    alpha, budgets = level
    budget, name = bound.budget, bound.candidate
    rate = budget.metric in RATES
    runs = baseline.get(name, budget.metric, "rate" if rate else budget.statistic)
    assert runs is not None
    figure = _own_figure(budget, rows)
    assert figure is not None
    if isinstance(figure, Unsupported):
        return figure
    value: float | TimedOut = figure if isinstance(figure, TimedOut) else figure.point
    if not rate and METRICS[budget.metric].better == "higher":
        # Slower is a larger time for each token.
        value = 1.0 / value if isinstance(value, float) and value > 0 else value
        runs = tuple(1.0 / each for each in runs if each > 0)
    return baseline_evidence(value, runs, limit, alpha=alpha, budgets=budgets)


def _reason(verdict: Verdict, judged: Sequence[JudgedBudget]) -> str:
    matching = [each for each in judged if each.ruling.verdict is verdict and _decides(each)]
    if verdict is Verdict.PASS:
        count = len(matching)
        kept = f"all {count} budgets are kept" if count > 1 else "the budget is kept"
        equal = [each.draws for each in matching if each.draws is not None]
        if equal and all(each.equal for each in equal):
            kept += f", equal in all {max(each.turns for each in equal)} turns"
        silent = len(judged) - count
        if not silent:
            return kept
        which = "1 that is" if silent == 1 else f"{silent} that are"
        return f"{kept}; {which} not required could not tell"
    first = matching[0]
    more = f", and {len(matching) - 1} more" if len(matching) > 1 else ""
    return (
        f"{first.candidate}: {first.budget.metric} {first.budget.statistic} is "
        f"{first.ruling.reason}{more}"
    )
