"""Connections in memory: what one end writes the other reads, and an end is an end."""

import asyncio
import io
import select
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import pytest
import websockets
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.loops.accounting import OWNER, Owner, context_of
from harness.loops.errors import OutOfReachError
from harness.loops.virtual import VirtualLoop
from tests.loops.test_virtual import run

HOST, PORT = "127.0.0.1", 9
URL = f"http://{HOST}:{PORT}"


async def _serve(loop: VirtualLoop) -> web.AppRunner:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(3):
            await asyncio.sleep(0.1)
            await response.write(b"x%d" % number)
        await response.write_eof()
        return response

    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return web.Response(body=body, headers={"x-owner": OWNER.get().value})

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await asyncio.sleep(0.03)
            await socket.send_str(f"echo {message.data}")
        return socket

    app = web.Application(client_max_size=2**26)
    app.router.add_get("/slow", slow)
    app.router.add_get("/reset", reset)
    app.router.add_post("/echo", echo)
    app.router.add_get("/talk", talk)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    loop.switchboard.listen(HOST, PORT, runner.server, context_of(Owner.GATEWAY))
    return runner


def served(work: Callable[[VirtualLoop], Awaitable[Any]]) -> Any:
    """Run a client against the server."""

    async def whole(loop: VirtualLoop) -> Any:
        runner = await _serve(loop)
        try:
            return await work(loop)
        finally:
            await runner.cleanup()

    return run(whole)


def _since(loop: VirtualLoop, begun: int) -> float:
    return (loop.now_ns() - begun) / 1e9


def test_aiohttp_reads_pieces_at_their_instants() -> None:
    """A streamed body arrives piece by piece when it was written, and the connection is kept."""

    async def work(loop: VirtualLoop) -> list[tuple[bytes, float]]:
        found = []
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                begun = loop.now_ns()
                async with session.get(f"{URL}/slow") as response:
                    async for piece in response.content.iter_any():
                        found.append((piece, _since(loop, begun)))
        assert loop.switchboard.dialled == 1
        return found

    assert served(work) == [(b"x0", 0.1), (b"x1", 0.2), (b"x2", 0.3)] * 2


def test_httpx_reads_pieces_at_their_instants() -> None:
    """The same for the client that OpenAI's library uses."""

    async def work(loop: VirtualLoop) -> list[tuple[bytes, float]]:
        found = []
        async with httpx2.AsyncClient(trust_env=False) as client:
            for _ in range(2):
                begun = loop.now_ns()
                async with client.stream("GET", f"{URL}/slow") as response:
                    async for piece in response.aiter_raw():
                        found.append((piece, _since(loop, begun)))
        assert loop.switchboard.dialled == 1
        return found

    assert served(work) == [(b"x0", 0.1), (b"x1", 0.2), (b"x2", 0.3)] * 2


def test_a_reset_arrives_as_a_reset() -> None:
    """An aborted connection is an error of the connection for each client."""

    async def work(_: VirtualLoop) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
                await session.get(f"{URL}/reset")
        async with httpx2.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx2.ReadError):
                await client.get(f"{URL}/reset")

    served(work)


def test_websockets_talk() -> None:
    """Messages of both WebSocket clients are answered after the server's own delay."""

    async def work(loop: VirtualLoop) -> list[tuple[str, float]]:
        found = []
        async with websockets.connect(f"ws://{HOST}:{PORT}/talk") as socket:
            begun = loop.now_ns()
            await socket.send("a")
            found.append((str(await socket.recv()), _since(loop, begun)))
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://{HOST}:{PORT}/talk") as peer,
        ):
            begun = loop.now_ns()
            await peer.send_str("b")
            found.append(((await peer.receive()).data, _since(loop, begun)))
        return found

    assert served(work) == [("echo a", 0.03), ("echo b", 0.03)]


def test_large_bodies_pass_both_ways_and_the_server_has_its_own_owner() -> None:
    """Flow control lets megabytes through whole; the server's work is the server's."""
    body = bytes(range(256)) * 40_000

    async def work(_: VirtualLoop) -> tuple[bool, str]:
        async with aiohttp.ClientSession() as session:
            response = await session.post(f"{URL}/echo", data=io.BytesIO(body))
            return await response.read() == body, response.headers["x-owner"]

    assert served(work) == (True, "gateway")


