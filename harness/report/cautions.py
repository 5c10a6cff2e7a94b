"""Cautions as lines: what has one cause is said once, of whom it is true and in which range."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.analysis.summary.caution import Caution
from harness.report.view import CautionView

__all__ = ["caution_views", "merged"]

_SERIOUS = frozenset(
    {"damaged", "ended_early", "failures", "disturbed", "lateness", "drift", "wer", "other_machine"}
)
# More names than these are counted.
_NAMED = 3
# A number that stands alone: not one within a name ("p95", "glm-5.2") or a word.
_NUMBER = re.compile(r"(?<![\w@.-])\d[\d\u202f]*(?:\.\d+)?(?![\w@]|\.\d)")


@dataclass(slots=True)
class _Line:
    """Cautions that differ in their candidates and numbers alone."""

    code: str
    advice: str
    within: bool
    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def merged(texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts of which those that differ in numbers alone are one, with ranges."""
    lines: dict[str, list[str]] = {}
    for text in texts:
        lines.setdefault(_NUMBER.sub("#", text), []).append(text)
    return tuple(map(_ranged, lines.values()))


def _ranged(texts: Sequence[str]) -> str:
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter(column[0] if len(set(column)) == 1 else _range(column) for column in columns)
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _range(numbers: Sequence[str]) -> str:
    ordered = sorted(numbers, key=lambda each: float(each.replace("\u202f", "")))
    return f"{ordered[0]} to {ordered[-1]}"


def caution_views(found: Sequence[Caution], candidates: int) -> tuple[CautionView, ...]:
    """Return the cautions as lines, in their order.

    Args:
        found: the gravest first.
        candidates: how many the run has.
    """
    lines: dict[tuple[str, str, str], _Line] = {}
    for each in found:
        text, advice = each.text.rstrip("."), each.advice.rstrip(".")
        named = each.candidate is not None and text.startswith(f"{each.candidate}: ")
        text = text.removeprefix(f"{each.candidate}: ") if named else text
        # What names nobody before its colon may have a name, and its numbers, within.
        key = (each.code, _NUMBER.sub("#", text) if named else text, advice)
        within = each.candidate is not None and not named
        line = lines.setdefault(key, _Line(code=each.code, advice=advice, within=within))
        if named and each.candidate not in line.names:
            line.names.append(str(each.candidate))
        line.texts.append(text)
    return tuple(_view(line, candidates) for line in lines.values())


def _view(line: _Line, candidates: int) -> CautionView:
    text = _ranged(line.texts)
    if line.within:
        title = text
    elif not line.names:
        title = text[:1].upper() + text[1:]
    elif len(line.names) == candidates > _NAMED:
        title = f"All {candidates} candidates: {text}"
    elif len(line.names) > _NAMED:
        title = f"{len(line.names)} of {candidates} candidates: {text}"
    else:
        title = f"{', '.join(line.names)}: {text}"
    said = f"{line.advice[:1].upper()}{line.advice[1:]}."
    return CautionView(title=title, advice=said, serious=line.code in _SERIOUS)
