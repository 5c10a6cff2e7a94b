"""Which candidates are worth having, and how large a run must be: a run wired to the statistics."""

from dataclasses import dataclass

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.sides import is_correct, main_rows, recordings_of
from harness.analysis.statistics.estimate import Estimate, Statistic, Unsupported
from harness.analysis.statistics.gate_rule import ALPHA
from harness.analysis.statistics.pareto import Contender, Standing, pareto
from harness.analysis.statistics.plan import TrialPlan, plan_trials
from harness.analysis.summary.figures import CandidateSummary, RunSummary
from harness.analysis.summary.samples import cluster_of, pace_of
from harness.analysis.summary.summary import statistics_of
from harness.analysis.summary.words import WORD_RATES
from harness.analysis.turn.definitions import METRICS
from harness.errors import ConfigurationError

__all__ = [
    "CorrectTurns",
    "contenders",
    "correct_turns",
    "leading_latency",
    "plan_run",
    "standings",
]

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectTurns:
    """A latency over correct turns alone (``harness.analysis.compare.sides.is_correct``).

    Attributes:
        p50: of them.
        correct: how many.
        turns: all of the candidate, failures included.
    """

    p50: Statistic
    correct: int
    turns: int


def correct_turns(run: MeasuredRun, latency: str) -> dict[str, CorrectTurns]:
    """Return a latency over each candidate's correct turns; nothing where none can be judged."""
    found: dict[str, CorrectTurns] = {}
    for name, rows in main_rows(run).items():
        judged = [is_correct(row, run.suite.wer_limit) for row in rows]
        if all(each is None for each in judged):
            return {}
        right = [row for row, correct in zip(rows, judged, strict=True) if correct]
        found[name] = CorrectTurns(
            p50=statistics_of(latency, right).p50, correct=len(right), turns=len(rows)
        )
    return found


LATENCIES = ("response", "llm_ttft", "stt_finalize", "tts_first_audible", "tts_first_byte")


def leading_latency(summary: RunSummary) -> str | None:
    """Return the latency that stands for speed: the response, or what all candidates have."""
    found = summary.candidates.values()
    return next(
        (each for each in LATENCIES if found and all(each in one.metrics for one in found)), None
    )


def contenders(summary: RunSummary, *, latency: str = "response") -> tuple[Contender, ...]:
    """Return each candidate's latency, failure rate, word errors and cost.

    Word errors (of what it heard, and of its replies as a recogniser heard them) count where every
    candidate has them, cost where every candidate's is known.

    Args:
        summary: of the run.
        latency: the metric whose median stands for speed.

    Raises:
        ConfigurationError: a candidate lacks the latency.
    """
    found = list(summary.candidates.values())
    lacking = [each.candidate for each in found if latency not in each.metrics]
    if lacking:
        raise ConfigurationError(f"{latency}: {', '.join(lacking)} did not measure it")
    kinds = [kind for kind in WORD_RATES if all(each.pooled(kind) is not None for each in found)]
    costs = all(_cost(each) is not None for each in found)
    result = []
    for each in found:
        objectives: dict[str, Statistic] = {
            latency: each.metrics[latency].main.p50,
            "failures": each.failure_rate,
        }
        for kind in kinds:
            words = each.pooled(kind)
            assert words is not None
            objectives[kind] = words.rate
        cost = _cost(each)
        if costs and cost is not None:
            objectives["cost"] = cost
        result.append(Contender(name=each.candidate, objectives=objectives))
    return tuple(result)


def _cost(candidate: CandidateSummary) -> Estimate | None:
    """Return what a trial costs, which is counted and not estimated."""
    cost = candidate.cost
    if cost is None or cost.unpriced or cost.uncounted:
        return None
    return Estimate(
        point=cost.per_trial,
        low=cost.per_trial,
        high=cost.per_trial,
        confidence=0.95,
        n=cost.trials,
        effective_n=float(cost.trials),
        failures=0,
        method="mean cost of a trial, counted",
    )


def standings(summary: RunSummary, *, latency: str = "response") -> tuple[Standing, ...]:
    """Return where each candidate stands on latency, failures, word errors and cost.

    Raises:
        ConfigurationError: a candidate lacks the latency.
    """
    return pareto(contenders(summary, latency=latency))


def plan_run(
    pilot: MeasuredRun,
    candidate: str,
    metric: str,
    wanted: float,
    *,
    statistic: str = "p50",
    utterances: int | None = None,
    limit: float = 1.0,
    budgets: int = 1,
    alpha: float = ALPHA,
) -> TrialPlan | Unsupported:
    """Return how many repeats a wanted detectable change needs, from a pilot run.

    Args:
        pilot: a run; the plan says what it had to assume where utterances were played once.
        candidate: whose spread counts.
        metric: a metric's id.
        wanted: ratio to detect: 1.2 for 20 % slower.
        statistic: "p50", "p90", "p95" or "p99".
        utterances: of the planned run; None takes the pilot's.
        limit: the budget's ratio.
        budgets: of the whole gate, or tests of the whole comparison.
        alpha: of the whole gate or comparison, one-sided.

    Raises:
        ConfigurationError: the run lacks the candidate or the metric, or the numbers contradict
            each other.
    """
    if metric not in METRICS:
        raise ConfigurationError(f"there is no metric {metric!r}")
    if statistic not in SHARES:
        raise ConfigurationError(f"{statistic!r} is none of {', '.join(SHARES)}")
    every = main_rows(pilot)
    rows = every.get(candidate, ())
    if not rows:
        raise ConfigurationError(f"{pilot.name} has no trial of candidate {candidate!r}")
    sample = pace_of(metric, rows, recordings_of(rows))
    if sample.n == 0:
        raise ConfigurationError(f"no trial of {candidate!r} has {metric}")
    heard = len({row.trial.key.recording for row in rows})
    partners = [
        found
        for name, other in every.items()
        if name != candidate and (found := pace_of(metric, other, recordings_of(other))).n
    ]
    try:
        return plan_trials(
            sample,
            wanted,
            utterances=heard if utterances is None else utterances,
            share=SHARES[statistic],
            limit=limit,
            budgets=budgets,
            alpha=alpha,
            partners=partners,
            wholes={
                cluster_of(row.trial.key.recording): cluster_of(row.utterance.id) for row in rows
            },
        )
    except ValueError as error:
        raise ConfigurationError(f"plan: {error}") from error