class _Keeping(asyncio.Protocol):
    """Keeps what arrives, and how it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.lost: list[Exception | None] = []
        self.paused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1


async def _pair(loop: VirtualLoop) -> tuple[_Keeping, _Keeping]:
    made: list[_Keeping] = []

    def factory() -> _Keeping:
        made.append(_Keeping())
        return made[-1]

    loop.switchboard.listen(HOST, PORT, factory, context_of(Owner.GATEWAY))
    _, client = await loop.create_connection(_Keeping, HOST, PORT)
    return client, made[0]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.booleans()), max_size=20),
    st.sampled_from(["close", "abort", "write_eof"]),
)
def test_bytes_arrive_in_order_and_then_the_end(
    writes: list[tuple[bytes, bool]], ending: str
) -> None:
    """Whatever pauses there are, a close and an end come after all bytes; a reset may lose some."""

    async def work(loop: VirtualLoop) -> None:
        client, server = await _pair(loop)
        for data, pause in writes:
            if pause:
                server.transport.pause_reading()
                await asyncio.sleep(0)
            client.transport.write(data)
            server.transport.resume_reading()
        sent = b"".join(data for data, _ in writes)
        getattr(client.transport, ending)()
        await asyncio.sleep(0.01)
        if ending == "abort":
            assert sent.startswith(server.data)
            assert isinstance(server.lost[0], ConnectionResetError)
            assert client.lost == [None]
        else:
            assert server.data == sent
            assert server.ended
            assert server.lost == [None]

    run(work)


def test_a_writer_is_told_to_wait_for_a_slow_reader() -> None:
    """Beyond the high mark the writer is paused; it goes on when the reader has taken enough."""

    async def work(loop: VirtualLoop) -> None:
        client, server = await _pair(loop)
        server.transport.pause_reading()
        client.transport.write(bytes(200_000))
        assert client.paused == 1
        assert client.transport.get_write_buffer_size() == 200_000
        server.transport.resume_reading()
        await asyncio.sleep(0.01)
        assert client.paused == 0
        assert len(server.data) == 200_000

    run(work)


class _Half(_Keeping):
    """Goes on writing after the other end has said that it has no more."""

    def eof_received(self) -> bool:
        self.ended = True
        return True


class _Failing(_Keeping):
    """Cannot take what arrives."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        raise ValueError("not like this")


class _Empty(_Failing, asyncio.BufferedProtocol):
    """Has no room for what arrives."""

    def get_buffer(self, sizehint: int) -> bytearray:
        assert sizehint
        return bytearray()

    def buffer_updated(self, nbytes: int) -> None:
        self.data += bytes(nbytes)


def _told(loop: VirtualLoop, told: list[Any]) -> None:
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))


def test_an_end_said_early_leaves_the_other_way_open() -> None:
    """After its end a side reads on, and may not write; the other writes until it closes."""

    async def work(loop: VirtualLoop) -> None:
        loop.switchboard.listen(HOST, PORT, _Half, context_of(Owner.GATEWAY))
        _, client = await loop.create_connection(_Keeping, HOST, PORT)
        client.transport.write(b"question")
        client.transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            client.transport.write(b"more")
        await asyncio.sleep(0.01)
        server = client.transport._other.get_protocol()
        assert (server.data, server.ended, server.lost) == (b"question", True, [])
        server.transport.write(b"answer")
        await asyncio.sleep(0.01)
        assert (client.data, client.lost) == (b"answer", [])
        client.transport.close()
        await asyncio.sleep(0.01)
        assert server.lost == []
        server.transport.write(b"to nobody")
        await asyncio.sleep(0.01)
        assert isinstance(server.lost[0], ConnectionResetError)

    run(work)


@pytest.mark.parametrize(("protocol", "kind"), [(_Failing, ValueError), (_Empty, RuntimeError)])
def test_a_protocol_that_fails_loses_its_connection(
    protocol: type[_Keeping], kind: type[Exception]
) -> None:
    """It is told by its own error, the loop's handler too, and the other end sees a reset."""

    async def work(loop: VirtualLoop) -> None:
        told: list[Any] = []
        _told(loop, told)
        loop.switchboard.listen(HOST, PORT, protocol, context_of(Owner.GATEWAY))
        _, client = await loop.create_connection(_Keeping, HOST, PORT)
        server = client.transport._other.get_protocol()
        client.transport.write(b"something")
        await asyncio.sleep(0.01)
        assert [type(each) for each in told] == [kind]
        assert [type(each) for each in server.lost] == [kind]
        assert isinstance(client.lost[0], ConnectionResetError)

    run(work)


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_pool_sees_that_the_other_side_has_gone(ending: str) -> None:
    """The descriptor that pools look at is readable once the other end has closed, not before."""

    async def work(loop: VirtualLoop) -> None:
        client, server = await _pair(loop)
        descriptor = client.transport.get_extra_info("socket").fileno()
        assert select.select([descriptor], [], [], 0)[0] == []
        getattr(server.transport, ending)()
        assert select.select([descriptor], [], [], 0)[0] == [descriptor]

    run(work)


def test_names_of_the_world_are_out_of_reach() -> None:
    """No name is looked up and no datagram sent: both say where they would have gone."""

    async def work(loop: VirtualLoop) -> None:
        with pytest.raises(OutOfReachError, match=r"api\.example\.com:443"):
            await loop.getaddrinfo("api.example.com", 443)
        with pytest.raises(OutOfReachError, match=r"192\.0\.2\.1:53"):
            await loop.create_datagram_endpoint(_Keeping, remote_addr=("192.0.2.1", 53))
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)

    run(work)
