"""``turnbench init``: a suite, a dataset folder and a workflow in the user's own repository."""

import argparse
import re
from pathlib import Path

from harness.errors import ConfigurationError
from harness.store.shipped import shipped_folder

__all__ = ["init"]

_DATASET_README = """\
# Recordings of your own callers

`turnbench datasets import DIR --to datasets/mine` makes a dataset of a folder of recordings with
their texts beside them; `turnbench datasets check datasets/mine` verifies it. Then name it in
`bench/agent.toml`:

    [[dataset]]
    path = "../datasets/mine"
"""

_SUITE = "bench/agent.toml"
_IGNORE = "/reports/\n.env\n"

_WORKFLOW = """\
# Latency of the voice agent, without keys: a loopback gateway stands in for the providers.
name: turnbench
on:
  pull_request:
  schedule:
    - cron: "17 3 * * *"
permissions:
  contents: read
jobs:
  bench:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install turnbench
      - run: turnbench run bench/agent.toml
      # Nightly, against the real providers: put the keys into the repository's secrets.
      # - if: github.event_name == 'schedule'
      #   run: turnbench run bench/agent.toml --via live --yes
      #   env:
      #     OPENADAPTER_API_KEY: ${{ secrets.OPENADAPTER_API_KEY }}
      #     PARAKEET_API_KEY: ${{ secrets.PARAKEET_API_KEY }}
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: turnbench
          path: reports/
"""


def init(options: argparse.Namespace) -> int:
    """Write the files, none over one that is there."""
    folder = Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder}: is a file; name a folder")
    suite = (shipped_folder("bench") / "quick.toml").read_text(encoding="utf-8")
    suite = re.sub(r'^name = "quick"$', 'name = "agent"', suite, count=1, flags=re.MULTILINE)
    suite = suite.replace(
        "`turnbench run quick`, or `nox -s bench`", "`turnbench run bench/agent.toml`"
    )
    files = {
        folder / "bench" / "agent.toml": suite,
        folder / "datasets" / "README.md": _DATASET_README,
        folder / ".github" / "workflows" / "turnbench.yml": _WORKFLOW,
    }
    there = [path for path in files if path.exists()]
    if there and not options.force:
        raise ConfigurationError(
            f"{path}: is there already; move it away, or overwrite it with --force"
            for path in there
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
        _ignore(folder / ".gitignore")
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error}") from error
    print(f"Next: turnbench run {folder / 'bench' / 'agent.toml'}")
    return 0


def _ignore(path: Path) -> None:
    """Keep runs and keys out of the repository."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in _IGNORE.splitlines() if line not in text.splitlines()]
    if missing:
        before = text if not text or text.endswith("\n") else f"{text}\n"
        path.write_text(before + "\n".join(missing) + "\n", encoding="utf-8")
        print(f"added {', '.join(missing)} to {path}")
