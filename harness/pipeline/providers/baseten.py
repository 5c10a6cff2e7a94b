"""Baseten: deployments of whisper, qwen3-asr, orpheus and qwen3-tts, and its model APIs.

Everything runs through livekit's own plugin. What it lacks for a measurement is mended here, in the
open: its whisper stream never says that speech has ended, so a turn that the STT is to commit would
never be (``end_of_speech = false`` leaves it so); and its connections, which carry the key, do not
check certificates.
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai as openai_sdk
from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectOptions, llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NotGivenOr
from livekit.plugins import baseten
from livekit.plugins.baseten import stt as whisper_module
from livekit.plugins.baseten import tts as orpheus_module

from harness.domain.providers import PROVIDERS
from harness.domain.suite import StageSettings
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.recording.recording import Sent
from harness.pipeline.transport.socket_reading import (
    ListenDialect,
    Payload,
    Silence,
    SpeakDialect,
    json_object,
)
from harness.pipeline.transport.socket_transport import closing, timed_session
from harness.pipeline.transport.transport import timed_client

__all__ = ["TurnEndingSTT", "make_llm", "make_stt", "make_tts", "text_ready"]

_SPEC = PROVIDERS["baseten"]
_RATE = 24_000
_LLM_URL = "https://inference.baseten.co/v1"
_SOCKET = "wss://{kind}-{id}.api.baseten.co/environments/production/websocket"
_PREDICT = "https://{kind}-{id}.api.baseten.co/environments/production/predict"
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)]*\s")

# The plugin's contexts trust any certificate; `True` checks them as aiohttp does by itself.
whisper_module.ssl_context = True  # type: ignore[assignment]
orpheus_module.ssl_context = True  # type: ignore[assignment]


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


def _dialect(settings: StageSettings, stage: Stage) -> str:
    """Return the wire protocol: ``dialect``, or the model where it bears a dialect's name.

    Raises:
        ConfigurationError: there is no such dialect.
    """
    spec = _SPEC.stages[stage]
    named = settings.options.get("dialect")
    if named is None:
        return settings.model if settings.model in spec.models else str(spec.default_model)
    if named not in spec.models:
        known = ", ".join(spec.models)
        raise ConfigurationError(f"{stage.value}.dialect: {named!r} is unknown; known: {known}")
    return str(named)


def _key(place: Place) -> str:
    if place.emulated:
        return place.gateway_key or ""
    return place.required("BASETEN_API_KEY", "Baseten key")


def _endpoint(place: Place, settings: StageSettings, stage: Stage, dialect: str) -> str:
    """Return the deployment's address.

    Raises:
        ConfigurationError: none is given, or it is of the wrong kind.
    """
    options = settings.options
    transport = options.get("transport", "websocket")
    if transport not in ("websocket", "http"):
        raise ConfigurationError(
            f'{stage.value}.transport: {transport!r} is neither "websocket" nor "http"'
        )
    over_http = transport == "http"
    if over_http and dialect != "orpheus":
        raise ConfigurationError(f"{stage.value}.transport: {dialect} is spoken over WebSockets")
    if place.emulated:
        root = place.gateway_root(settings, "exact")
        if over_http:
            return f"{root}/baseten/{dialect}/predict"
        return f"ws{root.removeprefix('http')}/baseten/{dialect}/websocket"
    template = _PREDICT if over_http else _SOCKET
    given = options.get("endpoint")
    if given is None and options.get("model_id"):
        given = template.format(kind="model", id=options["model_id"])
    if given is None and options.get("chain_id"):
        given = template.format(kind="chain", id=options["chain_id"])
    given = given or place.variable("BASETEN_MODEL_ENDPOINT")
    if not given:
        raise ConfigurationError(
            f"{stage.value}: name the deployment by endpoint, model_id or chain_id, or set "
            "BASETEN_MODEL_ENDPOINT"
        )
    schemes = ("https://", "http://") if over_http else ("wss://", "ws://")
    if not str(given).startswith(schemes):
        raise ConfigurationError(
            f"{stage.value}.endpoint: {given} must begin with {schemes[0]} for this transport"
        )
    return str(given)


def _given(options: Any, name: str) -> Any:
    return options.get(name, NOT_GIVEN)


# What the recognisers' messages say.


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


def _error(data: Payload) -> str | None:
    message = json_object(data) if isinstance(data, str) else None
    if message is None:
        return None
    if message.get("type") == "audio.done" and message.get("error"):
        return str(message["error"])
    if message.get("type") != "error":
        return None
    body = message.get("body")
    inner = body.get("message") if isinstance(body, dict) else body
    return str(message.get("message") or inner or "an error")


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
        error=_error,
        readable=_readable(dialect),
        facts=_heard_facts,
        silence=_silence,
        ends=_ends,
    )


# What the synthesisers' messages say.


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
            error=_error,
            mismatch=lambda _: None,
            begun=_orpheus_begun,
            released=_orpheus_released(buffer_size),
            trigger=lambda pieces: text_ready(pieces, buffer_size),
            facts=lambda _: {},
        )
    return SpeakDialect(
        audio=_binary_audio,
        ended=_qwen3_ended,
        error=_error,
        mismatch=_qwen3_mismatch,
        begun=_qwen3_begun,
        released=_qwen3_released,
        trigger=lambda pieces: text_ready(pieces, None),
        facts=_session_facts,
    )


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build the recogniser."""
    options = settings.options
    dialect = _dialect(settings, Stage.STT)
    key, endpoint = _key(place), _endpoint(place, settings, Stage.STT, dialect)
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
        language=_given(options, "language"),
        language_options=[str(each) for each in options.get("language_options", ())] or None,
        enable_partial_transcripts=bool(options.get("partials", True)),
        partial_transcript_interval_s=_given(options, "partial_interval_s"),
        final_transcript_max_duration_s=int(options.get("max_duration_s", 30)),
        show_word_timestamps=_given(options, "word_timestamps"),
        vad_threshold=float(options.get("vad_threshold", 0.5)),
        vad_min_silence_duration_ms=_given(options, "vad_min_silence_ms"),
        vad_speech_pad_ms=_given(options, "vad_speech_pad_ms"),
        http_session=session,
    )
    return closing(client, session)


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the synthesiser.

    Raises:
        ConfigurationError: among others, qwen3-tts has no voice: it clones one.
    """
    options = settings.options
    dialect = _dialect(settings, Stage.TTS)
    voice = settings.voice
    if voice is None and dialect == "qwen3-tts" and not place.emulated:
        raise ConfigurationError("tts.voice: qwen3-tts speaks with a registered voice; name it")
    buffer_size = int(options.get("buffer_size", 10))
    key, endpoint = _key(place), _endpoint(place, settings, Stage.TTS, dialect)
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
        voice=voice or _SPEC.stages[Stage.TTS].default_voice or "",
        language=_given(options, "language"),
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


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the chat model."""
    options = settings.options
    if place.emulated:
        base_url = place.gateway_root(settings, "exact") + "/baseten/v1"
    else:
        base_url = str(options.get("base_url", _LLM_URL))
    key = _key(place)
    client = baseten.LLM(
        model=settings.model or _SPEC.stages[Stage.LLM].default_model or "",
        api_key=key,
        base_url=base_url,
        temperature=_given(options, "temperature"),
        top_p=_given(options, "top_p"),
        reasoning_effort=_given(options, "reasoning_effort"),
        client=openai_sdk.AsyncClient(
            api_key=key,
            base_url=base_url,
            max_retries=0,
            http_client=timed_client(
                label=place.request_label, timeout_s=place.options.request_timeout_s
            ),
        ),
    )
    # The plugin's constructor leaves out what its base class knows.
    for name in ("max_completion_tokens", "service_tier", "extra_headers", "extra_body"):
        if name in options:
            setattr(client._opts, name, options[name])  # noqa: SLF001
    return client
