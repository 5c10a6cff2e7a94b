"""Names of clients, unlike those of any other process, by which their requests are told apart."""

import secrets
from itertools import count

__all__ = ["begin_names", "next_client"]


class _Names:
    """How clients are called from now on."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.numbers = count(1)


_NAMES = _Names(secrets.token_hex(4))


def begin_names(prefix: str) -> None:
    """Call the clients that are made from now on by a prefix that nobody else has."""
    _NAMES.prefix = prefix
    _NAMES.numbers = count(1)


def next_client() -> str:
    """Return the name of one more client."""
    return f"{_NAMES.prefix}.{next(_NAMES.numbers)}"
