"""Starting and ending a gateway in a process of its own."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from harness.errors import ConfigurationError, HarnessError
from harness.gateway.calls.config import GatewayConfig

__all__ = ["GatewayProcess", "GatewayStartError", "start_gateway"]

_MISUSE = 2


class GatewayStartError(HarnessError):
    """The gateway's process ended or stayed silent instead of getting ready."""


class GatewayProcess:
    """A gateway that runs; a context manager that ends it.

    Args:
        process: the process.
        port: the TCP port on 127.0.0.1.
        config: what it was started with.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", port: int, config: GatewayConfig
    ) -> None:
        self._process = process
        self.port = port
        self.config = config

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def key(self) -> str:
        """Return the key that clients present."""
        return self.config.key

    def is_running(self) -> bool:
        """Return whether the process lives."""
        return self._process.poll() is None

    def base_url(self, profile: str) -> str:
        """Return the base URL for OpenAI clients, ending in ``/v1``."""
        return f"http://127.0.0.1:{self.port}/{quote(profile, safe='')}/v1"

    def parakeet_url(self, profile: str) -> str:
        """Return the WebSocket URL of Parakeet, without the token."""
        name = quote(profile, safe="")
        return f"ws://127.0.0.1:{self.port}/{name}/parakeet/v1/audio/stream"

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the process: by SIGTERM, which writes the truth's rest, then by SIGKILL."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _command(config: GatewayConfig) -> list[str]:
    command = [sys.executable, "-m", "harness.gateway", "--end-with-input"]
    command += ["--port", str(config.port), "--seed", str(config.seed), "--key", config.key]
    command += ["--recogniser-workers", str(config.recogniser_workers)]
    command += ["--default-profile", config.default_profile]
    for name, value in (
        ("--truth", config.truth),
        ("--utterances", config.utterances),
        ("--profiles", config.profiles),
        ("--recogniser", config.recogniser),
    ):
        if value is not None:
            command += [name, str(value)]
    if not config.espeak:
        command.append("--without-espeak")
    return command


def start_gateway(config: GatewayConfig, *, timeout_s: float = 30.0) -> GatewayProcess:
    """Start a gateway and wait until it listens and its engines are warm.

    The gateway runs in a process group of its own, so that Ctrl-C in a terminal does not reach it,
    and ends by itself when this process ends, however that happens.

    Raises:
        ConfigurationError: the gateway refused a file or a setting.
        GatewayStartError: it ended for another reason, or was not ready in time.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            _command(config),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdout is not None
        port = _ready_port(process.stdout, time.monotonic() + timeout_s)
        if port is not None:
            return GatewayProcess(process, port, config)
        timed_out = process.poll() is None and not _ends_soon(process)
        if timed_out:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if code == _MISUSE and said:
        raise ConfigurationError([line.removeprefix("gateway: ") for line in said.splitlines()])
    why = f"not ready within {timeout_s:g} s" if timed_out else f"ended with code {code}"
    raise GatewayStartError(f"the gateway did not start: {why}\n{said[-2000:]}")


def _ends_soon(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ready_port(stdout: IO[bytes], deadline_s: float) -> int | None:
    """Return the port of the line ``ready PORT``; None when it does not come."""
    lines: queue.Queue[bytes] = queue.Queue()
    # A pipe has no read with a timeout that works on every platform; a thread has.
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
    except queue.Empty:
        return None
    word, _, number = line.decode(errors="replace").strip().partition(" ")
    return int(number) if word == "ready" and number.isdigit() else None
