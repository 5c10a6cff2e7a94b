"""The oracle recogniser: knows the text of the gateway's utterances and errs at a stated rate.

It finds the recording that the audio came from, takes the words that lie within the audio, and
edits them with a seeded generator. The truth keeps what it took the audio for and each edit, so a
word error rate measured by the harness can be checked against what was really done to the words.
"""

import asyncio
import bisect
import json
import random
import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from harness.gateway.engines.fingerprint import ExactIndex, Match
from harness.gateway.engines.pcm import FLOOR_DBFS, HEARD_RATE, Samples, window_dbfs
from harness.gateway.engines.recogniser import Hearing, Recognition
from harness.gateway.engines.utterances import KnownUtterance
from harness.gateway.engines.worker import Worker, WorkerDied
from harness.gateway.profiles.distributions import Draws

__all__ = ["Corruption", "Oracle", "OracleSession", "corrupt", "word_places"]

_WINDOW = HEARD_RATE // 100
_EDGE = HEARD_RATE // 20
# A second of audio takes up to 0.7 ms to look up, on the event loop.
_EXACT_TAIL = 3 * HEARD_RATE
_STRANGE_WORDS: Final = (
    "about",
    "banana",
    "corner",
    "during",
    "eleven",
    "further",
    "gravel",
    "harbour",
    "inside",
    "jacket",
    "kettle",
    "lemon",
    "marble",
    "never",
    "orchard",
    "paper",
    "quiet",
    "river",
    "saddle",
    "timber",
    "under",
    "velvet",
    "window",
    "yellow",
)
# Audio that is not bit for bit a recording's is followed from this length and likeness on.
_FOLLOWED_BYTES = HEARD_RATE * 2 * 6 // 10
_SURE = 0.8
# Shares of substitutions, deletions and insertions among the errors of good recognisers.
_SUBSTITUTIONS = 0.6
_DELETIONS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """A text after the oracle's errors.

    Attributes:
        text: the words that are left and those that were put in.
        substitutions, deletions, insertions: the edits made. The smallest number of edits that
            explains the text can be lower: a deletion beside an insertion reads as a substitution.
    """

    text: str
    substitutions: int
    deletions: int
    insertions: int


def corrupt(text: str, word_error_rate: float, generator: random.Random) -> Corruption:
    """Edit each word with the given probability: 60 % substituted, 25 % deleted, else one inserted.

    The expected number of edits is the rate times the number of words.
    """
    words: list[str] = []
    counts = [0, 0, 0]
    for word in text.split():
        if generator.random() >= word_error_rate:
            words.append(word)
            continue
        position = generator.random()
        strange = generator.choice(_STRANGE_WORDS)
        if strange == re.sub(r"\W", "", word.lower()):
            strange = "zinc"
        if position < _SUBSTITUTIONS:
            counts[0] += 1
            words.append(strange)
        elif position < _SUBSTITUTIONS + _DELETIONS:
            counts[1] += 1
        else:
            counts[2] += 1
            words.extend((word, strange))
    return Corruption(
        text=" ".join(words), substitutions=counts[0], deletions=counts[1], insertions=counts[2]
    )


