"""What a recogniser made of a run's replies: ``heard_replies.jsonl`` in the run's folder.

Version 1: one line of JSON for each reply, with ``v``, ``trial``, ``candidate``, ``utterance``,
``language``, ``spoken``, ``heard`` (null where there is no transcript), ``reason`` (null where the
recogniser did not fail), ``recogniser`` (``provider``, ``model``, ``profile``, ``via``). A later
line about the same trial replaces an earlier one. The file is made from the replies' audio and can
be made again; trials are never changed by it.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from harness.analysis.summary.intelligibility import HeardReply, recogniser_name
from harness.domain.reply import HeardAgain
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError

__all__ = ["HEARD_REPLIES", "append_heard", "read_heard", "with_heard"]

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
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def read_heard(run: Path) -> tuple[tuple[HeardReply, ...], Mapping[str, Any]]:
    """Return the replies heard by the recogniser that was used last, and that recogniser.

    Raises:
        ConfigurationError: the file is damaged before its last line, or of a newer version.
    """
    path = run / HEARD_REPLIES
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return (), {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    found: dict[str, HeardReply] = {}
    recogniser: Mapping[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            if document["v"] > VERSION:
                raise ConfigurationError(
                    f"{path}:{number}: format version {document['v']} is newer than {VERSION};"
                    " upgrade turnbench"
                )
            reply = HeardReply(**{name: document[name] for name in _FIELDS})
            used = document["recogniser"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # A kill may leave half of the last line.
            if number == len(lines):
                continue
            raise ConfigurationError(f"{path}:{number}: not a heard reply: {error}") from error
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
