"""The waterfall: ``response`` split along the critical path into parts with a named cause.

The parts are contiguous and sum to the response to the nanosecond. A part is the provider's where
the path waited for the provider; a known wait where one was recorded; the client's as far as the
event loop ran without a pause from the one mark, or to the other, and its thread worked (or was
ready to and had no processor); and ``unattributed`` for the rest. That something lies between two
marks explains nothing: a sleep in the client lets the loop go idle, or leaves no work behind, and
comes back as unattributed, wherever it hides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from harness.analysis.turn.critical_path import critical_path
from harness.analysis.turn.edges import Leg
from harness.analysis.turn.measurement import Missing
from harness.domain.request import Idle, Wait, WaitCause
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.errors import InvariantError

__all__ = [
    "EARLY",
    "UNATTRIBUTED",
    "WAITS",
    "Part",
    "PartKind",
    "Waterfall",
    "unattributed_ns",
    "waterfall",
]

PartKind = Literal["provider", "client", "wait", "unattributed"]

EARLY = "early"
UNATTRIBUTED: Literal["unattributed"] = "unattributed"

WAITS: Mapping[WaitCause, tuple[str, Stage | None, str]] = MappingProxyType(
    {
        # title, stage (None: that of the edge), the edge it follows in the order of parts
        WaitCause.FRAME: ("rest of the audio frame", Stage.STT, "speech_send"),
        WaitCause.PACING: ("frame released late", Stage.HARNESS, "speech_send"),
        WaitCause.RESAMPLING: ("resampling", Stage.STT, "speech_send"),
        WaitCause.PACKET: ("packet gathering", Stage.STT, "speech_send"),
        WaitCause.VAD: ("silence for the client's VAD", Stage.STT, "speech_send"),
        WaitCause.UPLOAD: ("uploading the recording", Stage.STT, "speech_send"),
        WaitCause.SILENCE: ("provider's endpointing", Stage.ENDPOINTING, "stt"),
        WaitCause.ENDPOINTING: ("endpointing delay", Stage.ENDPOINTING, "commit"),
        WaitCause.POOL: ("waiting for a connection", None, "llm_send"),
        WaitCause.CONNECT: ("connecting", None, "llm_send"),
        WaitCause.TLS: ("encrypting", None, "llm_send"),
        WaitCause.RETRY: ("failed attempts", None, "llm_send"),
        WaitCause.TOOL: ("tool", Stage.LLM, "around_tool"),
        WaitCause.TRANSFORMS: ("text transforms", Stage.LLM, "gather"),
        WaitCause.LEADING_SILENCE: ("silence at the start of the reply", Stage.TTS, "audible"),
        WaitCause.UNDERRUN: ("playout ran dry", Stage.PLAYOUT, "audible"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of the response with one cause.

    Attributes:
        name: stable over trials; the same name may stand several times in one waterfall.
        title: what reports show.
        stage: the stage to blame.
        kind: the sort of cause.
        start_ns, end_ns: on the run's clock. The end lies before the start in the one part of a
            reply that came before the end of speech.
    """

    name: str
    title: str
    stage: Stage
    kind: PartKind
    start_ns: int
    end_ns: int

    @property
    def ns(self) -> int:
        """The part's length."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The parts of one response, in order.

    Attributes:
        start_ns: the end of speech.
        end_ns: the first audible sample.
        parts: contiguous from the one to the other; none for a response of exactly 0.
    """

    start_ns: int
    end_ns: int
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuse parts that do not fill the response exactly."""
        cursor = self.start_ns
        for part in self.parts:
            if part.start_ns != cursor:
                raise InvariantError(f"part {part.name} does not begin where the last one ended")
            cursor = part.end_ns
        if cursor != self.end_ns:
            raise InvariantError("the parts do not sum to the response")

    @property
    def response_ns(self) -> int:
        """The whole; negative where the agent answered before the end of speech."""
        return self.end_ns - self.start_ns


_KEPT = 50_000
_known: dict[int, tuple[Turn, Waterfall | Missing]] = {}
"""What has been split, by the turn's identity: a report asks for each turn several times."""


def waterfall(turn: Turn) -> Waterfall | Missing:
    """Return the response of a turn as parts, or why there is none."""
    known = _known.get(id(turn))
    # The turn itself is kept, so that its identity cannot pass to another.
    if known is not None and known[0] is turn:
        return known[1]
    found = _split(turn)
    if len(_known) >= _KEPT:
        _known.clear()
    _known[id(turn)] = (turn, found)
    return found


