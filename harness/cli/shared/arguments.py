"""What the verbs' arguments have in common: their types and the options that many take."""

import argparse

__all__ = [
    "add_json",
    "add_reports",
    "add_verb",
    "add_verdict",
    "change",
    "delay",
    "natural",
    "positive",
]


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    action: str,
    summary: str,
    description: str = "",
) -> argparse.ArgumentParser:
    """Add a verb; ``action`` names ``module:function`` among the verbs."""
    parser = verbs.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(action=action)
    return parser


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} has to be 1 or more")
    return value


def natural(text: str) -> int:
    """Return a whole number of 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} has to be 0 or more")
    return value


def change(text: str) -> float:
    """Return a change as a ratio: 10% and 1.1 are the same."""
    share = text.strip().removesuffix("%")
    return 1.0 + float(share) / 100.0 if share != text.strip() else float(text)


def add_reports(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the runs."""
    parser.add_argument(
        "--out", metavar="DIR", default="reports", help="folder of the runs (default: reports)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add JSON for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs on stdout")


def add_verdict(parser: argparse.ArgumentParser) -> None:
    """Add what a verdict is compared with and written to."""
    parser.add_argument(
        "--baseline", metavar="FILE", help="what budgets without a reference refer to"
    )
    parser.add_argument(
        "--markdown", metavar="FILE", help="write the verdict for a job summary or a pull request"
    )
    parser.add_argument("--junit", metavar="FILE", help="write the verdict as JUnit XML")
    parser.add_argument(
        "--allow-inconclusive", action="store_true", help="exit 0 instead of 3 when inconclusive"
    )


def delay(text: str) -> float:
    """Return a delay in milliseconds, up to a minute."""
    value = float(text)
    if not 0 <= value <= 60_000:
        raise argparse.ArgumentTypeError(f"{text} lies outside 0 to 60000")
    return value
