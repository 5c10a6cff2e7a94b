"""Reading the messages of OpenAI's transcription over the realtime WebSocket."""

import base64
import binascii
from typing import Any, Final

from harness.pipeline.transport.bodies import scalars
from harness.pipeline.transport.socket_reading import ListenDialect, Payload, Silence, json_object

__all__ = ["REALTIME_DIALECT", "REALTIME_ONLY"]

REALTIME_ONLY: Final = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""Models, by the beginning of their names, that are served here alone and never end an utterance
themselves."""
_RATE: Final = 24_000
_HEARD_RATE: Final = 16_000
_APPEND: Final = '{"type": "input_audio_buffer.append"'
_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


def _samples(payload: Payload) -> int:
    if not isinstance(payload, str) or not payload.startswith(_APPEND):
        return 0
    try:
        data = base64.b64decode((json_object(payload) or {}).get("audio", ""))
    except (binascii.Error, TypeError):
        return 0
    return len(data) // 2 * _HEARD_RATE // _RATE


def _silence(payload: Payload) -> Silence | None:
    message = (json_object(payload) if isinstance(payload, str) else None) or {}
    if message.get("type") != "session.update":
        return None
    detection: Any = message
    for name in ("session", "audio", "input", "turn_detection"):
        detection = detection.get(name) if isinstance(detection, dict) else None
    stated = detection.get("silence_duration_ms") if isinstance(detection, dict) else None
    return Silence(shortest_ms=stated if isinstance(stated, int | float) else None)


def _ends(payload: Payload) -> bool:
    return isinstance(payload, str) and payload.startswith('{"type": "input_audio_buffer.commit"')


def _transcript(data: Payload) -> tuple[str, str] | None:
    message = (json_object(data) if isinstance(data, str) else None) or {}
    text = message.get("transcript")
    if message.get("type") != f"{_TRANSCRIPTION}.completed" or not isinstance(text, str):
        return None
    return "final", text


def _error(data: Payload) -> str | None:
    message = json_object(data)
    if message is None or message.get("type") != "error":
        return None
    told = message.get("error")
    words = told if isinstance(told, dict) else {}
    code = words.get("code")
    said = str(words.get("message") or "an error")
    return said if code is None else f"{said} (code {code})"


def _readable(data: Payload) -> bool:
    message = json_object(data) if isinstance(data, str) else None
    if message is None:
        return False
    return message.get("type") != f"{_TRANSCRIPTION}.completed" or _transcript(data) is not None


def _facts(data: Payload) -> dict[str, Any]:
    message = json_object(data) or {}
    if message.get("type") == "session.created" and isinstance(message.get("session"), dict):
        name = message["session"].get("id")
        return {"session_id": name} if isinstance(name, str) else {}
    if message.get("type") != f"{_TRANSCRIPTION}.completed":
        return {}
    facts: dict[str, Any] = {}
    if isinstance(message.get("item_id"), str):
        facts["request_id"] = message["item_id"]
    usage = message.get("usage")
    if isinstance(usage, dict):
        facts |= {
            f"usage.{key}": value
            for key, value in scalars(usage).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return facts


REALTIME_DIALECT: Final = ListenDialect(
    samples=_samples,
    transcript=_transcript,
    error=_error,
    readable=_readable,
    facts=_facts,
    rate=_RATE,
    silence=_silence,
    ends=_ends,
)
