"""Whether each provider takes the key that is set: one request that costs nothing.

What is asked is a list (of models, of voices) or, where there is none, that a WebSocket opens. Only
a refusal is a failure: whoever has no such list has not refused the key.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from harness.authorities import trusted
from harness.cli.shared.finding import Finding
from harness.domain.providers import PROVIDERS, KeyCheck, ProviderSpec
from harness.domain.secrecy import with_variables
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.store.runs.environment import provider_keys, utc_now
from harness.store.secrecy import redact

__all__ = ["check_keys", "is_set", "lacking"]

_TIMEOUT_S: Final = 5.0
_STAGES: Final = (Stage.STT, Stage.LLM, Stage.TTS)
_OPENED: Final = 101
_REFUSALS: Final = (401, 403)
_TOKEN_S: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One key at one address.

    Attributes:
        provider: by name.
        variable: which holds the key.
        check: how to ask.
        base_url: where.
    """

    provider: str
    variable: str
    check: KeyCheck
    base_url: str


def check_keys(suite: Suite | None) -> Iterable[Finding]:
    """Return a finding for each key that an address took or refused.

    Args:
        suite: live, whose stages are asked; None asks every provider whose key is set.
    """
    questions = list(dict.fromkeys(_questions(suite)))
    if not questions:
        return ()
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        return [each for each in pool.map(_answer, questions) if each is not None]


def _questions(suite: Suite | None) -> Iterable[_Question]:
    if suite is None:
        wanted: list[tuple[str, Stage, Mapping[str, Any]]] = [
            (spec.name, stage, {}) for spec in PROVIDERS.values() for stage in spec.stages
        ]
    else:
        wanted = [
            (settings.provider, stage, with_variables(settings, os.environ).options)
            for candidate in suite.candidates
            if candidate.agent is None
            for stage in _STAGES
            if (settings := candidate.stage(stage)) is not None and settings.provider in PROVIDERS
        ]
    for provider, stage, options in wanted:
        for check in PROVIDERS[provider].key_checks:
            if stage not in check.stages:
                continue
            variable = str(options.get("api_key_variable") or _set_one(check.keys) or "")
            base = options.get("base_url") or os.environ.get(check.address) or check.base_url
            if os.environ.get(variable, "").strip():
                yield _Question(
                    provider=provider, variable=variable, check=check, base_url=str(base)
                )


def _set_one(names: Iterable[str]) -> str | None:
    return next((name for name in names if os.environ.get(name, "").strip()), None)


def _answer(question: _Question) -> Finding | None:
    """Ask; None where nobody answers, which is told of the endpoint already."""
    try:
        status = _ask(question)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    host = urllib.parse.urlsplit(question.base_url).hostname or ""
    where = f"{question.provider}: {question.variable}"
    if status in _REFUSALS:
        return Finding(
            topic="keys",
            state="fail",
            text=redact(f"{where} is refused by {host} (status {status}); put in another key"),
        )
    if status == _OPENED or status < http.client.BAD_REQUEST:
        return Finding(topic="keys", state="ok", text=redact(f"{where} is accepted by {host}"))
    return None


def _ask(question: _Question) -> int:
    """Return the status of one request.

    Raises:
        OSError: the address does not answer.
        ValueError: it is no address.
    """
    check = question.check
    parts = urllib.parse.urlsplit(question.base_url)
    secure = parts.scheme in ("https", "wss")
    if parts.hostname is None or parts.scheme not in ("http", "https", "ws", "wss"):
        raise ValueError(question.base_url)
    key = os.environ[question.variable].strip()
    path, headers = parts.path.rstrip("/") + check.path, {"User-Agent": "turnbench"}
    if check.scheme == "token":
        path += f"?token={urllib.parse.quote(key, safe='')}"
        nonce = base64.b64encode(os.urandom(16)).decode()
        headers |= {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": nonce,
        }
    elif check.scheme == "signed":
        secret = os.environ.get(_set_one(check.secrets) or "", "").strip()
        headers["Authorization"] = f"Bearer {_signed(key, secret)}"
    else:
        headers["Authorization"] = f"Bearer {key}"
    connection: http.client.HTTPConnection
    if secure:
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_TIMEOUT_S, context=trusted()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path or "/", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _signed(key: str, secret: str) -> str:
    """Return a JSON Web Token as livekit makes it for inference (HS256)."""
    now = int(utc_now().timestamp())
    claims = {
        "inference": {"perform": True},
        "sub": "agent",
        "iss": key,
        "nbf": now,
        "exp": now + _TOKEN_S,
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=")
        for each in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signature = hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join((*parts, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def lacking(spec: ProviderSpec, stages: Iterable[Stage]) -> tuple[str, ...]:
    """Return the names of required environment variables that are not set."""
    return tuple(
        key.name
        for key in provider_keys(spec.name, stages)
        if key.required and not (is_set(key.name) or (key.instead and is_set(key.instead)))
    )


def is_set(name: str) -> bool:
    """Tell whether a variable of the environment holds something."""
    return bool(os.environ.get(name, "").strip())
