"""One stream of audio over Parakeet's WebSocket, on connections of a pool."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, stt
from livekit.agents.utils.aio import ChanClosed
from websockets.exceptions import ConnectionClosed

from harness.clock import read_work
from harness.pipeline.providers.parakeet.errors import (
    ParakeetEndpoint,
    closed_error,
    timeout_error,
)
from harness.pipeline.providers.parakeet.pool import ConnectionPool
from harness.pipeline.providers.parakeet.rest import mono
from harness.pipeline.providers.parakeet.segments import EnergyOnset, OnsetDetector, Segmenter
from harness.pipeline.providers.parakeet.wire import FINALIZE, ParakeetConnection, read_message
from harness.pipeline.recording.observer import SttObserver
from harness.pipeline.transport.names import next_client
from harness.pipeline.transport.path_rtt import path_rtt_ns

__all__ = ["ParakeetStream", "StreamSettings"]

REPLAY_S: Final = 2.0
"""How much unanswered audio is kept for a connection that the server closes cleanly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What a stream takes from its STT.

    Attributes:
        endpoint: the server.
        pool: where connections come from and go back to.
        observer: told of the transport.
        language: of the transcripts.
        sample_rate: of the audio on the wire, in hertz.
        finalize: a flush asks the server to finalize.
        finalize_timeout_s: the longest wait for the answer.
        onset: what loudness is the start of speech, if any.
    """

    endpoint: ParakeetEndpoint
    pool: ConnectionPool
    observer: SttObserver
    language: str
    sample_rate: int
    finalize: bool
    finalize_timeout_s: float
    onset: EnergyOnset | None


class _Ended(Enum):
    """Why a connection was served to its end without an error."""

    INPUT = auto()
    """the input ended and the server has answered all of it"""
    REOPEN = auto()
    """the server closed cleanly and what it has not answered can be sent again"""


class _Finalize(NamedTuple):
    """A finalize that the server has not answered."""

    overdue: asyncio.TimerHandle
    end: int
    """the connection's samples that it covers"""


class _Served:
    """What one connection has been sent and has answered."""

    def __init__(self, connection: ParakeetConnection, replay_limit: int) -> None:
        self.connection = connection
        self.overdue: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finalizes: deque[_Finalize] = deque()
        self.sent = 0
        self.answered = 0
        self.finalized_to = 0
        self.input_sent = False
        self.sending = False
        """a frame is on its way and not yet counted"""
        self._kept: deque[tuple[int, memoryview]] = deque()
        self._kept_from = 0
        self._limit = replay_limit

    @property
    def complete(self) -> bool:
        """Whether all input has been sent and answered."""
        return self.input_sent and not self.finalizes

    @property
    def settled(self) -> bool:
        """Whether the server has answered everything that it got."""
        return not self.finalizes and not self.sending and self.sent == self.answered

    def note_sent(self, data: memoryview, samples: int) -> None:
        self.sent += samples
        self._kept.append((self.sent, data))
        if self.sent - self._kept_from > self._limit:
            self._kept_from, _ = self._kept.popleft()

    def note_answered(self, end: int) -> None:
        self.answered = max(self.answered, end)
        while self._kept and self._kept[0][0] <= self.answered:
            self._kept_from, _ = self._kept.popleft()

    def unanswered(self) -> list[memoryview] | None:
        """Return the unanswered audio, None where part of it is no longer kept."""
        if self._kept_from > self.answered:
            return None
        return [data for _, data in self._kept]

    def close(self) -> None:
        for finalize in self.finalizes:
            finalize.overdue.cancel()
        if self.overdue.done():
            self.overdue.exception()


