"""Layouts that speech corpora share, found within a folder that is imported.

* **LibriSpeech**: ``*.trans.txt`` with an id and its words a line, the recordings beside it under
  their ids; the first part of an id (``1089-134686-0000``) is the speaker.
* **Kaldi** data folders: ``wav.scp``, with ``text``, ``segments``, ``utt2spk`` and ``utt2lang``
  where they are. A segment becomes a recording of its own. Entries that are commands (``sox … |``)
  or lie in an archive (``x.ark:17``) are told and left out: an import runs nothing.
* **Common Voice** releases: a ``clips`` folder beside tables with ``client_id``, ``path`` and
  ``sentence``. ``invalidated``, ``other`` and ``reported`` are left out, and so is what no table
  names.

NeMo manifests and Hugging Face audio folders are tables, read by
``harness.store.datasets.import_sources``.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = [
    "Found",
    "common_voice_folders",
    "is_left_out",
    "read_kaldi",
    "read_librispeech",
]

Locate = Callable[[str, Path], Path | None]
"""Given what a file names and that file: the recording, or None."""

TRANSCRIPTS: Final = ".trans.txt"
_LIBRISPEECH_ID: Final = re.compile(r"(\d+)-\d+-\d+")
_COMMON_VOICE: Final = frozenset({"client_id", "path", "sentence"})
# Their clips are wrong, unchecked or complained about; the last three name no words of a clip.
_LEFT_OUT: Final = frozenset(
    {
        "invalidated", "other", "reported", "clip_durations", "validated_sentences",
        "unvalidated_sentences",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A recording that a corpus names.

    Attributes:
        where: the file and line.
        audio: the recording.
        fields: what is given, under the names of a manifest.
        cut: the piece that is meant, in seconds from the recording's start; an end of None is the
            recording's. None means all of it.
    """

    where: str
    audio: Path
    fields: dict[str, Any]
    cut: tuple[float, float | None] | None = None


def _lines(path: Path, skipped: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield place, first word and rest of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        skipped.append(f"{path}: not UTF-8: save it as UTF-8")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        first, *rest = line.strip().split(maxsplit=1) or [""]
        if first:
            yield f"{path}:{number}", first, rest[0] if rest else ""


def read_librispeech(files: Sequence[Path], skipped: list[str]) -> Iterator[Found]:
    """Yield the recordings that transcripts of LibriSpeech's layout name.

    Args:
        files: of the whole folder.
        skipped: gets a line for each row that cannot be taken.
    """
    known = {(path.parent, path.stem): path for path in files if path.suffix.lower() != ".txt"}
    for path in files:
        if not path.name.endswith(TRANSCRIPTS):
            continue
        for where, name, words in _lines(path, skipped):
            audio = known.get((path.parent, name))
            if audio is None:
                skipped.append(f"{where}: {name} is not beside it: add it, or drop the row")
                continue
            fields: dict[str, Any] = {"id": name, "text": words or None}
            speaker = _LIBRISPEECH_ID.fullmatch(name)
            if speaker is not None:
                fields["speaker"] = speaker[1]
            yield Found(where=where, audio=audio, fields=fields)


def read_kaldi(files: Sequence[Path], locate: Locate, skipped: list[str]) -> Iterator[Found]:
    """Yield the utterances of every Kaldi data folder.

    Args:
        files: of the whole folder.
        locate: finds a recording.
        skipped: gets a line for each entry that cannot be taken.
    """
    for scp in files:
        if scp.name == "wav.scp":
            yield from _kaldi_folder(scp, locate, skipped)


def _kaldi_folder(scp: Path, locate: Locate, skipped: list[str]) -> Iterator[Found]:
    beside = {
        name: {key: value for _, key, value in _lines(path, skipped)} if path.is_file() else {}
        for name in ("text", "utt2spk", "utt2lang")
        if (path := scp.parent / name)
    }

    def fields(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"id": name, "text": beside["text"].get(name) or None}
        for field, file in (("speaker", "utt2spk"), ("language", "utt2lang")):
            if beside[file].get(name):
                found[field] = beside[file][name]
        return found

    recordings: dict[str, tuple[str, Path]] = {}
    for where, name, wanted in _lines(scp, skipped):
        if wanted.rstrip().endswith("|"):
            skipped.append(f"{where}: {name} is a command, which is not run: write its result")
        elif re.search(r"\.ark:\d+$", wanted):
            skipped.append(f"{where}: {name} lies in an archive: copy it to a file of its own")
        elif (audio := locate(wanted, scp)) is None:
            skipped.append(f"{where}: {wanted} is not in the folder: add it, or drop the row")
        else:
            recordings[name] = where, audio
    segments = scp.parent / "segments"
    if not segments.is_file():
        for name, (where, audio) in recordings.items():
            yield Found(where=where, audio=audio, fields=fields(name))
        return
    for where, name, rest in _lines(segments, skipped):
        parts = rest.split()
        cut = _seconds(parts[1:3]) if len(parts) == 3 else None
        if cut is None:
            skipped.append(f"{where}: is not UTTERANCE RECORDING START END in seconds: mend it")
        elif parts[0] in recordings:
            yield Found(where=where, audio=recordings[parts[0]][1], fields=fields(name), cut=cut)
        else:
            skipped.append(f"{where}: recording {parts[0]} is not in {scp.name}: add it there")


def _seconds(values: Sequence[str]) -> tuple[float, float | None] | None:
    try:
        start, end = (float(each) for each in values)
    except ValueError:
        return None
    if not (math.isfinite(start) and math.isfinite(end)) or start < 0:
        return None
    if end == -1:  # Kaldi's mark for the recording's end
        return start, None
    return (start, end) if end > start else None


def common_voice_folders(files: Sequence[Path]) -> frozenset[Path]:
    """Return the folders that hold a release of Common Voice."""
    found = set()
    for path in files:
        if path.suffix.lower() != ".tsv" or not (path.parent / "clips").is_dir():
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.readline().strip("\ufeff\n\r").split("\t")
        if set(header) >= _COMMON_VOICE:
            found.add(path.parent)
    return frozenset(found)


def is_left_out(table: Path) -> bool:
    """Tell whether a table of a Common Voice release names clips that are not to be trusted."""
    return table.stem.lower() in _LEFT_OUT
