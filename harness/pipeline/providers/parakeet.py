"""NVIDIA Parakeet behind OpenAdapter's WebSocket, as an STT of livekit-agents.

What the wire can do decides what this can do: the server sends texts only, so there are no
timestamps, no confidence and no language detection, and finals-only servers have no interims.

* A stream takes a connection from its STT's pool, keeps it over all turns and gives it back; see
  ``parakeet_pool``. Connect and hello together are bounded by livekit's ``conn_options.timeout``.
* ``finalize=True`` makes livekit flush the stream at a turn's end (capability ``manual_flush``);
  each flush asks the server to finalize, without a pause in the audio. Without it the server alone
  finds the ends of utterances. The end of the input always finalizes.
* When the server closes cleanly (1000, 1001) with at most two seconds of audio unanswered, that
  audio is sent again on a new connection and nobody notices. Any other loss is an error of
  livekit's family: it retries, and frames that were pushed meanwhile are sent then.
* A proxy is used only if the environment's variables name one (``wss_proxy``, ``https_proxy``,
  ``socks_proxy``, less ``no_proxy``), and never for loopback.
* A final that repeats the one before, with less than 0.1 s of audio in between, is dropped and
  told to the observer: livekit would append the text to the turn, or open another turn with it.
"""

import asyncio
import itertools
import ssl
import time
import weakref
from collections import deque
from enum import Enum, auto
from typing import Any, Final, Literal, NamedTuple, Self

from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given
from livekit.agents.utils.aio import ChanClosed
from websockets.exceptions import ConnectionClosed

from harness.clock import read_work
from harness.errors import ConfigurationError
from harness.pipeline.observer import NullSttObserver, SttObserver
from harness.pipeline.providers.parakeet_errors import (
    ParakeetEndpoint,
    closed_error,
    timeout_error,
)
from harness.pipeline.providers.parakeet_pool import ConnectionPool
from harness.pipeline.providers.parakeet_rest import RestClient, mono
from harness.pipeline.providers.parakeet_segments import EnergyOnset, OnsetDetector, Segmenter
from harness.pipeline.providers.parakeet_wire import FINALIZE, ParakeetConnection, read_message

__all__ = ["DEFAULT_MODEL", "DEFAULT_WS_URL", "ParakeetSTT", "ParakeetStream"]

DEFAULT_MODEL: Final = "nvidia/parakeet-tdt-0.6b-v2"
DEFAULT_WS_URL: Final = "wss://edge.openadapter.in/parakeet/v1/audio/stream"
REPLAY_S: Final = 2.0
"""How much unanswered audio is kept for a connection that the server closes cleanly."""

_stream_numbers = itertools.count(1)


