"""What every fault does to every provider's stage: the table that the fault tests go through.

A row is one wire protocol of one stage, driven by the real plugin that users run. A column is a
fault: one that the gateway plays in the provider's own words (:class:`FaultKind`) or one of the
network below (:class:`Manner`). A cell is the kind of failure in which the struck trial ends, or
:data:`ENDS_WELL`, or the reason why the fault cannot strike there.

Baseten's truss and chain deployments differ in the address alone: ``test_baseten`` has these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import FailureKind as K
from harness.domain.timeline import Stage
from harness.gateway.profiles.faults import FaultKind as F
from tests.pipeline.crooked import Manner

__all__ = [
    "CASES",
    "ROWS",
    "Case",
    "Cell",
    "EndsWell",
    "FailsLater",
    "Fault",
    "NotApplicable",
    "Row",
    "Wire",
]

Fault = F | Manner


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The fault cannot strike here, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class EndsWell:
    """The trial answers: the fault is no failure of the turn, or only a recogniser could tell."""


@dataclass(frozen=True, slots=True)
class FailsLater:
    """A later stage of the session fails by it, and how."""

    stage: Stage
    kind: K


ENDS_WELL = EndsWell()
Cell = K | EndsWell | FailsLater | NotApplicable

_ONE_BODY = NotApplicable("one body holds the one transcript")
_NO_MESSAGES = NotApplicable("a body of samples has no messages")
_NO_FINALS = NotApplicable("finals are a recogniser's")
_NO_AUDIO = NotApplicable("it sends no audio")
_NETWORK = NotApplicable("played by the network, for connections that are kept")

_STATUS: Mapping[Fault, Cell] = {
    F.UNAUTHORISED: K.UNAUTHORIZED,
    F.FORBIDDEN: K.FORBIDDEN,
    F.NOT_FOUND: K.NOT_FOUND,
    F.RATE_LIMITED: K.RATE_LIMITED,
    F.RATE_LIMITED_BARE: K.RATE_LIMITED,
    F.SERVER_ERROR: K.SERVER_ERROR,
    F.UNAVAILABLE: K.SERVER_ERROR,
}
_COMMON: Mapping[Fault, Cell] = {
    **_STATUS,
    F.REFUSED: K.RESET,
    F.SLOW_HELLO: K.TIMEOUT,
    F.MID_STREAM_ERROR: K.STREAM_ERROR,
    F.RESET: K.RESET,
    F.TRUNCATION: K.TRUNCATED,
    F.STALL: K.TIMEOUT,
    F.MALFORMED: K.MALFORMED,
    F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
    Manner.CLOSED: K.REFUSED,
    Manner.MUTE: K.TIMEOUT,
    Manner.STALLED: K.TIMEOUT,
    Manner.HANGS_UP: K.RESET,
    Manner.GARBAGE: K.MALFORMED,
    Manner.DROPS: ENDS_WELL,
}
_HEARD: Mapping[Fault, Cell] = {
    **_COMMON,
    F.EMPTY: K.NO_TRANSCRIPT,
    F.OVERSIZED: K.MALFORMED,
    F.NONSENSE: ENDS_WELL,  # the words are wrong: that is what WER is for
    F.DUPLICATE_FINAL: ENDS_WELL,
    F.LATE_FINAL: ENDS_WELL,
    F.DROP_BETWEEN_TURNS: ENDS_WELL,
    F.SILENT_AUDIO: _NO_AUDIO,
    F.WRONG_RATE: _NO_AUDIO,
}
_HEARD_BY_SOCKET: Mapping[Fault, Cell] = {
    **_HEARD,
    F.WRONG_CONTENT_TYPE: K.MALFORMED,  # a message of another type than the protocol's
    # Over a socket nothing tells an answer that never comes from one that is late.
    F.STALL: K.NO_TRANSCRIPT,
    Manner.STALLED: K.NO_TRANSCRIPT,
}
_HEARD_BY_REST: Mapping[Fault, Cell] = {
    **_HEARD,
    F.TRUNCATION: K.MALFORMED,  # half a JSON object is none
    F.OVERSIZED: ENDS_WELL,  # no size limit is any part of OpenAI's client
    F.DUPLICATE_FINAL: _ONE_BODY,
    F.LATE_FINAL: _ONE_BODY,
    F.DROP_BETWEEN_TURNS: _NETWORK,
}
_ANSWERED: Mapping[Fault, Cell] = {
    **_COMMON,
    F.EMPTY: K.EMPTY,
    F.OVERSIZED: ENDS_WELL,  # OpenAI's client limits no message
    F.NONSENSE: ENDS_WELL,  # what the reply says is another question than when it came
    F.SILENT_AUDIO: _NO_AUDIO,
    F.WRONG_RATE: _NO_AUDIO,
    F.DUPLICATE_FINAL: _NO_FINALS,
    F.LATE_FINAL: _NO_FINALS,
    F.DROP_BETWEEN_TURNS: _NETWORK,
}
_TOO_LONG_TO_SAY: Mapping[Fault, Cell] = {F.OVERSIZED: FailsLater(Stage.TTS, K.BAD_REQUEST)}
_ANSWERED_BY_SPEKO: Mapping[Fault, Cell] = {**_ANSWERED, F.OVERSIZED: K.MALFORMED}
_SPOKEN: Mapping[Fault, Cell] = {
    **_COMMON,
    F.MID_STREAM_ERROR: K.RESET,  # bytes of audio have no words for an error
    F.EMPTY: K.EMPTY,
    F.OVERSIZED: _NO_MESSAGES,
    F.SILENT_AUDIO: K.SILENT,
    F.NONSENSE: K.MALFORMED,
    F.WRONG_RATE: ENDS_WELL,  # headerless samples: only a recogniser could tell
    F.DUPLICATE_FINAL: _NO_FINALS,
    F.LATE_FINAL: _NO_FINALS,
    F.DROP_BETWEEN_TURNS: _NETWORK,
}
_SPOKEN_BY_SOCKET: Mapping[Fault, Cell] = {
    **_SPOKEN,
    F.MID_STREAM_ERROR: K.STREAM_ERROR,
    F.WRONG_CONTENT_TYPE: K.MALFORMED,
    F.OVERSIZED: K.MALFORMED,
}
_RETRIED: frozenset[Fault] = frozenset({F.UNAVAILABLE, F.REFUSED})
_NEVER: frozenset[Fault] = frozenset()
_ONLY_REFUSALS: frozenset[Fault] = frozenset({F.UNAVAILABLE})


class Wire(StrEnum):
    """How a protocol carries an answer."""

    SOCKET = "socket"
    BODY = "body"
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A wire protocol of one stage.

    Attributes:
        name: of the row.
        stage: which one.
        wire: how it carries an answer.
        settings: how a suite chooses it.
        cells: how each fault ends.
        in_session: how it ends in a session, where that differs from the stage alone; None where
            the row is played by the stage driver alone.
        ahead: how many connections a session opens before the first request, each with its own
            chance to be struck.
        asked_again: after which faults livekit asks again where it is to: a plugin that raises
            something else than livekit's errors is not asked again.
        varies: whether a detector cuts what is uploaded, so that no two requests hold the same: the
            gateway, which strikes the first of equal requests, is then led to another profile.
    """

    name: str
    stage: Stage
    wire: Wire
    settings: StageSettings
    cells: Mapping[Fault, Cell]
    in_session: Mapping[Fault, Cell] | None = field(default_factory=dict)
    ahead: int = 0
    asked_again: frozenset[Fault] = _RETRIED
    varies: bool = False


