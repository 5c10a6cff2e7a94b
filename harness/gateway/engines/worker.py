"""Worker processes and the messages that they exchange with the gateway.

A message is two 32-bit little-endian lengths, a JSON header and a binary payload. The gateway's
side (`Worker`) never blocks the event loop; the worker's side (`serve`) is a plain loop over its
standard input and ends when that is closed, so no worker outlives its gateway.
"""

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

__all__ = ["BlockingWorker", "Message", "Worker", "WorkerDied", "pack", "serve"]

Message = tuple[dict[str, Any], bytes]

_LENGTHS = struct.Struct("<II")
_MAX_MESSAGE = 256 * 1024 * 1024


class WorkerDied(Exception):  # noqa: N818  # what happened, not an error of the caller
    """The worker process ended before it answered."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return a message as bytes."""
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(payload)) + head + payload


class Worker:
    """One worker process; started at once, started anew when it died.

    Args:
        module: the module to run as ``python -m module``.
        arguments: further command-line arguments.
        log: where it may print to; None for where this process prints its errors.

    Attributes:
        generation: how often the process has been started.
    """

    def __init__(self, module: str, *arguments: str, log: Path | None = None) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._handlers: dict[int, Callable[[dict[str, Any], bytes], None]] = {}
        self._futures: dict[int, asyncio.Future[Message]] = {}
        self._ids = count(1)
        self._starting = asyncio.Lock()
        self.generation = 0

    async def start(self) -> None:
        """Start the process unless it runs."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            with contextlib.ExitStack() as stack:
                log = None if self._log is None else stack.enter_context(self._log.open("ab"))
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                )
            self.generation += 1
            self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        assert stdout is not None
        try:
            while True:
                head_length, payload_length = _LENGTHS.unpack(
                    await stdout.readexactly(_LENGTHS.size)
                )
                header = json.loads(await stdout.readexactly(head_length))
                payload = await stdout.readexactly(payload_length) if payload_length else b""
                self._dispatch(header, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if self._process is process:
                self._process = None
            self._fail_all()

    def _dispatch(self, header: dict[str, Any], payload: bytes) -> None:
        identity = header["id"]
        future = self._futures.pop(identity, None)
        if future is not None:
            if not future.done():
                future.set_result((header, payload))
            return
        handler = self._handlers.get(identity)
        if handler is not None:
            handler(header, payload)

    def _fail_all(self) -> None:
        futures, self._futures = self._futures, {}
        for future in futures.values():
            if not future.done():
                future.set_exception(WorkerDied(self._command[2]))
        handlers, self._handlers = self._handlers, {}
        for handler in handlers.values():
            handler({"died": True}, b"")

    def subscribe(self, handler: Callable[[dict[str, Any], bytes], None]) -> int:
        """Return an id whose messages go to the handler until `unsubscribe`.

        When the worker dies the handler gets ``{"died": True}`` and is forgotten.
        """
        identity = next(self._ids)
        self._handlers[identity] = handler
        return identity

    def unsubscribe(self, identity: int) -> None:
        """Forget a handler."""
        self._handlers.pop(identity, None)

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a message; returns at once. A dead worker swallows it: see `subscribe`."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        process.stdin.write(pack(header, payload))

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> Message:
        """Send a request and return its answer.

        Raises:
            WorkerDied: the process ended before it answered.
        """
        await self.start()
        identity = next(self._ids)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._futures[identity] = future
        self.send({**header, "id": identity}, payload)
        try:
            return await future
        finally:
            self._futures.pop(identity, None)

    def kill(self) -> None:
        """End the process at once; who waits for it hears that it died."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End the process: politely by closing its input, then by force."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 1.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader


class BlockingWorker(Worker):
    """A worker that is waited for where it is asked: on a clock that stands still meanwhile.

    It belongs to no event loop, so it outlives those that use it.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        super().__init__(module, *arguments)
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process unless it runs."""
        self._running()

    def _running(self) -> "subprocess.Popen[bytes]":
        child = self._child
        if child is None or child.poll() is not None:
            child = self._child = subprocess.Popen(  # noqa: S603  (our own module)
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return child

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a message and hand out all that the worker has to say to it."""
        self._exchange(header, payload, echo=True)

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> Message:
        """Send a request and return its answer.

        Raises:
            WorkerDied: the process ended before it answered.
        """
        answer = self._exchange({**header, "id": next(self._ids)}, payload, echo=False)
        if answer is None:
            raise WorkerDied(self._command[2])
        return answer

    def _exchange(self, header: dict[str, Any], payload: bytes, *, echo: bool) -> Message | None:
        """Send a message and read up to its answer, or with ``echo`` up to that of a second one."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        last = next(self._ids) if echo else header["id"]
        try:
            child.stdin.write(pack(header, payload))
            if echo:
                child.stdin.write(pack({"op": "ready", "id": last}))
            child.stdin.flush()
            for message in _messages(child.stdout):
                if message[0]["id"] == last:
                    return message
                self._dispatch(*message)
        except OSError:
            pass
        self._end(child)
        self._fail_all()
        return None

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = None
        for stream in (child.stdin, child.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        try:
            child.wait(1.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    async def stop(self) -> None:
        """End the process: politely by closing its input, then by force."""
        if self._child is not None:
            self._end(self._child)


def _messages(stream: IO[bytes]) -> Iterator[Message]:
    while True:
        lengths = stream.read(_LENGTHS.size)
        if len(lengths) < _LENGTHS.size:
            return
        head_length, payload_length = _LENGTHS.unpack(lengths)
        if head_length + payload_length > _MAX_MESSAGE:
            return
        head = stream.read(head_length)
        payload = stream.read(payload_length) if payload_length else b""
        if len(head) < head_length or len(payload) < payload_length:
            return
        yield json.loads(head), payload


def serve(handle: Callable[[dict[str, Any], bytes], Iterator[Message]], *, nice: int = 0) -> None:
    """Answer messages until standard input ends; runs in the worker process.

    Args:
        handle: yields the answers to one message; each answer's header carries the request's id.
        nice: how far the process gives way to others.
    """
    with contextlib.suppress(OSError):
        os.nice(nice)
    # Libraries that print must not write into the stream of messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for header, payload in _messages(sys.stdin.buffer):
            for answer, data in handle(header, payload):
                out.write(pack(answer, data))
                out.flush()
