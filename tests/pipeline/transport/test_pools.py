"""A hundred at once: no client makes one trial wait for another, and where one does it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, APITimeoutError, llm, utils

from harness.domain.candidate import StageSettings
from harness.domain.request import WaitCause
from harness.domain.suite import SessionOptions, Via
from harness.domain.timeline import Stage
from harness.pipeline.place import Place
from harness.pipeline.probes.clients import probe_llm
from harness.pipeline.providers import make_client
from harness.pipeline.recording.health import Watch
from harness.pipeline.recording.recording import CURRENT_CALL, CURRENT_RECORDER, Call, Recorder
from harness.pipeline.transport.exchanges import connection_of
from harness.pipeline.transport.pools import let_all_connect, note_queueing
from harness.pipeline.transport.transport import timed_client

AT_ONCE = 100
PATIENCE_S = 30.0
pytestmark = pytest.mark.timeout(60)


@dataclass(slots=True)
class Holding:
    """A server that answers nobody until so many have asked, and says how many there were.

    Attributes:
        enough: how many have to be in flight at once.
        url: its address.
        most: the largest number that was.
    """

    enough: int = AT_ONCE
    url: str = ""
    most: int = 0
    waiting: int = 0
    all_there: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, request: web.Request) -> web.Response:
        """Hold a request, or the upgrade of a socket, until enough are here; then refuse it."""
        await request.read()
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting >= self.enough:
            self.all_there.set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.all_there.wait()
        except TimeoutError:
            return web.Response(status=504)
        finally:
            self.waiting -= 1
        return web.json_response({"error": {"message": "enough"}}, status=503)


@pytest.fixture
async def holding() -> AsyncIterator[Holding]:
    """A holding server on the loopback."""
    held = Holding()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", held.hold)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2 * AT_ONCE)
    await site.start()
    held.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield held
    held.all_there.set()
    await runner.cleanup()


CLIENTS = {
    "openadapter-parakeet": (Stage.STT, StageSettings(provider="openadapter")),
    "openadapter-whisper": (
        Stage.STT,
        StageSettings(provider="openadapter", options={"mode": "rest"}),
    ),
    "openadapter-llm": (Stage.LLM, StageSettings(provider="openadapter")),
    "openadapter-tts": (Stage.TTS, StageSettings(provider="openadapter")),
    "openai-rest": (Stage.STT, StageSettings(provider="openai")),
    "openai-realtime": (Stage.STT, StageSettings(provider="openai", options={"realtime": True})),
    "openai-llm": (Stage.LLM, StageSettings(provider="openai")),
    "openai-tts": (Stage.TTS, StageSettings(provider="openai")),
    "livekit-stt": (Stage.STT, StageSettings(provider="livekit")),
    "livekit-llm": (Stage.LLM, StageSettings(provider="livekit")),
    "livekit-tts": (Stage.TTS, StageSettings(provider="livekit")),
    "baseten-whisper": (Stage.STT, StageSettings(provider="baseten", model="whisper")),
    "baseten-qwen3-asr": (Stage.STT, StageSettings(provider="baseten", model="qwen3-asr")),
    "baseten-llm": (Stage.LLM, StageSettings(provider="baseten")),
    "baseten-orpheus": (Stage.TTS, StageSettings(provider="baseten", model="orpheus")),
    "baseten-orpheus-http": (
        Stage.TTS,
        StageSettings(provider="baseten", model="orpheus", options={"transport": "http"}),
    ),
    "baseten-qwen3-tts": (Stage.TTS, StageSettings(provider="baseten", model="qwen3-tts")),
    "speko-stt": (Stage.STT, StageSettings(provider="speko")),
    "speko-llm": (Stage.LLM, StageSettings(provider="speko")),
    "speko-tts": (Stage.TTS, StageSettings(provider="speko")),
}
ONCE = APIConnectOptions(max_retry=0, timeout=PATIENCE_S)
FRAME = rtc.AudioFrame(
    data=bytes(3200), sample_rate=16_000, num_channels=1, samples_per_channel=1600
)


def _context() -> llm.ChatContext:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    return context


async def _chat(client: Any) -> None:
    async with client.chat(chat_ctx=_context(), conn_options=ONCE) as stream:
        async for _ in stream:
            pass


async def _speak(client: Any) -> None:
    if not client.capabilities.streaming:
        async with client.synthesize("Hello there.", conn_options=ONCE) as chunks:
            async for _ in chunks:
                pass
        return
    async with client.stream(conn_options=ONCE) as stream:
        stream.push_text("Hello there, how are you doing on this fine and sunny day today? ")
        stream.end_input()
        async for _ in stream:
            pass


async def _hear(client: Any) -> None:
    if not client.capabilities.streaming:
        await client.recognize([FRAME], conn_options=ONCE)
        return
    stream = client.stream(conn_options=ONCE)
    try:
        stream.push_frame(FRAME)
        async for _ in stream:
            pass
    finally:
        await stream.aclose()


USES: dict[Stage, Callable[[Any], Awaitable[None]]] = {
    Stage.LLM: _chat,
    Stage.TTS: _speak,
    Stage.STT: _hear,
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_hundred_are_in_flight_together(holding: Holding, name: str) -> None:
    """One client's hundred requests, or sockets, all reach the server before any is answered."""
    stage, settings = CLIENTS[name]
    place = Place(
        via=Via.GATEWAY,
        options=SessionOptions(request_timeout_s=PATIENCE_S),
        gateway=holding.url,
        gateway_key="a-key-of-the-loopback-that-is-long-enough",
    )
    async with utils.http_context.open():
        client = make_client(stage, place, settings)
        tasks = [asyncio.ensure_future(USES[stage](client)) for _ in range(AT_ONCE)]
        try:
            async with asyncio.timeout(PATIENCE_S):
                await holding.all_there.wait()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.aclose()
            inner = getattr(client, "_client", None)
            if inner is not None and hasattr(inner, "close"):
                await inner.close()
    assert holding.most >= AT_ONCE
    # Each was refused by the server, none by a pool of ours or for want of time.
    assert all(isinstance(each, APIError | aiohttp.WSServerHandshakeError) for each in done)
    assert not any(isinstance(each, APITimeoutError) for each in done)


