"""Profiles from a user's TOML file.

One table for each profile, one sub-table for each stage, each key as in `profiles`; what is left
out is the default. A delay is a number of milliseconds, or a table that names its distribution::

    ["my-llm".llm]
    first_text = { p50_ms = 300, p95_ms = 700, max_ms = 4000 }
    gap = 12
    reasoning = { first = 150, gap = 20 }
    prompt_cache = { saving = 0.6, min_tokens = 16, block_tokens = 4 }
    faults = { rates = { rate-limited = 0.01 }, retry_after_s = 1 }   # first = 1: never again

    ["my-tts".tts]
    first_byte = { values_ms = [110, 120, 180] }
    realtime_factor = 0.2

    ["my-detector".interruption]
    compute = { p50_ms = 40, p95_ms = 90 }
    sustained_ms = 300

A router lists its upstreams, each of which may answer by another profile::

    ["my-router"]
    base = "exact"
    ["my-router".routing]
    failover = 80
    llm = [
        { provider = "alder", model = "fast", weight = 3, failure = 0.05 },
        { provider = "birch", model = "slow", profile = "kimi-k2.6@baseten" },
    ]

A deployment that scales to zero boots when it is asked, and sleeps again when nobody does::

    ["my-deployment"]
    base = "exact"
    boot = { p50_ms = 250000, p95_ms = 280000 }
    sleeps_after_s = 900

A profile may start from a shipped one: ``["slower-kimi"] base = "kimi-k2.6@baseten"`` and then the
keys that differ.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from harness.errors import ConfigurationError
from harness.gateway.profiles.distributions import Constant, Distribution, Empirical, Lognormal
from harness.gateway.profiles.faults import FaultKind, FaultMix
from harness.gateway.profiles.profiles import (
    Interims,
    InterruptionProfile,
    LlmProfile,
    Profile,
    PromptCache,
    Reasoning,
    SttProfile,
    TtsProfile,
)
from harness.gateway.profiles.routing import Routing, Upstream

__all__ = ["parse_profiles", "read_profiles"]

_STAGES: Final[Mapping[str, type[SttProfile | LlmProfile | TtsProfile | InterruptionProfile]]] = {
    "stt": SttProfile,
    "llm": LlmProfile,
    "tts": TtsProfile,
    "interruption": InterruptionProfile,
}
_KEYS: Final = ("base", "note", "routing", "boot", "sleeps_after_s")
_NESTED: Final[Mapping[str, type[Interims | Reasoning | PromptCache]]] = {
    "interims": Interims,
    "reasoning": Reasoning,
    "prompt_cache": PromptCache,
}
_DISTRIBUTIONS: Final = frozenset(
    {
        "hello",
        "endpoint_silence",
        "compute",
        "headers",
        "first_text",
        "first_byte",
        "first",
        "gap",
        "failover",
    }
)
_NAMES: Final = frozenset({"provider", "model", "profile", "audio", "scores_run"})
_FAULTS: Final = tuple(kind.value for kind in FaultKind)
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "recogniser": ("pocketsphinx", "oracle"),
    "role_chunk": ("early", "with-text", "none"),
}


def read_profiles(path: Path, shipped: Mapping[str, Profile]) -> dict[str, Profile]:
    """Return the shipped profiles and those of the file.

    Raises:
        ConfigurationError: with all mistakes of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    return {**shipped, **parse_profiles(text, str(path), shipped)}


