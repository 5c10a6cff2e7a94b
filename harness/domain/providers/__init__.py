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
from harness.errors import ConfigurationError

__all__ = ["PROVIDERS", "EnvironmentKey", "KeyCheck", "ProviderSpec", "StageSpec", "words"]


def _found() -> dict[str, ProviderSpec]:
    found: dict[str, ProviderSpec] = {}
    problems: list[str] = []
    for each in pkgutil.iter_modules(__path__):
        if each.name == "spec":
            continue
        file = f"{__name__.replace('.', '/')}/{each.name}.py"
        try:
            spec = getattr(import_module(f"{__name__}.{each.name}"), "SPEC", None)
        except Exception as error:  # noqa: BLE001 - an unfinished file may raise anything
            problems.append(f"{file}: cannot be imported: {type(error).__name__}: {error}")
            continue
        if not isinstance(spec, ProviderSpec):
            problems.append(f"{file}: has no SPEC, which is to be a ProviderSpec")
        elif spec.name in found:
            problems.append(f"{file}: {spec.name!r} is the name of another provider, too")
        else:
            found[spec.name] = spec
    if problems:
        raise ConfigurationError(problems)
    return found


PROVIDERS: Mapping[str, ProviderSpec] = MappingProxyType(_found())
"""Every provider by its name, in the order of the names."""
