"""CONTRIBUTING tells of the house as it stands."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:harness|tests|bench|examples|datasets)/[\w./-]+)(?::(\w+))?`", TEXT)
FILES = sorted(
    {
        name
        for name in re.findall(r"`([\w/]+\.py)`", TEXT)
        if not name.startswith(("harness/", "tests/")) and name not in {"utils.py", "noxfile.py"}
    }
)
TREE = TEXT.split("```text\n", 1)[1].split("```", 1)[0].splitlines()
ORDERS = TEXT.split("```text\n", 2)[2].split("```", 1)[0].replace("\n  ", " ").splitlines()


def placeholder(path: str) -> bool:
    """Tell a path that the reader is to fill in."""
    return "NAME" in path


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_what_is_named_exists(path: str, name: str) -> None:
    """Each path in CONTRIBUTING is there, and each name behind a colon is defined in its file."""
    if placeholder(path):
        assert (ROOT / path).parent.is_dir()
        return
    assert (ROOT / path).exists()
    if name:
        body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        defined = {each.name for each in body if isinstance(each, ast.FunctionDef | ast.ClassDef)}
        assigned = [each for each in body if isinstance(each, ast.Assign | ast.AnnAssign)]
        for each in assigned:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        assert name in defined


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_named_without_its_folder_exists(name: str) -> None:
    """A file's name without its whole path is that of a file of the house, or of its tests."""
    assert any(any((ROOT / folder).rglob(name)) for folder in ("harness", "tests"))


def test_the_tree_is_that_of_the_folders() -> None:
    """The tree names each folder of harness/, down to the second, and none that is not there."""
    drawn, upper = set(), ""
    for line in TREE:
        name = line.split()[0]
        if line.startswith("    "):
            drawn.add(f"{upper}{name}")
        elif line.startswith("  "):
            upper = name
            drawn.add(name)
    standing = {
        f"{init.parent.relative_to(ROOT / 'harness').as_posix()}/"
        for init in (ROOT / "harness").rglob("__init__.py")
        if 1 <= len(init.relative_to(ROOT / "harness").parts) - 1 <= 2
    }
    assert standing == {each for each in drawn if not each.endswith(".py")}
    assert all((ROOT / "harness" / each).exists() for each in drawn)


def test_the_order_is_that_of_the_contracts() -> None:
    """The order of imports that CONTRIBUTING states is the one that import-linter holds."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held = {
        contract["containers"][0].removeprefix("harness.").removeprefix("harness"): [
            {part.strip() for part in re.split(r"[|:]", layer)} - {"__main__"}
            for layer in contract["layers"]
        ]
        for contract in document["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    }
    stated = {}
    for line in ORDERS:
        folder, _, order = line.rpartition(":")
        stated[folder] = [{part.strip() for part in each.split("|")} for each in order.split("→")]
    for folder, layers in held.items():
        assert stated[folder] == [each for each in layers if each]
