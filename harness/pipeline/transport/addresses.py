"""Where a user's own agent connects to: the one way to know whether a gateway answers it.

The agent's clients are its own, so neither their settings nor their transports are ours to read.
Python tells of every connection that it opens (``sys.addaudithook``); the hook appends an address
to the trial in whose context that happens, and is installed only where an agent is measured. Which
addresses are gateways is asked after the trial: a gateway says who it is on ``/healthz``.
"""

import asyncio
import contextlib
import json
import sys
from ipaddress import ip_address
from typing import Any, Final

from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    CURRENT_NODE,
    CURRENT_RECORDER,
    Recorder,
)
from harness.pipeline.transport.socket_transport import CURRENT_DIAL

__all__ = ["Address", "GatewayFinder", "watch_connections"]

Address = tuple[str, int]
_ANSWER_S: Final = 1.0
_MOST: Final = 1 << 20
_STAGES: Final = frozenset({Stage.STT, Stage.LLM, Stage.TTS})
_hooked = False


def watch_connections() -> None:
    """Note from now on, in each trial that asks for it, where its connections go."""
    global _hooked  # noqa: PLW0603  (a hook cannot be taken back)
    if not _hooked:
        _hooked = True
        sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    recorder, dial = CURRENT_RECORDER.get(), CURRENT_DIAL.get()
    if recorder is None or recorder.connected is None:
        return
    if dial is not None and any(dial is each for each in recorder.detectors):
        # Livekit's detector of interruptions is no client of the agent's.
        return
    address = arguments[1]
    if isinstance(address, tuple) and len(address) >= 2:
        call, node = CURRENT_CALL.get(), CURRENT_NODE.get()
        stage = call.stage if call is not None else node.stage if node is not None else None
        recorder.connected.append((stage, (str(address[0]), int(address[1]))))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class GatewayFinder:
    """Tells which stages of an agent a gateway has answered; one for each performer.

    A client may keep its connections from trial to trial, so what was seen once holds for the later
    trials too.
    """

    def __init__(self) -> None:
        self._gateways: dict[Address, bool] = {}
        self._seen: list[tuple[Stage | None, Address]] = []

    async def stages(self, recorder: Recorder) -> frozenset[Stage]:
        """Return the stages whose connections go to a gateway.

        A connection that was opened ahead of any call (a warmed pool, an STT's stream) is of one of
        the stages that are not known to go elsewhere: all of these count.

        Args:
            recorder: of the trial that has just ended.
        """
        self._seen += recorder.connected or ()
        for _, address in self._seen:
            if address not in self._gateways:
                self._gateways[address] = _loopback(address[0]) and await _is_gateway(address)
        ours = {stage for stage, address in self._seen if self._gateways[address]}
        others = {stage for stage, address in self._seen if not self._gateways[address]}
        found = {stage for stage in ours if stage is not None}
        if None in ours:
            found |= _STAGES - {stage for stage in others if stage is not None}
        return frozenset(found)


async def _is_gateway(address: Address) -> bool:
    """Ask a server on the loopback whether it is a gateway of turnbench's."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET /healthz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = b""
            while len(answer) < _MOST and (more := await reader.read(1 << 16)):
                answer += more
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    try:
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("service") == "turnbench gateway"
