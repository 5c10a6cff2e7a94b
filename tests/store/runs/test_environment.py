"""Provenance, keys and the secrets among them."""

import json
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.candidate import Candidate, StageSettings
from harness.store.runs.environment import (
    collect_environment,
    load_dotenv,
    missing_keys,
)
from harness.store.secrecy import redact, redact_values, secret_values
from harness.store.suites.suite import read_suite
from tests.runner.scripted_performer import suite_of

SECRET = 'pk+/="ä b'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps({"key": SECRET}, ensure_ascii=False),
        urllib.parse.quote(SECRET, safe=""),
        "wss://host/stream?token=" + urllib.parse.quote_plus(SECRET),
    ],
)
def test_redact_finds_every_form(form: str) -> None:
    """A secret is taken out however JSON or a URL writes it."""
    shown = redact(f"before {form} after", {"PARAKEET_API_KEY": SECRET})
    assert "pk" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted]"),
        ("GET /v1?api_key=abc&x=1", "GET /v1?api_key=[redacted]&x=1"),
        ("wss://h/s?token=abc failed", "wss://h/s?token=[redacted] failed"),
        ("https://user:pass@host/v1", "https://user:[redacted]@host/v1"),
        ("http://127.0.0.1:8080/v1: refused", "http://127.0.0.1:8080/v1: refused"),
        ("12 tokens=5, at 10:30", "12 tokens=5, at 10:30"),
    ],
)
def test_redact_what_looks_like_a_secret(text: str, shown: str) -> None:
    """A key that a server echoes is taken out without being known; plain text stays."""
    assert redact(text, {}) == shown


@given(st.text(), st.lists(st.text(min_size=8), max_size=3))
def test_no_secret_survives(text: str, secrets: list[str]) -> None:
    """After redaction no secret is part of what was around it."""
    ordered = sorted(secrets, key=len, reverse=True)
    shown = redact_values(text + "".join(secrets), ordered)
    for secret in ordered:
        if secret not in "[redacted]":
            assert secret not in shown.replace("[redacted]", "\0")


def test_secret_values() -> None:
    """All keys of the table count, the suite's own included, the longest first."""
    own = StageSettings(provider="openai", options={"api_key_variable": "MY_VLLM_KEY"})
    suite = suite_of("a", candidates=(Candidate(name="a", stt=own, llm=own, tts=own),))
    environ = {
        "OPENAI_API_KEY": "short-one",
        "MY_VLLM_KEY": "a-longer-secret",
        "OPENADAPTER_BASE_URL": "https://not.secret",
        "PARAKEET_API_KEY": "x",
    }
    assert secret_values(suite, environ) == ("a-longer-secret", "short-one")


def test_missing_keys() -> None:
    """Each missing variable is one line with its purpose and who needs it, and no value."""
    lines = missing_keys(suite_of("a", "b"), {"OPENADAPTER_API_KEY": "  "})
    held = "not set; it holds OpenAdapter's key"
    assert lines == (
        f"PARAKEET_API_KEY: {held} of the Parakeet WebSocket, needed by a.stt, b.stt",
        (
            f"OPENADAPTER_API_KEY: {held} of LLM, TTS and Whisper,"
            " needed by a.llm, a.tts, b.llm, b.tts"
        ),
    )
    full = {"PARAKEET_API_KEY": "p", "OPENADAPTER_API_KEY": "o"}
    assert missing_keys(suite_of("a"), full) == ()


def test_own_key_variable() -> None:
    """A stage that names its own variable needs that one and not the provider's."""
    own = StageSettings(provider="openai", options={"api_key_variable": "MY_VLLM_KEY"})
    suite = suite_of("a", candidates=(Candidate(name="a", stt=own, llm=own, tts=own),))
    (line,) = missing_keys(suite, {})
    assert line.startswith("MY_VLLM_KEY: not set")
    assert missing_keys(suite, {"MY_VLLM_KEY": "k"}) == ()


def test_variables_that_a_suite_names() -> None:
    """A variable that a suite takes a value from has to be there; no run keeps one in clear."""
    options = {"base_url": "http://127.0.0.1:1/v1", "extra_headers": {"X-Key": "$ACME_HEADER"}}
    named = StageSettings(provider="openai", options=options)
    suite = suite_of("a", candidates=(Candidate(name="a", llm=named),))
    assert missing_keys(suite, {}) == (
        "ACME_HEADER: not set; it holds what the suite takes from it, needed by a.llm",
    )
    assert missing_keys(suite, {"ACME_HEADER": "value-of-it"}) == ()
    assert "value-of-it" in secret_values(suite, {"ACME_HEADER": "value-of-it"})
    lost = StageSettings(
        provider="openai", options={**options, "extra_headers": {"X-Key": "[redacted]"}}
    )
    (line,) = missing_keys(suite_of("a", candidates=(Candidate(name="a", llm=lost),)), {})
    assert line.startswith("a.llm: the suite held a secret in clear")


def test_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over a `.env`, and a nearer one over a farther one."""
    for name in ("TB_ONE", "TB_TWO", "TB_THREE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TB_ONE", "shell")
    near, far = tmp_path / "near", tmp_path / "far"
    for folder, text in ((near, "TB_ONE=n\nTB_TWO=n\n"), (far, "TB_TWO=f\nTB_THREE=f\n")):
        folder.mkdir()
        (folder / ".env").write_text(text, encoding="utf-8")
    assert len(load_dotenv(near, far, near, tmp_path)) == 2
    import os

    assert (os.environ["TB_ONE"], os.environ["TB_TWO"], os.environ["TB_THREE"]) == (
        "shell",
        "n",
        "f",
    )


def test_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment is plain JSON without a value of any key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-show-this")
    found = collect_environment(tmp_path)
    text = json.dumps(found)
    assert "sk-never" not in text
    assert found["machine"]["cores"] >= 1
    assert found["packages"]["numpy"]
    assert found["git"] is None
    assert found["clock"]["uncertainty_ns"] >= 0


def test_git_state() -> None:
    """The commit and whether the work tree differs are told."""
    found = collect_environment(Path(__file__).parent)["git"]
    assert found is None or (len(found["commit"]) == 40 and found["dirty"] in (True, False, None))


def test_one_address_cannot_be_two_deployments(tmp_path: Path) -> None:
    """A variable that names one deployment is told where two stages of a candidate rely on it."""
    stage = 'provider = "baseten"'
    path = tmp_path / "two.toml"
    path.write_text(
        'name = "two"\nvia = "live"\n[[dataset]]\npath = "starter"\n'
        f'[[candidate]]\nname = "a"\nstt = {{ {stage} }}\nllm = {{ {stage} }}\n'
        f"tts = {{ {stage} }}\n",
        encoding="utf-8",
    )
    keys = {"BASETEN_API_KEY": "k", "BASETEN_MODEL_ENDPOINT": "wss://one.example/websocket"}
    (line,) = missing_keys(read_suite(path), keys)
    assert "cannot serve a.stt and a.tts at once" in line
    text = path.read_text(encoding="utf-8").replace("tts = { ", 'tts = { model_id = "x", ')
    path.write_text(text, encoding="utf-8")
    assert missing_keys(read_suite(path), keys) == ()
