"""Check a dataset: what is wrong with it, and what is worth a look.

A problem makes a run impossible or its result wrong: all that
:func:`harness.store.datasets.manifest.read_dataset` refuses. A caution is a finding that a person
should judge, with the next step.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.domain.utterance import Dataset, Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import FULL_SCALE, Audio, load_audio
from harness.store.datasets.manifest import audio_path, manifest_path, read_dataset
from harness.store.datasets.speech_bounds import (
    ESTIMATED_TOLERANCE_MS,
    SpeechBounds,
    estimate_bounds,
)

__all__ = ["CheckReport", "check_dataset"]

# Full scale three times in a row is a cut peak; once is a loud one.
_CLIPPED_RUN: Final = 3
_CLIPPED_SHARE: Final = 0.000_5
_QUIET_DBFS: Final = -45.0
# Voice activity detectors need some quiet before speech to know it.
_SHORT_LEAD_S: Final = 0.02
_LONG_QUIET_S: Final = 5.0
_LONG_SPEECH_S: Final = 30.0
_DURATION_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes:
        path: the manifest.
        dataset: what could be read; None where nothing could.
        problems: one line for each mistake, naming the file, the field and the mend.
        cautions: one line for each finding to judge, with advice.
    """

    path: str
    dataset: Dataset | None
    problems: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether a run may use the dataset."""
        return not self.problems


def check_dataset(path: Path) -> CheckReport:
    """Check the hashes, formats, timings and levels of a dataset.

    Args:
        path: a folder with a ``manifest.jsonl``, or a manifest file.

    Raises:
        ConfigurationError: there is no manifest.
    """
    manifest = manifest_path(path)
    try:
        dataset = read_dataset(manifest, skip_unreadable=True)
    except ConfigurationError as error:
        return CheckReport(path=str(manifest), dataset=None, problems=error.problems, cautions=())
    rows = _raw_rows(manifest)
    cautions: list[str] = []
    first_of: dict[str, str] = {}
    for utterance in dataset.utterances:
        audio = load_audio(audio_path(dataset, utterance), channel=utterance.channel)
        row = rows[utterance.id]
        findings = [
            *_format_findings(row, utterance, audio),
            *_level_findings(utterance, audio),
            *_timing_findings(utterance, audio),
        ]
        if not row.get("sha256"):
            findings.append(
                "sha256 is not given, so a changed recording would go unseen:"
                f" add {utterance.sha256}"
            )
        if utterance.expect == "speech" and utterance.reference is None and not utterance.slots:
            findings.append("text is unknown: word errors will be missing")
        twin = first_of.setdefault(f"{utterance.sha256} {utterance.channel}", utterance.id)
        if twin != utterance.id:
            findings.append(f"audio is that of {twin} too: repeats belong into the suite")
        cautions.extend(f"{manifest}: {utterance.id}: {finding}" for finding in findings)
    return CheckReport(
        path=str(manifest),
        dataset=dataset,
        problems=dataset.skipped,
        cautions=tuple(cautions),
    )


def _raw_rows(manifest: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a manifest that has been read already, as they are written."""
    lines = manifest.read_text(encoding="utf-8-sig").split("\n")
    rows = [json.loads(line) for line in lines if line.strip()]
    return {str(row["id"]): row for row in rows}


def _format_findings(row: dict[str, Any], utterance: Utterance, audio: Audio) -> Iterator[str]:
    for name, actual, slack in (
        ("duration_s", audio.duration_s, _DURATION_S),
        ("sample_rate", audio.sample_rate, 0.0),
        ("channels", audio.channels, 0.0),
    ):
        stated = row.get(name)
        try:
            differs = stated is not None and abs(float(stated) - actual) > slack
        except (TypeError, ValueError):
            differs = True
        if differs:
            yield f"{name} is stated as {stated}, but is {actual:.6g}: mend the manifest"
    if not audio.channels_agree and utterance.channel is None:
        yield (
            f"audio has {audio.channels} channels that differ, mixed into one:"
            " give the channel of the speaker, if it is not on all"
        )
    if audio.sample_rate < 16_000:
        yield f"audio has {audio.sample_rate} Hz: recognisers hear it as telephony"


def _level_findings(utterance: Utterance, audio: Audio) -> Iterator[str]:
    full = np.abs(audio.samples.astype(np.int32)) >= FULL_SCALE - 1
    runs = full.copy()
    for lag in range(1, _CLIPPED_RUN):
        runs[lag:] &= full[:-lag]
    runs[: _CLIPPED_RUN - 1] = False
    if runs.any() or full.mean() > _CLIPPED_SHARE:
        yield f"audio is clipped ({int(full.sum())} samples at full scale): record it lower"
    if utterance.expect == "none":
        return
    rate = audio.sample_rate
    start = 0 if utterance.speech_start_s is None else round(utterance.speech_start_s * rate)
    end = None if utterance.speech_end_s is None else round(utterance.speech_end_s * rate)
    speech = audio.samples[start:end].astype(np.float64) / FULL_SCALE
    power = float(np.mean(speech**2)) if speech.size else 0.0
    if power == 0.0:
        yield "audio is digital silence where speech is said to be: mend the bounds or the file"
    elif 10 * np.log10(power) < _QUIET_DBFS:
        yield f"speech is quiet ({10 * np.log10(power):.0f} dBFS): detectors may miss it"


def _timing_findings(utterance: Utterance, audio: Audio) -> Iterator[str]:
    found = estimate_bounds(audio.samples, audio.sample_rate)
    if utterance.expect == "none":
        if isinstance(found, SpeechBounds):
            yield (
                f"expect is none, but sound stands out of the background from {found.start_s:.2f}"
                f" to {found.end_s:.2f} s: listen to it"
            )
        return
    start, end = utterance.speech_start_s, utterance.speech_end_s
    if start is None or end is None:
        return
    if utterance.timing == "given":
        if isinstance(found, SpeechBounds):
            yield from _disagreements(utterance, found)
        else:
            yield f"no speech can be told from noise ({found.reason}): listen to it"
    trailing = audio.duration_s - end
    if start < _SHORT_LEAD_S:
        yield f"speech starts at {start:.3f} s: detectors need some quiet before it"
    if start > _LONG_QUIET_S:
        yield f"{start:.1f} s of quiet go before speech: each trial waits for them"
    if trailing > _LONG_QUIET_S:
        yield f"{trailing:.1f} s of quiet follow speech: each trial may wait for them"
    if end - start > _LONG_SPEECH_S:
        yield f"speech lasts {end - start:.0f} s: that is no turn of a conversation"


def _disagreements(utterance: Utterance, found: SpeechBounds) -> Iterator[str]:
    allowed = max(utterance.tolerance_ms, ESTIMATED_TOLERANCE_MS)
    for name, stated, estimated in (
        ("speech_start_s", utterance.speech_start_s, found.start_s),
        ("speech_end_s", utterance.speech_end_s, found.end_s),
    ):
        assert stated is not None
        difference = (estimated - stated) * 1000
        if abs(difference) > allowed:
            yield (
                f"{name} is {stated:.3f}, but the energy says {estimated:.3f}"
                f" ({difference:+.0f} ms): listen to it"
            )
