"""Utterances and datasets: recorded user speech with its ground truth.

An utterance says what was spoken (text, slots, or that nothing was), and when: the first and the
last audible speech sample, in seconds from the start of the recording. An unknown bound is None,
never 0.0.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeGuard

__all__ = [
    "DEFAULT_LANGUAGE",
    "DEFAULT_TOLERANCE_MS",
    "Dataset",
    "Expectation",
    "Timing",
    "Utterance",
    "is_expectation",
    "is_language",
    "is_sha256",
    "is_timing",
    "is_utterance_id",
]

Expectation = Literal["speech", "none"]
Timing = Literal["given", "estimated"]

DEFAULT_LANGUAGE = "en"
DEFAULT_TOLERANCE_MS = 30.0
NANOSECONDS = 1_000_000_000

# RFC 5646's shape, without its registry: language, then script, region, variants, extensions.
# Tags joined by "+" mark a recording that changes language.
_TAG = r"(?:[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*|x(?:-[A-Za-z0-9]{1,8})+)"
_LANGUAGE = re.compile(rf"{_TAG}(?:\+{_TAG})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# An id names files and links of a run, so it holds nothing that a path or a shell would read.
_ID = re.compile(r"[^\s/\\\x00-\x1f\x7f](?:[^/\\\x00-\x1f\x7f]*[^\s/\\\x00-\x1f\x7f])?")


def is_language(value: str) -> bool:
    """Tell whether ``value`` has the form of a BCP 47 tag, or of several joined by ``+``."""
    return _LANGUAGE.fullmatch(value) is not None


def is_sha256(value: str) -> bool:
    """Tell whether ``value`` is a SHA-256 in 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(value) is not None


def is_utterance_id(value: str) -> bool:
    """Tell whether ``value`` can name an utterance, and so a file.

    That is 1 to 160 characters, no slash, no control character, no blank at an end, no dot alone.
    """
    return len(value) <= 160 and _ID.fullmatch(value) is not None and value not in {".", ".."}


def is_expectation(value: object) -> TypeGuard[Expectation]:
    """Tell whether ``value`` is "speech" or "none"."""
    return value in ("speech", "none")


