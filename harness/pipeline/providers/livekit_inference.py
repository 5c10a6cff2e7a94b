"""LiveKit Inference: recognition, chat and speech behind one key, through livekit's own clients.

The clients are livekit's. What differs is the transport alone: the HTTP client and the WebSocket
session are stamped, their pools never make a trial wait, and nothing is retried unseen.
"""

import base64
import binascii
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import openai as openai_sdk
from livekit.agents import NOT_GIVEN, APIConnectOptions, inference, llm, stt, tts
from livekit.agents.inference._utils import DEFAULT_INFERENCE_URL, STAGING_INFERENCE_URL
from livekit.agents.tts._provider_format import sentence_tokenizer

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.probes.clients import stamped_detector
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

__all__ = ["account", "make_llm", "make_stt", "make_tts"]

_SPEC = PROVIDERS["livekit"]
_HEARD_RATE = 16_000
_STT_KINDS = {
    "interim_transcript": "interim",
    "preflight_transcript": "preflight",
    "final_transcript": "final",
}


def account(place: Place, settings: StageSettings) -> tuple[str, str, str]:
    """Return base URL, key and secret."""
    if place.emulated:
        # The gateway's key is short for a secret of HS256, and guards nothing but the loopback.
        warnings.filterwarnings("ignore", message=".*HMAC key is .* bytes long.*")
        root = place.gateway_root(settings, "exact")
        return f"{root}/livekit/v1", "turnbench", place.gateway_key or ""
    key = place.variable("LIVEKIT_INFERENCE_API_KEY") or place.required(
        "LIVEKIT_API_KEY", "key of LiveKit Inference (or LIVEKIT_INFERENCE_API_KEY)"
    )
    secret = place.variable("LIVEKIT_INFERENCE_API_SECRET") or place.required(
        "LIVEKIT_API_SECRET", "secret of LiveKit Inference (or LIVEKIT_INFERENCE_API_SECRET)"
    )
    staging = ".staging.livekit.cloud" in (place.variable("LIVEKIT_URL") or "")
    default = STAGING_INFERENCE_URL if staging else DEFAULT_INFERENCE_URL
    return str(place.variable("LIVEKIT_INFERENCE_URL", default)), key, secret


def _connect(place: Place) -> APIConnectOptions:
    """Return what the service is told of our patience: its own retries would hide in ours."""
    options = place.options
    return APIConnectOptions(max_retry=options.max_retries, timeout=options.request_timeout_s)


def _fallback(options: Mapping[str, Any], stage: Stage) -> Any:
    """Return the models that the service may fall back on, as livekit takes them.

    Raises:
        ConfigurationError: an entry is neither a model's name nor a mapping that names one.
    """
    given = options.get("fallback")
    if given is None:
        return NOT_GIVEN
    models: list[Any] = []
    for entry in given if isinstance(given, list | tuple) else [given]:
        if isinstance(entry, str) and stage is Stage.STT:
            models.append({"model": entry.partition(":")[0]})
        elif isinstance(entry, str):
            model, _, voice = entry.partition(":")
            models.append({"model": model, "voice": voice})
        elif isinstance(entry, Mapping) and isinstance(entry.get("model"), str):
            models.append(
                {
                    "model": entry["model"],
                    **({"voice": entry.get("voice", "")} if stage is Stage.TTS else {}),
                    "extra_kwargs": dict(entry.get("extra", {})),
                }
            )
        else:
            raise ConfigurationError(
                f"{stage.value}.fallback: {entry!r} is no model name and names no model"
            )
    return models


def _given(value: Any) -> Any:
    return NOT_GIVEN if value is None else value


def _listen_samples(rate: int) -> Any:
    def samples(payload: Payload) -> int:
        if not isinstance(payload, str) or not payload.startswith('{"type": "input_audio"'):
            return 0
        message = json_object(payload)
        try:
            data = base64.b64decode((message or {}).get("audio", ""))
        except (binascii.Error, TypeError):
            return 0
        return len(data) // 2 * _HEARD_RATE // rate

    return samples


