"""What a plan will take and what a trial has cost, by the suite's prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.request import Request
from harness.domain.suite import Clock, Driver, Price, Suite, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey

__all__ = [
    "CandidateEstimate",
    "PlanEstimate",
    "estimate",
    "model_name",
    "stage_price",
    "trial_cost",
]


CHARACTERS_PER_TOKEN = 4.0


RESPONSE_SECONDS = 1.5


STAGE_SECONDS = 2.5
# What a trial takes beside: a session overlaps most of it with the recording.


# What a trial takes beside: a session overlaps most of it with the recording.
TRIAL_SECONDS = {Driver.SESSION: 0.2, Driver.STAGE: 1.2}


START_SECONDS = 8.0
VIRTUAL_TRIAL_SECONDS = 0.15
"""Of a processor: on the virtual clock no trial waits."""


class _Reply(NamedTuple):
    """How long a reply is taken to be: the gateway's script, or two spoken sentences."""

    tokens: int
    characters: int
    seconds: float


REPLIES = {Via.GATEWAY: _Reply(17, 68, 4.2), Via.LIVE: _Reply(28, 110, 7.0)}


def model_name(settings: StageSettings, stage: Stage) -> str:
    """Return the model that a stage asks for: the suite's, else the provider's default."""
    if settings.model is not None:
        return settings.model
    provider = PROVIDERS.get(settings.provider)
    spec = provider.stages.get(stage) if provider is not None else None
    return (spec.default_model if spec is not None else None) or "default"


