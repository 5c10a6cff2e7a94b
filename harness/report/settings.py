"""Every setting, version and hash of a run as tables, and what each metric means."""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from harness.analysis.summary.figures import CandidateSummary
from harness.analysis.turn.definitions import METRICS
from harness.domain.barge_in import describe_barge_in
from harness.domain.candidate import StageSettings
from harness.domain.condition import describe_condition
from harness.domain.secrecy import shown
from harness.domain.timeline import Stage
from harness.report.format import count
from harness.report.inputs import RunData
from harness.report.view import DefinitionView, FactTable

__all__ = ["candidate_stages", "definitions", "settings"]

# A part of so many lines is read better as a table of its own than under a repeated prefix.
_OWN_TABLE = 5


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ((), ""):
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(each) for each in value)
    return str(value)


def _rows(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Return nested values as lines of dotted names."""
    if isinstance(value, StageSettings):
        value = dataclasses.replace(value, options=shown(value.options))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return [
            line
            for name, inner in value.items()
            for line in _rows(f"{prefix}.{name}" if prefix else str(name), inner)
        ]
    return [(prefix, _text(value))]


def _stage_line(settings: StageSettings) -> str:
    parts = [settings.provider, settings.model, settings.voice, settings.profile]
    return " · ".join(part for part in parts if part)


def candidate_stages(data: RunData, name: str) -> tuple[tuple[str, str], ...]:
    """Return one line for each stage of a candidate: what answers there."""
    candidate = next((each for each in data.suite.candidates if each.name == name), None)
    if candidate is None:
        return ()
    lines: list[tuple[str, str]] = []
    if candidate.agent is not None:
        lines.append(("agent", candidate.agent))
    for stage in (Stage.STT, Stage.LLM, Stage.TTS):
        settings = candidate.stage(stage)
        if settings is not None:
            lines.append((stage.value.upper(), _stage_line(settings)))
    return tuple(lines)


def _split(title: str, facts: Mapping[str, Any]) -> list[FactTable]:
    """Return facts as a table, and each of their larger parts as one of its own."""
    lines: list[tuple[str, str]] = []
    parts: list[FactTable] = []
    for name, value in facts.items():
        found = _rows(str(name), value)
        if isinstance(value, Mapping) and len(found) >= _OWN_TABLE:
            # What is large only because its parts are is split once more: profiles, by their name.
            parts += _split(f"{title}: {name}", value)
        else:
            lines += found
    return [FactTable(title=title, rows=tuple(lines)), *parts]


def _costs(each: CandidateSummary) -> tuple[tuple[str, str], ...]:
    if each.cost is None:
        return ()
    cost = each.cost
    lines = [("cost of all trials", f"{cost.total:.4f}"), ("per trial", f"{cost.per_trial:.6f}")]
    lines += [(f"of {stage.value.upper()}", f"{value:.4f}") for stage, value in cost.stages.items()]
    if cost.uncounted:
        lines.append(("replies without usage, not counted", count(cost.uncounted)))
    if cost.unpriced:
        lines.append(("without a price", ", ".join(stage.value for stage in cost.unpriced)))
    return tuple(lines)


def settings(data: RunData) -> tuple[FactTable, ...]:
    """Return every setting, version and hash that the run knows."""
    suite = data.suite
    general = [
        (each.name, _text(getattr(suite, each.name)))
        for each in dataclasses.fields(suite)
        if each.name
        in {
            "name",
            "description",
            "driver",
            "via",
            "repeats",
            "warmups",
            "concurrency",
            "clock",
            "frame_ms",
            "trailing",
            "wer_limit",
            "target_ms",
            "keep_audio",
            "stage_texts",
        }
    ]
    general.append(("seed", _text(data.seed if data.seed is not None else suite.seed)))
    general += [(f"condition {each.name}", describe_condition(each)) for each in suite.conditions]
    general += [(f"barge-in {each.name}", describe_barge_in(each)) for each in suite.barge_ins]
    tables = [FactTable(title="Suite", rows=tuple(general))]
    for candidate in suite.candidates:
        found = data.summary.candidates.get(candidate.name)
        tables.append(
            FactTable(
                title=f"Candidate {candidate.name}",
                rows=(
                    *(line for line in _rows("", candidate) if line[0] != "name"),
                    *(_costs(found) if found is not None else ()),
                ),
            )
        )
    tables += [
        FactTable(title="Session options", rows=tuple(_rows("", suite.session))),
        FactTable(
            title="Time-outs and limits",
            rows=(*_rows("", suite.timeouts), *_rows("", suite.limits)),
        ),
    ]
    if suite.via.value == "gateway":
        tables.append(FactTable(title="Gateway", rows=tuple(_rows("", suite.gateway))))
    if suite.prices:
        tables.append(FactTable(title="Prices", rows=tuple(_rows("", suite.prices))))
    tables += [
        FactTable(title=f"Dataset {each.get('name', '')}".strip(), rows=tuple(_rows("", each)))
        for each in data.datasets
    ]
    many = len(data.environment) > 1
    for number, each in enumerate(data.environment, start=1):
        title = f"Environment, start {number}" if many else "Environment"
        tables += [*_split(title, _without_boots(each)), _boots(each)]
    tables += _split("Settled before the run", data.facts)
    return tuple(table for table in tables if table.rows)


def _boots(start: Mapping[str, Any]) -> FactTable:
    """Return how long each sleeping deployment took to answer before a start's first trial."""
    rows = []
    for name, facts in start.get("endpoints", {}).items():
        for each in facts.get("boots", ()):
            asks = each.get("asks", 1)
            took = f"{each.get('seconds', 0):.1f} s" + (f", asked {asks} times" if asks > 1 else "")
            if not each.get("ready", True):
                told = f"did not answer within {took}"
            else:
                told = f"{'booted in' if each.get('cold') else 'was warm, answered in'} {took}"
            rows.append((f"{name}: {each.get('provider', '')} {each.get('stage', '')}", told))
    return FactTable(title="Deployments woken before the run", rows=tuple(rows))


def _without_boots(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return a start's facts without its boots, which have a table of their own."""
    endpoints = {
        name: {key: value for key, value in facts.items() if key != "boots"}
        for name, facts in start.get("endpoints", {}).items()
    }
    return {**start, **({"endpoints": endpoints} if endpoints else {})}


def definitions(metrics: Iterable[str]) -> tuple[DefinitionView, ...]:
    """Return the definitions of metrics, in the order of reports."""
    wanted = set(metrics)
    found = []
    for metric in METRICS.values():
        if metric.id not in wanted:
            continue
        formula = metric.definition
        if metric.start is not None and metric.end is not None:
            formula = f"{metric.start.value} → {metric.end.value}: {formula}"
        found.append(
            DefinitionView(
                metric=metric.id,
                name=metric.title,
                formula=formula,
                never=metric.leaves_out,
                better=f"{metric.better} is better",
            )
        )
    return tuple(found)
