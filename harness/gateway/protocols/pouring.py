"""Speech as it leaves over HTTP: synthesised, cut into chunks, sent with its truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.gateway.calls.context import NS_PER_S, Call
from harness.gateway.calls.replying import Reply
from harness.gateway.engines.pcm import SPOKEN_RATE
from harness.gateway.engines.synthesiser import Speech
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import FaultKind
from harness.gateway.profiles.profiles import TtsProfile

__all__ = ["NO_AUDIO", "Chunk", "Pouring", "chunks_of", "spoil", "spoken_for"]

_WRONG_RATE: Final = 16_000
NO_AUDIO: Final = b"\x7f\x80\x7f"
"""Bytes that are no whole sample, and no encoded audio either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the audio, when it is due after the request, and which samples it ends before."""

    data: bytes
    due_ns: int
    end_sample: int


def chunks_of(
    spoken: Speech, settings: TtsProfile, first_byte_ns: int, *, sample_aligned: bool
) -> Iterator[Chunk]:
    """Cut the audio into the profile's chunks."""
    total = spoken.samples
    first = max(1, round(settings.first_chunk_ms * SPOKEN_RATE / 1000))
    step = max(1, round(settings.chunk_ms * SPOKEN_RATE / 1000))
    start, end, sent = 0, min(first, total), 0
    while start < total:
        if sample_aligned:
            cut = end * 2
        else:
            cut = len(spoken.data) if end == total else len(spoken.data) * end // total
        behind = max(0, end - first) / SPOKEN_RATE * settings.realtime_factor
        yield Chunk(
            data=spoken.data[sent:cut],
            due_ns=first_byte_ns + round(behind * NS_PER_S),
            end_sample=end,
        )
        sent = cut
        start, end = end, min(end + step, total)


def spoil(spoken: Speech, fault: FaultKind | None, draws: Draws) -> Speech:
    """Replace the samples where a fault wants silence or noise."""
    if fault is FaultKind.SILENT_AUDIO:
        return Speech(
            data=bytes(spoken.samples * 2),
            samples=spoken.samples,
            audible=None,
            engine=spoken.engine,
        )
    if fault is FaultKind.NONSENSE:
        noise = np.random.default_rng(draws.seed_of("noise")).normal(size=spoken.samples)
        data = np.clip(noise * 3000.0, -32768, 32767).astype("<i2").tobytes()
        return Speech(data=data, samples=spoken.samples, audible=0, engine=spoken.engine)
    return spoken


async def spoken_for(  # what a request has
    call: Call,
    settings: TtsProfile,
    draws: Draws,
    fault: FaultKind | None,
    *,
    text: str,
    voice: str,
    speed: float,
    container: str,
    due_ns: int,
) -> Speech:
    """Return a text as it is spoken, spoilt where a fault wants it.

    Args:
        call: the request.
        settings: the profile's.
        draws: the request's random numbers.
        fault: what strikes it.
        text: what is spoken.
        voice: by whom.
        speed: how fast; 1 is as the voice speaks.
        container: what it is encoded as; a WAV's header is the caller's.
        due_ns: when the first byte is due.

    Raises:
        WorkerDied: the synthesiser crashed on the text.
    """
    synthesiser = call.gateway.synthesiser
    container = "pcm" if container == "wav" else container
    spoiled = fault in (FaultKind.SILENT_AUDIO, FaultKind.NONSENSE)
    spoken = await synthesiser.speak(
        text,
        voice=voice,
        speed=speed,
        container="pcm" if spoiled else container,
        lead=round(settings.leading_silence_ms * SPOKEN_RATE / 1000),
        rate=_WRONG_RATE if fault is FaultKind.WRONG_RATE else SPOKEN_RATE,
    )
    if spoiled:
        spoken = spoil(spoken, fault, draws)
        if container != "pcm":
            encoded = await synthesiser.encode(spoken.data, container)
            spoken = Speech(
                data=encoded,
                samples=spoken.samples,
                audible=spoken.audible,
                engine=spoken.engine,
            )
    call.engine_ready(spoken.engine, due_ns)
    return spoken


class Pouring:
    """Sends chunks of speech at their deadlines, and keeps in the truth when each left."""

    def __init__(self, http: Reply, call: Call) -> None:
        self._http = http
        self._call = call
        self._audible = False

    async def send(self, index: int, chunk: Chunk, data: bytes, spoken: Speech) -> None:
        """Send one chunk.

        Args:
            index: which one.
            chunk: its audio and deadline.
            data: its bytes as they are sent.
            spoken: what it is part of.
        """
        call = self._call
        due = call.base_ns + chunk.due_ns
        sent = await self._http.send(data, due)
        injected = due - call.received_ns
        call.mark(
            "audio_sent",
            sent,
            index=index,
            n_bytes=len(chunk.data),
            samples=chunk.end_sample,
            due_ns=due,
            injected_ns=injected,
        )
        audible = spoken.audible
        if not self._audible and audible is not None and audible < chunk.end_sample:
            self._audible = True
            call.mark(
                "first_nonsilent_audio_sent",
                sent,
                index=index,
                samples=audible,
                due_ns=due,
                injected_ns=injected,
            )
