"""What the speech protocols ask of a recogniser, and the embedded one: pocketsphinx.

One utterance is decoded while it is heard, in a worker process of a warm pool. The mean of the
cepstra (CMN) is carried from utterance to utterance of a session and reset for a new session, as
the recogniser would in one process: without that its errors multiply.
"""

import asyncio
import importlib.util
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.gateway.engines.worker import Worker
from harness.gateway.profiles.distributions import Draws

__all__ = [
    "EmbeddedRecogniser",
    "Hearing",
    "Recogniser",
    "RecogniserPool",
    "Recognition",
    "StableWords",
    "embedded_recogniser_exists",
]

_MODULE = "harness.gateway.engines.recogniser_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What a recogniser made of an utterance.

    Attributes:
        text: the transcript; empty when no word was heard.
        engine: which engine made it.
        detail: what the truth should know, such as what an oracle changed; None if nothing.
    """

    text: str
    engine: str
    detail: str | None = None


class Hearing(Protocol):
    """The recognition of one utterance in progress."""

    def feed(self, pcm: bytes) -> None:
        """Take PCM16 mono 16 kHz; returns at once."""
        ...

    def hypothesis(self) -> str:
        """Return the text so far, as the engine has it now."""
        ...

    async def finish(self, draws: Draws) -> Recognition:
        """Return the result; the utterance is over."""
        ...

    def abandon(self) -> None:
        """Drop the utterance."""
        ...


class Recogniser(Protocol):
    """One session of a recogniser: successive utterances of one speaker."""

    def listen(self) -> Hearing:
        """Begin an utterance."""
        ...


class StableWords:
    """Words on which two successive hypotheses agree; never taken back.

    A raw hypothesis of the embedded recogniser rewrites itself in seven updates of ten.
    """

    def __init__(self) -> None:
        self._previous: list[str] = []
        self._settled: list[str] = []

    def update(self, hypothesis: str) -> str:
        """Return the settled text after one more hypothesis."""
        words = hypothesis.split()
        agreed = 0
        for mine, other in zip(words, self._previous, strict=False):
            if mine != other:
                break
            agreed += 1
        if agreed > len(self._settled) and words[: len(self._settled)] == self._settled:
            self._settled = words[:agreed]
        self._previous = words
        return " ".join(self._settled)


def embedded_recogniser_exists() -> bool:
    """Return whether pocketsphinx is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


class RecogniserPool:
    """Warm worker processes, each lent to one utterance at a time.

    Args:
        size: how many workers are started and warm from the beginning.
        most: how many there can be; None for two a processor. The pool grows while more utterances
            are heard at once; one that finds all lent waits with its audio in memory. A worker
            takes about 100 MB.
        worker: makes a worker that runs a module.
    """

    def __init__(
        self,
        size: int,
        most: int | None = None,
        *,
        worker: Callable[[str], Worker] = Worker,
    ) -> None:
        self._most = max(size, 2 * (os.cpu_count() or 1) if most is None else most)
        self._make = worker
        self._workers = [worker(_MODULE) for _ in range(size)]
        self._free = deque(self._workers)
        self._queue: deque[asyncio.Future[Worker]] = deque()

    async def start(self) -> None:
        """Start the workers and wait until their models are loaded."""
        await asyncio.gather(*(worker.ask({"op": "ready"}) for worker in self._workers))

    async def stop(self) -> None:
        """End the workers."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def recall(self) -> None:
        """Take every worker back, whoever had it: the loop that lent them is over."""
        self._free = deque(self._workers)
        self._queue.clear()

    async def borrow(self) -> Worker:
        """Return a worker, waiting for one if all are lent."""
        if self._free:
            worker = self._free.popleft()
        elif len(self._workers) < self._most:
            worker = self._make(_MODULE)
            self._workers.append(worker)
        else:
            future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
            self._queue.append(future)
            try:
                worker = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.give_back(future.result())
                raise
        try:
            await worker.start()
        except BaseException:
            self.give_back(worker)
            raise
        return worker

    def give_back(self, worker: Worker) -> None:
        """Return a borrowed worker."""
        while self._queue:
            future = self._queue.popleft()
            if not future.done():
                future.set_result(worker)
                return
        self._free.append(worker)


class EmbeddedRecogniser:
    """A session of the embedded recogniser.

    Args:
        pool: the workers.
    """

    def __init__(self, pool: RecogniserPool) -> None:
        self._pool = pool
        self._cmn: str | None = None

    def listen(self) -> Hearing:
        """Begin an utterance."""
        return _EmbeddedHearing(self, self._pool)

    @property
    def cmn(self) -> str | None:
        """Return the cepstral mean that the last utterance left behind."""
        return self._cmn

    def keep_cmn(self, cmn: str) -> None:
        """Carry the cepstral mean to the next utterance."""
        self._cmn = cmn


class _EmbeddedHearing:
    def __init__(self, session: EmbeddedRecogniser, pool: RecogniserPool) -> None:
        self._session = session
        self._pool = pool
        self._worker: Worker | None = None
        self._identity = 0
        self._waiting: list[bytes] = []
        self._text = ""
        self._ending = False
        self._result: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self._borrowing = asyncio.create_task(self._borrow())

    async def _borrow(self) -> None:
        try:
            worker = await self._pool.borrow()
        except OSError:
            self._settle("", "")
            return
        self._worker = worker
        self._identity = worker.subscribe(self._on_message)
        worker.send({"op": "start", "id": self._identity, "cmn": self._session.cmn})
        for pcm in self._waiting:
            worker.send({"op": "audio", "id": self._identity}, pcm)
        self._waiting.clear()
        if self._ending:
            worker.send({"op": "end", "id": self._identity})

    def _on_message(self, header: dict[str, Any], payload: bytes) -> None:
        del payload
        if header.get("died"):
            self._settle("", "")
        elif header["op"] == "partial":
            self._text = header["text"]
        elif header["op"] == "final":
            self._settle(header["text"], header["cmn"])

    def _settle(self, text: str, cmn: str) -> None:
        if not self._result.done():
            self._result.set_result((text, cmn))
        if self._worker is not None:
            self._worker.unsubscribe(self._identity)
            self._pool.give_back(self._worker)
            self._worker = None

    def feed(self, pcm: bytes) -> None:
        if self._worker is None:
            self._waiting.append(pcm)
        else:
            self._worker.send({"op": "audio", "id": self._identity}, pcm)

    def hypothesis(self) -> str:
        return self._text

    async def finish(self, draws: Draws) -> Recognition:
        del draws
        self._end()
        text, cmn = await self._result
        if cmn:
            self._session.keep_cmn(cmn)
        return Recognition(text=text, engine="pocketsphinx")

    def abandon(self) -> None:
        if not self._result.done():
            self._end()

    def _end(self) -> None:
        if self._ending:
            return
        self._ending = True
        if self._worker is not None:
            self._worker.send({"op": "end", "id": self._identity})
