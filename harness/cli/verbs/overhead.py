"""``turnbench overhead``: the harness's own error, measured against the gateway's truth."""

import argparse
import json
from pathlib import Path

from harness.cli.shared.console import make_console
from harness.cli.shared.outputs import write_text
from harness.cli.shared.overhead import QUICK, THOROUGH, document, measure, show

__all__ = ["overhead"]

REGRESSION = 1


def overhead(options: argparse.Namespace) -> int:
    """Measure, print the table, and write the result where that is asked for."""
    sizes = QUICK if options.quick else THOROUGH
    if options.output is not None:
        # Said now, not after twelve minutes.
        write_text(Path(options.output), "")
    if options.clock_check:
        return _check_clocks(options)
    found = measure(sizes, progress=None if options.json else _progress)
    facts = document(found, sizes)
    if options.output is not None:
        write_text(Path(options.output), json.dumps(facts, indent=1) + "\n")
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        show(found)
    return REGRESSION if options.strict and not found.kept else 0


def _check_clocks(options: argparse.Namespace) -> int:
    """Play the same draws on both clocks, and print what lies between them."""
    from harness.cli.shared.clock_check import check_document, measure_clocks, show_check

    found = measure_clocks(progress=None if options.json else _progress)
    facts = check_document(found)
    if options.output is not None:
        write_text(Path(options.output), json.dumps(facts, indent=1) + "\n")
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        show_check(found)
    return 0 if found.gaps else REGRESSION


def _progress(done: int, of: int) -> None:
    if done == of or done % 20 == 0:
        make_console(stderr=True).print(f"turnbench: {done} of {of} trials")
