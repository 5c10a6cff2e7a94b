"""What is measured agrees with what the gateway did.

The gateway's profiles of this module have constant delays that differ from stage to stage and from
profile to profile, so a part that took another's delay would be found out. The tolerances are for
a busy machine; what the harness really keeps to, ``turnbench overhead`` measures.
"""

import asyncio
import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.analysis.summary.selferror import MarkError, join_truth
from harness.analysis.turn.attribution import UNATTRIBUTED, Waterfall, waterfall
from harness.analysis.turn.disturbance import disturbance
from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import TruthEvent, read_rows, read_truth
from harness.gateway.process import start_gateway
from tests.pipeline.playing import DATASET, candidate, part_ms, play, playable, response_ns

PROFILES = """
["brisk"]
base = "exact"
["brisk".stt]
compute = 40
["brisk".llm]
first_text = 130
gap = 8
["brisk".tts]
first_byte = 170

["slow"]
base = "exact"
["slow".stt]
endpoint_silence = 450
compute = 130
["slow".llm]
first_text = 410
gap = 23
["slow".tts]
first_byte = 260
leading_silence_ms = 80
"""
STT_MS = {"brisk": 340.0, "slow": 580.0}
LLM_MS = {"brisk": 130.0, "slow": 410.0}
TTS_MS = {"brisk": 170.0, "slow": 260.0}
SILENCE_MS = {"brisk": 0.0, "slow": 80.0}
GAP_MS = {"brisk": 8.0, "slow": 23.0}

EARLY_MS, LATE_MS = 2.0, 20.0
"""How far the median part may be from its delay: a reading ends late, hardly ever early."""
CLIENT_MS = 60.0
"""What all of the client's work may take on a busy machine."""

pytestmark = [pytest.mark.realtime, pytest.mark.timing, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Measured:
    """Trials of one profile with the truth of the same run."""

    profile: str
    trials: list[Trial]
    truth: tuple[TruthEvent, ...]
    errors: tuple[MarkError, ...]


@pytest.fixture(scope="module", params=["brisk", "slow"])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Play a few utterances after a warm-up."""
    folder: Path = tmp_path_factory.mktemp("accuracy")
    profiles, truth = folder / "profiles.toml", folder / "truth.jsonl"
    profiles.write_text(PROFILES, encoding="utf-8")
    name: str = request.param
    config = GatewayConfig(
        seed=5,
        truth=truth,
        profiles=profiles,
        utterances=DATASET / "manifest.jsonl",
        recogniser="oracle",
    )
    spoken = [playable(each) for each in ("slt-clock", "slt-clock", "rms-greeting", "slt-repeat")]
    with start_gateway(config) as process:
        found = asyncio.run(
            play(
                f"http://127.0.0.1:{process.port}",
                process.key,
                candidate(stt=name, llm=name, tts=name),
                [*spoken, playable("rms-pardon"), playable("slt-stop")],
                timeouts=Timeouts(hang_up_s=0.1),
            )
        )
    trials = [each for each in found[1:] if isinstance(each, Trial)]
    assert len(trials) == 5, [getattr(each, "failure", None) for each in found]
    return Measured(
        profile=name,
        trials=trials,
        truth=read_truth(truth),
        errors=join_truth(trials, read_rows(truth)),
    )


def close(measured_ms: list[float], injected_ms: float) -> bool:
    """Whether the median of what was measured is what was injected."""
    return -EARLY_MS <= statistics.median(measured_ms) - injected_ms <= LATE_MS


@pytest.mark.parametrize(
    ("part", "injected"),
    [("stt", STT_MS), ("llm", LLM_MS), ("tts", TTS_MS), ("leading_silence", SILENCE_MS)],
)
def test_each_part_is_what_was_injected(
    measured: Measured, part: str, injected: dict[str, float]
) -> None:
    """The waterfall gives each stage the delay that the gateway injected into it."""
    found = [part_ms(trial, part) for trial in measured.trials]
    assert close(found, injected[measured.profile]), found


def test_the_sentence_takes_its_tokens(measured: Measured) -> None:
    """Gathering the first sentence takes the gaps between the tokens that were sent for it."""
    beyond = []
    for trial in measured.trials:
        llm = next(each for each in trial.turns[0].requests if each.stage is Stage.LLM)
        tts = next(each for each in trial.turns[0].requests if each.stage is Stage.TTS)
        received = tts.marks[Mark.SENTENCE_RECEIVED]
        sent = [
            each
            for each in measured.truth
            if each.client_request == llm.facts["truth_id"]
            and each.event == "text_sent"
            and each.t_ns <= received
        ]
        gaps = GAP_MS[measured.profile] * (len(sent) - 1)
        beyond.append(part_ms(trial, "sentence") - gaps)
    assert close(beyond, 0.0), beyond


def test_the_response_is_what_was_injected(measured: Measured) -> None:
    """What the injected delays and known waits leave of the response is the client's work."""
    left = []
    for trial in measured.trials:
        falls = waterfall(trial.turns[0])
        assert isinstance(falls, Waterfall)
        assert sum(part.ns for part in falls.parts) == response_ns(trial)
        left.append(sum(part.ns for part in falls.parts if part.kind == "client") / 1e6)
        lost = sum(part.ns for part in falls.parts if part.kind == UNATTRIBUTED) / 1e6
        if disturbance(trial) is None:
            assert lost < 5.0
    errors = [each.error_ns / 1e6 for each in measured.errors if each.what == "response"]
    assert len(errors) == len(measured.trials)
    assert 0 < statistics.median(errors) < CLIENT_MS
    assert statistics.median(errors) - statistics.median(left) < LATE_MS


def test_every_mark_meets_its_own_truth(measured: Measured) -> None:
    """No mark is joined with the message of another request: every error is of milliseconds."""
    marks = {each.what for each in measured.errors}
    assert {
        "final_received",
        "transcript_final",
        "llm_sent",
        "llm_first_byte",
        "llm_text_received",
        "llm_first_text",
        "tts_sent",
        "tts_first_byte",
        "tts_first_frame",
    } <= marks
    for what in sorted(marks - {"response"}):
        errors = [each.error_ns / 1e6 for each in measured.errors if each.what == what]
        assert len(errors) == len(measured.trials), what
        assert -EARLY_MS <= statistics.median(errors) <= LATE_MS, (what, errors)
