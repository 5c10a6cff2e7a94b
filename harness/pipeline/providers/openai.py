"""OpenAI and every endpoint that speaks its protocols."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import openai as openai_sdk
from livekit.agents import NOT_GIVEN, llm, stt, tts
from livekit.agents.inference import VAD
from livekit.plugins import openai
from openai._models import FinalRequestOptions

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.providers.openai import is_local
from harness.domain.timeline import Stage
from harness.pipeline.place import Place
from harness.pipeline.probes.clients import stamped_detector
from harness.pipeline.providers.openai_realtime import REALTIME_DIALECT, REALTIME_ONLY
from harness.pipeline.transport.socket_transport import closing, timed_session
from harness.pipeline.transport.transport import timed_client

__all__ = ["compatible_llm", "compatible_stt", "compatible_tts", "make_llm", "make_stt", "make_tts"]

_SPEC = PROVIDERS["openai"]
_LLM_OPTIONS = (
    "temperature",
    "top_p",
    "max_completion_tokens",
    "reasoning_effort",
    "service_tier",
    "extra_headers",
    "extra_body",
)


class _AddingClient(openai_sdk.AsyncClient):
    """OpenAI's client, which adds fields to every body: livekit's STT and TTS take none."""

    added: Mapping[str, Any] = MappingProxyType({})

    async def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        if self.added and isinstance(options.json_data, Mapping):
            options.json_data = {**options.json_data, **self.added}
        return await super()._prepare_options(options)


def _client(
    place: Place,
    base_url: str,
    key: str,
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    stage: Stage | None = None,
) -> openai_sdk.AsyncClient:
    """Return a client on a stamped transport, with the options' further headers and fields."""
    client = _AddingClient(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        default_headers=options.get("extra_headers"),
        http_client=timed_client(
            label=place.request_label, timeout_s=place.options.request_timeout_s, stage=stage
        ),
    )
    client.added = options.get("extra_body", {})
    return client


def compatible_llm(
    place: Place, *, base_url: str, key: str, model: str, options: Mapping[str, Any]
) -> llm.LLM[Any]:
    """Return livekit's OpenAI LLM on a stamped transport."""
    given = {name: options[name] for name in _LLM_OPTIONS if name in options}
    return openai.LLM(model=model, client=_client(place, base_url, key), **given)


def compatible_tts(
    place: Place, *, base_url: str, key: str, model: str, voice: str, options: Mapping[str, Any]
) -> tts.TTS[Any]:
    """Return livekit's OpenAI TTS on a stamped transport; its audio format is always explicit."""
    return openai.TTS(
        model=model,
        voice=voice,
        speed=float(options.get("speed", 1.0)),
        instructions=options.get("instructions", NOT_GIVEN),
        response_format=options.get("response_format", place.options.tts_format),
        client=_client(place, base_url, key, options=options),
    )


def compatible_stt(
    place: Place, *, base_url: str, key: str, model: str, options: Mapping[str, Any]
) -> stt.STT[Any]:
    """Return livekit's OpenAI STT on a stamped transport: REST, or the realtime WebSocket.

    Over REST livekit puts a voice activity detector before it. Over the WebSocket the server's own
    detector ends the utterance, but for models that have none: then livekit's does.
    """
    client = _client(place, base_url, key, options=options, stage=Stage.STT)
    given: dict[str, Any] = {
        "model": model,
        "language": options.get("language", "en"),
        "prompt": options.get("prompt", NOT_GIVEN),
        "temperature": options.get("temperature", NOT_GIVEN),
        "keywords": list(options["keywords"]) if "keywords" in options else NOT_GIVEN,
        "client": client,
    }
    if not options.get("realtime", model.startswith(REALTIME_ONLY)):
        return openai.STT(use_realtime=False, **given)
    session = timed_session(
        Stage.STT,
        REALTIME_DIALECT,
        label=place.request_label,
        timeout_s=place.options.request_timeout_s,
    )
    detector = VAD(model="silero", min_silence_duration=place.options.vad_min_silence_s)
    made = openai.STT(
        use_realtime=True,
        turn_detection=options.get("turn_detection", NOT_GIVEN),
        noise_reduction_type=options.get("noise_reduction", NOT_GIVEN),
        vad=stamped_detector(detector) if model.startswith(REALTIME_ONLY) else NOT_GIVEN,
        **given,
    )
    # It would take livekit's shared session, whose sockets are not seen.
    made._session = session  # noqa: SLF001
    return closing(made, session)


def _address(place: Place, settings: StageSettings, profile: str) -> tuple[str, str]:
    if place.emulated:
        return f"{place.gateway_root(settings, profile)}/v1", place.gateway_key or ""
    options = settings.options
    variable = str(options.get("api_key_variable", "OPENAI_API_KEY"))
    base_url = options.get("base_url") or place.variable(
        "OPENAI_BASE_URL", "https://api.openai.com/v1"
    )
    if is_local(base_url) and "api_key_variable" not in options:
        # OpenAI's client insists on a key; a server that asks for none ignores it.
        return str(base_url), place.variable(variable) or "none"
    return str(base_url), place.required(variable, "key of the OpenAI-compatible endpoint")


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the LLM of a candidate."""
    base_url, key = _address(place, settings, "exact")
    model = settings.model or _SPEC.stages[Stage.LLM].default_model or ""
    return compatible_llm(place, base_url=base_url, key=key, model=model, options=settings.options)


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the TTS of a candidate."""
    base_url, key = _address(place, settings, "exact")
    spec = _SPEC.stages[Stage.TTS]
    return compatible_tts(
        place,
        base_url=base_url,
        key=key,
        model=settings.model or spec.default_model or "",
        voice=settings.voice or spec.default_voice or "",
        options=settings.options,
    )


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build the STT of a candidate."""
    base_url, key = _address(place, settings, "exact")
    model = settings.model or _SPEC.stages[Stage.STT].default_model or ""
    return compatible_stt(place, base_url=base_url, key=key, model=model, options=settings.options)
