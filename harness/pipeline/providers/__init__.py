"""One module for each provider: settings in, livekit plugins out.

A provider is one module here with ``make_stt``, ``make_llm`` and ``make_tts`` as it offers them,
one entry in :data:`MODULES`, one in ``harness.domain.providers`` and one protocol in the gateway.
"""

from importlib import import_module
from typing import Any

from harness.domain.suite import StageSettings
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place

__all__ = ["MODULES", "make_client"]

MODULES = {
    "baseten": "harness.pipeline.providers.baseten",
    "livekit": "harness.pipeline.providers.livekit_inference",
    "openadapter": "harness.pipeline.providers.openadapter",
    "openai": "harness.pipeline.providers.openai",
    "speko": "harness.pipeline.providers.speko",
}


def make_client(stage: Stage, place: Place, settings: StageSettings) -> Any:
    """Build the livekit plugin of one stage.

    Raises:
        ConfigurationError: the provider is unknown, has no such stage, or a key is missing.
    """
    name = MODULES.get(settings.provider)
    if name is None:
        known = ", ".join(sorted(MODULES))
        raise ConfigurationError(f"{stage.value}.provider: {settings.provider!r}; known: {known}")
    make = getattr(import_module(name), f"make_{stage.value}", None)
    if make is None:
        raise ConfigurationError(
            f"{stage.value}.provider: {settings.provider!r} offers no {stage.value}"
        )
    return make(place, settings)