def stage_price(suite: Suite, candidate: Candidate, stage: Stage) -> Price | None:
    """Return what the suite says that a candidate's stage costs; None where it says nothing."""
    settings = candidate.stage(stage)
    if settings is None:
        return None
    return suite.prices.get(f"{settings.provider}/{model_name(settings, stage)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEstimate:
    """What a run will ask of one candidate's providers.

    Attributes:
        candidate: its name.
        trials: with warm-ups, without re-runs.
        audio_in_s: seconds of speech to recognise.
        audio_out_s: seconds of speech to synthesise.
        input_tokens, output_tokens: of the LLM.
        characters: of text to synthesise.
        cost: in the suite's currency; None where no price is given for any stage.
        unpriced: stages in use without a price; they are not part of ``cost``.
    """

    candidate: str
    trials: int
    audio_in_s: float
    audio_out_s: float
    input_tokens: int
    output_tokens: int
    characters: int
    cost: float | None
    unpriced: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEstimate:
    """What a run will take, before anything is asked of a provider.

    Attributes:
        trials: with warm-ups, without re-runs.
        measured: without warm-ups.
        seconds: wall time.
        candidates: in the suite's order.
        assumptions: what the figures rest on, a sentence each.
    """

    trials: int
    measured: int
    seconds: float
    candidates: tuple[CandidateEstimate, ...]
    assumptions: tuple[str, ...]

    @property
    def cost(self) -> float | None:
        """The sum over candidates with a price; None where there is none."""
        known = [each.cost for each in self.candidates if each.cost is not None]
        return sum(known) if known else None


def estimate(
    suite: Suite,
    plan: Sequence[TrialKey],
    durations: Mapping[str, float],
    *,
    characters: Mapping[str, int] | None = None,
) -> PlanEstimate:
    """Say what a plan will take.

    Args:
        suite: the plan's suite.
        plan: the trials to be run.
        durations: seconds of each recording, by its name (``TrialKey.recording``).
        characters: length of each utterance's text; an utterance that is missing counts 60.
    """
    lengths = characters or {}
    reply = REPLIES[suite.via]
    rows = []
    busy = 0.0
    for candidate in suite.candidates:
        keys = [key for key in plan if key.candidate == candidate.name]
        audio_in = sum(durations[key.recording] for key in keys)
        spoken = suite.driver is Driver.SESSION or candidate.tts is not None
        has_llm = candidate.llm is not None or candidate.agent is not None
        audio_out = reply.seconds * len(keys) if spoken else 0.0
        tokens_in = sum(
            (len(candidate.instructions) + lengths.get(key.utterance, 60)) / CHARACTERS_PER_TOKEN
            for key in keys
        )
        usage = _Usage(
            input_tokens=tokens_in if has_llm else 0.0,
            output_tokens=float(reply.tokens * len(keys)) if has_llm else 0.0,
            audio_minutes=audio_in / 60,
            characters=float(reply.characters * len(keys)) if spoken else 0.0,
        )
        cost, unpriced = _cost(suite, candidate, usage)
        rows.append(
            CandidateEstimate(
                candidate=candidate.name,
                trials=len(keys),
                audio_in_s=audio_in,
                audio_out_s=audio_out,
                input_tokens=round(usage.input_tokens),
                output_tokens=round(usage.output_tokens),
                characters=round(usage.characters),
                cost=cost,
                unpriced=unpriced,
            )
        )
        after = (
            RESPONSE_SECONDS + _listened_s(suite)
            if suite.driver is Driver.SESSION
            else STAGE_SECONDS
        )
        busy += audio_in + (after + TRIAL_SECONDS[suite.driver]) * len(keys)
    if suite.clock is Clock.VIRTUAL:
        busy = VIRTUAL_TRIAL_SECONDS * len(plan)
    seconds = START_SECONDS + busy / suite.concurrency
    rate = suite.limits.trials_per_minute
    if rate is not None:
        seconds = max(seconds, START_SECONDS + 60 * len(plan) / rate)
    return PlanEstimate(
        trials=len(plan),
        measured=sum(not key.warmup for key in plan),
        seconds=seconds,
        candidates=tuple(rows),
        assumptions=_assumptions(suite),
    )


def _listened_s(suite: Suite) -> float:
    """Return the seconds for which the caller listens to a reply before hanging up."""
    whole, hang_up_s = REPLIES[suite.via].seconds, suite.timeouts.hang_up_s
    return whole if hang_up_s is None else min(whole, hang_up_s)


def _assumptions(suite: Suite) -> tuple[str, ...]:
    length = REPLIES[suite.via]
    reply = f"a reply has {length.tokens} tokens, {length.characters} characters"
    audio = f"{length.seconds:.1f} s of audio"
    lines = [f"{reply} and {audio}; {CHARACTERS_PER_TOKEN:.0f} characters make a token"]
    if suite.driver is Driver.SESSION:
        listened = _listened_s(suite)
        heard = (
            "played to its end"
            if listened == length.seconds
            else f"heard for {listened:g} s (hang_up_s)"
        )
        lines.append(f"the caller waits {RESPONSE_SECONDS} s for a reply, which is then {heard}")
    else:
        lines.append(f"the stages take {STAGE_SECONDS} s beside the recording")
    if suite.clock is Clock.VIRTUAL:
        lines.append(
            f"a trial takes {VIRTUAL_TRIAL_SECONDS:g} s of a processor; its waits take no time"
        )
    else:
        lines.append("no trial is disturbed; each re-run adds one trial")
    if suite.driver is Driver.SESSION and suite.session.preemptive_generation:
        lines.append(
            "preemptive generation may ask the LLM several times a turn; this counts one request"
        )
    return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usage:
    input_tokens: float
    output_tokens: float
    audio_minutes: float
    characters: float
    cached_tokens: float = 0.0


def _cost(
    suite: Suite, candidate: Candidate, usage: _Usage
) -> tuple[float | None, tuple[Stage, ...]]:
    total: float | None = None
    unpriced = []
    for stage in (Stage.STT, Stage.LLM, Stage.TTS):
        if candidate.stage(stage) is None:
            continue
        price = stage_price(suite, candidate, stage)
        if price is None:
            unpriced.append(stage)
            continue
        total = (total or 0.0) + _priced(price, stage, usage)
    return total, tuple(unpriced)


def _priced(price: Price, stage: Stage, usage: _Usage) -> float:
    if stage is Stage.STT:
        return usage.audio_minutes * (price.per_audio_minute or 0.0)
    if stage is Stage.LLM:
        full = price.per_million_input_tokens or 0.0
        less = price.per_million_cached_input_tokens
        cached = 0.0 if less is None else min(usage.cached_tokens, usage.input_tokens)
        return (
            (usage.input_tokens - cached) * full
            + cached * (less or 0.0)
            + usage.output_tokens * (price.per_million_output_tokens or 0.0)
        ) / 1e6
    return usage.characters * (price.per_million_characters or 0.0) / 1e6


def trial_cost(
    suite: Suite, candidate: Candidate, trial: Trial | FailedTrial, audio_s: float
) -> float | None:
    """Return what a trial has cost by the suite's prices; None where none applies.

    Tokens are the provider's own count (``usage.…`` in a request's facts) where it gave one, else
    estimated from the text. Cancelled and failed requests count: they are billed as well.

    Args:
        suite: holds the prices.
        candidate: the trial's.
        trial: what was performed.
        audio_s: seconds of the recording, for an STT whose requests do not tell how much they were
            sent.
    """
    requests = [request for turn in trial.turns for request in turn.requests]
    llm = [request for request in requests if request.stage is Stage.LLM]
    prompts = [_count(each, "prompt_tokens", "input_tokens") for each in llm]
    replies = [_count(each, "completion_tokens", "output_tokens") for each in llm]
    cached = [
        _count(each, "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens")
        for each in llm
    ]
    heard = [
        seconds
        for each in requests
        if each.stage is Stage.STT
        and (seconds := _number(each.facts.get("audio_seconds"))) is not None
    ]
    assumed = len(candidate.instructions) / CHARACTERS_PER_TOKEN + 15
    usage = _Usage(
        input_tokens=sum(assumed if each is None else each for each in prompts),
        output_tokens=sum(
            len(request.text) / CHARACTERS_PER_TOKEN if count is None else count
            for request, count in zip(llm, replies, strict=True)
        ),
        audio_minutes=(sum(heard) if heard else audio_s) / 60,
        characters=sum(len(each.text) for each in requests if each.stage is Stage.TTS),
        cached_tokens=sum(each or 0.0 for each in cached),
    )
    return _cost(suite, candidate, usage)[0]


def _count(request: Request, *names: str) -> float | None:
    nested = request.facts.get("usage")
    for name in names:
        value = request.facts.get(f"usage.{name}")
        if value is None and isinstance(nested, Mapping):
            value = nested.get(name)
        if (number := _number(value)) is not None:
            return number
    return None


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None
