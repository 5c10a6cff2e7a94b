"""Files of a run's folder, read and written so that neither a kill nor a stranger does harm.

A folder may come from somebody else. Only regular files within it are read, each up to a limit, and
no link is followed on the way. What is written is a fresh file that replaces, whole, what was
there, be that a link or half a file.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = [
    "UnsafeFileError",
    "append_line",
    "append_to",
    "cut_torn_line",
    "foreign_entries",
    "open_inside",
    "read_inside",
    "replace_whole",
    "write_output",
]

_NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
LARGEST: Final = 4 << 30
"""Bytes of the largest file of a run's folder that is read: some 100,000 trials."""


class UnsafeFileError(OSError):
    """A name does not lead to a regular file of a folder, or to one of a size that is read."""


def open_inside(folder: Path, name: str, *, limit: int = LARGEST) -> int:
    """Open a regular file within a folder for reading; return its descriptor.

    Args:
        folder: may itself be reached by a link.
        name: relative, with slashes; no part of it may be a link or lead out.
        limit: the largest size in bytes.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeFileError: it is a link, no regular file, outside the folder, or too large.
        OSError: it cannot be read.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise UnsafeFileError(errno.EPERM, "leads out of the folder", name)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for each in parts[:-1]:
            below = os.open(each, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=here)
            os.close(here)
            here = below
        found = os.open(parts[-1], os.O_RDONLY | _NO_LINK, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise UnsafeFileError(errno.EPERM, "is a link or no regular file", name) from error
        raise
    finally:
        os.close(here)
    facts = os.fstat(found)
    if not stat.S_ISREG(facts.st_mode):
        os.close(found)
        raise UnsafeFileError(errno.EPERM, "is no regular file", name)
    if facts.st_size > limit:
        os.close(found)
        raise UnsafeFileError(errno.EFBIG, f"is larger than {limit:,} bytes", name)
    return found


def read_inside(folder: Path, name: str, *, limit: int = LARGEST) -> bytes:
    """Read a regular file within a folder; as :func:`open_inside`."""
    with os.fdopen(open_inside(folder, name, limit=limit), "rb") as file:
        return file.read(limit + 1)


def replace_whole(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all, in place of whatever has its name.

    Args:
        path: its folder exists and is no link that the content would leave its place by.
        content: all of it.
        sync: it is on the disk when this returns.

    Raises:
        OSError: it cannot be written; what was there is unharmed.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_output(path: Path, content: bytes) -> None:
    """Write what a user asked for where he asked for it: a link of his is followed, a pipe filled.

    Raises:
        OSError: it cannot be written; a file that was there is unharmed.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.write(content)
        return
    replace_whole(path.resolve(), content)


def append_to(path: Path) -> int:
    """Open a file to append to and read from, made where there is none; no link is followed.

    Raises:
        UnsafeFileError: it is a link or no regular file.
        OSError: it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _NO_LINK
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise UnsafeFileError(errno.EPERM, "is a link or no regular file", path.name) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFileError(errno.EPERM, "is no regular file", path.name)
    return descriptor


def cut_torn_line(descriptor: int) -> None:
    """Cut what a kill has left of a file's last line; a whole line stays.

    Raises:
        OSError: it cannot be cut.
    """
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)


def append_line(descriptor: int, line: bytes) -> None:
    """Append a line and its end; on the disk when this returns, or not there at all.

    Raises:
        FileNotFoundError: the file has been removed; what is appended would be lost.
        OSError: it cannot be written.
    """
    size = os.fstat(descriptor).st_size
    try:
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        # Half a line must not stand before the next one.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "has been removed")


def foreign_entries(folder: Path, *, most: int = 5) -> tuple[str, ...]:
    """Return entries of a folder, and of folders in it, that are neither files nor folders.

    Args:
        folder: is walked without following links.
        most: so many are returned.
    """
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            with contextlib.suppress(OSError):
                mode = path.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    found.append(path.relative_to(folder).as_posix())
        if len(found) >= most:
            break
    return tuple(found[:most])
