"""What is said over replies: laws of the value, of dealing out, and of suites with it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.barge_in import BargeIn, Expects, assign_recordings, describe_barge_in
from harness.domain.candidate import Candidate, InterruptionSettings, StageSettings
from harness.domain.plan import make_plan
from harness.domain.suite import DatasetChoice, Driver, SessionOptions, Suite, TurnDetection
from harness.errors import ConfigurationError

FLOOR = BargeIn(name="wants", path="interruptions", expect=Expects.INTERRUPTS, after_s=(1.0, 2.0))
LISTENS = BargeIn(name="listens", path="interruptions", expect=Expects.BACKCHANNEL)
STAGE = StageSettings(provider="livekit", profile="exact")
SUITE = Suite(
    name="suite",
    datasets=(DatasetChoice(path="starter"),),
    candidates=tuple(Candidate(name=name, stt=STAGE, llm=STAGE, tts=STAGE) for name in ("a", "b")),
    session=SessionOptions(vad=True, interruptions=True),
    barge_ins=(FLOOR, LISTENS),
    seed=1,
)


@given(
    recordings=st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True),
    count=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_recordings_take_turns(recordings: list[str], count: int, seed: int) -> None:
    """Each recording is dealt as often as any other, but for one; delays lie within the bounds."""
    utterances = [f"u{number}" for number in range(count)]
    dealt = assign_recordings(FLOOR, recordings, utterances, seed)
    assert list(dealt) == utterances
    times = [[name for name, _ in dealt.values()].count(each) for each in recordings]
    assert max(times) - min(times) <= 1
    assert all(1_000_000_000 <= after <= 2_000_000_000 for _, after in dealt.values())
    assert dealt == assign_recordings(FLOOR, recordings[::-1], utterances, seed)


def test_another_seed_deals_otherwise() -> None:
    """The seed decides, and nothing else."""
    names, utterances = list("abcdef"), [f"u{number}" for number in range(20)]
    assert assign_recordings(FLOOR, names, utterances, 1) != assign_recordings(
        FLOOR, names, utterances, 2
    )


def test_every_utterance_meets_every_barge_in_once_for_each_candidate() -> None:
    """The plan crosses utterances and barge-ins; the candidates of one stand side by side."""
    plan = make_plan(SUITE, ["x", "y"], 5)
    measured = [key for key in plan if not key.warmup]
    seen = {(key.candidate, key.utterance, key.barge_in) for key in measured}
    assert len(measured) == len(seen) == 2 * 2 * 2
    assert all(
        key.expects is (Expects.INTERRUPTS if key.barge_in == "wants" else Expects.BACKCHANNEL)
        for key in plan
    )
    for one, other in zip(measured[::2], measured[1::2], strict=True):
        assert (one.utterance, one.barge_in) == (other.utterance, other.barge_in)


def test_a_suite_without_barge_ins_keeps_its_order() -> None:
    """The order of a plan without barge-ins does not depend on there being such a thing."""
    plain = replace(SUITE, barge_ins=())
    assert [key.barge_in for key in make_plan(plain, ["x"], 5)] == [""] * 4
    assert all(key.expects is None for key in make_plan(plain, ["x"], 5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"after_s": (2.0, 1.0)}, "after_s"),
        ({"after_s": (0.0, 1.0)}, "after_s"),
        ({"after_s": (1.0, float("nan"))}, "after_s"),
        ({"name": "a/b"}, "name"),
        ({"path": " "}, "path"),
        ({"dataset_sha256": "x"}, "dataset_sha256"),
    ],
)
def test_what_cannot_be_played_is_refused(changes: dict[str, object], words: str) -> None:
    """A barge-in that exists can be played."""
    with pytest.raises(ConfigurationError, match=words):
        replace(FLOOR, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"driver": Driver.STAGE}, "session"),
        ({"session": SessionOptions(vad=True)}, "interruptions = true"),
        ({"barge_ins": (FLOOR, replace(LISTENS, name="WANTS"))}, "stands twice"),
        (
            {"session": SessionOptions(interruptions=True, interruption_mode="adaptive")},
            "vad = true",
        ),
        (
            {
                "session": SessionOptions(
                    interruptions=True,
                    vad=True,
                    interruption_mode="adaptive",
                    turn_detection=TurnDetection.MANUAL,
                )
            },
            "manual",
        ),
    ],
)
def test_a_suite_that_livekit_would_not_interrupt_is_refused(
    changes: dict[str, object], words: str
) -> None:
    """Where livekit would quietly do without the adaptive detector, the suite says so first."""
    with pytest.raises(ConfigurationError, match=words):
        replace(SUITE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings", [{"mode": "model"}, {"threshold": 1.0}, {"min_duration_s": -1}]
)
def test_settings_that_livekit_does_not_know_are_refused(settings: dict[str, object]) -> None:
    """Settings that exist can be passed on."""
    with pytest.raises(ConfigurationError):
        InterruptionSettings(**settings)  # type: ignore[arg-type]


def test_a_candidate_says_more_than_the_session() -> None:
    """A candidate's own settings come first, the session's mode stands in."""
    own = replace(SUITE.candidates[0], interruption=InterruptionSettings(mode="adaptive"))
    assert SUITE.interruption(own).mode == "adaptive"
    assert SUITE.interruption(SUITE.candidates[1]).mode == "vad"


def test_the_description_tells_a_dataset_by_its_hash() -> None:
    """Two runs over the same recordings are described alike, wherever these lie."""
    one, other = (
        replace(FLOOR, path=path, dataset_sha256="a" * 64) for path in ("/here/x", "/there/y")
    )
    assert describe_barge_in(one) == describe_barge_in(other)
    assert "the reply has to stop" in describe_barge_in(one)
    assert "go on" in describe_barge_in(LISTENS)
