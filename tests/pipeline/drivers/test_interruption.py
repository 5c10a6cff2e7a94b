"""Speaking over the reply of a real AgentSession, by voice activity and by the adaptive detector.

Everything is played once, on virtual time, and the tests look at what came of it.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import measure_all
from harness.domain.barge_in import Expects
from harness.domain.candidate import Candidate, InterruptionSettings
from harness.domain.driver import PlayableBargeIn
from harness.domain.request import FailureKind as K
from harness.domain.request import Request
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial, TrialKey
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import TruthEvent, read_truth
from harness.gateway.profiles.faults import FaultKind as F
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from tests.pipeline.playing import DATASET, Played, candidate, playable
from tests.pipeline.virtual_gateway import EXACT_MS, gateway_here, on_virtual_time

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OVER = DATASET.parent / "interruptions"
FLOOR, LISTENS = "slt-wait", "slt-yeah"
MS = 1_000_000

PROFILES = """
["deaf".interruption]
sustained_ms = 2400
["stalled".interruption]
faults = { rates = { stall = 1 }, stall_s = 3 }
["slower".interruption]
compute = 250
"""

FALLS_BACK: Mapping[str, K] = {
    "fault-interruption-refused": K.RESET,
    "fault-interruption-unauthorised": K.UNAUTHORIZED,
    "fault-interruption-rate-limited": K.RATE_LIMITED,
    "fault-interruption-unavailable": K.SERVER_ERROR,
    f"fault-interruption-{F.RESET}": K.RESET,
    f"fault-interruption-{F.TRUNCATION}": K.TRUNCATED,
    f"fault-interruption-{F.MID_STREAM_ERROR}": K.STREAM_ERROR,
    f"fault-interruption-{F.MALFORMED}": K.MALFORMED,
    f"fault-interruption-{F.EMPTY}": K.EMPTY,
    f"fault-interruption-{F.OVERSIZED}": K.MALFORMED,
    f"fault-interruption-{F.SLOW_HELLO}": K.TIMEOUT,
    "stalled": K.TIMEOUT,
}
"""Gateway profiles under which livekit goes on by voice activity, and what is to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trial to be played: the detector, what is said over the reply, and when."""

    name: str
    said: str
    mode: str = "adaptive"
    profile: str | None = "exact"
    after_s: float = 1.2
    hang_up_s: float | None = None

    @property
    def expects(self) -> Expects:
        return Expects.INTERRUPTS if self.said == FLOOR else Expects.BACKCHANNEL


CASES = (
    Case(name="adaptive floor", said=FLOOR),
    Case(name="adaptive listens", said=LISTENS),
    Case(name="vad floor", said=FLOOR, mode="vad", profile=None),
    Case(name="vad listens", said=LISTENS, mode="vad", profile=None),
    Case(name="deaf", said=FLOOR, profile="deaf"),
    Case(name="slower", said=FLOOR, profile="slower"),
    Case(name="too late", said=FLOOR, after_s=30.0),
    Case(name="hung up", said=LISTENS, hang_up_s=0.4),
    Case(name="nonsense", said=FLOOR, profile="fault-interruption-nonsense"),
    *(Case(name=profile, said=FLOOR, profile=profile) for profile in FALLS_BACK),
)


# Read beforehand: decoding would hold up the trials that are being played.
SPOKEN = {name: playable(name, OVER) for name in (FLOOR, LISTENS)}
ASKED = playable("slt-weather")


async def _play(case: Case, root: str, key: str) -> Played:
    mine: Candidate = replace(
        candidate(),
        interruption=InterruptionSettings(mode=case.mode, profile=case.profile),
    )
    suite = Suite(
        name="test",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(mine,),
        session=SessionOptions(vad=True, interruptions=True),
        timeouts=Timeouts(hang_up_s=case.hang_up_s),
    )
    said = SPOKEN[case.said]
    assert said.speech_start_ns is not None
    assert said.speech_end_ns is not None
    barge_in = PlayableBargeIn(
        recording=case.said,
        expects=case.expects,
        pcm=said.pcm,
        speech_start_ns=said.speech_start_ns,
        speech_end_ns=said.speech_end_ns,
        after_ns=round(case.after_s * 1e9),
    )
    watch = Watch(machine=False)
    await watch.start()
    place = Place(
        via=Via.GATEWAY,
        options=suite.session,
        gateway=root,
        gateway_key=key,
        label=case.name.replace(" ", "-"),
    )
    player = SessionPerformer(mine, suite, place=place, watch=watch, redact=str)
    try:
        await player.start()
        utterance = replace(ASKED, barge_ins={"said": barge_in})
        trial, _ = await player.perform(
            TrialKey(
                candidate=mine.name,
                utterance="slt-weather",
                repeat=0,
                order=0,
                barge_in="said",
                expects=case.expects,
            ),
            mine,
            utterance,
        )
    finally:
        await player.aclose()
        await watch.aclose()
    return trial


def play_case(config: GatewayConfig, case: Case) -> Played:
    """Play a case on virtual time."""

    async def work() -> Played:
        async with gateway_here(config, case.name) as root:
            return await _play(case, root, config.key)

    return on_virtual_time(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was played, and what the gateway says of it."""

    trials: Mapping[str, Played]
    truth: tuple[TruthEvent, ...]

    def of(self, name: str) -> Trial:
        trial = self.trials[name]
        assert isinstance(trial, Trial), trial.failure
        return trial

    def marks(self, name: str) -> Mapping[Mark, int]:
        return self.of(name).turns[0].marks

    def windows(self, name: str) -> list[Request]:
        requests = self.of(name).turns[0].requests
        return [each for each in requests if each.stage is Stage.INTERRUPTION]

    def value(self, name: str, metric_id: str) -> Measurement | Missing:
        return measure_all(self.of(name), ASKED.utterance)[metric_id]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, virtually: ProcessPoolExecutor) -> Outcome:
    """Every case, played by real sessions."""
    folder: Path = tmp_path_factory.mktemp("interruption")
    (folder / "profiles.toml").write_text(PROFILES, encoding="utf-8")
    truth = folder / "truth.jsonl"
    config = GatewayConfig(
        seed=11,
        utterances=DATASET / "manifest.jsonl",
        recogniser="oracle",
        truth=truth,
        profiles=folder / "profiles.toml",
    )
    trials = {case.name: virtually.submit(play_case, config, case).result() for case in CASES}
    return Outcome(trials=trials, truth=read_truth(truth))


