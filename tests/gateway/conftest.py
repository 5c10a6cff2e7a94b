"""One gateway process for the tests that speak to it over sockets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile as sf

from harness.gateway.calls.config import GatewayConfig
from harness.gateway.engines.pcm import HEARD_RATE
from harness.gateway.process import GatewayProcess, start_gateway
from tests.gateway.spoken import TEXTS, murmur

PROFILES = """
["quick"]
base = "exact"
[quick.stt]
compute = 20
endpoint_silence = 200
recogniser = "oracle"

["slow-hello-stt".stt]
faults = { rates = { slow-hello = 1 }, slow_hello_s = 0.4 }
recogniser = "oracle"
["slow-hello-llm".llm]
faults = { rates = { slow-hello = 1 }, slow_hello_s = 0.4 }
["slow-hello-tts".tts]
faults = { rates = { slow-hello = 1 }, slow_hello_s = 0.4 }

["stall-stt".stt]
faults = { rates = { stall = 1 }, stall_s = 0.3 }
recogniser = "oracle"
["stall-llm".llm]
faults = { rates = { stall = 1 }, stall_s = 0.3 }
["stall-tts".tts]
faults = { rates = { stall = 1 }, stall_s = 0.3 }

["half".llm]
first_text = { p50_ms = 5, p95_ms = 20, max_ms = 40 }
faults = { rates = { server-error = 0.5 } }

["chatty".stt]
recogniser = "oracle"
interims = { first = 100, interval_ms = 50 }

["unsaid".stt]
recogniser = "oracle"
says_closed = false

["wrong-words".stt]
recogniser = "oracle"
word_error_rate = 1.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway process and the files that it was given."""

    process: GatewayProcess
    truth: Path
    manifest: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.process.key}"}


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of speech-like recordings with texts."""
    folder = tmp_path_factory.mktemp("dataset")
    lines = []
    for number, text in enumerate(TEXTS):
        audio = f"u{number}.wav"
        sf.write(folder / audio, murmur(number, text), HEARD_RATE, subtype="PCM_16")
        lines.append(json.dumps({"id": f"u{number}", "audio": audio, "text": text}))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[Running]:
    """A gateway with an oracle, the tests' profiles and a truth file."""
    folder = tmp_path_factory.mktemp("gateway")
    profiles = folder / "profiles.toml"
    profiles.write_text(PROFILES, encoding="utf-8")
    truth = folder / "truth.jsonl"
    config = GatewayConfig(
        seed=7, truth=truth, utterances=manifest, profiles=profiles, recogniser_workers=1
    )
    with start_gateway(config) as process:
        yield Running(process=process, truth=truth, manifest=manifest)
