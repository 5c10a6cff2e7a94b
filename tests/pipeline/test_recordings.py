"""Real recordings through both drivers: TURNBENCH_SPEECH names a folder with dev and noise."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark
from harness.domain.trial import Trial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.store.datasets.manifest import read_dataset
from tests.pipeline.playing import SILENCE, candidate, play, playable

FOLDER = os.environ.get("TURNBENCH_SPEECH")
SPEECH = Path(FOLDER or ".")
TIMEOUTS = Timeouts(transcript_s=8, reply_s=12, hang_up_s=0.5)
needs_recordings = [
    pytest.mark.recordings,
    pytest.mark.skipif(FOLDER is None, reason="TURNBENCH_SPEECH names no folder of recordings"),
]

pytestmark = [pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(120)]


def _gateway(manifest: Path) -> Iterator[GatewayProcess]:
    with start_gateway(GatewayConfig(seed=2, utterances=manifest, recogniser="oracle")) as process:
        yield process


@pytest.fixture(scope="module")
def speaking() -> Iterator[GatewayProcess]:
    """A gateway whose oracle knows the real recordings."""
    yield from _gateway(SPEECH / "dev" / "manifest.jsonl")


@pytest.mark.parametrize("driver", [SessionPerformer, StagePerformer])
@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_recordings)])
async def test_real_speech(speaking: GatewayProcess, driver: type[Base], mark: None) -> None:
    """A tenth of the real recordings, all at once, is heard to the word and answered."""
    dataset = read_dataset(SPEECH / "dev")
    short = [each for each in dataset.utterances if (each.duration_s or 99) < 8 and each.text]
    chosen = [playable(each.id, SPEECH / "dev") for each in short[:: max(1, len(short) // 7)]]
    found = await play(
        f"http://127.0.0.1:{speaking.port}",
        speaking.key,
        candidate(),
        chosen,
        performer=driver,
        timeouts=TIMEOUTS,
        together=True,
    )
    assert len(found) == len(chosen) >= 7
    for trial in found:
        assert isinstance(trial, Trial), (trial.key.utterance, trial.failure)
        marks = trial.turns[0].marks
        assert marks[Mark.TRANSCRIPT_FINAL] > marks[Mark.SPEECH_START]


@pytest.mark.parametrize("driver", [SessionPerformer, StagePerformer])
async def test_silence_and_noise(address: tuple[str, str], driver: type[Base]) -> None:
    """Recordings without speech end well with no transcript and no time, never with 0 ms."""
    names = [each.id for each in read_dataset(SILENCE).utterances]
    chosen = [playable(name, SILENCE) for name in names]
    found = await play(
        *address, candidate(), chosen, performer=driver, timeouts=TIMEOUTS, together=True
    )
    assert len(found) == len(names) > 1
    for trial in found:
        assert isinstance(trial, Trial), (trial.key.utterance, trial.failure)
        (turn,) = trial.turns
        assert not any(each.text.strip() for each in turn.transcripts)
        absent = {Mark.SPEECH_END, Mark.TRANSCRIPT_FINAL, Mark.TURN_COMMITTED}
        assert not absent & set(turn.marks)
        assert turn.reply is None or driver is StagePerformer
