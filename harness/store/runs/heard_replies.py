"""What a recogniser made of a run's replies: ``heard_replies.jsonl`` in the run's folder.

Version 1: one line of JSON for each reply, with ``v``, ``trial``, ``candidate``, ``utterance``,
``language``, ``spoken``, ``heard`` (null where there is no transcript), ``reason`` (null where the
recogniser did not fail), ``recogniser`` (``provider``, ``model``, ``profile``, ``via``). A later
line about the same trial replaces an earlier one. The file is made from the replies' audio and can
be made again; trials are never changed by it.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness.analysis.summary.intelligibility import HeardReply, recogniser_name
from harness.domain.reply import HeardAgain
from harness.domain.seal import is_sealed, seal, unbroken
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.store.files import append_line, append_to, cut_torn_line, read_inside
from harness.store.secrecy import mask_json

__all__ = ["HEARD_REPLIES", "append_heard", "damaged_heard", "read_heard", "with_heard"]

HEARD_REPLIES: Final = "heard_replies.jsonl"
VERSION: Final = 1
_FIELDS: Final = ("trial", "candidate", "utterance", "language", "spoken", "heard", "reason")


def append_heard(run: Path, reply: HeardReply, recogniser: Mapping[str, Any]) -> None:
    """Add a reply to a run's file; on the disk when this returns.

    Raises:
        ConfigurationError: it cannot be written.
    """
    document = {
        "v": VERSION,
        **{name: getattr(reply, name) for name in _FIELDS},
        "recogniser": dict(recogniser),
    }
    path = run / HEARD_REPLIES
    line = seal(mask_json(json.dumps(document, ensure_ascii=False, separators=(",", ":"))))
    try:
        descriptor = append_to(path)
        try:
            cut_torn_line(descriptor)
            append_line(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _lines(run: Path) -> Iterator[tuple[int, HeardReply | None, Mapping[str, Any]]]:
    """Yield each line's number, its reply and its recogniser; no reply where it is damaged."""
    path = run / HEARD_REPLIES
    try:
        lines = read_inside(run, HEARD_REPLIES).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    sealed = False
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        whole = unbroken(line) and (is_sealed(line) or not sealed)
        sealed = sealed or is_sealed(line)
        reply: HeardReply | None = None
        used: Mapping[str, Any] = {}
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            document = json.loads(line) if whole else {}
            if whole and document["v"] > VERSION:
                raise ConfigurationError(
                    f"{path}:{number}: format version {document['v']} is newer than {VERSION};"
                    " upgrade turnbench"
                )
            used = dict(document["recogniser"])
            reply = HeardReply(**{name: document[name] for name in _FIELDS})
        yield number, reply, used


def damaged_heard(run: Path) -> tuple[int, ...]:
    """Return the numbers of the lines that are damaged.

    Raises:
        ConfigurationError: as :func:`read_heard`.
    """
    return tuple(number for number, reply, _ in _lines(run) if reply is None)


def read_heard(run: Path) -> tuple[tuple[HeardReply, ...], Mapping[str, Any]]:
    """Return the replies heard by the recogniser that was used last, and that recogniser.

    A damaged line is left out: its reply counts as not heard.

    Raises:
        ConfigurationError: the file cannot be read, or is of a newer version.
    """
    found: dict[str, HeardReply] = {}
    recogniser: Mapping[str, Any] = {}
    for _, reply, used in _lines(run):
        if reply is None:
            continue
        if used != recogniser:
            # Figures of two recognisers are never pooled.
            found, recogniser = {}, used
        found[reply.trial] = reply
    return tuple(found.values()), recogniser


def with_heard(run: Path, trials: Iterable[Trial | FailedTrial]) -> tuple[Trial | FailedTrial, ...]:
    """Return a run's trials, each reply with what the recogniser that was used last made of it.

    Raises:
        ConfigurationError: as :func:`read_heard`.
    """
    heard, used = read_heard(run)
    if not heard:
        return tuple(trials)
    name = recogniser_name(used)
    known = {each.trial: each for each in heard}
    return tuple(_joined(trial, known.get(trial.key.id), name) for trial in trials)


def _joined(
    trial: Trial | FailedTrial, heard: HeardReply | None, recogniser: str
) -> Trial | FailedTrial:
    if heard is None or not trial.turns or trial.turns[0].reply is None:
        return trial
    again = HeardAgain(
        spoken=heard.spoken, heard=heard.heard, recogniser=recogniser, reason=heard.reason
    )
    first, *rest = trial.turns
    reply = dataclasses.replace(trial.turns[0].reply, again=again)
    return dataclasses.replace(trial, turns=(dataclasses.replace(first, reply=reply), *rest))
