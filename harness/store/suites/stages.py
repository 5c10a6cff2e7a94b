"""Who performs a stage, read from a candidate's table and checked against the provider's own."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from harness.domain.candidate import CACHES, StageSettings
from harness.domain.providers import PROVIDERS, StageSpec, words
from harness.domain.timeline import Stage
from harness.store.table import Table, nearest

__all__ = ["SCRIPTED_STAGES", "plain", "read_stage"]

SCRIPTED_STAGES: Final = (Stage.STT, Stage.LLM, Stage.TTS)
"""The stages that a candidate names a provider for."""

_STAGE_KEYS = ("provider", "model", "voice", "profile", "cache")


def read_stage(table: Table, stage: Stage, *, strict: bool) -> StageSettings:
    """Return a stage's settings; mistakes gather in the table's list.

    Args:
        table: ``[candidate.stt]`` and the like.
        stage: which of the three.
        strict: an unknown provider or option is a mistake; False reads what a newer or older
            version has stored.
    """
    provider = table.needed_text("provider")
    spec: StageSpec | None = None
    if provider and provider in PROVIDERS:
        spec = PROVIDERS[provider].stages.get(stage)
        if spec is None and strict:
            able = [name for name, each in PROVIDERS.items() if stage in each.stages]
            table.problem(
                "provider",
                f"{provider!r} offers no {stage.value}; these do: {', '.join(sorted(able))}",
            )
    elif provider and strict:
        table.problem("provider", f"{provider!r} is unknown; {nearest(provider, PROVIDERS)}")
    model, profile = table.maybe_text("model"), table.maybe_text("profile")
    voice = table.maybe_text("voice")
    if voice is not None and stage is not Stage.TTS:
        table.problem("voice", "only a tts has a voice")
    cache = table.word("cache", CACHES[0], CACHES)
    if cache != CACHES[0] and stage is not Stage.LLM:
        table.problem("cache", "only an llm's prompt can be kept from caches; what is said cannot")
        cache = CACHES[0]
    options = _options(table, spec, strict=strict)
    if spec is not None and strict:
        _check_extra(table, spec, model or spec.default_model or "", options)
    return StageSettings(
        provider=provider,
        model=model,
        voice=voice,
        profile=profile,
        cache=cache,
        options=options,
    )


def _options(table: Table, spec: StageSpec | None, *, strict: bool) -> Mapping[str, Any]:
    """Return every further key, checked against the provider's table where there is one."""
    found: dict[str, Any] = {}
    for key in table.rest():
        kind = spec.options.get(key) if spec is not None else None
        if kind is None:
            value = table.take(key)
            if not strict:
                found[key] = value
            elif spec is not None:
                known = (*_STAGE_KEYS, *spec.options)
                table.problem(key, f"unknown key; {nearest(key, known)}")
            continue
        value = _option(table, key, kind if strict or not words(kind) else "str")
        if value is not None:
            found[key] = value
    return MappingProxyType(found)


def _check_extra(table: Table, spec: StageSpec, model: str, options: Mapping[str, Any]) -> None:
    """Note what the vendor of a model, or of one to fall back on, cannot be told."""
    if spec.extra_options is None:
        return
    given = [("extra", model, options.get("extra"))]
    for number, entry in enumerate(options.get("fallback") or (), start=1):
        if isinstance(entry, Mapping):
            name = str(entry.get("model", ""))
            given.append((f"fallback[{number}].extra", name, entry.get("extra")))
            for key in sorted(set(entry) - {"model", "voice", "extra"}):
                advice = nearest(key, ("model", "voice", "extra"))
                table.problem(f"fallback[{number}].{key}", f"unknown key; {advice}")
    for where, name, extra in given:
        known = spec.extra_options(name)
        if known is None or not isinstance(extra, Mapping):
            continue
        for key in sorted(set(extra) - known):
            vendor = name.partition(":")[0]
            table.problem(f"{where}.{key}", f"{vendor} has no such option; {nearest(key, known)}")


def _option(table: Table, key: str, kind: str) -> Any:
    if words(kind):
        return table.word(key, "", words(kind)) or None
    if kind == "str":
        return table.maybe_text(key)
    if kind == "int":
        return table.maybe_integer(key, low=-(2**31))
    if kind == "float":
        return table.maybe_number(key)
    if kind == "bool":
        return table.boolean(key, default=False)
    if kind == "list":
        return _listed(table, key)
    return plain(table.take(key)) if _is_table(table, key) else None


def _listed(table: Table, key: str) -> list[Any] | None:
    """Return a list of names or tables, as a provider's own options have it."""
    value = table.take(key)
    if isinstance(value, list) and all(isinstance(each, str | Mapping) for each in value):
        return [plain(each) for each in value]
    table.problem(key, "has to be a list of texts or tables: [ ... ]")
    return None


def _is_table(table: Table, key: str) -> bool:
    value = table.take(key)
    if isinstance(value, Mapping):
        return True
    table.problem(key, "has to be a table: { name = value }")
    return False


def plain(value: Any) -> Any:
    """Return a copy of a document's value in dictionaries and lists alone."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
