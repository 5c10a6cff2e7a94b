"""What the Parakeet tests share: audio, a plugin that points at a scripted server, its events."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectOptions, stt

from harness.pipeline.providers.parakeet.stt import ParakeetStream, ParakeetSTT
from tests.pipeline.providers.parakeet_server import ParakeetServer

__all__ = [
    "KEY",
    "ONCE",
    "collect",
    "frames",
    "make_stt",
    "next_event",
    "push",
    "texts",
    "tone",
    "types",
]

KEY = "sk-cv-very+secret/key"
ONCE = APIConnectOptions(max_retry=0, timeout=5.0)


def make_stt(server: ParakeetServer, **options: Any) -> ParakeetSTT:
    """Return a plugin for a server."""
    return ParakeetSTT(api_key=KEY, ws_url=server.ws_url, **options)


def tone(
    seconds: float,
    *,
    hertz: float = 440.0,
    rate: int = 16_000,
    amplitude: float = 8_000.0,
    channels: int = 1,
) -> rtc.AudioFrame:
    """A sine, or silence where the amplitude is 0."""
    count = round(seconds * rate)
    wave = amplitude * np.sin(2 * math.pi * hertz * np.arange(count) / rate)
    samples = np.repeat(wave.astype(np.int16), channels)
    return rtc.AudioFrame(
        data=samples.tobytes(),
        sample_rate=rate,
        num_channels=channels,
        samples_per_channel=count,
    )


def frames(count: int, *, amplitude: float = 8_000.0) -> list[rtc.AudioFrame]:
    """Frames of 20 ms at 16 kHz."""
    return [tone(0.02, amplitude=amplitude) for _ in range(count)]


def push(stream: ParakeetStream, count: int) -> None:
    """Push frames of 20 ms."""
    for frame in frames(count):
        stream.push_frame(frame)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so; the test's own time-out bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def next_event(stream: ParakeetStream, kind: stt.SpeechEventType) -> stt.SpeechEvent:
    """Wait for an event of a kind, dropping others."""
    while True:
        event = await asyncio.wait_for(anext(stream), 10)
        if event.type is kind:
            return event


async def collect(stream: ParakeetStream) -> list[stt.SpeechEvent]:
    """Return all events until the stream ends."""

    async def run() -> list[stt.SpeechEvent]:
        return [event async for event in stream]

    return await asyncio.wait_for(run(), 15)


def types(events: list[stt.SpeechEvent]) -> list[str]:
    """The events' kinds."""
    return [event.type.value for event in events]


def texts(events: list[stt.SpeechEvent]) -> list[str]:
    """The final texts."""
    return [
        event.alternatives[0].text
        for event in events
        if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
    ]
