"""What an agent asks a model for: its reply, or something beside it.

A gateway draws a request's delays by its purpose, so a hook that asks a model one more time shifts
no other request's. What runs within a node is the reply; what a hook or a tool asks is its own; all
else is asked aside. The HTTP clients of an agent are its own, so their libraries say it for them,
to the run's gateway alone.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from harness.pipeline.recording.recording import CURRENT_NODE

__all__ = ["PURPOSE_HEADER", "asking_for", "tell_purposes"]

PURPOSE_HEADER = "x-turnbench-purpose"
_ASIDE = "aside"
_PURPOSE: ContextVar[str] = ContextVar("turnbench_purpose", default=_ASIDE)
_CLIENTS = (("httpx", "AsyncClient", "send"), ("httpx2", "AsyncClient", "send"))


@contextlib.contextmanager
def asking_for(purpose: str) -> Iterator[None]:
    """Let what is asked meanwhile, outside any node, be asked for a purpose."""
    token = _PURPOSE.set(purpose)
    try:
        yield
    finally:
        _PURPOSE.reset(token)


class _Gateway:
    """Where purposes are told."""

    address: tuple[str | None, int | None] = (None, None)


def tell_purposes(gateway: str | None) -> None:
    """Let the HTTP libraries of this process tell a gateway what each request is for.

    Args:
        gateway: its root, ``http://127.0.0.1:PORT``; None for a live run, where nobody is told.
    """
    parts = urlsplit(gateway or "")
    _Gateway.address = (parts.hostname, parts.port)
    if gateway is None:
        return
    for module, kind, method in _CLIENTS:
        client = getattr(sys.modules.get(module), kind, None)
        original = getattr(client, method, None)
        if client is None or original is None or getattr(original, "_turnbench", False):
            continue
        setattr(client, method, _telling(original))


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    async def send(self: Any, request: Any, **named: Any) -> Any:
        if CURRENT_NODE.get() is None and (request.url.host, request.url.port) == _Gateway.address:
            request.headers[PURPOSE_HEADER] = _PURPOSE.get()
        return await original(self, request, **named)

    send._turnbench = True  # type: ignore[attr-defined]  # noqa: SLF001
    return send
