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
        report.html         the page; charts/*.svg its charts
        report.kept         what the page shows, under a key (harness.store.runs.kept); may be
        deleted run.lock            held while a process writes

A trial that has been appended is on the disk. A line that a kill has torn is cut off when the run
is resumed and left out when it is read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.collector import collector_off
from harness.domain.seal import is_sealed, unbroken
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.store.files import UnsafeFileError, read_inside
from harness.store.runs.decode import NewerFormatError, WireError, decode_trial
from harness.store.runs.heard_replies import HEARD_REPLIES, damaged_heard, with_heard
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
_LARGEST_JSON = 1 << 28
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
        self._damage: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The folder's name: date, time, suite and four digits."""
        return self.path.name

    @property
    def truth_path(self) -> Path:
        """Where the gateway's truth is; it need not exist."""
        return self.path / TRUTH

    def environment(self) -> tuple[Mapping[str, Any], ...]:
        """Return the facts of each start of the run, in order; none where the file is damaged."""
        starts = self._read_json(ENVIRONMENT).get("starts", ())
        return tuple(each for each in starts if isinstance(each, Mapping))

    def status(self) -> Mapping[str, Any]:
        """Return how far the run has come.

        ``state`` is "running", "finished", "interrupted", "stopped" or "failed"; a run that says
        "running" while nobody holds its lock was killed. ``ended`` gives the reason for each
        candidate that ended early. Nothing where the file is damaged.
        """
        return self._read_json(STATUS)

    def damage(self) -> tuple[str, ...]:
        """Return a line for each file that was read and does not hold what was written.

        What is damaged is left out of everything; whoever shows a figure says so.
        """
        return tuple(self._damage.values())

    def _read_json(self, name: str) -> Mapping[str, Any]:
        self._damage.pop(name, None)
        try:
            data = read_inside(self.path, name, limit=_LARGEST_JSON)
            document = json.loads(data)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else "no JSON"
        else:
            if isinstance(document, dict) and unbroken(data):
                return document
            why = "its checksum differs"
        self._damage[name] = f"{self.path / name}: damaged ({why}) and left out"
        return {}

    def trials(self) -> tuple[Trial | FailedTrial, ...]:
        """Return every stored trial in the order in which they ended.

        Replies carry what a recogniser made of them later, where one was asked. What was read is
        kept as long as the files do not change: trials are frozen, and reading many takes seconds.

        Lines that are damaged are left out, and told of by :meth:`damage`; their trials count as
        not performed.

        Raises:
            ConfigurationError: a line is of a newer format, or the file cannot be read.
        """
        stamps = tuple(_stamp(self.path / name) for name in (TRIALS, HEARD_REPLIES))
        if self._trials is None or self._trials[0] != stamps:
            # A large run makes millions of values that hold no cycle: nothing for the collector.
            with collector_off():
                bad: list[int] = []
                found = tuple(_read_trials(self.path, bad))
                self._trials = stamps, with_heard(self.path, found)
            self._say(TRIALS, bad, f"`turnbench run --resume {self.path}` performs them again")
            self._say(HEARD_REPLIES, damaged_heard(self.path), "`turnbench intelligibility` hears")
        return self._trials[1]

    def _say(self, name: str, lines: Sequence[int], mend: str) -> None:
        self._damage.pop(name, None)
        if lines:
            where = f"line {lines[0]}" + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")
            self._damage[name] = f"{self.path / name}: {where}: damaged and left out; {mend}"

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


def _read_trials(folder: Path, bad: list[int]) -> Iterator[Trial | FailedTrial]:
    """Yield the trials of a folder; ``bad`` gets the numbers of damaged lines."""
    try:
        lines = read_inside(folder, TRIALS).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        path = folder / TRIALS
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    sealed = False
    # The last piece has no line end: it is empty, or a line that a kill has torn.
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        # Once lines carry a checksum, one without has lost it.
        whole = unbroken(line) and (is_sealed(line) or not sealed)
        sealed = sealed or is_sealed(line)
        try:
            if whole:
                yield decode_trial(line)
                continue
        except NewerFormatError as error:
            raise ConfigurationError(f"{folder / TRIALS}:{number}: {error}") from error
        except WireError:
            pass
        bad.append(number)


def open_run(path: str | Path) -> Run:
    """Open a run's folder for reading.

    Raises:
        ConfigurationError: it is not a run's folder.
    """
    folder = Path(path)
    plan = folder / PLAN
    try:
        data = read_inside(folder, PLAN, limit=_LARGEST_JSON)
        text = data.decode("utf-8", errors="surrogatepass")
    except UnsafeFileError as error:
        raise ConfigurationError(f"{plan}: {error.strerror}") from error
    except OSError as error:
        raise ConfigurationError(f"{folder}: not a run's folder: it has no {PLAN}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{plan}: not UTF-8 text") from error
    if not unbroken(data):
        raise ConfigurationError(
            f"{plan}: damaged: its checksum differs, so nothing in it can be trusted; "
            'take the file from a copy of the run, or remove its "crc" where the change is your own'
        )
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
