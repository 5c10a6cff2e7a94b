"""Every protocol that a provider speaks to us: a good conversation, and a strict reading of any.

The strict readings are written apart from the harness's, from the protocols themselves. What they
accept is what a trial's success may rest on: a final transcript that some message states, a reply
whose text or samples are those of the messages, up to an end that the protocol has.
"""

import base64
import binascii
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.domain.candidate import StageSettings
from harness.domain.timeline import Stage
from tests.pipeline.damage import Act, Close, Said
from tests.pipeline.mutations import strictly

__all__ = ["BODIES", "EARS", "PARTS", "TONE", "VOICES", "Body", "Ear", "Voice", "loads"]

TONE = (np.sin(np.arange(24_000) * 0.06) * 6000).astype("<i2").tobytes()
"""A second at 24 kHz."""
PARTS = (TONE[:16_000], TONE[16_000:32_000], TONE[32_000:])


def loads(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object that is valid UTF-8, or None."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _told(*messages: Mapping[str, Any]) -> tuple[Said, ...]:
    return tuple(Said(json.dumps(message).encode()) for message in messages)


def _settings(provider: str, model: str | None, **options: Any) -> StageSettings:
    return StageSettings(provider=provider, model=model, options=options)


# Recognition over sockets.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """A recogniser behind a socket.

    Attributes:
        name: of the protocol.
        path: below the profile.
        settings: of the stage.
        greeting: what the server says when the client has opened.
        answer: what it says when it has heard enough.
        final: the text of the final that a message is, or None.
        rate: of the samples that it gets, and whether they come as text.
    """

    name: str
    path: str
    settings: StageSettings
    greeting: tuple[Act, ...]
    answer: tuple[Act, ...]
    final: Callable[[bytes], str | None]
    rate: int = 16_000


def _typed_final(kind: str, key: str) -> Callable[[bytes], str | None]:
    def final(data: bytes) -> str | None:
        message = loads(data)
        if message is None or message.get("type") != kind or not isinstance(message.get(key), str):
            return None
        return str(message[key])

    return final


def _parakeet_final(data: bytes) -> str | None:
    message = loads(data)
    if message is None or not isinstance(message.get("text"), str):
        return None
    return message["text"] if message.get("is_final", True) is True else None


def _segments(message: Mapping[str, Any]) -> str | None:
    segments = message.get("segments")
    if segments is None:
        segments = []
    if not isinstance(segments, list):
        return None
    texts = [each.get("text", "") if isinstance(each, dict) else None for each in segments]
    if not all(isinstance(each, str) for each in texts):
        return None
    return " ".join(map(str, texts)).strip()


def _whisper_final(data: bytes) -> str | None:
    message = loads(data)
    if message is None or message.get("type", "transcription") != "transcription":
        return None
    if message.get("is_final", True) is not True:
        return None
    text = message.get("transcript") or _segments(message)
    return text if isinstance(text, str) else None


def _qwen3_final(data: bytes) -> str | None:
    message = loads(data)
    if message is None or message.get("type") != "transcription":
        return None
    return _segments(message) if message.get("is_final") is True else None


def _inference(kind: str, text: str) -> dict[str, Any]:
    return {
        "type": kind, "session_id": "s1", "transcript": text, "start": 0.0, "duration": 0.6,
        "language": "en", "confidence": 0.9, "request_id": "r1",
        "words": [
            {"word": word, "start": index * 0.1, "end": index * 0.1 + 0.1, "confidence": 0.9}
            for index, word in enumerate(text.split())
        ],
    }  # fmt: skip


def _baseten(text: str, *, final: bool, **more: Any) -> dict[str, Any]:
    return {
        "type": "transcription", "is_final": final, "transcription_num": 0, "language_code": "en",
        "segments": [
            {
                "text": half, "start_time": index * 0.3, "end_time": index * 0.3 + 0.3,
                "log_prob": -0.2, "possible_hallucination": False,
                "word_timestamps": [
                    {"word": half, "start_time": 0.0, "end_time": 0.3, "prob": 0.9}
                ],
            }
            for index, half in enumerate((text[:9].strip(), text[9:].strip()))
            if half
        ],
        **more,
    }  # fmt: skip


_HEARD = "what time is it"
_ITEM = "conversation.item.input_audio_transcription"
EARS = (
    Ear(
        name="parakeet",
        path="/parakeet/v1/audio/stream",
        settings=_settings("openadapter", None),
        greeting=_told({"status": "listening", "request_id": "p1", "sample_rate": 16000}),
        answer=_told(
            {"text": "what time", "is_final": False},
            {"text": _HEARD, "is_final": True},
            {"status": "finalized"},
        ),
        final=_parakeet_final,
    ),
    Ear(
        name="livekit-stt",
        path="/livekit/v1/stt",
        settings=_settings("livekit", "deepgram/nova-3"),
        greeting=_told({"type": "session.created", "session_id": "s1"}),
        answer=_told(
            {"type": "start_of_speech"},
            _inference("interim_transcript", "what"),
            _inference("preflight_transcript", "what time"),
            _inference("final_transcript", _HEARD),
            {"type": "session.finalized"},
        ),
        final=_typed_final("final_transcript", "transcript"),
    ),
    Ear(
        name="baseten-whisper",
        path="/baseten/whisper/websocket",
        settings=_settings("baseten", "whisper"),
        greeting=(),
        answer=_told(_baseten("what time", final=False), _baseten(_HEARD, final=True)),
        final=_whisper_final,
    ),
    Ear(
        name="baseten-qwen3-asr",
        path="/baseten/qwen3-asr/websocket",
        settings=_settings("baseten", "qwen3-asr"),
        greeting=(),
        answer=_told(
            _baseten("what time", final=False, language_code="English"),
            _baseten(_HEARD, final=True, language_code="English", is_end_of_audio_flush=True),
        ),
        final=_qwen3_final,
    ),
    Ear(
        name="openai-realtime",
        path="/v1/realtime",
        settings=_settings("openai", None, realtime=True),
        greeting=_told(
            {"type": "session.created", "session": {"id": "s1", "type": "transcription"}},
            {"type": "session.updated", "session": {"id": "s1"}},
        ),
        answer=_told(
            {"type": "input_audio_buffer.speech_started", "item_id": "i1", "audio_start_ms": 300},
            {"type": f"{_ITEM}.delta", "item_id": "i1", "content_index": 0, "delta": "what time"},
            {"type": "input_audio_buffer.speech_stopped", "item_id": "i1", "audio_end_ms": 900},
            {"type": "input_audio_buffer.committed", "item_id": "i1", "previous_item_id": None},
            {
                "type": f"{_ITEM}.completed",
                "item_id": "i1",
                "content_index": 0,
                "transcript": _HEARD,
                "usage": {"type": "tokens", "input_tokens": 9, "output_tokens": 4},
            },
        ),
        final=_typed_final(f"{_ITEM}.completed", "transcript"),
        rate=24_000,
    ),
)


# Synthesis over sockets.


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A synthesiser behind a socket.

    Attributes:
        name: of the protocol.
        path: below the profile.
        settings: of the stage.
        greeting: what the server says when the client has opened.
        answer: what it says when it has the text, of a session with a name, the audio in parts.
        asks: whether a client's message is the one that has the server speak.
        samples: what acts from the asking on say: the reply's samples, or None where a strict
            client has none, or none that is whole.
    """

    name: str
    path: str
    settings: StageSettings
    greeting: tuple[Act, ...]
    answer: Callable[[str, Sequence[bytes]], tuple[Act, ...]]
    asks: Callable[[str], bool]
    samples: Callable[[Sequence[Act]], bytes | None]


def _whole(parts: Sequence[bytes]) -> bytes | None:
    data = b"".join(parts)
    return data if data and len(data) % 2 == 0 else None


def _inference_samples(acts: Sequence[Act]) -> bytes | None:
    parts: list[bytes] = []
    names: set[str] = set()
    for act in acts:
        if not isinstance(act, Said) or not act.text:
            return None
        message = loads(act.data)
        if message is None or message.get("type") == "error":
            return None
        if message.get("type") == "done":
            return _whole(parts) if len(names) <= 1 else None
        if message.get("type") != "output_audio":
            continue
        name = message.get("session_id")
        if not isinstance(name, str | None):
            return None
        names |= set() if name is None else {name}
        try:
            parts.append(base64.b64decode(message.get("audio", 0), validate=True))
        except (TypeError, ValueError, binascii.Error):
            return None
    return None


def _orpheus_samples(acts: Sequence[Act]) -> bytes | None:
    parts: list[bytes] = []
    for act in acts:
        if isinstance(act, Close):
            return _whole(parts) if act.code == 1000 else None
        if not isinstance(act, Said):
            return None
        if not act.text:
            parts.append(act.data)
            continue
        message = loads(act.data)
        if message is None or message.get("type") == "error":
            return None
    return None


def _qwen3_samples(acts: Sequence[Act]) -> bytes | None:
    parts: list[bytes] = []
    for act in acts:
        if not isinstance(act, Said):
            return None
        if not act.text:
            parts.append(act.data)
            continue
        message = loads(act.data)
        kind = None if message is None else message.get("type")
        if message is None or kind == "error":
            return None
        if kind == "audio.done" and message.get("error"):
            return None
        if kind == "audio.start" and message.get("sample_rate", 24_000) != 24_000:
            return None
        if kind == "session.done":
            return _whole(parts)
    return None


def _asked(kind: str) -> Callable[[str], bool]:
    return lambda data: (loads(data.encode(errors="replace")) or {}).get("type") == kind


def _inference_reply(name: str, parts: Sequence[bytes]) -> tuple[Act, ...]:
    audio = [
        {"type": "output_audio", "audio": base64.b64encode(part).decode(), "session_id": name}
        for part in parts
    ]
    words = [{"word": "what", "start": 0.0, "end": 0.3}]
    aligned = {"type": "output_alignment", "words": words, "session_id": name}
    return _told(audio[0], aligned, *audio[1:], {"type": "done", "session_id": name})


def _qwen3_reply(name: str, parts: Sequence[bytes]) -> tuple[Act, ...]:
    start, end, done = _told(
        {"type": "audio.start", "sample_rate": 24_000, "sentence_index": 0, "session_id": name},
        {"type": "audio.done", "sentence_index": 0, "session_id": name},
        {"type": "session.done", "session_id": name},
    )
    return (start, *(Said(part, text=False) for part in parts), end, done)


VOICES = (
    Voice(
        name="livekit-tts",
        path="/livekit/v1/tts",
        settings=_settings("livekit", "cartesia/sonic-3"),
        greeting=_told({"type": "session.created", "session_id": "hello"}),
        answer=_inference_reply,
        asks=_asked("session.flush"),
        samples=_inference_samples,
    ),
    Voice(
        name="orpheus-socket",
        path="/baseten/orpheus/websocket",
        settings=_settings("baseten", "orpheus"),
        greeting=(),
        answer=lambda _, parts: (*(Said(part, text=False) for part in parts), Close(1000)),
        asks=lambda data: data == "__END__",
        samples=_orpheus_samples,
    ),
    Voice(
        name="qwen3-tts",
        path="/baseten/qwen3-tts/websocket",
        settings=_settings("baseten", "qwen3-tts"),
        greeting=(),
        answer=_qwen3_reply,
        asks=_asked("input.done"),
        samples=_qwen3_samples,
    ),
)


# Bodies over HTTP.


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A protocol of one request and one body.

    Attributes:
        name: of the protocol.
        stage: which asks.
        path: below the profile.
        settings: of the stage.
        content_type: of the body.
        answer: its pieces.
        means: what a whole body of a content type says: a transcript, a reply's text or samples;
            None where a strict client has none. Samples of another rate are no bytes to compare
            with: then ``...``.
    """

    name: str
    stage: Stage
    path: str
    settings: StageSettings
    content_type: str
    answer: tuple[Said, ...]
    means: Callable[[bytes, str], Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def _sse(*messages: Mapping[str, Any]) -> tuple[Said, ...]:
    return tuple(Said(b"data: " + json.dumps(each).encode() + b"\n\n") for each in messages)


def _named(*events: tuple[str, Mapping[str, Any]]) -> tuple[Said, ...]:
    return tuple(
        Said(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()) for name, value in events
    )


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "Kimi-K2.5",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


_CHAT = (
    Said(b": keep-alive\n\n"),
    *_sse(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"reasoning_content": "Hm."}),
        *(_chunk({"content": each}) for each in ("Your ", "lights ", "are ", "on.")),
        _chunk({}, "stop"),
        {
            "id": "chatcmpl-1",
            "choices": [],
            "model": "Kimi-K2.5",
            "usage": {
                "prompt_tokens": 4,
                "completion_tokens": 5,
                "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        },
    ),
    Said(b"data: [DONE]\n\n"),
)


def _chat_text(data: bytes, content_type: str) -> str | None:
    events = strictly(data) if "event-stream" in content_type else None
    if events is None or any(event.get("error") for event in events):
        return None
    text, ended = "", False
    for event in events:
        if "done" in event:
            # What a client reads ends here.
            return text if text.strip() else None
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                return None
            delta = choice.get("delta") or {}
            content = delta.get("content") if isinstance(delta, dict) else 0
            parts = content if isinstance(content, list) else [content or ""]
            said = [each.get("text") if isinstance(each, dict) else each for each in parts]
            if not all(isinstance(each, str | dict) for each in parts):
                return None
            text += "".join(each for each in said if isinstance(each, str))
            finish = choice.get("finish_reason")
            ended = ended or (isinstance(finish, str) and bool(finish))
    return text if ended and text.strip() else None


def _events(data: bytes, content_type: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Return Speko's events up to its last, or None for what is none of its streams."""
    if "event-stream" not in content_type:
        return None
    found: list[tuple[str, dict[str, Any]]] = []
    for block in data.replace(b"\r", b"").split(b"\n\n"):
        name, body = "message", b""
        for line in block.split(b"\n"):
            if line.startswith(b"event:"):
                name = line[6:].strip().decode(errors="replace")
            elif line.startswith(b"data:"):
                body = body + (b"\n" if body else b"") + line[5:].strip()
        if not body:
            continue
        message = loads(body)
        if message is None or name == "error":
            return None
        found.append((name, message))
    return found if any(name == "done" for name, _ in found) else None


def _speko_heard(data: bytes, content_type: str) -> str | None:
    events = _events(data, content_type)
    if events is None:
        return None
    text = [event.get("text") for name, event in events if name == "done"][-1]
    return text.strip() if isinstance(text, str) and text.strip() else None


def _speko_said(data: bytes, content_type: str) -> str | None:
    events = _events(data, content_type)
    if events is None:
        return None
    texts = [event.get("text") for name, event in events if name == "delta"]
    if not all(isinstance(each, str) for each in texts):
        return None
    text = "".join(map(str, texts))
    return text if text.strip() else None


def _speko_buffered(data: bytes, content_type: str) -> str | None:
    events = _events(data, content_type)
    if events is None:
        return None
    text = [event.get("text") for name, event in events if name == "done"][-1]
    return text if isinstance(text, str) and text.strip() else None


def _transcription(data: bytes, content_type: str) -> str | None:
    if content_type.startswith("text/plain"):
        return data.decode(errors="replace").strip() or None
    message = loads(data) if "json" in content_type else None
    text = None if message is None or message.get("error") else message.get("text")
    return text if isinstance(text, str) and text.strip() else None


def _speech_events(data: bytes, content_type: str) -> Any:
    if "event-stream" not in content_type:
        return _raw(data, content_type)
    events = strictly(data)
    if events is None or any(event.get("error") for event in events):
        return None
    parts, ended = [], False
    for event in events:
        ended = ended or "done" in event or event.get("type") == "speech.audio.done"
        if event.get("type") == "speech.audio.delta":
            audio = event.get("delta") or event.get("audio") or ""
            try:
                parts.append(base64.b64decode(audio, validate=True))
            except (TypeError, ValueError, binascii.Error):
                return None
    return _whole(parts) if ended else None


def _raw(data: bytes, content_type: str) -> Any:
    kind = content_type.lower().split(";")[0].strip() or "audio/pcm"
    if kind.startswith(("audio/", "application/octet-stream", "binary/")) and data:
        plain = kind in ("audio/pcm", "audio/l16", "application/octet-stream")
        if plain and "rate=" not in content_type.lower().replace("rate=24000", ""):
            return _whole([data])
        return ...
    return None


def _wav(samples: bytes, size: int | None = None) -> bytes:
    length = len(samples) if size is None else size
    return (
        struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + length, b"WAVE", b"fmt ", 16, 1, 1, 24_000,
                    48_000, 2, 16)
        + struct.pack("<4sI", b"data", length)
        + samples
    )  # fmt: skip


