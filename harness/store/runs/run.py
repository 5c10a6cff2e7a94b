"""Run folders: everything that one run leaves behind, safe against a kill at any moment.

::

    reports/20260901-101500-quick-3fa9/
        plan.json           the suite, the seed, the order of trials, the utterances
        environment.json    versions, machine, git, endpoints: one entry for each start of the run
        trials.jsonl        one appended and synced line for each trial (harness.store.runs.encode)
        audio/t00012.flac   the replies as they were played
        truth.jsonl         the gateway's truth
        status.json         how far the run has come, and how it ended
        heard_replies.jsonl what a recogniser made of the replies (harness.store.runs.heard_replies)
        report.html         the page; charts/*.svg its charts, peaks.json its waveforms
        report.kept         what the page shows, under a key (harness.store.runs.kept); may be
        deleted run.lock            held while a process writes

A trial that has been appended is on the disk. A line that a kill has torn is cut off when the run
is resumed and left out when it is read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.collector import collector_off
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.store.runs.decode import WireError, decode_trial
from harness.store.runs.heard_replies import HEARD_REPLIES, with_heard
from harness.store.runs.plans import RunPlan, decode_plan

__all__ = [
    "AUDIO",
    "ENVIRONMENT",
    "LOCK",
    "PLAN",
    "REPORTS",
    "STATUS",
    "TRIALS",
    "Run",
    "find_run",
    "list_runs",
    "open_run",
]

REPORTS = Path("reports")
PLAN, ENVIRONMENT, TRIALS = "plan.json", "environment.json", "trials.jsonl"
TRUTH, STATUS, LOCK, AUDIO = "truth.jsonl", "status.json", "run.lock", "audio"


class Run:
    """A stored run, to be read.

    Args:
        path: its folder.
        plan: what it was going to do.
    """

    def __init__(self, path: Path, plan: RunPlan) -> None:
        self.path = path
        self.plan = plan
        self._trials: tuple[object, tuple[Trial | FailedTrial, ...]] | None = None

    @property
    def name(self) -> str:
        """The folder's name: date, time, suite and four digits."""
        return self.path.name

    @property
    def truth_path(self) -> Path:
        """Where the gateway's truth is; it need not exist."""
        return self.path / TRUTH

    def environment(self) -> tuple[Mapping[str, Any], ...]:
        """Return the facts of each start of the run, in order.

        Raises:
            ConfigurationError: the file is damaged.
        """
        document = _read_json(self.path / ENVIRONMENT)
        return tuple(document.get("starts", ()))

    def status(self) -> Mapping[str, Any]:
        """Return how far the run has come.

        ``state`` is "running", "finished", "interrupted", "stopped" or "failed"; a run that says
        "running" while nobody holds its lock was killed. ``ended`` gives the reason for each
        candidate that ended early.

        Raises:
            ConfigurationError: the file is damaged.
        """
        return _read_json(self.path / STATUS)

    def trials(self) -> tuple[Trial | FailedTrial, ...]:
        """Return every stored trial in the order in which they ended.

        Replies carry what a recogniser made of them later, where one was asked. What was read is
        kept as long as the files do not change: trials are frozen, and reading many takes seconds.

        Raises:
            ConfigurationError: a line before the last is damaged, or of a newer format.
        """
        stamps = tuple(_stamp(self.path / name) for name in (TRIALS, HEARD_REPLIES))
        if self._trials is None or self._trials[0] != stamps:
            # A large run makes millions of values that hold no cycle: nothing for the collector.
            with collector_off():
                self._trials = stamps, with_heard(self.path, _read_trials(self.path / TRIALS))
        return self._trials[1]

    def missing(self) -> tuple[TrialKey, ...]:
        """Return the planned trials that have not been performed."""
        done = {trial.key.order for trial in self.trials()}
        return tuple(key for key in self.plan.keys if key.order not in done)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file's content; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: not a JSON object")
    return document


def _read_trials(path: Path) -> Iterator[Trial | FailedTrial]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    # The last piece has no line end: it is empty, or a line that a kill has torn.
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            yield decode_trial(line)
        except WireError as error:
            raise ConfigurationError(f"{path}:{number}: {error}") from error


def open_run(path: str | Path) -> Run:
    """Open a run's folder for reading.

    Raises:
        ConfigurationError: it is not a run's folder.
    """
    folder = Path(path)
    plan = folder / PLAN
    try:
        text = plan.read_text(encoding="utf-8", errors="surrogatepass")
    except OSError as error:
        raise ConfigurationError(f"{folder}: not a run's folder: it has no {PLAN}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{plan}: not UTF-8 text") from error
    return Run(folder, decode_plan(text, source=plan))


def list_runs(reports: Path = REPORTS) -> tuple[Path, ...]:
    """Return the run folders, oldest first."""
    if not reports.is_dir():
        return ()
    plans = sorted(reports.glob(f"*/{PLAN}"), key=lambda path: (path.parent.name[:15], _age(path)))
    return tuple(path.parent for path in plans)


def _age(path: Path) -> int:
    """Return when a file was written, to order runs of one second; 0 when it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def find_run(name: str, *, reports: Path = REPORTS) -> Path:
    """Find a run: a folder, the name (or its unique beginning or end) of one, or "latest".

    Raises:
        ConfigurationError: none fits, or several do.
    """
    path = Path(name)
    if (path / PLAN).is_file():
        return path
    runs = list_runs(reports)
    if name == "latest":
        if not runs:
            raise ConfigurationError(f"{reports}: there is no run yet; make one: turnbench run")
        return runs[-1]
    found = [each for each in runs if each.name.startswith(name) or each.name.endswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in found)
        raise ConfigurationError(f"{name}: several runs fit: {names}")
    raise ConfigurationError(
        f"{name}: no run's folder, and no run in {reports}/ is called so; "
        "`turnbench run` makes one, `latest` is the newest"
    )
