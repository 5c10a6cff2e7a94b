"""``turnbench providers``: what there is to choose from, and whether it is ready here."""

import argparse
import json
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from harness.cli.shared.key_checks import is_set, lacking
from harness.domain.providers import PROVIDERS, EnvironmentKey, ProviderSpec, StageSpec
from harness.errors import ConfigurationError
from harness.store.runs.environment import load_dotenv, provider_keys
from harness.store.table import nearest

__all__ = ["providers"]


def providers(options: argparse.Namespace) -> int:
    """List the providers, or all about one."""
    load_dotenv(Path.cwd())
    if options.name is not None and options.name not in PROVIDERS:
        raise ConfigurationError(
            f"{options.name}: no such provider; {nearest(options.name, PROVIDERS)}"
        )
    chosen = [PROVIDERS[options.name]] if options.name else list(PROVIDERS.values())
    if options.json:
        print(json.dumps([_document(each) for each in chosen], ensure_ascii=False, indent=1))
        return 0
    for number, spec in enumerate(chosen):
        if number:
            print()
        _print(spec, full=options.name is not None)
    if options.name is None:
        print("\n`turnbench providers NAME` shows models, voices and options.")
    return 0


def _print(spec: ProviderSpec, *, full: bool) -> None:
    missing = lacking(spec, spec.stages)
    state = f"needs {', '.join(missing)}" if missing else "ready"
    print(f"{spec.name}  {spec.title}: {', '.join(stage.value for stage in spec.stages)}; {state}")
    if spec.note:
        _wrap(spec.note, "  ", "  ")
    for stage, stage_spec in spec.stages.items():
        _wrap(f"{stage_spec.does} ({_offer(stage_spec)})", f"  {stage.value}  ", "       ")
    variables = [(key.name, _key_text(key)) for key in provider_keys(spec.name, spec.stages)]
    variables += [(name, _choice_text(name, what)) for name, what in _choices(spec)]
    width = max((len(name) for name, _ in variables), default=0)
    for name, text in variables:
        print(f"  {name:{width}}  {text}")
    if not full:
        return
    for stage, stage_spec in spec.stages.items():
        print(f"  [{stage.value}]")
        for name, text in _stage_lines(stage_spec):
            _wrap(text, f"    {name:10} ", " " * 15)


def _wrap(text: str, first: str, rest: str) -> None:
    """Print a text within 100 columns; nothing that a user may copy is broken."""
    print(
        textwrap.fill(
            text,
            100,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _offer(spec: StageSpec) -> str:
    """Say what there is to choose from, in a few words."""
    more = len(spec.models) - 1
    found = [f"{spec.default_model} and {more} more" if more > 0 else str(spec.default_model)]
    if spec.voices:
        found.append(f"{len(spec.voices)} voices")
    return ", ".join(found)


def _choices(spec: ProviderSpec) -> list[tuple[str, str]]:
    """Return the variables that name a model or a voice where a suite names none."""
    found = []
    for stage, each in spec.stages.items():
        for name, what in (
            (each.model_variable, f"model of the {stage.value}"),
            (each.voice_variable, f"voice of the {stage.value}"),
        ):
            if name is not None:
                found.append((name, what))
    return found


def _choice_text(name: str, what: str) -> str:
    return f"{what} ({os.environ[name]})" if is_set(name) else f"{what} (not set)"


def _key_text(key: EnvironmentKey) -> str:
    """Say what a variable is for and whether it is set; never its value."""
    if is_set(key.name):
        state = "set"
    elif key.default is not None:
        state = f"default {key.default}"
    else:
        state = "not set"
    return f"{key.purpose} ({state}{', required' if key.required else ''})"


def _stage_lines(spec: StageSpec) -> list[tuple[str, str]]:
    lines = []
    if spec.default_model:
        variable = f", or {spec.model_variable}" if spec.model_variable else ""
        lines.append(("model", f"default {spec.default_model}{variable}"))
    if spec.models:
        lines.append(("models", ", ".join(spec.models)))
    if spec.default_voice:
        variable = f", or {spec.voice_variable}" if spec.voice_variable else ""
        lines.append(("voice", f"default {spec.default_voice}{variable}"))
    if spec.voices:
        lines.append(("voices", ", ".join(spec.voices)))
    if spec.options:
        options = ", ".join(f"{name} ({kind})" for name, kind in spec.options.items())
        lines.append(("options", options))
    if spec.extra_options is not None:
        lines += _extra_lines(spec)
    return lines


def _extra_lines(spec: StageSpec) -> list[tuple[str, str]]:
    """Return what ``extra`` may hold, for the models of which that is known."""
    assert spec.extra_options is not None
    users: dict[frozenset[str], list[str]] = {}
    for model in spec.models:
        known = spec.extra_options(model)
        if known is not None:
            users.setdefault(known, []).append(model)
    vendors = Counter(models[0].partition("/")[0] for models in users.values())
    lines = []
    for known, models in users.items():
        vendor = models[0].partition("/")[0]
        whose = "all" if len(users) == 1 else vendor if vendors[vendor] == 1 else f"{models[0]} …"
        lines.append(("extra", f"{whose}: {', '.join(sorted(known))}"))
    return lines


def _document(spec: ProviderSpec) -> dict[str, Any]:
    missing = lacking(spec, spec.stages)
    return {
        "name": spec.name,
        "title": spec.title,
        "note": spec.note,
        "ready": not missing,
        "missing": list(missing),
        "keys": [
            {
                "name": key.name,
                "purpose": key.purpose,
                "required": key.required,
                "secret": key.secret,
                "default": key.default,
                "set": is_set(key.name),
            }
            for key in provider_keys(spec.name, spec.stages)
        ],
        "choices": [
            {"name": name, "purpose": what, "set": is_set(name)} for name, what in _choices(spec)
        ],
        "stages": {
            stage.value: {
                "does": each.does,
                "default_model": each.default_model,
                "models": list(each.models),
                "default_voice": each.default_voice,
                "voices": list(each.voices),
                "options": dict(each.options),
            }
            for stage, each in spec.stages.items()
        },
    }