def _split(turn: Turn) -> Waterfall | Missing:
    speech_end, audible = turn.marks.get(Mark.SPEECH_END), turn.marks.get(Mark.FIRST_AUDIBLE)
    if speech_end is not None and audible is not None and audible < speech_end:
        early = Part(
            name=EARLY,
            title="answered before the end of speech",
            stage=Stage.ENDPOINTING,
            kind="wait",
            start_ns=speech_end,
            end_ns=audible,
        )
        return Waterfall(start_ns=speech_end, end_ns=audible, parts=(early,))
    legs = critical_path(turn)
    if isinstance(legs, Missing):
        return legs
    assert speech_end is not None
    assert audible is not None
    waits = (*turn.waits, *(wait for request in turn.chain() for wait in request.waits))
    parts: list[Part] = []
    for leg in legs:
        for part in _parts(leg, waits, turn.idle):
            start = max(part.start_ns, speech_end)
            if start == part.start_ns:
                parts.append(part)
            elif start < part.end_ns:
                parts.append(
                    Part(
                        name=part.name,
                        title=part.title,
                        stage=part.stage,
                        kind=part.kind,
                        start_ns=start,
                        end_ns=part.end_ns,
                    )
                )
    return Waterfall(start_ns=speech_end, end_ns=audible, parts=tuple(parts))


def _parts(leg: Leg, waits: Iterable[Wait], idle: Iterable[Idle]) -> list[Part]:
    """Split a leg: known waits at their instants, then work, then what nothing explains."""
    if leg.start.at_ns == leg.end.at_ns:
        return []
    named: list[Part] = []
    cursor = leg.start.at_ns
    relevant = [wait for wait in waits if wait.cause in leg.edge.waits]
    for wait in sorted(relevant, key=lambda each: (each.start_ns, each.end_ns, each.cause.value)):
        start, end = max(wait.start_ns, cursor), min(wait.end_ns, leg.end.at_ns)
        if start < end:
            title, stage, _ = WAITS[wait.cause]
            named.append(
                Part(
                    name=wait.cause.value,
                    title=title,
                    stage=leg.edge.stage if stage is None else stage,
                    kind="wait",
                    start_ns=start,
                    end_ns=end,
                )
            )
            cursor = end
    parts: list[Part] = []
    budget = _budget(leg)
    lead_end, tail_start = _idleness(leg, idle)
    cursor = leg.start.at_ns
    for wait_part in (*named, None):
        gap_end = leg.end.at_ns if wait_part is None else wait_part.start_ns
        for start, end, busy in _pieces(cursor, gap_end, lead_end, tail_start):
            spent = min(budget, end - start) if busy else 0
            if spent > 0:
                parts.append(_plain(leg, leg.edge.kind, start, start + spent))
                budget -= spent
            if start + spent < end:
                parts.append(_plain(leg, UNATTRIBUTED, start + spent, end))
        if wait_part is not None:
            parts.append(wait_part)
            cursor = wait_part.end_ns
    return _joined(parts)


def _idleness(leg: Leg, idle: Iterable[Idle]) -> tuple[int, int]:
    """Return when the loop first went idle within a leg and when it last woke.

    What a step of the program does, it does without the loop going idle; so of a client's leg only
    the time before the first idleness and after the last can be its work, and whatever else ran in
    between was about something else. A loop that never went idle, or was not watched, gives the
    leg's end for both: then all of it can be work.
    """
    start, end = leg.start.at_ns, leg.end.at_ns
    if leg.edge.kind == "provider":
        return end, end
    inside = [each for each in idle if each.end_ns > start and each.start_ns < end]
    if not inside:
        return end, end
    return (
        max(start, min(each.start_ns for each in inside)),
        min(end, max(each.end_ns for each in inside)),
    )


def _pieces(
    start: int, end: int, lead_end: int, tail_start: int
) -> Iterable[tuple[int, int, bool]]:
    """Cut a gap at the loop's idleness; the third value tells whether it can be work."""
    if start < end and not start < lead_end < end and not start < tail_start < end:
        yield start, end, end <= lead_end or start >= tail_start
        return
    cuts = sorted({start, end, *(cut for cut in (lead_end, tail_start) if start < cut < end)})
    for first, second in pairwise(cuts):
        yield first, second, second <= lead_end or first >= tail_start


def _joined(parts: list[Part]) -> list[Part]:
    """Join neighbours of one name."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].name == part.name and joined[-1].end_ns == part.start_ns:
            joined[-1] = replace(joined[-1], end_ns=part.end_ns)
        else:
            joined.append(part)
    return joined


def _budget(leg: Leg) -> int:
    """Return how much of a leg there is evidence for, beside its waits."""
    length = leg.end.at_ns - leg.start.at_ns
    if leg.edge.kind == "provider":
        return length
    before, after = leg.start.work, leg.end.work
    if before is None or after is None:
        return 0
    worked = (after.cpu_ns - before.cpu_ns) + (after.queued_ns - before.queued_ns)
    return min(length, max(0, worked))


def _plain(leg: Leg, kind: PartKind, start_ns: int, end_ns: int) -> Part:
    lost = kind == UNATTRIBUTED
    return Part(
        name=f"{leg.edge.name}.{UNATTRIBUTED}" if lost else leg.edge.name,
        title=f"unattributed ({leg.edge.title})" if lost else leg.edge.title,
        stage=leg.edge.stage,
        kind=kind,
        start_ns=start_ns,
        end_ns=end_ns,
    )


def unattributed_ns(falls: Waterfall) -> int:
    """Return how much of the response has no known cause."""
    return sum(part.ns for part in falls.parts if part.kind == UNATTRIBUTED)
