"""What a suite names and only others know: the gateway's profiles, and the metrics."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.domain.suite import Budget
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.store.suites.stages import SCRIPTED_STAGES
from harness.store.table import Table, nearest

__all__ = ["ProfileStages", "check_metrics", "check_profiles"]

ProfileStages = Callable[[Path | None], Mapping[str, Collection[Stage]]]
"""Given a file of further gateway profiles or None: each known profile and what it serves."""


def check_profiles(top: Table, fields: Mapping[str, Any], profiles: ProfileStages) -> None:
    """Note gateway profiles that are unknown or do not serve their stage."""
    file = fields["gateway"].profiles
    try:
        known = profiles(None if file is None else Path(file))
    except ConfigurationError as error:
        top.problems.extend(f"gateway.profiles: {line}" for line in error.problems)
        return
    named = [
        (f"candidate[{number}].{stage.value}", table.get(stage.value), stage)
        for number, table in enumerate(_tables(top.take("candidate")), start=1)
        for stage in (*SCRIPTED_STAGES, Stage.INTERRUPTION)
    ]
    named.append(("intelligibility", top.take("intelligibility"), Stage.STT))
    for path, inner, stage in named:
        name = inner.get("profile") if isinstance(inner, Mapping) else None
        if not isinstance(name, str) or not name.strip():
            continue
        where = f"{path}.profile"
        able = [each for each, stages in known.items() if stage in stages]
        if name not in known:
            top.problem(where, f"{name!r} is unknown; {nearest(name, able)}")
        elif name not in able:
            top.problem(where, f"{name!r} does not serve {stage.value}; {nearest(name, able)}")


def check_metrics(top: Table, budgets: Iterable[Budget], metrics: Collection[str]) -> None:
    """Note budgets of metrics that do not exist."""
    for number, budget in enumerate(budgets, start=1):
        if budget.metric and budget.metric not in metrics:
            top.problem(
                f"budget[{number}].metric",
                f"{budget.metric!r} is unknown; {nearest(budget.metric, metrics)}",
            )


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        return []
    return [each if isinstance(each, Mapping) else {} for each in value]
