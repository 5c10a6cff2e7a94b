"""OpenAdapter: Parakeet over its WebSocket, Kimi and GLM, Kokoro's voices."""

from typing import Any
from urllib.parse import urlsplit

from livekit.agents import llm, stt, tts

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.providers.openadapter import over_rest
from harness.domain.timeline import Stage
from harness.pipeline.place import Place
from harness.pipeline.providers.openai import compatible_llm, compatible_stt, compatible_tts
from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from harness.pipeline.recording.trial_observer import TrialObserver

__all__ = ["make_llm", "make_stt", "make_tts"]

_SPEC = PROVIDERS["openadapter"]
_STREAM_PATH = "/parakeet/v1/audio/stream"


def _base_url(place: Place) -> str:
    return str(place.variable("OPENADAPTER_BASE_URL", "https://api.openadapter.in/v1"))


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build Parakeet, or Whisper over REST: by the model's name, or with ``mode = "rest"``."""
    options = settings.options
    if over_rest(settings.model, options):
        if place.emulated:
            root, key = place.gateway_root(settings, "exact") + "/v1", place.gateway_key or ""
        else:
            root, key = _base_url(place), place.required("OPENADAPTER_API_KEY", "OpenAdapter key")
        model = settings.model or "whisper-large-v3"
        return compatible_stt(place, base_url=root, key=key, model=model, options=options)
    if place.emulated:
        root = place.gateway_root(settings, "exact")
        url, key = "ws" + root.removeprefix("http") + _STREAM_PATH, place.gateway_key or ""
    else:
        default = "wss://edge.openadapter.in/parakeet/v1/audio/stream"
        url = str(place.variable("PARAKEET_WS_URL", default))
        key = place.required("PARAKEET_API_KEY", "key of the Parakeet WebSocket")
    return ParakeetSTT(
        api_key=key,
        ws_url=url,
        language=str(options.get("language", "en")),
        observer=TrialObserver(urlsplit(url).hostname),
    )


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the chat model."""
    spec = _SPEC.stages[Stage.LLM]
    if place.emulated:
        base_url, key = place.gateway_root(settings, "exact") + "/v1", place.gateway_key or ""
    else:
        base_url = _base_url(place)
        key = place.required("OPENADAPTER_API_KEY", "OpenAdapter key")
    model = settings.model or place.variable("OPENADAPTER_LLM_MODEL", spec.default_model)
    return compatible_llm(
        place, base_url=base_url, key=key, model=str(model), options=settings.options
    )


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the speech model."""
    spec = _SPEC.stages[Stage.TTS]
    if place.emulated:
        base_url, key = place.gateway_root(settings, "exact") + "/v1", place.gateway_key or ""
    else:
        base_url = _base_url(place)
        key = place.required("OPENADAPTER_API_KEY", "OpenAdapter key")
    model = settings.model or place.variable("OPENADAPTER_TTS_MODEL", spec.default_model)
    voice = settings.voice or place.variable("OPENADAPTER_TTS_VOICE", spec.default_voice)
    return compatible_tts(
        place,
        base_url=base_url,
        key=key,
        model=str(model),
        voice=str(voice),
        options=settings.options,
    )
