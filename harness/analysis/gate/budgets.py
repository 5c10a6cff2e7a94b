"""Budgets made ready for judgement: whom each binds, its limit, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.analysis.compare.comparable import MeasuredRun, recogniser_of
from harness.analysis.gate.baseline import Baseline, against_baseline, machine_difference
from harness.analysis.statistics.gate_rule import Limit
from harness.analysis.summary.samples import Row, sample_of
from harness.analysis.summary.words import RATES, WORD_RATES, pooled_words, word_rate
from harness.analysis.turn.definitions import EVENTS, METRICS, OVER_THE_REPLY
from harness.domain.suite import Budget, BudgetKind, Clock
from harness.errors import ConfigurationError

__all__ = ["SHARES", "Bound", "bind", "limit_of"]

SHARES: Mapping[str, float] = MappingProxyType({"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})
RELATIVE_MDE = 1.2
INCREASE_BEYOND = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A budget and one candidate that it binds.

    Attributes:
        budget: as the suite states it.
        candidate: whom it binds.
        silent: why the stored baseline says nothing about this run; "" where it does. Of a budget
            that is not required alone: of one that is, it is a mistake.
    """

    budget: Budget
    candidate: str
    silent: str = ""


def limit_of(budget: Budget) -> Limit:
    """Return a budget's numbers on the scale of its evidence.

    Of a metric where more is better the limit is a floor, judged by the reciprocal: seconds for
    each token.

    Without an ``mde`` a relative budget asks for twice the change that it allows, and at least
    20 %; an absolute one for its limit itself; an increase of a rate for three
    points beyond it.

    Raises:
        ConfigurationError: the numbers contradict each other.
    """
    where = f"budget {budget.metric} {budget.statistic}"
    floor = (
        budget.kind is BudgetKind.ABSOLUTE
        and budget.metric in METRICS
        and METRICS[budget.metric].better == "higher"
    )
    if floor and budget.limit <= 0:
        raise ConfigurationError(f"{where}: a floor lies above 0, got {budget.limit:g}")
    try:
        if budget.kind is BudgetKind.RELATIVE:
            default = max(RELATIVE_MDE, 1.0 + 2.0 * (budget.limit - 1.0))
            mde = default if budget.mde is None else budget.mde
            return Limit(kind="ratio", limit=budget.limit, mde=mde)
        if budget.kind is BudgetKind.INCREASE:
            return Limit(kind="increase", limit=budget.limit, mde=budget.limit + INCREASE_BEYOND)
        ratio = 1.0 if budget.mde is None else budget.mde
        if floor:
            return Limit(kind="absolute", limit=1.0 / budget.limit, mde=ratio / budget.limit)
        step = (ratio - 1.0) * (abs(budget.limit) if budget.limit else 1.0)
        return Limit(kind="absolute", limit=budget.limit, mde=budget.limit + step)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def bind(
    wanted: Sequence[Budget],
    run: MeasuredRun,
    rows: Mapping[str, tuple[Row, ...]],
    baseline: Baseline | None,
) -> tuple[list[Bound], list[str]]:
    """Spread budgets over the candidates that they bind.

    Args:
        wanted: the budgets.
        run: what was measured.
        rows: the counted trials of each candidate.
        baseline: what relative budgets without a reference are held against.

    Returns:
        The bound budgets, and one line for each mistake: where there is one, nothing is judged. A
        baseline that does not fit the run is a mistake only of a budget that is required.
    """
    names = [each.name for each in run.suite.candidates]
    bound: list[Bound] = []
    problems: list[str] = []
    stored = any(each.kind is BudgetKind.RELATIVE and each.reference is None for each in wanted)
    apart = against_baseline(run, baseline) if baseline is not None and stored else ()
    for budget in wanted:
        where = f"budget {budget.metric} {budget.statistic}"
        problem = _misstated(budget)
        if problem:
            problems.append(f"{where}: {problem}")
            continue
        relative = budget.kind is BudgetKind.RELATIVE
        against = baseline if relative and budget.reference is None else None
        if relative and budget.reference is None and baseline is None:
            problems.append(
                f"{where}: it limits a ratio to a baseline, and there is none; give --baseline, or "
                "name a reference candidate"
            )
            continue
        who = [budget.candidate] if budget.candidate is not None else names
        who = [name for name in who if name != budget.reference]
        if not who:
            problems.append(f"{where}: it binds no candidate but its own reference")
        for name in who:
            for role in (name, budget.reference):
                if role is None:
                    continue
                if role not in names or not rows.get(role):
                    problems.append(f"{where}: {run.name} has no trial of candidate {role!r}")
                elif not _has(budget, rows[role]):
                    if budget.metric in OVER_THE_REPLY:
                        problems.append(
                            f"{where}: no trial of {role!r} has {budget.metric}; name what is said "
                            "over the replies by [[barge_in]]"
                        )
                        continue
                    why = f"the {run.suite.driver.value} driver or the dataset does not give it"
                    if budget.metric == "tts_wer":
                        why = (
                            "no recogniser has heard its replies: name one under [intelligibility],"
                            " with keep_audio on"
                        )
                    problems.append(f"{where}: no trial of {role!r} has {budget.metric}; {why}")
            silent = ""
            if against is not None:
                # On the virtual clock every machine is as fast; CPU time is the machine's own.
                timed = run.suite.clock is Clock.REAL or budget.metric == "agent_cpu"
                machine = machine_difference(run.machine, against.machine) if timed else ""
                unlike = [*apart, *_missing_in(against, budget, name, run)]
                if budget.required:
                    problems.extend(unlike)
                elif unlike or machine:
                    other = [f"it was measured on another machine: {machine}"] if machine else []
                    silent = f"baseline {against.name} says nothing here: " + "; ".join(
                        [*unlike, *other]
                    )
            bound.append(Bound(budget=budget, candidate=name, silent=silent))
    return bound, problems


