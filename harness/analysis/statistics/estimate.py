"""An estimate with its uncertainty, and the two ways in which there is none.

Every number that a report prints or a gate judges is one of three types:

* :class:`Estimate`: a point with its interval, how many trials stand behind it, and the method.
* :class:`TimedOut`: the percentile falls among the failures, which rank slower than every success.
* :class:`Unsupported`: the trials are too few for the statistic.

:class:`Sample` is what they are computed from: one metric of one candidate.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.analysis.statistics.distributions import beta_quantile, student_quantile

__all__ = [
    "Estimate",
    "Sample",
    "Statistic",
    "TimedOut",
    "Unsupported",
    "design_effect",
    "estimate_mean",
    "estimate_rate",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The value lies among the failures: later than every answer that came.

    Attributes:
        n: trials, failures included.
        failures: how many of them failed.
    """

    n: int
    failures: int

    def __post_init__(self) -> None:
        if not 0 < self.failures <= self.n:
            raise ValueError(
                f"a value among the failures needs 0 < failures <= n, got {self.failures}, {self.n}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """The trials cannot carry the statistic.

    Attributes:
        reason: in plain words, for the reader of a report.
        needed: independent trials that would carry it; 0 where more trials would not help.
        n: trials, failures included.
        effective_n: independent trials that they are worth.
        failures: how many failed.
        observed: the bare value in the sample, or None where there is none. It bears no
            interval and must not be printed as a percentile.
    """

    reason: str
    needed: int
    n: int
    effective_n: float
    failures: int
    observed: float | TimedOut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic of a sample with its interval.

    Attributes:
        point: the estimate, in the sample's unit.
        low: the interval's lower end; -inf when only an upper bound was asked for.
        high: its upper end; +inf when only a lower bound was asked for, :class:`TimedOut` when it
            lies among the failures.
        confidence: the interval's nominal coverage, 0 to 1.
        n: trials behind it, failures included.
        effective_n: how many independent trials they are worth; n when no utterance is repeated.
        failures: how many of the n failed.
        method: the statistic and the interval by name.
        gateable: False for a number that leaves the failures out: no budget may rest on it.
    """

    point: float
    low: float
    high: float | TimedOut
    confidence: float
    n: int
    effective_n: float
    failures: int
    method: str
    gateable: bool = True

    def __post_init__(self) -> None:
        high = math.inf if isinstance(self.high, TimedOut) else self.high
        if not self.low <= self.point <= high:
            raise ValueError(f"the interval [{self.low}, {high}] leaves out the point {self.point}")
        if not math.isfinite(self.point):
            raise ValueError(f"the point of an estimate is a finite number, got {self.point}")
        if not 0.0 < self.confidence < 1.0:
            raise ValueError(f"confidence lies between 0 and 1, got {self.confidence}")
        if not 0 <= self.failures <= self.n:
            raise ValueError(f"failures lie in 0..n, got {self.failures} of {self.n}")


Statistic = Estimate | TimedOut | Unsupported


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One metric of one candidate: a value for each trial, or its failure.

    Attributes:
        values: one number per trial, any unit; what stands at a failed trial is ignored.
        failed: one flag per trial.
        clusters: one integer per trial: trials with the same number repeat the same utterance.
        ranked: the values with +inf at the failures, read-only: failures rank last.
    """

    values: NDArray[np.float64]
    failed: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    ranked: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        *,
        failed: ArrayLike | None = None,
        clusters: ArrayLike | None = None,
    ) -> "Sample":
        """Build a sample from anything array-like.

        Args:
            values: shape (n,); finite wherever the trial did not fail.
            failed: shape (n,) of booleans; no failure when absent.
            clusters: shape (n,) of integers; every trial its own utterance when absent.

        Raises:
            ValueError: shapes differ, or an answered trial has no finite value.
        """
        array = np.asarray(values, dtype=np.float64).copy()
        flags = (
            np.zeros(array.shape, dtype=np.bool_)
            if failed is None
            else np.asarray(failed, dtype=np.bool_).copy()
        )
        groups = (
            np.arange(array.size, dtype=np.int64)
            if clusters is None
            else np.asarray(clusters, dtype=np.int64).copy()
        )
        if array.ndim != 1 or flags.shape != array.shape or groups.shape != array.shape:
            raise ValueError(
                "values, failed and clusters are one-dimensional and equally long, got shapes "
                f"{array.shape}, {flags.shape}, {groups.shape}"
            )
        if not np.isfinite(array[~flags]).all():
            raise ValueError("an answered trial has a finite value; mark the others as failed")
        array[flags] = np.inf
        ranked = array
        answered = array.copy()
        answered[flags] = 0.0
        for part in (answered, flags, groups, ranked):
            part.flags.writeable = False
        return cls(values=answered, failed=flags, clusters=groups, ranked=ranked)

    @property
    def n(self) -> int:
        """Trials, failures included."""
        return int(self.ranked.size)

    @property
    def failures(self) -> int:
        """How many trials failed."""
        return int(np.count_nonzero(self.failed))

    @property
    def repeats(self) -> bool:
        """Whether any utterance was performed more than once."""
        return np.unique(self.clusters).size < self.n


def design_effect(indicator: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """Return how many repeated trials are worth one independent trial, at least 1.

    The variance of the mean under resampling of whole clusters (linearised ratio estimator) over
    the variance that independent trials would have (Kish, *Survey Sampling*, 1965, 8.2). An
    estimate below 1 is noise in the estimate of the variance and is taken as 1. The other way, an
    estimate at random too low, is met by the caller with Student's t on the number of clusters.

    Args:
        indicator: shape (n,).
        clusters: shape (n,).
    """
    groups, index = np.unique(clusters, return_inverse=True)
    n, k = indicator.size, groups.size
    if k == n or k < 2:
        # One cluster alone says nothing of how clusters differ: it is worth one trial.
        return 1.0 if k == n else float(n)
    # Rounding must not depend on the order of the trials.
    order = np.lexsort((indicator, index))
    indicator, index = indicator[order], index[order]
    centred = indicator - indicator.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        return 1.0
    sums = np.bincount(index, weights=centred, minlength=k)
    between = k / (k - 1) * float(sums @ sums) / n**2
    alone = spread / (n * (n - 1))
    return min(float(n), max(1.0, between / alone))


def estimate_mean(sample: Sample, *, confidence: float = 0.95) -> Estimate | Unsupported:
    """Return the mean of the answered trials, with Student's t interval over the utterances.

    With failures present this is the "mean of the answered", blind to the worst trials: it is
    marked so and cannot gate. Interval: linearised ratio estimator over clusters, t with
    clusters - 1 degrees of freedom (Cochran, *Sampling Techniques*, 9A.2). For skewed latencies it
    covers less than it says when clusters are few; percentiles are the better summary.
    """
    answered = sample.values[~sample.failed]
    groups, index = np.unique(sample.clusters[~sample.failed], return_inverse=True)
    n, k = answered.size, groups.size
    if k < 2:
        return Unsupported(
            reason="a mean's interval needs at least two answered utterances",
            needed=2,
            n=sample.n,
            effective_n=float(k),
            failures=sample.failures,
            observed=float(answered.mean()) if n else None,
        )
    point = float(answered.mean())
    sums = np.bincount(index, weights=answered - point, minlength=k)
    error = math.sqrt(k / (k - 1) * float(sums @ sums)) / n
    half = student_quantile(0.5 + confidence / 2.0, k - 1) * error
    name = "mean of the answered" if sample.failures else "mean"
    return Estimate(
        point=point,
        low=point - half,
        high=point + half,
        confidence=confidence,
        n=sample.n,
        effective_n=n / design_effect(answered, sample.clusters[~sample.failed]),
        failures=sample.failures,
        method=f"{name}, Student's t over {k} utterances",
        gateable=sample.failures == 0,
    )


def estimate_rate(
    events: ArrayLike, *, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate | Unsupported:
    """Return the share of trials with an event, with the Clopper-Pearson interval.

    Exact, so it is never too narrow, also at 0 events. With repeats of an utterance the interval
    is taken at the effective n (Korn & Graubard, *Survey Methodology* 24, 1998); at no or all
    events the effective n is the number of utterances, because nothing tells otherwise whether
    repeats agree.

    Args:
        events: shape (n,) of booleans.
        clusters: shape (n,); every trial its own utterance when absent.
        confidence: nominal coverage.
    """
    sample = Sample.of(np.asarray(events, dtype=np.float64), clusters=clusters)
    n = sample.n
    if n == 0:
        return Unsupported(
            reason="a rate needs a trial", needed=1, n=0, effective_n=0.0, failures=0, observed=None
        )
    point = float(sample.values.mean())
    k = int(np.unique(sample.clusters).size)
    if k == n:
        effective = float(n)
        working = effective
    elif point in (0.0, 1.0):
        effective = working = float(k)
    else:
        effective = n / design_effect(sample.values, sample.clusters)
        tail = 0.5 + confidence / 2.0
        working = (
            effective * (student_quantile(tail, n - 1) / student_quantile(tail, k - 1)) ** 2
            if k > 1
            else effective
        )
    alpha = 1.0 - confidence
    hits = point * working
    low = beta_quantile(alpha / 2.0, hits, working - hits + 1.0) if point > 0 else 0.0
    high = beta_quantile(1.0 - alpha / 2.0, hits + 1.0, working - hits) if point < 1 else 1.0
    return Estimate(
        point=point,
        low=min(low, point),
        high=max(high, point),
        confidence=confidence,
        n=n,
        effective_n=effective,
        failures=0,
        method="rate, Clopper-Pearson" + ("" if k == n else f" at effective n of {k} utterances"),
    )
