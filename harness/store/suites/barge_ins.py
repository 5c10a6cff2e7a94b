"""The ``[[barge_in]]`` tables and a candidate's ``interruption``, read and written."""

from collections.abc import Callable
from typing import Any

from harness.domain.barge_in import DEFAULT_AFTER_S, BargeIn, Expects
from harness.domain.candidate import INTERRUPTION_MODES, InterruptionSettings
from harness.errors import ConfigurationError
from harness.store.table import Table

__all__ = [
    "barge_in_document",
    "interruption_document",
    "read_barge_in",
    "read_interruption",
]


def read_barge_in(
    table: Table, *, path: Callable[[str], str], finish: Callable[[Table], None]
) -> BargeIn | None:
    """Read one table; None where it has a mistake, which its problems then tell.

    Args:
        table: the barge-in's.
        path: makes a path of a suite file hold wherever the run is started.
        finish: refuses keys that nobody asked for.
    """
    before = len(table.problems)
    name, source = table.needed_text("name"), table.needed_text("path")
    if not table.has("expect"):
        table.problem("expect", 'is missing; "interrupts" or "backchannel"')
    expect = table.enum("expect", Expects.INTERRUPTS)
    ids = table.texts("ids")
    tagged = table.table("tags")
    tags = {key: value for key in tagged.rest() if (value := tagged.maybe_text(key)) is not None}
    after = _after(table)
    sha256 = table.maybe_text("dataset_sha256")
    finish(table)
    # The barge-in's own laws are asked even after other mistakes, so that all are told together.
    told = {line.partition(":")[0] for line in table.problems[before:]}
    try:
        found = BargeIn(
            name=name or "unnamed",
            path=path(source) if source else "unnamed",
            expect=expect,
            ids=ids,
            tags=tags,
            after_s=after,
            dataset_sha256=sha256,
        )
    except ConfigurationError as error:
        for line in error.problems:
            key, _, what = line.partition(": ")
            if table.where(key) not in told:
                table.problem(key, what)
        return None
    return found if len(table.problems) == before else None


def _after(table: Table) -> tuple[float, float]:
    """Return the least and the most delay; one number is both."""
    value = table.take("after_s")
    if value is None:
        return DEFAULT_AFTER_S
    ends = value if isinstance(value, list | tuple) else [value, value]
    if len(ends) != 2 or not all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in ends
    ):
        table.problem("after_s", "has to be seconds, or the least and the most: [1.2, 2.0]")
        return (1.0, 1.0)
    return float(ends[0]), float(ends[1])


def barge_in_document(barge_in: BargeIn) -> dict[str, Any]:
    """Return the table that :func:`read_barge_in` reads back."""
    document: dict[str, Any] = {
        "name": barge_in.name,
        "path": barge_in.path,
        "expect": barge_in.expect.value,
        "after_s": list(barge_in.after_s),
    }
    if barge_in.ids:
        document["ids"] = list(barge_in.ids)
    if barge_in.tags:
        document["tags"] = dict(barge_in.tags)
    if barge_in.dataset_sha256 is not None:
        document["dataset_sha256"] = barge_in.dataset_sha256
    return document


def read_interruption(
    table: Table, *, mode: str, finish: Callable[[Table], None]
) -> InterruptionSettings:
    """Read how a candidate tells that it is being interrupted.

    Args:
        table: the candidate's ``interruption``.
        mode: the session's, where the table does not say.
        finish: refuses keys that nobody asked for.
    """
    base = InterruptionSettings()
    before = len(table.problems)
    fields: dict[str, Any] = {
        "mode": table.word("mode", mode, INTERRUPTION_MODES),
        "profile": table.maybe_text("profile"),
        "threshold": table.maybe_number("threshold"),
        "min_duration_s": table.number("min_duration_s", base.min_duration_s),
    }
    finish(table)
    if fields["mode"] == "vad":
        for key in ("profile", "threshold"):
            if fields[key] is not None:
                table.problem(key, 'only mode = "adaptive" has it')
    told = {line.partition(":")[0] for line in table.problems[before:]}
    try:
        return InterruptionSettings(**fields)
    except ConfigurationError as error:
        for line in error.problems:
            key, _, what = line.partition(": ")
            if table.where(key) not in told:
                table.problem(key, what)
        return base


def interruption_document(settings: InterruptionSettings) -> dict[str, Any]:
    """Return the table that :func:`read_interruption` reads back."""
    document: dict[str, Any] = {"mode": settings.mode, "min_duration_s": settings.min_duration_s}
    if settings.profile is not None:
        document["profile"] = settings.profile
    if settings.threshold is not None:
        document["threshold"] = settings.threshold
    return document
