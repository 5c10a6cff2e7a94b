"""The terminal that tables are printed on."""

from rich.console import Console
from rich.text import Text

__all__ = ["make_console", "safe"]

_LOG_WIDTH = 140
# Spaces that numbers are set with; Python does not call them printable.
_SPACES = "\u00a0\u202f\u2009"


def make_console(*, stderr: bool = False) -> Console:
    """Return a console; wide enough for tables where its width is nobody's window."""
    found = Console(highlight=False, emoji=False, markup=False, stderr=stderr)
    if not found.is_terminal:
        found.width = _LOG_WIDTH
    return found


def safe(text: str, style: str = "") -> Text:
    """Return a provider's or a dataset's text on one line, with nothing that a terminal obeys."""
    line = " ".join(text.splitlines()).replace("\t", " ")
    kept = "".join(each if each.isprintable() or each in _SPACES else "\ufffd" for each in line)
    return Text(kept, style=style)
