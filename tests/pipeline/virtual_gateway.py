"""A gateway on the loop of those who ask it, where time is virtual."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from aiohttp import web

from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableUtterance
from harness.domain.trial import Trial as AnsweredTrial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.context import Trial
from harness.gateway.engines.worker import BlockingWorker
from harness.gateway.server import Engines, build_app
from harness.lanes.stages import _end
from harness.loops.accounting import Owner, context_of
from harness.loops.virtual import VirtualLoop
from harness.pipeline.transport.names import begin_names
from tests.pipeline.playing import DATASET, Played, play

__all__ = [
    "EXACT_MS",
    "HOST",
    "PORT",
    "answered",
    "gateway_here",
    "on_virtual_time",
    "play_virtually",
]

T = TypeVar("T")
EXACT_MS = 0.001
"""How far a duration on virtual time may be from what was injected."""
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


STARTER = GatewayConfig(seed=11, utterances=DATASET / "manifest.jsonl", recogniser="oracle")
"""A gateway whose oracle knows the starter set."""


def play_virtually(
    chosen: Candidate,
    utterances: list[PlayableUtterance],
    *,
    config: GatewayConfig = STARTER,
    **options: Any,
) -> list[Played]:
    """Perform utterances on virtual time; see :func:`tests.pipeline.playing.play`."""

    async def work() -> list[Played]:
        async with gateway_here(config, chosen.name) as root:
            return await play(root, config.key, chosen, utterances, **options)

    return on_virtual_time(work)


def answered(
    process: ProcessPoolExecutor,
    chosen: Candidate,
    utterances: list[PlayableUtterance],
    **options: Any,
) -> list[AnsweredTrial]:
    """Perform utterances in a process of virtual time; the first opens the connections."""
    found = process.submit(play_virtually, chosen, utterances, **options).result()
    trials = [each for each in found if isinstance(each, AnsweredTrial)]
    assert len(trials) == len(found), [getattr(each, "failure", None) for each in found]
    return trials
