"""A plain WebSocket client that speaks JSON, for protocols that are one."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.gateway.conftest import Running

__all__ = ["Line", "line", "token"]


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def token(secret: str, *, algorithm: str = "HS256", **claims: Any) -> str:
    """Return an access token, by default one that grants inference for a long time."""
    content = {
        "iss": "key",
        "sub": "agent",
        "nbf": 0,
        "exp": 4e9,
        "inference": {"perform": True},
        **claims,
    }
    signed = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(content)}"
    digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


class Line:
    """An open socket: messages out, messages in."""

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        self.socket = socket
        self.messages: list[Any] = []

    async def say(self, content: Any) -> None:
        """Send bytes or a text as they are, anything else as JSON."""
        if isinstance(content, bytes):
            await self.socket.send_bytes(content)
        else:
            await self.socket.send_str(content if isinstance(content, str) else json.dumps(content))

    async def hear(self, *, kind: str | None = None, timeout_s: float = 5.0) -> Any:
        """Return the next message, or the next of a type; None at the socket's end."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self.socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    content: Any = message.data
                elif message.type is aiohttp.WSMsgType.TEXT:
                    content = json.loads(message.data)
                else:
                    return None
                self.messages.append(content)
                if kind is None or (isinstance(content, dict) and content.get("type") == kind):
                    return content

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return what came of a type."""
        return [
            each for each in self.messages if isinstance(each, dict) and each.get("type") == kind
        ]


@asynccontextmanager
async def line(
    running: Running, path: str, headers: Mapping[str, str], *, profile: str = "quick"
) -> AsyncIterator[Line]:
    """Open a socket of the gateway.

    Raises:
        aiohttp.WSServerHandshakeError: the gateway refused the upgrade.
    """
    url = f"ws://127.0.0.1:{running.process.port}/{profile}{path}"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(url, max_msg_size=0) as socket,
    ):
        yield Line(socket)
