"""OpenAI's transcription over the realtime WebSocket, spoken by hand."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from harness.gateway.engines.pcm import HEARD_RATE, Samples, resample
from tests.gateway.clients import events_of
from tests.gateway.conftest import Running
from tests.gateway.spoken import TEXTS, murmur, silence

RATE = 24_000
PACKET = RATE // 20
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def update(model: str = "gpt-4o-mini-transcribe", **audio: Any) -> dict[str, Any]:
    """Return the settings that livekit's plugin sends."""
    given: dict[str, Any] = {
        "format": {"type": "audio/pcm", "rate": RATE},
        "transcription": {"model": model, "language": "en"},
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 600,
            "silence_duration_ms": 350,
        },
        **audio,
    }
    if given["turn_detection"] is None:
        del given["turn_detection"]
    session = {"type": "transcription", "audio": {"input": given}}
    return {"type": "session.update", "session": session}


class Talk:
    """A socket, what it said, and when."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[tuple[int, dict[str, Any]]] = []
        self.news = asyncio.Event()
        self.ended = asyncio.Event()

    async def listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.heard.append((time.perf_counter_ns(), json.loads(message.data)))
                self.news.set()
        self.ended.set()

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def play(self, recording: Samples) -> None:
        """Send a recording at its own pace."""
        samples = resample(recording, HEARD_RATE, RATE).astype("<i2")
        start = time.perf_counter()
        for offset in range(0, len(samples), PACKET):
            packet = samples[offset : offset + PACKET].tobytes()
            wait = start + offset / RATE - time.perf_counter()
            await asyncio.sleep(max(0.0, wait))
            audio = base64.b64encode(packet).decode()
            await self.say(type="input_audio_buffer.append", audio=audio)

    def kinds(self) -> list[str]:
        return [message["type"] for _, message in self.heard]

    async def until(self, kind: str, limit_s: float = 5.0) -> dict[str, Any]:
        """Return the first message of a kind, once it has come."""
        async with asyncio.timeout(limit_s):
            while kind not in self.kinds():
                self.news.clear()
                await self.news.wait()
        return next(message for _, message in self.heard if message["type"] == kind)


@asynccontextmanager
async def talking(running: Running, profile: str, name: str = "") -> AsyncIterator[Talk]:
    """Open a socket."""
    url = running.process.base_url(profile) + f"/realtime?intent=transcription&turnbench={name}"
    async with (
        aiohttp.ClientSession(headers=running.headers) as session,
        session.ws_connect(url.replace("http", "ws", 1)) as socket,
    ):
        talk = Talk(socket)
        listening = asyncio.create_task(talk.listen())
        try:
            yield talk
        finally:
            await socket.close()
            await listening


async def test_an_utterance_comes_back_in_order(running: Running) -> None:
    """Speech starts, stops, is committed and is completed, each naming the same item."""
    async with talking(running, "exact", "realtime-order") as talk:
        await talk.say(**update())
        await talk.play(np.concatenate((murmur(0, TEXTS[0]), silence(0.8))))
        completed = await talk.until(f"{TRANSCRIPTION}.completed")
    assert completed["transcript"].lower().rstrip(".") == TEXTS[0]
    assert completed["usage"]["type"] == "tokens"
    usage = completed["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    kinds = talk.kinds()
    assert kinds[:2] == ["session.created", "session.updated"]
    assert kinds[2:] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        f"{TRANSCRIPTION}.completed",
    ]
    items = {message["item_id"] for _, message in talk.heard[2:]}
    assert items == {completed["item_id"]}
    started, stopped = talk.heard[2][1], talk.heard[3][1]
    assert started["audio_start_ms"] < stopped["audio_end_ms"]


async def test_the_client_states_the_silence(running: Running) -> None:
    """350 ms of silence and the profile's computation lie between the last speech and the final."""
    async with talking(running, "exact", "realtime-silence") as talk:
        await talk.say(**update())
        await talk.play(np.concatenate((murmur(1, TEXTS[1]), silence(0.8))))
        await talk.until(f"{TRANSCRIPTION}.completed")
    events = await events_of(running, "realtime-silence")
    final = next(each for each in events if each.event == "final_sent")
    assert final.injected_ns == 450_000_000
    assert final.due_ns is not None
    assert final.t_ns >= final.due_ns


