"""The document of a suite, complete with its defaults: what a run's plan keeps of it."""

from typing import Any

from harness.domain.candidate import CACHES, Candidate, StageSettings
from harness.domain.secrecy import shown
from harness.domain.suite import Budget, BudgetKind, Clock, Suite
from harness.store.suites.barge_ins import barge_in_document, interruption_document
from harness.store.suites.conditions import condition_document
from harness.store.suites.stages import SCRIPTED_STAGES, plain

__all__ = ["suite_document"]


def suite_document(suite: Suite) -> dict[str, Any]:
    """Return the document of a suite, complete with defaults; ``parse_suite`` reads it back."""
    return {
        "name": suite.name,
        **({"description": suite.description} if suite.description else {}),
        "driver": suite.driver.value,
        "via": suite.via.value,
        "repeats": suite.repeats,
        "warmups": suite.warmups,
        **_present(seed=suite.seed),
        "concurrency": suite.concurrency,
        **({"clock": suite.clock.value} if suite.clock is not Clock.REAL else {}),
        "frame_ms": suite.frame_ms,
        "trailing": suite.trailing,
        "stage_texts": list(suite.stage_texts),
        "wer_limit": suite.wer_limit,
        "target_ms": suite.target_ms,
        "keep_audio": suite.keep_audio,
        **_present(baseline=suite.baseline),
        "dataset": [
            {
                "path": each.path,
                "ids": list(each.ids),
                **_present(limit=each.limit, skip_unreadable=each.skip_unreadable or None),
            }
            for each in suite.datasets
        ],
        **(
            {"intelligibility": _stage_document(suite.intelligibility)}
            if suite.intelligibility is not None
            else {}
        ),
        **(
            {"condition": [condition_document(each) for each in suite.conditions]}
            if suite.conditions
            else {}
        ),
        **(
            {"barge_in": [barge_in_document(each) for each in suite.barge_ins]}
            if suite.barge_ins
            else {}
        ),
        "session": _fields(suite.session),
        "gateway": _fields(suite.gateway),
        "timeouts": _fields(suite.timeouts),
        "limits": _fields(suite.limits),
        "candidate": [_candidate_document(each) for each in suite.candidates],
        "budget": [_budget_document(each) for each in suite.budgets],
        "price": {name: _fields(price) for name, price in suite.prices.items()},
    }


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _fields(value: Any) -> dict[str, Any]:
    found = {}
    for name in value.__dataclass_fields__:
        each = getattr(value, name)
        if each is not None:
            found[name] = list(each) if isinstance(each, tuple) else each
    return found


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": candidate.name,
        "instructions": candidate.instructions,
        **_present(agent=candidate.agent),
    }
    for stage in SCRIPTED_STAGES:
        settings = candidate.stage(stage)
        if settings is not None:
            document[stage.value] = _stage_document(settings)
    if candidate.interruption is not None:
        document["interruption"] = interruption_document(candidate.interruption)
    return document


def _stage_document(settings: StageSettings) -> dict[str, Any]:
    return {
        **_present(
            provider=settings.provider,
            model=settings.model,
            voice=settings.voice,
            profile=settings.profile,
        ),
        **({} if settings.cache == CACHES[0] else {"cache": settings.cache}),
        **plain(shown(settings.options)),
    }


def _budget_document(budget: Budget) -> dict[str, Any]:
    key = {
        BudgetKind.ABSOLUTE: "max",
        BudgetKind.RELATIVE: "max_ratio",
        BudgetKind.INCREASE: "max_increase",
    }[budget.kind]
    return {
        "metric": budget.metric,
        "statistic": budget.statistic,
        key: budget.limit,
        **_present(candidate=budget.candidate, reference=budget.reference, mde=budget.mde),
        **({} if budget.required else {"required": False}),
    }
