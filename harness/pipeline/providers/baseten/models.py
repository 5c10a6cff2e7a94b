"""Baseten's model APIs."""

from typing import Any

import openai as openai_sdk
from livekit.agents import llm
from livekit.plugins import baseten

from harness.domain.candidate import StageSettings
from harness.domain.timeline import Stage
from harness.pipeline.place import Place
from harness.pipeline.providers.baseten.account import SPEC, given, key_of
from harness.pipeline.transport.transport import timed_client

__all__ = ["make_llm"]

_LLM_URL = "https://inference.baseten.co/v1"


def make_llm(place: Place, settings: StageSettings) -> llm.LLM[Any]:
    """Build the chat model."""
    options = settings.options
    if place.emulated:
        base_url = place.gateway_root(settings, "exact") + "/baseten/v1"
    else:
        base_url = str(options.get("base_url", _LLM_URL))
    key = key_of(place)
    client = baseten.LLM(
        model=settings.model or SPEC.stages[Stage.LLM].default_model or "",
        api_key=key,
        base_url=base_url,
        temperature=given(options, "temperature"),
        top_p=given(options, "top_p"),
        reasoning_effort=given(options, "reasoning_effort"),
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