def _transcript(data: Payload) -> tuple[str, str] | None:
    message = (json_object(data) if isinstance(data, str) else None) or {}
    kind = _STT_KINDS.get(str(message.get("type")))
    text = message.get("transcript", "")
    return None if kind is None or not isinstance(text, str) else (kind, text)


def _error(data: Payload) -> str | None:
    message = json_object(data)
    if message is None or message.get("type") != "error":
        return None
    words = message.get("message") or message.get("error") or "an error"
    code = message.get("code")
    return f"{words}" if code is None else f"{words} (code {code})"


def _readable(data: Payload) -> bool:
    message = json_object(data) if isinstance(data, str) else None
    if message is None:
        return False
    return str(message.get("type")) not in _STT_KINDS or _transcript(data) is not None


def _session_facts(data: Payload) -> dict[str, Any]:
    message = json_object(data) or {}
    facts = {
        name: message[name]
        for name in ("session_id", "request_id")
        if isinstance(message.get(name), str)
    }
    if message.get("type") == "final_transcript" and isinstance(message.get("language"), str):
        facts["language"] = message["language"]
    return facts


_SHORTEST = {
    # Milliseconds in one unit of the option.
    "assemblyai": ("min_end_of_turn_silence_when_confident", 1.0),
    "cartesia": ("max_silence_duration_secs", 1000.0),
    "deepgram": ("endpointing", 1.0),
    "inworld": ("min_end_of_turn_silence_when_confident", 1.0),
    "speechmatics": ("end_of_utterance_silence_trigger", 1000.0),
    "xai": ("endpointing", 1.0),
}
"""By vendor, the option that states the silence before an utterance's end."""
_LONGEST = {
    "assemblyai": ("max_turn_silence", 1.0),
    "cartesia": ("turn_end_timeout_ms", 1.0),
    "deepgram": ("eot_timeout_ms", 1.0),
}
"""By vendor, the option that states the silence after which an undecided turn ends."""


def _silence(payload: Payload) -> Silence | None:
    """Return what ``session.create`` states of the vendor's endpointing."""
    message = (json_object(payload) if isinstance(payload, str) else None) or {}
    settings = message.get("settings")
    extra = settings.get("extra") if isinstance(settings, dict) else None
    if message.get("type") != "session.create" or not isinstance(extra, dict):
        return None
    vendor = str(message.get("model", "")).partition("/")[0]

    def stated(options: Mapping[str, tuple[str, float]]) -> float | None:
        name, unit = options.get(vendor, ("", 1.0))
        value = extra.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return value * unit

    found = Silence(shortest_ms=stated(_SHORTEST), longest_ms=stated(_LONGEST))
    return None if found == Silence() else found


def _ends(payload: Payload) -> bool:
    return isinstance(payload, str) and payload.startswith('{"type": "session.finalize"')


def _listen_dialect(rate: int) -> ListenDialect:
    return ListenDialect(
        samples=_listen_samples(rate),
        transcript=_transcript,
        error=_error,
        readable=_readable,
        facts=_session_facts,
        rate=rate,
        silence=_silence,
        ends=_ends,
    )


def _audio(data: Payload) -> int | None:
    message = json_object(data) if isinstance(data, str) else None
    if message is None:
        return None
    if message.get("type") != "output_audio":
        return 0
    if not isinstance(message.get("session_id"), str | None):
        return None
    try:
        return len(base64.b64decode(message.get("audio", 0), validate=True))
    except (binascii.Error, TypeError, ValueError):
        return None


def _ended(data: Payload) -> bool:
    return isinstance(data, str) and (json_object(data) or {}).get("type") == "done"


def _released(sends: Sequence[Sent]) -> int | None:
    for index, sent in enumerate(sends):
        if (json_object(sent.data) or {}).get("type") == "input_transcript":
            return index
    return None


