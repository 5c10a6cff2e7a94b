"""A file from the web, whole or not at all.

What arrives is written beside the target as ``NAME.part`` and renamed once its size and SHA-256 are
right, so a target that exists is the file that was wanted. A download that breaks off goes on where
it stopped (HTTP Range), within a call and in a later one. A server that ignores Range starts again
from the beginning; one that sends more than the file's size is cut off. Proxies come from the
environment, as urllib reads it.
"""

import fcntl
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from harness.errors import ConfigurationError, HarnessError
from harness.store.datasets.audio import sha256_file

__all__ = ["DownloadError", "Progress", "download"]

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there, and those of the whole where they are known."""

ATTEMPTS: Final = 5
TIMEOUT_S: Final = 30.0
_BLOCK: Final = 1 << 18
_SPARE: Final = 64 << 20
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadError(HarnessError):
    """The server refused, kept breaking off, or served another file than the one wanted."""


class _BrokenOffError(Exception):
    """The transfer did not come to its end; another attempt may."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file, unless it is there already.

    Args:
        url: http or https.
        target: where to; a file that is there and has the hash is kept as it is.
        sha256: of the whole file; None takes what comes.
        size: of the whole file in bytes; None believes the server.
        progress: told after every block.
        timeout_s: after which a silent connection counts as broken.
        sleep: waits between attempts.

    Raises:
        ConfigurationError: the address cannot be fetched, the file there is another one, the disk
            is too small, or another process is fetching the same file.
        DownloadError: the server refuses, keeps breaking off, or serves another file.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError(f"{url}: not an http or https address")
    if target.is_file():
        if sha256 is None or sha256_file(target) == sha256:
            return
        raise ConfigurationError(
            f"{target}: is there, but is not the file that is wanted: remove it and pull again"
        )
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, part)
            _require_space(part, file.tell(), size)
            _complete(url, file, size=size, progress=progress, timeout_s=timeout_s, sleep=sleep)
            file.flush()
            os.fsync(file.fileno())
            _check(url, part, sha256)
            part.replace(target)
    except OSError as error:
        # Broken connections are attempts that failed; what is left concerns the disk.
        raise ConfigurationError(f"{part}: cannot be written: {error.strerror}") from error


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(f"{part}: another process is fetching it; let it end") from error
    # Between the opening and the lock another process may have finished and renamed the file.
    if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
        raise ConfigurationError(f"{part}: another process has just fetched it; start again")


def _require_space(part: Path, there: int, size: int | None) -> None:
    if size is None:
        return
    free = shutil.disk_usage(part.parent).free
    if free < size - there + _SPARE:
        raise ConfigurationError(
            f"{part.parent}: {free / 1e6:.0f} MB are free, {(size - there + _SPARE) / 1e6:.0f} MB"
            " are needed; make room, or give another folder"
        )


def _check(url: str, part: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = sha256_file(part)
    if found != sha256:
        part.unlink()
        raise DownloadError(
            f"{url}: its SHA-256 is {found[:16]}…, {sha256[:16]}… was expected; what came was"
            " removed: pull again, or from another mirror with --url"
        )


def _complete(
    url: str,
    file: BinaryIO,
    *,
    size: int | None,
    progress: Progress | None,
    timeout_s: float,
    sleep: Callable[[float], None],
) -> None:
    """Append what is missing; attempts that bring something are not counted."""
    if size is not None and file.tell() > size:
        file.truncate(0)
        file.seek(0)
    failed = 0
    while True:
        before = file.tell()
        if size is not None and before == size:
            return
        try:
            _attempt(url, file, size, progress, timeout_s)
        except _BrokenOffError as error:
            failed = 0 if file.tell() > before else failed + 1
            if failed >= ATTEMPTS:
                raise DownloadError(
                    f"{url}: {error} ({ATTEMPTS} attempts in a row); pull again to go on"
                ) from error
            sleep(min(2.0**failed, 30.0))
        else:
            return


def _attempt(
    url: str, file: BinaryIO, size: int | None, progress: Progress | None, timeout_s: float
) -> None:
    """Ask once for the rest.

    Raises:
        _BrokenOffError: another attempt may do better.
        DownloadError: it may not.
    """
    there = file.tell()
    headers = {"User-Agent": "turnbench", "Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http or https alone
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 - likewise
    except urllib.error.HTTPError as error:
        _refused(url, file, error)
        return
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise _BrokenOffError(f"no connection: {reason}") from error
    with response:
        whole = _whole(url, file, response, size)
        try:
            while block := response.read(_BLOCK):
                _append(file, block)
                if whole is not None and file.tell() > whole:
                    file.truncate(0)
                    file.seek(0)
                    raise DownloadError(f"{url}: sends more than the {whole} bytes expected")
                if progress is not None:
                    progress(file.tell(), whole)
        except (http.client.HTTPException, OSError) as error:
            raise _BrokenOffError(f"the connection broke: {error}") from error
    if whole is not None and file.tell() < whole:
        raise _BrokenOffError(f"the connection ended at {file.tell()} of {whole} bytes")


def _append(file: BinaryIO, block: bytes) -> None:
    """Write a block; a disk that is full is no broken connection."""
    try:
        file.write(block)
    except OSError as error:
        raise ConfigurationError(f"{file.name}: cannot be written: {error.strerror}") from error


def _refused(url: str, file: BinaryIO, error: urllib.error.HTTPError) -> None:
    """Judge an answer that is no success; return where nothing is missing after all."""
    with suppress(OSError):
        error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and file.tell():
        found = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if found is not None and int(found[1]) == file.tell():
            return
        file.truncate(0)
        file.seek(0)
        raise _BrokenOffError("the server cannot go on where it stopped") from error
    if error.code in _AGAIN:
        raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from error
    raise DownloadError(
        f"{url}: HTTP {error.code} {error.reason}; look whether the address still holds, and give"
        " another with --url"
    ) from error


def _whole(url: str, file: BinaryIO, response: Any, size: int | None) -> int | None:
    """Return the size of the whole file; rewind where the server starts from the beginning."""
    length = response.headers.get("Content-Length", "")
    told = int(length) if length.isdigit() else None
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != file.tell():
            file.truncate(0)
            file.seek(0)
            raise _BrokenOffError("the server went on at another place than asked")
        told = int(found[2]) if found[2].isdigit() else None
    elif file.tell():
        file.truncate(0)
        file.seek(0)
    if size is not None and told is not None and told != size:
        raise DownloadError(
            f"{url}: offers {told} bytes, {size} were expected; it is another file than the one"
            " that was checked"
        )
    return size if size is not None else told
