"""Run folders that are being written, safe against a kill at any moment.

A trial that has been appended is on the disk. A line that a kill has torn is cut off when the run
is resumed, and left out when it is read.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.domain.driver import ReplyAudio
from harness.domain.seal import seal
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.store.files import (
    append_line,
    append_to,
    cut_torn_line,
    foreign_entries,
    replace_whole,
)
from harness.store.runs.encode import encode_trial
from harness.store.runs.environment import utc_now
from harness.store.runs.plans import RunPlan, encode_plan
from harness.store.runs.replies import encode_reply
from harness.store.runs.run import (
    AUDIO,
    ENVIRONMENT,
    LOCK,
    PLAN,
    REPORTS,
    STATUS,
    TRIALS,
    Run,
    open_run,
)
from harness.store.secrecy import mask_json, secret_values

__all__ = ["RunWriter", "create_run", "resume_run"]


class RunWriter:
    """A run that this process is writing; nobody else can until it is closed.

    Use as a context manager. Methods raise ConfigurationError, in one line that says how to go on,
    when the disk is full or the folder cannot be written; what was appended before is safe.
    """

    def __init__(self, run: Run, lock: int, secret_texts: Sequence[str]) -> None:
        self.run = run
        self._lock = lock
        self._secrets = tuple(secret_texts)
        self._descriptor = self._guard(lambda: append_to(run.path / TRIALS), TRIALS)
        self._guard(lambda: cut_torn_line(self._descriptor), TRIALS)

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
        if isinstance(error, FileNotFoundError):
            return ConfigurationError(
                f"{self.run.path / what}: the run's folder has been removed while it was written; "
                "what had been measured went with it: start a new run"
            )
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "free some space" if full else "make the folder writable"
        return ConfigurationError(
            f"{self.run.path / what}: cannot be written: {error.strerror or error}; "
            f"finished trials are kept: {mend} and go on with "
            f"`turnbench run --resume {self.run.path}`"
        )

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
        line = seal(mask_json(encode_trial(trial), self._secrets))
        self._guard(
            lambda: append_line(self._descriptor, line.encode("utf-8")),
            f"{TRIALS} ({trial.key.id})",
        )
        if failure is not None:
            raise failure

    def _write_file(self, name: str, content: bytes, *, sync: bool = True) -> None:
        """Write a file whole or not at all."""
        path = self.run.path / name
        if name.startswith(f"{AUDIO}/"):
            self._guard(lambda: path.parent.mkdir(exist_ok=True), AUDIO)
        self._guard(lambda: replace_whole(path, content, sync=sync), name)

    def add_environment(self, facts: Mapping[str, Any]) -> None:
        """Append the facts of one start of the run (``collect_environment`` and endpoints)."""
        starts = [*self.run.environment(), dict(facts)]
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
        text = json.dumps(document, ensure_ascii=False, indent=1, default=str)
        self._write_sealed(name, text)

    def _write_sealed(self, name: str, text: str) -> None:
        """Write a JSON object without secrets, and with its checksum."""
        masked = mask_json(text, self._secrets, indent=1)
        self._write_file(name, f"{seal(masked)}\n".encode())


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
        writer._write_sealed(PLAN, encode_plan(plan))  # noqa: SLF001 - same module
        writer.set_status("running", done=0, failed=0)
    except BaseException:
        writer.close()
        raise
    return writer


def _lock(path: Path) -> int:
    try:
        descriptor = append_to(path / LOCK)
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
        os.write(descriptor, f"pid {os.getpid()} since {started}\n".encode())
    return descriptor


def resume_run(path: str | Path) -> RunWriter:
    """Open a run's folder to go on writing it; a torn last line is cut off.

    Raises:
        ConfigurationError: it is not a run's folder, or another process is writing it.
    """
    run = open_run(path)
    foreign = foreign_entries(run.path)
    if foreign:
        raise ConfigurationError(
            f"{run.path / each}: a link or no regular file, which a run's folder holds none of; "
            "remove it to go on with the run"
            for each in foreign
        )
    writer = RunWriter(run, _lock(run.path), secret_values(run.plan.suite))
    try:
        for left in run.path.glob(".*.part"):
            # What a kill has left of a file that was to be.
            left.unlink(missing_ok=True)
        run.trials()
    except BaseException:
        writer.close()
        raise
    return writer
