"""The datasets that come with turnbench, and how a suite's dataset is found."""

from pathlib import Path

from harness.errors import ConfigurationError
from harness.store.datasets.manifest import MANIFEST
from harness.store.shipped import shipped_folder, shipped_names
from harness.store.spelling import nearest

__all__ = ["find_dataset", "shipped_datasets"]


def shipped_datasets() -> dict[str, Path]:
    """Return the folders of the shipped datasets by name, in the order of names."""
    folder = shipped_folder("datasets")
    return {name: folder / name for name in shipped_names("datasets")}


def find_dataset(choice: str, *, base: Path) -> Path:
    """Return the folder or manifest that a suite's ``path`` names.

    Args:
        choice: a path, relative to ``base`` or absolute, or the bare name of a shipped dataset. A
            path that exists comes first.
        base: the folder of the suite.

    Raises:
        ConfigurationError: there is no such dataset.
    """
    path = base / choice
    if path.exists():
        return path
    shipped = shipped_datasets()
    if choice in shipped:
        return shipped[choice]
    guess = nearest(choice, shipped)
    mend = (
        f"did you mean {guess}?"
        if guess
        else f"give a folder with {MANIFEST}, or one of {', '.join(shipped) or 'none shipped'}"
    )
    raise ConfigurationError(f"{path}: no such dataset: {mend}")
