"""The command line: verbs become function calls and an exit code; no arithmetic.

This module and the parser import nothing heavy, so that help answers at once; each verb imports
what it needs. Exit codes: 0 pass, 1 regression, 2 misuse or configuration, 3 inconclusive,
130 interrupted. What nobody expected is 2 as well: a gate that errs must not look like a verdict.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from harness.cli.shared.parser import make_parser
from harness.errors import ConfigurationError, HarnessError, InvariantError

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
    module, function = options.action.split(":")
    try:
        action = getattr(importlib.import_module(f"harness.cli.verbs.{module}"), function)
        code: int = action(options)
        sys.stdout.flush()
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
    except KeyboardInterrupt:
        _complain(["interrupted"])
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); what is left has nowhere to go.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("TURNBENCH_TRACEBACK"):
            raise
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


def _complain(lines: Sequence[str]) -> None:
    """Print one line for each problem, free of secrets."""
    try:
        from harness.store.runs.environment import redact
    except ConfigurationError as error:
        # A provider's file is unfinished, and nothing that knows of secrets can be had.
        for line in error.problems:
            print(f"turnbench: {' '.join(line.split())}", file=sys.stderr)
        return

    for line in lines:
        print(f"turnbench: {redact(' '.join(line.split()))}", file=sys.stderr)
