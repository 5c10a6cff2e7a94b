"""Providers are found by their place, and what their files say holds together."""

import pkgutil
from importlib import import_module

import pytest

import harness.domain.providers as package
import harness.gateway
from harness.domain.providers import PROVIDERS, words
from harness.gateway.server import ROUTES

KINDS = {"str", "int", "float", "bool", "list", "mapping"}


def test_each_file_is_a_provider() -> None:
    """Every file of the package but the one with the types is a provider of its own name."""
    files = {each.name for each in pkgutil.iter_modules(package.__path__)} - {"spec"}
    assert files == set(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_makes_what_it_offers(name: str) -> None:
    """For each stage that a provider offers, its module makes a client, and for no other."""
    spec = PROVIDERS[name]
    module = import_module(f"harness.pipeline.providers.{spec.module or name}")
    offered = {stage.value for stage in spec.stages}
    assert {each for each in ("stt", "llm", "tts") if hasattr(module, f"make_{each}")} == offered


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_providers_facts_are_legal(name: str) -> None:
    """Options have known types, keys are read once, and a default is among the known names."""
    spec = PROVIDERS[name]
    for stage in spec.stages.values():
        assert all(kind in KINDS or len(words(kind)) > 1 for kind in stage.options.values())
        if stage.models:
            assert stage.default_model in stage.models
        if stage.voices:
            assert stage.default_voice in stage.voices
        if stage.extra_options is not None:
            assert "extra" in stage.options
    known = {key.name for key in spec.keys}
    known |= {key.name for stage in spec.stages.values() for key in stage.keys}
    for check in spec.key_checks:
        assert set(check.stages) <= set(spec.stages)
        assert {*check.keys, *check.secrets} <= known
        assert not check.address or check.address in known


def test_each_protocol_has_paths_of_its_own() -> None:
    """No two protocols of the gateway answer at one path."""
    places = [(each.method, each.path) for each in ROUTES]
    assert len(places) == len(set(places))
    listed = [
        import_module(f"harness.gateway.{each.name}")
        for each in pkgutil.iter_modules(harness.gateway.__path__)
        if each.name not in {"__main__", "process", "server"}
    ]
    assert sum(len(getattr(each, "ROUTES", ())) for each in listed) == len(ROUTES)
