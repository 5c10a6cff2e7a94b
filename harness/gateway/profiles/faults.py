"""The ways in which a provider can fail, and how often a profile makes them happen."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.gateway.profiles.distributions import Draws

__all__ = [
    "CONNECTION_FAULTS",
    "HTTP_STATUS_FAULTS",
    "MIDDLE_FAULTS",
    "SAMPLES_FAULTS",
    "STAGE_FAULTS",
    "FaultKind",
    "FaultMix",
    "Stage",
]


class Stage(enum.StrEnum):
    """A stage of the pipeline that a provider serves."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"
    INTERRUPTION = "interruption"


class FaultKind(enum.StrEnum):
    """What goes wrong on the wire; the value is the name in profiles and in the truth."""

    UNAUTHORISED = "unauthorised"
    """401 in the provider's words."""
    FORBIDDEN = "forbidden"
    """403 in the provider's words."""
    NOT_FOUND = "not-found"
    """404: the model does not exist."""
    RATE_LIMITED = "rate-limited"
    """429 with Retry-After."""
    RATE_LIMITED_BARE = "rate-limited-bare"
    """429 without Retry-After."""
    SERVER_ERROR = "server-error"
    """500."""
    UNAVAILABLE = "unavailable"
    """503."""
    REFUSED = "refused"
    """The connection is reset (RST) before any byte of an answer."""
    SLOW_HELLO = "slow-hello"
    """The upgrade's greeting, or the response's headers, come `slow_hello_s` late."""
    MID_STREAM_ERROR = "mid-stream-error"
    """An error message in the provider's words in the middle of the answer."""
    RESET = "reset"
    """RST in the middle of the answer."""
    TRUNCATION = "truncation"
    """A clean end in the middle of the answer: no finish reason, no `[DONE]`, no final."""
    EMPTY = "empty"
    """A success that holds nothing."""
    STALL = "stall"
    """Silence for `stall_s` in the middle of the answer, then a reset."""
    MALFORMED = "malformed"
    """JSON or server-sent events that do not parse."""
    WRONG_CONTENT_TYPE = "wrong-content-type"
    """A 200 that holds an HTML page."""
    OVERSIZED = "oversized"
    """One message of 4 MiB; a body of bare samples has no messages, and is left as it is."""
    NONSENSE = "nonsense"
    """A well-formed answer that makes no sense: random words, or noise as speech."""
    SILENT_AUDIO = "silent-audio"
    """A reply of digital silence, as long as the speech would have been."""
    WRONG_RATE = "wrong-rate"
    """Samples at 16 kHz where 24 kHz were promised."""
    DUPLICATE_FINAL = "duplicate-final"
    """The final transcript twice."""
    LATE_FINAL = "late-final"
    """A further final `late_final_s` after the first."""
    DROP_BETWEEN_TURNS = "drop-between-turns"
    """The socket is dropped after the final, before the next utterance."""


_HTTP_START = frozenset(
    {
        FaultKind.UNAUTHORISED,
        FaultKind.FORBIDDEN,
        FaultKind.NOT_FOUND,
        FaultKind.RATE_LIMITED,
        FaultKind.RATE_LIMITED_BARE,
        FaultKind.SERVER_ERROR,
        FaultKind.UNAVAILABLE,
        FaultKind.REFUSED,
        FaultKind.SLOW_HELLO,
    }
)
MIDDLE_FAULTS = frozenset(
    {
        FaultKind.MID_STREAM_ERROR,
        FaultKind.RESET,
        FaultKind.TRUNCATION,
        FaultKind.STALL,
        FaultKind.MALFORMED,
    }
)
"""Faults that strike in the middle of an answer that has begun."""
_MIDDLE = frozenset(
    {
        FaultKind.MID_STREAM_ERROR,
        FaultKind.RESET,
        FaultKind.TRUNCATION,
        FaultKind.EMPTY,
        FaultKind.STALL,
        FaultKind.MALFORMED,
        FaultKind.NONSENSE,
    }
)

