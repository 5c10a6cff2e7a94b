"""A reply transcribed again: which replies count, how they pool, how they are stored and shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.intelligibility import HeardReply, intelligibility, spoken_text
from harness.analysis.turn.measurement import Missing
from harness.domain.seal import seal
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.report.intelligibility import intelligibility_table
from harness.store.runs.heard_replies import HEARD_REPLIES, append_heard, damaged_heard, read_heard
from tests.synthetic import Script, make_failed, make_trial

WHISPER = {"provider": "openai", "model": "whisper-1", "profile": None, "via": "live"}


def stored(trial: Trial) -> Trial:
    """Return a trial whose reply's audio was kept."""
    turn = trial.turns[0]
    assert turn.reply is not None
    reply = replace(turn.reply, audio="audio/t00000.flac")
    return replace(trial, turns=(replace(turn, reply=reply),))


def heard(number: int, words: str | None, *, reason: str | None = None) -> HeardReply:
    """Return what was heard of a reply of five words."""
    return HeardReply(
        trial=f"t{number:05d}",
        candidate="a",
        utterance=f"u{number}",
        spoken="Your table is booked now.",
        heard=words,
        reason=reason,
    )


def test_the_text_is_that_of_the_requests_that_were_played() -> None:
    """Sentences are joined in their order; a cancelled one was not heard and does not count."""
    trial = stored(make_trial(Script(sentences=3)))
    found = spoken_text(trial)
    assert not isinstance(found, Missing)
    assert found[1] == "A reply. Sentence 1. Sentence 2."
    turn = trial.turns[0]
    requests = tuple(
        replace(each, cancelled=True) if each.id == "tts-1" else each for each in turn.requests
    )
    found = spoken_text(replace(trial, turns=(replace(turn, requests=requests),)))
    assert not isinstance(found, Missing)
    assert found[1] == "A reply. Sentence 2."


def test_replies_that_cannot_be_scored_say_why() -> None:
    """Failed, interrupted, unstored and unknown replies are missing, each with its reason."""
    trial = stored(make_trial())
    turn = trial.turns[0]
    assert turn.reply is not None
    mute = tuple(
        replace(each, text="") if each.stage is Stage.TTS else each for each in turn.requests
    )
    cases: dict[str, Trial | FailedTrial] = {
        "the trial failed": make_failed(),
        "no reply was played": replace(trial, turns=(replace(turn, reply=None),)),
        "the reply was interrupted": replace(
            trial, turns=(replace(turn, reply=replace(turn.reply, interrupted=True)),)
        ),
        "its audio was not stored": make_trial(),
        "the text that was synthesised is unknown": replace(
            trial, turns=(replace(turn, requests=mute),)
        ),
    }
    for reason, case in cases.items():
        assert spoken_text(case) == Missing(reason=reason)


def test_errors_are_pooled_over_the_words_that_were_synthesised() -> None:
    """Numbers and punctuation do not count; silence is all words unheard; a failure is left out."""
    result = intelligibility(
        [
            *(heard(n, "your table is booked now") for n in range(6)),
            heard(6, "your cable is booked right now"),
            heard(7, None),
            heard(8, None, reason="stt timeout"),
        ],
        left_out={"the trial failed": 2},
    )
    assert result is not None
    assert (result.replies, result.words, result.unheard) == (8, 40, 1)
    assert (result.substitutions, result.insertions, result.deletions) == (1, 1, 5)
    assert isinstance(result.rate, Estimate)
    assert result.rate.point == 7 / 40
    assert result.left_out == {"the trial failed": 2, "the recogniser failed: stt timeout": 1}


def test_nothing_to_score_is_no_figure() -> None:
    """Without a scored reply there is no rate, not a rate of zero."""
    assert intelligibility([]) is None
    assert intelligibility([heard(1, None, reason="stt refused")]) is None


def test_characters_and_words_are_never_pooled() -> None:
    """A Japanese reply beside English ones is left out and counted; alone it is scored so."""
    japanese = replace(heard(1, "今日は雨れ"), spoken="今日は晴れ", language="ja")
    alone = intelligibility([japanese])
    assert alone is not None
    assert (alone.unit, alone.words, alone.substitutions) == ("character", 5, 1)
    both = intelligibility([japanese, heard(2, "your table is booked now")])
    assert both is not None
    assert (both.unit, both.words) == ("word", 5)
    assert both.left_out == {"scored by character": 1}


def test_what_was_heard_is_stored_line_by_line(tmp_path: Path) -> None:
    """A later line replaces an earlier one; a torn line is left out, wherever it is, and told."""
    assert read_heard(tmp_path) == ((), {})
    append_heard(tmp_path, heard(1, None, reason="stt timeout"), WHISPER)
    append_heard(tmp_path, heard(2, "naïve \u2028 words"), WHISPER)
    append_heard(tmp_path, heard(1, "your table"), WHISPER)
    replies, used = read_heard(tmp_path)
    assert {each.trial: each.heard for each in replies} == {
        "t00001": "your table", "t00002": "naïve \u2028 words",
    }  # fmt: skip
    assert used == WHISPER
    path = tmp_path / HEARD_REPLIES
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '{"v": 1, "tri', encoding="utf-8")
    assert len(read_heard(tmp_path)[0]) == 2
    path.write_text('{"v": 1, "tri\n' + whole, encoding="utf-8")
    assert len(read_heard(tmp_path)[0]) == 2
    assert damaged_heard(tmp_path) == (1,)
    path.write_text(seal('{"v":9,"trial":"t00001"}') + "\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="newer than 1"):
        read_heard(tmp_path)


def test_two_recognisers_are_never_pooled(tmp_path: Path) -> None:
    """What another recogniser heard before is not part of the last one's figure."""
    append_heard(tmp_path, heard(1, "one"), {**WHISPER, "model": "other"})
    append_heard(tmp_path, heard(2, "two"), WHISPER)
    replies, used = read_heard(tmp_path)
    assert ([each.heard for each in replies], used) == (["two"], WHISPER)


def test_the_table_names_the_recogniser_and_what_is_left_out() -> None:
    """Each candidate has a row; its failures stand in it; gateway figures are marked."""
    trials = (
        stored(make_trial(order=1, utterance="u1")),
        make_failed(order=2, utterance="u2"),
        make_failed(order=3, candidate="b"),
        stored(make_trial(order=4, utterance="u1", warmup=True)),
    )
    assert intelligibility_table([], {}, trials) is None
    gateway = {**WHISPER, "via": "gateway", "profile": "fast"}
    warm = replace(heard(4, "nothing at all"), trial="w00004")
    table = intelligibility_table([heard(1, "your table is booked now"), warm], gateway, trials)
    assert table is not None
    assert "openai · whisper-1 · fast" in table.note
    first, second = table.rows
    assert first[0] == "a"
    assert not isinstance(first[1], str)
    assert first[1].emulated
    assert first[2:4] == ("1", "5")
    assert first[-1] == "the trial failed: 1"
    assert second[0] == "b"
    assert second[-1] == "the trial failed: 1"