def _row(
    name: str,
    stage: Stage,
    wire: Wire,
    cells: Mapping[Fault, Cell],
    provider: str,
    *,
    session: Mapping[Fault, Cell] | None = None,
    alone: bool = False,
    ahead: int = 0,
    again: frozenset[Fault] = _RETRIED,
    varies: bool = False,
    model: str | None = None,
    **options: object,
) -> Row:
    return Row(
        name=name,
        stage=stage,
        wire=wire,
        settings=StageSettings(provider=provider, model=model, options=options),
        cells=cells,
        in_session=None if alone else (session or {}),
        ahead=ahead,
        asked_again=again,
        varies=varies,
    )


ROWS: tuple[Row, ...] = (
    _row(
        "parakeet",
        Stage.STT,
        Wire.SOCKET,
        # Who asks for the final notices that no answer comes; a session does not ask.
        {**_HEARD_BY_SOCKET, F.STALL: K.TIMEOUT, Manner.STALLED: K.TIMEOUT},
        "openadapter",
        session={F.STALL: K.NO_TRANSCRIPT},
        ahead=1,
    ),
    _row(
        "openadapter-rest",
        Stage.STT,
        Wire.BODY,
        _HEARD_BY_REST,
        "openadapter",
        varies=True,
        mode="rest",
    ),
    _row("openai-rest", Stage.STT, Wire.BODY, _HEARD_BY_REST, "openai", alone=True),
    _row(
        "openai-realtime",
        Stage.STT,
        Wire.SOCKET,
        _HEARD_BY_SOCKET,
        "openai",
        again=_NEVER,
        realtime=True,
    ),
    _row(
        "openai-realtime-own-vad",
        Stage.STT,
        Wire.SOCKET,
        _HEARD_BY_SOCKET,
        "openai",
        model="gpt-realtime-whisper",
        alone=True,
        again=_NEVER,
    ),
    _row(
        "livekit-stt",
        Stage.STT,
        Wire.SOCKET,
        # The greeting gates nothing: audio goes out before it.
        {**_HEARD_BY_SOCKET, F.SLOW_HELLO: ENDS_WELL},
        "livekit",
        again=_ONLY_REFUSALS,
    ),
    _row(
        "livekit-stt-24khz",
        Stage.STT,
        Wire.SOCKET,
        {**_HEARD_BY_SOCKET, F.SLOW_HELLO: ENDS_WELL},
        "livekit",
        model="openai/gpt-live-transcribe",
        alone=True,
        again=_ONLY_REFUSALS,
    ),
    _row(
        "baseten-whisper",
        Stage.STT,
        Wire.SOCKET,
        _HEARD_BY_SOCKET,
        "baseten",
        again=_NEVER,
        model="whisper",
    ),
    _row(
        "baseten-qwen3-asr", Stage.STT, Wire.SOCKET, _HEARD_BY_SOCKET, "baseten", model="qwen3-asr"
    ),
    _row("speko-stt", Stage.STT, Wire.EVENTS, _HEARD, "speko", varies=True),
    _row(
        "openadapter-llm",
        Stage.LLM,
        Wire.EVENTS,
        _ANSWERED,
        "openadapter",
        session=_TOO_LONG_TO_SAY,
    ),
    _row("openai-llm", Stage.LLM, Wire.EVENTS, _ANSWERED, "openai", alone=True),
    _row("livekit-llm", Stage.LLM, Wire.EVENTS, _ANSWERED, "livekit", session=_TOO_LONG_TO_SAY),
    _row("baseten-llm", Stage.LLM, Wire.EVENTS, _ANSWERED, "baseten", session=_TOO_LONG_TO_SAY),
    _row("speko-llm", Stage.LLM, Wire.EVENTS, _ANSWERED_BY_SPEKO, "speko"),
    _row(
        "speko-llm-buffered",
        Stage.LLM,
        Wire.EVENTS,
        _ANSWERED_BY_SPEKO,
        "speko",
        alone=True,
        buffered=True,
    ),
    _row("openadapter-tts", Stage.TTS, Wire.BODY, _SPOKEN, "openadapter"),
    _row(
        "openadapter-tts-wav",
        Stage.TTS,
        Wire.BODY,
        # A decoder skips what it cannot read; that the rest is missing shows.
        {**_SPOKEN, F.MALFORMED: K.TRUNCATED},
        "openadapter",
        alone=True,
        response_format="wav",
    ),
    _row(
        "openadapter-tts-mp3",
        Stage.TTS,
        Wire.BODY,
        {**_SPOKEN, F.MALFORMED: K.TRUNCATED},
        "openadapter",
        alone=True,
        response_format="mp3",
    ),
    # A model that livekit's plugin asks for server-sent events, where an error has words.
    _row(
        "openai-tts-sse",
        Stage.TTS,
        Wire.EVENTS,
        # Its client skips an event that it cannot read.
        {**_SPOKEN, F.MID_STREAM_ERROR: K.STREAM_ERROR, F.MALFORMED: K.TRUNCATED},
        "openai",
        model="gpt-4o-mini-tts",
    ),
    _row("openai-tts", Stage.TTS, Wire.BODY, _SPOKEN, "openai", model="tts-1", alone=True),
    _row(
        "livekit-tts",
        Stage.TTS,
        Wire.SOCKET,
        # The plugin keeps its socket, and learns that it is dead by speaking into it.
        {**_SPOKEN_BY_SOCKET, Manner.DROPS: K.RESET},
        "livekit",
        ahead=1,
    ),
    _row(
        "baseten-orpheus",
        Stage.TTS,
        Wire.SOCKET,
        _SPOKEN_BY_SOCKET,
        "baseten",
        model="orpheus",
    ),
    _row(
        "baseten-orpheus-http",
        Stage.TTS,
        Wire.BODY,
        _SPOKEN,
        "baseten",
        model="orpheus",
        transport="http",
    ),
    _row(
        "baseten-qwen3-tts",
        Stage.TTS,
        Wire.SOCKET,
        # Its plugin keeps its socket, too, and limits no message.
        {
            **_SPOKEN_BY_SOCKET,
            F.WRONG_RATE: K.WRONG_TYPE,
            F.OVERSIZED: ENDS_WELL,
            Manner.DROPS: K.RESET,
        },
        "baseten",
        model="qwen3-tts",
    ),
    _row("speko-tts", Stage.TTS, Wire.BODY, _SPOKEN, "speko"),
)
"""The table."""