def _pieces(data: bytes) -> tuple[Said, ...]:
    return tuple(Said(data[at : at + 12_000], text=False) for at in range(0, len(data), 12_000))


_META = {"provider": "alder", "model": "m-1", "failoverCount": 0, "scoresRunId": "run_1"}
_COMPLETE = _named(
    ("meta", {**_META, "totalFailoverCount": 0, "hop": 0}),
    *(("delta", {"text": each}) for each in ("Your ", "lights ", "are ", "on.")),
    (
        "done",
        {
            "text": "Your lights are on.",
            **_META,
            "usage": {"promptTokens": 4, "completionTokens": 5},
        },
    ),
)
_EVENTS = "text/event-stream"
BODIES = (
    *(
        Body(
            name=f"{provider}-chat",
            stage=Stage.LLM,
            path=f"{path}/chat/completions",
            settings=_settings(provider, model),
            content_type=_EVENTS,
            answer=_CHAT,
            means=_chat_text,
        )
        for provider, path, model in (
            ("openadapter", "/v1", "Kimi-K2.5"),
            ("openai", "/v1", "gpt-4o-mini"),
            ("livekit", "/livekit/v1", "moonshotai/kimi-k2.5"),
            ("baseten", "/baseten/v1", "moonshotai/Kimi-K2-Instruct"),
        )
    ),
    *(
        Body(
            name=name,
            stage=Stage.LLM,
            path="/v1/complete",
            settings=_settings("speko", None, **({"buffered": True} if buffered else {})),
            content_type=_EVENTS,
            answer=_COMPLETE,
            means=_speko_buffered if buffered else _speko_said,
        )
        for name, buffered in (("speko-complete", False), ("speko-complete-buffered", True))
    ),
    Body(
        name="speko-transcribe",
        stage=Stage.STT,
        path="/v1/transcribe",
        settings=_settings("speko", None),
        content_type=_EVENTS,
        answer=_named(
            ("meta", _META),
            ("transcript", {"text": "what time", "isFinal": False, "confidence": 0.7}),
            ("transcript", {"text": _HEARD, "isFinal": True, "confidence": 0.9}),
            ("done", {"text": _HEARD, **_META, "confidence": 0.9}),
        ),
        means=_speko_heard,
    ),
    *(
        Body(
            name=f"{provider}-transcriptions",
            stage=Stage.STT,
            path="/v1/audio/transcriptions",
            settings=_settings(provider, model, **options),
            content_type="application/json",
            answer=_told({"text": _HEARD, "usage": {"type": "duration", "seconds": 3}}),
            means=_transcription,
        )
        for provider, model, options in (
            ("openai", "gpt-4o-mini-transcribe", {}),
            ("openadapter", None, {"mode": "rest"}),
        )
    ),
    Body(
        name="openai-speech",
        stage=Stage.TTS,
        path="/v1/audio/speech",
        settings=_settings("openai", "tts-1"),
        content_type="audio/pcm",
        answer=_pieces(TONE),
        means=_speech_events,
    ),
    Body(
        name="openai-speech-events",
        stage=Stage.TTS,
        path="/v1/audio/speech",
        settings=_settings("openai", "gpt-4o-mini-tts"),
        content_type=_EVENTS,
        answer=_sse(
            *(
                {"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()}
                for part in PARTS
            ),
            {"type": "speech.audio.done", "usage": {"input_tokens": 4, "total_tokens": 9}},
        ),
        means=_speech_events,
    ),
    Body(
        name="orpheus-http",
        stage=Stage.TTS,
        path="/baseten/orpheus/predict",
        settings=_settings("baseten", "orpheus", transport="http"),
        content_type="audio/pcm",
        answer=_pieces(TONE),
        means=_raw,
    ),
    *(
        Body(
            name=f"speko-synthesize-{name}",
            stage=Stage.TTS,
            path="/v1/synthesize",
            settings=_settings("speko", None),
            content_type=kind,
            answer=_pieces(data),
            means=_raw,
            headers={
                "X-Speko-Audio-Format": kind,
                "X-Speko-Provider": "alder",
                "X-Speko-Model": "m-1",
                "X-Speko-Failover-Count": "0",
                "X-Speko-Scores-Run-Id": "run_1",
            },
        )
        for name, kind, data in (
            ("samples", "audio/pcm;rate=24000", TONE),
            ("wav", "audio/wav", _wav(TONE)),
        )
    ),
)
