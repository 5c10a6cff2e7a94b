"""The command line: verbs become function calls and an exit code; no arithmetic.

This module and the parser import nothing heavy, so that help answers at once; each verb imports
what it needs. Exit codes: 0 pass, 1 regression, 2 misuse or configuration, 3 inconclusive,
130 interrupted. What nobody expected is 2 as well: a gate that errs must not look like a verdict.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

from harness.cli.shared.parser import make_parser
from harness.errors import ConfigurationError, HarnessError, InvariantError
from harness.store.outlet import guarded, tame

__all__ = ["main"]

MISUSE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return MISUSE
    with guarded() as out, _hang_up_told():
        code = _answered(options)
        out.flush()
        if out.complaint:
            _complain([out.complaint])
            # Whoever was to read an answer did not get it; a verdict stands all the same.
            code = code or MISUSE
    return code


class _HangUp(KeyboardInterrupt):
    """The terminal has gone."""


@contextlib.contextmanager
def _hang_up_told() -> Iterator[None]:
    """Take the end of the terminal as an interruption, unless it is to be ignored (``nohup``)."""

    def hung_up(_: int, __: object) -> None:
        raise _HangUp

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, hung_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _answered(options: argparse.Namespace) -> int:
    """Do what the verb does; return its exit code, or that of what went wrong."""
    module, function = options.action.split(":")
    try:
        action = getattr(importlib.import_module(f"harness.cli.verbs.{module}"), function)
        code: int = action(options)
    except ConfigurationError as error:
        _complain(error.problems)
        return MISUSE
    except InvariantError as error:
        damage = _damage(options)
        _complain(damage or [f"defect of turnbench, please report it: {error}"])
        return MISUSE
    except HarnessError as error:
        _complain([str(error)])
        return MISUSE
    except _HangUp:
        _complain(["the terminal has hung up; what had been measured is kept"])
        return INTERRUPTED
    except KeyboardInterrupt:
        _complain(["interrupted"])
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a gate that errs must not look like a verdict
        if os.environ.get("TURNBENCH_TRACEBACK"):
            _complain(["".join(traceback.format_exception(error))], whole=True)
            return MISUSE
        what = f"{type(error).__name__}: {error} (TURNBENCH_TRACEBACK=1 shows where)"
        damage = _damage(options)
        _complain(damage or [f"defect of turnbench, please report it: {what}"])
        return MISUSE
    return code


def _damage(options: argparse.Namespace) -> Sequence[str]:
    """Return what is wrong with the runs that a failed command was given; nothing if all is well.

    It is asked after the failure and must not replace it by one of its own.
    """
    try:
        from harness.cli.shared.damage import damaged_runs

        return damaged_runs(options)
    except Exception:  # noqa: BLE001
        return ()


def _complain(lines: Sequence[str], *, whole: bool = False) -> None:
    """Print one line for each problem, free of secrets and of what a terminal obeys."""
    try:
        from harness.store.secrecy import redact
    except ConfigurationError as error:
        # A provider's file is unfinished, and nothing that knows of secrets can be had.
        for line in error.problems:
            print(f"turnbench: {tame(' '.join(line.split()))}", file=sys.stderr)
        return
    for line in lines:
        text = line if whole else " ".join(line.split())
        print(f"turnbench: {tame(redact(text))}", file=sys.stderr)
