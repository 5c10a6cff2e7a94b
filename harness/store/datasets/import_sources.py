"""The recordings of a folder, and what its tables and text files say of them.

Tables are ``.csv`` and ``.tsv`` with a header (or, without one, the recording in the first column
and its words in the second), and ``.jsonl`` with an object a line; that is also how Hugging Face's
audio folders (``metadata.csv`` or ``.jsonl`` with ``file_name``) describe themselves. A ``.json``
file with an object a line that names ``audio_filepath`` is a NeMo manifest. ``offset`` and
``duration`` of a row cut a piece out of its recording. Other corpora's layouts:
``harness.store.datasets.import_corpora``. What two tables say of one recording is taken from the
first that has its words.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.store.datasets.audio import AUDIO_SUFFIXES
from harness.store.datasets.import_corpora import (
    common_voice_folders,
    is_left_out,
    read_kaldi,
    read_librispeech,
)

__all__ = ["COLUMNS", "Source", "find_sources"]

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("audio", "audio_filepath", "audio_path", "file", "filename", "file_name", "path",
              "wav", "clip", "recording"),
    "text": ("text", "transcript", "transcription", "sentence", "words", "reference"),
    "id": ("id", "utterance_id", "utt_id"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "channel": ("channel",),
    "speech_start_s": ("speech_start_s",),
    "speech_end_s": ("speech_end_s",),
    "tolerance_ms": ("tolerance_ms", "timing_tolerance_ms"),
    "timing": ("timing",),
    "licence": ("licence", "license"),
    "sha256": ("sha256",),
    "expect": ("expect",),
    "slots": ("slots",),
}  # fmt: skip
_TABLES: Final = frozenset({".csv", ".tsv", ".jsonl", ".json"})
_LINES: Final = frozenset({".jsonl", ".json"})
_HEADERLESS: Final = frozenset({".raw", ".pcm", ".s16", ".vox", ".g722", ".g729"})
# Facts about the file, which are taken from the file.
_MEASURED: Final = frozenset(
    {"duration_s", "duration", "offset", "sample_rate", "channels", "tags"}
)


@dataclass(slots=True, kw_only=True)
class Source:
    """A recording found, with what is known of it.

    Attributes:
        where: the place that named it: a table's file and line, or the recording itself.
        audio: the recording.
        fields: what is given under the names of :data:`COLUMNS`, ``audio`` left out.
        tags: what is given besides.
        cut: the piece that is meant, in seconds; None is all of it. Speech bounds that are given
            count from its start.
    """

    where: str
    audio: Path
    fields: dict[str, Any]
    tags: dict[str, str]
    cut: tuple[float, float | None] | None = None


def find_sources(folder: Path, skipped: list[str]) -> list[Source]:
    """Return the recordings of a folder: those that its tables name, then all others.

    Args:
        folder: is searched at any depth; hidden files are passed over.
        skipped: gets one line for each row and file that cannot be taken.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    recordings = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    by_name: dict[str, list[Path]] = {}
    for path in recordings:
        for key in {path.name, path.stem}:
            by_name.setdefault(key, []).append(path)
    releases = common_voice_folders(files)
    tables = [
        path
        for path in files
        if path.suffix.lower() in _TABLES
        and not (path.parent in releases and is_left_out(path))
        and (path.suffix.lower() != ".json" or _is_nemo(path))
    ]

    def locate(wanted: str, beside: Path) -> Path | None:
        return _locate(wanted, beside, folder, by_name)

    sources: list[Source] = [
        Source(where=each.where, audio=each.audio, fields=each.fields, tags={}, cut=each.cut)
        for each in (
            *read_librispeech(files, skipped),
            *read_kaldi(files, locate, skipped),
        )
    ]
    listed: set[Path] = {each.audio for each in sources}
    for table in tables:
        for where, values in _read_table(table, by_name, skipped):
            fields, tags = _sort_columns(values)
            wanted = str(fields.pop("audio", None) or "").strip()
            if not wanted:
                skipped.append(f"{where}: names no recording: fill the audio column")
                continue
            located = locate(wanted, table)
            if located is None:
                skipped.append(f"{where}: {wanted} is not in the folder: add it, or drop the row")
                continue
            try:
                cut = _cut(values)
            except ValueError as error:
                skipped.append(f"{where}: {error}: mend the row")
                continue
            listed.add(located)
            source = Source(where=where, audio=located, fields=fields, tags=tags, cut=cut)
            sources.append(source)
    sources = _unrepeated(sources, skipped)
    clips = {each / "clips" for each in releases}
    for path in recordings:
        if path in listed or not clips.isdisjoint(path.parents):
            continue
        fields = {}
        text = path.with_suffix(".txt")
        if text.is_file():
            try:
                words = " ".join(text.read_text(encoding="utf-8-sig").split())
            except UnicodeDecodeError:
                skipped.append(f"{text}: not UTF-8: save it as UTF-8")
                continue
            if not words:
                skipped.append(f"{text}: empty: write the words, or remove it if nobody knows them")
                continue
            fields["text"] = words
        sources.append(Source(where=str(path), audio=path, fields=fields, tags={}))
    skipped.extend(
        f"{path}: headerless samples, of unknown rate and width: convert it to WAV"
        for path in files
        if path.suffix.lower() in _HEADERLESS
    )
    return sources


