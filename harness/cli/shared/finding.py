"""One thing that ``turnbench doctor`` checked."""

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked.

    Attributes:
        topic: keys, endpoint, boot, clock, machine, engine, disk or accuracy.
        state: "ok", "caution" or "fail".
        text: what was found and, where it is not ok, the mend.
    """

    topic: str
    state: str
    text: str
