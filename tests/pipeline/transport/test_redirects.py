"""Redirects: what a caller sends goes to whom he named, and to nobody else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harness.pipeline.transport.transport import timed_client


class _Server:
    """Answers ``/go`` with a redirect to where it is told, anything else with ``ok``."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self.target = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0])
        status = b"200 OK"
        if b"/go " in head:
            status = b"307 Temporary Redirect\r\nlocation: " + self.target.encode()
        writer.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def servers() -> AsyncIterator[tuple[_Server, _Server]]:
    """Yield two servers of this machine."""
    pair = _Server(), _Server()
    started = []
    for each in pair:
        listening = await asyncio.start_server(each.answer, "127.0.0.1", 0)
        each.port = listening.sockets[0].getsockname()[1]
        started.append(listening)
    yield pair
    for listening in started:
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("target", "status", "asked"),
    [
        ("/there", 200, 2),
        ("http://127.0.0.1:{0}/there", 200, 2),
        ("http://127.0.0.1:{1}/there", 307, 1),
        ("http://localhost:{0}/there", 307, 1),
        ("https://127.0.0.1:{0}/there", 307, 1),
        ("//127.0.0.1:{1}/there", 307, 1),
        ("file:///etc/passwd", 307, 1),
        ("http://[broken", 307, 1),
    ],
)
async def test_no_redirect_leaves_its_origin(
    servers: tuple[_Server, _Server], target: str, status: int, asked: int
) -> None:
    """A redirect within its origin is followed; one that leaves it is an answer of its status."""
    first, other = servers
    first.target = target.format(first.port, other.port)
    async with timed_client(label=None, timeout_s=5) as client:
        answer = await client.post(
            f"http://127.0.0.1:{first.port}/go", content=b"audio", headers={"X-Token": "t"}
        )
    assert (answer.status_code, len(first.asked), other.asked) == (status, asked, [])
