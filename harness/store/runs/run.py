"""Run folders: everything that one run leaves behind, safe against a kill at any moment.

::

    reports/20260901-101500-quick-3fa9/
        plan.json           the suite, the seed, the order of trials, the utterances
        environment.json    versions, machine, git, endpoints: one entry for each start of the run
        trials.jsonl        one appended and synced line for each trial (harness.store.runs.wire)
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

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.collector import collector_off
from harness.domain.driver import ReplyAudio
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.store.runs.environment import redact_values, secret_values, utc_now
from harness.store.runs.heard_replies import HEARD_REPLIES, with_heard
from harness.store.runs.plans import RunPlan, decode_plan, encode_plan
from harness.store.runs.replies import encode_reply
from harness.store.runs.wire import WireError, decode_trial, encode_trial

__all__ = [
    "REPORTS",
    "Run",
    "RunWriter",
    "create_run",
    "find_run",
    "list_runs",
    "open_run",
    "resume_run",
]

REPORTS = Path("reports")
PLAN, ENVIRONMENT, TRIALS = "plan.json", "environment.json", "trials.jsonl"
TRUTH, STATUS, LOCK, AUDIO = "truth.jsonl", "status.json", "run.lock", "audio"

# A stored line is searched for secrets of this length; shorter ones are words that stand in the
# text by right ("test").
_SECRET_LENGTH = 8


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


class RunWriter:
    """A run that this process is writing; nobody else can until it is closed.

    Use as a context manager. Methods raise ConfigurationError, in one line that says how to go on,
    when the disk is full or the folder cannot be written; what was appended before is safe.
    """

    def __init__(self, run: Run, lock: int, secret_texts: Sequence[str]) -> None:
        self.run = run
        self._lock = lock
        self._secrets = tuple(each for each in secret_texts if len(each) >= _SECRET_LENGTH)
        self._descriptor = self._guard(
            lambda: os.open(
                run.path / TRIALS,
                os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
                0o644,
            ),
            TRIALS,
        )
        self._cut_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and let go of the folder."""
        if self._lock >= 0:
            os.close(self._descriptor)
            # The lock file stays: removing it would let two writers lock two different files.
            os.close(self._lock)
            self._lock = -1

    def _guard(self, action: Callable[[], Any], what: str) -> Any:
        try:
            return action()
        except OSError as error:
            raise self._failed(error, what) from error

    def _failed(self, error: OSError, what: str) -> ConfigurationError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "free some space" if full else "make the folder writable"
        return ConfigurationError(
            f"{self.run.path / what}: cannot be written: {error.strerror or error}; "
            f"finished trials are kept: {mend} and go on with "
            f"`turnbench run --resume {self.run.path}`"
        )

    def _cut_torn_line(self) -> None:
        """Cut what a kill has left of a line; a whole line stays."""
        size = os.fstat(self._descriptor).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            block = os.pread(self._descriptor, end - start, start)
            found = block.rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            self._guard(lambda: os.ftruncate(self._descriptor, end), TRIALS)

    def append(self, trial: Trial | FailedTrial, audio: ReplyAudio | None = None) -> None:
        """Store a trial and its reply; on the disk when this returns.

        Raises:
            ConfigurationError: the disk is full. The trial is stored without its audio where only
                the audio did not fit.
        """
        failure: ConfigurationError | None = None
        if audio is not None and audio.pcm and self.run.plan.suite.keep_audio:
            name = f"{AUDIO}/{trial.key.id}.flac"
            try:
                self._write_file(name, encode_reply(audio), sync=False)
            except ConfigurationError as error:
                failure = error
            else:
                trial = _with_audio(trial, name)
        line = self._without_secrets(encode_trial(trial))
        self._append_line(line.encode("utf-8", errors="surrogatepass") + b"\n", trial.key.id)
        if failure is not None:
            raise failure

    def _append_line(self, line: bytes, what: str) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError as error:
            # Half a line must not stand before the next one.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise self._failed(error, f"{TRIALS} ({what})") from error

    def _without_secrets(self, line: str) -> str:
        """Mask a key that a provider has echoed into a text."""
        if redact_values(line, self._secrets) == line:
            return line
        return json.dumps(
            _masked(json.loads(line), self._secrets), ensure_ascii=False, separators=(",", ":")
        )

    def _write_file(self, name: str, content: bytes, *, sync: bool = True) -> None:
        """Write a file whole or not at all."""
        path = self.run.path / name
        partial = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise self._failed(error, name) from error

    def add_environment(self, facts: Mapping[str, Any]) -> None:
        """Append the facts of one start of the run (``collect_environment`` and endpoints)."""
        starts = [*self.run.environment(), _masked(dict(facts), self._secrets)]
        self._write_json(ENVIRONMENT, {"v": 1, "starts": starts})

    def set_status(self, state: str, **facts: Any) -> None:
        """Say how far the run has come; ``state`` as in :meth:`Run.status`."""
        self._write_json(
            STATUS,
            {
                "v": 1,
                "state": state,
                "updated_utc": utc_now().isoformat(timespec="seconds"),
                "planned": len(self.run.plan.keys),
                **facts,
            },
        )

    def _write_json(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"
        self._write_file(name, text.encode("utf-8", errors="surrogatepass"))


def _masked(value: Any, secret_texts: Sequence[str]) -> Any:
    if isinstance(value, str):
        return redact_values(value, secret_texts)
    if isinstance(value, Mapping):
        return {key: _masked(each, secret_texts) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, secret_texts) for each in value]
    return value


