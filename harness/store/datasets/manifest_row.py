"""One row of a manifest: its fields sorted, checked, and joined with the recording it names."""

import json
import math
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from harness.domain.utterance import (
    DEFAULT_LANGUAGE,
    DEFAULT_TOLERANCE_MS,
    Expectation,
    Timing,
    Utterance,
    is_expectation,
    is_language,
    is_sha256,
    is_timing,
    is_utterance_id,
)
from harness.errors import ConfigurationError
from harness.store.datasets.audio import Audio, load_audio, sha256_file
from harness.store.datasets.speech_bounds import (
    ESTIMATED_TOLERANCE_MS,
    SpeechBounds,
    estimate_bounds,
)
from harness.store.spelling import nearest

__all__ = ["ALIASES", "Row", "name_fields", "read_utterance", "shown"]

ALIASES: Final = {"license": "licence", "timing_tolerance_ms": "tolerance_ms"}
_FIELDS: Final = (
    "id", "audio", "text", "language", "speaker", "channel", "speech_start_s", "speech_end_s",
    "tolerance_ms", "timing", "licence", "sha256", "expect", "slots", "tags",
)  # fmt: skip
# Names that others use for our fields; taken for a mistake only where ours is missing.
_SYNONYMS: Final = {
    "audio_filepath": "audio", "audio_path": "audio", "file": "audio", "filename": "audio",
    "file_name": "audio", "path": "audio", "wav": "audio", "transcript": "text",
    "transcription": "text", "sentence": "text", "lang": "language", "locale": "language",
    "speech_end_ms": "speech_end_s", "speech_start_ms": "speech_start_s",
    "utterance_id": "id", "utt_id": "id",
}  # fmt: skip
# Common descriptions that happen to be spelt like one of our fields.
_DESCRIPTIONS: Final = frozenset({"channels", "test", "next", "ids", "spoken"})
# Taken from the recording, whatever the manifest says; `datasets check` compares them.
_MEASURED: Final = "duration_s"
# Manifests round their times to the millisecond.
_ROUNDING_S: Final = 0.000_6


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of a manifest while it is read.

    Attributes:
        where: the manifest and the line.
        values: our fields as given, and the tags.
        problems: one line for each mistake in what is written.
        unreadable: one line for each reason why the recording cannot be played.
    """

    where: str
    values: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def refuse(self, name: str, mistake: str) -> None:
        """Note a mistake in a field; ``mistake`` ends with the mend."""
        self.problems.append(f"{self.where}: {name} {mistake}")

    def string(self, name: str) -> str | None:
        """Return a field's text; null and absent are None."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(name, f"is {shown(value)}: give a string")
            return None
        return value

    def filled(self, name: str) -> str | None:
        """Return a field's text; a blank one is None too."""
        value = self.string(name)
        return value if value is not None and value.strip() else None

    def number(self, name: str) -> float | None:
        """Return a field's number, finite and not negative; null and absent are None."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, f"is {shown(value)}: give a number")
            return None
        if abs(value) > sys.float_info.max or not math.isfinite(value) or value < 0:
            self.refuse(name, f"is {shown(value)}: give a number that is not negative")
            return None
        return float(value)


def name_fields(row: Row, raw: dict[str, Any]) -> None:
    """Sort a row's fields into ours and tags; refuse those that look misspelt."""
    tags: dict[str, str] = {}
    given = {ALIASES.get(key, key) for key in raw}
    for key, value in raw.items():
        name = ALIASES.get(key, key)
        if name in _FIELDS:
            if name != key and name in raw and raw[name] != value:
                row.refuse(key, f"contradicts {name}: give one of them")
            row.values[name] = value
            continue
        if key == _MEASURED:
            continue
        guess = _misspelt(key)
        if guess is not None and guess not in given:
            row.refuse(key, f"is unknown: did you mean {guess}?")
        elif value is not None:
            tags[key] = _as_text(value)
    own = row.values.get("tags")
    if own is not None:
        if isinstance(own, dict):
            tags.update({key: _as_text(value) for key, value in own.items() if value is not None})
        else:
            row.refuse("tags", f"is {shown(own)}: give an object of strings")
    if not tags.get("text_norm", "").strip():
        tags.pop("text_norm", None)
    row.values["tags"] = tags


