"""The run's numbers for other programs: JSON of the summary, CSV and Parquet of the trials."""

import csv
import io
import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError
from harness.report.providers import PROVIDED
from harness.report.view import ReportView, TrialView

__all__ = ["FORMAT_VERSION", "render_csv", "render_json", "trial_records", "write_parquet"]

FORMAT_VERSION = 1
_UNIT_SUFFIX = {"ms": "_ms", "rate": "", "ratio": "", "tokens/s": "_per_s", "count": ""}
_KINDS: dict[str, type] = {"repeat": int, "emulated": bool}
# What a spreadsheet would run when it opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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


def _metric_columns(view: ReportView) -> list[str]:
    return [f"{metric}{_UNIT_SUFFIX.get(unit, '')}" for metric, _, unit in view.trial_metrics]


def trial_records(view: ReportView) -> list[dict[str, str | int | bool | float | None]]:
    """Return one flat record for each trial; a metric's column ends in its unit.

    The columns: run, trial, candidate, voice, utterance, condition, barge_in, repeat, status,
    failure, note, tags, emulated, then each metric, then what the providers told of each stage (the
    names are those of ``harness.report.providers.provider_facts``) and the trial's cost.
    """
    names = _metric_columns(view)
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
        }
        record.update(zip(names, trial.values, strict=True))
        record.update(trial.provided)
        records.append(record)
    return records


def render_json(view: ReportView) -> str:
    """Return everything that the report shows as JSON, trials as flat records.

    Details of single turns stay in the run's folder; ``format`` counts changes of this layout.
    """
    body: dict[str, Any] = {"format": FORMAT_VERSION}
    for each in fields(view):
        if each.name == "trials":
            body["trials"] = [_plain_record(record) for record in trial_records(view)]
        else:
            body[each.name] = _plain(getattr(view, each.name))
    return json.dumps(body, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _plain_record(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in record.items()}


def _safe(value: object) -> object:
    """Keep a spreadsheet from running a provider's or a dataset's text as a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def render_csv(view: ReportView) -> str:
    """Return one line for each trial under a header (RFC 4180, UTF-8, CRLF)."""
    records = trial_records(view)
    buffer = io.StringIO(newline="")
    if records:
        writer = csv.DictWriter(buffer, fieldnames=list(records[0]))
        writer.writeheader()
        for record in records:
            writer.writerow({name: _safe(value) for name, value in record.items()})
    return buffer.getvalue()


def write_parquet(view: ReportView, path: Path) -> None:
    """Write the trials' records as Parquet.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            'Parquet needs pyarrow: install it with pip install "turnbench[parquet]", '
            "or choose --format csv"
        ) from error
    records = trial_records(view)
    kinds = {**_KINDS, **PROVIDED, **dict.fromkeys(_metric_columns(view), float)}
    types = {float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string()}
    names = list(records[0]) if records else []
    schema = pa.schema([(name, types[kinds.get(name, str)]) for name in names])
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)
