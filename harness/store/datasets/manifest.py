"""Datasets on disk: a folder with ``manifest.jsonl`` and recordings, and perhaps ``dataset.toml``.

The manifest holds one JSON object a line:

* ``id`` and ``audio`` (a path relative to the manifest) are required.
* One of ``text``, ``slots`` and ``expect`` says what was spoken. ``"text": null`` says that speech
  is there whose words nobody wrote down; ``"expect": "none"`` says that nobody speaks. An empty
  text without speech bounds means the latter.
* ``language``, ``speaker``, ``channel``, ``speech_start_s``, ``speech_end_s``, ``tolerance_ms``,
  ``timing``, ``licence`` and ``sha256`` are optional; null means absent.
* ``license`` and ``timing_tolerance_ms`` are read as ``licence`` and ``tolerance_ms``. All other
  fields are kept as tags, of which ``text_norm`` is the reference for word errors. A field that
  looks like a misspelt one of ours is refused.

``dataset.toml`` names the whole: ``name``, ``version``, ``synthetic``, ``licence``,
``description``, ``recipe``.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.domain.utterance import Dataset, Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.manifest_row import ALIASES, Row, name_fields, read_utterance, shown
from harness.store.spelling import nearest

__all__ = ["HEADER", "MANIFEST", "audio_path", "manifest_path", "read_dataset"]

MANIFEST: Final = "manifest.jsonl"
HEADER: Final = "dataset.toml"


def manifest_path(path: Path) -> Path:
    """Return the manifest that ``path`` names: the file itself, or the folder's own.

    Raises:
        ConfigurationError: there is none.
    """
    if path.is_dir():
        manifest = path / MANIFEST
        if manifest.is_file():
            return manifest
        raise ConfigurationError(
            f"{path}: the folder has no {MANIFEST}: make one with `turnbench datasets import`"
        )
    if path.is_file():
        return path
    raise ConfigurationError(f"{path}: no such dataset: give a folder or a manifest file")


def audio_path(dataset: Dataset, utterance: Utterance) -> Path:
    """Return where the recording of an utterance of this dataset lies."""
    return Path(dataset.path).parent / utterance.audio


def read_dataset(
    path: Path, *, skip_unreadable: bool = False, estimate_missing: bool = True
) -> Dataset:
    """Read a dataset, and decode every recording to see that it can be played.

    Args:
        path: a folder with a ``manifest.jsonl``, or a manifest file.
        skip_unreadable: leave out the rows whose audio cannot be played instead of raising;
            ``Dataset.skipped`` then has a line for each. All other mistakes are raised still.
        estimate_missing: find the speech bounds that the manifest leaves out, by energy, and mark
            them as estimated.

    Returns:
        The dataset. ``duration_s`` and ``sha256`` of its utterances are those of the files found.

    Raises:
        ConfigurationError: with one line for each mistake in the manifest and its header, naming
            file and line, field and mend.
    """
    manifest = manifest_path(path)
    problems: list[str] = []
    header = _read_header(manifest, problems)
    rows, raw = _read_rows(manifest, problems)
    seen: dict[str, str] = {}
    utterances: list[Utterance] = []
    skipped: list[str] = []
    for row in rows:
        utterance = read_utterance(row, manifest.parent, seen, estimate_missing=estimate_missing)
        problems.extend(row.problems)
        if skip_unreadable:
            skipped.extend(row.unreadable)
        else:
            problems.extend(row.unreadable)
        if utterance is not None:
            utterances.append(utterance)
    if not problems and not utterances:
        reason = "no row can be played" if rows else "the manifest has no rows"
        problems.append(f"{manifest}: {reason}: add an utterance")
        problems.extend(skipped)
    if problems:
        raise ConfigurationError(problems)
    digest = hashlib.sha256(raw)
    for utterance in utterances:
        digest.update(f"\n{utterance.id}\t{utterance.sha256}".encode())
    return Dataset(
        name=header.get("name", _default_name(manifest)),
        version=header.get("version", "unversioned"),
        path=str(manifest),
        sha256=digest.hexdigest(),
        synthetic=header.get("synthetic", False),
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        licence=header.get("licence"),
        description=header.get("description"),
        recipe=header.get("recipe"),
    )


def _default_name(manifest: Path) -> str:
    folder = manifest.resolve().parent.name or "dataset"
    if manifest.name == MANIFEST:
        return folder
    return f"{folder}-{manifest.stem.removeprefix('manifest_').removeprefix('manifest-')}"


_HEADER_TYPES: Final[Mapping[str, type]] = {
    "name": str, "version": str, "synthetic": bool, "licence": str, "description": str,
    "recipe": str,
}  # fmt: skip


def _read_header(manifest: Path, problems: list[str]) -> dict[str, Any]:
    path = manifest.parent / HEADER
    if not path.is_file():
        return {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        problems.append(f"{path}: not TOML ({error}): mend that line")
        return {}
    header: dict[str, Any] = {}
    for key, value in raw.items():
        name = ALIASES.get(key, key)
        wanted = _HEADER_TYPES.get(name)
        if wanted is None:
            known = ", ".join(_HEADER_TYPES)
            guess = nearest(key, tuple(_HEADER_TYPES))
            mend = f"did you mean {guess}?" if guess else f"known keys are {known}"
            problems.append(f"{path}: {key} is no key of a dataset: {mend}")
        elif type(value) is not wanted or (isinstance(value, str) and not value.strip()):
            kind = "true or false" if wanted is bool else "a string that is not empty"
            problems.append(f"{path}: {key} is {shown(value)}: give {kind}")
        else:
            header[name] = value
    return header


def _read_rows(manifest: Path, problems: list[str]) -> tuple[list[Row], bytes]:
    raw = manifest.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.append(f"{manifest}:{line}: not UTF-8: save the manifest as UTF-8")
        return [], raw
    rows: list[Row] = []
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    for number, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        where = f"{manifest}:{number}"
        row = Row(where=where, values={})
        try:
            value = json.loads(written, object_pairs_hook=_unrepeated, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            problems.append(f"{where}: not JSON ({reason}): give one object on each line")
            continue
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problems.append(f"{where}: half a character (a lone surrogate): write the whole one")
            continue
        if not isinstance(value, dict):
            problems.append(f"{where}: {shown(value)} is no object: give one object on each line")
            continue
        name_fields(row, value)
        rows.append(row)
    return rows, raw


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated} is given twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
