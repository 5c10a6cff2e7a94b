"""Baseten's speech synthesis: orpheus over HTTP and WebSocket, and qwen3-tts.

``orpheus`` over a WebSocket: a JSON message with voice and sizes, then the text in pieces as plain
messages, then ``__END__``; binary PCM16 at 24 kHz comes back, and the socket's end is the speech's.
The server speaks each sentence when it is complete, or what it has once that is ``buffer_size``
words. Over HTTP: one JSON request, a body of samples.

``qwen3-tts``: ``session.config`` once (a field that is not known invalidates it all), then for each
reply ``input.text`` pieces and ``input.done``; back come ``audio.start``, binary samples and
``audio.done`` for each sentence, then ``session.done``. The socket lives on.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import WSMsgType, web

from harness.gateway.calls.context import NS_PER_S, Gateway, begin
from harness.gateway.calls.refusals import Refusal
from harness.gateway.calls.replying import early_fault, guarded
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked
from harness.gateway.calls.socket_calls import json_object, new_socket, note_end, open_call
from harness.gateway.profiles.faults import MIDDLE_FAULTS, SAMPLES_FAULTS, FaultKind, Stage
from harness.gateway.protocols.baseten.keys import require_api_key
from harness.gateway.protocols.inference.tts import voice_for
from harness.gateway.protocols.openai.speech import Order, Synthesis
from harness.gateway.protocols.speaking import Segment, Sentences, Speaker

__all__ = ["ROUTES", "orpheus_http", "orpheus_websocket", "qwen3_tts"]

_END: Final = "__END__"
_POLICY = 1008
_CONFIG_WITHIN_S = 10.0
_IDLE_S = 30.0
_CONFIG_KEYS: Final = frozenset(
    {
        "initial_codec_chunk_frames",
        "instructions",
        "language",
        "max_new_tokens",
        "ref_audio",
        "ref_text",
        "response_format",
        "speed",
        "stream_audio",
        "task_type",
        "timestamp_transport_strategy",
        "timestamp_type",
        "type",
        "voice",
        "x_vector_only_mode",
    }
)


async def orpheus_http(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /baseten/orpheus/predict``."""
    require_api_key(gateway, request)
    data = await request.read()
    received_ns = time.perf_counter_ns()
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    text = body.get("prompt") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise Refusal(422, "prompt: has to be a text that is not empty")
    profile = gateway.profile(request, Stage.TTS)
    settings = profile.tts
    assert settings is not None
    voice = voice_for(settings, body.get("voice"))
    call = begin(
        gateway, request, Stage.TTS, "baseten-orpheus", profile.name, received_ns=received_ns
    )
    note_asked(call, None, {key: body[key] for key in body if key != "prompt"})
    draws = gateway.draws(profile.name, Stage.TTS, f"{voice}\0{text}".encode())
    fault = settings.faults.only(SAMPLES_FAULTS).draw(draws)
    refused = early_fault(call, request, fault, settings.faults)
    if refused is not None:
        return refused
    if fault is FaultKind.SLOW_HELLO:
        call.held_ns = round(settings.faults.slow_hello_s * NS_PER_S)
    if fault is not None and fault not in MIDDLE_FAULTS:
        call.fault(fault)
    first_byte_ns = draws.delay_ns(settings.first_byte, "first_byte")
    headers_ns = min(draws.delay_ns(settings.headers, "headers"), first_byte_ns)
    order = Order(text=text, voice=voice, speed=1.0, container="pcm", sse=False)
    synthesis = Synthesis(call, request, order=order, settings=settings, fault=fault, headers={})
    if fault in (FaultKind.EMPTY, FaultKind.WRONG_CONTENT_TYPE):
        return await guarded(call, synthesis.nothing(call.base_ns + headers_ns))
    return await guarded(call, synthesis.spoken(draws, headers_ns, first_byte_ns))


async def _upgraded(
    gateway: Gateway, request: web.Request, protocol: str, *, named: bool
) -> Speaker | web.StreamResponse:
    """Open the socket, or answer with the fault that strikes the connection."""
    received_ns = time.perf_counter_ns()
    require_api_key(gateway, request)
    opening = open_call(gateway, request, Stage.TTS, protocol, received_ns=received_ns)
    if isinstance(opening, web.Response):
        return opening
    await gateway.pacer.until(opening.due_ns)
    socket = new_socket()
    await socket.prepare(request)
    return Speaker(opening.call, request, socket, opening.settings, named=named)


