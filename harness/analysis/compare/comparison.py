"""Is one faster than the other, is it real, and what does it cost in accuracy?

Within one run the sides are candidates, or the values of one of their settings: by ``llm`` two
models are compared over all candidates that differ in nothing else. Between two runs the sides are
the candidates of one name. Either way a side's trials are paired with the other's by recording (an
utterance under a condition) and, where a setting is compared, by what else the candidates have, so
that neither an easy utterance nor a fast voice can make a model win.

**One family.** p-values are corrected (Holm) over everything that one comparison asked: every pair
of sides, every metric that both have (typical change, and p95 where the trials carry it), the
correct turns, word errors and failures. Terminal, Markdown, JSON and page show one comparison, made
here. Up to :data:`MOST_PAIRS` pairs are asked; of more candidates each is compared with the first,
so that the questions do not grow with the square of the candidates.

EMULATED sides show that the harness finds a planted difference; they make no model the winner.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import median
from types import MappingProxyType
from typing import TypeVar

from harness.analysis.compare.changes import (
    Comparison,
    Finding,
    MetricChange,
    PairComparison,
    RateFinding,
)
from harness.analysis.compare.comparable import MeasuredRun, changed_metrics, differences
from harness.analysis.compare.rates import correct_change, event_change, failure_change, word_change
from harness.analysis.compare.sides import (
    BY,
    By,
    Side,
    is_correct,
    main_rows,
    recording_in,
    setting_of,
    side_of_candidates,
    side_of_run,
    wholes_of,
)
from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.analysis.statistics.paired import Change, RateChange, compare, holm
from harness.analysis.summary.words import WORD_RATES
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.analysis.turn.formulas import FINALS_ONLY
from harness.analysis.turn.measurement import Measurement
from harness.domain.candidate import Candidate
from harness.domain.suite import Via
from harness.errors import ConfigurationError

__all__ = [
    "BY",
    "DEFAULT_METRICS",
    "LEVEL",
    "MOST_PAIRS",
    "By",
    "compare_all",
    "compare_runs",
    "compare_within",
    "is_correct",
    "sides_within",
]


LEVEL = 0.05
SHARES = (0.5, 0.95)
MOST_PAIRS = 12

DEFAULT_METRICS: tuple[str, ...] = (
    "response",
    "stt_first_transcript",
    "stt_final",
    "stt_finalize",
    "endpointing",
    "llm_ttft",
    "llm_tokens_per_second",
    "tts_first_byte",
    "tts_first_audible",
    "tts_realtime_factor",
    "tts_underruns",
    "agent_cpu",
    "interruption",
)


def compare_within(
    run: MeasuredRun,
    *,
    by: By = "candidate",
    metrics: Sequence[str] = DEFAULT_METRICS,
    reference: str | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Compare candidates of one run, or the values of one of their settings.

    Args:
        run: the run.
        by: what the sides are.
        metrics: which to compare, by id.
        reference: the side that every other is compared with; None compares every pair, or each
            with the first where there are more than :data:`MOST_PAIRS`.
        confidence: of the intervals.

    Raises:
        ConfigurationError: a candidate lacks the setting, there is only one side, or the reference
            is none of them.
    """
    sides, left_out = sides_within(run, by, reference=reference)
    return compare_all(by, sides, metrics=metrics, left_out=left_out, confidence=confidence)