class ParakeetSTT(stt.STT[Any]):
    """Parakeet, streaming and batch.

    Args:
        api_key: the Parakeet key. It appears in no repr, log or error.
        ws_url: the WebSocket's address; batch recognition derives its own from it.
        language: of the transcripts. The wire names none (the v2 model hears English only), so this
            labels them and asks nothing of the server.
        model: a label too: the address decides which model answers.
        sample_rate: of the audio on the wire, in hertz; the documented server takes 16000.
        finalize: offer livekit to flush at a turn's end, and finalize then.
        streaming: False offers batch recognition alone; livekit then cuts turns by its VAD.
        onset: take loudness for the start of speech before the first text; None waits for a text.
        key_in: see :class:`ParakeetEndpoint`.
        finalize_timeout_s: the longest wait for the answer to a finalize; None means livekit's
            ``conn_options.timeout``.
        max_idle: how many connections are kept between streams.
        max_idle_s: how long.
        tls: a context of the caller's own for ``wss://``; None trusts the system's store.
        observer: told of the transport; see :attr:`observer`.

    Raises:
        ConfigurationError: the URL, the key or a number cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: str,
        ws_url: str = DEFAULT_WS_URL,
        language: str = "en",
        model: str = DEFAULT_MODEL,
        sample_rate: int = 16_000,
        finalize: bool = False,
        streaming: bool = True,
        onset: EnergyOnset | None = None,
        key_in: Literal["query", "header"] = "query",
        finalize_timeout_s: float | None = None,
        max_idle: int = 2,
        max_idle_s: float = 300.0,
        tls: ssl.SSLContext | None = None,
        observer: SttObserver | None = None,
    ) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=streaming,
                interim_results=streaming,
                offline_recognize=True,
                manual_flush=finalize,
            )
        )
        problems = []
        if not language:
            problems.append("language: empty")
        if not 8_000 <= sample_rate <= 48_000:
            problems.append(f"sample_rate: {sample_rate} is not in 8000..48000")
        if finalize_timeout_s is not None and not finalize_timeout_s > 0:
            problems.append("finalize_timeout_s: not positive")
        if max_idle < 0 or max_idle_s < 0:
            problems.append("max_idle, max_idle_s: negative")
        if problems:
            raise ConfigurationError(problems)
        self.endpoint = ParakeetEndpoint(ws_url=ws_url, api_key=api_key, key_in=key_in)
        if tls is None and ws_url.startswith("wss:"):
            # Reading the trust store takes tens of milliseconds: once, and not while audio flows.
            tls = ssl.create_default_context()
        self.language = language
        self.sample_rate = sample_rate
        self.finalize = finalize
        self.onset = onset
        self.finalize_timeout_s = finalize_timeout_s
        self.pool = ConnectionPool(self.endpoint, tls=tls, max_idle=max_idle, max_idle_s=max_idle_s)
        self._rest = RestClient(self.endpoint, sample_rate=sample_rate, tls=tls)
        self._model = model
        self._observer = observer if observer is not None else NullSttObserver()
        self._streams: weakref.WeakSet[ParakeetStream] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"ParakeetSTT(host={self.endpoint.host!r}, model={self._model!r})"

    @property
    def model(self) -> str:
        """The model's label."""
        return self._model

    @property
    def provider(self) -> str:
        """The host, as livekit's metrics name it."""
        return self.endpoint.host

    @property
    def observer(self) -> SttObserver:
        """Who is told of the transport; a stream keeps the one it found when it was opened."""
        return self._observer

    @observer.setter
    def observer(self, observer: SttObserver | None) -> None:
        self._observer = observer if observer is not None else NullSttObserver()

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> "ParakeetStream":
        """Open a stream; it connects at once."""
        stream = ParakeetStream(
            owner=self,
            language=language if is_given(language) else self.language,
            conn_options=conn_options,
        )
        self._streams.add(stream)
        return stream

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        event = await self._rest.recognize(
            buffer,
            language=language if is_given(language) else self.language,
            timeout_s=conn_options.timeout,
        )
        heard = event.alternatives[0]
        received_ns = (heard.metadata or {})["received_ns"]
        if heard.text:
            self._observer.on_final(received_ns, heard.text)
        else:
            self._observer.on_dropped(received_ns, "", "empty")
        return event

    def prewarm(self) -> None:
        """Open a connection for the first stream to come."""
        if self.capabilities.streaming:
            self.pool.warm(DEFAULT_API_CONNECT_OPTIONS.timeout)

    async def __aenter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Close the streams and every connection."""
        await asyncio.gather(
            *(stream.aclose() for stream in list(self._streams)), return_exceptions=True
        )
        await self.pool.aclose()
        await self._rest.aclose()


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
        self._kept: deque[tuple[int, memoryview]] = deque()
        self._kept_from = 0
        self._limit = replay_limit

    @property
    def complete(self) -> bool:
        """Whether all input has been sent and answered."""
        return self.input_sent and not self.finalizes

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
        self, *, owner: ParakeetSTT, language: str, conn_options: APIConnectOptions
    ) -> None:
        self._owner = owner
        self._observer = owner.observer
        self._segmenter = Segmenter(
            language=language,
            sample_rate=owner.sample_rate,
            observer=self._observer,
            name=f"parakeet-{next(_stream_numbers)}",
        )
        self._detector = (
            None if owner.onset is None else OnsetDetector(owner.onset, owner.sample_rate)
        )
        self._held: rtc.AudioFrame | stt.RecognizeStream._FlushSentinel | None = None
        self._replay: list[memoryview] = []
        self._sent_total = 0
        self._reopened = False
        self._observer.on_stream(time.perf_counter_ns())
        super().__init__(stt=owner, conn_options=conn_options, sample_rate=owner.sample_rate)

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio; several channels are averaged into one."""
        super().push_frame(mono(frame))

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
        owner, started_ns = self._owner, time.perf_counter_ns()
        connection, opening = await owner.pool.acquire(timeout_s=self._conn_options.timeout)
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
        served = _Served(connection, round(REPLAY_S * owner.sample_rate))
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
            served.close()
            if failed:
                self._emit(self._segmenter.lost())
                owner.pool.discard(connection)
            else:
                settled = not served.finalizes and served.sent == served.answered
                owner.pool.release(connection, owed=None if settled else len(served.finalizes))
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
                f"Parakeet at {self._owner.endpoint.host} did not answer a finalize in time"
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
                elif self._owner.finalize:
                    await self._send_finalize(served)
                self._held = None
        except ChanClosed:
            pass
        except ConnectionClosed:
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
        await served.connection.send(data)
        sent_ns = time.perf_counter_ns()
        work = read_work()
        self._sent_total += samples
        self._observer.on_audio_sent(sent_ns, work, self._sent_total)
        served.note_sent(data, samples)
        self._segmenter.sent(samples)
        if self._detector is not None:
            change = self._detector.push(data)
            if change == "onset":
                self._emit(self._segmenter.onset())
            elif change == "release":
                self._emit(self._segmenter.release())

    async def _send_finalize(self, served: _Served) -> None:
        timeout_s = self._owner.finalize_timeout_s or self._conn_options.timeout
        overdue = asyncio.get_running_loop().call_later(timeout_s, _set, served.overdue)
        # Before the sending: the answer may be read before this coroutine goes on.
        served.finalizes.append(_Finalize(overdue, served.sent))
        served.finalized_to = served.sent
        await served.connection.send(FINALIZE)
        self._observer.on_finalize(time.perf_counter_ns(), read_work())

    async def _receive(self, served: _Served) -> _Ended:
        endpoint = self._owner.endpoint
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
