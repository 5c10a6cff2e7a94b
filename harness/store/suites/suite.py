"""Suite files: TOML in, a legal :class:`~harness.domain.suite.Suite` out, or every mistake at once.

The same document, as JSON, is what a run's plan keeps of its suite, so that there is one form of
it and one reader. Paths in a suite file count from the file's own folder; a bare name is a shipped
dataset. Tables in lists count from 1: ``candidate[1]`` is the first.
"""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.domain.suite import (
    Suite,
)
from harness.errors import ConfigurationError
from harness.store.secrecy import remember_secrets
from harness.store.shipped import shipped_folder, shipped_names
from harness.store.suites.checks import ProfileStages, check_metrics, check_profiles
from harness.store.suites.document import suite_document
from harness.store.suites.reader import read_fields
from harness.store.table import Table, nearest

__all__ = ["ProfileStages", "parse_suite", "read_suite", "suite_document", "suite_path"]


def suite_path(name: str | Path) -> Path:
    """Find a suite: a file, or the bare name of a shipped one.

    Raises:
        ConfigurationError: there is neither.
    """
    path = Path(name)
    bare = path.suffix == "" and len(path.parts) == 1
    if path.is_file():
        return path
    if bare:
        shipped = shipped_folder("bench") / f"{path}.toml"
        if shipped.is_file():
            return shipped
        known = shipped_names("bench")
        raise ConfigurationError(
            f"{name}: no suite file and no shipped suite; {nearest(str(path), known)}"
        )
    if path.is_dir():
        raise ConfigurationError(f"{name}: a folder, but a suite is a TOML file")
    raise ConfigurationError(f"{name}: there is no such suite file")


def read_suite(
    name: str | Path,
    *,
    profiles: ProfileStages | None = None,
    metrics: Collection[str] | None = None,
) -> Suite:
    """Read a suite file.

    Args:
        name: a TOML file, or the bare name of a shipped suite.
        profiles: tells the gateway's profiles; None leaves their names unchecked.
        metrics: ids that a budget may name; None leaves them unchecked.

    Raises:
        ConfigurationError: one line for each mistake in the file, ``FILE: KEY: what; the mend``.
    """
    path = suite_path(name)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        # Also a number of thousands of digits, and values nested a thousand deep.
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    return parse_suite(
        document,
        source=str(path),
        folder=path.resolve().parent,
        default_name=path.stem,
        profiles=profiles,
        metrics=metrics,
    )


def parse_suite(
    document: Mapping[str, Any],
    *,
    source: str,
    folder: Path | None = None,
    default_name: str = "suite",
    profiles: ProfileStages | None = None,
    metrics: Collection[str] | None = None,
    strict: bool = True,
) -> Suite:
    """Make a suite from its document.

    Args:
        document: as TOML or JSON gives it.
        source: the file, named in every line about a mistake.
        folder: where relative paths count from; None leaves them as they are.
        default_name: the name of a suite that states none.
        profiles: tells the gateway's profiles; None leaves their names unchecked.
        metrics: ids that a budget may name; None leaves them unchecked.
        strict: an unknown key, provider or option is a mistake; False reads what a newer or older
            version has stored.

    Raises:
        ConfigurationError: one line for each mistake.
    """
    problems: list[str] = []
    top = Table(document, "", problems)
    fields = read_fields(top, folder, default_name, strict=strict)
    if profiles is not None:
        check_profiles(top, fields, profiles)
    if metrics is not None:
        check_metrics(top, fields["budgets"], metrics)
    suite: Suite | None = None
    # The suite's own laws are asked even after other mistakes, so that all are told together;
    # what they say of a key that is known to be wrong already is left out.
    named = {line.split(":", 1)[0] for line in problems}
    try:
        suite = Suite(**fields)
    except ConfigurationError as error:
        problems.extend(
            line for line in error.problems if line not in problems and not _told(line, named)
        )
    if problems or suite is None:
        raise ConfigurationError(f"{source}: {line}" for line in problems)
    remember_secrets(suite)
    return suite


def _told(line: str, named: Collection[str]) -> bool:
    key = line.split(":", 1)[0].split(".", 1)[0]
    return any(each == key or each.startswith((f"{key}[", f"{key}.")) for each in named)
