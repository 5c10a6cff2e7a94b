"""Providers are found by their place, and what their files say holds together."""

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

import harness.domain.providers as package
from harness.domain.providers import PROVIDERS, words
from harness.errors import ConfigurationError
from harness.gateway import protocols
from harness.gateway.server import routes

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
    found = routes()
    places = [(each.method, each.path) for each in found]
    assert len(places) == len(set(places))
    listed = [
        import_module(each.name)
        for each in pkgutil.walk_packages(protocols.__path__, f"{protocols.__name__}.")
    ]
    assert sum(len(getattr(each, "ROUTES", ())) for each in listed) == len(found)


def test_an_unfinished_protocol_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that is no protocol yet is told in a line with its name, not by a traceback."""
    package = tmp_path / "halfway"
    package.mkdir()
    route = "from harness.gateway.calls.route import Route\n"
    files = {
        "__init__": "",
        "broken": "def answer(:\n",
        "lacking": "import no_such_module_anywhere\n",
        "listing": "ROUTES = ('GET /',)\n",
        "one": route + "ROUTES = (Route(method='GET', path='/v1/x', handler=print),)\n",
        "two": route + "ROUTES = (Route(method='GET', path='/v1/x', handler=print),)\n",
    }
    for name, text in files.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        routes("halfway")
    for name in [each for each in sys.modules if each.partition(".")[0] == "halfway"]:
        monkeypatch.delitem(sys.modules, name)
    told = {line.partition(":")[0]: line for line in caught.value.problems}
    assert set(told) == {f"halfway/{each}.py" for each in ("broken", "lacking", "listing", "two")}
    assert "SyntaxError" in told["halfway/broken.py"]
    assert "no_such_module_anywhere" in told["halfway/lacking.py"]
    assert "is answered by halfway/one.py" in told["halfway/two.py"]
