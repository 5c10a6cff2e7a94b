"""Baseten's recognisers: whisper and qwen3-asr."""

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectOptions, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NotGivenOr
from livekit.plugins import baseten
from livekit.plugins.baseten import stt as whisper_module

from harness.domain.candidate import StageSettings
from harness.domain.timeline import Stage
from harness.pipeline.place import Place
from harness.pipeline.providers.baseten.account import (
    dialect_of,
    endpoint_of,
    error_in,
    given,
    key_of,
)
from harness.pipeline.transport.socket_reading import ListenDialect, Payload, Silence, json_object
from harness.pipeline.transport.socket_transport import closing, timed_session

__all__ = ["TurnEndingSTT", "make_stt"]

# The plugin's context trusts any certificate; `True` checks them as aiohttp does by itself.
whisper_module.ssl_context = True  # type: ignore[assignment]


class _TurnEndingStream(baseten.SpeechStream):
    """The plugin's whisper stream, which also says when speech begins and ends, and how much."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._heard_s = 0.0
        self._speaking = False
        self._pass_on = self._event_ch.send_nowait
        self._event_ch.send_nowait = self._send  # type: ignore[method-assign, assignment]

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        super().push_frame(frame)
        self._heard_s += frame.duration

    def _send(self, event: stt.SpeechEvent) -> None:
        spoken = event.type in (
            stt.SpeechEventType.INTERIM_TRANSCRIPT,
            stt.SpeechEventType.FINAL_TRANSCRIPT,
        )
        if spoken and not self._speaking:
            self._speaking = True
            self._pass_on(stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH))
        final = event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
        if final:
            usage = stt.RecognitionUsage(audio_duration=self._heard_s)
            self._heard_s = 0.0
            self._pass_on(
                stt.SpeechEvent(type=stt.SpeechEventType.RECOGNITION_USAGE, recognition_usage=usage)
            )
        self._pass_on(event)
        if final:
            self._speaking = False
            self._pass_on(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH))


class TurnEndingSTT(baseten.STT):
    """The plugin's whisper, whose finals end the user's speech.

    A final comes when the server's voice activity detector has heard enough silence: that is what
    an end of speech is. With this, ``turn_detection = "stt"`` commits turns as with other services.
    """

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.SpeechStream:
        """Return a stream, as the plugin makes it."""
        del language
        stream = _TurnEndingStream(
            stt=self,
            conn_options=conn_options,
            opts=dataclasses.replace(self._opts),
            api_key=self._api_key,
            model_endpoint=self._model_endpoint,
            http_session=self.session,
        )
        self._streams.add(stream)
        return stream


def _binary_samples(payload: Payload) -> int:
    return len(payload) // 2 if isinstance(payload, bytes) else 0


def _appended_samples(payload: Payload) -> int:
    message = json_object(payload) if isinstance(payload, str) else None
    if message is None or message.get("type") != "input_audio_buffer.append":
        return 0
    try:
        return len(base64.b64decode(message.get("audio", ""))) // 2
    except (binascii.Error, TypeError):
        return 0


def _text(message: Mapping[str, Any], dialect: str) -> str | None:
    """Return a transcription's text; None where it is not as the protocol has it."""
    whole = message.get("transcript") if dialect == "whisper" else None
    if isinstance(whole, str) and whole:
        return whole
    segments = message.get("segments")
    segments = [] if segments is None else segments
    if whole or not isinstance(segments, list):
        return None
    said = [each.get("text", "") if isinstance(each, dict) else None for each in segments]
    if not all(isinstance(each, str) for each in said):
        return None
    return " ".join(map(str, said)).strip()


def _transcript(dialect: str) -> Callable[[Payload], tuple[str, str] | None]:
    # Whisper may leave out what a message is, and that it is final.
    kind, final = ("transcription", True) if dialect == "whisper" else (None, False)

    def transcript(data: Payload) -> tuple[str, str] | None:
        message = json_object(data) if isinstance(data, str) else None
        if not message or message.get("type", kind) != "transcription":
            return None
        ended = message.get("is_final", final)
        text = _text(message, dialect)
        if not text or not isinstance(ended, bool):
            return None
        return ("final" if ended else "interim"), text

    return transcript


def _readable(dialect: str) -> Callable[[Payload], bool]:
    def readable(data: Payload) -> bool:
        message = json_object(data) if isinstance(data, str) else None
        if message is None:
            return False
        if message.get("type", "transcription") != "transcription":
            return isinstance(message["type"], str)
        return _text(message, dialect) is not None and isinstance(
            message.get("is_final", True), bool
        )

    return readable


def _heard_facts(data: Payload) -> dict[str, Any]:
    message = json_object(data) or {}
    language = message.get("language_code")
    return {"language": language} if message.get("is_final") and isinstance(language, str) else {}


def _silence(payload: Payload) -> Silence | None:
    message = (json_object(payload) if isinstance(payload, str) else None) or {}
    detection = message.get("streaming_vad_config")
    stated = detection.get("min_silence_duration_ms") if isinstance(detection, dict) else None
    return Silence(shortest_ms=stated) if isinstance(stated, int | float) else None


def _ends(payload: Payload) -> bool:
    return isinstance(payload, str) and (json_object(payload) or {}).get("type") in (
        "input_audio_buffer.commit",
        "end_audio",
    )


def _listen_dialect(dialect: str) -> ListenDialect:
    return ListenDialect(
        samples=_binary_samples if dialect == "whisper" else _appended_samples,
        transcript=_transcript(dialect),
        error=error_in,
        readable=_readable(dialect),
        facts=_heard_facts,
        silence=_silence,
        ends=_ends,
    )


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build the recogniser."""
    options = settings.options
    dialect = dialect_of(settings, Stage.STT)
    key, endpoint = key_of(place), endpoint_of(place, settings, Stage.STT, dialect)
    session = timed_session(
        Stage.STT,
        _listen_dialect(dialect),
        label=place.request_label,
        timeout_s=place.options.request_timeout_s,
    )
    ends = dialect == "whisper" and options.get("end_of_speech", True)
    kind = TurnEndingSTT if ends else baseten.STT
    client = kind(
        model=dialect,  # type: ignore[arg-type]
        api_key=key,
        model_endpoint=endpoint,
        language=given(options, "language"),
        language_options=[str(each) for each in options.get("language_options", ())] or None,
        enable_partial_transcripts=bool(options.get("partials", True)),
        partial_transcript_interval_s=given(options, "partial_interval_s"),
        final_transcript_max_duration_s=int(options.get("max_duration_s", 30)),
        show_word_timestamps=given(options, "word_timestamps"),
        vad_threshold=float(options.get("vad_threshold", 0.5)),
        vad_min_silence_duration_ms=given(options, "vad_min_silence_ms"),
        vad_speech_pad_ms=given(options, "vad_speech_pad_ms"),
        http_session=session,
    )
    return closing(client, session)
