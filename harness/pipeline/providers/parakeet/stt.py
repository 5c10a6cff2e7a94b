"""NVIDIA Parakeet behind OpenAdapter's WebSocket, as an STT of livekit-agents.

What the wire can do decides what this can do: the server sends texts only, so there are no
timestamps, no confidence and no language detection, and finals-only servers have no interims.

* A stream takes a connection from its STT's pool, keeps it over all turns and gives it back; see
  ``pool``. Connect and hello together are bounded by livekit's ``conn_options.timeout``.
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
import ssl
import weakref
from typing import Any, Final, Literal, Self

from livekit.agents import APIConnectOptions, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given

from harness.authorities import trusted
from harness.errors import ConfigurationError
from harness.pipeline.providers.parakeet.errors import ParakeetEndpoint
from harness.pipeline.providers.parakeet.pool import ConnectionPool
from harness.pipeline.providers.parakeet.rest import RestClient
from harness.pipeline.providers.parakeet.segments import EnergyOnset
from harness.pipeline.providers.parakeet.stream import ParakeetStream, StreamSettings
from harness.pipeline.providers.parakeet.wire import Opening
from harness.pipeline.recording.observer import NullSttObserver, SttObserver

__all__ = ["DEFAULT_MODEL", "DEFAULT_WS_URL", "EnergyOnset", "ParakeetSTT", "ParakeetStream"]

DEFAULT_MODEL: Final = "nvidia/parakeet-tdt-0.6b-v2"
DEFAULT_WS_URL: Final = "wss://edge.openadapter.in/parakeet/v1/audio/stream"


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
            tls = trusted()
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
    ) -> ParakeetStream:
        """Open a stream; it connects at once."""
        settings = StreamSettings(
            endpoint=self.endpoint,
            pool=self.pool,
            observer=self._observer,
            language=language if is_given(language) else self.language,
            sample_rate=self.sample_rate,
            finalize=self.finalize,
            finalize_timeout_s=(
                conn_options.timeout if self.finalize_timeout_s is None else self.finalize_timeout_s
            ),
            onset=self.onset,
        )
        stream = ParakeetStream(owner=self, settings=settings, conn_options=conn_options)
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

    async def connect(self, *, timeout_s: float) -> Opening | None:
        """Make sure that a connection is kept for the next stream.

        Args:
            timeout_s: for connect and hello together.

        Returns:
            What opening it took; None if one was kept already.

        Raises:
            APIError: the endpoint cannot be used, of livekit's family and free of secrets.
        """
        lease = await self.pool.acquire(timeout_s=timeout_s)
        self.pool.release(lease.connection, owed=None)
        return lease.opening

    async def __aenter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Close the streams and every connection."""
        await asyncio.gather(
            *(stream.aclose() for stream in list(self._streams)), return_exceptions=True
        )
        await self.pool.aclose()
        await self._rest.aclose()
