"""A trial in the Chrome trace format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", JSON object form; instants and durations in microseconds.
"""

import json
from typing import Any

from harness.report.format import VIRTUAL_CLOCK
from harness.report.trial_view import TrialView, TurnView
from harness.report.view import ReportView

__all__ = ["render_trace"]

_LANES = ("user", "transcripts", "response", "reply", "marks")


def _us(ns: int, origin_ns: int) -> float:
    return (ns - origin_ns) / 1000


def _earliest(turn: TurnView) -> int:
    found = [0, *(at for _, at in turn.marks), *(each.at_ns for each in turn.transcripts)]
    found += [bar.start_ns for bar in turn.bars]
    found += [each.start_ns for each in turn.requests if each.start_ns is not None]
    found += [at for each in turn.requests for at in each.arrivals]
    if turn.speech is not None:
        found.append(turn.speech[0])
    return min(found)


class _Sheet:
    """Collects the events of one turn on named lanes."""

    def __init__(self, process: int, origin_ns: int) -> None:
        self.process = process
        self.origin_ns = origin_ns
        self.lanes: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []

    def lane(self, name: str) -> int:
        if name not in self.lanes:
            self.lanes[name] = len(self.lanes) + 1
            for kind, value in (("thread_name", name), ("thread_sort_index", self.lanes[name])):
                key = "name" if kind == "thread_name" else "sort_index"
                self.events.append(
                    {
                        "ph": "M",
                        "pid": self.process,
                        "tid": self.lanes[name],
                        "name": kind,
                        "args": {key: value},
                    }
                )
        return self.lanes[name]

    def span(self, lane: str, name: str, start: int, end: int, **facts: object) -> None:
        self.events.append(
            {
                "ph": "X",
                "pid": self.process,
                "tid": self.lane(lane),
                "name": name,
                "cat": str(facts.get("kind", lane)),
                # A part that lies before the end of speech runs backwards; a trace cannot.
                "ts": _us(min(start, end), self.origin_ns),
                "dur": abs(end - start) / 1000,
                "args": facts,
            }
        )

    def instant(self, lane: str, name: str, at: int, **facts: object) -> None:
        self.events.append(
            {
                "ph": "i",
                "s": "t",
                "pid": self.process,
                "tid": self.lane(lane),
                "name": name,
                "cat": lane,
                "ts": _us(at, self.origin_ns),
                "args": facts,
            }
        )


def _draw(sheet: _Sheet, turn: TurnView) -> None:
    for lane in _LANES:
        sheet.lane(lane)
    if turn.speech is not None:
        sheet.span("user", "speech", *turn.speech)
    for each in turn.transcripts:
        name = f"late {each.kind}" if each.late else each.kind
        sheet.instant("transcripts", name, each.at_ns, text=each.text)
    for bar in turn.bars:
        sheet.span(
            "response",
            bar.label,
            bar.start_ns,
            bar.end_ns,
            kind=bar.kind.value,
            stage=bar.stage,
        )
    for request in turn.requests:
        lane = f"{request.stage} {request.id}"
        facts: dict[str, object] = dict(request.lines)
        facts |= {"cause": request.cause, "cancelled": request.cancelled, "text": request.text}
        if request.failure:
            facts["failure"] = request.failure
        if request.start_ns is not None:
            end = request.end_ns if request.end_ns is not None else request.start_ns
            sheet.span(lane, request.id, request.start_ns, end, **facts)
        for number, at in enumerate(request.arrivals):
            sheet.instant(lane, f"piece {number}", at)
    if turn.reply is not None:
        for number, (start, end) in enumerate(turn.reply.segments):
            sheet.span("reply", f"playout {number}" if number else "playout", start, end)
    for name, at in turn.marks:
        sheet.instant("marks", name, at)


def render_trace(view: ReportView, trial: TrialView) -> str:
    """Return one trial as a trace: a process for each turn, a track for each lane and request."""
    events: list[dict[str, Any]] = []
    candidate = view.candidates[trial.candidate].name
    emulated = " EMULATED" if trial.emulated else ""
    emulated += f" {VIRTUAL_CLOCK}" if view.virtual else ""
    for number, turn in enumerate(trial.turns):
        process = number + 1
        sheet = _Sheet(process, _earliest(turn))
        _draw(sheet, turn)
        events.append(
            {
                "ph": "M",
                "pid": process,
                "name": "process_name",
                "args": {"name": f"{trial.id} turn {number + 1} · {candidate}{emulated}"},
            }
        )
        events += sheet.events
    return json.dumps(
        {
            "displayTimeUnit": "ms",
            "otherData": {
                "run": view.run,
                "trial": trial.id,
                "candidate": candidate,
                "utterance": trial.utterance,
                "status": trial.status.value,
                "emulated": trial.emulated,
                "clock": view.clock,
            },
            "traceEvents": events,
        },
        ensure_ascii=False,
        allow_nan=False,
    )
