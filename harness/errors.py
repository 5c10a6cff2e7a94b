"""The errors of turnbench, split by whose fault it is.

    HarnessError
    ├── ConfigurationError   you: the suite, the keys, the files; exit code 2
    ├── ProviderError        them: a provider failed or answered nonsense
    └── InvariantError       us: a defect of the harness

The command line alone catches them; a provider's error inside a run becomes a failed trial.
"""

from collections.abc import Iterable

__all__ = ["ConfigurationError", "HarnessError", "InvariantError", "ProviderError"]


class HarnessError(Exception):
    """Base of everything that turnbench raises on purpose."""


class ConfigurationError(HarnessError):
    """What the user gave cannot be run.

    Args:
        problems: one line for each mistake, naming the file, the field and the mend. All mistakes
            of one input are reported together.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class ProviderError(HarnessError):
    """A provider refused, failed or answered what its protocol does not allow.

    Args:
        message: one line in plain words, free of secrets.
        kind: one of the kinds of ``harness.domain.trial.FailureKind``, as its value.
        status: the HTTP status or WebSocket close code, where there is one.
    """

    def __init__(self, message: str, *, kind: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


class InvariantError(HarnessError):
    """The harness broke one of its own laws; the report of it is a defect report."""
