"""What a run has spent and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.domain.costs import estimate, trial_cost
from harness.domain.driver import PlayableUtterance
from harness.domain.request import FailureKind
from harness.domain.suite import Driver, Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.runner.outcome import End

__all__ = ["State", "length_s", "trial_deadline_s"]


PIPELINE_RATE = 16_000


BACKSTOP_S = 15.0


def length_s(utterance: PlayableUtterance) -> float:
    """Return how long a recording is."""
    return len(utterance.pcm) / 2 / PIPELINE_RATE


def trial_deadline_s(suite: Suite, utterance: PlayableUtterance) -> float:
    """Return the seconds after which a trial is given up whatever its driver thinks.

    The sum of all time-outs that a driver keeps by itself, and a margin: it strikes only when a
    driver has failed to keep them.
    """
    limits = suite.timeouts
    own = limits.connect_s + limits.transcript_s + limits.reply_s + limits.playout_s
    if suite.driver is Driver.STAGE:
        # The LLM and the TTS have a reply's time each.
        own = limits.transcript_s + 2 * limits.reply_s
    return length_s(utterance) + own + BACKSTOP_S


@dataclass(slots=True)
class State:
    """What changes while a run goes on; touched by its event loop alone."""

    suite: Suite
    total: int
    done: int
    spent: float | None
    performed: int = 0
    failed: int = 0
    reruns: int = 0
    end: End | None = None
    reason: str = ""
    ended: dict[str, str] = field(default_factory=dict)
    streak: dict[str, tuple[Stage, FailureKind, int]] = field(default_factory=dict)
    running: dict[TrialKey, None] = field(default_factory=dict)
    dearest: dict[str, float] = field(default_factory=dict)

    def expect_costs(
        self, plan: Sequence[TrialKey], utterances: Mapping[str, PlayableUtterance]
    ) -> None:
        """Expect of each candidate's first trial what the plan's estimate says that it costs."""
        durations = {name: length_s(each) for name, each in utterances.items()}
        for row in estimate(self.suite, plan, durations).candidates:
            if row.cost is not None and row.trials:
                self.dearest[row.candidate] = row.cost / row.trials

    def affords(self, candidate: str) -> bool:
        """Stop the run where the dearest trial so far might pass the spending limit."""
        limit = self.suite.limits.spend
        if limit is None:
            return True
        spent = self.spent or 0.0
        underway = sum(self.dearest.get(key.candidate, 0.0) for key in self.running)
        if spent + underway + self.dearest.get(candidate, 0.0) <= limit:
            return True
        self.end = End.STOPPED
        self.reason = f"the spending limit of {limit:g} would be passed; {spent:.4g} are spent"
        return False

    def count(
        self, key: TrialKey, trial: Trial | FailedTrial, utterance: PlayableUtterance
    ) -> None:
        """Account for a stored trial, and end its candidate where it only repeats a failure."""
        self.performed += 1
        if key.attempt == 0:
            self.done += 1
        candidate = next(each for each in self.suite.candidates if each.name == key.candidate)
        cost = trial_cost(self.suite, candidate, trial, length_s(utterance))
        if cost is not None:
            self.spent = (self.spent or 0.0) + cost
            self.dearest[key.candidate] = max(cost, self.dearest.get(key.candidate, 0.0))
        if isinstance(trial, Trial):
            self.streak.pop(key.candidate, None)
            return
        self.failed += 1
        if trial.boots:
            return
        failure = trial.failure
        stage, kind, count = self.streak.get(key.candidate, (failure.stage, failure.kind, 0))
        count = count + 1 if (stage, kind) == (failure.stage, failure.kind) else 1
        self.streak[key.candidate] = (failure.stage, failure.kind, count)
        if count >= self.suite.limits.same_failures:
            self.ended.setdefault(
                key.candidate,
                f"{count} trials in a row failed alike: {failure.stage.value} "
                f"{failure.kind.value}: {failure.message}",
            )