class _OrpheusWire:
    def begin(self, index: int, rate: int) -> None:
        del index, rate

    def audio(self, pcm: bytes) -> bytes:
        return pcm

    def alignment(self, text: str, start_s: float, end_s: float) -> None:
        del text, start_s, end_s

    def done(self) -> str | None:
        return None

    def error(self, message: str) -> str:
        return json.dumps({"type": "error", "message": message})

    def broken(self) -> bytes:
        return b"\x7f\x80\x7f"


async def orpheus_websocket(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /baseten/orpheus/websocket``."""
    opened = await _upgraded(gateway, request, "baseten-orpheus-ws", named=False)
    if not isinstance(opened, Speaker):
        return opened
    try:
        await _orpheus(opened)
    finally:
        await opened.close()
        note_end(opened.call, opened.socket)
    return opened.socket


async def _orpheus(speaker: Speaker) -> None:
    socket = speaker.socket
    wire = _OrpheusWire()
    sentences: Sentences | None = None
    segment: Segment | None = None
    voice = ""
    async for message in socket:
        arrived_ns = time.perf_counter_ns()
        if message.type is not WSMsgType.TEXT:
            await socket.send_str(wire.error("binary messages are not understood"))
            continue
        if sentences is None:
            settings = json_object(message.data)
            size = settings.get("buffer_size", 10) if settings is not None else None
            if settings is None or not isinstance(size, int) or size < 1:
                await socket.send_str(wire.error("the first message must state the voice"))
                await socket.close(code=_POLICY)
                return
            note_asked(speaker.call, None, settings)
            voice = voice_for(speaker.settings, settings.get("voice"))
            sentences = Sentences(longest_words=size)
            continue
        ended = message.data == _END
        rest = sentences.flush() if ended else ""
        complete = ([rest] if rest else []) if ended else sentences.feed(message.data)
        for text in complete:
            if segment is None:
                segment = speaker.open(voice, 1.0, wire, arrived_ns)
            segment.add(text, arrived_ns)
        if ended:
            break
    else:
        return
    if segment is not None:
        segment.end()
        # Who hangs up meanwhile is no longer listened to, and need not be.
        listening = asyncio.create_task(socket.receive())
        speaking = asyncio.create_task(speaker.settled())
        await asyncio.wait((listening, speaking), return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, speaking):
            task.cancel()
        await asyncio.gather(listening, speaking, return_exceptions=True)
    await socket.close()


class _Qwen3Wire:
    """One reply's messages; ``session_id`` is the gateway's own addition."""

    def __init__(self, name: str, *, word_times: bool) -> None:
        self._name = name
        self._word_times = word_times
        self._sentence = 0

    def _message(self, kind: str, **fields: Any) -> str:
        return json.dumps({"type": kind, **fields, "session_id": self._name}, ensure_ascii=False)

    def begin(self, index: int, rate: int) -> str | None:
        self._sentence = index
        return self._message("audio.start", sample_rate=rate, sentence_index=index)

    def audio(self, pcm: bytes) -> bytes:
        return pcm

    def alignment(self, text: str, start_s: float, end_s: float) -> str | None:
        times: dict[str, Any] = {}
        if self._word_times:
            words = text.split()
            whole = sum(map(len, words)) or 1
            ends, at = [], 0.0
            for word in words:
                at += (end_s - start_s) * len(word) / whole
                ends.append(round(at, 3))
            times["timestamp_info"] = {
                "word_alignment": {
                    "words": words,
                    "word_start_times_seconds": [0.0, *ends[:-1]],
                    "word_end_times_seconds": ends,
                }
            }
        return self._message("audio.done", sentence_index=self._sentence, **times)

    def done(self) -> str | None:
        return self._message("session.done")

    def error(self, message: str) -> str:
        return self._message("error", message=message)

    def broken(self) -> str:
        return '{"type": "audio.start", "sample_'


async def qwen3_tts(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /baseten/qwen3-tts/websocket``."""
    opened = await _upgraded(gateway, request, "baseten-qwen3-tts", named=True)
    if not isinstance(opened, Speaker):
        return opened
    try:
        await _Qwen3(opened).run()
    finally:
        await opened.close()
        note_end(opened.call, opened.socket)
    return opened.socket


class _Qwen3:
    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._config: Mapping[str, Any] | None = None
        self._sentences = Sentences()
        self._segment: Segment | None = None

    async def run(self) -> None:
        """Serve until either side closes, or the client is silent for too long."""
        socket = self._speaker.socket
        while True:
            patience = _CONFIG_WITHIN_S if self._config is None else _IDLE_S
            try:
                message = await socket.receive(timeout=patience)
            except TimeoutError:
                await self._refuse(f"no message within {patience:g} s")
                await socket.close(code=_POLICY)
                return
            arrived_ns = time.perf_counter_ns()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                return
            content = json_object(message.data) if message.type is WSMsgType.TEXT else None
            if content is None:
                await self._refuse("not a JSON object")
            elif not await self._on_message(content, arrived_ns):
                return

    async def _refuse(self, why: str) -> None:
        await self._speaker.socket.send_str(json.dumps({"type": "error", "message": why}))

    async def _on_message(self, message: dict[str, Any], arrived_ns: int) -> bool:
        kind = message.get("type")
        if kind == "session.config":
            return await self._configure(message)
        if kind == "voice.list":
            listed = {"type": "voice.list", "voices": [], "uploaded_voices": []}
            await self._speaker.socket.send_str(json.dumps(listed))
        elif kind == "session.close":
            await self._speaker.socket.close()
            return False
        elif self._config is None:
            await self._refuse("the first message must be session.config")
            await self._speaker.socket.close(code=_POLICY)
            return False
        elif kind == "input.text":
            text = message.get("text")
            if not isinstance(text, str):
                await self._refuse("input.text: text must be a string")
                return True
            for sentence in self._sentences.feed(text):
                self._say(sentence, arrived_ns)
        elif kind == "input.done":
            await self._finish(arrived_ns)
        else:
            await self._refuse(f"unknown message type {kind!r}")
        return True

    async def _configure(self, message: dict[str, Any]) -> bool:
        unknown = set(message) - _CONFIG_KEYS
        problem = None
        if unknown:
            problem = f"session.config: unknown field {min(unknown)!r}"
        elif not isinstance(message.get("voice"), str) or not message["voice"]:
            problem = "session.config: voice is required"
        elif message.get("response_format") != "pcm":
            problem = "session.config: response_format must be pcm to stream audio"
        elif message.get("speed", 1.0) != 1.0:
            problem = "session.config: speed must be 1.0 to stream audio"
        if problem is not None:
            await self._refuse(problem)
            if self._config is None:
                await self._speaker.socket.close(code=_POLICY)
                return False
            return True
        self._config = message
        note_asked(
            self._speaker.call, None, {key: message[key] for key in message if key != "type"}
        )
        return True

    def _say(self, sentence: str, arrived_ns: int) -> None:
        assert self._config is not None
        if self._segment is None:
            name = self._speaker.next_name()
            wire = _Qwen3Wire(name, word_times=self._config.get("timestamp_type") == "word")
            voice = voice_for(self._speaker.settings, self._config.get("voice"))
            self._segment = self._speaker.open(voice, 1.0, wire, arrived_ns)
        self._segment.add(sentence, arrived_ns)

    async def _finish(self, arrived_ns: int) -> None:
        rest = self._sentences.flush()
        if rest:
            self._say(rest, arrived_ns)
        if self._segment is None:
            # Nothing was to be said: clients ask so whether the session is alive.
            await self._speaker.settled()
            await self._speaker.socket.send_str(json.dumps({"type": "session.done"}))
            return
        self._segment.end()
        self._segment = None


ROUTES: Final = (
    Route(
        method="GET", path="/baseten/orpheus/websocket", handler=orpheus_websocket, checks_key=False
    ),
    Route(method="POST", path="/baseten/orpheus/predict", handler=orpheus_http, checks_key=False),
    Route(method="GET", path="/baseten/qwen3-tts/websocket", handler=qwen3_tts, checks_key=False),
)
