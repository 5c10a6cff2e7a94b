"""Baseten's streaming recognition, in both dialects.

``whisper``: the first message states the parameters (a key that is not known refuses them all),
then binary PCM16 in frames of 512 samples. Finals come by the server's own voice activity detector;
the silence that ends an utterance is the client's ``min_silence_duration_ms``. ``end_audio`` is
acknowledged, finals follow, then ``finished``; the server never closes.

``qwen3-asr``: the same opening without encoding and rate, audio as base64 in
``input_audio_buffer.append``; ``input_audio_buffer.commit`` ends the utterance, and its final
(empty where nothing was said) carries ``is_end_of_audio_flush``.
"""

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from harness.gateway.calls.context import Call, Gateway
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked
from harness.gateway.calls.socket_calls import attend, json_object, new_socket, open_call
from harness.gateway.engines.pcm import Samples, samples_in_base64, whole_samples
from harness.gateway.profiles.distributions import Constant
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import Interims, SttProfile
from harness.gateway.protocols.baseten.keys import require_api_key
from harness.gateway.protocols.listening import Heard, ListeningSession

__all__ = ["ROUTES", "TranscriptionWire", "qwen3_asr", "whisper"]

_FRAME_BYTES = 1024
_POLICY = 1008
_KNOWN: Final[Mapping[str, frozenset[str] | None]] = MappingProxyType(
    {
        "whisper_params": frozenset(
            {
                "audio_language",
                "enable_vad",
                "language_detection_only",
                "language_options",
                "output_language",
                "prefix",
                "prompt",
                "show_word_timestamps",
                "whisper_sampling_params",
            }
        ),
        "streaming_params": frozenset(
            {
                "enable_partial_transcripts",
                "encoding",
                "final_transcript_max_duration_s",
                "include_pipeline_latency_metric",
                "partial_transcript_interval_s",
                "prioritize_latency",
                "sample_rate",
                "skip_partial_if_hallucination",
            }
        ),
        "streaming_vad_config": frozenset(
            {"min_silence_duration_ms", "speech_pad_ms", "threshold"}
        ),
        "streaming_diarization_config": None,
        "stream_id": None,
        "include_timing_info": None,
    }
)


class TranscriptionWire:
    """How Baseten words transcripts.

    Args:
        language: what a transcript says its language is.
        words: whether it gives the words' times.
        typed_errors: errors have a ``message`` (qwen3-asr) rather than a ``body`` (whisper).
    """

    def __init__(self, language: str, *, words: bool, typed_errors: bool) -> None:
        self._language = language
        self._words = words
        self._typed_errors = typed_errors
        self.flushed = 0

    def _transcription(self, heard: Heard, *, is_final: bool) -> str:
        segment: dict[str, Any] = {
            "text": heard.text,
            "start_time": round(heard.start_s, 3),
            "end_time": round(heard.end_s, 3),
            "log_prob": -0.2,
            "possible_hallucination": False,
        }
        if self._words and is_final:
            segment["word_timestamps"] = [
                {
                    "word": word.text,
                    "start_time": round(word.start_s, 3),
                    "end_time": round(word.end_s, 3),
                    "prob": 0.97,
                }
                for word in heard.words
            ]
        message: dict[str, Any] = {
            "type": "transcription",
            "is_final": is_final,
            "transcription_num": heard.number,
            "segments": [segment] if heard.text else [],
            "language_code": self._language,
            "language_prob": None,
            "audio_length_sec": round(heard.end_s - heard.start_s, 3),
        }
        if heard.asked:
            message["is_end_of_audio_flush"] = True
        return json.dumps(message, ensure_ascii=False)

    def final(self, heard: Heard) -> str:
        """Return a transcription that is final."""
        self.flushed += heard.asked
        return self._transcription(heard, is_final=True)

    def interim(self, heard: Heard) -> str:
        """Return a transcription that is not final."""
        return self._transcription(heard, is_final=False)

    def preflight(self, heard: Heard) -> str | None:
        """There is none in this protocol."""
        del heard
        return None

    def onset(self) -> str | None:
        """The server does not tell."""
        return None

    def error(self, message: str) -> str:
        """Return an error."""
        if self._typed_errors:
            return json.dumps({"type": "error", "message": message})
        return json.dumps({"type": "error", "body": {"message": message}})

    def empty_flush(self, number: int) -> str:
        """Return the final that answers a commit with nothing before it."""
        return self._transcription(
            Heard(text="", start_s=0.0, end_s=0.0, request="", number=number, asked=True),
            is_final=True,
        )