def word_places(known: KnownUtterance) -> tuple[tuple[str, int, int], ...]:
    """Return each word with the sample where it is taken to begin and to end.

    Loud time within the speech is shared out by the number of letters: a guess that is good enough
    to cut a text where a recording was cut, and to let interims grow.
    """
    words = known.text.split()
    first, last = known.speech
    levels = window_dbfs(known.samples[first:last], _WINDOW)
    if not words or not len(levels):
        return ()
    floor = max(FLOOR_DBFS, float(levels.max()) - 35.0)
    voiced = np.flatnonzero(levels > floor)
    if not len(voiced):
        return ()
    weights = np.array([len(word) + 1 for word in words], dtype=np.float64)
    ends = np.cumsum(weights) / weights.sum() * len(voiced)
    places = []
    start = first + int(voiced[0]) * _WINDOW
    for word, end in zip(words, ends, strict=True):
        window = int(voiced[max(0, min(round(end), len(voiced)) - 1)])
        stop = first + (window + 1) * _WINDOW
        places.append((word, start, stop))
        start = stop
    return tuple(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """How far a recording has been heard: its number, how many words, up to which sample."""

    utterance: int
    words: int
    offset: int
    sample: int


def _middle(place: tuple[str, int, int]) -> int:
    return (place[1] + place[2]) // 2


class Oracle:
    """What all sessions share: the known utterances and their indices.

    Args:
        utterances: the known utterances; none of two is told from the other by its text.
        worker: the process that correlates audio which is not bit for bit a recording's; None to
            know such audio never.
    """

    def __init__(self, utterances: tuple[KnownUtterance, ...], worker: Worker | None) -> None:
        self.utterances = utterances
        self._exact = ExactIndex([utterance.samples for utterance in utterances])
        self._worker = worker
        self._places = [word_places(known) for known in utterances]

    async def start(self) -> None:
        """Wait until the worker is ready."""
        if self._worker is not None:
            await self._worker.ask({"op": "find"})

    async def stop(self) -> None:
        """End the worker."""
        if self._worker is not None:
            await self._worker.stop()

    def find_exact(self, samples: Samples) -> Match | None:
        """Return where bit-exact audio belongs, judged by its last seconds, or None."""
        skipped = max(0, len(samples) - _EXACT_TAIL)
        match = self._exact.find(samples[skipped:])
        return None if match is None else replace(match, offset=match.offset - skipped)

    async def find(self, pcm: bytes) -> Match | None:
        """Return where audio belongs, or None."""
        samples = np.frombuffer(pcm, dtype="<i2")
        match = self.find_exact(samples)
        if match is not None or self._worker is None:
            return match
        try:
            answer, _ = await self._worker.ask({"op": "find"}, pcm)
        except (WorkerDied, OSError):
            return None
        if answer["utterance"] is None:
            return None
        return Match(
            utterance=answer["utterance"],
            offset=answer["offset"],
            score=answer["score"],
            method="bands",
        )

    def words(self, match: Match, length: int, after: "_Place | None") -> "tuple[str, _Place]":
        """Return the words that the audio holds, and where in the recording they end.

        Words whose middle lies within the audio count. Where the audio goes on after an earlier
        piece of the same recording, the words begin where that piece's ended: an utterance that
        was cut at a pause loses and repeats none.
        """
        places = self._places[match.utterance]
        first, last = match.offset - _EDGE, match.offset + length + _EDGE
        begin = bisect.bisect_left(places, first, key=_middle)
        end = bisect.bisect_right(places, last, key=_middle)
        # A continuation starts near the earlier piece's end, a repetition near its beginning.
        if (
            after is not None
            and after.utterance == match.utterance
            and match.offset > (after.offset + after.sample) // 2
            and after.sample <= last
            and after.sample < match.offset + length
        ):
            begin = after.words
        end = max(begin, end)
        text = " ".join(word for word, _, _ in places[begin:end])
        return text, _Place(
            utterance=match.utterance,
            words=end,
            offset=match.offset,
            sample=match.offset + length,
        )

    def words_heard(self, match: Match, length: int) -> str:
        """Return the words of the matched recording that end within the audio."""
        first, last = match.offset - _EDGE, match.offset + length
        return " ".join(
            word
            for word, start, stop in self._places[match.utterance]
            if first <= (start + stop) // 2 and stop <= last
        )


class OracleSession:
    """A session of the oracle.

    Args:
        oracle: what it knows.
        word_error_rate: the share of words that it gets wrong.
    """

    def __init__(self, oracle: Oracle, word_error_rate: float) -> None:
        self._oracle = oracle
        self._word_error_rate = word_error_rate
        self._heard: _Place | None = None

    def listen(self) -> Hearing:
        """Begin an utterance."""
        return _OracleHearing(self)

    async def recognise(self, pcm: bytes, draws: Draws) -> Recognition:
        """Return what the oracle makes of an utterance's audio."""
        match = await self._oracle.find(pcm)
        if match is None:
            return Recognition(text="", engine="oracle", detail=json.dumps({"utterance": None}))
        words, self._heard = self._oracle.words(match, len(pcm) // 2, self._heard)
        generator = random.Random(draws.seed_of("words"))  # noqa: S311  # reproducible errors
        corruption = corrupt(words, self._word_error_rate, generator)
        detail = {
            "utterance": self._oracle.utterances[match.utterance].id,
            "method": match.method,
            "score": round(match.score, 3),
            "offset": match.offset,
            "reference": words,
            "substitutions": corruption.substitutions,
            "deletions": corruption.deletions,
            "insertions": corruption.insertions,
        }
        return Recognition(
            text=corruption.text, engine="oracle", detail=json.dumps(detail, ensure_ascii=False)
        )

    def hypothesis(self, pcm: bytes, followed: Match | None) -> str | None:
        """Return the words so far; None where the audio has to be looked for.

        Args:
            pcm: the audio so far.
            followed: where earlier audio of the utterance was found, if it is not bit for bit a
                recording's.
        """
        match = self._oracle.find_exact(np.frombuffer(pcm, dtype="<i2")) or followed
        return None if match is None else self._oracle.words_heard(match, len(pcm) // 2)

    async def follow(self, pcm: bytes) -> Match | None:
        """Return where audio so far belongs, if that is beyond doubt."""
        match = await self._oracle.find(pcm)
        return match if match is not None and match.score >= _SURE else None


class _OracleHearing:
    def __init__(self, session: OracleSession) -> None:
        self._session = session
        self._pcm = bytearray()
        self._followed: Match | None = None
        self._looking: asyncio.Task[None] | None = None

    def feed(self, pcm: bytes) -> None:
        self._pcm += pcm

    def hypothesis(self) -> str:
        words = self._session.hypothesis(bytes(self._pcm), self._followed)
        if words is not None:
            return words
        # Another process looks; the next look at the hypothesis finds what it found.
        idle = self._looking is None or self._looking.done()
        if idle and len(self._pcm) >= _FOLLOWED_BYTES:
            self._looking = asyncio.create_task(self._look(bytes(self._pcm)))
        return ""

    async def _look(self, pcm: bytes) -> None:
        self._followed = await self._session.follow(pcm)

    async def finish(self, draws: Draws) -> Recognition:
        self._stop_looking()
        return await self._session.recognise(bytes(self._pcm), draws)

    def abandon(self) -> None:
        self._stop_looking()
        self._pcm.clear()

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
