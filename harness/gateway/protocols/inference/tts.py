"""LiveKit Inference's speech synthesis: ``GET /livekit/v1/tts?model=…`` (a WebSocket of JSON).

``session.create`` once for each socket, then for each reply ``input_transcript`` for every sentence
and ``session.flush``. Back come ``session.created`` and, for each reply, ``output_audio`` (base64
PCM16), ``output_alignment`` where the client's ``extra`` asks for timings, and ``done``. Every
message of a reply carries the reply's own ``session_id``, by which the truth knows it too.
"""

import base64
import hashlib
import json
import time
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Call, Gateway
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked
from harness.gateway.calls.socket_calls import attend, new_socket, open_call
from harness.gateway.engines.pcm import SPOKEN_RATE
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import TtsProfile
from harness.gateway.protocols.inference.auth import require_grant
from harness.gateway.protocols.speaking import Segment, Speaker

__all__ = ["ROUTES", "inference_tts", "voice_for"]


def voice_for(settings: TtsProfile, voice: object) -> str:
    """Return the profile's voice that stands in for one that it does not know.

    The same name gets the same voice always, and different names mostly different ones.
    """
    if not isinstance(voice, str) or not voice:
        return settings.voices[0]
    if voice in settings.voices:
        return voice
    digest = hashlib.sha256(voice.encode()).digest()
    return settings.voices[digest[0] % len(settings.voices)]


class _ReplyWire:
    """One reply's messages."""

    def __init__(self, session_id: str, timings: str | None) -> None:
        self._session_id = session_id
        self._timings = timings

    def _message(self, kind: str, **fields: Any) -> str:
        return json.dumps(
            {"type": kind, **fields, "session_id": self._session_id}, ensure_ascii=False
        )

    def audio(self, pcm: bytes) -> str:
        """Return ``output_audio``."""
        return self._message("output_audio", audio=base64.b64encode(pcm).decode())

    def begin(self, index: int, rate: int) -> None:
        """Nothing goes before the audio."""
        del index, rate

    def alignment(self, text: str, start_s: float, end_s: float) -> str | None:
        """Return ``output_alignment``, the time shared out by letters."""
        if self._timings is None:
            return None
        units = list(text) if self._timings == "chars" else text.split()
        whole = sum(map(len, units)) or 1
        placed, at = [], start_s
        for unit in units:
            end = at + (end_s - start_s) * len(unit) / whole
            name = "char" if self._timings == "chars" else "word"
            placed.append({name: unit, "start": round(at, 3), "end": round(end, 3)})
            at = end
        return self._message("output_alignment", **{self._timings: placed})

    def done(self) -> str | None:
        """Return ``done``."""
        return self._message("done")

    def error(self, message: str) -> str:
        """Return ``error``."""
        return self._message("error", message=message, code=500)

    def broken(self) -> str:
        """Return half an ``output_audio``."""
        return '{"type": "output_audio", "audio": "AAAA'


def _timings(extra: Any) -> str | None:
    """Return what a client's ``extra`` wants to be told of timing: "words", "chars" or None."""
    if not isinstance(extra, dict):
        return None
    if extra.get("add_timestamps") is True or extra.get("timestamp_type") == "WORD":
        return "words"
    return "chars" if extra.get("timestamp_type") == "CHARACTER" else None


def _problem(message: dict[str, Any]) -> str | None:
    """Return what is wrong with a ``session.create``, or None."""
    if message.get("type") != "session.create":
        return f"expected session.create, got {message.get('type')!r}"
    if message.get("sample_rate") != str(SPOKEN_RATE):
        return f"session.create: sample_rate must be {str(SPOKEN_RATE)!r}"
    if message.get("encoding") != "pcm_s16le":
        return f"session.create: encoding {message.get('encoding')!r} is not pcm_s16le"
    return None


async def inference_tts(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /livekit/v1/tts``."""
    received_ns = time.perf_counter_ns()
    require_grant(gateway, request)
    opening = open_call(
        gateway,
        request,
        Stage.TTS,
        "inference-tts",
        received_ns=received_ns,
        model=request.query.get("model"),
    )
    if isinstance(opening, web.Response):
        return opening
    await gateway.pacer.until(opening.due_ns)
    socket = new_socket()
    await socket.prepare(request)
    speaker = Speaker(opening.call, request, socket, opening.settings, named=True)
    try:
        await _Conversation(opening.call, speaker).run()
    finally:
        await speaker.close()
    return socket


class _Conversation:
    def __init__(self, call: Call, speaker: Speaker) -> None:
        self._call = call
        self._speaker = speaker
        self._created: dict[str, Any] | None = None
        self._segment: Segment | None = None

    async def run(self) -> None:
        """Serve until either side closes."""
        await attend(self._call, self._speaker.socket, self._on_message)

    async def _refuse(self, why: str) -> None:
        await self._speaker.socket.send_str(
            json.dumps({"type": "error", "message": why, "code": 400})
        )

    async def _on_message(self, message: dict[str, Any] | None, arrived_ns: int) -> bool:
        """Do what a message asks; return whether the conversation goes on."""
        if message is None:
            await self._refuse("not a JSON object")
            return True
        kind = message.get("type")
        if self._created is None:
            problem = _problem(message)
            if problem is not None:
                await self._refuse(problem)
                await self._speaker.socket.close(code=1008)
                return False
            self._created = message
            note_asked(self._call, None, {key: message[key] for key in message if key != "type"})
            await self._speaker.socket.send_str(
                json.dumps({"type": "session.created", "session_id": self._speaker.next_name()})
            )
        elif kind == "input_transcript":
            await self._on_text(message, arrived_ns)
        elif kind == "session.flush":
            if self._segment is None:
                self._open(message, arrived_ns)
            assert self._segment is not None
            self._segment.end()
            self._segment = None
        elif kind == "session.close":
            await self._speaker.socket.close()
            return False
        else:
            await self._refuse(f"unknown message type {kind!r}")
        return True

    def _open(self, message: dict[str, Any], arrived_ns: int) -> None:
        assert self._created is not None
        config = message.get("generation_config")
        given = config.get("voice") if isinstance(config, dict) else None
        voice = voice_for(self._speaker.settings, given or self._created.get("voice"))
        extra = message.get("extra") or self._created.get("extra")
        wire = _ReplyWire(self._speaker.next_name(), _timings(extra))
        self._segment = self._speaker.open(voice, 1.0, wire, arrived_ns)

    async def _on_text(self, message: dict[str, Any], arrived_ns: int) -> None:
        text = message.get("transcript")
        if not isinstance(text, str):
            await self._refuse("input_transcript: transcript must be a string")
            return
        if self._segment is None:
            self._open(message, arrived_ns)
        assert self._segment is not None
        if text.strip():
            self._segment.add(text.strip(), arrived_ns)


ROUTES: Final = (
    Route(method="GET", path="/livekit/v1/tts", handler=inference_tts, checks_key=False),
)
