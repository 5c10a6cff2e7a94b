"""Standard output and standard error as this process may use them.

Whatever is printed passes here: secrets are masked, nothing that a terminal obeys gets through but
our own colours, a character that the terminal cannot show is escaped, and a terminal that has gone
takes no verdict with it.
"""

import codecs
import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TextIO, cast

from harness.errors import ConfigurationError

__all__ = ["Outlet", "guarded", "tame"]

_OWN = r"\x1b\[[0-9;]*m|\r(?:\x1b\[2?K)?|\x1b\[2?K"
_CONTROLS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)"
_BIDIRECTIONAL = r"[\u202a-\u202e\u2066-\u2069]"
_ON_TERMINAL = re.compile(rf"({_OWN})|{_CONTROLS}|{_BIDIRECTIONAL}")
_ELSEWHERE = re.compile(rf"()(?:{_CONTROLS}|{_BIDIRECTIONAL})")


def tame(text: str, *, terminal: bool = False) -> str:
    """Return a text without control characters.

    Args:
        text: lines; ends of lines and tabs stay.
        terminal: the colours and the erasing of a line, as we write them, stay as well.
    """
    pattern = _ON_TERMINAL if terminal else _ELSEWHERE
    return pattern.sub(lambda found: found[1] or "\ufffd", text)


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write what an encoding lacks as JSON does, ``\u00e9``, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{each}" for each in pairs), error.end


codecs.register_error("turnbench", _escape)


class Outlet(io.TextIOBase):
    """A standard stream that loses nothing but what nobody can read any more.

    Args:
        stream: where to; None drops everything.

    Attributes:
        lost: why nothing is written any more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.lost: OSError | None = None
        self._terminal = False
        if stream is None:
            return
        with contextlib.suppress(AttributeError, ValueError, OSError):
            self._terminal = stream.isatty()
            cast("io.TextIOWrapper", stream).reconfigure(errors="turnbench")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream, which tells rich what it can draw."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Tell whether a person reads."""
        return self._terminal

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        if self._stream is None:
            raise io.UnsupportedOperation("closed")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Tell that it takes text, even where that is dropped."""
        return True

    def write(self, text: str) -> int:
        """Write a text, masked and tame; what cannot be written is dropped."""
        shown = tame(_masked(text), terminal=self._terminal)
        self._try(lambda stream: stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Have everything written."""
        self._try(lambda stream: stream.flush())

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self._stream is None or self.lost is not None:
            return
        try:
            action(self._stream)
        except OSError as error:
            self.lost = error
            # What the stream still holds has nowhere to go, at the interpreter's end either.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except ValueError:
            self.lost = OSError(errno.EBADF, "closed")

    @property
    def complaint(self) -> str:
        """Why what was to be read is not there; "" where all was written, or the reader left."""
        if self.lost is None or self.lost.errno in (errno.EPIPE, errno.EIO, errno.EBADF):
            return ""
        return f"standard output cannot be written: {self.lost.strerror}"


def _masked(text: str) -> str:
    try:
        from harness.store.secrecy import mask_text  # noqa: PLC0415 - help answers at once
    except ConfigurationError:
        # A provider's file is unfinished, and nothing that knows of secrets can be had.
        return text
    return mask_text(text)


@contextlib.contextmanager
def guarded() -> Iterator[Outlet]:
    """Put outlets in the place of the standard streams; yield that of standard output."""
    before = sys.stdout, sys.stderr
    out, errors = Outlet(sys.stdout), Outlet(sys.stderr)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", errors)
    try:
        yield out
    finally:
        out.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
