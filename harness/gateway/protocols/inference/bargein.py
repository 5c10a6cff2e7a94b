"""LiveKit Inference's interruption detector: ``GET /livekit/v1/bargein`` (a WebSocket).

The client opens with ``session.create`` and, while somebody speaks over the agent, sends a binary
message every 100 ms: its own clock's reading (unsigned, 64 bits, little-endian) and up to three
seconds of PCM16 at 16 kHz. Each is answered with ``bargein_detected`` or ``inference_done``, which
name the reading again. ``session.created`` recommends a threshold. :mod:`engines.overlap` decides.

A fault of the conversation strikes the first window; one of the connection, the upgrade.
"""

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import Coroutine
from typing import Any, Final

import numpy as np
from aiohttp import WSMsgType, web

from harness.gateway.calls.context import NS_PER_S, Call, Gateway, begin
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.replying import early_fault, reset_connection
from harness.gateway.calls.route import Route
from harness.gateway.engines.overlap import frame_probabilities, probability_of, wants_floor
from harness.gateway.engines.pcm import HEARD_RATE, Samples
from harness.gateway.profiles.faults import CONNECTION_FAULTS, STAGE_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import InterruptionProfile
from harness.gateway.protocols.inference.auth import require_grant

__all__ = ["ROUTES", "inference_bargein"]

_HEADER: Final = struct.Struct("<Q")
_LONGEST: Final = 3 * HEARD_RATE
_MAX_MESSAGE: Final = 1024 * 1024
_MOST_FRAMES: Final = 120
_WINDOW_FAULTS: Final = STAGE_FAULTS[Stage.INTERRUPTION] - CONNECTION_FAULTS


def _problem(message: Any) -> str | None:
    """Return what is wrong with a ``session.create``, or None."""
    if not isinstance(message, dict) or message.get("type") != "session.create":
        kind = message.get("type") if isinstance(message, dict) else None
        return f"expected session.create, got {kind!r}"
    settings = message.get("settings")
    if not isinstance(settings, dict):
        return "session.create: settings must be an object"
    if settings.get("sample_rate") != HEARD_RATE or settings.get("num_channels") != 1:
        return f"session.create: audio is mono at {HEARD_RATE} Hz"
    if settings.get("encoding") != "s16le":
        return f"session.create: encoding {settings.get('encoding')!r} is not s16le"
    threshold = settings.get("threshold")
    if threshold is not None and (
        isinstance(threshold, bool)
        or not isinstance(threshold, int | float)
        or not 0 <= threshold <= 1
    ):
        return "session.create: threshold must lie within 0 and 1"
    frames = settings.get("min_frames")
    if type(frames) is not int or not 1 <= frames <= _MOST_FRAMES:
        return f"session.create: min_frames must be a whole number within 1 and {_MOST_FRAMES}"
    return None


