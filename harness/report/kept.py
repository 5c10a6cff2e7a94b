"""A report's view as bytes, to be kept with its run: the next report is not analysed again.

Plain JSON under gzip, never a pickle: a run's folder is handed from person to person, and reading
one must not run anything. Frozen values carry the name of their class, which must be one of the
view's own; whatever else stands there makes the bytes unreadable, and the report is made anew.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, Final

from harness.collector import collector_off
from harness.report import format as format_module
from harness.report import trial_view as trial_module
from harness.report import view as view_module
from harness.report.page_data import pack_trials
from harness.report.trial_view import TrialStatus, TrialView
from harness.report.view import ReportView

__all__ = ["UnreadableViewError", "decode_view", "encode_view", "packed_view"]

_CLASS: Final = "$"
_VALUE: Final = "v"
# Of a view's JSON, in bytes: 20,000 trials take a tenth.
_LARGEST: Final = 1 << 29
# A packed detail is base64 and stands in the page as it is: nothing else may get there.
_PACKED: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
# What a trial's row holds, in this order; its turns and facts are packed.
_ROW: Final = tuple(each.name for each in fields(TrialView) if each.name not in ("turns", "facts"))


class UnreadableViewError(ValueError):
    """The bytes are not a view as this version of turnbench writes it."""


def _classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in (view_module, trial_module, format_module):
        for name in module.__all__:
            each = getattr(module, name)
            if isinstance(each, type) and (
                is_dataclass(each) or issubclass(each, Enum) or hasattr(each, "_fields")
            ):
                found[name] = each
    return found


_CLASSES: Final = _classes()


def packed_view(view: ReportView) -> ReportView:
    """Return a view whose trials' details are packed as the page holds them, and no longer open."""
    trials = tuple(replace(each, turns=(), facts=()) for each in view.trials)
    return replace(view, trials=trials, packed=tuple(map(str, pack_trials(view.trials))))


def _encoded(value: Any) -> Any:
    if isinstance(value, Enum):
        return {_CLASS: type(value).__name__, _VALUE: value.value}
    if is_dataclass(value) and not isinstance(value, type):
        inner = {each.name: _encoded(getattr(value, each.name)) for each in fields(value)}
        return {_CLASS: type(value).__name__, **inner}
    if isinstance(value, tuple):
        items = [_encoded(each) for each in value]
        return {_CLASS: type(value).__name__, _VALUE: items} if hasattr(value, "_fields") else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a view holds no {type(value).__name__}")


def encode_view(view: ReportView, mask: Callable[[str], str] = str) -> bytes:
    """Return a packed view as bytes.

    Args:
        view: its details are packed, and masked by whoever stored the trials.
        mask: takes the secrets out of a JSON document.

    Raises:
        ValueError: its trials are not packed.
    """
    if any(trial.turns for trial in view.trials):
        raise ValueError("only a packed view is kept")
    document = {
        each.name: _encoded(getattr(view, each.name))
        for each in fields(view)
        if each.name != "trials"
    }
    rows = [[getattr(trial, name) for name in _ROW] for trial in view.trials]
    with collector_off():
        text = json.dumps([document, _ROW, rows], ensure_ascii=True, separators=(",", ":"))
    return gzip.compress(mask(text).encode("utf-8"), 1, mtime=0)


def _unpacked(data: bytes) -> bytes:
    """Return what was compressed, up to the size that a view may have."""
    unpacking = zlib.decompressobj(wbits=31)
    text = unpacking.decompress(data, _LARGEST)
    if not unpacking.eof or unpacking.unused_data:
        raise UnreadableViewError("torn, or larger than any view")
    return text


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _made(document: dict[str, Any]) -> Any:
    name = document.pop(_CLASS, None)
    if name is None:
        return document
    if name not in _CLASSES:
        raise UnreadableViewError(f"{name!r} is no part of a view")
    maker: Callable[..., Any] = _CLASSES[name]
    if _VALUE in document:
        value = document[_VALUE]
        return maker(*map(_tuples, value)) if isinstance(value, list) else maker(value)
    return maker(**{key: _tuples(value) for key, value in document.items()})


def _trial(row: Sequence[Any]) -> TrialView:
    values = dict(zip(_ROW, map(_tuples, row), strict=True))
    return TrialView(
        **{**values, "status": TrialStatus(values["status"]), "turns": (), "facts": ()}
    )


def decode_view(data: bytes) -> ReportView:
    """Return the view that was kept.

    Raises:
        UnreadableViewError: the bytes are damaged, or not of this version.
    """
    try:
        with collector_off():
            document, names, rows = json.loads(_unpacked(data), object_hook=_made)
            values = {name: _tuples(value) for name, value in document.items()}
            view = ReportView(**values, trials=tuple(map(_trial, rows)))
            fit = tuple(names) == _ROW and all(map(_PACKED.fullmatch, view.packed))
    except UnreadableViewError:
        raise
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UnreadableViewError(f"{type(error).__name__}: {error}") from error
    if not fit:
        raise UnreadableViewError("trials have other fields, or their details are not base64")
    return view
