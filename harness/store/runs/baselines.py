"""Baseline files: the figures of several runs of one plan, small enough to be reviewed.

Version 1 (0.1.0): ``v``, ``name``, ``saved_utc``, ``runs``, ``trials`` (candidate → trials of each
run), ``machine``, ``datasets``, ``options``, ``normaliser``, ``figures`` (candidate → metric →
statistic → one figure for each run, in the metric's unit), ``definitions``. Keys are sorted and
figures rounded to five significant digits, so that a change of the file shows what has changed.
``recogniser`` stands there where one heard the replies again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.gate.baseline import Baseline
from harness.domain.typed import mistyped
from harness.errors import ConfigurationError
from harness.store.files import write_output
from harness.store.runs.environment import utc_now
from harness.store.secrecy import mask_text

__all__ = ["StoredBaseline", "read_baseline", "write_baseline"]

BASELINE_VERSION = 1
DIGITS = 5

_FLAT_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBaseline:
    """A baseline and when it was saved."""

    baseline: Baseline
    saved_utc: str


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline's file, whole or not at all.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    document = {
        "v": BASELINE_VERSION,
        "name": baseline.name,
        "saved_utc": utc_now().isoformat(timespec="seconds"),
        "runs": list(baseline.runs),
        "trials": {name: list(counts) for name, counts in baseline.trials.items()},
        "machine": dict(baseline.machine),
        "datasets": dict(baseline.datasets),
        "options": dict(baseline.options),
        "normaliser": baseline.normaliser,
        **({"recogniser": baseline.recogniser} if baseline.recogniser else {}),
        "figures": {
            candidate: {
                metric: {
                    statistic: [float(f"{value:.{DIGITS}g}") for value in values]
                    for statistic, values in statistics.items()
                }
                for metric, statistics in metrics.items()
            }
            for candidate, metrics in baseline.figures.items()
        },
        "definitions": dict(baseline.definitions),
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
    # A figure's runs stand on one line: a reviewer reads a row, not a column.
    text = _FLAT_LIST.sub(lambda found: f"[{' '.join(found.group(1).split())}]", text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, f"{mask_text(text)}\n".encode())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def read_baseline(path: Path) -> StoredBaseline:
    """Read a baseline's file.

    Raises:
        ConfigurationError: it is missing, damaged, or of a newer version of the format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: there is no such baseline; make one: turnbench baseline save {path} RUN…"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a baseline: {error}") from error
    try:
        if document["v"] > BASELINE_VERSION:
            raise ConfigurationError(
                f"{path}: format version {document['v']} is newer than {BASELINE_VERSION}, which "
                "this turnbench reads; upgrade turnbench"
            )
        baseline, saved_utc = _decode(document), str(document["saved_utc"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigurationError(
            f"{path}: not a baseline: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    told = mistyped(baseline)
    if told is not None:
        raise ConfigurationError(f"{path}: not a baseline: {told[:300]}")
    return StoredBaseline(baseline=baseline, saved_utc=saved_utc)


def _decode(document: Mapping[str, Any]) -> Baseline:
    return Baseline(
        name=document["name"],
        runs=tuple(document["runs"]),
        figures={
            candidate: {
                metric: {
                    statistic: tuple(float(value) for value in values)
                    for statistic, values in statistics.items()
                }
                for metric, statistics in metrics.items()
            }
            for candidate, metrics in document["figures"].items()
        },
        trials={name: tuple(counts) for name, counts in document["trials"].items()},
        options=dict(document["options"]),
        datasets=dict(document["datasets"]),
        machine=dict(document["machine"]),
        definitions=dict(document["definitions"]),
        normaliser=document["normaliser"],
        recogniser=str(document.get("recogniser", "")),
    )
