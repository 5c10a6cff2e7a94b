"""What was computed from a run and is kept in its folder, with the key that says from what.

A kept file begins with a proof that this machine made it of what is there now: a keyed digest of
the content and of the key, which is the digest of every stored file that the result was computed
from, of the source code that computed it, and of what was asked. Whatever differs makes another
proof, and the file is not used; deleting it costs time and nothing else.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import sys
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from harness.store.files import open_inside, read_inside, replace_whole
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
_LARGEST_KEPT: Final = 1 << 28
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
    stated = {
        "asked": dict(asked),
        "run": run.name,
        "ended": run.status().get("ended", {}),
    }
    digest.update(json.dumps(stated, sort_keys=True, default=str).encode())
    for name in _FILES:
        digest.update(f"\n{name} ".encode())
        try:
            with os.fdopen(open_inside(run.path, name), "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"absent")
    audio = run.path / "audio"
    with contextlib.suppress(OSError):
        for each in sorted(audio.iterdir()):
            digest.update(
                f"\n{each.name} {each.lstat().st_size}".encode("utf-8", "surrogateescape")
            )
    return digest.hexdigest()


def _machine_key() -> bytes | None:
    """Return what only this machine's user knows; None where there is no place to keep it.

    A run's folder is handed from person to person, and what stands in it may have been made up.
    """
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "turnbench"
        path = folder / "kept.key"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as new:
                new.write(secrets.token_bytes(32))
            # Whoever is first keeps his: two starts at once agree.
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)
            partial.unlink()
        found = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return found if len(found) == 32 else None


def _proof(key: str, data: bytes) -> bytes | None:
    machine = _machine_key()
    if machine is None:
        return None
    return hmac.digest(machine, key.encode() + b"\n" + data, "sha256").hex().encode()


def read_kept(run: Run, key: str, *, name: str = KEPT_VIEW) -> bytes | None:
    """Return what this machine keeps under a key; None where it is another's, or there is none."""
    try:
        data = read_inside(run.path, name, limit=_LARGEST_KEPT)
    except OSError:
        return None
    head, _, content = data.partition(b"\n")
    proof = _proof(key, content)
    return content if proof is not None and hmac.compare_digest(head, proof) else None


def write_kept(run: Run, key: str, data: bytes, *, name: str = KEPT_VIEW) -> None:
    """Keep a result under its key, in place of what was there.

    A folder that can only be read keeps nothing, nor does a machine that cannot sign what it keeps:
    the next report takes longer.
    """
    proof = _proof(key, data)
    if proof is not None:
        with contextlib.suppress(OSError):
            replace_whole(run.path / name, proof + b"\n" + data)
