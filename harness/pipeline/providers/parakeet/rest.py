"""Parakeet's batch recognition over REST.

    POST {address}/audio/transcriptions     Authorization: Bearer KEY
    multipart/form-data: file (audio.wav), response_format=json
    → 200 application/json {"text": …}

The address derives from the WebSocket's: ``ws`` becomes ``http``, ``wss`` becomes ``https``, and
``/audio/stream`` becomes ``/audio/transcriptions``.
"""

import asyncio
import io
import json
import ssl
import time
import urllib.parse
import wave
from typing import Any, Final

import aiohttp
import numpy as np
from livekit import rtc
from livekit.agents import APIError, stt
from livekit.agents.language import LanguageCode
from livekit.agents.utils import AudioBuffer

from harness.domain.request import FailureKind
from harness.pipeline.providers.parakeet.errors import (
    ParakeetEndpoint,
    api_error,
    connection_error,
    status_error,
    timeout_error,
)
from harness.pipeline.providers.parakeet.wire import MAX_MESSAGE_BYTES, clean, environment_proxy

__all__ = ["RestClient", "mono", "rest_url", "wav_of"]

_STREAM_PATH: Final = "/audio/stream"
_BATCH_PATH: Final = "/audio/transcriptions"


def rest_url(ws_url: str) -> str:
    """Return the address of batch recognition beside a WebSocket's address."""
    parts = urllib.parse.urlsplit(ws_url)
    path = parts.path.rstrip("/")
    path = path.removesuffix(_STREAM_PATH) + _BATCH_PATH
    return urllib.parse.urlunsplit(
        ("https" if parts.scheme == "wss" else "http", parts.netloc, path, parts.query, "")
    )


def mono(frame: rtc.AudioFrame) -> rtc.AudioFrame:
    """Return a frame with its channels averaged; livekit's resampler would interleave them."""
    if frame.num_channels == 1:
        return frame
    samples = np.frombuffer(frame.data, dtype=np.int16).reshape(-1, frame.num_channels)
    mixed = np.rint(samples.mean(axis=1)).astype(np.int16)
    return rtc.AudioFrame(
        data=mixed.tobytes(),
        sample_rate=frame.sample_rate,
        num_channels=1,
        samples_per_channel=len(mixed),
    )


def wav_of(buffer: AudioBuffer, sample_rate: int) -> bytes:
    """Return frames as a mono 16-bit WAV file at a rate, resampled without aliasing.

    Args:
        buffer: one frame or several of one format; channels are averaged.
        sample_rate: of the result.

    Raises:
        ValueError: there is no audio.
    """
    frames = buffer if isinstance(buffer, list) else [buffer]
    if not any(frame.samples_per_channel for frame in frames):
        raise ValueError("there is no audio to recognise")
    frame = mono(rtc.combine_audio_frames(frames))
    pcm = bytes(frame.data)
    if frame.sample_rate != sample_rate:
        resampler = rtc.AudioResampler(
            frame.sample_rate, sample_rate, quality=rtc.AudioResamplerQuality.VERY_HIGH
        )
        pcm = b"".join(bytes(part.data) for part in [*resampler.push(frame), *resampler.flush()])
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(sample_rate)
        wav.writeframes(pcm)
    return file.getvalue()