async def test_deltas_add_up_to_what_was_heard(running: Running) -> None:
    """Interim words come as what is new, and never twice."""
    async with talking(running, "chatty") as talk:
        await talk.say(**update())
        await talk.play(np.concatenate((murmur(1, TEXTS[1]), silence(0.8))))
        completed = await talk.until(f"{TRANSCRIPTION}.completed")
    deltas = [
        message["delta"]
        for _, message in talk.heard
        if message["type"] == f"{TRANSCRIPTION}.delta" and message["delta"]
    ]
    assert len(deltas) > 1
    said = "".join(deltas).lower().split()
    assert said == completed["transcript"].lower().rstrip(".?").split()[: len(said)]


async def test_the_client_may_end_the_utterance(running: Running) -> None:
    """Without a detector nothing ends an utterance but ``commit``."""
    async with talking(running, "exact") as talk:
        await talk.say(**update("gpt-realtime-whisper", turn_detection=None))
        await talk.play(np.concatenate((murmur(2, TEXTS[2]), silence(0.9))))
        assert f"{TRANSCRIPTION}.completed" not in talk.kinds()
        await talk.say(type="input_audio_buffer.commit")
        completed = await talk.until(f"{TRANSCRIPTION}.completed")
    assert completed["transcript"].lower().rstrip(".") == TEXTS[2]
    assert "input_audio_buffer.speech_started" not in talk.kinds()


async def test_a_commit_without_speech_is_completed_empty(running: Running) -> None:
    """Silence has a transcript: none."""
    async with talking(running, "exact") as talk:
        await talk.say(**update("gpt-realtime-whisper", turn_detection=None))
        await talk.play(silence(0.4))
        await talk.say(type="input_audio_buffer.commit")
        completed = await talk.until(f"{TRANSCRIPTION}.completed")
    assert completed["transcript"] == ""


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "input_audio_buffer.append", "audio": "!"}, "invalid_value"),
        ({"type": "unheard.of"}, "invalid_value"),
    ],
)
async def test_nonsense_is_answered_with_an_error(
    running: Running, message: dict[str, Any], code: str
) -> None:
    """The error names its code, and the socket lives on."""
    async with talking(running, "exact") as talk:
        await talk.say(**update())
        await talk.say(**message)
        assert (await talk.until("error"))["error"]["code"] == code
        assert not talk.socket.closed


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "session.update", "session": {"type": "realtime"}},
        update(format={"type": "audio/pcm", "rate": 16_000}),
        update("gpt-live-transcribe"),
        update(turn_detection={"type": "server_vad", "silence_duration_ms": 1}),
    ],
    ids=["type", "rate", "detector", "silence"],
)
async def test_settings_that_cannot_be_are_refused(
    running: Running, settings: dict[str, Any]
) -> None:
    """An error, and the socket is closed."""
    async with talking(running, "exact") as talk:
        await talk.say(**settings)
        await talk.until("error")
        await asyncio.wait_for(talk.ended.wait(), 5)


@pytest.mark.parametrize(
    ("query", "key", "status"),
    [("", True, 400), ("?intent=transcription", False, 401)],
)
async def test_an_upgrade_needs_intent_and_key(
    running: Running, query: str, key: bool, status: int
) -> None:
    """The upgrade is refused with its status."""
    url = running.process.base_url("exact") + "/realtime" + query
    async with aiohttp.ClientSession(headers=running.headers if key else {}) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(url.replace("http", "ws", 1))
    assert caught.value.status == status
