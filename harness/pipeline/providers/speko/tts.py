"""Speko's synthesis as a livekit TTS: one request for each sentence.

The provider that Speko chooses decides on the packing: headerless samples with their rate in the
content type, WAV, or MP3. Samples are handed on as they come; only MP3 goes through a decoder.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any, Final

import httpx2
from livekit import rtc
from livekit.agents import APIConnectOptions, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.utils import shortuuid

from harness.domain.request import FailureKind
from harness.pipeline.providers.speko.wire import SpekoEndpoint, failed

__all__ = ["SpekoTTS", "WavReader"]

_PATH: Final = "/v1/synthesize"
_RATE: Final = 24_000
_MAX_HEADER: Final = 64 * 1024
_PCM: Final = re.compile(r"^audio/(?:pcm|l16|raw)\b.*?(?:rate=(\d+))?\s*$")
_WAV: Final = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
_MPEG: Final = frozenset({"audio/mpeg", "audio/mp3"})


class WavReader:
    """Takes a mono 16-bit WAV file as it comes and gives its samples.

    Attributes:
        rate: samples per second; 0 until the header is complete.
    """

    def __init__(self) -> None:
        self.rate = 0
        self._head = bytearray()
        self._left = -1

    def feed(self, data: bytes) -> bytes:
        """Return the samples that these bytes hold.

        Raises:
            APIError: it is no such file.
        """
        if self._left < 0:
            self._head += data
            data = self._after_header()
        taken = data[: self._left]
        self._left -= len(taken)
        return taken

    def _after_header(self) -> bytes:
        head = self._head
        if len(head) >= 12 and (head[:4] != b"RIFF" or head[8:12] != b"WAVE"):
            raise failed("Speko's audio is no WAV file", FailureKind.MALFORMED)
        position = 12
        while len(head) >= position + 8:
            name, size = struct.unpack_from("<4sI", head, position)
            if name == b"data":
                if not self.rate:
                    break
                # A stream's writer does not know the length: it writes 0, or all ones.
                self._left = size or 0xFFFFFFFF
                rest = bytes(head[position + 8 :])
                head.clear()
                return rest
            if name == b"fmt " and len(head) >= position + 24:
                code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head, position + 8)
                if (code, channels, bits) != (1, 1, 16) or not rate:
                    raise failed(
                        f"Speko's WAV file has {channels} channels of {bits} bits, format {code}",
                        FailureKind.WRONG_TYPE,
                    )
                self.rate = rate
            position += 8 + size + size % 2
        if len(head) > _MAX_HEADER:
            raise failed("Speko's WAV file has no samples", FailureKind.MALFORMED)
        return b""


class _Rate:
    """Brings samples to the rate that the agent was promised."""

    def __init__(self) -> None:
        self._from = _RATE
        self._resampler: rtc.AudioResampler | None = None
        self._odd = b""

    def feed(self, data: bytes, rate: int) -> bytes:
        if rate == _RATE:
            return data
        data = self._odd + data
        whole = len(data) - len(data) % 2
        self._odd = data[whole:]
        if self._resampler is None or self._from != rate:
            self._from = rate
            self._resampler = rtc.AudioResampler(rate, _RATE)
        if not whole:
            return b""
        frame = rtc.AudioFrame(
            data=data[:whole], sample_rate=rate, num_channels=1, samples_per_channel=whole // 2
        )
        return b"".join(bytes(each.data) for each in self._resampler.push(frame))

    def end(self) -> bytes:
        if self._resampler is None:
            return b""
        return b"".join(bytes(each.data) for each in self._resampler.flush())


class SpekoTTS(tts.TTS[Any]):
    """Synthesis by whichever provider Speko chooses.

    Args:
        endpoint: where, and what is asked of the router.
        settings: further fields of the request: ``voice``, ``model``, ``speed``, ``instructions``.
    """

    def __init__(self, endpoint: SpekoEndpoint, *, settings: Mapping[str, Any]) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=_RATE,
            num_channels=1,
        )
        self.endpoint = endpoint
        self.settings = dict(settings)

    @property
    def model(self) -> str:
        """Return the model asked for, or ``auto``: the router decides for each request."""
        return str(self.settings.get("model", "auto"))

    @property
    def provider(self) -> str:
        """Return Speko's name."""
        return "Speko"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Speak a text."""
        return _SpekoChunks(tts=self, input_text=text, conn_options=conn_options)

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self.endpoint.client.aclose()


class _SpekoChunks(tts.ChunkedStream):
    def __init__(self, *, tts: SpekoTTS, input_text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._speko = tts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        endpoint = self._speko.endpoint
        body: dict[str, Any] = {
            "text": self.input_text,
            "intent": dict(endpoint.intent),
            **self._speko.settings,
        }
        if endpoint.constraints is not None:
            body["constraints"] = dict(endpoint.constraints)
        async with endpoint.post(_PATH, self._conn_options, body=body) as response:
            content_type = response.headers.get("content-type", "").strip().lower()
            form = content_type.split(";")[0].strip()
            pcm = _PCM.match(content_type)
            if pcm is None and form not in _WAV | _MPEG:
                raise failed(
                    f"Speko answered {content_type[:80] or 'no content type'}, not audio",
                    FailureKind.WRONG_TYPE,
                )
            output_emitter.initialize(
                request_id=response.headers.get("x-request-id") or shortuuid("speko_"),
                sample_rate=_RATE,
                num_channels=1,
                mime_type="audio/mpeg" if form in _MPEG else "audio/pcm",
            )
            if form in _MPEG:
                async for chunk in response.aiter_bytes():
                    output_emitter.push(chunk)
            elif pcm is not None:
                await self._samples(response, output_emitter, int(pcm[1] or _RATE))
            else:
                await self._wav(response, output_emitter)
        output_emitter.flush()

    async def _samples(
        self, response: httpx2.Response, emitter: tts.AudioEmitter, rate: int
    ) -> None:
        if not 4_000 <= rate <= 192_000:
            raise failed(f"Speko's audio has {rate} samples a second", FailureKind.WRONG_TYPE)
        converter = _Rate()
        async for chunk in response.aiter_bytes():
            emitter.push(converter.feed(chunk, rate))
        emitter.push(converter.end())

    async def _wav(self, response: httpx2.Response, emitter: tts.AudioEmitter) -> None:
        reader, converter = WavReader(), _Rate()
        async for chunk in response.aiter_bytes():
            samples = reader.feed(chunk)
            if samples:
                emitter.push(converter.feed(samples, reader.rate))
        emitter.push(converter.end())