async def inference_bargein(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /livekit/v1/bargein``."""
    received_ns = time.perf_counter_ns()
    require_grant(gateway, request)
    profile = gateway.profile(request, Stage.INTERRUPTION)
    settings = profile.interruption
    assert settings is not None
    call = begin(
        gateway,
        request,
        Stage.INTERRUPTION,
        "inference-bargein",
        profile.name,
        received_ns=received_ns,
    )
    draws = gateway.draws(profile.name, Stage.INTERRUPTION, b"connection", "connection")
    fault = settings.faults.draw(draws)
    struck = fault if fault in CONNECTION_FAULTS else None
    refused = early_fault(call, request, struck, settings.faults)
    if refused is not None:
        return refused
    if fault is FaultKind.WRONG_CONTENT_TYPE:
        call.fault(fault)
        return web.Response(text="<html><body>Welcome</body></html>", content_type="text/html")
    socket = web.WebSocketResponse(compress=False, max_msg_size=_MAX_MESSAGE, timeout=1.0)
    await socket.prepare(request)
    hello_ns = draws.delay_ns(settings.hello, "hello")
    if fault is FaultKind.SLOW_HELLO:
        call.fault(fault)
        hello_ns += round(settings.faults.slow_hello_s * NS_PER_S)
    detector = _Detector(call, request, socket, settings, hello_ns)
    detector.fault = fault if fault in _WINDOW_FAULTS else None
    detector.delays = lambda index: draws.delay_ns(settings.compute, "compute", index)
    try:
        await detector.run()
    finally:
        await detector.close()
    return socket


class _Detector:
    """One conversation."""

    def __init__(
        self,
        call: Call,
        request: web.Request,
        socket: web.WebSocketResponse,
        settings: InterruptionProfile,
        hello_ns: int,
    ) -> None:
        self.fault: FaultKind | None = None
        self.delays: Any = None
        self._call = call
        self._request = request
        self._socket = socket
        self._settings = settings
        self._hello_ns = hello_ns
        self._threshold = settings.threshold
        self._min_frames = 2
        self._created = False
        self._count = 0
        self._silent = False
        self._tasks: set[asyncio.Task[None]] = set()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is still under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self) -> None:
        """Serve until either side closes."""
        async for message in self._socket:
            arrived_ns = time.perf_counter_ns()
            if message.type is WSMsgType.BINARY and self._created:
                await self._on_window(message.data, arrived_ns)
            elif not await self._on_text(message, arrived_ns):
                break
        kind = "reset" if self._socket.close_code in (None, 1006) else "client"
        self._call.mark("closed", time.perf_counter_ns(), kind=kind)

    async def _send(self, message: dict[str, Any]) -> int | None:
        return await self._send_text(json.dumps(message))

    async def _send_text(self, text: str) -> int | None:
        """Send now; return the instant, or None where the client has gone."""
        sent_ns = time.perf_counter_ns()
        try:
            await self._socket.send_str(text)
        except ConnectionError:
            return None
        return sent_ns

    async def _refuse(self, why: str, code: int = 400) -> None:
        await self._send(
            {"type": "error", "message": why, "code": code, "session_id": self._call.request}
        )

    async def _on_text(self, message: Any, arrived_ns: int) -> bool:
        """Do what a message asks; return whether the conversation goes on."""
        content: Any = None
        if message.type is WSMsgType.TEXT:
            with contextlib.suppress(ValueError):
                content = json.loads(message.data)
        if not self._created:
            problem = _problem(content)
            if problem is not None:
                await self._refuse(problem)
                await self._socket.close(code=1008)
                return False
            self._create(content["settings"], arrived_ns)
            return True
        if isinstance(content, dict) and content.get("type") == "session.close":
            await self._send({"type": "session.closed"})
            await self._socket.close()
            return False
        await self._refuse("neither a window nor session.close")
        return True

    def _create(self, settings: dict[str, Any], arrived_ns: int) -> None:
        self._created = True
        self._min_frames = settings["min_frames"]
        if settings.get("threshold") is not None:
            self._threshold = float(settings["threshold"])
        self._call.mark("asked", arrived_ns, detail=json.dumps(settings))
        self._spawn(self._greet())

    async def _greet(self) -> None:
        due_ns = self._call.received_ns + self._hello_ns
        await self._call.gateway.pacer.until(due_ns)
        hello: dict[str, Any] = {"type": "session.created"}
        if self.fault is FaultKind.EMPTY:
            self._strike()
        else:
            hello["default_threshold"] = self._settings.threshold
        sent_ns = await self._send(hello)
        if sent_ns is not None:
            self._call.mark("hello_sent", sent_ns, due_ns=due_ns, injected_ns=self._hello_ns)

    def _strike(self) -> FaultKind:
        assert self.fault is not None
        fault, self.fault = self.fault, None
        self._call.fault(fault)
        return fault

    async def _on_window(self, data: bytes, arrived_ns: int) -> None:
        size = len(data) - _HEADER.size
        if size < 0 or size % 2 or size // 2 > _LONGEST:
            await self._refuse("a window is 8 bytes of time and at most 3 s of PCM16")
            return
        index, self._count = self._count, self._count + 1
        created_at = _HEADER.unpack_from(data)[0]
        samples = np.frombuffer(data, dtype="<i2", offset=_HEADER.size)
        self._call.mark(
            "window_received",
            arrived_ns,
            index=index,
            samples=len(samples),
            detail=str(created_at),
        )
        if self.fault is not None and self.fault is not FaultKind.EMPTY:
            await self._break(self._strike(), created_at)
        if not self._silent:
            self._spawn(self._judge(samples, created_at, index, arrived_ns))

    async def _judge(self, samples: Samples, created_at: int, index: int, arrived_ns: int) -> None:
        """Answer one window at its deadline."""
        injected_ns = self.delays(index)
        # Nothing is judged before the greeting has left.
        due_ns = max(arrived_ns + injected_ns, self._call.received_ns + self._hello_ns)
        probabilities = frame_probabilities(samples, self._settings.sustained_ms)
        self._call.engine_ready("overlap", due_ns)
        wanted = wants_floor(probabilities, self._threshold, self._min_frames)
        await self._call.gateway.pacer.until(due_ns)
        took_ns = time.perf_counter_ns() - arrived_ns
        text = json.dumps(
            {
                "type": "bargein_detected" if wanted else "inference_done",
                "created_at": created_at,
                "prediction_duration": took_ns / NS_PER_S,
                "probabilities": [round(each, 4) for each in probabilities],
            }
        )
        sent_ns = await self._send_text(text)
        if sent_ns is not None:
            self._call.mark(
                "verdict_sent",
                sent_ns,
                index=index,
                kind="interruption" if wanted else "backchannel",
                injected_ns=injected_ns,
                due_ns=due_ns,
                detail=json.dumps(
                    {
                        "created_at": created_at,
                        "probability": round(probability_of(probabilities, self._min_frames), 4),
                    }
                ),
            )

    async def _break(self, fault: FaultKind, created_at: int) -> None:
        """Go wrong at a window, in place of every verdict from here on."""
        self._silent = True
        if fault is FaultKind.MID_STREAM_ERROR:
            await self._refuse("the detector had an error", code=500)
        elif fault is FaultKind.RESET:
            reset_connection(self._request)
        elif fault is FaultKind.TRUNCATION:
            await self._socket.close()
        elif fault is FaultKind.MALFORMED:
            await self._send_text('{"type": "inference_done", "created_at": ')
        elif fault is FaultKind.OVERSIZED:
            await self._send_text('{"type": "' + "x" * OVERSIZED_BYTES + '"}')
        elif fault is FaultKind.NONSENSE:
            # A verdict upon a window that nobody sent; the service then goes on in its usual way.
            await self._send(
                {
                    "type": "bargein_detected",
                    "created_at": created_at ^ 1,
                    "probabilities": [7.0, -3.0],
                }
            )
            self._silent = False
        elif fault is FaultKind.STALL:
            self._spawn(self._reset_later())

    async def _reset_later(self) -> None:
        await asyncio.sleep(self._settings.faults.stall_s)
        reset_connection(self._request)


ROUTES: Final = (
    Route(method="GET", path="/livekit/v1/bargein", handler=inference_bargein, checks_key=False),
)
