"""OpenAI's transcription over the realtime WebSocket: ``/v1/realtime?intent=transcription``.

The client states in ``session.update`` what ends an utterance: the server's detector after a
silence, or the client itself by ``input_audio_buffer.commit``. Audio comes as base64 in
``input_audio_buffer.append``; transcripts go out as deltas and one ``completed`` for each item.
"""

import asyncio
import json
import time
from typing import Any, Final

import soxr
from aiohttp import web

from harness.gateway.calls.context import Call, Gateway
from harness.gateway.calls.refusals import Refusal
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked
from harness.gateway.calls.socket_calls import Opening, attend, converse, open_call
from harness.gateway.engines.pcm import HEARD_RATE, samples_in_base64
from harness.gateway.engines.replies import tokens
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import SttProfile
from harness.gateway.protocols.listening import Heard, ListeningSession

__all__ = ["ROUTES", "RealtimeWire", "realtime"]

_RATE: Final = 24_000
_POLICY: Final = 1008
# The client alone ends the utterance: no silence is long enough.
_NEVER_MS: Final = 3_600_000.0
_CLIENT_ENDS: Final = ("gpt-realtime-whisper", "gpt-live-transcribe")
_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


def _message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)


def _error(message: str, code: str, kind: str = "invalid_request_error") -> str:
    return _message("error", error={"type": kind, "code": code, "message": message})


class RealtimeWire:
    """How the realtime protocol words transcripts."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def final(self, heard: Heard) -> str:
        """Return ``completed``."""
        self._told.pop(heard.request, None)
        audio = max(1, round((heard.end_s - heard.start_s) * 10))
        words = len(tokens(heard.text))
        return _message(
            f"{_TRANSCRIPTION}.completed",
            item_id=heard.request,
            content_index=0,
            transcript=heard.text,
            usage={
                "type": "tokens",
                "input_tokens": audio,
                "output_tokens": words,
                "total_tokens": audio + words,
            },
        )

    def interim(self, heard: Heard) -> str:
        """Return ``delta``: what is new since the last; nothing where words were taken back."""
        before = self._told.get(heard.request, "")
        new = heard.text.removeprefix(before) if heard.text.startswith(before) else ""
        if new:
            self._told[heard.request] = heard.text
        return _message(
            f"{_TRANSCRIPTION}.delta", item_id=heard.request, content_index=0, delta=new
        )

    def preflight(self, heard: Heard) -> None:
        """There is none in this protocol."""

    def onset(self) -> None:
        """The session tells of the onset itself, with the item's name."""

    def error(self, message: str) -> str:
        """Return ``error``."""
        return _error(message, "server_error", "server_error")