def sides_within(
    run: MeasuredRun, by: By, *, reference: str | None = None
) -> tuple[tuple[tuple[Side, Side], ...], tuple[str, ...]]:
    """Return the pairs of sides that a setting makes of a run, and the candidates in none.

    Args:
        run: the run.
        by: what the sides are.
        reference: as in :func:`compare_within`.

    Raises:
        ConfigurationError: as :func:`compare_within`.
    """
    rows = main_rows(run)
    grouped: dict[str, dict[str, list[Candidate]]] = {}
    for candidate in run.suite.candidates:
        label, rest = setting_of(candidate, by, emulated=run.suite.via is Via.GATEWAY)
        grouped.setdefault(label, {}).setdefault(rest, []).append(candidate)
    names = list(grouped)
    if len(names) < 2:
        raise ConfigurationError(
            f"--by {by}: {run.name} has one side only ({', '.join(names)}); nothing to compare"
        )
    if reference is not None and reference not in names:
        raise ConfigurationError(f"--reference {reference}: the sides are {', '.join(names)}")
    pairs = [(second, first) for first, second in combinations(names, 2)]
    if reference is None and len(pairs) > MOST_PAIRS:
        reference = names[0]
    if reference is not None:
        pairs = [(name, reference) for name in names if name != reference]
    sides: list[tuple[Side, Side]] = []
    made: dict[tuple[str, tuple[str, ...]], Side] = {}

    def side(name: str, common: tuple[str, ...]) -> Side:
        if (name, common) not in made:
            groups = [grouped[name][rest] for rest in common]
            made[name, common] = side_of_candidates(name, groups, rows, run.suite)
        return made[name, common]

    partnered: set[str] = set()
    for mine, theirs in pairs:
        common = tuple(rest for rest in grouped[mine] if rest in grouped[theirs])
        if not common:
            continue
        sides.append((side(mine, common), side(theirs, common)))
        for rest in common:
            partnered.update(each.name for each in (*grouped[mine][rest], *grouped[theirs][rest]))
    left_out = tuple(
        f"{candidate.name}: no other candidate differs from it in the {by} alone"
        for candidate in run.suite.candidates
        if candidate.name not in partnered
    )
    if not sides:
        raise ConfigurationError(
            f"--by {by}: no two candidates of {run.name} differ in the {by} alone"
        )
    return tuple(sides), left_out


def compare_runs(
    candidate: MeasuredRun,
    reference: MeasuredRun,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    despite: Collection[str] = (),
    confidence: float = 0.95,
) -> Comparison:
    """Compare two runs, candidate by candidate of the same name.

    Args:
        candidate: the run in question.
        reference: the run that it is held against.
        metrics: which to compare, by id.
        despite: options whose difference is what is to be measured.
        confidence: of the intervals.

    Raises:
        ConfigurationError: the runs are not comparable; every difference is named. Or no candidate
            is in both.
    """
    against = differences(candidate, reference, despite=despite)
    if against:
        raise ConfigurationError(
            [f"{candidate.name} and {reference.name} are not comparable", *against]
        )
    names = [each.name for each in candidate.suite.candidates]
    others = [each.name for each in reference.suite.candidates]
    common = [name for name in names if name in others]
    if not common:
        raise ConfigurationError(
            f"no candidate is in both runs: {', '.join(names)} and {', '.join(others)}"
        )
    mine, theirs = main_rows(candidate), main_rows(reference)
    sides = [
        (
            side_of_run(candidate, name, mine[name]),
            side_of_run(reference, name, theirs[name]),
        )
        for name in common
    ]
    left_out = tuple(
        f"{name}: only in {run.name}"
        for run, own, other in ((candidate, names, others), (reference, others, names))
        for name in own
        if name not in other
    )
    refused = changed_metrics(candidate, reference)
    return compare_all(
        "run",
        sides,
        metrics=metrics,
        refused=refused,
        left_out=left_out,
        confidence=confidence,
    )


def compare_all(
    by: str,
    sides: Sequence[tuple[Side, Side]],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    refused: Mapping[str, str] = MappingProxyType({}),
    left_out: tuple[str, ...] = (),
    confidence: float = 0.95,
) -> Comparison:
    """Compare pairs of sides, all of whose tests make one family.

    Args:
        by: what the sides are.
        sides: candidate and reference of each pair.
        metrics: which to compare, by id.
        refused: metrics that cannot be compared, with the reason.
        left_out: as :attr:`Comparison.left_out`.
        confidence: of the intervals.
    """
    pairs = [_pair(*each, metrics, refused, confidence) for each in sides]
    raw: list[float] = []
    for pair in pairs:
        raw.extend(_p_values(pair))
    corrected = iter(holm(raw)) if raw else iter(())
    return Comparison(
        by=by,
        pairs=tuple(_corrected(pair, corrected, len(raw), confidence) for pair in pairs),
        left_out=left_out,
        emulated=any(any(side.emulated.values()) for both in sides for side in both),
        confidence=confidence,
        family=len(raw),
    )


_Asked = TypeVar("_Asked", "MetricChange", "RateFinding")


def _p_values(pair: PairComparison) -> list[float]:
    asked: list[MetricChange | RateFinding] = [*pair.metrics, *pair.rates]
    if pair.correct is not None:
        asked.append(pair.correct)
    return [each.change.p_value for each in asked if not isinstance(each.change, Unsupported)]