async def test_a_pool_that_is_too_small_is_named(holding: Holding) -> None:
    """Where a request waits for another's connection, that wait is the pool's, to its length."""
    holding.enough = 1
    watch = Watch()
    await watch.start()
    recorder = Recorder()
    CURRENT_RECORDER.set(recorder)
    place = Place(via=Via.GATEWAY, options=SessionOptions(), gateway=holding.url, gateway_key="key")
    client = make_client(Stage.LLM, place, StageSettings(provider="openai"))
    small = timed_client(label="small", timeout_s=PATIENCE_S, connections=1)
    whole: Any = client
    own = whole._client
    whole._client = own.with_options(http_client=small)
    probe_llm(client)
    holding.enough = AT_ONCE
    began = asyncio.get_running_loop().time()
    tasks = [asyncio.ensure_future(_chat(client)) for _ in range(2)]
    await asyncio.sleep(0.2)
    assert holding.most == 1, "the second is still here"
    held_s = asyncio.get_running_loop().time() - began
    holding.all_there.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    idle = watch.idle_between(recorder.calls[0].opened.ns, recorder.calls[0].opened.ns + 10**10)
    waits = [
        [each for each in connection_of(call.exchanges[0], idle)[1] if each.cause is WaitCause.POOL]
        for call in recorder.calls
    ]
    assert [len(each) for each in waits] == [0, 1]
    (queued,) = waits[1]
    assert (queued.end_ns - queued.start_ns) / 1e9 >= held_s - 0.1
    await small.aclose()
    await own.close()
    await watch.aclose()


class _Pooled:
    """A client with livekit's pool, whose handshakes take their time."""

    def __init__(self) -> None:
        self.opened = 0
        self.most = 0
        self._under_way = 0
        self._pool = utils.ConnectionPool[object](connect_cb=self._connect)

    async def _connect(self, _timeout: float) -> object:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0.03)
        self._under_way -= 1
        self.opened += 1
        return object()


async def test_livekit_s_pool_lets_all_connect_at_once() -> None:
    """With the lock taken away, handshakes overlap; a socket that is free is still used again."""
    client = _Pooled()
    let_all_connect(client)
    made = await asyncio.gather(*(client._pool.get(timeout=1) for _ in range(AT_ONCE)))
    assert client.most == AT_ONCE
    assert len(set(map(id, made))) == AT_ONCE
    client._pool.put(made[0])
    assert await client._pool.get(timeout=1) is made[0]
    assert client.opened == AT_ONCE


async def test_a_user_s_pool_tells_how_long_it_kept_a_reply_waiting() -> None:
    """A client of the user's own keeps its lock; the wait for another's handshake is the pool's."""
    client = _Pooled()
    note_queueing(client, Stage.TTS)
    recorder = Recorder()

    async def reply() -> Call:
        call = recorder.open_call(Stage.TTS)
        CURRENT_CALL.set(call)
        await client._pool.get(timeout=1)
        return call

    first, second = await asyncio.gather(*(asyncio.create_task(reply()) for _ in range(2)))
    assert client.most == 1
    assert first.waits == []
    (wait,) = second.waits
    assert wait.cause is WaitCause.POOL
    assert (wait.end_ns - wait.start_ns) / 1e6 >= 25
