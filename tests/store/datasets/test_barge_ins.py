"""Barge-ins in suite files, in plans and in stored trials, and their recordings."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.shared.suite_options import known_profiles, with_hashes
from harness.domain.barge_in import Expects
from harness.domain.candidate import InterruptionSettings
from harness.domain.plan import make_plan
from harness.domain.reply import Overlap
from harness.errors import ConfigurationError
from harness.store.datasets.barge_ins import store_barge_ins, with_barge_ins
from harness.store.datasets.selection import select_utterances
from harness.store.runs.decode import decode_trial
from harness.store.runs.encode import encode_trial
from harness.store.runs.environment import missing_keys
from harness.store.runs.plans import RunPlan, decode_plan, encode_plan
from harness.store.suites.suite import parse_suite, read_suite, suite_document
from tests.store.suites.test_suites import write
from tests.synthetic import make_trial

SUITE = """
[session]
vad = true
interruptions = true
[[dataset]]
path = "starter"
ids = ["slt-weather", "kal16-timer", "rms-pardon"]
[[barge_in]]
name = "wants"
path = "interruptions"
tags = { kind = "interruption" }
expect = "interrupts"
after_s = [1.2, 1.8]
[[barge_in]]
name = "listens"
path = "interruptions"
ids = ["slt-yeah"]
expect = "backchannel"
after_s = 1.5
[[candidate]]
name = "one"
interruption = { mode = "adaptive", profile = "exact", threshold = 0.7 }
stt = { provider = "livekit", profile = "exact" }
llm = { provider = "livekit", profile = "exact" }
tts = { provider = "livekit", profile = "exact" }
"""


def test_a_suite_says_its_barge_ins(tmp_path: Path) -> None:
    """Every key is read, and the document reads back."""
    suite = read_suite(write(tmp_path, SUITE), profiles=known_profiles)
    wants, listens = suite.barge_ins
    assert (wants.tags, wants.after_s, wants.expect) == (
        {"kind": "interruption"},
        (1.2, 1.8),
        Expects.INTERRUPTS,
    )
    assert (listens.ids, listens.after_s) == (("slt-yeah",), (1.5, 1.5))
    assert suite.candidates[0].interruption == InterruptionSettings(
        mode="adaptive", profile="exact", threshold=0.7
    )
    document = json.loads(json.dumps(suite_document(suite)))
    assert parse_suite(document, source="again") == suite


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('expect = "interrupts"', 'expect = "stops"', "barge_in[1].expect"),
        ("after_s = 1.5", "after_s = [2, 1]", "barge_in[2].after_s"),
        ("after_s = 1.5", 'after_s = "soon"', "barge_in[2].after_s"),
        ('name = "listens"', 'name = "wants"', "barge_in.name"),
        ("interruptions = true", "interruptions = false", "session.interruptions"),
        ("vad = true", "vad = false", "session.vad"),
        ('mode = "adaptive"', 'mode = "vad"', "candidate[1].interruption.profile"),
        ("threshold = 0.7", "threshold = 7", "candidate[1].interruption.threshold"),
        ('profile = "exact", threshold', 'profile = "exat", threshold', "interruption.profile"),
        (
            'profile = "exact", threshold',
            'profile = "embedded", threshold',
            "does not serve interruption",
        ),
        ('ids = ["slt-yeah"]', "who = 1", "barge_in[2].who"),
    ],
)
def test_mistakes_name_their_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Whatever is wrong with a barge-in is told by the key that it stands at."""
    assert old in SUITE
    path = write(tmp_path, SUITE.replace(old, new))
    with pytest.raises(ConfigurationError) as found:
        read_suite(path, profiles=known_profiles)
    assert any(words in line for line in found.value.problems)


def test_recordings_are_dealt_by_the_seed_alone(tmp_path: Path) -> None:
    """The same seed says the same over the same replies; only tagged recordings are said."""
    suite = with_hashes(read_suite(write(tmp_path, SUITE)))
    selection = select_utterances(suite)
    order = [each.id for each in selection.utterances]

    def dealt(seed: int) -> dict[str, tuple[str, int]]:
        played = with_barge_ins(selection.playable(), suite, order=order, seed=seed)
        assert all(set(each.barge_ins) == {"wants", "listens"} for each in played.values())
        assert {each.barge_ins["listens"].recording for each in played.values()} == {"slt-yeah"}
        return {
            name: (each.barge_ins["wants"].recording, each.barge_ins["wants"].after_ns)
            for name, each in played.items()
        }

    assert dealt(1) == dealt(1)
    assert len({dealt(seed)["slt-weather"] for seed in range(5)}) > 1
    assert all(1.2e9 <= after <= 1.8e9 for _, after in dealt(3).values())


