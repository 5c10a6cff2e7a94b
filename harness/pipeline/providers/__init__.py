"""One module for each provider: settings in, livekit plugins out.

A provider is one file here with ``make_stt``, ``make_llm`` and ``make_tts`` as it offers them,
found by its name; what it offers stands in its file in ``harness.domain.providers``.
"""

from importlib import import_module
from typing import Any

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.transport.pools import let_all_connect

__all__ = ["make_client"]


def make_client(stage: Stage, place: Place, settings: StageSettings) -> Any:
    """Build the livekit plugin of one stage.

    Raises:
        ConfigurationError: the provider is unknown, has no such stage, or a key is missing.
    """
    spec = PROVIDERS.get(settings.provider)
    if spec is None:
        known = ", ".join(sorted(PROVIDERS))
        raise ConfigurationError(f"{stage.value}.provider: {settings.provider!r}; known: {known}")
    module = import_module(f"{__name__}.{spec.module or spec.name}")
    make = getattr(module, f"make_{stage.value}", None)
    if make is None:
        raise ConfigurationError(
            f"{stage.value}.provider: {settings.provider!r} offers no {stage.value}"
        )
    client = make(place, settings)
    let_all_connect(client)
    return client
