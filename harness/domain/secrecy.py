"""What looks like a secret by its place: names of fields and variables, parts of an address."""

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from harness.domain.candidate import StageSettings

__all__ = [
    "MASK",
    "clear_secrets",
    "is_secret_name",
    "is_secret_variable",
    "references",
    "resolved",
    "shown",
    "with_variables",
]

MASK: Final = "[redacted]"
"""What stands where a secret stood."""

_VARIABLE: Final = re.compile(r"(?i)(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$")
_FIELD: Final = re.compile(
    r"(?i)auth(?!or(?!i))|cookie|secret|passw|credential|signature"
    r"|(?:^|[-_.])(?<!cache[-_.])(?:key|token|sig|jwt)$"
    r"|(?:api|access|private|subscription)[-_.]?(?:key|token)$"
)
_REFERENCE: Final = re.compile(r"\$(?:\{([A-Z_][A-Z0-9_]*)\}|([A-Z_][A-Z0-9_]*))")


def is_secret_variable(name: str) -> bool:
    """Tell whether an environment variable holds a secret by its name: ``…_KEY``, ``…_TOKEN``."""
    return _VARIABLE.search(name) is not None


def is_secret_name(name: str) -> bool:
    """Tell whether a header or field holds a secret by its name, such as ``Authorization``."""
    return _FIELD.search(name) is not None


def references(value: Any) -> tuple[str, ...]:
    """Return the variables that a value names as ``$NAME`` or ``${NAME}``, each once."""
    return tuple(dict.fromkeys(_references(value)))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        for found in _REFERENCE.finditer(value):
            yield found.group(1) or found.group(2)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _references(each)


def resolved(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a value with what its ``$NAME`` refer to.

    Raises:
        KeyError: a variable is not there.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: variables[found.group(1) or found.group(2)], value)
    if isinstance(value, Mapping):
        return {name: resolved(each, variables) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(each, variables) for each in value]
    return value


def with_variables(settings: StageSettings, variables: Mapping[str, str]) -> StageSettings:
    """Return a stage's settings with what the ``$NAME`` of its options refer to.

    A variable that is not there is empty; whoever starts a run has refused that before.
    """
    named = references(settings.options)
    if not named:
        return settings
    given = {name: variables.get(name, "") for name in named}
    return replace(settings, options=resolved(settings.options, given))


def shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's options as they may be shown and stored: secrets in clear are masked."""
    return {name: _shown(name, value, secret=False) for name, value in options.items()}


def _shown(name: str, value: Any, *, secret: bool) -> Any:
    secret = secret or is_secret_name(name)
    if name == "api_key_variable" or name.endswith("_variable"):
        return value
    if isinstance(value, Mapping):
        return {key: _shown(str(key), each, secret=secret) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown("", each, secret=secret) for each in value]
    if not isinstance(value, str):
        return value
    if secret:
        return value if not value or _REFERENCE.search(value) else MASK
    return _shown_address(value)


def _shown_address(value: str) -> str:
    for each in _in_address(value):
        for before, after in ((":", "@"), ("//", "@"), ("=", "&"), ("=", "#")):
            value = value.replace(f"{before}{each}{after}", f"{before}{MASK}{after}")
        if value.endswith(f"={each}"):
            value = value[: -len(each)] + MASK
    return value


def clear_secrets(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return where a stage's options hold a secret in clear, and the secret.

    A secret that follows a scheme, as in ``Bearer …``, is given without it as well.
    """
    return tuple(_clear("", options, secret=False))


def _clear(place: str, value: Any, *, secret: bool) -> Iterator[tuple[str, str]]:
    name = place.rpartition(".")[2]
    if name.endswith("_variable"):
        return
    secret = secret or is_secret_name(name)
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _clear(f"{place}.{key}" if place else str(key), each, secret=secret)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _clear(place, each, secret=secret)
    elif isinstance(value, str) and value:
        if secret and not _REFERENCE.search(value):
            yield place, value
            if " " in value:
                yield place, value.rpartition(" ")[2]
        elif not secret:
            for each in _in_address(value):
                yield place, each


def _in_address(value: str) -> tuple[str, ...]:
    """Return the secrets of an address: its user's password, and values that are named so."""
    if "://" not in value:
        return ()
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError:
        return ()
    found = []
    who = parts.netloc.rpartition("@")[0]
    if who:
        user, colon, password = who.partition(":")
        found.append(password if colon else user)
    for item in parts.query.split("&"):
        name, equals, text = item.partition("=")
        if equals and is_secret_name(urllib.parse.unquote(name)):
            found.append(text)
    return tuple(each for each in found if each and not _REFERENCE.search(each))
