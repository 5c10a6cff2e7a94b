"""A router's choice of an upstream: by weight or by score, with failover, the same every run.

A profile may name several upstreams for a stage. A request goes to one of them; where that one
fails before it has said anything, the next one is asked, and the answer tells how often that
happened. Each upstream may behave by a profile of its own, so that the router's choice is seen in
the latency.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from harness.gateway.profiles.distributions import Constant, Distribution, Draws
from harness.gateway.profiles.faults import Stage

__all__ = ["OBJECTIVES", "AudioForm", "Chosen", "NoUpstream", "Routing", "Upstream", "choose"]

AudioForm = Literal["pcm", "wav", "mpeg"]

OBJECTIVES: Final[Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "balanced": (0.5, 0.3, 0.2),
        "accuracy": (0.8, 0.15, 0.05),
        "quality": (0.8, 0.15, 0.05),
        "latency": (0.2, 0.7, 0.1),
        "cost": (0.15, 0.15, 0.7),
    }
)
"""Speko's documented weights of quality, latency and cost, by objective."""

_FAILOVER: Final = Constant(ms=80.0)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One provider that a router may choose.

    Attributes:
        provider, model: as the answer names them.
        weight: its share of the requests, where the upstreams have no scores.
        failure: how often it fails before its first word, within 0 and 1.
        profile: the profile by whose settings it answers; None for the router's own.
        score: quality, latency and cost within 0 and 1, better is more. Where every upstream of a
            stage has one, the best by the request's objective is asked first.
        audio: how a TTS packs its samples.
    """

    provider: str
    model: str
    weight: float = 1.0
    failure: float = 0.0
    profile: str | None = None
    score: tuple[float, float, float] | None = None
    audio: AudioForm = "pcm"

    def __post_init__(self) -> None:
        _require(bool(self.provider) and bool(self.model), "an upstream has a provider and a model")
        _require(self.weight > 0, "weight must be above 0")
        _require(0 <= self.failure <= 1, "failure must lie within 0 and 1")
        _require(
            self.score is None or all(0 <= each <= 1 for each in self.score),
            "score must be three numbers within 0 and 1",
        )
        _require(self.audio in ("pcm", "wav", "mpeg"), "audio must be pcm, wav or mpeg")

    @property
    def name(self) -> str:
        """Return ``provider:model``, as allow-lists name it."""
        return f"{self.provider}:{self.model}"

    def matches(self, entries: tuple[str, ...]) -> bool:
        """Return whether a list of ``provider`` and ``provider:model`` names this upstream."""
        return any(entry in (self.provider, self.name) for entry in entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The upstreams of a profile.

    Attributes:
        stt, llm, tts: for each stage; empty where the stage is not routed.
        failover: what a failed upstream costs before the next is asked.
        scores_run: the name of the scores that the choice rests on.
    """

    stt: tuple[Upstream, ...] = ()
    llm: tuple[Upstream, ...] = ()
    tts: tuple[Upstream, ...] = ()
    failover: Distribution = _FAILOVER
    scores_run: str = "gateway-scores-1"

    def of(self, stage: Stage) -> tuple[Upstream, ...]:
        """Return the upstreams of a stage."""
        routed = {Stage.STT: self.stt, Stage.LLM: self.llm, Stage.TTS: self.tts}
        return routed.get(stage, ())


class NoUpstream(Exception):  # noqa: N818  # an answer to the client, not a defect
    """No upstream may be asked, or every one that was asked failed.

    Args:
        asked: how many were asked.
        delay_ns: how long that took.
    """

    def __init__(self, asked: int, delay_ns: int) -> None:
        super().__init__(asked, delay_ns)
        self.asked = asked
        self.delay_ns = delay_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the router decided.

    Attributes:
        upstream: what answers.
        failovers: how many were asked before it and failed.
        delay_ns: how long they took.
        reason: why it was chosen, in a few words.
    """

    upstream: Upstream
    failovers: int
    delay_ns: int
    reason: str


def _ranked(candidates: list[Upstream], objective: str, draws: Draws) -> tuple[list[Upstream], str]:
    """Return the candidates in the order in which they are asked."""
    scores = [each.score for each in candidates]
    if all(score is not None for score in scores):
        weights = OBJECTIVES.get(objective, OBJECTIVES["balanced"])
        return (
            sorted(
                candidates,
                key=lambda each: (
                    -sum(
                        weight * part
                        for weight, part in zip(weights, each.score or (), strict=True)
                    )
                ),
            ),
            f"best by {objective}",
        )
    order: list[Upstream] = []
    rest = list(candidates)
    while rest:
        position = draws.uniform("route", len(order)) * sum(each.weight for each in rest)
        for each in rest:
            position -= each.weight
            if position < 0:
                break
        order.append(each)
        rest.remove(each)
    return order, "by weight"


def choose(
    routing: Routing,
    stage: Stage,
    draws: Draws,
    *,
    objective: str = "balanced",
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
) -> Chosen:
    """Return the upstream that answers a request.

    Args:
        routing: the profile's upstreams; the stage must have some.
        stage: the stage.
        draws: the request's random numbers.
        objective: a key of `OBJECTIVES`.
        allow: only these, if any are named; ``provider`` or ``provider:model``.
        deny: never these.

    Raises:
        NoUpstream: none may be asked, or all failed.
    """
    candidates = [
        each
        for each in routing.of(stage)
        if (not allow or each.matches(allow)) and not each.matches(deny)
    ]
    order, reason = _ranked(candidates, objective, draws)
    delay_ns = 0
    failed: list[str] = []
    for hop, upstream in enumerate(order):
        if draws.uniform("route-failure", hop) >= upstream.failure:
            if failed:
                reason = f"failover from {failed[-1]}"
            return Chosen(
                upstream=upstream,
                failovers=hop,
                delay_ns=delay_ns,
                reason=reason,
            )
        failed.append(upstream.name)
        delay_ns += draws.delay_ns(routing.failover, "failover", hop)
    raise NoUpstream(len(failed), delay_ns)
