"""Keys: whether each provider takes them is told in a line, and what they are is told nowhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.domain.trial import FailedTrial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from harness.store.runs.run import list_runs, open_run
from tests.cli.test_cli import turnbench

KEY = "a-good-key-of-more-than-32-characters"
KEYS = (
    "PARAKEET_API_KEY",
    "OPENADAPTER_API_KEY",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "BASETEN_API_KEY",
    "SPEKO_API_KEY",
    "OPENAI_API_KEY",
)
PROVIDERS = ("openadapter", "livekit", "baseten", "speko", "openai")


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    """A gateway that takes one key, and stands in for the live services."""
    with start_gateway(GatewayConfig(seed=1, recogniser="oracle", key=KEY)) as process:
        yield process


def addresses(port: int) -> dict[str, Any]:
    """Return the environment in which live services are a gateway on this machine."""
    root = f"http://127.0.0.1:{port}"
    return {
        "PARAKEET_WS_URL": f"ws://127.0.0.1:{port}/parakeet/v1/audio/stream",
        "OPENADAPTER_BASE_URL": f"{root}/v1",
        "LIVEKIT_INFERENCE_URL": f"{root}/livekit/v1",
        "BASETEN_MODEL_ENDPOINT": f"ws://127.0.0.1:{port}/baseten/whisper/websocket",
        "SPEKO_BASE_URL": root,
        "OPENAI_BASE_URL": f"{root}/v1",
    }


def wrong_keys() -> dict[str, Any]:
    """Return a value of its own for each variable, which nobody takes."""
    return {name: f"wrong-{number}-{name.lower()}-key-value" for number, name in enumerate(KEYS)}


def live(folder: Path, port: int) -> Path:
    """Write a live suite with a candidate of each provider."""
    lines = [
        'name = "live"\nvia = "live"\nwarmups = 0\nconcurrency = 5',
        '[[dataset]]\npath = "starter"\nids = ["slt-yes"]',
        "[timeouts]\nconnect_s = 5\ntranscript_s = 5\nboot_s = 3",
    ]
    for name in PROVIDERS:
        at = f', base_url = "http://127.0.0.1:{port}/baseten/v1"' if name == "baseten" else ""
        # One variable cannot name two deployments.
        own = f', endpoint = "ws://127.0.0.1:{port}/baseten/orpheus/websocket"' * (
            name == "baseten"
        )
        lines.append(
            f'[[candidate]]\nname = "{name}"\nstt = {{ provider = "{name}" }}\n'
            f'llm = {{ provider = "{name}"{at} }}\ntts = {{ provider = "{name}"{own} }}'
        )
    path = folder / "live.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_good_keys_are_accepted(tmp_path: Path, gateway: GatewayProcess) -> None:
    """Each provider's key is tried where it is used, and each that is taken is told in one line."""
    keys: dict[str, Any] = dict.fromkeys(KEYS, KEY)
    suite = live(tmp_path, gateway.port)
    done = turnbench(
        "doctor",
        str(suite),
        "--no-measure",
        "--json",
        cwd=tmp_path,
        **keys,
        **addresses(gateway.port),
    )
    findings = json.loads(done.stdout)["findings"]
    told = [each["text"] for each in findings if "is accepted by" in each["text"]]
    assert sorted(line.split(":")[0] for line in told) == sorted((*PROVIDERS, "openadapter"))
    assert not [each for each in findings if each["state"] == "fail"], findings
    assert KEY not in done.stdout + done.stderr
    assert done.returncode == 0


def test_wrong_keys_are_refused(tmp_path: Path, gateway: GatewayProcess) -> None:
    """A key that a provider refuses is a failure that names the variable, and not its value."""
    keys: dict[str, Any] = {
        name: f"wrong-{number}-{name.lower()}-key-value" for number, name in enumerate(KEYS)
    }
    suite = live(tmp_path, gateway.port)
    for arguments in (("doctor", str(suite), "--no-measure"), ("doctor", "--no-measure")):
        done = turnbench(*arguments, cwd=tmp_path, **keys, **addresses(gateway.port))
        assert done.returncode == 2
        refused = [line for line in done.stdout.splitlines() if "is refused by 127.0.0.1" in line]
        for name in (each for each in KEYS if each != "LIVEKIT_API_SECRET"):
            if arguments[1] == "--no-measure" and name == "BASETEN_API_KEY":
                # Without a suite Baseten is where it always is.
                continue
            lines = [line for line in refused if f"{name} is refused" in line]
            assert len(lines) == 1, (name, done.stdout)
            assert lines[0].startswith("fail")
            assert "status 401" in lines[0] or "status 403" in lines[0]
        assert not [value for value in keys.values() if value in done.stdout + done.stderr]


def test_a_wrong_path_is_no_refused_key(tmp_path: Path, gateway: GatewayProcess) -> None:
    """A server without the list that is asked for has said nothing of the key."""
    keys: dict[str, Any] = dict.fromkeys(KEYS, KEY)
    where = {**addresses(gateway.port), "OPENAI_BASE_URL": f"http://127.0.0.1:{gateway.port}/none"}
    done = turnbench("doctor", "--no-measure", "--json", cwd=tmp_path, **keys, **where)
    told = [each for each in json.loads(done.stdout)["findings"] if each["topic"] == "keys"]
    assert not [each for each in told if "OPENAI_API_KEY" in each["text"]]
    assert [each for each in told if "SPEKO_API_KEY is accepted" in each["text"]]


@pytest.mark.realtime
@pytest.mark.slow
def test_keys_are_written_nowhere(tmp_path: Path, gateway: GatewayProcess) -> None:
    """Through failing live runs no key reaches the screen, the run's folder or the report."""
    keys: dict[str, Any] = {
        name: f"wrong-{number}-{name.lower()}-key-value" for number, name in enumerate(KEYS)
    }
    suite = live(tmp_path, gateway.port)
    (tmp_path / ".env").write_text(
        "".join(f"{name}={value}\n" for name, value in keys.items()), encoding="utf-8"
    )
    done = turnbench(
        "run", str(suite), "--yes", "--no-rerun", cwd=tmp_path, **addresses(gateway.port)
    )
    (folder,) = list_runs(tmp_path / "reports")
    trials = open_run(folder).trials()
    assert {each.key.candidate for each in trials} == set(PROVIDERS)
    kinds = {
        each.key.candidate: each.failure.kind.value
        for each in trials
        if isinstance(each, FailedTrial)
    }
    assert set(kinds) == set(PROVIDERS)
    assert set(kinds.values()) <= {"unauthorized", "forbidden"}, kinds
    for name in ("providers", "doctor"):
        more = ("--no-measure",) if name == "doctor" else ("--json",)
        told = turnbench(name, *more, cwd=tmp_path, **addresses(gateway.port))
        assert not [value for value in keys.values() if value in told.stdout + told.stderr]
    places = [done.stdout, done.stderr]
    places += [
        path.read_bytes().decode("utf-8", "replace")
        for path in (tmp_path / "reports").rglob("*")
        if path.is_file()
    ]
    assert len(places) > 4
    for name, value in keys.items():
        assert not [text for text in places if value in text], name
