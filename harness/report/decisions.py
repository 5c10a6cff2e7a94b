"""What a run decides beside its comparison: who is worth having, and what was not run, as tables.

The tables are the same in the terminal, in Markdown and on the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from harness.analysis.compare.standings import CorrectTurns
from harness.analysis.predict.combine import Composition
from harness.analysis.predict.whatif import WhatIf
from harness.analysis.statistics.estimate import Estimate, Statistic, Unsupported
from harness.analysis.statistics.pareto import Contender, Standing
from harness.analysis.statistics.plan import TrialPlan
from harness.analysis.turn.definitions import METRICS
from harness.report.format import Cell, Unit, cell, count, decimal, missing, percent, plural
from harness.report.view import PlainTable

__all__ = ["composition_table", "pareto_table", "plan_table", "standing_text", "whatif_table"]

_OBJECTIVES = {
    "failures": "Failures",
    "wer": "Word error rate",
    "tts_wer": "Reply word error rate",
    "cost": "Cost of a trial",
}
_PARTS = 3
_EMULATED = "Profiles are compared, not models: no real model wins."


def _objective(key: str, value: Statistic, *, emulated: bool) -> Cell:
    if key == "cost" and isinstance(value, Estimate):
        return Cell(text=decimal(value.point, 5), value=value.point, emulated=emulated)
    unit = Unit.RATE if key == "failures" else Unit(METRICS[key].unit)
    return cell(value, unit, emulated=emulated)


def _correct(found: CorrectTurns, *, emulated: bool) -> Cell:
    shown = cell(found.p50, Unit.MILLISECONDS, emulated=emulated)
    return replace(shown, text=f"{shown.text} ({count(found.correct)} of {count(found.turns)})")


def standing_text(standing: Standing) -> str:
    """Return where a candidate stands, and how sure that is."""
    if standing.surely_dominated_by:
        return f"dominated beyond doubt by {', '.join(standing.surely_dominated_by)}"
    if standing.dominated_by:
        return f"dominated by {', '.join(standing.dominated_by)}, though chance could explain it"
    return "on the front"


def pareto_table(
    contenders: Sequence[Contender],
    standings: Sequence[Standing],
    *,
    emulated: bool,
    correct: Mapping[str, CorrectTurns] = MappingProxyType({}),
) -> PlainTable:
    """Return each candidate's latency, failures, word errors and cost, and where it stands.

    Args:
        contenders: with their objectives.
        standings: in the same order.
        emulated: of gateway profiles.
        correct: the latency of correct turns alone, by candidate.
    """
    keys = tuple(contenders[0].objectives) if contenders else ()
    titles = [_OBJECTIVES.get(key) or f"{METRICS[key].title}, p50" for key in keys]
    note = (
        "On the front: no other candidate is at least as good in everything and better in one. "
        "Dominated beyond doubt: the intervals say so too."
    )
    if correct:
        note += (
            " Of correct turns: the same latency where nothing failed, the WER lay within the "
            "suite's limit and every slot was heard; the comparison pairs them where both sides "
            "were correct."
        )
    return PlainTable(
        title="Who is worth having",
        columns=("Candidate", *titles, *(["Of correct turns"] if correct else []), "Standing"),
        rows=tuple(
            (
                each.name,
                *(_objective(key, each.objectives[key], emulated=emulated) for key in keys),
                *([_correct(correct[each.name], emulated=emulated)] if correct else []),
                standing_text(standing),
            )
            for each, standing in zip(contenders, standings, strict=True)
        ),
        note=f"{note} {_EMULATED}" if emulated else note,
    )


def composition_table(
    found: Sequence[Composition], *, emulated: bool, staged: bool = False
) -> PlainTable:
    """Return predicted combinations, with the error against those that were really run.

    Args:
        found: predictions.
        emulated: of gateway profiles.
        staged: the parts come from stages measured alone.
    """
    shares = tuple(found[0].prediction.quantiles) if found else ()
    rows: list[tuple[Cell | str, ...]] = []
    for each in found:
        rows.append(
            (
                f"{each.stt} + {each.llm} + {each.tts}",
                *(
                    cell(each.prediction.quantiles[share], Unit.MILLISECONDS, emulated=emulated)
                    for share in shares
                ),
                percent(each.prediction.failures),
                each.candidate or "not run",
                _errors(each),
            )
        )
    note = (
        "Each row takes the STT and end-of-turn decision, the LLM, and the TTS and playout of the "
        "named candidates, and adds spans drawn by utterance. It holds only where stages do not "
        "overlap, wait for each other or change each other's work."
    )
    if staged:
        note += (
            " The stages were measured alone: the end-of-turn decision and the agent's own time "
            "between them are not in it."
        )
    return PlainTable(
        title="Predicted combinations",
        columns=(
            "STT + LLM + TTS of",
            *(f"Response p{100 * share:g}" for share in shares),
            "Failures",
            "Really run as",
            "Error",
        ),
        rows=tuple(rows),
        note=f"{note} {_EMULATED}" if emulated else note,
    )


def _errors(found: Composition) -> str:
    if not found.errors:
        return "" if found.candidate is None else "too few trials to tell"
    own = sum(name == found.candidate for name in (found.stt, found.llm, found.tts))
    if own == _PARTS:
        return "none: all parts are its own"
    shared = f"; {own} of {_PARTS} parts its own" if own else ""
    errors = ", ".join(
        f"p{100 * each.share:g} {'+' if each.relative > 0 else ''}{percent(each.relative)}"
        + ("" if each.covered else " (outside the interval)")
        for each in found.errors
    )
    return f"{errors}{shared}"


def whatif_table(found: Mapping[str, WhatIf], *, emulated: bool) -> PlainTable:
    """Return each candidate's response as measured and under another setting."""
    rows: list[tuple[Cell | str, ...]] = []
    for name, each in found.items():
        out = "; ".join(
            f"{plural(number, 'turn')} {kind}: {why}"
            for kind, reasons in (("left out", each.left_out), ("unchanged", each.unchanged))
            for why, number in reasons.items()
        )
        for share in ("p50", "p95"):
            before, after = each.actual.get(share), each.predicted.get(share)
            rows.append(
                (
                    name,
                    share,
                    cell(before, Unit.MILLISECONDS, emulated=emulated),
                    cell(after, Unit.MILLISECONDS, emulated=emulated),
                    _change(before, after, emulated=emulated),
                    count(each.turns),
                    out,
                )
            )
    change = next(iter(found.values())).change if found else ""
    return PlainTable(
        title=f"What if: {change}",
        columns=("Candidate", "", "As measured", "What if", "Change", "Turns", "Note"),
        rows=tuple(rows),
        note="Recomputed from stored marks: what waited for what changes, what a provider took "
        "stays. A shorter delay may cut off callers who pause, which no stored run can show.",
    )


