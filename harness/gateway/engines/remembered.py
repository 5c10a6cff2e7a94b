"""The embedded recogniser, asked once for each recording of a run.

pocketsphinx gives the same answer to the same audio: what it made of an utterance is kept, piece by
piece, under a digest of all that it had heard of it. Another trial of the same recording is
answered from that. The lanes of a run share a file; whoever reads a torn line leaves it out.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from harness.gateway.engines.worker import BlockingWorker, Message

__all__ = ["RememberedWorker"]


class RememberedWorker(BlockingWorker):
    """A blocking worker of the recogniser with a memory.

    Args:
        module: the recogniser's module.
        memory: the file that the lanes of a run share; None to keep what is known to this one.
    """

    def __init__(self, module: str, *, memory: Path | None = None) -> None:
        super().__init__(module)
        self._memory = memory
        self._read_to = 0
        self._partials: dict[str, str] = {}
        self._finals: dict[str, tuple[str, str]] = {}
        self._fresh: dict[str, str] = {}
        self._heard: list[tuple[dict[str, Any], bytes]] = []
        self._told = 0
        self._state = ""
        self._text = ""

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a message of an utterance; what is known is answered at once."""
        operation = header["op"]
        if operation == "start":
            self._recall()
            self._heard, self._told, self._text = [], 0, ""
            self._state = _digest(str(header.get("cmn") or "").encode())
        else:
            self._state = _digest(self._state.encode() + operation.encode() + payload)
        self._heard.append((header, payload))
        if operation == "end":
            self._finish(header["id"])
        elif operation == "audio":
            self._partial(header["id"])

    def _partial(self, identity: int) -> None:
        text = self._partials.get(self._state)
        if text is None:
            self._catch_up()
            text = self._partials[self._state] = self._fresh[self._state] = self._text
        elif text != self._text:
            self._text = text
            super()._dispatch({"id": identity, "op": "partial", "text": text}, b"")

    def _finish(self, identity: int) -> None:
        known = self._finals.get(self._state)
        if known is None:
            self._catch_up()
            return
        text, cmn = known
        super()._dispatch({"id": identity, "op": "final", "text": text, "cmn": cmn}, b"")

    def _catch_up(self) -> None:
        """Tell the process all that it has not been told of this utterance."""
        untold = self._heard[self._told :]
        self._told = len(self._heard)
        for header, payload in untold:
            super().send(header, payload)

    def _dispatch(self, header: dict[str, Any], payload: bytes) -> None:
        operation = header.get("op")
        if operation == "partial":
            if header["text"] == self._text:
                # It catches up with what was answered from memory.
                return
            self._text = header["text"]
        elif operation == "final":
            self._finals[self._state] = header["text"], header["cmn"]
            self._keep()
        super()._dispatch(header, payload)

    def _keep(self) -> None:
        """Let the other lanes know."""
        fresh, self._fresh = self._fresh, {}
        if self._memory is None:
            return
        record = {"partials": fresh, "final": [self._state, *self._finals[self._state]]}
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._memory, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _recall(self) -> None:
        """Take in what other lanes have heard since."""
        if self._memory is None or not self._memory.exists():
            return
        with self._memory.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
                state, text, cmn = record["final"]
                self._partials.update(record["partials"])
            except (ValueError, TypeError, KeyError):
                continue
            self._finals[state] = text, cmn

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> Message:
        """Send a request and return its answer; nobody is started only to be ready."""
        if header.get("op") == "ready":
            return {"id": 0}, b""
        return await super().ask(header, payload)

    async def start(self) -> None:
        """Start nothing before it is needed."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
