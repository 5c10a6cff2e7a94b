"""Which trials the machine disturbed, and which attempt of a planned trial counts.

A trial is disturbed when the machine stood still for more than 10 ms while its reply was on its
way, or when an audio frame was more than 20 ms late; never on a virtual clock, which no machine can
disturb: what holds it up is the agent's own code. Disturbed trials are kept and counted; a
re-run takes their place in the main summary. A failed trial is never called disturbed: no stall of
some milliseconds explains a time-out, and dropping it would leave survivors only. A trial that
found a deployment scaled to zero measured its boot: it is kept, counted and performed again
likewise, failed or not, so that warm figures are of a warm deployment. Where each attempt found it
so, the planned trial is counted and left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis.turn.critical_path import critical_path
from harness.analysis.turn.measurement import MILLISECOND, Missing
from harness.domain.request import Cause
from harness.domain.timeline import Mark
from harness.domain.trial import FailedTrial, Stall, Trial, Turn

__all__ = ["STALL_LIMIT_NS", "Disturbance", "Selection", "disturbance", "select"]

STALL_LIMIT_NS = 10 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What the machine did to a trial.

    Attributes:
        stalls: the stalls of more than 10 ms that overlap the critical path.
        late_frames: frames that were more than 20 ms late.
        text: both in a few words.
    """

    stalls: tuple[Stall, ...]
    late_frames: int
    text: str

    @property
    def stalled_ns(self) -> int:
        """The stalls' total length."""
        return sum(stall.end_ns - stall.start_ns for stall in self.stalls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The measured trials of one candidate, sorted out.

    Attributes:
        everything: all attempts, warm-ups left out.
        main: for each planned trial its first undisturbed attempt, or where each was disturbed the
            last that met no boot.
        undisturbed: those of ``main`` that are not disturbed.
        reruns: attempts beyond the first.
        excluded: trials of ``main`` that ``undisturbed`` lacks.
        booted: planned trials that ``main`` lacks: each attempt found a deployment scaled to zero.
    """

    everything: tuple[Trial | FailedTrial, ...]
    main: tuple[Trial | FailedTrial, ...]
    undisturbed: tuple[Trial | FailedTrial, ...]
    reruns: int
    excluded: int
    booted: int


def _window(turn: Turn, ended_ns: int) -> tuple[tuple[int, int], ...]:
    """Return the intervals in which a stall would have changed what is measured."""
    begun, stopped = (turn.marks.get(m) for m in (Mark.OVERLAP_START, Mark.REPLY_STOPPED))
    # A verdict on what was said over the reply may come until the reply has been played.
    last = stopped if stopped is not None else turn.marks.get(Mark.PLAYOUT_END)
    if begun is None or last is None or last <= begun:
        return _response_window(turn, ended_ns)
    return (*_response_window(turn, ended_ns), (begun, last))


def _response_window(turn: Turn, ended_ns: int) -> tuple[tuple[int, int], ...]:
    speech_end = turn.marks.get(Mark.SPEECH_END)
    audible = turn.marks.get(Mark.FIRST_AUDIBLE)
    legs = critical_path(turn)
    if not isinstance(legs, Missing) and legs:
        return ((legs[0].start.at_ns, legs[-1].end.at_ns),)
    alone = any(request.cause is Cause.FIXED for request in turn.requests)
    if speech_end is not None and audible is not None and not alone:
        return ((min(speech_end, audible), max(speech_end, audible)),)
    found = [
        (min(request.marks.values()), max(request.marks.values()))
        for request in turn.requests
        if request.marks and not request.cancelled
    ]
    if speech_end is not None:
        found.append((speech_end, turn.marks.get(Mark.TRANSCRIPT_FINAL, ended_ns)))
    return tuple(found)


def disturbance(trial: Trial | FailedTrial) -> Disturbance | None:
    """Return what disturbed a trial; None where nothing did or nothing was watching."""
    booted = [each.text for each in trial.boots]
    if booted:
        return Disturbance(stalls=(), late_frames=0, text="; ".join(booted))
    if isinstance(trial, FailedTrial) or trial.health is None or trial.health.virtual:
        return None
    long = [each for each in trial.health.stalls if each.end_ns - each.start_ns > STALL_LIMIT_NS]
    windows = [
        each for turn in trial.turns for each in (_window(turn, trial.ended_ns) if long else ())
    ]
    stalls = tuple(
        stall
        for stall in long
        if any(stall.start_ns < end and start < stall.end_ns for start, end in windows)
    )
    late = trial.health.late_frames
    if not stalls and not late:
        return None
    found = []
    if stalls:
        longest = max(stall.end_ns - stall.start_ns for stall in stalls)
        found.append(f"the machine stalled for up to {longest / MILLISECOND:.0f} ms")
    if late:
        found.append(f"{late} audio {'frame was' if late == 1 else 'frames were'} over 20 ms late")
    return Disturbance(stalls=stalls, late_frames=late, text="; ".join(found))


def select(trials: Iterable[Trial | FailedTrial]) -> Selection:
    """Sort out the trials of one candidate: warm-ups, re-runs, disturbed ones."""
    planned: dict[tuple[str, str, str, int], list[Trial | FailedTrial]] = {}
    everything = tuple(trial for trial in trials if not trial.key.warmup)
    for trial in everything:
        key = trial.key
        which = (key.candidate, key.recording, key.barge_in, key.repeat)
        planned.setdefault(which, []).append(trial)
    main: list[Trial | FailedTrial] = []
    undisturbed: list[Trial | FailedTrial] = []
    for attempts in planned.values():
        ordered = sorted(attempts, key=lambda trial: trial.key.attempt)
        good = next((each for each in ordered if disturbance(each) is None), None)
        if good is not None:
            main.append(good)
            undisturbed.append(good)
        elif warm := [each for each in ordered if not each.boots]:
            main.append(warm[-1])
    return Selection(
        everything=everything,
        main=tuple(main),
        undisturbed=tuple(undisturbed),
        reruns=len(everything) - len(planned),
        excluded=len(main) - len(undisturbed),
        booted=len(planned) - len(main),
    )