def _misstated(budget: Budget) -> str:
    if budget.metric == "failures":
        return "" if budget.statistic == "rate" else 'failures are limited by statistic = "rate"'
    if budget.metric not in METRICS:
        return f"there is no metric {budget.metric!r}; see METRICS in METHODOLOGY"
    if word_rate(budget.metric) is not None:
        known = budget.statistic in {"rate", "mean"}
        return "" if known else f'{budget.metric} is limited by statistic = "rate" (pooled)'
    if budget.metric in EVENTS:
        known = budget.statistic == "rate"
        return "" if known else f'{budget.metric} is limited by statistic = "rate"'
    if budget.statistic in SHARES:
        return ""
    return (
        f"a {budget.statistic} cannot gate: with failures it is blind to the worst trials; take "
        f"one of {', '.join(SHARES)}"
    )


def _has(budget: Budget, rows: Sequence[Row]) -> bool:
    if budget.metric == "failures":
        return True
    kind = word_rate(budget.metric)
    if kind is not None:
        return pooled_words(kind, rows) is not None
    return sample_of(budget.metric, rows).n > 0


def _missing_in(baseline: Baseline, budget: Budget, candidate: str, run: MeasuredRun) -> list[str]:
    statistic = "rate" if budget.metric in RATES else budget.statistic
    where = f"budget {budget.metric} {budget.statistic}"
    if candidate not in baseline.figures:
        return [f"{where}: baseline {baseline.name} has no candidate {candidate!r}"]
    if baseline.get(candidate, budget.metric, statistic) is None:
        what = f"{statistic} of {budget.metric} for {candidate!r}"
        return [f"{where}: baseline {baseline.name} has no {what}: its runs were too small"]
    if budget.metric != "failures" and baseline.definitions.get(
        budget.metric
    ) != run.definitions.get(budget.metric):
        return [f"{where}: the metric's definition changed since baseline {baseline.name}"]
    if budget.metric in WORD_RATES and baseline.normaliser != run.normaliser:
        return [f"{where}: the normaliser changed since baseline {baseline.name}"]
    if budget.metric == "tts_wer" and baseline.recogniser != recogniser_of(run):
        ours, theirs = (each or "nobody" for each in (recogniser_of(run), baseline.recogniser))
        return [f"{where}: replies heard by {ours}, those of baseline {baseline.name} by {theirs}"]
    return []
