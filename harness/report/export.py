"""What the report shows, for other programs: JSON, trials as flat records."""

import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from harness.report.trial_view import TrialView
from harness.report.view import ReportView

__all__ = ["FORMAT_VERSION", "metric_column", "render_json", "trial_records"]

FORMAT_VERSION = 1


def metric_column(metric: str, unit: str) -> str:
    """Return the name of a metric's column: its id, that of a time with its unit."""
    return f"{metric}_ms" if unit == "ms" else metric


def _plain(value: object) -> Any:
    """Return a value as JSON's types; what is not finite becomes null."""
    if isinstance(value, TrialView):
        raise TypeError("trials are written as records")
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def trial_records(view: ReportView) -> list[dict[str, str | int | bool | float | None]]:
    """Return one flat record for each trial; a time's column ends in its unit.

    The columns: run, trial, candidate, voice, utterance, condition, barge_in, repeat, status,
    failure, note, tags, emulated, clock, then each metric, then what the providers told of each
    stage (names from ``harness.report.providers.provider_facts``) and the trial's cost.
    """
    names = [metric_column(metric, unit) for metric, _, unit in view.trial_metrics]
    records: list[dict[str, str | int | bool | float | None]] = []
    for trial in view.trials:
        candidate = view.candidates[trial.candidate]
        record: dict[str, str | int | bool | float | None] = {
            "run": view.run,
            "trial": trial.id,
            "candidate": candidate.name,
            "voice": candidate.voice,
            "utterance": trial.utterance,
            "condition": trial.condition,
            "barge_in": trial.barge_in,
            "repeat": trial.repeat,
            "status": trial.status.value,
            "failure": trial.failure,
            "note": trial.note,
            "tags": "; ".join(trial.tags),
            "emulated": trial.emulated,
            "clock": view.clock,
        }
        record.update(zip(names, trial.values, strict=True))
        record.update(trial.provided)
        records.append(record)
    return records


def render_json(view: ReportView) -> str:
    """Return everything that the report shows as JSON, trials as flat records.

    Details of single turns stay in the run's folder; ``format`` counts changes of this layout.
    """
    body: dict[str, Any] = {"format": FORMAT_VERSION, "clock": view.clock}
    for each in fields(view):
        if each.name == "trials":
            body["trials"] = [_plain_record(record) for record in trial_records(view)]
        else:
            body[each.name] = _plain(getattr(view, each.name))
    return json.dumps(body, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _plain_record(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in record.items()}
