"""What looks like a secret by its place, and the variables that a suite names instead."""

from typing import Any

import pytest

from harness.domain.candidate import StageSettings
from harness.domain.secrecy import (
    MASK,
    clear_secrets,
    is_secret_name,
    is_secret_variable,
    references,
    shown,
    with_variables,
)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("proxy-authorisation", True),
        ("X-Api-Key", True),
        ("x_access_token", True),
        ("Cookie", True),
        ("client_secret", True),
        ("password", True),
        ("sig", True),
        ("author", False),
        ("max_tokens", False),
        ("prompt_cache_key", False),
        ("keyterms", False),
        ("X-Speko-Objective", False),
        ("model", False),
    ],
)
def test_names_of_fields(name: str, *, secret: bool) -> None:
    """A header or a field is secret by what it is called."""
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("ACME_KEY", True),
        ("acme_api_token", True),
        ("DB_PASSWORD", True),
        ("SECRET", True),
        ("KEYBOARD", False),
        ("TOKENS_PER_SECOND", False),
        ("OPENADAPTER_BASE_URL", False),
    ],
)
def test_names_of_variables(name: str, *, secret: bool) -> None:
    """A variable is secret by how its name ends."""
    assert is_secret_variable(name) is secret


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"base_url": "https://h/v1"}, {"base_url": "https://h/v1"}),
        ({"base_url": "https://u:pw@h/v1?key=k&x=1"}, f"https://u:{MASK}@h/v1?key={MASK}&x=1"),
        ({"base_url": "https://token@h/v1"}, f"https://{MASK}@h/v1"),
        ({"base_url": "https://h/v1?key=$ACME"}, {"base_url": "https://h/v1?key=$ACME"}),
        ({"extra_headers": {"X-Api-Key": "abc"}}, {"extra_headers": {"X-Api-Key": MASK}}),
        ({"extra_headers": {"X-Api-Key": "$ACME"}}, {"extra_headers": {"X-Api-Key": "$ACME"}}),
        ({"extra_body": {"auth": {"id": "i"}}}, {"extra_body": {"auth": {"id": MASK}}}),
        ({"extra_body": {"max_tokens": 5, "stop": ["a"]}}, None),
        ({"api_key_variable": "MY_KEY"}, None),
    ],
)
def test_what_is_shown(options: dict[str, Any], stored: Any) -> None:
    """A secret in clear is masked where it stands; a reference and all else stay."""
    expected = (
        options if stored is None else {"base_url": stored} if isinstance(stored, str) else stored
    )
    assert shown(options) == expected
    assert bool(clear_secrets(options)) is (expected != options)
    # What was masked once is stored again as it is.
    assert shown(expected) == expected


def test_variables() -> None:
    """A text may name variables anywhere; what looks like one by chance is left alone."""
    options = {
        "base_url": "https://$HOST/v1",
        "extra_headers": {"X": "Bearer ${TOKEN}", "Y": "$5 and $lower"},
        "extra_body": {"deep": [{"er": "$TOKEN"}], "number": 5},
    }
    assert references(options) == ("HOST", "TOKEN")
    settings = StageSettings(provider="openai", options=options)
    found = with_variables(settings, {"HOST": "h.example", "TOKEN": "t"}).options
    assert found == {
        "base_url": "https://h.example/v1",
        "extra_headers": {"X": "Bearer t", "Y": "$5 and $lower"},
        "extra_body": {"deep": [{"er": "t"}], "number": 5},
    }
    plain = StageSettings(provider="openai", options={"base_url": "http://h"})
    assert with_variables(plain, {}) is plain
