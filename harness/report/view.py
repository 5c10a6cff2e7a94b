"""What a report shows, as values: every text is final, nothing is left to compute but positions.

:mod:`harness.report.assemble` makes a :class:`ReportView` from trials and their analysis;
the HTML page, Markdown and the terminal are three ways to print one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from harness.report.format import Cell
from harness.report.trial_view import DiffPiece, TrialView, WaterfallView

__all__ = [
    "BudgetView",
    "CandidateView",
    "CautionView",
    "ComparisonView",
    "Curve",
    "DefinitionView",
    "Distribution",
    "FactTable",
    "FailureRow",
    "HeadlineCell",
    "HeadlineColumn",
    "HeadlineRow",
    "LatencyAccuracyPoint",
    "PairedPoint",
    "PlainTable",
    "ReportView",
    "VerdictKind",
    "VerdictView",
    "WordErrorRow",
]


class VerdictKind(StrEnum):
    """What a gate said."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class PairedPoint(NamedTuple):
    """One utterance under two candidates: the difference in the metric's unit."""

    utterance: str
    difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateView:
    """A candidate as the report names it.

    Attributes:
        name: as in the suite, with "(emulated)" where it is.
        stages: one line for each stage: ("LLM", "kimi-k2.6@baseten").
        emulated: any of its stages is a gateway profile.
        voice: of its TTS, for filters.
    """

    name: str
    stages: tuple[tuple[str, str], ...]
    emulated: bool = False
    voice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineColumn:
    """A metric of the headline table."""

    metric: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineCell:
    """A metric of one candidate: its statistics by label, as ("p50", cell)."""

    statistics: tuple[tuple[str, Cell], ...]
    n: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineRow:
    """A candidate's line of the headline table; cells in the order of the columns."""

    candidate: int
    trials: int
    failures: int
    cells: tuple[HeadlineCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A distribution of one candidate, thinned for drawing.

    Attributes:
        candidate: index of the candidate.
        points: (value in the metric's unit, share of all trials at or below it), rising.
        n: trials, failures included.
        failures: how many failed; the curve ends below 1 by their share.
        quantiles: what the table beside the curve shows.
    """

    candidate: int
    points: tuple[tuple[float, float], ...]
    n: int
    failures: int
    quantiles: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A metric's curves.

    Attributes:
        metric, name, unit: which metric.
        emulated: a gateway profile stood behind any curve.
        curves: one for each candidate that has it.
        target: what the suite aims at, in the unit; None where it names nothing of this metric.
    """

    metric: str
    name: str
    unit: str
    emulated: bool
    curves: tuple[Curve, ...]
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """A candidate against a reference, paired by utterance.

    Attributes:
        metric, name: what is compared.
        reference, candidate: their names.
        statement: the finding in one sentence.
        difference, ratio: with intervals.
        p_value: corrected over the family, as text.
        detectable: the smallest change that the run could have seen, as text.
        points: one for each utterance, in the metric's unit.
        unit: of the points.
        detected: whether the difference is beyond chance.
        emulated: a gateway profile stood behind either side.
        finding: in a word or two: "faster", "fewer", "no detectable difference".
    """

    metric: str
    name: str
    reference: str
    candidate: str
    statement: str
    difference: Cell
    ratio: Cell
    p_value: str
    detectable: str
    points: tuple[PairedPoint, ...]
    unit: str
    detected: bool
    emulated: bool = False
    finding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAccuracyPoint:
    """A candidate in the plane of latency and word errors.

    Attributes:
        candidate: index of the candidate.
        latency, error: with intervals.
        on_front: no other candidate is at least as good in latency, word errors, failures and cost
            (where it is known), and better in one.
        standing: how sure that is, in words.
    """

    candidate: int
    latency: Cell
    error: Cell
    on_front: bool
    standing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrorRow:
    """An utterance's transcript against its reference.

    Attributes:
        candidate: index of the candidate.
        utterance: its id.
        trial: the trial that shows it.
        rate: as text.
        counts: substitutions, deletions, insertions.
        pieces: aligned, in order.
        heard: the transcript as the provider wrote it.
    """

    candidate: int
    utterance: str
    trial: str
    rate: str
    counts: tuple[int, int, int]
    pieces: tuple[DiffPiece, ...]
    heard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """Failures of one stage and kind: how many of each candidate, and what was said."""

    stage: str
    kind: str
    counts: tuple[int, ...]
    message: str
    trial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """Names and values under a title."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTable:
    """A table of texts; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CautionView:
    """A finding about the run's validity, with what to do."""

    title: str
    advice: str
    serious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """What the gate said of one budget, as texts.

    Attributes:
        budget: metric and statistic: "response p95".
        candidate: whose.
        measured: the estimate, or why there is none.
        limit: what was promised: "at most 1 200 ms", "at most 10 % more than …".
        margin: how far the estimate is from the limit; empty where unknown.
        kind: the budget's own verdict.
        reason: in a sentence.
        emulated: the estimate comes from a gateway profile.
        decides: it takes part in the verdict; False of a budget that is not required and cannot
            tell.
    """

    budget: str
    candidate: str
    measured: str
    limit: str
    margin: str
    kind: VerdictKind
    reason: str
    emulated: bool = False
    decides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """What the gate said, with each budget.

    Attributes:
        kind: the verdict.
        reason: in a sentence.
        budgets: each of the gate.
    """

    kind: VerdictKind
    reason: str
    budgets: tuple[BudgetView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionView:
    """A metric's definition.

    Attributes:
        metric: its id.
        name: as shown.
        formula: between which marks.
        never: what it must not be mistaken for.
        better: "lower is better" or "higher is better".
    """

    metric: str
    name: str
    formula: str
    never: str = ""
    better: str = "lower is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """Everything that a report shows.

    Attributes:
        title: the suite's name.
        subtitle: run, date, driver, dataset in one line of facts.
        run: the run's id.
        answer: the finding in one sentence.
        support: sentences that carry it.
        emulated: what is emulated, in a sentence; empty where nothing is.
        virtual: what the virtual clock leaves out, in a sentence; empty on the real one.
        verdict: where the run was gated.
        cautions: serious first.
        candidates: in the suite's order.
        columns, rows: the headline table.
        waterfalls: two for each candidate.
        distributions: one for each metric.
        comparisons: one for each pair and metric.
        comparison_notes: what was not compared and why, and how p was corrected.
        pareto: latency against word errors; empty where words were not scored.
        word_errors: the worst utterances of each candidate.
        word_error_totals: pooled.
        failures: by stage and kind.
        trust: tables of the trust panel.
        settings: every setting, version and hash.
        definitions: of each metric that appears.
        trial_metrics: (id, name, unit) of the trial table's columns.
        trials: every trial of the run.
        all_metrics: every metric with all its percentiles.
        latency_name: what the Pareto plot shows on its horizontal axis.
        confidence: coverage of the intervals, as text.
        extra: further tables (composition, what-if), each complete.
        breakdowns: the trials split by condition, language or route.
        matrix: of a grid the leading metric's medians; None of every other suite.
        pairs: of a grid its candidates one by one, as ``comparisons`` holds its factors.
        pair_notes: as ``comparison_notes``.
        packed: the details of the trials as the page holds them, so many to a piece; where it is
            given, the trials themselves carry no turns.
    """

    title: str
    subtitle: tuple[str, ...]
    run: str
    answer: str
    support: tuple[str, ...]
    emulated: str
    verdict: VerdictView | None
    cautions: tuple[CautionView, ...]
    candidates: tuple[CandidateView, ...]
    columns: tuple[HeadlineColumn, ...]
    rows: tuple[HeadlineRow, ...]
    waterfalls: tuple[WaterfallView, ...]
    distributions: tuple[Distribution, ...]
    comparisons: tuple[ComparisonView, ...]
    pareto: tuple[LatencyAccuracyPoint, ...]
    word_errors: tuple[WordErrorRow, ...]
    word_error_totals: PlainTable | None
    failures: tuple[FailureRow, ...]
    trust: tuple[PlainTable | FactTable, ...]
    settings: tuple[FactTable, ...]
    definitions: tuple[DefinitionView, ...]
    trial_metrics: tuple[tuple[str, str, str], ...]
    trials: tuple[TrialView, ...]
    all_metrics: PlainTable | None = None
    latency_name: str = "Voice-to-voice response"
    confidence: str = "95\u00a0%"
    extra: tuple[PlainTable, ...] = ()
    breakdowns: tuple[PlainTable, ...] = ()
    comparison_notes: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    matrix: PlainTable | None = None
    pairs: tuple[ComparisonView, ...] = ()
    pair_notes: tuple[str, ...] = ()
    virtual: str = ""

    @property
    def clock(self) -> str:
        """The clock's name, as records have it."""
        return "virtual" if self.virtual else "real"

    @property
    def throughout(self) -> bool:
        """Whether every candidate is emulated, so that no number here is a provider's."""
        return bool(self.candidates) and all(each.emulated for each in self.candidates)