_IN_SESSION: Mapping[tuple[Stage, Wire], Row] = {
    (row.stage, row.wire): row for row in reversed(ROWS) if row.in_session is not None
}
"""The first row of each kind of protocol that sessions play."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A cell, played by one driver.

    Attributes:
        row: whose.
        fault: what strikes.
        cell: how it ends.
        driver: "stage" or "session".
        retries: how often livekit asks again.
    """

    row: Row
    fault: Fault
    cell: K | EndsWell | FailsLater
    driver: str
    retries: int = 0

    @property
    def group(self) -> str:
        """The cells that are played together."""
        return f"{self.row.name}-{self.driver}"

    @property
    def name(self) -> str:
        """A name of its own, for profile and test."""
        more = f"-{self.retries}-retries" if self.retries else ""
        return f"{self.group}-{self.fault.value}{more}"

    @property
    def strikes(self) -> int:
        """How many connections or requests are struck."""
        ahead = self.driver == "session" and self.fault in _AT_CONNECTING and not self.retries
        return 1 + (self.row.ahead if ahead else 0)

    @property
    def profile(self) -> str:
        """The name of the gateway's profile that is struck once."""
        return f"once-{self.name}"

    @property
    def plain_profile(self) -> str:
        """The name of the profile, as long as the other, that is never struck."""
        return f"none-{self.name}"

    @property
    def long(self) -> bool:
        """Whether another row's sessions stand for these: one of the same stage and wire."""
        return self.driver == "session" and self.row not in _IN_SESSION.values()

    def candidate(self) -> Candidate:
        """Return a candidate with the struck stage; in a session the others are plain."""
        struck = StageSettings(
            provider=self.row.settings.provider,
            model=self.row.settings.model,
            profile=self.profile,
            options=self.row.settings.options,
        )
        plain = StageSettings(provider="openadapter", profile="brief")
        other = plain if self.driver == "session" else None
        stage = self.row.stage
        return Candidate(
            name=self.name,
            stt=struck if stage is Stage.STT else other,
            llm=struck if stage is Stage.LLM else other,
            tts=struck if stage is Stage.TTS else other,
        )


_AT_CONNECTING = frozenset((*_STATUS, F.REFUSED, F.SLOW_HELLO))


def _cases() -> list[Case]:
    found = []
    for row in ROWS:
        drivers = {"stage": row.cells}
        if row.in_session is not None:
            drivers["session"] = {**row.cells, **row.in_session}
        for driver, cells in drivers.items():
            found += [
                Case(row=row, fault=fault, cell=cell, driver=driver)
                for fault, cell in cells.items()
                if not isinstance(cell, NotApplicable)
            ]
            # What fails once and is asked again succeeds.
            found += [
                Case(
                    row=row,
                    fault=fault,
                    cell=ENDS_WELL if fault in row.asked_again else kind,
                    driver=driver,
                    retries=2,
                )
                for fault, kind in ((F.UNAVAILABLE, K.SERVER_ERROR), (F.REFUSED, K.RESET))
            ]
    return found


CASES = _cases()
"""Every cell that applies, by every driver that plays its row."""
