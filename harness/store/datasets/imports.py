"""Make a dataset out of a folder of recordings.

What may lie in the folder, at any depth:

* Recordings in any format of :mod:`harness.store.datasets.audio`, at any rate, with any channel
  count.
* A ``.txt`` beside a recording, with the same name, holding its words in UTF-8.
* Tables: ``.csv`` and ``.tsv`` with a header (or, without one, the recording in the first column
  and its words in the second), and ``.jsonl`` with an object a line. Columns go by our names or the
  common ones of :data:`harness.store.datasets.import_sources.COLUMNS`; what is left is kept as
  tags. So NeMo manifests, Hugging Face audio folders and Common Voice releases are read as they
  are.
* LibriSpeech's ``.trans.txt`` and Kaldi's data folders (``harness.store.datasets.import_corpora``).
  A piece of a longer recording is stored as FLAC by itself.

A row of a table comes before a ``.txt``. A recording without words is taken with
``"text": null``: its latency can be measured, its word errors cannot.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.domain.utterance import DEFAULT_LANGUAGE, is_language, is_sha256, is_utterance_id
from harness.errors import ConfigurationError
from harness.store.datasets.audio import Audio, load_audio, sha256_file, write_flac
from harness.store.datasets.import_sources import Source, find_sources
from harness.store.datasets.manifest import HEADER, MANIFEST
from harness.store.datasets.speech_bounds import ESTIMATED_TOLERANCE_MS, NoSpeech, estimate_bounds

__all__ = ["ImportReport", "import_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        manifest: the manifest that was written.
        imported: how many utterances it holds.
        estimated: how many of them have speech bounds by energy.
        skipped: one line for each recording or row left out, and why.
        cautions: one line for each thing that was taken and is worth a look.
    """

    manifest: Path
    imported: int
    estimated: int
    skipped: tuple[str, ...]
    cautions: tuple[str, ...]


class _SkippedError(Exception):
    """A row or recording cannot be taken; the message says why."""


def import_dataset(
    source_dir: Path,
    target_dir: Path,
    *,
    name: str,
    to_flac: bool = False,
    language: str = DEFAULT_LANGUAGE,
    licence: str | None = None,
    about: Mapping[str, str] = MappingProxyType({}),
) -> ImportReport:
    """Import a folder of recordings as a dataset.

    The target appears when it is complete: an interrupted import leaves none. It holds
    ``manifest.jsonl``, ``dataset.toml`` and the recordings under ``audio/``, unchanged.

    Args:
        source_dir: is read only.
        target_dir: must not exist, or be empty.
        name: of the dataset.
        to_flac: store each recording as 16-bit mono FLAC at its own rate instead of a copy.
        language: of recordings for which none is given.
        licence: of recordings for which none is given.
        about: further keys of ``dataset.toml``: version, licence, description, recipe.

    Raises:
        ConfigurationError: the source is no folder, the target holds something, an option is
            wrong, or no recording can be taken (then with a line for each).
    """
    if not source_dir.is_dir():
        raise ConfigurationError(f"{source_dir}: no such folder: give the folder of recordings")
    if target_dir.exists() and (not target_dir.is_dir() or any(target_dir.iterdir())):
        raise ConfigurationError(
            f"{target_dir}: exists already and is never overwritten: give another folder"
        )
    if not name.strip():
        raise ConfigurationError("name: is empty: give the dataset a name")
    if not is_language(language):
        raise ConfigurationError(f'language: {language!r} is no BCP 47 tag: give one such as "en"')
    skipped: list[str] = []
    sources = find_sources(source_dir, skipped)
    target_dir.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target_dir.name}.", dir=target_dir.parent))
    try:
        rows, cautions = _write(
            partial, sources, skipped, to_flac=to_flac, language=language, licence=licence
        )
        _require_rows(rows, source_dir, skipped)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (partial / MANIFEST).write_text(lines, encoding="utf-8")
        # A JSON string is a TOML basic string.
        header = {"name": name, "version": "1", "synthetic": False, **about}
        written = "".join(
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in header.items()
        )
        (partial / HEADER).write_text(written, encoding="utf-8")
        partial.chmod(0o777 & ~_umask())
        partial.replace(target_dir)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return ImportReport(
        manifest=target_dir / MANIFEST,
        imported=len(rows),
        estimated=sum(row.get("timing") == "estimated" for row in rows),
        skipped=tuple(skipped),
        cautions=tuple(cautions),
    )


