"""What a recogniser has to say, before a protocol puts it into a message."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Heard", "SpokenWord", "Wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenWord:
    """A word with its place in the stream, in seconds from the stream's first sample."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A transcript that is to be put into a message.

    Attributes:
        text: what was heard.
        start_s, end_s: the speech, from the stream's first sample.
        request: the utterance's name in the truth.
        number: the utterance's position in the stream, from 0.
        asked: the client asked for it, rather than silence.
    """

    text: str
    start_s: float
    end_s: float
    request: str
    number: int
    asked: bool = False

    @property
    def words(self) -> tuple[SpokenWord, ...]:
        """Return the words, the speech shared out by letters: recognisers tell better."""
        words = self.text.split()
        whole = sum(len(word) + 1 for word in words)
        placed, at = [], self.start_s
        for word in words:
            end = at + (self.end_s - self.start_s) * (len(word) + 1) / whole
            placed.append(SpokenWord(text=word, start_s=at, end_s=end))
            at = end
        return tuple(placed)


class Wire(Protocol):
    """How a service words what it sends."""

    def final(self, heard: Heard) -> str:
        """Return the message of a final transcript."""
        ...

    def interim(self, heard: Heard) -> str:
        """Return the message of an interim transcript."""
        ...

    def preflight(self, heard: Heard) -> str | None:
        """Return the message of a transcript that will probably be the final; None for none."""
        ...

    def onset(self) -> str | None:
        """Return the message that speech has begun; None where the service does not tell."""
        ...

    def error(self, message: str) -> str:
        """Return the message of an error."""
        ...
