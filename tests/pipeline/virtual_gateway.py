"""A gateway on the loop of those who ask it, where time is virtual."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar

from aiohttp import web

from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.context import Trial
from harness.gateway.engines.worker import BlockingWorker
from harness.gateway.server import Engines, build_app
from harness.lanes.stages import _end
from harness.loops.accounting import Owner, context_of
from harness.loops.virtual import VirtualLoop
from harness.pipeline.transport.names import begin_names

__all__ = ["HOST", "PORT", "gateway_here", "on_virtual_time"]

T = TypeVar("T")
HOST, PORT = "127.0.0.1", 1
_START_NS = 2**20 * 1_000_000_000


@cache
def _settle() -> None:
    """Keep the program itself out of what is collected later."""
    gc.collect()
    gc.freeze()


def on_virtual_time(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function on a virtual loop of its own to its end."""
    _settle()
    loop = VirtualLoop(start_ns=_START_NS)
    asyncio.set_event_loop(loop)
    try:
        found = loop.run_until_complete(work())
    finally:
        _end(loop)
        asyncio.set_event_loop(None)
    assert loop.uncounted is None, f"the virtual clock does not count {loop.uncounted}"
    return found


_ENGINES: dict[GatewayConfig, Engines] = {}
"""Engines outlive the loops on which they are asked."""


async def _engines(config: GatewayConfig) -> Engines:
    found = _ENGINES.get(config)
    if found is None:
        found = _ENGINES[config] = Engines.of(config, worker=BlockingWorker)
        await found.start()
    return found


@asynccontextmanager
async def gateway_here(config: GatewayConfig, name: str) -> AsyncIterator[str]:
    """Open a gateway on the running loop and give its root; its draws depend on the name."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    context = context_of(Owner.GATEWAY)
    app = build_app(config, await _engines(config), Trial(name=name, id=name))
    runner = web.AppRunner(app, access_log=None)
    await loop.create_task(runner.setup(), context=context)
    assert runner.server is not None
    loop.switchboard.listen(HOST, PORT, runner.server, context)
    begin_names(name)
    try:
        yield f"http://{HOST}:{PORT}"
    finally:
        await loop.create_task(runner.cleanup(), context=context)