def _require_rows(rows: list[dict[str, Any]], source_dir: Path, skipped: list[str]) -> None:
    if rows:
        return
    if skipped:
        raise ConfigurationError((f"{source_dir}: no recording can be imported:", *skipped))
    raise ConfigurationError(
        f"{source_dir}: holds no recording: give a folder with WAV, FLAC or MP3 files"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write(
    target: Path,
    sources: list[Source],
    skipped: list[str],
    *,
    to_flac: bool,
    language: str,
    licence: str | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    cautions: list[str] = []
    taken: set[str] = set()
    folder = target / "audio"
    folder.mkdir()
    for source in sources:
        try:
            row, audio = _row(source, taken, language=language, licence=licence)
        except _SkippedError as reason:
            skipped.append(f"{source.where}: {reason}")
            continue
        except ConfigurationError as error:
            lines = error.problems
            own = source.where == str(source.audio)
            skipped.extend(lines if own else (f"{source.where}: {line}" for line in lines))
            continue
        rewritten = to_flac or source.cut is not None
        suffix = ".flac" if rewritten else source.audio.suffix
        stored = folder / f"{row['id']}{suffix}"
        if rewritten:
            write_flac(stored, audio.samples, audio.sample_rate)
            row.pop("channel", None)
        else:
            shutil.copyfile(source.audio, stored)
        taken.add(str(row["id"]).casefold())
        row["audio"] = f"audio/{stored.name}"
        row["sha256"] = sha256_file(stored)
        if row.get("text", "") is None and "slots" not in row:
            cautions.append(f"{source.where}: no words are given: its word errors will be missing")
        if not audio.channels_agree and row.get("channel") is None:
            cautions.append(
                f"{source.where}: {audio.channels} channels that differ are mixed into one:"
                " give the channel of the speaker, if it is not on all"
            )
        rows.append(row)
    return rows, cautions


def _row(
    source: Source, taken: set[str], *, language: str, licence: str | None
) -> tuple[dict[str, Any], Audio]:
    """Return the manifest row of a recording, and its audio.

    Raises:
        _SkippedError: the row contradicts itself or the recording.
        ConfigurationError: the audio cannot be decoded.
    """
    fields = {key: value for key, value in source.fields.items() if value is not None}
    channel = _number(fields, "channel")
    if channel is not None and not channel.is_integer():
        raise _SkippedError(f"channel {channel:g} is no whole number: mend the row")
    audio = load_audio(source.audio, channel=None if channel is None else int(channel))
    if source.cut is not None:
        audio = _piece(audio, source.cut)
    claimed = str(fields.get("sha256", "")).lower()
    if is_sha256(claimed) and claimed != sha256_file(source.audio):
        raise _SkippedError(f"{source.audio.name} does not have the sha256 given: restore it")
    spoken = str(fields.get("language") or language)
    if not is_language(spoken):
        raise _SkippedError(f"language {spoken!r} is no BCP 47 tag: mend the row")
    row: dict[str, Any] = {
        "id": _name(source, fields, taken),
        "audio": "",
        **_spoken(source, fields),
        "language": spoken,
    }
    for key, value in (
        ("speaker", fields.get("speaker")),
        ("channel", None if channel is None else int(channel)),
        ("licence", fields.get("licence") or licence),
    ):
        if value not in (None, ""):
            row[key] = value if key == "channel" else str(value)
    row["duration_s"] = round(audio.duration_s, 6)
    if row.get("expect") != "none":
        row |= _bounds(fields, audio)
    if source.tags:
        row["tags"] = source.tags
    return row, audio


def _piece(audio: Audio, cut: tuple[float, float | None]) -> Audio:
    """Return a piece of a recording.

    Raises:
        _SkippedError: it lies outside.
    """
    start = round(cut[0] * audio.sample_rate)
    end = audio.samples.size if cut[1] is None else round(cut[1] * audio.sample_rate)
    # Ends that were rounded up may pass the recording's by a frame of its codec.
    if start >= audio.samples.size or end > audio.samples.size + 0.1 * audio.sample_rate:
        last = "its end" if cut[1] is None else f"{cut[1]:g} s"
        raise _SkippedError(
            f"the piece from {cut[0]:g} s to {last} lies outside the recording"
            f" ({audio.duration_s:.3g} s): mend the row"
        )
    return replace(audio, samples=audio.samples[start:end].copy())


def _name(source: Source, fields: Mapping[str, Any], taken: set[str]) -> str:
    given = str(fields.get("id", "")).strip()
    if given:
        if not is_utterance_id(given):
            raise _SkippedError(f"id {given!r} cannot name a file: give one without slashes")
        # Without regard to case, since it names a file and some file systems have none.
        if given.casefold() in taken:
            raise _SkippedError(f"id {given} is taken by an earlier row: give each its own")
        return given
    # What an id may not hold becomes a dash; the length leaves room for a number.
    printable = "".join(c if c.isprintable() and c != "\\" else "-" for c in source.audio.stem)
    stem = printable.strip()[:120].strip()
    if not is_utterance_id(stem):
        stem = "recording"
    number = 1
    name = stem
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _spoken(source: Source, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say what was spoken."""
    text, expect, slots = fields.get("text"), fields.get("expect"), fields.get("slots")
    if isinstance(slots, str) and slots.strip():
        try:
            slots = json.loads(slots)
        except ValueError:
            slots = None
        if not isinstance(slots, dict):
            raise _SkippedError("slots is no JSON object: mend the row")
    has_slots = isinstance(slots, dict) and bool(slots)
    has_bounds = fields.get("speech_end_s") not in (None, "")
    if expect not in (None, "", "speech", "none"):
        raise _SkippedError(f'expect is {expect!r}: give "speech" or "none"')
    is_blank = isinstance(text, str) and not text.strip()
    is_line = source.where.rpartition(":")[0].lower().endswith((".jsonl", ".json"))
    if expect == "none" or (
        # An empty cell of a table means "not given"; an empty JSON string is a statement.
        is_blank and is_line and not has_bounds and not has_slots and expect != "speech"
    ):
        if (text and not is_blank) or has_slots:
            raise _SkippedError('expect "none" contradicts the words given: mend the row')
        return {"expect": "none"}
    row: dict[str, Any] = {"text": None if text is None or is_blank else str(text)}
    if has_slots:
        row["slots"] = slots
    return row


def _bounds(fields: Mapping[str, Any], audio: Audio) -> dict[str, Any]:
    """Return the speech bounds given, or estimated, or both."""
    start, end = _number(fields, "speech_start_s"), _number(fields, "speech_end_s")
    tolerance = _number(fields, "tolerance_ms")
    timing = "estimated" if fields.get("timing") == "estimated" else "given"
    if start is None or end is None:
        found = estimate_bounds(audio.samples, audio.sample_rate)
        if isinstance(found, NoSpeech):
            raise _SkippedError(
                f"no speech can be told from noise ({found.reason}): give speech_start_s and"
                ' speech_end_s, or expect "none", in a table'
            )
        start = found.start_s if start is None else start
        end = found.end_s if end is None else end
        timing = "estimated"
    # Times that were rounded up to the millisecond may pass the end by half of one.
    if end > audio.duration_s + 0.000_6:
        raise _SkippedError(
            f"speech_end_s {end:g} lies outside the file ({audio.duration_s:.3g} s): mend the row"
        )
    if start >= end:
        raise _SkippedError(f"speech_start_s {start:g} is not before {end:g}: mend the row")
    row: dict[str, Any] = {"speech_start_s": start, "speech_end_s": end, "timing": timing}
    if timing == "estimated":
        row["tolerance_ms"] = ESTIMATED_TOLERANCE_MS
    if tolerance is not None:
        row["tolerance_ms"] = tolerance
    return row


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise _SkippedError(f"{name} is {value!r}: give a number that is not negative")
    return number
