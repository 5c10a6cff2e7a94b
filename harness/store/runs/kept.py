"""What was computed from a run and is kept in its folder, with the key that says from what.

A kept file begins with its key: the digest of every stored file that the result was computed from,
of the source code that computed it, and of what was asked. Whatever differs makes another key, and
the file is not used; deleting it costs time and nothing else.
"""

import contextlib
import hashlib
import json
import sys
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from harness.store.runs.run import Run

__all__ = ["KEPT_VIEW", "kept_key", "read_kept", "write_kept"]

KEPT_VIEW: Final = "report.kept"
"""The file of a run's folder that holds what its report shows."""

_FILES: Final = (
    "plan.json",
    "environment.json",
    "trials.jsonl",
    "heard_replies.jsonl",
    "truth.jsonl",
)
# What computes: a metric's definition, the normaliser and a sentence's words are all code.
_PACKAGES: Final = ("analysis", "cli", "domain", "report", "store", "gateway")
_MODULES: Final = ("clock.py", "errors.py")
_LIBRARIES: Final = ("numpy", "jiwer", "rapidfuzz")


def _sources(folder: Traversable) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir() and each.name != "__pycache__":
            found += [(f"{each.name}/{name}", text) for name, text in _sources(each)]
        elif each.name.endswith(".py"):
            found.append((each.name, each.read_bytes()))
    return found


@cache
def _code() -> str:
    # The normaliser of transcripts asks Python's own tables what a letter is.
    made_by = f"{sys.version} {unicodedata.unidata_version}\n"
    digest = hashlib.sha256(made_by.encode())
    for module in _MODULES:
        digest.update(files("harness").joinpath(module).read_bytes())
    for package in _PACKAGES:
        for name, text in _sources(files("harness").joinpath(package)):
            digest.update(f"{package}/{name} {len(text)}\n".encode())
            digest.update(text)
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def kept_key(run: Run, asked: Mapping[str, Any]) -> str:
    """Return the key of a result: what it was computed from, by what, and what was asked.

    Args:
        run: every stored file of which is read.
        asked: the choices that the result depends on, as JSON values.
    """
    digest = hashlib.sha256(_code().encode())
    stated = {"asked": dict(asked), "run": run.name, "ended": run.status().get("ended", {})}
    digest.update(json.dumps(stated, sort_keys=True, default=str).encode())
    for name in _FILES:
        digest.update(f"\n{name} ".encode())
        try:
            with (run.path / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"absent")
    audio = run.path / "audio"
    with contextlib.suppress(OSError):
        for each in sorted(audio.iterdir()):
            digest.update(f"\n{each.name} {each.stat().st_size}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_kept(run: Run, key: str, *, name: str = KEPT_VIEW) -> bytes | None:
    """Return what is kept under a key; None where it is another's, or there is none."""
    try:
        data = (run.path / name).read_bytes()
    except OSError:
        return None
    head = f"{key}\n".encode()
    return data[len(head) :] if data.startswith(head) else None


def write_kept(run: Run, key: str, data: bytes, *, name: str = KEPT_VIEW) -> None:
    """Keep a result under its key, in place of what was there.

    A folder that can only be read keeps nothing: the next report takes longer.
    """
    path = run.path / name
    partial = path.with_name(f"{name}.part")
    try:
        partial.write_bytes(f"{key}\n".encode() + data)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