def test_another_dataset_is_another_run(tmp_path: Path) -> None:
    """A dataset that has changed since the start is refused, and so is a tag that nobody bears."""
    suite = with_hashes(read_suite(write(tmp_path, SUITE)))
    first = replace(suite.barge_ins[0], dataset_sha256="0" * 64)
    with pytest.raises(ConfigurationError, match="another dataset"):
        with_hashes(replace(suite, barge_ins=(first,)))
    nobody = replace(suite.barge_ins[0], tags={"kind": "song"}, dataset_sha256=None)
    with pytest.raises(ConfigurationError, match="no utterance"):
        with_hashes(replace(suite, barge_ins=(nobody,)))


def test_conditions_are_heard_in_what_is_said_over_the_reply(tmp_path: Path) -> None:
    """A telephone line has the interruption as well; what was said lies in the run's folder."""
    phone = (
        '[[condition]]\nname = "clean"\n[[condition]]\nname = "phone"\ntelephony = "g711-alaw"\n'
    )
    suite = read_suite(write(tmp_path, SUITE + phone))
    selection = select_utterances(suite)
    order = [each.id for each in selection.utterances]
    played = with_barge_ins(selection.playable(suite.conditions), suite, order=order, seed=1)
    clean, narrow = (
        played[f"slt-weather/{name}"].barge_ins["wants"] for name in ("clean", "phone")
    )
    assert clean.recording == narrow.recording
    assert clean.pcm != narrow.pcm
    assert clean.speech_start_ns == narrow.speech_start_ns
    files = store_barge_ins(tmp_path / "run", suite)
    assert len(files) == len({name for name, _, _ in files}) == 2 * (6 + 1)
    assert all(path.is_file() for _, path, _ in files)


def test_the_detector_needs_livekits_keys(tmp_path: Path) -> None:
    """A live suite of other providers says that its adaptive detector has keys of its own."""
    text = SUITE.replace('provider = "livekit", profile = "exact"', 'provider = "openadapter"')
    suite = read_suite(write(tmp_path, 'via = "live"\n' + text))
    told = missing_keys(suite, environ={"OPENADAPTER_API_KEY": "x", "PARAKEET_API_KEY": "x"})
    assert told
    assert all("LIVEKIT" in line and "one.interruption" in line for line in told)
    plain = SUITE.replace('mode = "adaptive", profile = "exact", threshold = 0.7', 'mode = "vad"')
    plain = plain.replace('provider = "livekit", profile = "exact"', 'provider = "openadapter"')
    suite = read_suite(write(tmp_path, 'via = "live"\n' + plain))
    assert missing_keys(suite, environ={"OPENADAPTER_API_KEY": "x", "PARAKEET_API_KEY": "x"}) == ()


def test_a_plan_and_a_trial_remember_what_was_said(tmp_path: Path) -> None:
    """Keys with a barge-in and turns with an overlap are the same after they were stored."""
    suite = with_hashes(read_suite(write(tmp_path, SUITE)))
    selection = select_utterances(suite)
    keys = make_plan(suite, [each.id for each in selection.utterances], 1)
    plan = RunPlan(
        suite=suite,
        source="suite.toml",
        seed=1,
        keys=keys,
        utterances=selection.utterances,
        origin=dict.fromkeys(selection.origin, 0),
        datasets=(),
    )
    assert decode_plan(encode_plan(plan), source=tmp_path).keys == keys
    trial = make_trial()
    overlap = Overlap(
        recording="slt-yeah",
        expects=Expects.BACKCHANNEL,
        detector="adaptive",
        fell_back="refused",
    )
    changed = replace(
        trial,
        key=replace(trial.key, barge_in="listens", expects=Expects.BACKCHANNEL),
        turns=(replace(trial.turns[0], overlap=overlap),),
    )
    assert decode_trial(encode_trial(changed)) == changed
