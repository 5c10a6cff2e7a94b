"""A server that speaks every protocol, damages what it says, and remembers what it said and when.

What belongs together is told by the first part of the path, which a candidate's profile names.
"""

import asyncio
import base64
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from tests.pipeline.damage import Act, Close, Garbage, Reset, Said, Silence, damaged
from tests.pipeline.mutations import cut
from tests.pipeline.wire_scripts import BODIES, EARS, PARTS, VOICES, Body, Ear, Voice, loads

__all__ = ["Answered", "Did", "WireServer", "serving"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEARD_S = 0.95
"""How much audio a recogniser gets before it answers: the lead-in, the speech, a little more."""
_CONTENT_TYPES = (
    "", "application/json", "text/html", "text/plain", "text/event-stream; charset=utf-8",
    "audio/pcm;rate=8000", "audio/pcm;rate=0", "audio/pcm;rate=99999999999999999999", "audio/wav",
    "audio/mpeg", "audio/pcm", "application/octet-stream", "image/png", "AUDIO/PCM", ";", "²",
)  # fmt: skip
_STATUSES = (201, 204, 206, 301, 400, 401, 403, 404, 408, 413, 418, 422, 429, 499, 500, 503, 599)


@dataclass(frozen=True, slots=True)
class Did:
    """What the server did at an instant; None for having been asked."""

    at_ns: int
    act: Act | None


@dataclass(slots=True)
class Answered:
    """An answer over HTTP.

    Attributes:
        status, content_type: of the head.
        data: what was written.
        whole: the body came to its end as HTTP has it.
        begun_ns: when its head was written.
        places: up to which byte had been written when, before each write.
    """

    status: int
    content_type: str
    begun_ns: int
    data: bytes = b""
    whole: bool = False
    places: list[tuple[int, int]] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        """Leave out the middle of a long body."""
        data = self.data
        shown = data if len(data) < 3000 else data[:200] + b"[...]" + data[-200:]
        ended = "whole" if self.whole else "cut"
        return f"Answered({self.status}, {self.content_type!r}, {ended}, {len(data)}: {shown!r})"


class WireServer:
    """The server.

    Args:
        rng: decides on the damage.
        chance: of an answer to be damaged.
    """

    def __init__(self, rng: random.Random, chance: float = 0.9) -> None:
        self.rng = rng
        self.chance = chance
        self.did: dict[str, list[Did]] = {}
        self.answered: dict[str, Answered] = {}
        self.damages = 0
        self.address = ""
        self._names = itertools.count(1)

    def _acts(self, acts: Sequence[Act]) -> list[Act]:
        if not acts or self.rng.random() >= self.chance:
            return list(acts)
        found, count = damaged(acts, self.rng)
        self.damages += count
        return found

    async def _do(self, socket: web.WebSocketResponse, log: list[Did], acts: Sequence[Act]) -> bool:
        """Do what a conversation has; return whether the socket can still be used."""
        writer = socket._writer
        assert writer is not None
        for act in acts:
            log.append(Did(time.perf_counter_ns(), act))
            if isinstance(act, Said):
                # As a frame of text whatever it holds: UTF-8 that is none must be met as well.
                kind = WSMsgType.TEXT if act.text else WSMsgType.BINARY
                await writer.send_frame(act.data, kind)
            elif isinstance(act, Close):
                await socket.close(code=act.code, drain=False)
                return False
            elif isinstance(act, Silence):
                return True
            else:
                transport = socket._req.transport if socket._req is not None else None
                if transport is None:
                    return False
                if isinstance(act, Garbage):
                    transport.write(act.data)
                elif isinstance(act, Reset):
                    transport.abort()
                    return False
        return True

    def listen(self, ear: Ear) -> Handler:
        """Return the handler of a recogniser."""
        enough = round(_HEARD_S * ear.rate) * 2

        async def handler(request: web.Request) -> web.StreamResponse:
            log = self.did.setdefault(request.match_info["profile"], [])
            socket = web.WebSocketResponse(compress=False)
            await socket.prepare(request)
            with contextlib.suppress(ConnectionError):
                greeting, answer = self._acts(ear.greeting), self._acts(ear.answer)
                if self.rng.random() < 0.7:
                    # A conversation that fails at once tells little.
                    greeting = list(ear.greeting)
                received, told = 0, False
                if not await self._do(socket, log, greeting):
                    return socket
                async for message in socket:
                    if message.type is WSMsgType.BINARY:
                        received += len(message.data)
                    elif message.type is WSMsgType.TEXT:
                        content = loads(message.data.encode()) or {}
                        if isinstance(content.get("audio"), str):
                            received += len(base64.b64decode(content["audio"]))
                        told_to = content.get("action") == "finalize"
                        received = enough if told_to else received
                    if not told and received >= enough:
                        told = True
                        log.append(Did(time.perf_counter_ns(), None))
                        if not await self._do(socket, log, answer):
                            break
            return socket

        return handler

    def speak(self, voice: Voice) -> Handler:
        """Return the handler of a synthesiser."""

        async def handler(request: web.Request) -> web.StreamResponse:
            log = self.did.setdefault(request.match_info["profile"], [])
            socket = web.WebSocketResponse(compress=False)
            await socket.prepare(request)
            with contextlib.suppress(ConnectionError):
                if not await self._do(socket, log, voice.greeting):
                    return socket
                async for message in socket:
                    if message.type is WSMsgType.TEXT and voice.asks(message.data):
                        log.append(Did(time.perf_counter_ns(), None))
                        answer = self._acts(voice.answer(f"s{next(self._names)}", PARTS))
                        if not await self._do(socket, log, answer):
                            break
            return socket

        return handler

    def answer(self, body: Body) -> Handler:
        """Return the handler of a request with one body."""

        async def handler(request: web.Request) -> web.StreamResponse:
            await request.read()
            rng = self.rng
            acts = self._acts(body.answer)
            content_type, status = body.content_type, 200
            if rng.random() < 0.06 * self.chance:
                content_type = rng.choice(_CONTENT_TYPES)
                self.damages += 1
            if rng.random() < 0.04 * self.chance:
                status = rng.choice(_STATUSES)
                self.damages += 1
            told = Answered(status, content_type, time.perf_counter_ns())
            self.answered[request.headers["x-turnbench-request"]] = told
            response = web.StreamResponse(
                status=status, headers={"Content-Type": content_type, **body.headers}
            )
            if status not in (204, 304):
                response.enable_chunked_encoding()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                await self._write(request, response, told, acts)
            return response

        return handler

    async def _write(
        self,
        request: web.Request,
        response: web.StreamResponse,
        told: Answered,
        acts: Sequence[Act],
    ) -> None:
        for act in acts:
            if isinstance(act, Said):
                for piece in cut(act.data, self.rng):
                    told.places.append((time.perf_counter_ns(), len(told.data)))
                    told.data += piece
                    await response.write(piece)
                if self.rng.random() < 0.2:
                    await asyncio.sleep(0)
                continue
            if isinstance(act, Silence):
                await asyncio.sleep(30)
            if request.transport is not None:
                if isinstance(act, Garbage):
                    request.transport.write(act.data)
                    request.transport.close()
                elif isinstance(act, Reset):
                    request.transport.abort()
                else:
                    request.transport.close()
            return
        told.whole = True
        await response.write_eof()


@asynccontextmanager
async def serving(server: WireServer) -> AsyncIterator[WireServer]:
    """Serve every protocol on the loopback interface."""
    app = web.Application(client_max_size=1 << 26)
    for ear in EARS:
        app.router.add_get("/{profile}" + ear.path, server.listen(ear))
    for voice in VOICES:
        app.router.add_get("/{profile}" + voice.path, server.speak(voice))
    for body in BODIES:
        # Protocols that differ in the body alone share a path: their name begins the profile.
        app.router.add_post(
            "/{profile:" + body.name + "[.][0-9]+}" + body.path, server.answer(body)
        )
    runner = web.AppRunner(app, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
