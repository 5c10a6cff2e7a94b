"""``turnbench providers``: what there is to choose from, and whether it is ready here."""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.domain.providers import PROVIDERS, EnvironmentKey, ProviderSpec, StageSpec
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.store.environment import load_dotenv, provider_keys
from harness.store.table import nearest

__all__ = ["lacking", "providers"]


def lacking(spec: ProviderSpec, stages: Iterable[Stage]) -> tuple[str, ...]:
    """Return the names of required environment variables that are not set."""
    return tuple(
        key.name
        for key in provider_keys(spec.name, stages)
        if key.required and not (_is_set(key.name) or (key.instead and _is_set(key.instead)))
    )


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())


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
        print(f"  {spec.note}")
    for key in provider_keys(spec.name, spec.stages):
        print(f"  {key.name:24} {_key_text(key)}")
    if not full:
        return
    for stage, stage_spec in spec.stages.items():
        print(f"  [{stage.value}]")
        for name, text in _stage_lines(stage_spec):
            print(f"    {name:10} {text}")


def _key_text(key: EnvironmentKey) -> str:
    """Say what a variable is for and whether it is set; never its value."""
    if _is_set(key.name):
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
                "set": _is_set(key.name),
            }
            for key in provider_keys(spec.name, spec.stages)
        ],
        "stages": {
            stage.value: {
                "default_model": each.default_model,
                "models": list(each.models),
                "default_voice": each.default_voice,
                "voices": list(each.voices),
                "options": dict(each.options),
            }
            for stage, each in spec.stages.items()
        },
    }
