"""The one client library that connects its sockets by itself, told to leave that to the loop.

aiohttp has aiohappyeyeballs open a socket and hands it to ``loop.create_connection``. On a virtual
loop there is none to open: what is handed on names the address instead.
"""

from collections.abc import Callable
from typing import Any

import aiohappyeyeballs

from harness.loops.memory import Dialled
from harness.loops.virtual import running_virtual_loop

__all__ = ["install"]


def install() -> None:
    """Let aiohttp connect in memory on virtual loops; once a process."""
    real = aiohappyeyeballs.start_connection
    if not isinstance(real, _StartConnection):
        aiohappyeyeballs.start_connection = _StartConnection(real)


class _StartConnection:
    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real

    async def __call__(self, addr_infos: Any, **named: Any) -> Any:
        if running_virtual_loop() is None:
            return await self._real(addr_infos, **named)
        return Dialled(tuple(addr_infos[0][4][:2]))
