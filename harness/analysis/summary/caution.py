"""A finding about a run's validity, with advice, and the facts that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.domain.timeline import Stage

__all__ = ["Caution", "RunFacts"]


EMPTY: Mapping[str, frozenset[Stage]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """A finding about a run's validity, with advice.

    Attributes:
        code: stable, for programs.
        text: what was found.
        advice: what to do about it.
        candidate: the candidate concerned; None for the whole run.
    """

    code: str
    text: str
    advice: str
    candidate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run's environment says that no trial can tell.

    Attributes:
        emulated: for each candidate the stages that ran through the gateway.
        git_dirty: the work tree had changes; None where there is no repository.
        other_machine: what differs from the machine of the run compared against; "" for nothing.
        synthetic: the recordings were made by speech synthesis.
        skipped: a line for each recording that was left out because it cannot be played.
        ended_early: candidates that were given up, with the reason.
        wer_limit: the WER up to which a turn counts as correct.
        warm: connections were meant to be warm.
        caches: how each candidate's LLM meets prompt caches, by the candidate's name.
    """

    emulated: Mapping[str, frozenset[Stage]] = field(default_factory=lambda: EMPTY)
    git_dirty: bool | None = None
    other_machine: str = ""
    synthetic: bool = False
    skipped: tuple[str, ...] = ()
    ended_early: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    wer_limit: float = 0.2
    warm: bool = True
    caches: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
