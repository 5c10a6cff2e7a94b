"""What a comparison finds of each metric and rate."""

from dataclasses import dataclass
from typing import Literal

from harness.analysis.statistics.estimate import Unsupported
from harness.analysis.statistics.paired import Change, RateChange

__all__ = ["Comparison", "Finding", "MetricChange", "PairComparison", "RateFinding"]


Finding = Literal["faster", "slower", "no detectable difference", "not comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """One percentile of one metric, candidate against reference.

    Attributes:
        metric: its id.
        share: 0.5 for the typical change, else the percentile.
        change: with intervals, in the metric's unit; of a metric where more is better, of its
            reciprocal (time per token), so that a ratio above 1 is slower everywhere.
        p: corrected over the comparison.
        finding: what may be said at the 5 % level.
        emulated: a gateway profile stood behind either side: no model wins.
        reciprocal: the change is that of the reciprocal.
        points: of the typical change: for each recording that both sides performed, the difference
            of their medians over repeats, in the metric's unit; answered trials alone.
    """

    metric: str
    share: float
    change: Change | Unsupported
    p: float | None
    finding: Finding
    emulated: bool
    reciprocal: bool = False
    points: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFinding:
    """A rate (word errors, failures), candidate against reference.

    Attributes:
        rate: "wer", "tts_wer" (where a recogniser heard the replies of both), "failures", or
            one of ``EVENTS`` (where something was said over the replies of both).
        change: with interval.
        p: corrected over the comparison.
        finding: "faster" reads "fewer" and "slower" reads "more".
        emulated: as :class:`MetricChange`.
    """

    rate: str
    change: RateChange | Unsupported
    p: float | None
    finding: Finding
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairComparison:
    """One side against another.

    Attributes:
        candidate, reference: the names of the sides.
        trials: how many of each.
        metrics: typical change and tail of each metric that both have.
        rates: word errors and failures.
        correct: the response (the stage driver: the finalize) over correct turns only: no failure,
            WER within the suite's limit, every slot heard; paired where both sides have a correct
            turn of the recording; None where correctness is unknown.
        correct_turns: how many of each side.
        refused: metrics that cannot be compared, with the reason.
    """

    candidate: str
    reference: str
    trials: tuple[int, int]
    metrics: tuple[MetricChange, ...]
    rates: tuple[RateFinding, ...]
    correct: MetricChange | None
    correct_turns: tuple[int, int]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All pairs of one comparison.

    Attributes:
        by: what the sides are.
        pairs: in the suite's order.
        left_out: candidates without a partner that differs in nothing else, with the reason.
        emulated: whether any side is EMULATED.
        confidence: of the intervals.
        family: how many p-values were corrected together.
    """

    by: str
    pairs: tuple[PairComparison, ...]
    left_out: tuple[str, ...]
    emulated: bool
    confidence: float
    family: int