def _change(before: Statistic, after: Statistic, *, emulated: bool) -> Cell:
    if not isinstance(before, Estimate) or not isinstance(after, Estimate):
        return missing("one of the two is no number")
    difference = Estimate(
        point=after.point - before.point,
        low=after.point - before.point,
        high=after.point - before.point,
        confidence=after.confidence,
        n=after.n,
        effective_n=after.effective_n,
        failures=after.failures,
        method="difference of two percentiles of the same turns",
    )
    shown = cell(difference, Unit.MILLISECONDS, emulated=emulated, signed=True)
    return Cell(text=shown.text, state=shown.state, emulated=emulated, value=shown.value)


def plan_table(
    found: Mapping[str, Mapping[str, TrialPlan | Unsupported]], title: str, *, tests: int
) -> PlainTable:
    """Return how many trials each candidate's spread asks for.

    Args:
        found: by candidate, then by what the run is for: "gate" or "compare".
        title: what is to be seen.
        tests: of the comparison, over which its p-values are corrected.
    """
    rows: list[tuple[Cell | str, ...]] = []
    for name, uses in found.items():
        for use, each in uses.items():
            if isinstance(each, Unsupported):
                rows.append((name, use, "", "", "", each.reason))
                continue
            rows.append(
                (
                    name,
                    use,
                    f"{count(each.utterances)} × {count(each.repeats)}",
                    count(each.trials),
                    f"{decimal(each.detectable, 3)} ×",
                    f"{each.reason}; {each.assumption}" if each.assumption else each.reason,
                )
            )
    return PlainTable(
        title=title,
        columns=(
            "Candidate",
            "For",
            "Utterances × repeats",
            "Trials, both sides",
            "Would show",
            "Decided by",
        ),
        rows=tuple(rows),
        note="A change of the wanted size would be found in 90 % of runs: by the gate at its level,"
        f" by a comparison of {count(tests)} tests at its corrected one. Other utterances count as "
        "much as repeats of the same, and say more of callers who were not recorded.",
    )