@lru_cache(maxsize=256)  # a manifest's rows have the same keys
def _misspelt(key: str) -> str | None:
    plain = key.strip().lower().replace("-", "_").replace(" ", "_")
    if key in _DESCRIPTIONS:
        return None
    if plain in _FIELDS:
        return plain
    return _SYNONYMS.get(plain) or nearest(plain, (*_FIELDS, *ALIASES))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    """Return a value as JSON, cut to 40 characters, for an error's line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}…"


def read_utterance(
    row: Row, folder: Path, seen: dict[str, str], *, estimate_missing: bool
) -> Utterance | None:
    """Return the utterance of a row, or None where ``row`` has noted why there is none.

    Args:
        row: gets a line for each mistake.
        folder: audio paths are relative to it.
        seen: ids of earlier rows and their places; gets this one.
        estimate_missing: find the speech bounds that are not given, by energy.
    """
    utterance_id = _read_id(row, seen)
    language = row.filled("language") or DEFAULT_LANGUAGE
    if not is_language(language):
        mend = "write en-US, not en_US" if "_" in language else 'give one such as "en" or "pt-BR"'
        row.refuse("language", f"{shown(language)} is no BCP 47 tag: {mend}")
    timing = row.values.get("timing")
    if timing is not None and not is_timing(timing):
        row.refuse("timing", f'is {shown(timing)}: give "given" or "estimated"')
    channel = _read_channel(row)
    start, end = row.number("speech_start_s"), row.number("speech_end_s")
    tolerance = row.number("tolerance_ms")
    slots = _read_slots(row)
    text, expect = _read_expectation(row, slots, has_bounds=start is not None or end is not None)
    speaker, licence = row.filled("speaker"), row.filled("licence")
    audio_name, loaded = _read_audio(row, folder, channel)
    if loaded is None:
        return None
    audio, sha256 = loaded
    start = _within(row, "speech_start_s", start, audio.duration_s)
    end = _within(row, "speech_end_s", end, audio.duration_s)
    if start is not None and end is not None and end <= start:
        row.refuse(
            "speech_end_s",
            f"{end:g} is not after speech_start_s {start:g}: give the end in seconds",
        )
    if row.problems or utterance_id is None or audio_name is None:
        return None
    known: Timing = timing if is_timing(timing) else "given"
    default_tolerance = ESTIMATED_TOLERANCE_MS if known == "estimated" else DEFAULT_TOLERANCE_MS
    if expect == "speech" and estimate_missing and (start is None or end is None):
        bounds = estimate_bounds(audio.samples, audio.sample_rate)
        if not isinstance(bounds, SpeechBounds):
            row.unreadable.append(
                f"{row.where}: audio {audio_name} has no speech that can be told from noise"
                f" ({bounds.reason}): give speech_start_s and speech_end_s, or expect none"
            )
            return None
        start = bounds.start_s if start is None and bounds.start_s < (end or math.inf) else start
        end = bounds.end_s if end is None and bounds.end_s > (start or 0.0) else end
        known, default_tolerance = "estimated", ESTIMATED_TOLERANCE_MS
    return Utterance(
        id=utterance_id,
        audio=audio_name,
        text=text,
        language=language,
        speaker=speaker,
        channel=channel,
        duration_s=audio.duration_s,
        speech_start_s=start,
        speech_end_s=end,
        tolerance_ms=default_tolerance if tolerance is None else tolerance,
        timing=known,
        licence=licence,
        sha256=sha256,
        expect=expect,
        slots=slots,
        tags=row.values["tags"],
    )


def _read_id(row: Row, seen: dict[str, str]) -> str | None:
    value = row.values.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        row.refuse("id", "is missing: give every utterance an id of its own")
        return None
    if not isinstance(value, str) or not is_utterance_id(value):
        row.refuse("id", f"is {shown(value)}: give a name without slashes or control characters")
        return None
    if value in seen:
        row.refuse("id", f"{value} is that of {seen[value]} too: give each its own")
        return None
    seen[value] = f"line {row.where.rpartition(':')[2]}"
    return value


def _read_channel(row: Row) -> int | None:
    value = row.values.get("channel")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        row.refuse("channel", f"is {shown(value)}: give a whole number, from 0")
        return None
    return value


def _read_slots(row: Row) -> dict[str, str] | None:
    value = row.values.get("slots")
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or any(
        not isinstance(slot, str | int | float) for slot in value.values()
    ):
        row.refuse("slots", f"is {shown(value)}: give an object of slot names and their words")
        return None
    return {name: _as_text(slot) for name, slot in value.items()}


def _read_expectation(
    row: Row, slots: dict[str, str] | None, *, has_bounds: bool
) -> tuple[str | None, Expectation]:
    """Return the text and what is expected, by the rules on top of this module."""
    text, expect = row.filled("text"), row.values.get("expect")
    reference = text or row.values["tags"].get("text_norm")
    if expect is not None and not is_expectation(expect):
        row.refuse("expect", f'is {shown(expect)}: give "speech" or "none"')
        return text, "speech"
    if expect == "none":
        if reference is not None or slots is not None:
            row.refuse("expect", '"none" contradicts the text or slots: give one or the other')
        if has_bounds:
            row.refuse("expect", '"none" contradicts the speech bounds: give one or the other')
        return None, "none"
    if reference is not None or slots is not None:
        return text, "speech"
    is_empty = isinstance(row.values.get("text"), str)
    if is_empty and (has_bounds or expect == "speech"):
        row.refuse("text", "is empty, but speech is there: give the words, or null if unknown")
    elif is_empty:
        return None, "none"
    elif expect is None and "text" not in row.values:
        row.refuse(
            "text",
            "is missing, and so are slots and expect:"
            ' give the words (null if unknown), or "expect": "none"',
        )
    return None, "speech"


def _leads_out(path: Path, folder: Path) -> bool:
    """Tell whether a recording lies elsewhere, be it by a link: a dataset may be a stranger's."""
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # A name that no file can have: whoever opens it tells.
        return False


