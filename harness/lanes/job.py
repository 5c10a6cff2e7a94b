"""What a lane is told, and how: pickled values over its own pipes, between processes of one run."""

import copyreg
import pickle
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.domain.suite import Clock, Suite
from harness.gateway.calls.config import GatewayConfig

__all__ = ["LaneJob", "pack_values", "unpack_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneJob:
    """A run, as a lane needs to know it.

    Attributes:
        suite: what is measured.
        run: the run's name.
        gateway: what stands in for the providers; None for a live suite.
        folder: the run's, where the lanes keep what the embedded recogniser heard, and where each
            has a log of what an agent prints; None for nowhere.
        number: which lane this is, from 0.
    """

    suite: Suite
    run: str
    gateway: GatewayConfig | None
    folder: Path | None = None
    number: int = 0

    @property
    def heard(self) -> Path | None:
        """What the embedded recogniser heard on the virtual clock, kept by and for the lanes."""
        return None if self.folder is None else self.folder / "heard.jsonl"

    @property
    def log(self) -> Path | None:
        """What this lane prints."""
        return None if self.folder is None else self.folder / f"lane-{self.number + 1}.log"

    @property
    def virtual(self) -> bool:
        """Whether trials are performed on a virtual clock."""
        return self.suite.clock is Clock.VIRTUAL


def _view(values: dict[Any, Any]) -> "MappingProxyType[Any, Any]":
    return MappingProxyType(values)


def _reduce(view: "MappingProxyType[Any, Any]") -> tuple[Any, ...]:
    return _view, (dict(view),)


copyreg.pickle(MappingProxyType, _reduce)


def pack_values(*values: Any) -> bytes:
    """Return values as bytes for the other end of a lane's pipe."""
    return pickle.dumps(values, protocol=pickle.HIGHEST_PROTOCOL)


def unpack_values(data: bytes) -> Any:
    """Return the values again; only ever called with what this run's own processes packed."""
    return pickle.loads(data)  # noqa: S301
