"""What providers there are and what settings they know: one file for each, found by its place.

A file of this package with a ``SPEC`` is a provider. It is data, so that a suite can be checked, a
plan printed and help shown without importing livekit; ``harness.pipeline.providers`` builds
livekit's plugins from it, in a module of the same name.
"""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from harness.domain.providers.spec import EnvironmentKey, KeyCheck, ProviderSpec, StageSpec, words

__all__ = ["PROVIDERS", "EnvironmentKey", "KeyCheck", "ProviderSpec", "StageSpec", "words"]


def _found() -> dict[str, ProviderSpec]:
    specs = [
        getattr(import_module(f"{__name__}.{each.name}"), "SPEC", None)
        for each in pkgutil.iter_modules(__path__)
    ]
    return {each.name: each for each in specs if isinstance(each, ProviderSpec)}


PROVIDERS: Mapping[str, ProviderSpec] = MappingProxyType(_found())
"""Every provider by its name, in the order of the names."""
