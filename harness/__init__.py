"""turnbench: latency benchmark and evaluation harness for LiveKit voice agents.

``harness.load("latest")`` gives a stored run's tables as pandas DataFrames.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.frames.tables import RunTables

__all__ = ["load"]


def load(run: "str | Path" = "latest", *, reports: "str | Path" = "reports") -> "RunTables":
    """Return a stored run's tables, for notebooks; pandas is imported here and not before.

    Args:
        run: its folder, its name (or the name's unique beginning or end), or "latest".
        reports: the folder that names are looked for in.

    Raises:
        ConfigurationError: there is no such run, or it is damaged.
    """
    from harness.frames import tables  # noqa: PLC0415 - pandas takes half a second

    return tables.load(run, reports=reports)