def _read_table(
    table: Path, by_name: Mapping[str, list[Path]], skipped: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row's place and values; a table that is none of ours yields nothing."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        skipped.append(f"{table}: not UTF-8: save it as UTF-8")
        return
    if table.suffix.lower() in _LINES:
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                skipped.append(f"{table}:{number}: not JSON: give one object on each line")
                continue
            if isinstance(value, dict):
                yield f"{table}:{number}", value
            else:
                skipped.append(f"{table}:{number}: no object: give one object on each line")
        return
    first = text.partition("\n")[0]
    delimiter = "\t" if table.suffix.lower() == ".tsv" else max(",;|\t", key=first.count)
    # Bars and tabs delimit tables whose texts hold plain quotation marks.
    is_plain = delimiter in "|\t"
    reader = csv.reader(
        text.splitlines(keepends=True),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if is_plain else csv.QUOTE_MINIMAL,
    )
    header: list[str] | None = None
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
            names = {cell.lower() for cell in header}
            if names.isdisjoint(COLUMNS["audio"]):
                if Path(header[0]).name not in by_name:
                    skipped.append(
                        f"{table}:1: has no column for the recording: name one of them audio"
                    )
                    return
                header = ["audio", "text"]
            else:
                continue
        yield f"{table}:{reader.line_num}", dict(zip(header, row, strict=False))


def _is_nemo(path: Path) -> bool:
    """Tell whether a JSON file is a manifest of one object a line that names its recording."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "audio_filepath" in value


def _cut(values: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """Return the piece that ``offset`` and ``duration`` name; a duration alone names none.

    Raises:
        ValueError: they are no such numbers.
    """
    offset, duration = values.get("offset"), values.get("duration")
    if offset in (None, ""):
        return None
    try:
        start = float(offset)
        length = None if duration in (None, "") else float(duration)
    except (TypeError, ValueError):
        start, length = math.nan, None
    if not math.isfinite(start) or start < 0:
        raise ValueError(f"offset is {offset!r}, no time in seconds")
    if length is not None and not (math.isfinite(length) and length > 0):
        raise ValueError(f"duration is {duration!r}, no length in seconds")
    if start == 0 and length is None:
        return None
    return start, None if length is None else start + length


def _unrepeated(sources: list[Source], skipped: list[str]) -> list[Source]:
    """Keep of each recording or piece the first row with words, else the first.

    Corpora list the same clip in several tables (train, validated), some without its words. Within
    one table, or under an id of its own, a row that names a recording again is kept: it may mean
    the other channel.
    """
    kept: dict[object, Source] = {}
    for source in sources:
        table = source.where.rpartition(":")[0]
        key: object = (source.audio, source.cut, source.fields.get("channel"))
        first = kept.get(key)
        if first is None:
            kept[key] = source
        elif first.where.rpartition(":")[0] == table:
            kept[key, source.where] = source
        elif not first.fields.get("text") and source.fields.get("text"):
            kept[key] = source
        elif source.fields.get("text") not in (None, "", first.fields.get("text")):
            skipped.append(
                f"{source.where}: says other words of {source.audio.name} than {first.where},"
                " which is taken: drop one of the rows"
            )
    return list(kept.values())


def _sort_columns(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Sort a row's columns into our fields and tags."""
    lowered = {str(key).strip().lower(): value for key, value in values.items()}
    fields: dict[str, Any] = {}
    used = set(_MEASURED)
    for field, names in COLUMNS.items():
        for column in names:
            if column in lowered:
                fields[field] = lowered[column]
                used.add(column)
                break
    own = lowered.get("tags")
    left = {key: value for key, value in lowered.items() if key not in used}
    left |= own if isinstance(own, dict) else {}
    tags = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in left.items()
        if value is not None and value != "" and key
    }
    return fields, tags


def _locate(
    wanted: str, table: Path, folder: Path, by_name: Mapping[str, list[Path]]
) -> Path | None:
    """Return the recording that a table names, by path, else by a name that is unique."""
    for base in (table.parent, folder):
        path = base / wanted
        if path.is_file():
            return path
    found = by_name.get(Path(wanted).name, [])
    return found[0] if len(found) == 1 else None