class RestClient:
    """Batch recognition at one endpoint; opens its HTTP client at the first use.

    Args:
        endpoint: the WebSocket's.
        sample_rate: of the audio that is sent.
        tls: the context for ``https://``.
    """

    def __init__(
        self, endpoint: ParakeetEndpoint, *, sample_rate: int, tls: ssl.SSLContext | None
    ) -> None:
        self._endpoint = endpoint
        self._url = rest_url(endpoint.ws_url)
        self._sample_rate = sample_rate
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def recognize(
        self, buffer: AudioBuffer, *, language: str, timeout_s: float
    ) -> stt.SpeechEvent:
        """Return the transcript of a recording; its text is empty where no speech was found.

        Raises:
            APIError: of livekit's family.
            ValueError: there is no audio.
        """
        wav = wav_of(buffer, self._sample_rate)
        failure: APIError
        try:
            async with asyncio.timeout(timeout_s):
                body, request_id, received_ns = await self._post(wav)
        except Exception as exc:  # noqa: BLE001 - every failure of the transport becomes livekit's
            failure = self._error(exc)
        else:
            return stt.SpeechEvent(
                type=stt.SpeechEventType.FINAL_TRANSCRIPT,
                request_id=request_id,
                alternatives=[
                    stt.SpeechData(
                        language=LanguageCode(language),
                        text=self._text(body),
                        confidence=1.0,
                        metadata={"received_ns": received_ns},
                    )
                ],
            )
        raise failure

    async def _post(self, wav: bytes) -> tuple[bytes, str, int]:
        form = aiohttp.FormData()
        form.add_field("file", wav, filename="audio.wav", content_type="audio/wav")
        form.add_field("response_format", "json")
        async with self._client().post(
            self._url,
            data=form,
            headers={"Authorization": f"Bearer {self._endpoint.api_key}"},
            allow_redirects=False,
            proxy=environment_proxy(self._endpoint.ws_url),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_MESSAGE_BYTES:
                    raise self._malformed("sent an answer over the size limit")
            received_ns = time.perf_counter_ns()
            if response.status != 200:
                raise status_error(
                    self._endpoint,
                    response.status,
                    detail=bytes(body[:1000]).decode(errors="replace"),
                    retry_after=response.headers.get("Retry-After"),
                )
            if not response.content_type.lower().endswith("json"):
                raise self._malformed(
                    f"answered {self._endpoint.scrub(response.content_type)}, not JSON",
                    FailureKind.WRONG_TYPE,
                )
            request_id = response.headers.get("x-request-id", "")
            return bytes(body), self._endpoint.scrub(request_id), received_ns

    def _text(self, body: bytes) -> str:
        try:
            value: Any = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._malformed("sent what is no JSON object")
        if value.get("error"):
            raise self._malformed(
                f"reported an error: {self._endpoint.scrub(str(value['error']))}",
                FailureKind.STREAM_ERROR,
            )
        text = value.get("text")
        if not isinstance(text, str):
            raise self._malformed("sent a transcript without a text")
        return clean(text).strip()

    def _malformed(self, said: str, kind: FailureKind = FailureKind.MALFORMED) -> APIError:
        return api_error(f"Parakeet at {self._endpoint.host} {said}", kind)

    def _error(self, exc: Exception) -> APIError:
        where = f"Parakeet at {self._endpoint.host}"
        if isinstance(exc, APIError):
            return exc
        if isinstance(exc, TimeoutError):
            return timeout_error(f"{where}: no transcript in time")
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            return connection_error(
                f"{where}: its certificate is not trusted", FailureKind.REFUSED, retryable=False
            )
        if isinstance(exc, aiohttp.ClientConnectorError):
            return connection_error(f"{where}: cannot connect", FailureKind.REFUSED)
        if isinstance(exc, aiohttp.ClientPayloadError):
            return connection_error(f"{where} cut its answer short", FailureKind.TRUNCATED)
        if isinstance(exc, aiohttp.ServerDisconnectedError | OSError):
            return connection_error(f"{where} dropped the connection", FailureKind.RESET)
        return api_error(
            f"{where} does not speak HTTP: {type(exc).__name__}", FailureKind.MALFORMED
        )

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                # Compression would delay the answer's first bytes.
                headers={"Accept-Encoding": "identity"},
            )
            self._loop = loop
        return self._session

    async def aclose(self) -> None:
        """Close the HTTP client."""
        if self._session is not None and self._loop is asyncio.get_running_loop():
            await self._session.close()
        self._session = None
