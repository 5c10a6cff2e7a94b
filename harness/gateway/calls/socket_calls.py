"""What the protocols over WebSockets share: how a call begins, its messages come, and it ends."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from harness.gateway.calls.context import NS_PER_S, Call, Gateway, begin
from harness.gateway.calls.limits import MAX_MESSAGE
from harness.gateway.calls.replying import early_fault
from harness.gateway.profiles.faults import CONNECTION_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import SttProfile, TtsProfile

__all__ = [
    "Conversation",
    "Opening",
    "attend",
    "converse",
    "json_object",
    "new_socket",
    "note_end",
    "open_call",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A WebSocket that is about to be accepted.

    Attributes:
        call: the connection's call.
        settings: the profile's for the stage.
        hello_ns: from the request to the greeting, or to the upgrade where nobody greets.
    """

    call: Call
    settings: Any
    hello_ns: int

    @property
    def due_ns(self) -> int:
        """Return the instant of the greeting."""
        return self.call.received_ns + self.hello_ns


def open_call(
    gateway: Gateway,
    request: web.Request,
    stage: Stage,
    protocol: str,
    *,
    received_ns: int,
    model: object = None,
) -> Opening | web.Response:
    """Begin the call of an upgrade request; return the answer instead where a fault strikes it.

    Args:
        gateway: the gateway.
        request: the upgrade request.
        stage: what is served.
        protocol: the protocol's name in the truth.
        received_ns: when the request had arrived.
        model: names the profile where the path does not.

    Raises:
        Refusal: there is no such profile, or it does not serve the stage.
    """
    profile = gateway.profile(request, stage, model)
    settings: SttProfile | TtsProfile | None = profile.stt if stage is Stage.STT else profile.tts
    assert settings is not None
    call = begin(gateway, request, stage, protocol, profile.name, received_ns=received_ns)
    draws = gateway.draws(profile.name, stage, b"connection", "connection")
    fault = settings.faults.only(CONNECTION_FAULTS).draw(draws)
    refused = early_fault(call, request, fault, settings.faults)
    if refused is not None:
        return refused
    hello_ns = 0
    if isinstance(settings, SttProfile):
        hello_ns = draws.delay_ns(settings.hello, "hello")
    if fault is FaultKind.SLOW_HELLO:
        call.fault(fault)
        hello_ns += round(settings.faults.slow_hello_s * NS_PER_S)
    return Opening(call=call, settings=settings, hello_ns=hello_ns)


class Conversation(Protocol):
    """One connection of one client, once the socket is accepted."""

    async def run(self) -> None:
        """Serve until either side closes."""
        ...

    async def close(self) -> None:
        """End what is still under way."""
        ...


async def converse(
    opening: Opening | web.Response,
    request: web.Request,
    make: Callable[[Opening, web.Request, web.WebSocketResponse], Conversation],
    *,
    greets: bool,
) -> web.StreamResponse:
    """Accept a WebSocket and serve it to its end.

    Args:
        opening: as `open_call` returns it; where it is an answer, that is all.
        request: the upgrade request.
        make: the protocol's side of the conversation.
        greets: the protocol greets, and is accepted at once; otherwise the upgrade itself is what
            the client waits for.
    """
    if isinstance(opening, web.Response):
        return opening
    socket = new_socket()
    if not greets:
        await opening.call.gateway.pacer.until(opening.due_ns)
    await socket.prepare(request)
    conversation = make(opening, request, socket)
    try:
        await conversation.run()
    finally:
        await conversation.close()
    return socket


def new_socket() -> web.WebSocketResponse:
    """Return a WebSocket that is not accepted yet.

    Compression is never agreed to: it doubles a client's work and blurs the first byte.
    """
    return web.WebSocketResponse(compress=False, max_msg_size=MAX_MESSAGE, timeout=1.0)


def json_object(data: Any) -> dict[str, Any] | None:
    """Return a message's JSON object, or None where it is none."""
    try:
        value = json.loads(data)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, dict) else None


async def attend(
    call: Call,
    socket: web.WebSocketResponse,
    on_message: Callable[[dict[str, Any] | None, int], Awaitable[bool]],
    on_audio: Callable[[bytes, int], Awaitable[None]] | None = None,
) -> None:
    """Serve a socket until either side closes, and keep in the truth who did.

    Args:
        call: the connection's call.
        socket: accepted.
        on_message: takes a message's JSON object, None where it is no such text, and when it
            arrived; returns whether the conversation goes on.
        on_audio: takes a binary message and when it arrived; None where the protocol has none.
    """
    async for message in socket:
        arrived_ns = time.perf_counter_ns()
        if on_audio is not None and message.type is WSMsgType.BINARY:
            await on_audio(message.data, arrived_ns)
            continue
        content = json_object(message.data) if message.type is WSMsgType.TEXT else None
        if not await on_message(content, arrived_ns):
            break
    note_end(call, socket)


def note_end(call: Call, socket: web.WebSocketResponse) -> None:
    """Keep in the truth by whom the connection was closed."""
    kind = "reset" if socket.close_code in (None, 1006) else "client"
    call.mark("closed", time.perf_counter_ns(), kind=kind)
