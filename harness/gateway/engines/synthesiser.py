"""Speech for the speech protocol: synthesised in a worker process, cached in memory.

Synthesis begins when the request arrives and takes a few milliseconds, so the audio lies ready
before the profile's first byte is due. espeak-ng does not give the same samples twice in a process,
so each text is spoken in a fresh copy of it; the cache saves that for a repeated text.
"""

from collections import OrderedDict
from dataclasses import dataclass

from harness.gateway.engines.worker import Worker

__all__ = ["Speech", "Synthesiser"]

_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """A synthesised text.

    Attributes:
        data: PCM16 little-endian mono, or an encoded file.
        samples: how many samples it plays.
        audible: the index of the first sample above the silence floor; None if all is silent.
        engine: which engine spoke.
    """

    data: bytes
    samples: int
    audible: int | None
    engine: str


class Synthesiser:
    """The worker and the cache.

    Args:
        allow_espeak: False to speak with the built-in synthesiser even where espeak-ng is.
        worker: makes the worker.
    """

    def __init__(self, *, allow_espeak: bool, worker: type[Worker] = Worker) -> None:
        arguments = () if allow_espeak else ("--without-espeak",)
        self._worker = worker("harness.gateway.engines.synthesiser_worker", *arguments)
        self._cache: OrderedDict[tuple[str, str, float, str, int, int], Speech] = OrderedDict()
        self._cached_bytes = 0
        self.engine = ""

    async def start(self) -> None:
        """Start the worker and learn which engine it has."""
        header, _ = await self._worker.ask({"op": "ready"})
        self.engine = header["engine"]

    async def stop(self) -> None:
        """End the worker."""
        await self._worker.stop()

    async def speak(  # noqa: D417  # the others are named by their units
        self, text: str, *, voice: str, speed: float, container: str, lead: int, rate: int
    ) -> Speech:
        """Return the text as audio.

        Args:
            container: "pcm" (for wav too), "mp3", "flac" or "opus".
            lead: samples of silence before the speech, at 24 kHz.
            rate: samples per second of the result.

        Raises:
            WorkerDied: the engine crashed on this text.
        """
        key = (text, voice, speed, container, lead, rate)
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached
        header, data = await self._worker.ask(
            {
                "op": "speak",
                "text": text,
                "voice": voice,
                "speed": speed,
                "format": container,
                "lead": lead,
                "rate": rate,
            }
        )
        speech = Speech(
            data=data,
            samples=header["samples"],
            audible=header["audible"],
            engine=header["engine"],
        )
        self._cache[key] = speech
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= len(oldest.data)
        return speech

    async def encode(self, pcm: bytes, container: str) -> bytes:
        """Return PCM16 at 24 kHz in a container.

        Raises:
            WorkerDied: the encoder crashed.
        """
        _, data = await self._worker.ask({"op": "encode", "format": container}, pcm)
        return data
