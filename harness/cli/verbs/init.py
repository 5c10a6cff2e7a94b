"""``turnbench init``: suites, a dataset folder and a workflow in the user's own repository."""

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
# The gate: this agent against the agent on the main branch, measured side by side. No keys: a
# loopback gateway stands in for the providers.
#
# Before the first run: turnbench is not on the package index, so say where it comes from. Put into
# this repository's variable TURNBENCH_SOURCE (Settings, Secrets and variables, Actions, Variables)
# the address of its git repository, pinned to a commit,
#     git+https://github.com/OWNER/turnbench@COMMIT
# or the address of a wheel that you have built and keep (pip wheel --no-deps .).
name: turnbench gate

on:
  pull_request:
  workflow_dispatch:
  schedule:
    - cron: "17 3 * * *"

permissions:
  contents: read

concurrency:
  group: gate-${{ github.ref }}
  cancel-in-progress: true

env:
  TURNBENCH_SOURCE: ${{ vars.TURNBENCH_SOURCE }}

jobs:
  gate:
    if: github.event_name != 'schedule'
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install turnbench
        run: |
          if [ -z "$TURNBENCH_SOURCE" ]; then
            echo "::error::Set the variable TURNBENCH_SOURCE; see the top of this file."
            exit 2
          fi
          python -m pip install "turnbench[espeak] @ $TURNBENCH_SOURCE"
      # Exit 1 is a regression and stops the merge. So does 3, "cannot tell": add
      # --allow-inconclusive to let it pass; the summary still says INCONCLUSIVE.
      - name: Gate
        run: >-
          turnbench run bench/gate.toml --gate
          --markdown "$GITHUB_STEP_SUMMARY"
          --junit reports/gate.xml
      - uses: actions/upload-artifact@v4
        if: ${{ !cancelled() }}
        with:
          name: gate
          path: reports/
          if-no-files-found: warn

  # Nightly, against the real providers. Put the keys into the repository's secrets and set its
  # variable TURNBENCH_LIVE to true; a key that is missing stops the run before anything is asked.
  live:
    if: github.event_name == 'schedule' && vars.TURNBENCH_LIVE == 'true'
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install turnbench
        run: |
          if [ -z "$TURNBENCH_SOURCE" ]; then
            echo "::error::Set the variable TURNBENCH_SOURCE; see the top of this file."
            exit 2
          fi
          python -m pip install "turnbench @ $TURNBENCH_SOURCE"
      - name: Measure
        run: turnbench run bench/agent.toml --via live --repeats 1 --yes
        env:
          OPENADAPTER_API_KEY: ${{ secrets.OPENADAPTER_API_KEY }}
          PARAKEET_API_KEY: ${{ secrets.PARAKEET_API_KEY }}
      - uses: actions/upload-artifact@v4
        if: ${{ !cancelled() }}
        with:
          name: live
          path: reports/
          if-no-files-found: warn
"""


def _gate_suite() -> str:
    """Return the shipped gate as a user's own: without a baseline, which is the shipped agent's."""
    text = (shipped_folder("bench") / "gate.toml").read_text(encoding="utf-8")
    text = re.sub(r"^baseline = [^\n]*\n", "", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"\n# What slows both sides alike.*\Z", "", text, count=1, flags=re.DOTALL)
    return text.replace(
        "`turnbench run gate --gate`, or `nox -s gate`", "`turnbench run bench/gate.toml --gate`"
    )


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
        folder / "bench" / "gate.toml": _gate_suite(),
        folder / "datasets" / "README.md": _DATASET_README,
        folder / ".github" / "workflows" / "turnbench-gate.yml": _WORKFLOW,
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
    print("For the workflow: set the repository's variable TURNBENCH_SOURCE; the file says to what")
    return 0


def _ignore(path: Path) -> None:
    """Keep runs and keys out of the repository."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in _IGNORE.splitlines() if line not in text.splitlines()]
    if missing:
        before = text if not text or text.endswith("\n") else f"{text}\n"
        path.write_text(before + "\n".join(missing) + "\n", encoding="utf-8")
        print(f"added {', '.join(missing)} to {path}")