def parse_profiles(text: str, name: str, shipped: Mapping[str, Profile]) -> dict[str, Profile]:
    """Return the profiles of a TOML text.

    Args:
        text: the text.
        name: the file's name, for messages.
        shipped: profiles that may serve as base and whose names are taken.

    Raises:
        ConfigurationError: with all mistakes, one line each.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: not TOML: {error}") from error
    problems: list[str] = []
    profiles: dict[str, Profile] = {}
    for profile_name, table in tables.items():
        where = f"{name}: {profile_name}"
        if not isinstance(table, dict):
            problems.append(f"{where}: must be a table with one table for each stage")
        elif profile_name in shipped:
            problems.append(f"{where}: a shipped profile has this name; choose another")
        else:
            profile = _profile(profile_name, table, where, shipped, problems)
            if profile is not None:
                profiles[profile_name] = profile
    for profile in profiles.values():
        problems.extend(_unknown_upstreams(profile, {**shipped, **profiles}, name))
    if problems:
        raise ConfigurationError(problems)
    return profiles


def _unknown_upstreams(profile: Profile, known: Mapping[str, Profile], where: str) -> list[str]:
    """Return what is wrong with the profiles that a router's upstreams answer by."""
    problems = []
    for stage in profile.stages if profile.routing is not None else ():
        assert profile.routing is not None
        for upstream in profile.routing.of(stage):
            if upstream.profile is None:
                continue
            serves = known.get(upstream.profile)
            field_name = f"{where}: {profile.name}.routing.{stage}: {upstream.name}"
            if serves is None:
                near = difflib.get_close_matches(upstream.profile, known, 1)
                problems.append(f"{field_name}: no profile {upstream.profile!r}" + _hint(near))
            elif stage not in serves.stages:
                problems.append(f"{field_name}: {upstream.profile!r} does not serve {stage}")
    return problems


def _profile(
    name: str,
    table: dict[str, Any],
    where: str,
    shipped: Mapping[str, Profile],
    problems: list[str],
) -> Profile | None:
    count = len(problems)
    stages: dict[str, Any] = {}
    base_name = table.get("base")
    base = shipped.get(base_name) if isinstance(base_name, str) else None
    if base_name is not None and base is None:
        near = difflib.get_close_matches(str(base_name), shipped, 1)
        problems.append(f"{where}.base: no profile {base_name!r}" + _hint(near))
    note = table.get("note", "" if base is None else f"as {base.name}, changed by {where}")
    if not isinstance(note, str):
        problems.append(f"{where}.note: must be a string")
    routing = None if base is None else base.routing
    sleep: dict[str, Any] = {}
    if base is not None:
        sleep = {"boot": base.boot, "sleeps_after_s": base.sleeps_after_s}
    for key, value in table.items():
        if key in ("base", "note"):
            continue
        if key in ("boot", "sleeps_after_s"):
            try:
                sleep[key] = _distribution(value) if key == "boot" else _seconds(value)
            except ValueError as error:
                problems.append(f"{where}.{key}: {error}")
        elif key == "routing":
            routing = _routing(value, f"{where}.routing", problems)
        elif key not in _STAGES:
            near = difflib.get_close_matches(key, (*_KEYS, *_STAGES), 1)
            problems.append(f"{where}.{key}: unknown key" + _hint(near))
        elif not isinstance(value, dict):
            problems.append(f"{where}.{key}: must be a table")
        else:
            old = None if base is None else getattr(base, key)
            stages[key] = _settings(_STAGES[key], value, f"{where}.{key}", old, problems)
    if len(problems) > count:
        return None
    for key in _STAGES:
        if base is not None and key not in stages:
            stages[key] = getattr(base, key)
    try:
        return Profile(name=name, note=note, routing=routing, **sleep, **stages)
    except (ValueError, TypeError, OverflowError) as error:
        problems.append(f"{where}: {error}")
        return None


def _routing(table: Any, where: str, problems: list[str]) -> Routing | None:
    """Return a router's upstreams, or None after noting what is wrong."""
    if not isinstance(table, dict):
        problems.append(f"{where}: must be a table")
        return None
    return _settings(Routing, table, where, None, problems)  # type: ignore[no-any-return]