class _RealtimeSession(ListeningSession):
    """A listening session that tells where speech begins and ends, in time for the transcript."""

    tells = True
    _told: asyncio.Task[None] | None = None

    def _begin_utterance(self, started_at: int) -> None:
        super()._begin_utterance(started_at)
        assert self._utterance is not None
        item = self._utterance.call.request
        at_ms = round(started_at * 1000 / HEARD_RATE)
        self._tell(
            _message("input_audio_buffer.speech_started", item_id=item, audio_start_ms=at_ms)
        )

    def _endpoint(self, kind: str, due_ns: int, now_ns: int, silence_ns: int) -> bool:
        utterance, ended_at = self._utterance, self._endpointer.ended_at
        assert utterance is not None
        assert ended_at is not None
        item = utterance.call.request
        at_ms = round(ended_at * 1000 / HEARD_RATE)
        self._tell(_message("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=at_ms))
        if not super()._endpoint(kind, due_ns, now_ns, silence_ns):
            return False
        committed = _message("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        self._told = self.spawn(self._send_after(self._told, committed))
        return True

    def _tell(self, message: str) -> None:
        if self.tells:
            self._told = self.spawn(self._send_after(self._told, message))

    async def _send_after(self, previous: "asyncio.Task[None] | None", message: str) -> None:
        if previous is not None:
            await asyncio.wait((previous,))
        await self.send(message)

    async def say(
        self,
        call: Call,
        message: str,
        due_ns: int,
        event: str,
        *,
        injected_ns: int | None = None,
        detail: str | None = None,
        kind: str | None = None,
    ) -> None:
        told = self._told
        if event == "final_sent" and told is not None:
            await asyncio.wait((told,))
        await super().say(
            call, message, due_ns, event, injected_ns=injected_ns, detail=detail, kind=kind
        )


async def realtime(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/realtime``."""
    received_ns = time.perf_counter_ns()
    if request.query.get("intent") != "transcription":
        raise Refusal(400, "Only intent=transcription is served")
    opening = open_call(
        gateway,
        request,
        Stage.STT,
        "openai-realtime",
        received_ns=received_ns,
        model=request.query.get("model"),
    )
    if isinstance(opening, Opening):
        note_asked(opening.call, request, dict(request.query))
    # It greets, but livekit's client waits for nothing but the upgrade.
    return await converse(opening, request, _Conversation, greets=False)


class _Conversation:
    def __init__(
        self,
        opening: Opening,
        request: web.Request,
        socket: web.WebSocketResponse,
    ) -> None:
        settings: SttProfile = opening.settings
        self._opening = opening
        self._call = opening.call
        self._socket = socket
        self._updated = False
        self._fresh = 0
        self._received = 0
        self._resample = soxr.ResampleStream(_RATE, HEARD_RATE, 1, dtype="int16", quality="LQ")
        self._session = _RealtimeSession(
            self._call, request, socket, settings, RealtimeWire(), interims=settings.interims
        )

    async def run(self) -> None:
        """Serve until either side closes."""
        created = _message(
            "session.created", session={"id": self._call.request, "type": "transcription"}
        )
        due, injected = self._opening.due_ns, self._opening.hello_ns
        await self._session.say(self._call, created, due, "hello_sent", injected_ns=injected)
        await attend(self._call, self._socket, self._on_message)

    async def close(self) -> None:
        """End what is still under way."""
        await self._session.close()

    async def _on_message(self, message: dict[str, Any] | None, arrived_ns: int) -> bool:
        """Do what a message asks; return whether the conversation goes on."""
        if message is None:
            await self._session.send(_error("not a JSON object", "invalid_json"))
            return True
        kind = message.get("type")
        if kind == "session.update":
            problem = self._update(message.get("session"))
            if problem is not None:
                await self._session.send(_error(problem, "invalid_value"))
                await self._socket.close(code=_POLICY)
                return False
            await self._session.send(_message("session.updated", session=message["session"]))
        elif kind == "input_audio_buffer.append":
            await self._on_audio(message.get("audio"), arrived_ns)
        elif kind == "input_audio_buffer.commit":
            await self._commit(arrived_ns)
        elif kind == "input_audio_buffer.clear":
            self._fresh = 0
        else:
            await self._session.send(_error(f"unknown message type {kind!r}", "invalid_value"))
        return True

    def _update(self, session: Any) -> str | None:
        """Take the client's settings; return what is wrong with them, or None."""
        if not isinstance(session, dict) or session.get("type") != "transcription":
            return "session.type must be transcription"
        given = session.get("audio")
        given = given.get("input") if isinstance(given, dict) else None
        if not isinstance(given, dict):
            return "session.audio.input must be an object"
        if given.get("format") != {"type": "audio/pcm", "rate": _RATE}:
            return "session.audio.input.format must be audio/pcm at 24000"
        transcription = given.get("transcription")
        model = transcription.get("model") if isinstance(transcription, dict) else None
        if not isinstance(model, str):
            return "session.audio.input.transcription.model must be a string"
        detection = given.get("turn_detection")
        if detection is not None and model.startswith(_CLIENT_ENDS):
            return f"turn_detection is not supported for {model}"
        if not isinstance(detection, dict):
            self._session.tells = False
            self._session.states_silence(_NEVER_MS)
        else:
            silence = detection.get("silence_duration_ms", 500)
            if not isinstance(silence, int | float) or silence < 100:
                return "turn_detection.silence_duration_ms must be a number of at least 100"
            self._session.tells = True
            self._session.states_silence(float(silence))
        note_asked(self._call, None, given)
        self._updated = True
        return None

    async def _on_audio(self, encoded: Any, arrived_ns: int) -> None:
        if not self._updated:
            await self._session.send(_error("send session.update first", "invalid_value"))
            return
        samples = samples_in_base64(encoded)
        if samples is None:
            await self._session.send(_error("audio is not base64", "invalid_value"))
            return
        self._fresh += len(samples)
        self._received += len(samples)
        heard = self._resample.resample_chunk(samples)
        if len(heard):
            through = self._received * HEARD_RATE // _RATE
            self._session.feed(heard, arrived_ns, through=through)

    async def _commit(self, arrived_ns: int) -> None:
        if self._fresh < _RATE // 10:
            await self._session.send(
                _error(
                    "Error committing input audio buffer: buffer too small. Expected at least "
                    f"100ms of audio, but buffer only has {self._fresh * 1000 / _RATE:.2f}ms.",
                    "input_audio_buffer_commit_empty",
                )
            )
            return
        self._fresh = 0
        if self._session.finalize(arrived_ns):
            return
        # There was audio, but no speech in it.
        item = self._call.gateway.next_name("item-")
        nothing = Heard(text="", start_s=0.0, end_s=0.0, request=item, number=0, asked=True)
        await self._session.send(RealtimeWire().final(nothing))


ROUTES: Final = (Route(method="GET", path="/v1/realtime", handler=realtime),)