@pytest.mark.parametrize("name", ["adaptive floor", "vad floor", "slower", "nonsense"])
def test_the_reply_stops_where_the_sink_says(outcome: Outcome, name: str) -> None:
    """The stop is the end of the last sample that the sink played, and follows the decision."""
    turn, marks = outcome.of(name).turns[0], outcome.marks(name)
    assert turn.reply is not None
    assert turn.reply.interrupted
    last = turn.reply.segments[-1]
    played_until = last.start_ns + last.samples * 1_000_000_000 // turn.reply.sample_rate
    assert abs(marks[Mark.REPLY_STOPPED] - played_until) < 1 * MS
    assert (
        marks[Mark.OVERLAP_START]
        < marks[Mark.INTERRUPTION_DETECTED]
        <= marks[Mark.REPLY_STOPPED]
        < marks[Mark.OVERLAP_START] + 3_000 * MS
    )


def test_the_speech_is_due_when_it_was_planned(outcome: Outcome) -> None:
    """Its first sample is due 1.2 s after the reply's, to the sample, and it lasts as recorded."""
    marks, said = outcome.marks("adaptive listens"), SPOKEN[LISTENS]
    assert said.speech_start_ns is not None
    assert said.speech_end_ns is not None
    late = marks[Mark.OVERLAP_START] - marks[Mark.FIRST_AUDIBLE] - 1_200 * MS
    assert 0 <= late < 100_000
    length = marks[Mark.OVERLAP_END] - marks[Mark.OVERLAP_START]
    assert length == said.speech_end_ns - said.speech_start_ns


def test_a_backchannel_stops_voice_activity_and_not_the_detector(outcome: Outcome) -> None:
    """The same "yeah" cuts one agent short; the other's reply is played to its end."""
    assert Mark.REPLY_STOPPED in outcome.marks("vad listens")
    assert Mark.REPLY_STOPPED not in outcome.marks("adaptive listens")
    reply = outcome.of("adaptive listens").turns[0].reply
    assert reply is not None
    assert not reply.interrupted
    assert outcome.value("vad listens", "false_interruptions") == Measurement(value=1.0)
    assert outcome.value("adaptive listens", "false_interruptions") == Measurement(value=0.0)


def test_an_interruption_that_is_not_heard_is_a_failure(outcome: Outcome) -> None:
    """A detector that wants 2.4 s of speech misses it: the trial is well, the metric has failed."""
    found = outcome.value("deaf", "interruption")
    assert isinstance(found, Missing)
    assert found.failure is not None
    assert found.failure.kind is K.NOT_INTERRUPTED
    assert outcome.value("deaf", "missed_interruptions") == Measurement(value=1.0)
    assert outcome.value("vad floor", "missed_interruptions") == Measurement(value=0.0)


