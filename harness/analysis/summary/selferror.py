"""The harness's own error: its marks against the gateway's truth, on the same clock.

The gateway stamps a message before its bytes go to the socket, so a mark minus the truth is what
the way and the harness took: never negative but for the marks of sending, which come before the
gateway has read.

Truth comes as plain rows, because the analysis knows no gateway: (request id, event, instant,
injected delay). The events are those of ``harness.gateway.calls.truth``; the id is the one that the
harness sent along (``client_request``) and kept in the request's facts as ``truth_id``. Finals of a
socket are joined by time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.analysis.statistics.quantile import quantile
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.disturbance import disturbance
from harness.analysis.turn.measurement import MILLISECOND
from harness.analysis.turn.reading import marks_of
from harness.domain.request import Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial, Turn

__all__ = ["MarkError", "SelfError", "TruthRow", "join_truth", "self_errors"]

TruthRow = tuple[str, str, int, int | None]
"""(the request's id as the harness sent it, event, instant, injected delay)"""

Kind = Literal["transport", "framework", "response"]

# The longest that a final may be on its way, for joining by time.
_FINAL_WITHIN_NS = 2_000 * MILLISECOND
# Finals that left so close to each other cannot be told apart by time.
_APART_NS = 50 * MILLISECOND

# mark, kind, event whose first (or only) instant is its truth
_LLM: tuple[tuple[Mark, Kind, str], ...] = (
    (Mark.LLM_SENT, "transport", "request_received"),
    (Mark.LLM_FIRST_BYTE, "transport", "role_sent"),
    (Mark.LLM_FIRST_REASONING, "transport", "reasoning_sent"),
    (Mark.LLM_TEXT_RECEIVED, "transport", "text_sent"),
    (Mark.LLM_FIRST_TEXT, "framework", "text_sent"),
)
_TTS: tuple[tuple[Mark, Kind, str], ...] = (
    (Mark.TTS_SENT, "transport", "request_received"),
    (Mark.TTS_FIRST_BYTE, "transport", "audio_sent"),
    (Mark.TTS_FIRST_FRAME, "framework", "audio_sent"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkError:
    """One mark of one turn against its truth.

    Attributes:
        what: the mark's name, or "response".
        kind: stamped at the socket, by the framework, or the whole response.
        error_ns: mark minus truth; for the response what neither an injected delay nor a known
            wait explains.
        disturbed: the machine disturbed the trial.
    """

    what: str
    kind: Kind
    error_ns: int
    disturbed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfError:
    """The error of one mark over undisturbed trials, in milliseconds.

    Attributes:
        what, kind: as :class:`MarkError`.
        n: undisturbed values; the percentiles rest on these.
        p50, p99, largest: of the error; None where no trial was undisturbed.
        disturbed: share of all values that were disturbed, 0 to 1.
    """

    what: str
    kind: Kind
    n: int
    p50: float | None
    p99: float | None
    largest: float | None
    disturbed: float


def join_truth(trials: Iterable[Trial], truth: Sequence[TruthRow]) -> tuple[MarkError, ...]:
    """Return every mark that has a truth, against it.

    Args:
        trials: warm-ups left out by the caller.
        truth: in any order.
    """
    by_request: dict[str, list[TruthRow]] = {}
    finals: list[TruthRow] = []
    for row in sorted(truth, key=lambda each: each[2]):
        by_request.setdefault(row[0], []).append(row)
        if row[1] == "final_sent":
            finals.append(row)
    by_request = {name: rows for name, rows in by_request.items() if _is_one_request(rows)}
    instants = [row[2] for row in finals]
    found: list[MarkError] = []
    for trial in trials:
        disturbed = disturbance(trial) is not None
        for turn in trial.turns:
            for what, kind, error in _of_turn(turn, by_request, finals, instants):
                found.append(MarkError(what=what, kind=kind, error_ns=error, disturbed=disturbed))
    return tuple(found)


def _is_one_request(rows: Iterable[TruthRow]) -> bool:
    """Whether an id stands for one request; runs made before ids were unique share them."""
    return sum(row[1] == "request_received" for row in rows) <= 1


def _of_turn(
    turn: Turn,
    by_request: Mapping[str, Sequence[TruthRow]],
    finals: Sequence[TruthRow],
    instants: Sequence[int],
) -> list[tuple[str, Kind, int]]:
    found: list[tuple[str, Kind, int]] = []
    # A caller who hangs up cancels the request that he has heard the beginning of.
    heard = {request.id for request in turn.chain()}
    for request in turn.requests:
        table = {Stage.LLM: _LLM, Stage.TTS: _TTS}.get(request.stage)
        rows = by_request.get(str(request.facts.get("truth_id", "")))
        if table is None or not rows or (request.cancelled and request.id not in heard):
            continue
        for mark, kind, event in table:
            first = next((row for row in rows if row[1] == event), None)
            at_ns = request.marks.get(mark)
            if at_ns is None and request.id == turn.audible_request:
                at_ns = turn.marks.get(mark)
            if first is not None and at_ns is not None:
                found.append((mark.value, kind, at_ns - first[2]))
    final = _final(turn, finals, instants)
    if final is not None:
        marks = marks_of(turn)
        if Mark.FINAL_RECEIVED in marks:
            found.append(
                (Mark.FINAL_RECEIVED.value, "transport", marks[Mark.FINAL_RECEIVED] - final[2])
            )
        if Mark.TRANSCRIPT_FINAL in marks:
            found.append(
                (Mark.TRANSCRIPT_FINAL.value, "framework", marks[Mark.TRANSCRIPT_FINAL] - final[2])
            )
    response = _response(turn, by_request, final)
    if response is not None:
        found.append(("response", "response", response))
    return found


def _final(turn: Turn, finals: Sequence[TruthRow], instants: Sequence[int]) -> TruthRow | None:
    """Return the final that the turn's last one was, joined by time."""
    marks = marks_of(turn)
    seen = marks.get(Mark.FINAL_RECEIVED, marks.get(Mark.TRANSCRIPT_FINAL))
    if seen is None:
        return None
    position = bisect_right(instants, seen)
    if position == 0 or seen - instants[position - 1] > _FINAL_WITHIN_NS:
        return None
    if position > 1 and seen - instants[position - 2] < _APART_NS:
        # Of trials that run at once: either final may be the turn's.
        return None
    return finals[position - 1]


def _response(
    turn: Turn, by_request: Mapping[str, Sequence[TruthRow]], final: TruthRow | None
) -> int | None:
    """Return the response less the delays injected on its path and its known waits.

    None where the path is not the plain one (STT, LLM, TTS, each asked once, one after the other),
    or where a delay is not known.
    """
    falls = waterfall(turn)
    if not isinstance(falls, Waterfall) or final is None or final[3] is None:
        return None
    names = [part.name for part in falls.parts]
    if any(names.count(name) == 0 for name in ("stt", "llm", "tts")):
        return None
    chain = turn.chain()
    llm = next((each for each in chain if each.stage is Stage.LLM), None)
    tts = next((each for each in chain if each.stage is Stage.TTS), None)
    if sum(each.stage is Stage.LLM for each in chain) != 1 or llm is None or tts is None:
        return None
    # The text that completed the first sentence is the last that had left when it was received.
    received = {**llm.marks, **tts.marks}
    until = received.get(Mark.SENTENCE_RECEIVED, received.get(Mark.LLM_FIRST_TEXT))
    if until is None:
        return None
    asked = _injected(llm, by_request, "text_sent", lambda at_ns: at_ns <= until, last=True)
    spoken = _injected(tts, by_request, "audio_sent", lambda _: True, last=False)
    if asked is None or spoken is None:
        return None
    waits = sum(part.ns for part in falls.parts if part.kind == "wait")
    return falls.response_ns - final[3] - asked - spoken - waits


def _injected(
    request: Request,
    by_request: Mapping[str, Sequence[TruthRow]],
    event: str,
    fits: Callable[[int], bool],
    *,
    last: bool,
) -> int | None:
    rows = [
        row
        for row in by_request.get(str(request.facts.get("truth_id", "")), ())
        if row[1] == event and fits(row[2])
    ]
    if not rows:
        return None
    return rows[-1 if last else 0][3]


def self_errors(errors: Iterable[MarkError]) -> tuple[SelfError, ...]:
    """Return the harness's error for each mark, in the order of the timeline."""
    grouped: dict[tuple[str, Kind], list[MarkError]] = {}
    for error in errors:
        grouped.setdefault((error.what, error.kind), []).append(error)
    order = [mark.value for mark in Mark]
    keys = sorted(grouped, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    found: list[SelfError] = []
    for what, kind in keys:
        mine = grouped[what, kind]
        clean = np.asarray(
            [each.error_ns / MILLISECOND for each in mine if not each.disturbed], dtype=np.float64
        )
        found.append(
            SelfError(
                what=what,
                kind=kind,
                n=int(clean.size),
                p50=quantile(clean, 0.5) if clean.size else None,
                p99=quantile(clean, 0.99) if clean.size else None,
                largest=float(clean[np.abs(clean).argmax()]) if clean.size else None,
                disturbed=1.0 - clean.size / len(mine),
            )
        )
    return tuple(found)
