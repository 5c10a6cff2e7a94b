"""Conditions in suite files, in plans and in stored trials."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.shared.suite_options import known_profiles, with_hashes
from harness.domain.condition import Concealment, Condition, PacketLoss, Telephony
from harness.domain.plan import make_plan
from harness.errors import ConfigurationError
from harness.store.datasets.audio import load_audio, to_pipeline, write_wav
from harness.store.datasets.manifest import audio_path
from harness.store.datasets.selection import select_utterances
from harness.store.runs.decode import decode_key
from harness.store.runs.encode import encode_key
from harness.store.runs.plans import RunPlan, decode_plan, encode_plan
from harness.store.suites.suite import parse_suite, read_suite, suite_document
from tests.store.datasets.recordings import RATE, noise, voice
from tests.store.suites.test_suites import SMALL, problems, write

TRAIN = """
[[condition]]
name = "clean"
[[condition]]
name = "train"
noise = "train.wav"
snr_db = 10
telephony = "g711-alaw"
packet_loss = { share = 0.03, burst = 2, concealment = "repeat" }
gain_db = -6
clip_db = 3
lead_silence_s = 0.5
trail_silence_s = 0.25
"""


def test_a_suite_says_its_conditions(tmp_path: Path) -> None:
    """Every key is read, the noise's path counts from the suite, and the document reads back."""
    write_wav(tmp_path / "train.wav", noise(), RATE)
    suite = read_suite(write(tmp_path, SMALL + TRAIN))
    clean, train = suite.conditions
    assert clean == Condition(name="clean")
    assert train == Condition(
        name="train",
        noise=str((tmp_path / "train.wav").resolve()),
        snr_db=10,
        telephony=Telephony.ALAW,
        packet_loss=PacketLoss(share=0.03, burst=2, concealment=Concealment.REPEAT),
        gain_db=-6,
        clip_db=3,
        lead_silence_s=0.5,
        trail_silence_s=0.25,
    )
    known = with_hashes(suite)
    assert known.conditions[1].noise_sha256 is not None
    document = json.loads(json.dumps(suite_document(known)))
    assert parse_suite(document, source="stored").conditions == known.conditions


def test_a_suite_without_conditions_is_as_before(tmp_path: Path) -> None:
    """Without a condition nothing is said of them, in the document or in the plan's order."""
    suite = read_suite(write(tmp_path, SMALL))
    assert suite.condition_names == ("",)
    assert "condition" not in suite_document(suite)
    assert {key.condition for key in make_plan(suite, ["u", "v"], 1)} == {""}


def test_packets_are_lost_without_memory_where_no_burst_is_given(tmp_path: Path) -> None:
    """A share alone means that each packet is lost by itself."""
    text = '\n[[condition]]\nname = "loss"\npacket_loss = { share = 0.2 }\n'
    (loss,) = read_suite(write(tmp_path, SMALL + text)).conditions
    assert loss.packet_loss is not None
    assert loss.packet_loss.burst == pytest.approx(1.25)


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    """Each mistake of a condition is a line with its key; none hides another."""
    text = """
[[condition]]
name = "a/b"
noise = "pink"
telephony = "g711-mulow"
gain = 3
clip_db = 99
[[condition]]
name = "n"
packet_loss = { shar = 0.1, burst = 0.5 }
[[condition]]
name = "N"
[[condition]]
name = "n2"
packet_loss = { share = 1.5 }
snr_db = "loud"
"""
    found = problems(tmp_path, SMALL + text)
    starts = [line.partition(": ")[0] for line in found]
    assert sorted(starts) == sorted(
        [
            "condition[1].name",
            "condition[1].snr_db",
            "condition[1].telephony",
            "condition[1].gain",
            "condition[1].clip_db",
            "condition[2].packet_loss.share",
            "condition[2].packet_loss.shar",
            "condition[4].packet_loss.share",
            "condition[4].snr_db",
        ]
    )
    assert any("did you mean 'g711-mulaw'?" in line for line in found)
    twice = '\n[[condition]]\nname = "n"\n[[condition]]\nname = "N"\n'
    (line,) = problems(tmp_path, SMALL + twice)
    assert line.startswith("condition.name: 'n' stands twice")


def test_a_noise_that_is_missing_is_told_before_the_run(tmp_path: Path) -> None:
    """A noise recording that is not there is a mistake of the suite, told with its condition."""
    suite = read_suite(write(tmp_path, SMALL + TRAIN))
    with pytest.raises(ConfigurationError, match=r"condition 'train': noise .*train\.wav"):
        with_hashes(suite)


def test_what_is_played_is_named_after_utterance_and_condition(tmp_path: Path) -> None:
    """Each chosen utterance is decoded once for each condition; lengths are known before."""
    write_wav(tmp_path / "train.wav", noise(), RATE)
    suite = read_suite(write(tmp_path, SMALL + TRAIN))
    selection = select_utterances(suite, limit=2)
    played = selection.playable(suite.conditions)
    ids = [each.id for each in selection.utterances]
    assert list(played) == [f"{name}/{each}" for name in ids for each in ("clean", "train")]
    durations = selection.durations(suite.conditions)
    assert list(durations) == list(played)
    for name, each in played.items():
        assert len(each.pcm) / 2 / RATE == pytest.approx(durations[name], abs=1e-3)
    first = selection.utterances[0]
    recorded = to_pipeline(load_audio(audio_path(selection.origin[first.id], first)))
    assert played[f"{first.id}/clean"].pcm == recorded.astype("<i2").tobytes()
    assert list(selection.playable()) == ids


def test_plans_and_keys_keep_the_condition(tmp_path: Path) -> None:
    """A stored plan and a stored trial know the condition; one without is stored as before."""
    write_wav(tmp_path / "train.wav", voice(), RATE)
    suite = with_hashes(read_suite(write(tmp_path, SMALL + TRAIN)))
    selection = select_utterances(suite, limit=2)
    keys = make_plan(suite, [each.id for each in selection.utterances], 1)
    plan = RunPlan(
        suite=suite,
        source="x",
        seed=1,
        keys=keys,
        utterances=selection.utterances,
        origin=dict.fromkeys(selection.origin, 0),
        datasets=(),
    )
    again = decode_plan(encode_plan(plan), source=tmp_path)
    assert again.keys == keys
    assert again.suite.conditions == suite.conditions
    assert {key.condition for key in keys} == {"clean", "train"}
    for key in keys:
        assert decode_key(json.loads(json.dumps(encode_key(key)))) == key
    assert "condition" not in encode_key(replace(keys[0], condition=""))


def test_a_suite_names_who_hears_the_replies(tmp_path: Path) -> None:
    """The recogniser of the replies is a stage like others: read back, and checked alike."""
    text = '[intelligibility]\nprovider = "openadapter"\nprofile = "exact"\n'
    suite = read_suite(write(tmp_path, SMALL + text), profiles=known_profiles)
    assert suite.intelligibility is not None
    assert suite.intelligibility.profile == "exact"
    document = json.loads(json.dumps(suite_document(suite)))
    assert parse_suite(document, source="stored").intelligibility == suite.intelligibility
    wrong = '[intelligibility]\nprovider = "openadaptr"\nprofile = "exakt"\nvoice = "x"\n'
    found = problems(tmp_path, SMALL + wrong)
    assert [line.partition(":")[0] for line in found] == [
        "intelligibility.provider", "intelligibility.voice", "intelligibility.profile",
    ]  # fmt: skip