def _with_audio(trial: Trial | FailedTrial, name: str) -> Trial | FailedTrial:
    """Name the audio file in the trial's last turn that has a reply."""
    turns = list(trial.turns)
    for index in reversed(range(len(turns))):
        reply = turns[index].reply
        if reply is not None:
            turns[index] = dataclasses.replace(
                turns[index], reply=dataclasses.replace(reply, audio=name)
            )
            return dataclasses.replace(trial, turns=tuple(turns))
    return trial


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.casefold()).strip("-.")[:40] or "suite"


def create_run(plan: RunPlan, *, reports: Path = REPORTS) -> RunWriter:
    """Make a run's folder and write its plan.

    Raises:
        ConfigurationError: the folder cannot be made or written.
    """
    stamp = utc_now().strftime("%Y%m%d-%H%M%S")
    path = reports
    try:
        reports.mkdir(parents=True, exist_ok=True)
        for _ in range(100):
            path = reports / f"{stamp}-{_slug(plan.suite.name)}-{secrets.token_hex(2)}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
        else:
            raise ConfigurationError(f"{reports}: no name is free for a run; try again")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be made: {error.strerror}; choose another folder with --out"
        ) from error
    run = Run(path, plan)
    writer = RunWriter(run, _lock(path), secret_values(plan.suite))
    try:
        writer._write_file(PLAN, encode_plan(plan).encode("utf-8", "surrogatepass"))  # noqa: SLF001 - same module
        writer.set_status("running", done=0, failed=0)
    except BaseException:
        writer.close()
        raise
    return writer


def _lock(path: Path) -> int:
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(f"{path / LOCK}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise ConfigurationError(
            f"{path}: another process is writing this run ({holder or 'unknown'}); "
            "wait for its end or stop it"
        ) from error
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        started = utc_now().isoformat(timespec="seconds")
        os.pwrite(descriptor, f"pid {os.getpid()} since {started}\n".encode(), 0)
    return descriptor


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


def resume_run(path: str | Path) -> RunWriter:
    """Open a run's folder to go on writing it; a torn last line is cut off.

    Raises:
        ConfigurationError: it is not a run's folder, or another process is writing it.
    """
    run = open_run(path)
    writer = RunWriter(run, _lock(run.path), secret_values(run.plan.suite))
    try:
        run.trials()
    except BaseException:
        writer.close()
        raise
    return writer


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