def _upstreams(value: Any, where: str, problems: list[str]) -> tuple[Upstream, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("must be a list of tables with provider and model")
    made = [
        _settings(Upstream, each, f"{where}[{number}]", None, problems)
        for number, each in enumerate(value)
    ]
    return tuple(each for each in made if each is not None)


def _hint(near: list[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def _settings(
    kind: type[Any], table: dict[str, Any], where: str, old: Any, problems: list[str]
) -> Any:
    """Return a settings object from a table, or None after noting what is wrong."""
    count = len(problems)
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            told = _hint(near) or f"; known: {', '.join(sorted(known))}"
            problems.append(f"{where}.{key}: unknown key{told}")
            continue
        try:
            values[key] = _value(key, value, f"{where}.{key}", problems)
        except (ValueError, OverflowError) as error:
            problems.append(f"{where}.{key}: {error}")
    if len(problems) > count:
        return None
    try:
        return kind(**values) if old is None else replace(old, **values)
    except (ValueError, TypeError, OverflowError) as error:
        problems.append(f"{where}: {error}")
        return None


def _value(key: str, value: Any, where: str, problems: list[str]) -> Any:
    if key in _DISTRIBUTIONS:
        return _distribution(value)
    if key in _NESTED:
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        return _settings(_NESTED[key], value, where, None, problems)
    if key == "faults":
        return _faults(value)
    if key in _STAGES:
        return _upstreams(value, where, problems)
    if key == "score":
        ok = isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
        return tuple(_check(value, lambda _: ok, "three numbers: quality, latency, cost"))
    if key in _NAMES:
        return _check(value, lambda given: isinstance(given, str), "a string")
    if key in _CHOICES:
        return _check(value, lambda given: given in _CHOICES[key], " or ".join(_CHOICES[key]))
    if key == "voices":
        ok = isinstance(value, list) and all(isinstance(voice, str) for voice in value)
        return tuple(_check(value, lambda _: ok, "a list of names"))
    if key in ("stable", "tool_calls", "says_closed"):
        return _check(value, lambda given: isinstance(given, bool), "true or false")
    if key in ("max_sentences", "max_tokens", "min_tokens", "block_tokens"):
        return _check(value, lambda given: type(given) is int, "a whole number")
    return _check(value, _is_number, "a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(value: Any, test: Callable[[Any], bool], wanted: str) -> Any:
    if not test(value):
        raise ValueError(f"must be {wanted}, not {value!r}")
    return value


def _seconds(value: Any) -> float:
    if not _is_number(value):
        raise ValueError(f"must be seconds, not {value!r}")
    return float(value)


def _distribution(value: Any) -> Distribution:
    if _is_number(value):
        return Constant(ms=float(value))
    if isinstance(value, dict):
        keys = set(value)
        if keys == {"ms"} and _is_number(value["ms"]):
            return Constant(ms=float(value["ms"]))
        if {"p50_ms", "p95_ms"} <= keys <= {"p50_ms", "p95_ms", "max_ms"} and all(
            map(_is_number, value.values())
        ):
            return Lognormal(**{key: float(number) for key, number in value.items()})
        values = value.get("values_ms")
        if keys == {"values_ms"} and isinstance(values, list) and all(map(_is_number, values)):
            return Empirical(values_ms=tuple(map(float, values)))
    raise ValueError(
        "must be milliseconds, { p50_ms, p95_ms, max_ms } or { values_ms = [...] }, "
        f"not {value!r}"
    )


def _faults(value: Any) -> FaultMix:
    _check(value, lambda given: isinstance(given, dict), "a table with rates")
    rates = value.get("rates", {})
    unknown = set(value) - {field.name for field in fields(FaultMix)}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    _check(rates, lambda given: isinstance(given, dict), "a table of kinds and shares")
    pairs = []
    for kind, rate in rates.items():
        if kind not in _FAULTS:
            near = difflib.get_close_matches(kind, _FAULTS, 1)
            raise ValueError(f"unknown fault {kind!r}" + _hint(near))
        pairs.append((FaultKind(kind), _check(rate, _is_number, "a number")))
    seconds = {
        key: float(_check(number, _is_number, "a number of seconds"))
        for key, number in value.items()
        if key not in ("rates", "first")
    }
    first = value.get("first")
    if first is not None:
        _check(first, lambda given: type(given) is int, "a whole number")
    return FaultMix(rates=tuple(pairs), first=first, **seconds)
