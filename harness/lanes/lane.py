"""``python -m harness.lanes.lane real|virtual``: a lane's process.

Messages in: ``open`` + a :class:`~harness.lanes.job.LaneJob`, ``start {candidate}``, ``boot
{candidate, tell}``, ``perform`` + key, candidate and utterance. Each is answered once, with values
or, in the header, with ``error`` and what is wrong. It ends when its standard input does.
"""

import ctypes
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from harness.loops import clocks, threads

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Let the kernel end this process when the run's process is gone, whatever it is doing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Masked(io.TextIOBase):
    """A stream that hands on whole lines without secrets.

    Args:
        inner: where they go.
    """

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        self._line = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            from harness.store.secrecy import mask_text  # noqa: PLC0415

            self._inner.write(mask_text("\n".join(lines)) + "\n")
        return len(text)

    def flush(self) -> None:
        self._inner.flush()

    def fileno(self) -> int:
        return self._inner.fileno()


class _Lane:
    """Answers messages."""

    def __init__(self) -> None:
        self._stage: Any = None

    def handle(self, header: dict[str, Any], payload: bytes) -> "Iterator[tuple[Any, bytes]]":
        from harness.errors import ConfigurationError, HarnessError  # noqa: PLC0415
        from harness.lanes.job import pack_values, unpack_values  # noqa: PLC0415

        identity = header["id"]
        told: list[str] = []
        try:
            values = self._answer(header, unpack_values(payload) if payload else (), told.append)
        except ConfigurationError as error:
            yield {"id": identity, "error": "configuration", "lines": list(error.problems)}, b""
        except HarnessError as error:
            yield {"id": identity, "error": "harness", "lines": [str(error)]}, b""
        except Exception as error:  # noqa: BLE001  (an agent's code may raise anything)
            words = f"{type(error).__name__}: {error}"
            yield {"id": identity, "error": "internal", "lines": [words]}, b""
        else:
            for line in told:
                yield {"id": header["tell"], "text": line}, b""
            yield {"id": identity}, pack_values(*values)

    def _answer(self, header: dict[str, Any], values: Any, tell: Any) -> tuple[Any, ...]:
        operation = header["op"]
        if operation == "open":
            from harness.lanes.stages import stage_for  # noqa: PLC0415  (loads livekit)

            # What an agent prints ends in a file, without the keys that it was given.
            sys.stdout = sys.stderr = _Masked(sys.stderr)
            (job,) = values
            self._stage = stage_for(job)
            return ()
        if operation == "start":
            return (self._stage.start(header["candidate"]),)
        if operation == "boot":
            return (self._stage.boot(header["candidate"], tell),)
        assert operation == "perform", operation
        found: tuple[Any, ...] = self._stage.perform(*values)
        return found

    def close(self) -> None:
        """End what was opened."""
        if self._stage is not None:
            self._stage.close()


def main() -> None:
    """Serve until standard input ends."""
    _die_with_parent()
    # The run's process decides what an interruption means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1:] == ["virtual"]:
        # Before anything keeps a clock for itself.
        clocks.install()
        threads.install()
    from harness.gateway.engines.worker import serve  # noqa: PLC0415

    sys.path.insert(0, str(Path.cwd()))
    lane = _Lane()
    try:
        serve(lane.handle)
    finally:
        lane.close()
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads that an agent left behind keep nobody waiting.
        os._exit(0)


if __name__ == "__main__":
    main()