def _read_audio(
    row: Row, folder: Path, channel: int | None
) -> tuple[str | None, tuple[Audio, str] | None]:
    name = row.filled("audio")
    if name is None:
        if not any(problem.startswith(f"{row.where}: audio ") for problem in row.problems):
            row.refuse("audio", "is missing: give the recording's path, relative to the manifest")
        return None, None
    path = folder / name
    if _leads_out(path, folder):
        row.refuse("audio", f"{shown(name)} leads out of the manifest's folder: put it inside")
        return None, None
    claimed = row.filled("sha256")
    if claimed is not None and not is_sha256(claimed.lower()):
        row.refuse("sha256", f"is {shown(claimed)}: give 64 hexadecimal digits")
        claimed = None
    try:
        audio = load_audio(path, channel=channel)
        actual = sha256_file(path)
    except ConfigurationError as error:
        row.unreadable.extend(f"{row.where}: audio {problem}" for problem in error.problems)
        return name, None
    except OSError as error:
        row.unreadable.append(
            f"{row.where}: audio {path}: cannot be read ({error.strerror}): check its permissions"
        )
        return name, None
    if claimed is not None and claimed.lower() != actual:
        row.refuse(
            "sha256",
            f"{claimed[:12]}… is not that of {name} ({actual[:12]}…):"
            " restore the recording, or give its new hash",
        )
    return name, (audio, actual)


def _within(row: Row, name: str, value: float | None, duration_s: float) -> float | None:
    if value is None or value <= duration_s:
        return value
    if value <= duration_s + _ROUNDING_S:
        return duration_s
    row.refuse(
        name,
        f"{value:g} lies outside the file ({duration_s:.3g} s):"
        " give an instant within the recording, in seconds",
    )
    return None
