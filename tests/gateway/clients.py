"""Plain clients that note when each thing arrived, on the gateway's clock."""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import websockets

from harness.gateway.calls.truth import TruthEvent, read_truth
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from tests.gateway.conftest import Running
from tests.gateway.spoken import silence

__all__ = ["Answer", "Heard", "chat", "events_of", "listen", "speak"]

FRAME = HEARD_RATE // 50


@dataclass(slots=True, kw_only=True)
class Answer:
    """An HTTP answer as it arrived.

    Attributes:
        status: the status.
        headers: the headers.
        pieces: each piece of the body with its instant.
        error: the exception that broke the body off; None if it ended.
    """

    status: int
    headers: dict[str, str]
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event; "[DONE]" as it stands, None what does not parse."""
        events: list[Any] = []
        for line in self.body.split(b"\n"):
            if line.startswith(b"data: "):
                text = line.removeprefix(b"data: ").decode()
                try:
                    events.append(text if text == "[DONE]" else json.loads(text))
                except ValueError:
                    events.append(None)
        return events

    @property
    def text(self) -> str:
        """The answer text of a chat stream."""
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events
            if isinstance(event, dict)
            for choice in event.get("choices", ())
        )

    @property
    def audio(self) -> bytes:
        """The audio of a speech stream in the sse form."""
        return b"".join(
            base64.b64decode(event["audio"])
            for event in self.events
            if isinstance(event, dict) and event.get("type") == "speech.audio.delta"
        )


async def _post(running: Running, url: str, body: Any, name: str | None) -> Answer:
    headers = dict(running.headers)
    if name is not None:
        headers["x-turnbench-request"] = name
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json=body) as response,
    ):
        answer = Answer(
            status=response.status,
            headers={key.lower(): value for key, value in response.headers.items()},
        )
        try:
            async for data in response.content.iter_any():
                answer.pieces.append((time.perf_counter_ns(), data))
        except aiohttp.ClientError as error:
            answer.error = error
        return answer


async def chat(
    running: Running, profile: str, said: str = "hello", *, name: str | None = None, **body: Any
) -> Answer:
    """Ask the chat protocol, streaming with usage unless told otherwise."""
    message = {
        "model": "any",
        "messages": [{"role": "user", "content": said}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **body,
    }
    return await _post(
        running, running.process.base_url(profile) + "/chat/completions", message, name
    )


async def speak(running: Running, profile: str, *, name: str | None = None, **body: Any) -> Answer:
    """Ask the speech protocol, for pcm unless told otherwise."""
    message = {
        "model": "tts-1",
        "input": "Good morning to you.",
        "voice": "alloy",
        "response_format": "pcm",
        **body,
    }
    return await _post(running, running.process.base_url(profile) + "/audio/speech", message, name)


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a Parakeet socket said.

    Attributes:
        messages: each message with its instant; text parsed where it parses.
        sent: when each frame of audio left.
        close_code: how the socket ended; None while it was open.
    """

    messages: list[tuple[int, Any]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    close_code: int | None = None

    @property
    def finals(self) -> list[str]:
        return [
            message["text"]
            for _, message in self.messages
            if isinstance(message, dict) and message.get("is_final") is True
        ]

    @property
    def interims(self) -> list[str]:
        return [
            message["text"]
            for _, message in self.messages
            if isinstance(message, dict) and message.get("is_final") is False
        ]

    @property
    def statuses(self) -> list[str]:
        return [
            message["status"]
            for _, message in self.messages
            if isinstance(message, dict) and "status" in message
        ]


async def listen(
    running: Running,
    profile: str,
    recordings: Sequence[Samples],
    *,
    finalize: bool = False,
    after_s: float = 0.5,
    paced: bool = True,
    name: str = "",
) -> Heard:
    """Play recordings to a Parakeet socket at their own pace, each followed by silence.

    Args:
        running: the gateway.
        profile: the profile.
        recordings: what to play.
        finalize: ask for the final at the end of each recording.
        after_s: silence after each recording.
        paced: False to send everything at once.
        name: the client's id of the connection.
    """
    heard = Heard()
    url = running.process.parakeet_url(profile) + f"?token={running.process.key}&turnbench={name}"
    async with websockets.connect(url, compression=None, max_size=None) as socket:

        async def receive() -> None:
            try:
                async for data in socket:
                    now = time.perf_counter_ns()
                    try:
                        heard.messages.append((now, json.loads(data)))
                    except ValueError:
                        heard.messages.append((now, data))
            except websockets.ConnectionClosed:
                pass
            heard.close_code = socket.close_code

        receiver = asyncio.create_task(receive())
        start = time.perf_counter()
        sent = 0
        try:
            for recording in recordings:
                pieces = (recording,) if finalize else (recording, silence(after_s))
                for samples in (np.concatenate(pieces), silence(after_s) if finalize else None):
                    if samples is None:
                        continue
                    for offset in range(0, len(samples), FRAME):
                        frame = samples[offset : offset + FRAME]
                        sent += len(frame)
                        wait = start + sent / HEARD_RATE - time.perf_counter()
                        if paced and wait > 0:
                            await asyncio.sleep(wait)
                        heard.sent.append(time.perf_counter_ns())
                        await socket.send(frame.tobytes())
                    if finalize and samples is not None and len(samples) != len(silence(after_s)):
                        await socket.send('{"action": "finalize"}')
            await asyncio.sleep(0 if receiver.done() else 0.3)
        except websockets.ConnectionClosed:
            pass
        if not receiver.done() and heard.close_code is None:
            await socket.close()
        await receiver
    return heard


async def events_of(running: Running, name: str) -> tuple[TruthEvent, ...]:
    """Return the truth of the client's request of this name, once it has been written."""
    await asyncio.sleep(0.35)
    return tuple(event for event in read_truth(running.truth) if event.client_request == name)
