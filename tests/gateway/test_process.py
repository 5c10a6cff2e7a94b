"""The gateway as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import read_truth
from harness.gateway.process import start_gateway

pytestmark = pytest.mark.realtime


def _health(port: int) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
        health = json.load(response)
    assert isinstance(health, dict)
    return health


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A child of a process that died first is reaped by init; here it may stay as a zombie.
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    return state == "Z"


def _wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if _is_gone(pid):
            return True
        time.sleep(0.05)
    return False


def test_it_starts_answers_and_stops(tmp_path: Path) -> None:
    """It is ready when start returns, writes its truth, and leaves no process behind."""
    truth = tmp_path / "truth.jsonl"
    config = GatewayConfig(truth=truth, recogniser="oracle", espeak=False, seed=5)
    with start_gateway(config) as gateway:
        health = _health(gateway.port)
        engines = health["engines"]
        assert isinstance(engines, dict)
        assert engines["synthesiser"] == "formant"
        assert engines["recogniser"] == "none"
        assert gateway.base_url("kimi-k2.6@baseten").endswith("/kimi-k2.6%40baseten/v1")
    assert not gateway.is_running()
    (started,) = read_truth(truth)
    assert started.event == "gateway_started"
    assert json.loads(started.detail or "")["seed"] == 5
    gateway.stop()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(end: signal.Signals) -> None:
    """However the parent dies, the gateway and its workers end."""
    script = """
    import time
    from harness.gateway.calls.config import GatewayConfig
    from harness.gateway.process import start_gateway
    gateway = start_gateway(GatewayConfig(recogniser="oracle"))
    print(gateway.pid, flush=True)
    time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        assert not _is_gone(pid)
        parent.send_signal(end)
    assert _wait_until_gone(pid)
    assert all(_wait_until_gone(int(child)) for child in children)


def _drawn(tmp_path: Path, seed: int, said: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return what a gateway of this seed injects into the replies to each of these words."""
    truth = tmp_path / "truth.jsonl"
    truth.unlink(missing_ok=True)
    drawn: dict[str, list[int]] = {}
    config = GatewayConfig(truth=truth, recogniser="oracle", espeak=False, seed=seed)
    with start_gateway(config) as gateway:
        for words in said:
            body = {"model": "x", "messages": [{"role": "user", "content": words}]}
            request = urllib.request.Request(
                gateway.base_url("kimi-k2.6@cerebras") + "/chat/completions",
                data=json.dumps({**body, "stream": True}).encode(),
                headers={
                    "Authorization": f"Bearer {gateway.key}",
                    "x-turnbench-request": words,
                    "Content-Type": "application/json",
                },
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                response.read()
    for event in read_truth(truth):
        if event.event == "text_sent":
            assert event.client_request is not None
            assert event.injected_ns is not None
            drawn.setdefault(event.client_request, []).append(event.injected_ns)
    return {words: tuple(delays) for words, delays in drawn.items()}


def test_equal_seeds_inject_equal_delays(tmp_path: Path) -> None:
    """Two runs of one seed inject the same, in whatever order; another seed does not."""
    one = _drawn(tmp_path, 1, ("hello", "play jazz"))
    again = _drawn(tmp_path, 1, ("play jazz", "hello"))
    other = _drawn(tmp_path, 2, ("hello", "play jazz"))
    assert one == again
    assert all(one[words] != other[words] for words in one)


def test_mistakes_are_told_before_it_runs(tmp_path: Path) -> None:
    """All mistakes of a file come back as one configuration error."""
    profiles = tmp_path / "p.toml"
    profiles.write_text("[a.llm]\ngapp = 1\n[b.tts]\nvoices = 3\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        start_gateway(GatewayConfig(profiles=profiles))
    assert len(caught.value.problems) == 2
    assert "a.llm.gapp: unknown key; did you mean 'gap'?" in caught.value.problems[0]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "x", "audio": "no.wav", "text": "a"}\n[]\n', encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        start_gateway(GatewayConfig(utterances=manifest))
    assert len(caught.value.problems) == 2


def test_a_taken_port_is_named() -> None:
    """A port that another process holds is a mistake in the configuration."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--port {port}"):
            start_gateway(GatewayConfig(port=port, recogniser="oracle"))


@pytest.mark.parametrize(
    "field", [{"port": 70000}, {"key": ""}, {"recogniser_workers": 0}], ids=["port", "key", "pool"]
)
def test_impossible_settings_do_not_exist(field: dict[str, object]) -> None:
    """A configuration that cannot work cannot be made."""
    with pytest.raises(ValueError, match=next(iter(field))):
        GatewayConfig(**field)  # type: ignore[arg-type]
