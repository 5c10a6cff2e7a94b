"""OpenAdapter's Parakeet WebSocket: audio in, final transcripts out.

The server greets with ``{"status": "listening"}``, takes binary PCM16 mono 16 kHz in pieces of
any size, and sends ``{"text": ..., "is_final": true}`` for each utterance whose end it finds, or
at once for ``{"action": "finalize"}``, which it then answers with ``{"status": "finalized"}``. The
socket lives on for further utterances. Interim transcripts (``is_final`` false) are a profile's
option that the real service does not have. An utterance in which no word is heard has no final.
"""

import json
import time
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.route import Route
from harness.gateway.calls.socket_calls import Opening, attend, converse, open_call
from harness.gateway.engines.pcm import HEARD_RATE, whole_samples
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import SttProfile
from harness.gateway.protocols.listening import Heard, ListeningSession

__all__ = ["ROUTES", "audio_stream"]


def _message(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


class _ParakeetWire:
    """How Parakeet words transcripts; it tells neither times nor the onset of speech."""

    def final(self, heard: Heard) -> str:
        return _message(text=heard.text, is_final=True)

    def interim(self, heard: Heard) -> str:
        return _message(text=heard.text, is_final=False)

    def preflight(self, heard: Heard) -> str | None:
        del heard
        return None

    def onset(self) -> str | None:
        return None

    def error(self, message: str) -> str:
        return _message(status="error", error=message, code=500)


async def audio_stream(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /parakeet/v1/audio/stream`` (a WebSocket)."""
    received_ns = time.perf_counter_ns()
    opening = open_call(
        gateway,
        request,
        Stage.STT,
        "parakeet",
        received_ns=received_ns,
        model=request.query.get("model"),
    )
    return await converse(opening, request, _Conversation, greets=True)


class _Conversation:
    """One connection."""

    def __init__(
        self, opening: Opening, request: web.Request, socket: web.WebSocketResponse
    ) -> None:
        settings: SttProfile = opening.settings
        self._opening = opening
        self._call = opening.call
        self._socket = socket
        self._session = ListeningSession(
            self._call, request, socket, settings, _ParakeetWire(), interims=settings.interims
        )

    async def run(self) -> None:
        """Serve until either side closes."""
        call, session = self._call, self._session
        hello = _message(status="listening", request_id=call.request, sample_rate=HEARD_RATE)
        due, injected = self._opening.due_ns, self._opening.hello_ns
        session.spawn(session.say(call, hello, due, "hello_sent", injected_ns=injected))
        await attend(call, self._socket, self._on_message, self._on_audio)

    async def close(self) -> None:
        """End what is still under way."""
        await self._session.close()

    async def _on_audio(self, data: bytes, arrived_ns: int) -> None:
        self._session.feed(whole_samples(data), arrived_ns)

    async def _on_message(self, message: dict[str, Any] | None, arrived_ns: int) -> bool:
        action = None if message is None else message.get("action")
        if action == "finalize":
            self._session.finalize(arrived_ns)
            self._session.spawn(self._finalized(arrived_ns))
        else:
            await self._session.send(_message(status="error", error="unknown message", code=400))
        return True

    async def _finalized(self, asked_ns: int) -> None:
        await self._session.settled()
        await self._session.say(
            self._call, _message(status="finalized"), asked_ns, "finalized_sent"
        )


ROUTES: Final = (Route(method="GET", path="/parakeet/v1/audio/stream", handler=audio_stream),)
