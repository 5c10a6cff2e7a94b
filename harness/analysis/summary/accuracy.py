"""How well the harness measures, judged against what it promises.

What is judged is the size of each error over undisturbed trials: half of them keep to the p50 of
the promise and 99 in 100 to its p99. The share of disturbed trials stands beside every row, because
leaving them out is only honest where it is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from harness.analysis.statistics.quantile import quantile
from harness.analysis.summary.selferror import MarkError, TruthRow, join_truth
from harness.analysis.turn.attribution import Waterfall, unattributed_ns, waterfall
from harness.analysis.turn.disturbance import disturbance
from harness.analysis.turn.measurement import MILLISECOND
from harness.domain.suite import Driver
from harness.domain.timeline import Mark
from harness.domain.trial import Trial

__all__ = ["PROMISES", "AccuracyRow", "Promise", "accuracy"]

FRAME, LAG, RESPONSE, UNATTRIBUTED = "frame", "loop_lag", "response", "unattributed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What an error is to keep to, in milliseconds; None where nothing is promised."""

    p50: float
    p99: float | None = None


_TRANSPORT = Promise(p50=1.0, p99=5.0)
_FRAMEWORK = Promise(p50=3.5, p99=12.0)

PROMISES: Mapping[str, Promise] = MappingProxyType(
    {
        FRAME: Promise(p50=0.7, p99=3.0),
        Mark.LLM_SENT.value: _TRANSPORT,
        Mark.LLM_FIRST_BYTE.value: _TRANSPORT,
        Mark.LLM_TEXT_RECEIVED.value: _TRANSPORT,
        Mark.TTS_SENT.value: _TRANSPORT,
        Mark.TTS_FIRST_BYTE.value: _TRANSPORT,
        Mark.TRANSCRIPT_FINAL.value: Promise(p50=2.0, p99=6.0),
        Mark.LLM_FIRST_TEXT.value: _FRAMEWORK,
        Mark.TTS_FIRST_FRAME.value: _FRAMEWORK,
        RESPONSE: Promise(p50=25.0),
        UNATTRIBUTED: Promise(p50=1.0),
    }
)

_TITLES: Mapping[str, str] = MappingProxyType(
    {
        FRAME: "frame lateness against the schedule",
        Mark.FINAL_RECEIVED.value: "STT final at the transport",
        Mark.TRANSCRIPT_FINAL.value: "STT final at the agent",
        Mark.LLM_SENT.value: "LLM request sent",
        Mark.LLM_FIRST_BYTE.value: "LLM first byte at the transport",
        Mark.LLM_TEXT_RECEIVED.value: "LLM first text at the transport",
        Mark.LLM_FIRST_TEXT.value: "LLM first text at the agent",
        Mark.TTS_SENT.value: "TTS request sent",
        Mark.TTS_FIRST_BYTE.value: "TTS first byte at the transport",
        Mark.TTS_FIRST_FRAME.value: "TTS first pcm frame at the agent",
        RESPONSE: "response against the injected delays",
        UNATTRIBUTED: "part of the response without a cause",
        LAG: "event-loop lag (timer of 10 ms)",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """The size of one error, in milliseconds.

    Attributes:
        what: a mark's name, "frame", "response", "unattributed" or "loop_lag".
        title: for people.
        driver: "session" or "stage".
        n: values of undisturbed trials; the percentiles rest on these.
        p50, p99, largest: None where no trial was undisturbed.
        disturbed: share of all values that were left out, 0 to 1.
        promise: what is promised; None where nothing is.
        kept: whether the promise was kept; None without promise or value.
    """

    what: str
    title: str
    driver: str
    n: int
    p50: float | None
    p99: float | None
    largest: float | None
    disturbed: float
    promise: Promise | None
    kept: bool | None


def accuracy(
    trials: Sequence[Trial],
    truth: Sequence[TruthRow],
    *,
    lateness: Mapping[int, Sequence[int]],
    lags: Mapping[int, Sequence[int]],
) -> tuple[AccuracyRow, ...]:
    """Return the errors of the harness, by what is measured and by driver.

    Args:
        trials: warm-ups left out by the caller.
        truth: the gateway's, in any order.
        lateness: of each frame in nanoseconds, by the trial's ``started_ns``.
        lags: of each tick of the event loop in nanoseconds, likewise.
    """
    rows: list[AccuracyRow] = []
    for driver in dict.fromkeys(trial.driver for trial in trials):
        mine = [trial for trial in trials if trial.driver == driver]
        errors = [
            *_of_each_trial(mine, lateness, FRAME),
            *join_truth(mine, truth),
            *(_unattributed(mine) if driver == Driver.SESSION else ()),
            *_of_each_trial(mine, lags, LAG),
        ]
        grouped: dict[str, list[MarkError]] = {}
        for error in errors:
            grouped.setdefault(error.what, []).append(error)
        rows += [_row(what, driver, grouped[what]) for what in _TITLES if what in grouped]
    return tuple(rows)


def _of_each_trial(
    trials: Iterable[Trial], values: Mapping[int, Sequence[int]], what: str
) -> Iterable[MarkError]:
    for trial in trials:
        disturbed = disturbance(trial) is not None
        for value in values.get(trial.started_ns, ()):
            yield MarkError(what=what, kind="framework", error_ns=value, disturbed=disturbed)


def _unattributed(trials: Iterable[Trial]) -> Iterable[MarkError]:
    for trial in trials:
        disturbed = disturbance(trial) is not None
        for turn in trial.turns:
            falls = waterfall(turn)
            if isinstance(falls, Waterfall):
                lost = unattributed_ns(falls)
                yield MarkError(
                    what=UNATTRIBUTED, kind="response", error_ns=lost, disturbed=disturbed
                )


def _row(what: str, driver: str, errors: Sequence[MarkError]) -> AccuracyRow:
    sizes = np.asarray(
        [abs(each.error_ns) / MILLISECOND for each in errors if not each.disturbed],
        dtype=np.float64,
    )
    p50 = quantile(sizes, 0.5) if sizes.size else None
    p99 = quantile(sizes, 0.99) if sizes.size else None
    promise = PROMISES.get(what)
    kept = None
    if promise is not None and p50 is not None and p99 is not None:
        kept = p50 <= promise.p50 and (promise.p99 is None or p99 <= promise.p99)
    return AccuracyRow(
        what=what,
        title=_TITLES[what],
        driver=driver,
        n=int(sizes.size),
        p50=p50,
        p99=p99,
        largest=float(sizes.max()) if sizes.size else None,
        disturbed=1.0 - sizes.size / len(errors),
        promise=promise,
        kept=kept,
    )
