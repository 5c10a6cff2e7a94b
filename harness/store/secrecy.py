"""The secrets of this process, and texts without them.

Every text passes here at the one place where it leaves the process: a file, the terminal, an
export. What counts as a secret: the values of every variable that a provider's table or a suite
names, of every variable called so (``…_KEY``, ``…_TOKEN``), and what a suite holds in clear.
"""

import base64
import html
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.secrecy import MASK, clear_secrets, is_secret_variable, references
from harness.domain.suite import Suite

__all__ = [
    "mask_json",
    "mask_text",
    "mask_value",
    "redact",
    "redact_values",
    "remember_secrets",
    "secret_values",
]

# Secrets that no provider of the table declares but that may well be in the environment.
_FURTHER_SECRETS: Final = (
    "LIVEKIT_API_SECRET",
    "LIVEKIT_INFERENCE_API_SECRET",
    "LIVEKIT_API_KEY",
    "LIVEKIT_INFERENCE_API_KEY",
    "BASETEN_API_KEY",
    "SPEKO_API_KEY",
    "OPENAI_API_KEY",
    "OPENADAPTER_API_KEY",
    "PARAKEET_API_KEY",
)
_SHORTEST_SECRET: Final = 4
# What is stored and shown is searched for secrets of this length; shorter ones, and words of
# letters alone, stand in a text by right ("test", "response").
_SHORTEST_IN_TEXT: Final = 8
_WORD: Final = re.compile(r"[A-Za-z]{1,11}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
# So much of a secret's beginning is as good as a secret.
_CUT: Final = 12
# Keys that reach an error message by another way than our environment: what a server echoes.
_PATTERNS: Final = (
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{4,}"),
    re.compile(r"(?i)([?&](?:api[_-]?key|access_token|token|key|secret)=)[^&\s\"']+"),
    re.compile(r"(//[^/\s:@]*:)[^/\s@]+(?=@)"),
)

_named: set[str] = set()
_held: set[str] = set()


def remember_secrets(suite: Suite) -> None:
    """Count what a suite names and holds among the secrets of this process, from now on."""
    _named.update(_names_of(suite))
    _held.update(_clear_of(suite))


def secret_values(
    suite: Suite | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return all secrets: of the environment, and of a suite where one is given; longest first.

    Args:
        suite: also counts, whether it has been remembered or not.
        environ: in place of the process's environment.
    """
    values = os.environ if environ is None else environ
    names = {*_table_names(), *_FURTHER_SECRETS, *_named}
    names.update(_names_of(suite) if suite is not None else ())
    found = {values[name].strip() for name in names if name in values}
    found |= {
        value
        for name in values
        if is_secret_variable(name) and _is_telling(value := values[name].strip())
    }
    found |= _held
    found.update(_clear_of(suite) if suite is not None else ())
    return tuple(
        sorted(
            (each for each in found if len(each) >= _SHORTEST_SECRET),
            key=lambda each: (-len(each), each),
        )
    )


@lru_cache(maxsize=1)
def _table_names() -> frozenset[str]:
    names: set[str] = set()
    for spec in PROVIDERS.values():
        stages = [key for stage in spec.stages.values() for key in stage.keys]
        names.update(key.name for key in (*spec.keys, *stages) if key.secret)
    return frozenset(names)


def _settings_of(suite: Suite) -> Iterator[StageSettings]:
    for candidate in suite.candidates:
        for settings in (candidate.stt, candidate.llm, candidate.tts):
            if settings is not None:
                yield settings
    if suite.intelligibility is not None:
        yield suite.intelligibility


def _names_of(suite: Suite) -> Iterator[str]:
    for settings in _settings_of(suite):
        variable = settings.options.get("api_key_variable")
        if isinstance(variable, str):
            yield variable
        for name, value in settings.options.items():
            # An address is no secret, but for what it carries; that is found where it is clear.
            if name != "base_url":
                yield from references(value)


def _clear_of(suite: Suite) -> Iterator[str]:
    for settings in _settings_of(suite):
        for _, value in clear_secrets(settings.options):
            yield value
        address = settings.options.get("base_url")
        for name in references(address):
            value = os.environ.get(name, "")
            if "://" not in value:
                yield value
            else:
                yield from (each for _, each in clear_secrets({"base_url": value}))


def _is_telling(secret: str) -> bool:
    return len(secret) >= _SHORTEST_IN_TEXT and _WORD.fullmatch(secret) is None


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    """Return how a secret may be written, longest first."""
    data = secret.encode("utf-8", "surrogatepass")
    once = json.dumps(secret)[1:-1]
    plain = json.dumps(secret, ensure_ascii=False)[1:-1]
    percent = "".join(f"%{byte:02X}" for byte in data)
    found = {
        secret,
        once,
        plain,
        json.dumps(once)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        once.replace("/", "\\/"),
        repr(secret)[1:-1],
        secret.replace('"', '""'),
        html.escape(secret),
        html.escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        percent,
        percent.lower(),
    }
    for safe in ("", "/", "~", "/:"):
        quoted = urllib.parse.quote(data, safe=safe)
        found |= {quoted, re.sub(r"%[0-9A-F]{2}", lambda each: each[0].lower(), quoted)}
    found.add(urllib.parse.quote_plus(data))
    if len(data) >= _SHORTEST_IN_TEXT:
        # A header's name is folded to lower case on its way.
        found |= {secret.lower(), secret.upper(), data.hex(), data.hex().upper()}
        found |= {each for each in _base64(data) if len(each) >= _SHORTEST_IN_TEXT}
    found.discard("")
    return tuple(sorted(found, key=lambda each: (-len(each), each)))


def _base64(data: bytes) -> Iterator[str]:
    """Yield base64 of bytes at each of the three places within a group that they can stand at."""
    for before in range(3):
        padded = bytes(before) + data
        text = base64.b64encode(padded).decode("ascii")
        # The characters at both ends that hold bits of what stands around.
        core = text[-(-before * 8 // 6) : len(padded) * 8 // 6]
        yield core
        yield core.replace("+", "-").replace("/", "_")


def redact_values(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each secret replaced, in whatever form it is written.

    The beginning of one counts as well: a message may have been cut within it.
    """
    for secret in secrets:
        for form in _forms(secret):
            if form in text:
                text = text.replace(form, MASK)
        for form in _beginnings(secret):
            if form[:_CUT] in text:
                text = _without_beginning(text, form)
    return text


@lru_cache(maxsize=256)
def _beginnings(secret: str) -> tuple[str, ...]:
    if len(secret) <= _CUT:
        return ()
    once, plain = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return tuple(dict.fromkeys((secret, plain, once)))


def _without_beginning(text: str, form: str) -> str:
    start = text.find(form[:_CUT])
    while start >= 0:
        end = start + _CUT
        while end < len(text) and end - start < len(form) and text[end] == form[end - start]:
            end += 1
        text = f"{text[:start]}{MASK}{text[end:]}"
        start = text.find(form[:_CUT], start)
    return text


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the text without any secret of the environment or anything that looks like one.

    Texts that come from a provider, a library or an exception pass through here before they become
    part of a message.
    """
    secrets = secret_values(environ=environ)
    text = redact_values(text, secrets)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text


def mask_text(text: str, secrets: Sequence[str] | None = None) -> str:
    """Return a text as it may leave the process.

    Args:
        text: a page, a table, a line.
        secrets: to be masked; None is all that this process knows.
    """
    known = secret_values() if secrets is None else secrets
    telling = [each for each in known if _is_telling(each)]
    text = redact_values(text, (each for each in telling if not _DIGITS.fullmatch(each)))
    for each in telling:
        if _DIGITS.fullmatch(each):
            # A number that merely holds these digits is another number.
            text = re.sub(rf"(?<![0-9.]){each}(?![0-9.])", MASK, text)
    return text


def mask_value(value: Any, secrets: Sequence[str] | None = None) -> Any:
    """Return a JSON value with its texts, names included, as they may leave the process."""
    known = secret_values() if secrets is None else secrets
    telling = tuple(each for each in known if _is_telling(each))
    return _masked(value, telling) if telling else value


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return redact_values(value, secrets)
    if isinstance(value, Mapping):
        return {
            redact_values(key, secrets) if isinstance(key, str) else key: _masked(each, secrets)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(each, secrets) for each in value]
    return value


def mask_json(text: str, secrets: Sequence[str] | None = None, *, indent: int | None = None) -> str:
    """Return a JSON document as it may leave the process; as it is where it holds no secret.

    Numbers stay: only texts and names are masked.
    """
    known = secret_values() if secrets is None else secrets
    telling = tuple(each for each in known if _is_telling(each))
    if not any(form in text for each in telling for form in _quick(each)):
        return text
    separators = (",", ":") if indent is None else None
    return json.dumps(
        _masked(json.loads(text), telling), ensure_ascii=False, indent=indent, separators=separators
    )


def _quick(secret: str) -> tuple[str, ...]:
    """Return texts of which one stands wherever a secret, or the beginning of one, does."""
    return (*_forms(secret), *(each[:_CUT] for each in _beginnings(secret)))
