"""Speko: a router before many providers, by its platform API.

Speko has no livekit plugin for Python on the package index, so these are ours. Its OpenAI-like
router is reached through the ``openai`` provider.
"""

import re
from typing import Any, Final

from livekit.agents import llm, stt, tts

from harness.domain.candidate import StageSettings
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.providers.speko.llm import SpekoLLM
from harness.pipeline.providers.speko.stt import SpekoSTT
from harness.pipeline.providers.speko.tts import SpekoTTS
from harness.pipeline.providers.speko.wire import SpekoEndpoint
from harness.pipeline.transport.transport import timed_client

__all__ = ["make_llm", "make_stt", "make_tts"]

_DEFAULT_BASE: Final = "https://api.speko.dev"
_OBJECTIVES: Final = ("balanced", "accuracy", "latency", "cost")
_REGIONS: Final = ("global", "us-east4", "europe-west3", "asia-southeast1")
_LANGUAGE: Final = re.compile(r"^[a-z]{2}(-[A-Z]{2})?$")
_AUTO: Final = "auto"


def _chosen(options: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    value = options.get(name)
    if value is not None and value not in allowed:
        raise ConfigurationError(f"speko.{name}: {value!r}; known: {', '.join(allowed)}")
    return value


def _intent(options: dict[str, Any]) -> dict[str, Any]:
    language = options.get("language", "en")
    if not isinstance(language, str) or not _LANGUAGE.match(language):
        raise ConfigurationError(f"speko.language: {language!r}; give a tag such as en or es-MX")
    intent: dict[str, Any] = {"language": language}
    region = _chosen(options, "region", _REGIONS)
    if region is not None:
        intent["region"] = region
    objective = _chosen(options, "optimize_for", _OBJECTIVES)
    if objective is not None:
        intent["optimizeFor"] = objective
    return intent


def _constraints(options: dict[str, Any], stage: Stage, model: str | None) -> dict[str, Any] | None:
    """Return the allow-lists; a model named ``vendor:model`` is the only one allowed."""
    allowed = dict(options.get("allowed_providers", {}))
    for name, entries in allowed.items():
        named = isinstance(entries, list) and all(isinstance(each, str) for each in entries)
        if name not in ("stt", "llm", "tts", "s2s") or not named:
            raise ConfigurationError(
                "speko.allowed_providers: give lists of vendor or vendor:model under stt, llm, tts"
            )
    if model is not None and ":" in model:
        allowed[stage.value] = [model]
    return {"allowedProviders": allowed} if allowed else None


def _endpoint(place: Place, settings: StageSettings, stage: Stage) -> SpekoEndpoint:
    options = dict(settings.options)
    if place.emulated:
        base, key = place.gateway_root(settings, "exact"), place.gateway_key or ""
    else:
        base = str(place.variable("SPEKO_BASE_URL", _DEFAULT_BASE)).rstrip("/")
        key = place.required("SPEKO_API_KEY", "key of Speko's platform")
    model = None if settings.model == _AUTO else settings.model
    return SpekoEndpoint(
        base_url=base,
        api_key=key,
        client=timed_client(
            label=place.request_label, timeout_s=place.options.request_timeout_s, stage=stage
        ),
        intent=_intent(options),
        constraints=_constraints(options, stage, model),
    )


def _renamed(options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {wire: options[name] for name, wire in names.items() if name in options}


def make_stt(place: Place, settings: StageSettings) -> stt.STT[Any]:
    """Build the STT of a candidate."""
    options = settings.options
    return SpekoSTT(
        _endpoint(place, settings, Stage.STT),
        keywords=options.get("keywords", ()),
        language=options.get("stt_language"),
    )


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the LLM of a candidate."""
    options = dict(settings.options)
    return SpekoLLM(
        _endpoint(place, settings, Stage.LLM),
        settings=_renamed(
            options,
            {
                "temperature": "temperature",
                "max_tokens": "maxTokens",
                "reasoning_effort": "reasoningEffort",
                "max_tool_hops": "maxToolHops",
                "parallel_tool_calls": "parallelToolCalls",
            },
        ),
        buffered=bool(options.get("buffered", False)),
    )


def make_tts(place: Place, settings: StageSettings) -> tts.TTS[Any]:
    """Build the TTS of a candidate."""
    asked = _renamed(
        dict(settings.options),
        {"speed": "speed", "instructions": "instructions", "spoken_form": "spokenForm"},
    )
    if settings.voice is not None:
        asked["voice"] = settings.voice
    if settings.model not in (None, _AUTO) and ":" not in str(settings.model):
        asked["model"] = settings.model
    return SpekoTTS(_endpoint(place, settings, Stage.TTS), settings=asked)