class ParakeetStream(stt.RecognizeStream):
    """One stream of audio; made by :meth:`ParakeetSTT.stream`."""

    def __init__(
        self, *, owner: stt.STT[Any], settings: StreamSettings, conn_options: APIConnectOptions
    ) -> None:
        self._settings = settings
        self._observer = settings.observer
        self._segmenter = Segmenter(
            language=settings.language,
            sample_rate=settings.sample_rate,
            observer=self._observer,
            name=f"parakeet-{next_client()}",
        )
        self._detector = (
            None if settings.onset is None else OnsetDetector(settings.onset, settings.sample_rate)
        )
        self._held: rtc.AudioFrame | stt.RecognizeStream._FlushSentinel | None = None
        self._replay: list[memoryview] = []
        self._sent_total = 0
        self._reopened = False
        self._abandoned = False
        self._observer.on_stream(time.perf_counter_ns())
        super().__init__(stt=owner, conn_options=conn_options, sample_rate=settings.sample_rate)

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio; several channels are averaged into one."""
        super().push_frame(mono(frame))

    async def aclose(self) -> None:
        """Close at once; what the server still owes is settled after this, by the pool."""
        self._abandoned = True
        await super().aclose()

    async def _run(self) -> None:
        while await self._run_connection() is _Ended.REOPEN:
            self._reopened = True
            if not self._replay and self._held is None:
                # Nothing to say: a connection that the server would close again is not wanted yet.
                try:
                    self._held = await self._input_ch.recv()
                except ChanClosed:
                    return
                self._reopened = False

    async def _run_connection(self) -> _Ended:
        settings, started_ns = self._settings, time.perf_counter_ns()
        connection, opening = await settings.pool.acquire(timeout_s=self._conn_options.timeout)
        connection.observer = self._observer
        self._report_connection_acquired(
            (time.perf_counter_ns() - started_ns) / 1e9, opening is None
        )
        if opening is None:
            self._observer.on_connection(
                reused=True, connect_ns=None, tls_ns=None, hello_ns=None, tcp_rtt_ns=None
            )
        else:
            self._observer.on_connection(reused=False, **opening._asdict())
        served = _Served(connection, round(REPLAY_S * settings.sample_rate))
        failed = True
        try:
            ended = await self._serve(served)
            failed = False
        except APIError as error:
            if self._input_ch.closed and self._input_ch.empty() and served.sent > served.answered:
                # The audio is gone and no more will come: a retry could only pretend success.
                error.retryable = False
            raise
        except asyncio.CancelledError:
            failed = False
            raise
        finally:
            self._observer.on_path(path_rtt_ns(connection.transport.get_extra_info("socket")))
            served.close()
            if failed:
                self._emit(self._segmenter.lost())
                settings.pool.discard(connection)
            else:
                owed = None if served.settled else len(served.finalizes)
                settings.pool.release(connection, owed=owed)
        return ended

    async def _serve(self, served: _Served) -> _Ended:
        loop = asyncio.get_running_loop()
        sender = loop.create_task(self._send(served))
        receiver = loop.create_task(self._receive(served))
        try:
            await asyncio.wait(
                (sender, receiver, served.overdue), return_when=asyncio.FIRST_COMPLETED
            )
            if sender.done() and not receiver.done() and not served.overdue.done():
                sender.result()
                if served.complete:
                    return _Ended.INPUT
                await asyncio.wait((receiver, served.overdue), return_when=asyncio.FIRST_COMPLETED)
            if receiver.done():
                return receiver.result()
            raise timeout_error(
                f"Parakeet at {self._settings.endpoint.host} did not answer a finalize in time"
            )
        finally:
            sender.cancel()
            receiver.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _send(self, served: _Served) -> None:
        """Send what is pushed until the input ends; a lost connection is the receiver's to tell."""
        try:
            for data in self._replay:
                await served.connection.send(data)
                served.note_sent(data, len(data) // 2)
            self._replay = []
            while True:
                if self._held is None:
                    self._held = await self._input_ch.recv()
                if isinstance(self._held, rtc.AudioFrame):
                    await self._send_frame(served, self._held)
                elif self._settings.finalize:
                    await self._send_finalize(served)
                self._held = None
        except ChanClosed:
            pass
        except ConnectionClosed:
            return
        if self._abandoned:
            return
        try:
            if served.sent > served.finalized_to:
                await self._send_finalize(served)
        except ConnectionClosed:
            return
        served.input_sent = True

    async def _send_frame(self, served: _Served, frame: rtc.AudioFrame) -> None:
        samples = frame.samples_per_channel
        if not samples:
            return
        data = frame.data.cast("B")
        served.sending = True
        await served.connection.send(data)
        sent_ns = time.perf_counter_ns()
        work = read_work()
        self._sent_total += samples
        self._observer.on_audio_sent(sent_ns, work, self._sent_total)
        served.note_sent(data, samples)
        served.sending = False
        self._segmenter.sent(samples)
        if self._detector is not None:
            change = self._detector.push(data)
            if change == "onset":
                self._emit(self._segmenter.onset())
            elif change == "release":
                self._emit(self._segmenter.release())

    async def _send_finalize(self, served: _Served) -> None:
        overdue = asyncio.get_running_loop().call_later(
            self._settings.finalize_timeout_s, _set, served.overdue
        )
        # Before the sending: the answer may be read before this coroutine goes on.
        served.finalizes.append(_Finalize(overdue, served.sent))
        served.finalized_to = served.sent
        await served.connection.send(FINALIZE)
        self._observer.on_finalize(time.perf_counter_ns(), read_work())

    async def _receive(self, served: _Served) -> _Ended:
        endpoint = self._settings.endpoint
        closed: ConnectionClosed
        while True:
            try:
                message = await served.connection.next_message()
            except ConnectionClosed as exc:
                closed = exc
                break
            value = read_message(message, endpoint)
            if "text" in value:
                self._reopened = False
                if value.get("is_final", True):
                    served.note_answered(served.sent)
                    self._emit(self._segmenter.final(value["text"], message.received_ns))
                else:
                    self._emit(self._segmenter.interim(value["text"], message.received_ns))
            if value.get("status") == "finalized" and served.finalizes:
                self._reopened = False
                finalize = served.finalizes.popleft()
                finalize.overdue.cancel()
                served.note_answered(finalize.end)
                self._observer.on_finalized(message.received_ns)
                self._emit(self._segmenter.finalized())
                if served.complete:
                    return _Ended.INPUT
        unanswered = served.unanswered()
        clean = closed.rcvd is not None and closed.rcvd.code in (1000, 1001)
        if (
            clean
            and unanswered is not None
            and not served.finalizes
            and not self._segmenter.open
            and not self._reopened
        ):
            self._replay = unanswered
            return _Ended.REOPEN
        raise closed_error(closed, endpoint)

    def _emit(self, events: list[stt.SpeechEvent]) -> None:
        for event in events:
            self._event_ch.send_nowait(event)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
