"""Whose answers a user's own agent got: a gateway's, or somebody else's."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_RECORDER,
    Exchange,
    Recorder,
    stamp,
)
from harness.pipeline.transport.addresses import GatewayFinder, watch_connections
from harness.pipeline.transport.socket_transport import CURRENT_DIAL


@pytest.fixture
async def plain() -> AsyncIterator[int]:
    """A server on the loopback that is no gateway, as vLLM or llama.cpp would be."""

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"service": "another"})

    app = web.Application()
    app.router.add_get("/healthz", health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    yield port
    await runner.cleanup()


async def _connect(recorder: Recorder, port: int, stage: Stage | None) -> None:
    """Connect as a client of this stage would, within the trial's context."""

    async def dial() -> None:
        CURRENT_RECORDER.set(recorder)
        if stage is not None:
            CURRENT_CALL.set(recorder.open_call(stage))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()

    await asyncio.create_task(dial())


@pytest.fixture
def recorder() -> Recorder:
    """A trial that asks where its connections go."""
    watch_connections()
    found = Recorder()
    found.connected = []
    return found


def _port(address: tuple[str, str]) -> int:
    port = urlsplit(address[0]).port
    assert port is not None
    return port


async def test_stages_are_told_apart(
    address: tuple[str, str], plain: int, recorder: Recorder
) -> None:
    """The stage whose call connected to a gateway is emulated; one answered elsewhere is not."""
    await _connect(recorder, _port(address), Stage.LLM)
    await _connect(recorder, plain, Stage.TTS)
    finder = GatewayFinder()
    assert await finder.stages(recorder) == {Stage.LLM}
    later = Recorder()
    later.connected = []
    assert await finder.stages(later) == {Stage.LLM}, "a kept connection goes where it went"


async def test_nobody_but_a_gateway_is_one(plain: int, recorder: Recorder) -> None:
    """A local model is live: an address on the loopback alone says nothing."""
    await _connect(recorder, plain, Stage.LLM)
    await _connect(recorder, plain, None)
    assert await GatewayFinder().stages(recorder) == frozenset()


async def test_what_connects_ahead_counts_for_all_that_may_use_it(
    address: tuple[str, str], plain: int, recorder: Recorder
) -> None:
    """A connection outside any call is of one of the stages that are not known to be elsewhere."""
    await _connect(recorder, _port(address), None)
    await _connect(recorder, plain, Stage.LLM)
    assert await GatewayFinder().stages(recorder) == {Stage.STT, Stage.TTS}


async def test_our_own_detector_is_not_the_agent_s(
    address: tuple[str, str], recorder: Recorder
) -> None:
    """The way to the detector of interruptions is turnbench's, and makes nothing emulated."""
    dial = Exchange(url=address[0], opened=stamp())
    recorder.detectors.append(dial)
    token = CURRENT_DIAL.set(dial)
    await _connect(recorder, _port(address), None)
    CURRENT_DIAL.reset(token)
    assert await GatewayFinder().stages(recorder) == frozenset()
    await _connect(recorder, _port(address), None)
    assert await GatewayFinder().stages(recorder) != frozenset(), "the agent's own connection"


async def test_a_trial_that_does_not_ask_is_not_watched(plain: int) -> None:
    """The hook leaves the trials of the suite's own candidates alone."""
    watch_connections()
    recorder = Recorder()
    await _connect(recorder, plain, Stage.LLM)
    assert recorder.connected is None