def _unknown(parameters: Any, *, encoded: bool) -> str | None:
    """Return what is wrong with the opening message, or None."""
    if not isinstance(parameters, dict):
        return "the first message must be a JSON object"
    for group, values in parameters.items():
        if group not in _KNOWN:
            return f"{group}: extra fields not permitted"
        known = _KNOWN[group]
        if known is None:
            continue
        if not isinstance(values, dict):
            return f"{group}: value is not a valid dict"
        for key in values:
            if key not in known:
                return f"{group}.{key}: extra fields not permitted"
    streaming = parameters.get("streaming_params", {})
    if not encoded:
        extra = {"encoding", "sample_rate"} & set(streaming)
        return f"streaming_params.{min(extra)}: extra fields not permitted" if extra else None
    if streaming.get("encoding", "pcm_s16le") != "pcm_s16le":
        return f"streaming_params.encoding: {streaming['encoding']!r} is not served here"
    if streaming.get("sample_rate", 16_000) != 16_000:
        return f"streaming_params.sample_rate: {streaming['sample_rate']!r} is not 16000"
    return None


async def whisper(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /baseten/whisper/websocket``."""
    return await _serve(gateway, request, "baseten-whisper", _Whisper)


async def qwen3_asr(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /baseten/qwen3-asr/websocket``."""
    return await _serve(gateway, request, "baseten-qwen3-asr", _Qwen3)


async def _serve(
    gateway: Gateway, request: web.Request, protocol: str, dialect: type["_Conversation"]
) -> web.StreamResponse:
    received_ns = time.perf_counter_ns()
    require_api_key(gateway, request)
    opening = open_call(gateway, request, Stage.STT, protocol, received_ns=received_ns)
    if isinstance(opening, web.Response):
        return opening
    # There is no greeting: the upgrade itself is what a client waits for.
    await gateway.pacer.until(opening.due_ns)
    socket = new_socket()
    sent_ns = time.perf_counter_ns()
    await socket.prepare(request)
    opening.call.mark("hello_sent", sent_ns, due_ns=opening.due_ns, injected_ns=opening.hello_ns)
    conversation = dialect(opening.call, request, socket, opening.settings)
    try:
        await conversation.run()
    finally:
        await conversation.close()
    return socket


class _Conversation:
    """What both dialects share: the opening message, and the loop."""

    encoded = True

    def __init__(
        self,
        call: Call,
        request: web.Request,
        socket: web.WebSocketResponse,
        settings: SttProfile,
    ) -> None:
        self._call = call
        self._request = request
        self._socket = socket
        self._settings = settings
        self._wire = TranscriptionWire("en", words=False, typed_errors=not self.encoded)
        self._session: ListeningSession | None = None
        self._commits = 0

    async def run(self) -> None:
        """Serve until either side closes."""
        await attend(self._call, self._socket, self._on_message, self._on_binary)

    async def close(self) -> None:
        """End what is still under way."""
        if self._session is not None:
            await self._session.close()

    async def _open(self, parameters: dict[str, Any] | None) -> bool:
        problem = _unknown(parameters, encoded=self.encoded)
        if problem is not None:
            await self._socket.send_str(self._wire.error(problem))
            await self._socket.close(code=_POLICY, message=b"invalid parameters")
            return False
        assert parameters is not None
        note_asked(self._call, None, parameters)
        hearing = parameters.get("whisper_params", {})
        streaming = parameters.get("streaming_params", {})
        vad = parameters.get("streaming_vad_config", {})
        self._wire = TranscriptionWire(
            self.language_of(hearing.get("audio_language")),
            words=bool(hearing.get("show_word_timestamps")),
            typed_errors=not self.encoded,
        )
        interims = None
        if streaming.get("enable_partial_transcripts"):
            interval = float(streaming.get("partial_transcript_interval_s", 0.5)) * 1000
            interims = Interims(
                first=Constant(ms=interval), interval_ms=max(10.0, interval), stable=False
            )
        silence = vad.get("min_silence_duration_ms")
        self._session = ListeningSession(
            self._call,
            self._request,
            self._socket,
            self._settings,
            self._wire,
            interims=interims,
            # A shorter one would split words.
            silence_ms=None if silence is None else max(100.0, float(silence)),
        )
        return True

    @staticmethod
    def language_of(asked: Any) -> str:
        """Return what a transcript says its language is."""
        return asked if isinstance(asked, str) and asked != "auto" else "en"

    def feed(self, samples: Samples, arrived_ns: int) -> None:
        """Take audio."""
        assert self._session is not None
        if len(samples):
            self._session.feed(samples, arrived_ns)

    async def refuse(self, why: str) -> None:
        """Say what cannot be understood."""
        await self._socket.send_str(self._wire.error(why))

    async def _on_binary(self, data: bytes, arrived_ns: int) -> None:
        if self._session is None:
            await self._open(json_object(data))
        else:
            await self.on_binary(data, arrived_ns)

    async def _on_message(self, message: dict[str, Any] | None, arrived_ns: int) -> bool:
        if self._session is None:
            return await self._open(message)
        if message is None:
            await self.refuse("not a JSON object")
        else:
            await self.on_message(message, arrived_ns)
        return True

    async def on_binary(self, data: bytes, arrived_ns: int) -> None:
        """Take a binary message."""
        raise NotImplementedError

    async def on_message(self, message: dict[str, Any], arrived_ns: int) -> None:
        """Take a JSON message."""
        raise NotImplementedError


class _Whisper(_Conversation):
    async def on_binary(self, data: bytes, arrived_ns: int) -> None:
        if len(data) > _FRAME_BYTES:
            await self.refuse(f"audio frames hold 512 samples, not {len(data) // 2}")
            return
        self.feed(whole_samples(data), arrived_ns)

    async def on_message(self, message: dict[str, Any], arrived_ns: int) -> None:
        session = self._session
        assert session is not None
        kind = message.get("type")
        if kind == "end_audio":
            await session.send(_envelope("end_audio", "acknowledged"))
            session.finalize(arrived_ns)
            session.spawn(self._finished(arrived_ns))
        elif kind == "health_check":
            await session.send(_envelope("health_check", "ok"))
        else:
            await self.refuse(f"unknown message type {kind!r}")

    async def _finished(self, asked_ns: int) -> None:
        assert self._session is not None
        await self._session.settled()
        finished = _envelope("end_audio", "finished")
        await self._session.say(self._call, finished, asked_ns, "finalized_sent")


def _envelope(kind: str, status: str) -> str:
    return json.dumps({"type": kind, "body": {"status": status}})


class _Qwen3(_Conversation):
    encoded = False

    @staticmethod
    def language_of(asked: Any) -> str:
        return asked if isinstance(asked, str) and asked != "auto" else "English"

    async def on_binary(self, data: bytes, arrived_ns: int) -> None:
        del data, arrived_ns
        await self.refuse("binary messages are not understood")

    async def on_message(self, message: dict[str, Any], arrived_ns: int) -> None:
        session = self._session
        assert session is not None
        kind = message.get("type")
        if kind == "input_audio_buffer.append":
            samples = samples_in_base64(message.get("audio", ""))
            if samples is None:
                await self.refuse("input_audio_buffer.append: audio is not base64")
                return
            self.feed(samples, arrived_ns)
        elif kind == "input_audio_buffer.commit":
            self._commits += 1
            flushed = self._wire.flushed
            session.finalize(arrived_ns)
            session.spawn(self._committed(arrived_ns, flushed))
        else:
            await self.refuse(f"unknown message type {kind!r}")

    async def _committed(self, asked_ns: int, flushed: int) -> None:
        """Answer a commit that no final answered."""
        assert self._session is not None
        await self._session.settled()
        if self._wire.flushed == flushed:
            empty = self._wire.empty_flush(self._commits)
            await self._session.say(self._call, empty, asked_ns, "finalized_sent")


ROUTES: Final = (
    Route(method="GET", path="/baseten/whisper/websocket", handler=whisper, checks_key=False),
    Route(method="GET", path="/baseten/qwen3-asr/websocket", handler=qwen3_asr, checks_key=False),
)
