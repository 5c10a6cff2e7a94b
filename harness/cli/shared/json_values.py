"""Values of the analysis as JSON has them."""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

__all__ = ["as_json"]


def as_json(value: Any) -> Any:
    """Return a value of the analysis as JSON has it; an unbounded number is null."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {
            each.name: as_json(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
        kind = type(value).__name__
        return {"kind": kind, **found} if kind in {"Unsupported", "TimedOut"} else found
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
