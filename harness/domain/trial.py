"""What one performance of an utterance left behind: turns, requests, failures.

Everything here is raw: instants, texts, counts. Metrics, the waterfall and verdicts are computed
from it by ``harness.analysis`` and never stored in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.clock import Work
from harness.domain.barge_in import Expects
from harness.domain.boot import Boot
from harness.domain.reply import Overlap, Reply
from harness.domain.request import EMPTY, Failure, Idle, Request, Transcript, Wait
from harness.domain.timeline import Mark, Stage, Timeline
from harness.errors import InvariantError

__all__ = ["FailedTrial", "Health", "Stall", "Trial", "TrialKey", "Turn", "recording_name"]


def recording_name(utterance: str, condition: str) -> str:
    """Return the name of an utterance's recording under a condition, unique within a run.

    Neither name holds a slash, so the two are joined by one; without a condition it is the
    utterance's id.
    """
    return f"{utterance}/{condition}" if condition else utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One utterance and the agent's reply.

    Attributes:
        index: 0 for the first turn of the trial.
        utterance: the utterance's id.
        marks: the turn's own instants; those of a stage stand in its requests.
        work: the event loop thread's cumulative work at those instants.
        transcripts: every transcript event in order of arrival.
        requests: every request in order of creation.
        audible_request: the TTS request that produced the first audible sample.
        waits: known waits outside any request.
        idle: the loop's idleness in each gap between neighbouring marks that has any, in order;
            empty where it was not watched.
        reply: the reply's audio, if there was any.
        reported: LiveKit's own numbers for the turn, by its own names, in seconds.
        overlap: what was to be said over the reply; None for most turns. It has been said where
            the mark ``overlap_start`` stands.
        agent_cpu_ns: processor time that the agent's own code spent, from the opening of the
            caller's line to the turn's end; None where it was not accounted for.
    """

    index: int
    utterance: str
    marks: Mapping[Mark, int] = field(default_factory=lambda: EMPTY)
    work: Mapping[Mark, Work] = field(default_factory=lambda: EMPTY)
    transcripts: tuple[Transcript, ...] = ()
    requests: tuple[Request, ...] = ()
    audible_request: str | None = None
    waits: tuple[Wait, ...] = ()
    idle: tuple[Idle, ...] = ()
    reply: Reply | None = None
    reported: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    overlap: Overlap | None = None
    agent_cpu_ns: int | None = None

    def __post_init__(self) -> None:
        """Check that ids are unique and parents exist."""
        ids = [request.id for request in self.requests]
        if len(set(ids)) != len(ids):
            raise InvariantError(f"turn {self.index} has two requests with one id")
        known = set(ids)
        for request in self.requests:
            if request.parent is not None and request.parent not in known:
                raise InvariantError(f"request {request.id} has an unknown parent {request.parent}")
        if self.audible_request is not None and self.audible_request not in known:
            raise InvariantError(f"audible request {self.audible_request} is unknown")

    def request(self, request_id: str | None) -> Request | None:
        """Return the request with this id, if there is one."""
        return next((each for each in self.requests if each.id == request_id), None)

    def chain(self) -> tuple[Request, ...]:
        """Return the request behind the first audible sample and its ancestors, latest first.

        Where nothing was audible, the last request that was not cancelled stands in.
        """
        current = self.request(self.audible_request)
        if current is None:
            kept = [each for each in self.requests if not each.cancelled]
            by_stage = {stage: [r for r in kept if r.stage is stage] for stage in Stage}
            for stage in (Stage.TTS, Stage.LLM, Stage.STT):
                if by_stage[stage]:
                    current = by_stage[stage][0]
                    break
        found: list[Request] = []
        # By identity: ids are unique, and comparing all fields of requests takes its time.
        while current is not None and all(current is not each for each in found):
            found.append(current)
            current = self.request(current.parent)
        return tuple(found)

    def timeline(self) -> Timeline:
        """Return the turn's marks with those of the requests behind the first audible reply.

        Where several LLM requests lie on the chain (a tool call and its answer), the marks are
        those of the one nearest to the reply. A stage that is not on the chain (each stage alone
        has no chain) gives the marks of its first request that was not cancelled.
        """
        marks: dict[Mark, int] = dict(self.marks)
        chain = self.chain()
        kept = (each for each in self.requests if not each.cancelled)
        taken: set[Stage] = set()
        for request in (*chain, *kept):
            if request.stage in taken:
                continue
            taken.add(request.stage)
            for mark, instant in request.marks.items():
                marks.setdefault(mark, instant)
        return Timeline(marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A time in which the machine did not run the harness."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How well the machine and the harness kept time during one trial.

    Attributes:
        frames: audio frames released.
        lateness_p50_ns, lateness_p99_ns, lateness_max_ns: lateness of frames against the schedule.
        late_frames: frames more than 20 ms late.
        loop_lag_p99_ns, loop_lag_max_ns: lateness of a 10 ms timer on the event loop.
        stalls: host stalls of more than 10 ms, seen by a separate thread or process.
        virtual: kept on a virtual clock: no machine can stall it, and a frame is late because the
            agent's own code blocked the loop.
    """

    frames: int
    lateness_p50_ns: int
    lateness_p99_ns: int
    lateness_max_ns: int
    late_frames: int
    loop_lag_p99_ns: int
    loop_lag_max_ns: int
    stalls: tuple[Stall, ...] = ()
    virtual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialKey:
    """Which trial of the plan this is.

    Attributes:
        candidate: its name in the suite.
        utterance: its id in the dataset.
        repeat: 0 for the first performance.
        order: position in the run's shuffled plan.
        warmup: labelled, kept, and left out of summaries.
        attempt: 0, or the number of the re-run after a disturbed trial.
        condition: the acoustic condition's name; "" for a suite without conditions.
        barge_in: the name of what is said over the reply; "" where nothing is.
        expects: what the agent should make of it; None where nothing is said.
    """

    candidate: str
    utterance: str
    repeat: int
    order: int
    warmup: bool = False
    attempt: int = 0
    condition: str = ""
    barge_in: str = ""
    expects: Expects | None = None

    @property
    def recording(self) -> str:
        """What is played: :func:`recording_name` of the utterance and the condition."""
        return recording_name(self.utterance, self.condition)

    @property
    def id(self) -> str:
        """The trial's name within the run, safe as a file name."""
        kind = "w" if self.warmup else "t"
        again = f"-{self.attempt}" if self.attempt else ""
        return f"{kind}{self.order:05d}{again}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One performance of an utterance by a candidate.

    Attributes:
        key: which trial of the plan.
        driver: "session" or "stage".
        started_ns: when it began, on the run's clock.
        ended_ns: when it ended.
        turns: at least one.
        health: how well the machine kept time.
        cold: the first trial on a connection of this candidate.
        emulated: the stages of a user's own agent whose requests went to a gateway; None where
            that was not watched.
        boots: deployments that it found scaled to zero.
        lane_bytes: resident memory of the lane after it; None where nobody tells.
    """

    key: TrialKey
    driver: str
    started_ns: int
    ended_ns: int
    turns: tuple[Turn, ...]
    health: Health | None = None
    cold: bool = False
    emulated: frozenset[Stage] | None = None
    boots: tuple[Boot, ...] = ()
    lane_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse a trial without a turn."""
        if not self.turns:
            raise InvariantError(f"trial {self.key.id} has no turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTrial:
    """A trial that did not end well, with what it left behind.

    Attributes:
        key: which trial of the plan.
        driver: "session" or "stage".
        started_ns: when it began, on the run's clock.
        ended_ns: when it was given up.
        failure: the first cause.
        turns: as far as they came.
        health: how well the machine kept time.
        cold: the first trial on a connection of this candidate.
        emulated: the stages of a user's own agent whose requests went to a gateway; None where
            that was not watched.
        boots: deployments that it found scaled to zero.
        lane_bytes: resident memory of the lane after it; None where nobody tells.
    """

    key: TrialKey
    driver: str
    started_ns: int
    ended_ns: int
    failure: Failure
    turns: tuple[Turn, ...] = ()
    health: Health | None = None
    cold: bool = False
    emulated: frozenset[Stage] | None = None
    boots: tuple[Boot, ...] = ()
    lane_bytes: int | None = None