def is_timing(value: object) -> TypeGuard[Timing]:
    """Tell whether ``value`` is "given" or "estimated"."""
    return value in ("given", "estimated")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One recorded piece of user speech with its ground truth.

    Attributes:
        id: names the utterance within its dataset, and the files that a run keeps for it.
        audio: the recording's path, relative to the folder of the manifest, with forward slashes.
        text: the words as the source writes them; None where nobody wrote them down (then word
            errors are missing, not zero).
        language: BCP 47 tag, or several joined by ``+`` where the speaker changes language.
        speaker: who speaks, where known.
        channel: the channel that holds the speech, from 0; None takes the mean of all.
        duration_s: length of the recording in seconds, as decoded.
        speech_start_s: instant of the first audible speech sample, from the recording's start.
        speech_end_s: instant of the last audible speech sample, released stops and final
            fricatives included, reverberation left out as far as possible.
        tolerance_ms: how far the true start or end may lie from the value given.
        timing: "given" by the manifest (or by the recipe that made the audio), or "estimated" from
            the signal's energy.
        licence: licence of the recording, where known.
        sha256: of the audio file, in hexadecimal.
        expect: "speech", or "none" for silence and noise, where any transcript is an error.
        slots: values that the reply has to understand, by name, instead of or beside a text.
        tags: all that the manifest says besides, as text.
    """

    id: str
    audio: str
    text: str | None = None
    language: str = DEFAULT_LANGUAGE
    speaker: str | None = None
    channel: int | None = None
    duration_s: float | None = None
    speech_start_s: float | None = None
    speech_end_s: float | None = None
    tolerance_ms: float = DEFAULT_TOLERANCE_MS
    timing: Timing = "given"
    licence: str | None = None
    sha256: str | None = None
    expect: Expectation = "speech"
    # Mappings are copied when the value is made; left out of the hash because they have none.
    slots: Mapping[str, str] | None = field(default=None, hash=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse an utterance that contradicts itself."""
        _require(is_utterance_id(self.id), f"{self.id!r} cannot name an utterance")
        _require(bool(self.audio.strip()), "audio must name a file")
        _require(is_language(self.language), f"{self.language!r} is no language tag")
        _require(self.channel is None or self.channel >= 0, "channel counts from 0")
        _require(
            self.duration_s is None or (math.isfinite(self.duration_s) and self.duration_s > 0),
            "duration_s must be positive",
        )
        _require(
            math.isfinite(self.tolerance_ms) and self.tolerance_ms >= 0,
            "tolerance_ms must not be negative",
        )
        _require(is_timing(self.timing), 'timing must be "given" or "estimated"')
        _require(is_expectation(self.expect), 'expect must be "speech" or "none"')
        _require(self.sha256 is None or is_sha256(self.sha256), "sha256 must be 64 hex digits")
        _require(self.text is None or bool(self.text.strip()), "text must not be blank")
        _require(self.slots is None or bool(self.slots), "slots must not be empty")
        self._check_bounds()
        if self.expect == "none":
            _require(
                self.text is None and self.slots is None, 'expect "none" leaves no text or slots'
            )
            _require(
                self.speech_start_s is None and self.speech_end_s is None,
                'expect "none" leaves no speech bounds',
            )
        if self.slots is not None:
            object.__setattr__(self, "slots", dict(self.slots))
        object.__setattr__(self, "tags", dict(self.tags))

    def _check_bounds(self) -> None:
        start, end, duration = self.speech_start_s, self.speech_end_s, self.duration_s
        for name, value in (("speech_start_s", start), ("speech_end_s", end)):
            if value is None:
                continue
            _require(math.isfinite(value) and value >= 0, f"{name} must not be negative")
            _require(duration is None or value <= duration, f"{name} lies outside the recording")
        if start is not None and end is not None:
            _require(start < end, "speech_end_s must lie after speech_start_s")

    @property
    def reference(self) -> str | None:
        """The words that a transcript is scored against: the tag ``text_norm``, else ``text``."""
        return self.tags.get("text_norm", self.text)

    @property
    def languages(self) -> tuple[str, ...]:
        """The language tags, one for most recordings."""
        return tuple(self.language.split("+"))

    @property
    def speech_start_ns(self) -> int | None:
        """The first audible speech sample in nanoseconds from the recording's start."""
        return None if self.speech_start_s is None else round(self.speech_start_s * NANOSECONDS)

    @property
    def speech_end_ns(self) -> int | None:
        """The last audible speech sample in nanoseconds from the recording's start."""
        return None if self.speech_end_s is None else round(self.speech_end_s * NANOSECONDS)

    @property
    def tolerance_ns(self) -> int:
        """The tolerance of the bounds in nanoseconds."""
        return round(self.tolerance_ms * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A manifest of utterances and their audio.

    Attributes:
        name: what reports call it.
        version: changes whenever the recordings or their ground truth change.
        path: the manifest file; audio paths are relative to its folder.
        sha256: over the manifest and the audio it names; two runs over equal hashes heard the same.
        synthetic: whether the speech was made by speech synthesis.
        utterances: in the manifest's order.
        skipped: one line for each row that was left out because its audio cannot be read.
        licence: of the whole, where stated.
        description: in a sentence, where stated.
        recipe: how the recordings were made, where stated.
    """

    name: str
    version: str
    path: str
    sha256: str
    utterances: tuple[Utterance, ...]
    synthetic: bool = False
    skipped: tuple[str, ...] = ()
    licence: str | None = None
    description: str | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        """Refuse a dataset without a name, a hash or utterances, or with a repeated id."""
        _require(bool(self.name.strip()), "a dataset needs a name")
        _require(bool(self.version.strip()), "a dataset needs a version")
        _require(is_sha256(self.sha256), "sha256 must be 64 hex digits")
        _require(bool(self.utterances), "a dataset needs an utterance")
        counts = Counter(utterance.id for utterance in self.utterances)
        repeated = sorted(key for key, count in counts.items() if count > 1)
        _require(not repeated, f"repeated utterance ids: {', '.join(repeated)}")

    @property
    def duration_s(self) -> float | None:
        """Total length of the recordings in seconds; None where one is unknown."""
        total = 0.0
        for utterance in self.utterances:
            if utterance.duration_s is None:
                return None
            total += utterance.duration_s
        return total

    def utterance(self, utterance_id: str) -> Utterance:
        """Return the utterance of that id.

        Raises:
            KeyError: no utterance has it.
        """
        for utterance in self.utterances:
            if utterance.id == utterance_id:
                return utterance
        raise KeyError(utterance_id)
