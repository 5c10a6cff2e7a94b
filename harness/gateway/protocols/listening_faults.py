"""How a listening session goes wrong: in the middle of an utterance, at its final, and after it."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.replying import reset_connection
from harness.gateway.calls.utterance import Ended
from harness.gateway.engines.transcripts import Wire
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import FaultKind
from harness.gateway.profiles.profiles import SttProfile

__all__ = ["DROP_AFTER_NS", "ListeningFaults"]

_FAULT_AFTER_NS: Final = 300_000_000
DROP_AFTER_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningFaults:
    """Strikes one connection.

    Attributes:
        request: the upgrade request.
        socket: the connection.
        settings: the profile.
        wire: the messages.
        send: sends a message now.
        say: sends one at its deadline and keeps that in the truth.
    """

    request: web.Request
    socket: web.WebSocketResponse
    settings: SttProfile
    wire: Wire
    send: Callable[[str], Awaitable[int | None]]
    say: Callable[..., Awaitable[None]]

    async def in_the_middle(self, call: Call, fault: FaultKind) -> None:
        """Strike while the utterance lasts."""
        await call.gateway.pacer.until(call.received_ns + _FAULT_AFTER_NS)
        call.fault(fault)
        if fault is FaultKind.RESET:
            reset_connection(self.request)
            return
        await self.send(self.wire.error("internal error"))
        await self.socket.close(code=1011, message=b"internal error")

    async def at_final(self, ended: Ended, text: str, draws: Draws) -> bool:
        """Strike in place of the final; return whether the final follows nevertheless."""
        fault, call = ended.utterance.fault, ended.utterance.call
        assert fault is not None
        if fault in (FaultKind.RESET, FaultKind.MID_STREAM_ERROR):
            return False
        call.fault(fault)
        if fault is FaultKind.TRUNCATION:
            await self.socket.close()
        elif fault is FaultKind.STALL:
            stalled_ns = time.perf_counter_ns() + round(self.settings.faults.stall_s * NS_PER_S)
            await call.gateway.pacer.until(stalled_ns)
            reset_connection(self.request)
        elif fault is FaultKind.EMPTY:
            await self.send(self.wire.final(ended.heard("")))
        elif fault is FaultKind.MALFORMED:
            whole = self.wire.final(ended.heard(text))
            await self.send(whole[: len(whole) // 2])
        elif fault is FaultKind.WRONG_CONTENT_TYPE:
            with contextlib.suppress(ConnectionError):
                await self.socket.send_bytes(draws.key.encode())
        elif fault is FaultKind.OVERSIZED:
            await self.send(self.wire.final(ended.heard("x" * OVERSIZED_BYTES)))
        else:
            return True
        return False

    async def after_final(self, ended: Ended, text: str) -> None:
        """Strike when the final is out."""
        fault, call = ended.utterance.fault, ended.utterance.call
        now = time.perf_counter_ns()
        if fault is FaultKind.DROP_BETWEEN_TURNS:
            await call.gateway.pacer.until(now + DROP_AFTER_NS)
            reset_connection(self.request)
        elif fault is FaultKind.DUPLICATE_FINAL:
            again = self.wire.final(ended.heard(text))
            await self.say(call, again, now, "final_sent", detail=text)
        elif fault is FaultKind.LATE_FINAL:
            due = now + round(self.settings.faults.late_final_s * NS_PER_S)
            late = self.wire.final(ended.heard("okay"))
            await self.say(call, late, due, "final_sent", detail="okay")