def _corrected(
    pair: PairComparison, p_values: Iterator[float], family: int, confidence: float
) -> PairComparison:
    def judged(each: _Asked) -> _Asked:
        if isinstance(each.change, Unsupported):
            return each
        p = next(p_values)
        change = each.change.corrected(family, confidence)
        return replace(each, change=change, p=p, finding=_finding(change, p))

    return replace(
        pair,
        metrics=tuple(judged(each) for each in pair.metrics),
        rates=tuple(judged(each) for each in pair.rates),
        correct=None if pair.correct is None else judged(pair.correct),
    )


def _finding(change: Change | RateChange, p: float) -> Finding:
    if p >= LEVEL:
        return "no detectable difference"
    difference = change.difference
    if isinstance(difference, TimedOut):
        return "slower"
    if isinstance(difference, Estimate):
        return "slower" if difference.point > 0 else "faster"
    # The reference's percentile is among its failures, the candidate's is not.
    return "faster"


def _half_emulated(candidate: Side, reference: Side) -> dict[str, str]:
    """Return the metrics that a gateway answered on one side alone, with the reason.

    A user's own agent may be live beside candidates that are not.
    """
    reason = "EMULATED on one side, live on the other"
    return {
        metric_id: f"{metric_id}: {reason}"
        for metric_id in METRICS
        if candidate.emulated[metric_id] != reference.emulated[metric_id]
    }


def _finals_only(candidate: Side, reference: Side) -> dict[str, str]:
    """Return the time to first transcript where either side's STT sends finals only.

    It is that of the final then, which is compared by itself.
    """
    metric = "stt_first_transcript"
    for side in (candidate, reference):
        found = [each for row in side.rows if isinstance(each := row.found[metric], Measurement)]
        if found and all(each.note == FINALS_ONLY for each in found):
            return {metric: f"{metric}: where an STT sends finals only it is that of the final"}
    return {}


def _pair(
    candidate: Side,
    reference: Side,
    metrics: Sequence[str],
    refused: Mapping[str, str],
    confidence: float,
) -> PairComparison:
    half = _half_emulated(candidate, reference)
    refused = {**refused, **half, **_finals_only(candidate, reference)}
    changes: list[MetricChange] = []
    wholes = wholes_of(candidate, reference)
    for metric_id in metrics:
        if metric_id in refused:
            continue
        mine = candidate.sample(metric_id)
        theirs = reference.sample(metric_id)
        if mine.n == 0 or theirs.n == 0:
            continue
        for share in SHARES:
            changes.append(
                MetricChange(
                    metric=metric_id,
                    share=share,
                    change=compare(mine, theirs, share=share, confidence=confidence, wholes=wholes),
                    p=None,
                    finding="not comparable",
                    emulated=candidate.emulated[metric_id] or reference.emulated[metric_id],
                    reciprocal=METRICS[metric_id].better == "higher",
                    points=_points(metric_id, candidate, reference) if share == 0.5 else (),
                )
            )
    rates = [
        found
        for kind in WORD_RATES
        if kind not in refused
        and (found := word_change(kind, candidate, reference, confidence)) is not None
    ]
    if "response" not in half:
        rates.append(failure_change(candidate, reference, confidence))
    rates += [
        found
        for event in EVENTS
        if event not in refused
        and (found := event_change(event, candidate, reference, confidence)) is not None
    ]
    correct, turns = correct_change(candidate, reference, refused, confidence)
    return PairComparison(
        candidate=candidate.name,
        reference=reference.name,
        trials=(len(candidate.rows), len(reference.rows)),
        metrics=tuple(changes),
        rates=tuple(rates),
        correct=correct,
        correct_turns=turns,
        refused=tuple(refused[each] for each in refused if each in metrics or each in WORD_RATES),
    )


def _points(metric_id: str, candidate: Side, reference: Side) -> tuple[tuple[str, float], ...]:
    mine, theirs = candidate.medians(metric_id), reference.medians(metric_id)
    gaps: dict[str, list[float]] = {}
    for stratum, value in mine.items():
        if stratum in theirs:
            gaps.setdefault(recording_in(stratum), []).append(value - theirs[stratum])
    return tuple((name, median(gaps[name])) for name in sorted(gaps))
