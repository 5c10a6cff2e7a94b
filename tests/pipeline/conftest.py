"""A gateway for the tests that drive the real pipeline, and a process where time is virtual."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from tests.pipeline.playing import DATASET
from tests.pipeline.virtual_process import virtual_process


@pytest.fixture(scope="session")
def gateway() -> Iterator[GatewayProcess]:
    """A running gateway whose oracle knows the starter set."""
    with start_gateway(
        GatewayConfig(seed=11, utterances=DATASET / "manifest.jsonl", recogniser="oracle")
    ) as process:
        yield process


@pytest.fixture
def address(gateway: GatewayProcess) -> tuple[str, str]:
    """The gateway's root and key."""
    return f"http://127.0.0.1:{gateway.port}", gateway.key


@pytest.fixture(scope="session")
def virtually() -> Iterator[ProcessPoolExecutor]:
    """A process whose functions may play on virtual time."""
    with virtual_process() as process:
        yield process