def test_a_reply_that_was_over_is_neither_missed_nor_stopped(outcome: Outcome) -> None:
    """What was to be said after the reply's end was not said over it."""
    assert Mark.OVERLAP_START not in outcome.marks("too late")
    for metric_id in ("interruption", "missed_interruptions"):
        found = outcome.value("too late", metric_id)
        assert isinstance(found, Missing)
        assert found.failure is None


def test_every_window_is_a_request_with_its_verdict(outcome: Outcome) -> None:
    """Windows leave every 100 ms; verdicts come after the gateway's, which names them alike."""
    # The last may have been on its way when the reply stopped.
    windows = [each for each in outcome.windows("adaptive floor") if "verdict" in each.facts]
    assert len(windows) >= 2
    assert [each.facts["verdict"] for each in windows][-1] == "interruption"
    assert {each.facts["verdict"] for each in windows[:-1]} == {"backchannel"}
    name = windows[0].facts["truth_id"]
    mine = [each for each in outcome.truth if each.client_request == name]
    came = [each for each in mine if each.event == "window_received"]
    left = [each for each in mine if each.event == "verdict_sent"]
    for window, arrived, sent in zip(windows, came, left, strict=False):
        assert sent.injected_ns == 40 * MS
        assert arrived.t_ns + 40 * MS <= sent.t_ns <= window.marks[Mark.VERDICT_RECEIVED]


def test_the_providers_part_contains_what_was_injected(outcome: Outcome) -> None:
    """A detector that takes 250 ms for a verdict shows them, and the decision waits for it."""
    for name, injected in (("adaptive floor", 40), ("slower", 250)):
        found = outcome.value(name, "interruption_verdict")
        assert isinstance(found, Measurement)
        assert found.value >= injected - EXACT_MS
        marks = outcome.marks(name)
        assert marks[Mark.VERDICT_RECEIVED] <= marks[Mark.INTERRUPTION_DETECTED]


def test_voice_activity_asks_no_detector(outcome: Outcome) -> None:
    """An agent that goes by voice activity makes no request, and has no verdict."""
    assert outcome.windows("vad floor") == []
    assert isinstance(outcome.value("vad floor", "interruption_verdict"), Missing)
    assert isinstance(outcome.value("vad floor", "interruption_fallbacks"), Missing)


def test_who_hangs_up_hears_the_speech_out(outcome: Outcome) -> None:
    """A caller who hangs up does so after what is said over the reply, not before."""
    trial = outcome.of("hung up")
    marks = trial.turns[0].marks
    assert Mark.REPLY_STOPPED not in marks
    assert marks[Mark.PLAYOUT_END] >= marks[Mark.OVERLAP_END]


@pytest.mark.parametrize(("name", "kind"), list(FALLS_BACK.items()))
def test_livekit_goes_on_without_its_detector_and_the_trial_says_so(
    outcome: Outcome, name: str, kind: K
) -> None:
    """A detector that fails leaves a trial that ended well, its cause, and a note on its value."""
    turn = outcome.of(name).turns[0]
    assert turn.overlap is not None
    assert turn.overlap.detector == "adaptive"
    assert turn.overlap.fell_back
    failures = [each.failure for each in outcome.windows(name) if each.failure is not None]
    assert [each.kind for each in failures] == [kind]
    assert {each.stage for each in failures} == {Stage.INTERRUPTION}
    found = outcome.value(name, "interruption")
    assert isinstance(found, Measurement)
    assert found.note == "fell back to voice activity"
    assert outcome.value(name, "interruption_fallbacks") == Measurement(value=1.0)
    verdict = outcome.value(name, "interruption_verdict")
    assert isinstance(verdict, Missing)
    assert verdict.failure == failures[0]


def test_a_verdict_on_another_window_is_ignored(outcome: Outcome) -> None:
    """Nonsense among the messages harms nothing: the next verdicts count."""
    turn = outcome.of("nonsense").turns[0]
    assert turn.overlap is not None
    assert not turn.overlap.fell_back
    assert outcome.windows("nonsense")[-1].facts["verdict"] == "interruption"


def test_what_followed_is_another_turns(outcome: Outcome) -> None:
    """No request of the agent's answer to the interruption stands in the turn."""
    for name in ("adaptive floor", "adaptive listens", "vad floor"):
        turn = outcome.of(name).turns[0]
        assert sum(each.stage is Stage.LLM for each in turn.requests) == 1
