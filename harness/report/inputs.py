"""What a report is made from, and the loudness of a recording as its waveform is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.analysis.compare.changes import Comparison
from harness.analysis.summary.caution import Caution
from harness.analysis.summary.figures import RunSummary
from harness.domain.suite import Suite
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance
from harness.report.view import FactTable, PlainTable, VerdictView

__all__ = ["PEAKS", "RunData", "peaks_of"]

PEAKS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """A run and its analysis, as ``harness.report.assemble`` takes them.

    Attributes:
        run: the run's id.
        suite: its plan.
        utterances: by id; those of all trials.
        trials: all of the run.
        summary: of the same trials.
        cautions: the gravest first.
        started: when it began, as text.
        environment: what each start of the run recorded of machine and versions.
        datasets: what is known of each dataset: name, version, sha256, licence and so on.
        facts: what else was settled before the first trial, as JSON values.
        seed: of the order of trials.
        ended: reasons by candidate that ended early.
        verdict: where the run was gated.
        comparison: made by a setting or against another run; shown in place of the comparison of
            this run's candidates.
        self_error: the harness's own error on this machine, where it was measured.
        extra: further tables, shown as they are.
        speech_peaks: by utterance, from :func:`peaks_of` over the speech.
        reply_peaks: by trial id and index of the turn.
        audio_base: what comes before a reply's file name in a link; None links no audio.
    """

    run: str
    suite: Suite
    utterances: Mapping[str, Utterance]
    trials: Sequence[Trial | FailedTrial]
    summary: RunSummary
    cautions: Sequence[Caution] = ()
    started: str = ""
    environment: Sequence[Mapping[str, Any]] = ()
    datasets: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    ended: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    verdict: VerdictView | None = None
    comparison: Comparison | None = None
    self_error: PlainTable | FactTable | None = None
    extra: tuple[PlainTable, ...] = ()
    speech_peaks: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    reply_peaks: Mapping[tuple[str, int], bytes] = field(
        default_factory=lambda: MappingProxyType({})
    )
    audio_base: str | None = ""


def peaks_of(pcm: bytes, slices: int = PEAKS) -> bytes:
    """Return the loudest sample of equal slices of a recording, 255 for its loudest.

    The square root is taken, so that quiet speech is seen beside loud.

    Args:
        pcm: little-endian 16-bit mono samples.
        slices: how many.
    """
    samples = np.abs(np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.int32))
    if samples.size == 0:
        return b""
    edges = np.linspace(0, samples.size, min(slices, samples.size) + 1).astype(np.int64)[:-1]
    loudest = np.maximum.reduceat(samples, edges)
    top = int(loudest.max())
    if top == 0:
        return bytes(loudest.size)
    return bytes(np.rint(np.sqrt(loudest / top) * 255).astype(np.uint8))
