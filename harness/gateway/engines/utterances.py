"""The utterances whose text the gateway's oracle knows, from a dataset's manifest (JSON Lines).

Of each line `id`, `audio` (relative to the manifest), `text`, `speech_start_s` and `speech_end_s`
matter here; a line without a text, or with an empty one, is an utterance in which the oracle hears
nothing.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from harness.errors import ConfigurationError
from harness.gateway.engines.pcm import HEARD_RATE, Samples, read_mono

__all__ = ["KnownUtterance", "read_utterances"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownUtterance:
    """One recording and its text.

    Attributes:
        id: its name in the manifest.
        text: what is said; empty for an utterance without speech.
        samples: the recording at 16 kHz.
        speech: the first and the last sample of speech, as the manifest says; the whole recording
            where it does not.
    """

    id: str
    text: str
    samples: Samples
    speech: tuple[int, int]


def read_utterances(manifest: Path) -> tuple[KnownUtterance, ...]:
    """Read a manifest and its recordings.

    Raises:
        ConfigurationError: with all mistakes of the manifest, each naming its line.
    """
    try:
        lines = manifest.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{manifest}: cannot be read: {error}") from error
    problems: list[str] = []
    utterances: list[KnownUtterance] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{manifest}:{number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            problems.append(f"{where}: not JSON: {error}")
            continue
        if not isinstance(record, dict):
            problems.append(f"{where}: not a JSON object")
            continue
        identity, audio = record.get("id"), record.get("audio")
        text = record.get("text")
        if not isinstance(identity, str) or not isinstance(audio, str):
            problems.append(f"{where}: id and audio must be strings")
            continue
        if text is not None and not isinstance(text, str):
            problems.append(f"{where}: text must be a string")
            continue
        try:
            samples = read_mono(manifest.parent / audio, HEARD_RATE)
        except (OSError, sf.SoundFileError) as error:
            problems.append(f"{where}: audio {audio}: cannot be read: {error}")
            continue
        spoken = "" if text is None or record.get("expect") == "none" else text
        utterances.append(
            KnownUtterance(
                id=identity, text=spoken, samples=samples, speech=_bounds(record, len(samples))
            )
        )
    if problems:
        raise ConfigurationError(problems)
    return tuple(utterances)


def _bounds(record: dict[str, Any], length: int) -> tuple[int, int]:
    start, end = record.get("speech_start_s"), record.get("speech_end_s")
    first = round(start * HEARD_RATE) if isinstance(start, int | float) else 0
    last = round(end * HEARD_RATE) if isinstance(end, int | float) else length
    return max(0, min(first, length)), max(0, min(last, length))
