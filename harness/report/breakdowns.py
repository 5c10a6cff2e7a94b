"""Tables of a run's trials split by what they had in common: condition, language, route."""

from collections.abc import Callable, Collection, Mapping, Sequence

from harness.analysis.summary.breakdown import (
    BREAKDOWN_METRICS,
    UNROUTED,
    Group,
    breakdown,
    by_condition,
    by_language,
    by_route,
)
from harness.analysis.summary.figures import RunSummary
from harness.analysis.summary.samples import Row
from harness.analysis.summary.summary import is_emulated
from harness.analysis.turn.definitions import METRICS
from harness.domain.condition import describe_condition
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.report.format import Cell, Unit, cell, count, in_characters, missing
from harness.report.view import PlainTable

__all__ = ["breakdown_tables"]

_ROUTED = (Stage.STT, Stage.LLM, Stage.TTS)
_NAMES = {Stage.STT: "STT", Stage.LLM: "LLM", Stage.TTS: "TTS"}
_OF_STAGE = {
    Stage.STT: ("stt_final", "stt_finalize", "response"),
    Stage.LLM: ("llm_ttft", "response"),
    Stage.TTS: ("tts_first_byte", "response"),
}


def breakdown_tables(
    rows: Mapping[str, Sequence[Row]], summary: RunSummary, suite: Suite
) -> tuple[PlainTable, ...]:
    """Return a table for each split of which the run has more than one group, or a told route.

    Args:
        rows: the main view of each candidate's trials, measured.
        summary: of the same trials.
        suite: the run's plan.
    """
    tables: list[PlainTable] = []
    order = [each.name for each in suite.conditions]
    conditions = _groups(rows, by_condition, summary, shown=lambda _: bool(order), order=order)
    if conditions:
        does = "; ".join(f"{each.name}: {describe_condition(each)}" for each in suite.conditions)
        tables.append(
            _table(
                "By condition",
                "Condition",
                conditions,
                summary,
                note=f"Every candidate heard the same utterances under each condition. {does}.",
            )
        )
    languages = _groups(rows, by_language, summary, shown=lambda names: len(names) > 1)
    if languages:
        tables.append(
            _table(
                "By language",
                "Language",
                languages,
                summary,
                note="Languages hold other utterances and other speakers, so a difference between "
                "two of them is no difference between languages alone. Where words are not "
                "separated by spaces the characters count (CER); the two are never pooled.",
            )
        )
    for stage in _ROUTED:
        key = by_route(stage)
        # A candidate whose stage told no route at all has no router, and nothing to be split by.
        routed = {
            name: mine
            for name, mine in rows.items()
            if any(key(row) not in (None, UNROUTED) for row in mine)
        }
        routes = _groups(
            routed,
            key,
            summary,
            shown=bool,
            metrics=_OF_STAGE[stage],
        )
        if routes:
            tables.append(
                _table(
                    f"By route: {_NAMES[stage]}",
                    "Answered by",
                    routes,
                    summary,
                    metrics=_OF_STAGE[stage],
                    note="The router chose who answers, so these groups may differ in what they "
                    "were asked; they are shown, not compared.",
                )
            )
    return tuple(tables)


def _groups(
    rows: Mapping[str, Sequence[Row]],
    key: Callable[[Row], str | None],
    summary: RunSummary,
    *,
    shown: Callable[[Collection[str]], bool],
    order: Sequence[str] = (),
    metrics: Sequence[str] = BREAKDOWN_METRICS,
) -> dict[str, tuple[Group, ...]]:
    # Most runs have one group, whose estimates would be thrown away.
    names = {found for mine in rows.values() for row in mine if (found := key(row)) is not None}
    if not shown(names):
        return {}
    return {
        name: breakdown(mine, key, order=order, metrics=metrics, confidence=summary.confidence)
        for name, mine in rows.items()
    }


def _table(
    title: str,
    heading: str,
    groups: Mapping[str, Sequence[Group]],
    summary: RunSummary,
    *,
    note: str,
    metrics: Sequence[str] = BREAKDOWN_METRICS,
) -> PlainTable:
    """Return the groups as rows, those of one key side by side."""
    measured = [
        metric
        for metric in metrics
        if any(metric in group.metrics for mine in groups.values() for group in mine)
    ]
    keys = list(dict.fromkeys(group.key for mine in groups.values() for group in mine))
    lines: list[tuple[Cell | str, ...]] = []
    for key in keys:
        for name, mine in groups.items():
            found = next((group for group in mine if group.key == key), None)
            if found is not None:
                lines.append((key, name, *_cells(found, name, measured, summary)))
    columns = [heading, "Candidate", "Trials", "Failed", "WER"]
    for metric in measured:
        columns += [f"{METRICS[metric].title}, p50", "p95"]
    return PlainTable(title=title, columns=tuple(columns), rows=tuple(lines), note=note)


def _cells(
    group: Group, candidate: str, metrics: Sequence[str], summary: RunSummary
) -> list[Cell | str]:
    emulated = summary.candidates[candidate].emulated
    found: list[Cell | str] = [count(group.trials), count(group.failed)]
    words = group.words
    if words is None:
        found.append(missing("no utterance has a text"))
    else:
        shown = cell(words.rate, Unit.RATE, emulated=Stage.STT in emulated)
        found.append(in_characters(shown) if words.unit == "character" else shown)
    for metric in metrics:
        statistics = group.metrics.get(metric)
        unit = Unit(METRICS[metric].unit)
        for name in ("p50", "p95"):
            if statistics is None:
                found.append(missing("not measured"))
            else:
                found.append(
                    cell(statistics.get(name), unit, emulated=is_emulated(metric, emulated))
                )
    return found
