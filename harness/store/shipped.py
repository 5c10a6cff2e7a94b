"""Where the shipped suites and recordings are: beside the package in a checkout, inside it else."""

from pathlib import Path

__all__ = ["shipped_folder", "shipped_names"]


def shipped_folder(kind: str) -> Path:
    """Return the folder of what the project ships: kind is "bench" or "datasets".

    The wheel carries both as package data under ``harness/shipped``; a checkout, installed
    editable or run in place, has them at its top.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    return package / "shipped" / kind


def shipped_names(kind: str) -> tuple[str, ...]:
    """Return the bare names by which shipped suites (TOML files) or datasets (folders) go."""
    folder = shipped_folder(kind)
    if not folder.is_dir():
        return ()
    if kind == "bench":
        return tuple(sorted(path.stem for path in folder.glob("*.toml")))
    return tuple(sorted(path.parent.name for path in folder.glob("*/manifest.jsonl")))
