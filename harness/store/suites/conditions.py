"""The ``[[condition]]`` tables of a suite, read and written."""

from collections.abc import Callable
from typing import Any

from harness.domain.condition import (
    GENERATED_NOISE,
    Concealment,
    Condition,
    PacketLoss,
    Telephony,
)
from harness.errors import ConfigurationError
from harness.store.table import Table, nearest

__all__ = ["condition_document", "read_condition"]

_NUMBERS = ("gain_db", "lead_silence_s", "trail_silence_s")


def read_condition(
    table: Table, *, path: Callable[[str], str], finish: Callable[[Table], None]
) -> Condition | None:
    """Read one table; None where it has a mistake, which its problems then tell.

    Args:
        table: the condition's.
        path: makes a path of a suite file hold wherever the run is started.
        finish: refuses keys that nobody asked for.
    """
    before = len(table.problems)
    name = table.needed_text("name")
    noise = table.maybe_text("noise")
    if noise is not None and noise not in GENERATED_NOISE:
        noise = path(noise)
    word = table.maybe_text("telephony")
    known = [each.value for each in Telephony]
    if word is not None and word not in known:
        table.problem("telephony", f"{word!r} is unknown; {nearest(word, known)}")
        word = None
    fields: dict[str, Any] = {
        "noise": noise,
        "noise_sha256": table.maybe_text("noise_sha256"),
        "snr_db": table.maybe_number("snr_db"),
        "telephony": None if word is None else Telephony(word),
        "packet_loss": _packet_loss(table, finish) if table.has("packet_loss") else None,
        "clip_db": table.maybe_number("clip_db"),
        **{key: table.number(key, 0.0) for key in _NUMBERS},
    }
    finish(table)
    # The condition's own laws are asked even after other mistakes, so that all are told together.
    told = {line.partition(":")[0] for line in table.problems[before:]}
    try:
        found = Condition(name=name or "unnamed", **fields)
    except ConfigurationError as error:
        for line in error.problems:
            key, _, what = line.partition(": ")
            if table.where(key) not in told:
                table.problem(key, what)
        return None
    return found if len(table.problems) == before else None


def _packet_loss(table: Table, finish: Callable[[Table], None]) -> PacketLoss | None:
    inner = table.table("packet_loss")
    share = inner.maybe_number("share")
    if not inner.has("share"):
        inner.problem("share", "is missing; the share of lost packets, as 0.03")
    # Loss without memory, where no burst is given.
    independent = 1 / (1 - share) if share is not None and 0 < share < 1 else 1.0
    burst = inner.number("burst", independent)
    concealment = inner.enum("concealment", Concealment.SILENCE)
    finish(inner)
    if share is None:
        return None
    try:
        return PacketLoss(share=share, burst=burst, concealment=concealment)
    except ConfigurationError as error:
        for line in error.problems:
            key, _, what = line.partition(": ")
            inner.problem(key, what)
        return None


def condition_document(condition: Condition) -> dict[str, Any]:
    """Return the table that :func:`read_condition` reads back."""
    document: dict[str, Any] = {"name": condition.name}
    for key in ("noise", "noise_sha256", "snr_db", "clip_db"):
        value = getattr(condition, key)
        if value is not None:
            document[key] = value
    if condition.telephony is not None:
        document["telephony"] = condition.telephony.value
    loss = condition.packet_loss
    if loss is not None:
        document["packet_loss"] = {
            "share": loss.share,
            "burst": loss.burst,
            "concealment": loss.concealment.value,
        }
    document.update({key: value for key in _NUMBERS if (value := getattr(condition, key))})
    return document
