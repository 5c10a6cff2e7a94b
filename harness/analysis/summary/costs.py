"""What a candidate's trials cost, where the suite gives prices.

Every request counts, also one that was cancelled or failed after it was sent: providers bill what
they did. A reply of which no usage was reported is named as uncounted, not taken as free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.analysis.summary.samples import Row
from harness.analysis.turn.usage import Tokens, audio_seconds_of, tokens_of
from harness.domain.candidate import Candidate
from harness.domain.providers import PROVIDERS
from harness.domain.request import Request
from harness.domain.suite import Price
from harness.domain.timeline import Stage

__all__ = ["Cost", "cost_of", "price_of"]

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What trials cost, in the suite's currency.

    Attributes:
        total: of all trials together, as far as counted.
        per_trial: the total over the number of trials.
        stages: the total by stage.
        trials: how many.
        uncounted: LLM requests whose provider reported no usage.
        unpriced: stages that the suite gives no price for.
    """

    total: float
    per_trial: float
    stages: Mapping[Stage, float]
    trials: int
    uncounted: int
    unpriced: tuple[Stage, ...]


def price_of(candidate: Candidate, stage: Stage, prices: Mapping[str, Price]) -> Price | None:
    """Return the price of a candidate's stage, looked up as "provider/model"."""
    settings = candidate.stage(stage)
    if settings is None:
        return None
    model = settings.model
    if model is None:
        spec = PROVIDERS.get(settings.provider)
        known = None if spec is None else spec.stages.get(stage)
        model = None if known is None else known.default_model
    return prices.get(f"{settings.provider}/{model}")


def cost_of(
    rows: Sequence[Row],
    candidate: Candidate,
    prices: Mapping[str, Price],
    *,
    silence_s: Mapping[str, float] = MappingProxyType({}),
) -> Cost | None:
    """Return what trials cost; None where no stage has a price or there is no trial.

    Args:
        rows: the trials, measured.
        candidate: whose they are.
        prices: by "provider/model".
        silence_s: by how much each condition lengthens a recording, by its name; used where the
            audio that the STT was sent was not counted.
    """
    stages: dict[Stage, float] = {}
    unpriced: list[Stage] = []
    uncounted = 0
    for stage in (Stage.STT, Stage.LLM, Stage.TTS):
        if candidate.stage(stage) is None:
            continue
        price = price_of(candidate, stage, prices)
        if price is None:
            unpriced.append(stage)
            continue
        total = 0.0
        for row in rows:
            if stage is Stage.STT:
                total += _heard_s(row, silence_s) / 60.0 * (price.per_audio_minute or 0.0)
                continue
            for request in _requests(row, stage):
                if stage is Stage.TTS:
                    total += len(request.text) / MILLION * (price.per_million_characters or 0.0)
                    continue
                tokens = tokens_of(request)
                if tokens is None:
                    uncounted += 1
                    continue
                total += _tokens_cost(tokens, price)
        stages[stage] = total
    if not stages or not rows:
        return None
    whole = sum(stages.values())
    return Cost(
        total=whole,
        per_trial=whole / len(rows),
        stages=MappingProxyType(stages),
        trials=len(rows),
        uncounted=uncounted,
        unpriced=tuple(unpriced),
    )


def _heard_s(row: Row, silence_s: Mapping[str, float]) -> float:
    """Return the seconds of audio that the STT was sent; where nobody counted, the recording's."""
    told = [audio_seconds_of(each) for each in _requests(row, Stage.STT)]
    counted = [each for each in told if each is not None]
    if counted:
        return sum(counted)
    return (row.utterance.duration_s or 0.0) + silence_s.get(row.trial.key.condition, 0.0)


def _requests(row: Row, stage: Stage) -> list[Request]:
    return [
        request for turn in row.trial.turns for request in turn.requests if request.stage is stage
    ]


def _tokens_cost(tokens: Tokens, price: Price) -> float:
    """Return what an LLM request's tokens cost; cached ones are cheaper where a price says so."""
    full = price.per_million_input_tokens or 0.0
    less = price.per_million_cached_input_tokens
    cached = 0 if less is None else min(tokens.cached or 0, tokens.sent)
    prompt = (tokens.sent - cached) * full + cached * (less or 0.0)
    return (prompt + tokens.received * (price.per_million_output_tokens or 0.0)) / MILLION
