"""Baseten's synthesisers: orpheus and qwen3-tts."""

import re
from collections.abc import Sequence
from typing import Any

from livekit.agents import tts
from livekit.plugins import baseten
from livekit.plugins.baseten import tts as orpheus_module

from harness.domain.candidate import StageSettings
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.providers.baseten.account import (
    SPEC,
    dialect_of,
    endpoint_of,
    error_in,
    given,
    key_of,
)
from harness.pipeline.recording.recording import Sent
from harness.pipeline.transport.socket_reading import Payload, SpeakDialect, json_object
from harness.pipeline.transport.socket_transport import closing, timed_session

__all__ = ["make_tts", "text_ready"]

_RATE = 24_000
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)]*\s")

# The plugin's context trusts any certificate; `True` checks them as aiohttp does by itself.
orpheus_module.ssl_context = True  # type: ignore[assignment]


def text_ready(pieces: Sequence[str], longest_words: int | None) -> int | None:
    """Return the index of the piece with which a server has a text to speak; None for the end.

    That is a whole sentence, told by the white space after it, or, where the server speaks so many
    words without one, that many words.
    """
    text = ""
    for index, piece in enumerate(pieces):
        text += piece
        if _SENTENCE_END.search(text):
            return index
        if longest_words is not None and len(text.split()) >= longest_words:
            return index
    return None


def _binary_audio(data: Payload) -> int | None:
    if isinstance(data, bytes):
        return len(data)
    return 0 if json_object(data) is not None else None


def _orpheus_released(longest_words: int) -> Any:
    def released(sends: Sequence[Sent]) -> int | None:
        texts = [str(sent.data) for sent in sends[1:]]
        ended = texts.index("__END__") if "__END__" in texts else None
        ready = text_ready(texts if ended is None else texts[:ended], longest_words)
        position = ended if ready is None else ready
        return None if position is None else position + 1

    return released


def _orpheus_begun(sends: Sequence[Sent]) -> int | None:
    # The first message has the settings.
    return 1 if len(sends) > 1 else None


def _qwen3_begun(sends: Sequence[Sent]) -> int | None:
    for index, sent in enumerate(sends):
        if (json_object(sent.data) or {}).get("type") == "input.text":
            return index
    return None


def _qwen3_released(sends: Sequence[Sent]) -> int | None:
    texts: list[str] = []
    places: list[int] = []
    for index, sent in enumerate(sends):
        message = json_object(sent.data) or {}
        if message.get("type") == "input.text":
            texts.append(str(message.get("text", "")))
            places.append(index)
        elif message.get("type") == "input.done" and texts:
            ready = text_ready(texts, None)
            return index if ready is None else places[ready]
    ready = text_ready(texts, None)
    return None if ready is None else places[ready]


def _qwen3_ended(data: Payload) -> bool:
    message = json_object(data) if isinstance(data, str) else None
    return message is not None and message.get("type") == "session.done"


def _qwen3_mismatch(data: Payload) -> str | None:
    message = json_object(data) if isinstance(data, str) else None
    if message is None or message.get("type") != "audio.start":
        return None
    rate = message.get("sample_rate", _RATE)
    return None if rate == _RATE else f"audio at {rate} Hz where {_RATE} Hz is due"


def _session_facts(data: Payload) -> dict[str, Any]:
    message = json_object(data) if isinstance(data, str) else None
    name = None if message is None else message.get("session_id")
    return {"session_id": name} if isinstance(name, str) else {}


def _speak_dialect(dialect: str, buffer_size: int) -> SpeakDialect:
    if dialect == "orpheus":
        return SpeakDialect(
            audio=_binary_audio,
            ended=None,
            error=error_in,
            mismatch=lambda _: None,
            begun=_orpheus_begun,
            released=_orpheus_released(buffer_size),
            trigger=lambda pieces: text_ready(pieces, buffer_size),
            facts=lambda _: {},
        )
    return SpeakDialect(
        audio=_binary_audio,
        ended=_qwen3_ended,
        error=error_in,
        mismatch=_qwen3_mismatch,
        begun=_qwen3_begun,
        released=_qwen3_released,
        trigger=lambda pieces: text_ready(pieces, None),
        facts=_session_facts,
    )


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the synthesiser.

    Raises:
        ConfigurationError: among others, qwen3-tts has no voice: it clones one.
    """
    options = settings.options
    dialect = dialect_of(settings, Stage.TTS)
    voice = settings.voice
    if voice is None and dialect == "qwen3-tts" and not place.emulated:
        raise ConfigurationError("tts.voice: qwen3-tts speaks with a registered voice; name it")
    buffer_size = int(options.get("buffer_size", 10))
    key, endpoint = key_of(place), endpoint_of(place, settings, Stage.TTS, dialect)
    session = timed_session(
        Stage.TTS,
        _speak_dialect(dialect, buffer_size),
        label=place.request_label,
        timeout_s=place.options.request_timeout_s,
    )
    client = baseten.TTS(
        model=dialect,  # type: ignore[arg-type]
        api_key=key,
        model_endpoint=endpoint,
        voice=voice or SPEC.stages[Stage.TTS].default_voice or "",
        language=given(options, "language"),
        temperature=float(options.get("temperature", 0.6)),
        max_tokens=int(options.get("max_tokens", 2000)),
        buffer_size=buffer_size,
        task_type=str(options.get("task_type", "Base")),
        instructions=options.get("instructions"),
        max_new_tokens=options.get("max_new_tokens"),
        initial_codec_chunk_frames=options.get("initial_codec_chunk_frames"),
        x_vector_only_mode=options.get("x_vector_only_mode"),
        ref_audio=options.get("ref_audio"),
        ref_text=options.get("ref_text"),
        word_timestamps=bool(options.get("word_timestamps", False)),
        extra_config=dict(options.get("extra", {})) or None,
        http_session=session,
    )
    return closing(client, session)