def _trigger(provider: str) -> Any:
    def trigger(pieces: Sequence[str]) -> int | None:
        # The plugin's own tokenizer tells with which piece the first sentence was out.
        stream: Any = sentence_tokenizer(provider, expressive=False).stream()
        for index, piece in enumerate(pieces):
            stream.push_text(piece)
            if not stream._event_ch.empty():  # noqa: SLF001  (it has no public way to ask)
                return index
        return None

    return trigger


def _tts_facts(data: Payload) -> dict[str, Any]:
    message = json_object(data) or {}
    # The greeting's is the socket's; a reply may be hung up on before it is done.
    own = message.get("type") in ("output_audio", "done")
    name = message.get("session_id")
    return {"session_id": name} if own and isinstance(name, str) else {}


def _speak_dialect(model: str) -> SpeakDialect:
    return SpeakDialect(
        audio=_audio,
        ended=_ended,
        error=_error,
        mismatch=lambda _: None,
        begun=_released,
        released=_released,
        trigger=_trigger(model.split("/", maxsplit=1)[0]),
        facts=_tts_facts,
    )


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build the recogniser."""
    base_url, key, secret = account(place, settings)
    options = settings.options
    name = settings.model or _SPEC.stages[Stage.STT].default_model or ""
    model, _, language = name.partition(":")
    rate = 24_000 if model == "openai" or model.startswith("openai/") else _HEARD_RATE
    fallback = _fallback(options, Stage.STT)
    session = timed_session(
        Stage.STT,
        _listen_dialect(rate),
        label=place.request_label,
        timeout_s=place.options.request_timeout_s,
    )
    client = inference.STT(
        model=model,
        language=options.get("language") or language or "en",
        base_url=base_url,
        api_key=key,
        api_secret=secret,
        sample_rate=rate,
        http_session=session,
        extra_kwargs=dict(options.get("extra", {})),
        fallback=fallback,
        conn_options=_connect(place),
    )
    detector: Any = client._vad  # noqa: SLF001  (livekit's choice, for models that need one)
    if detector is not None:
        detector.update_options(min_silence_duration=place.options.vad_min_silence_s)
        stamped_detector(detector)
    return closing(client, session)


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the synthesiser."""
    base_url, key, secret = account(place, settings)
    options = settings.options
    spec = _SPEC.stages[Stage.TTS]
    name = settings.model or spec.default_model or ""
    model, _, voice = name.rpartition(":") if ":" in name else (name, "", "")
    fallback = _fallback(options, Stage.TTS)
    session = timed_session(
        Stage.TTS,
        _speak_dialect(model),
        label=place.request_label,
        timeout_s=place.options.request_timeout_s,
    )
    client = inference.TTS(
        model=model,
        voice=_given(settings.voice or voice or None),
        language=_given(options.get("language")),
        base_url=base_url,
        api_key=key,
        api_secret=secret,
        http_session=session,
        extra_kwargs=dict(options.get("extra", {})),
        fallback=fallback,
        conn_options=_connect(place),
    )
    return closing(client, session)


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the chat model."""
    base_url, key, secret = account(place, settings)
    options = settings.options
    extra = {
        name: options[name]
        for name in (
            "temperature",
            "top_p",
            "max_completion_tokens",
            "reasoning_effort",
            "service_tier",
            "extra_headers",
            "extra_body",
        )
        if name in options
    }
    client = inference.LLM(
        model=settings.model or _SPEC.stages[Stage.LLM].default_model or "",
        provider=options.get("provider"),
        base_url=base_url,
        api_key=key,
        api_secret=secret,
        inference_class=options.get("inference_class"),
        extra_kwargs={**extra, **dict(options.get("extra", {}))},
    )
    # livekit mints a token for each chat and puts it on the client that it finds here.
    client._client = openai_sdk.AsyncClient(  # noqa: SLF001
        api_key=secret,
        base_url=base_url,
        max_retries=0,
        http_client=timed_client(
            label=place.request_label, timeout_s=place.options.request_timeout_s
        ),
    )
    return client
