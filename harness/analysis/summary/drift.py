"""Whether a run's figures drift from its beginning to its end."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from harness.analysis.summary.caution import Caution
from harness.analysis.summary.samples import make_rows
from harness.analysis.turn.definitions import METRICS
from harness.analysis.turn.measurement import Measurement
from harness.domain.trial import Trial
from harness.domain.utterance import Utterance

__all__ = ["_rank_z", "drift"]


DRIFT_Z = 3.3


DRIFT_RATIO = 1.1


DRIFT_TRIALS = 10


_DRIFTING = ("response", "stt_finalize", "llm_ttft", "tts_first_byte")


def drift(name: str, good: Sequence[Trial], utterances: Mapping[str, Utterance]) -> list[Caution]:
    """Compare the first half of the run with the second by rank (Mann and Whitney, 1947)."""
    for metric_id in _DRIFTING:
        values = []
        for trial in sorted(good, key=lambda each: each.started_ns):
            if trial.key.utterance not in utterances:
                continue
            found = make_rows((trial,), utterances)[0].found[metric_id]
            if isinstance(found, Measurement):
                values.append(found.value)
        half = len(values) // 2
        if half < DRIFT_TRIALS:
            continue
        before, after = values[:half], values[half:]
        first, second = median(before), median(after)
        ratio = second / first if first > 0 and second > 0 else 1.0
        if abs(_rank_z(before, after)) > DRIFT_Z and max(ratio, 1 / ratio) > DRIFT_RATIO:
            slower = "slower" if ratio > 1 else "faster"
            title = METRICS[metric_id].title
            return [
                Caution(
                    code="drift",
                    text=f"{name}: {title} grew {slower} during the run, from a median of "
                    f"{first:.0f} ms in its first half to {second:.0f} ms",
                    advice="find what changed (load, rate limits, caches) or run again",
                    candidate=name,
                )
            ]
    return []


def _rank_z(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the rank-sum statistic in standard deviations, ties given their mean rank."""
    values = np.asarray([*before, *after], dtype=np.float64)
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[index]
    m, n = len(before), len(after)
    total = m + n
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = m * n / 12.0 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 0.0
    mean = m * (total + 1) / 2.0
    return (float(ranks[:m].sum()) - mean) / math.sqrt(variance)