CONNECTION_FAULTS = _HTTP_START
"""The faults that strike a connection or request before its first answer."""

HTTP_STATUS_FAULTS: Mapping[FaultKind, int] = MappingProxyType(
    {
        FaultKind.UNAUTHORISED: 401,
        FaultKind.FORBIDDEN: 403,
        FaultKind.NOT_FOUND: 404,
        FaultKind.RATE_LIMITED: 429,
        FaultKind.RATE_LIMITED_BARE: 429,
        FaultKind.SERVER_ERROR: 500,
        FaultKind.UNAVAILABLE: 503,
    }
)

STAGE_FAULTS: Mapping[Stage, frozenset[FaultKind]] = MappingProxyType(
    {
        Stage.STT: _HTTP_START
        | _MIDDLE
        | {
            FaultKind.WRONG_CONTENT_TYPE,
            FaultKind.OVERSIZED,
            FaultKind.DUPLICATE_FINAL,
            FaultKind.LATE_FINAL,
            FaultKind.DROP_BETWEEN_TURNS,
        },
        Stage.LLM: _HTTP_START | _MIDDLE | {FaultKind.WRONG_CONTENT_TYPE, FaultKind.OVERSIZED},
        Stage.TTS: _HTTP_START
        | _MIDDLE
        | {
            FaultKind.WRONG_CONTENT_TYPE,
            FaultKind.OVERSIZED,
            FaultKind.SILENT_AUDIO,
            FaultKind.WRONG_RATE,
        },
        Stage.INTERRUPTION: _HTTP_START
        | _MIDDLE
        | {FaultKind.WRONG_CONTENT_TYPE, FaultKind.OVERSIZED},
    }
)


SAMPLES_FAULTS = STAGE_FAULTS[Stage.TTS] - {FaultKind.OVERSIZED}
"""The faults of a TTS that answers by a body of bare samples: there is no message in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultMix:
    """How often each fault strikes, and how long the slow ones last.

    Attributes:
        rates: pairs of a kind and the share of requests (or utterances) that it strikes; the
            shares sum to at most 1, and one request suffers at most one fault.
        retry_after_s: the Retry-After of a 429.
        slow_hello_s: how late a slow hello is.
        stall_s: how long a stalled answer is silent before the connection is reset.
        late_final_s: how long after a final its late companion follows.
        first: only the first so many requests with one content are struck (of a socket: so many
            connections, or utterances), so that what comes after a fault can be seen; None
            strikes at any time.
    """

    rates: tuple[tuple[FaultKind, float], ...] = ()
    retry_after_s: float = 2.0
    slow_hello_s: float = 12.0
    stall_s: float = 60.0
    late_final_s: float = 1.0
    first: int | None = None

    def __post_init__(self) -> None:
        kinds = [kind for kind, _ in self.rates]
        if len(set(kinds)) != len(kinds):
            raise ValueError("a fault kind is named twice")
        for kind, rate in self.rates:
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate of {kind} must lie within 0 and 1, not {rate}")
        if sum(rate for _, rate in self.rates) > 1 + 1e-9:
            raise ValueError("the rates of all faults together exceed 1")
        for name in ("retry_after_s", "slow_hello_s", "stall_s", "late_final_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0")
        if self.first is not None and self.first < 1:
            raise ValueError("first must be at least 1")

    def only(self, kinds: frozenset[FaultKind]) -> "FaultMix":
        """Return the same mix without the kinds that are not named."""
        return replace(
            self, rates=tuple((kind, rate) for kind, rate in self.rates if kind in kinds)
        )

    def draw(self, draws: Draws) -> FaultKind | None:
        """Return the fault that strikes this request, or None."""
        if not self.rates or (self.first is not None and draws.before >= self.first):
            return None
        position = draws.uniform("fault")
        for kind, rate in self.rates:
            position -= rate
            if position < 0:
                return kind
        return None
