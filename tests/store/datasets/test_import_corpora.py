"""Layouts of public corpora, each made small here, become datasets."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.domain.utterance import Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import load_audio, write_flac, write_wav
from harness.store.datasets.check import check_dataset
from harness.store.datasets.imports import ImportReport, import_dataset
from harness.store.datasets.manifest import audio_path, read_dataset
from tests.store.datasets.recordings import RATE, voice


def take(tmp_path: Path) -> tuple[ImportReport, dict[str, Utterance]]:
    """Import ``source``; the dataset reads and checks without a problem."""
    report = import_dataset(tmp_path / "source", tmp_path / "target", name="corpus")
    dataset = read_dataset(report.manifest)
    assert check_dataset(report.manifest).problems == ()
    return report, {each.id: each for each in dataset.utterances}


def recording(path: Path, *, calls: int = 1) -> Path:
    """Write so many times two seconds, each with a voice from 0.5 s to 1.5 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.tile(voice(), calls), RATE)
    return path


def lines(path: Path, *rows: str) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def test_librispeech(tmp_path: Path) -> None:
    """Transcripts of a chapter give id, words and speaker of the recordings beside them."""
    chapter = tmp_path / "source" / "LibriSpeech" / "test-clean" / "1089" / "134686"
    chapter.mkdir(parents=True)
    for number in range(2):
        write_flac(chapter / f"1089-134686-000{number}.flac", voice(), RATE)
    lines(
        chapter / "1089-134686.trans.txt",
        "1089-134686-0000 HE HOPED THERE WOULD BE STEW",
        "1089-134686-0001 STUFF IT INTO YOU",
        "1089-134686-0002 GONE",
    )
    report, found = take(tmp_path)
    assert {name: (each.text, each.speaker) for name, each in found.items()} == {
        "1089-134686-0000": ("HE HOPED THERE WOULD BE STEW", "1089"),
        "1089-134686-0001": ("STUFF IT INTO YOU", "1089"),
    }
    (line,) = report.skipped
    assert "1089-134686.trans.txt:3: 1089-134686-0002 is not beside it" in line
    assert report.estimated == 2


@pytest.mark.parametrize("name", ["manifest.json", "test_manifest.jsonl"])
def test_nemo(tmp_path: Path, name: str) -> None:
    """A manifest of NeMo is read by its names; an offset cuts its piece out of a long recording."""
    source = tmp_path / "source"
    recording(source / "wavs" / "a.wav")
    recording(source / "wavs" / "long.wav", calls=3)
    rows = [
        {"audio_filepath": "wavs/a.wav", "text": "whole", "duration": 2.0, "lang": "de"},
        {"audio_filepath": "wavs/long.wav", "text": "first", "offset": 0.0, "duration": 2.0},
        {"audio_filepath": "wavs/long.wav", "text": "second", "offset": 2.0, "duration": 2.0},
        {"audio_filepath": "wavs/long.wav", "text": "rest", "offset": 4},
        {"audio_filepath": "wavs/long.wav", "text": "outside", "offset": 9.0, "duration": 1.0},
        {"audio_filepath": "wavs/long.wav", "text": "never", "offset": "soon"},
    ]
    lines(source / name, *(json.dumps(row) for row in rows))
    report, found = take(tmp_path)
    assert {key: each.text for key, each in found.items()} == {
        "a": "whole",
        "long": "first",
        "long-2": "second",
        "long-3": "rest",
    }
    assert found["a"].language == "de"
    dataset = read_dataset(report.manifest)
    whole = load_audio(source / "wavs" / "long.wav").samples
    for number, key in enumerate(("long", "long-2", "long-3")):
        piece = load_audio(audio_path(dataset, found[key]))
        assert np.array_equal(piece.samples, whole[number * 2 * RATE : (number + 1) * 2 * RATE])
        assert found[key].speech_start_s == pytest.approx(0.5, abs=0.06)
    assert [line.partition(f"{name}:")[2].split(":")[0] for line in report.skipped] == ["6", "5"]


def test_other_json_is_no_manifest(tmp_path: Path) -> None:
    """A JSON file that is no manifest is passed over in silence."""
    source = tmp_path / "source"
    recording(source / "a.wav")
    lines(source / "settings.json", "{", '"audio_filepath": 3', "}")
    lines(source / "empty.json")
    report, found = take(tmp_path)
    assert (list(found), report.skipped) == (["a"], ())


def test_kaldi_without_segments(tmp_path: Path) -> None:
    """wav.scp, text, utt2spk and utt2lang say path, words, speaker, language; nothing is run."""
    source = tmp_path / "source"
    recording(source / "audio" / "x.wav")
    recording(source / "audio" / "y.wav")
    mark = tmp_path / "ran"
    lines(
        source / "data" / "test" / "wav.scp",
        "utt1 /somewhere/else/audio/x.wav",
        "utt2 audio/y.wav",
        f"utt3 touch {mark} |",
        "utt4 feats.ark:17",
        "utt5 missing.wav",
    )
    lines(source / "data" / "test" / "text", "utt1 guten  tag", "utt2 hallo")
    lines(source / "data" / "test" / "utt2spk", "utt1 anna", "utt2 ben")
    lines(source / "data" / "test" / "utt2lang", "utt1 de")
    report, found = take(tmp_path)
    assert {key: (u.text, u.speaker, u.language) for key, u in found.items()} == {
        "utt1": ("guten  tag", "anna", "de"),
        "utt2": ("hallo", "ben", "en"),
    }
    assert [line.split(": ", 1)[1].split()[0] for line in report.skipped] == [
        "utt3", "utt4", "missing.wav",
    ]  # fmt: skip
    assert not mark.exists()


def test_kaldi_with_segments(tmp_path: Path) -> None:
    """Each segment is an utterance of its own, cut to the sample; what is wrong is told."""
    source = tmp_path / "source"
    recording(source / "call.wav", calls=3)
    lines(source / "wav.scp", "call call.wav")
    lines(
        source / "segments",
        "call-1 call 0.00 2.00",
        "call-2 call 2.00 4.00",
        "call-3 call 4.00 -1",
        "call-4 other 0 1",
        "call-5 call 3 2",
        "call-6 call",
        "call-7 call 20 22",
    )
    lines(source / "text", "call-1 one", "call-2 two", "call-3 three")
    report, found = take(tmp_path)
    assert {key: each.text for key, each in found.items()} == {
        "call-1": "one", "call-2": "two", "call-3": "three",
    }  # fmt: skip
    assert {each.duration_s for each in found.values()} == {2.0}
    assert sorted(line.partition("segments:")[2].split(":")[0] for line in report.skipped) == [
        "4", "5", "6", "7",
    ]  # fmt: skip


def test_common_voice(tmp_path: Path) -> None:
    """A release gives each checked clip once, with words, speaker and language, and no other."""
    release = tmp_path / "source" / "cv-corpus-20" / "de"
    clips = release / "clips"
    clips.mkdir(parents=True)
    for number in range(5):
        soundfile.write(clips / f"common_voice_de_{number}.mp3", voice(), RATE, format="MP3")
    head = "client_id\tpath\tsentence_id\tsentence\tup_votes\tdown_votes\tage\tgender\tlocale"
    rows = [
        f'c{number}\tcommon_voice_de_{number}.mp3\ts{number}\tSatz "{number}\t2\t0\t\t\tde'
        for number in range(5)
    ]
    lines(release / "test.tsv", head, rows[0])
    lines(release / "train.tsv", head, rows[1])
    lines(release / "validated.tsv", head, *rows[:3])
    lines(release / "invalidated.tsv", head, rows[3])
    lines(release / "other.tsv", head, rows[4])
    lines(release / "clip_durations.tsv", "clip\tduration[ms]", "common_voice_de_0.mp3\t2000")
    lines(release / "validated_sentences.tsv", "sentence_id\tsentence", "s9\tnever spoken")
    report, found = take(tmp_path)
    assert {key: (u.text, u.speaker, u.language) for key, u in found.items()} == {
        f"common_voice_de_{number}": (f'Satz "{number}', f"c{number}", "de") for number in range(3)
    }
    assert found["common_voice_de_0"].tags["up_votes"] == "2"
    assert (report.skipped, report.cautions) == ((), ())


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_face_audio_folder(tmp_path: Path, kind: str) -> None:
    """metadata.csv and metadata.jsonl name files relative to themselves; columns become tags."""
    source = tmp_path / "source"
    for split in ("train", "test"):
        recording(source / split / "data" / "0001.wav")
        row = {"file_name": "data/0001.wav", "transcription": f"from {split}", "accent": "scots"}
        content = json.dumps(row) if kind == "jsonl" else ",".join(row.values())
        lines(source / split / f"metadata.{kind}", *([",".join(row)] * (kind == "csv")), content)
    report, found = take(tmp_path)
    assert {key: each.text for key, each in found.items()} == {
        "0001": "from test", "0001-2": "from train",
    }  # fmt: skip
    assert {each.tags["accent"] for each in found.values()} == {"scots"}
    assert (report.skipped, report.cautions) == ((), ())


def test_two_tables_that_disagree(tmp_path: Path) -> None:
    """Words beat none, the first words beat others, and the contradiction is told."""
    source = tmp_path / "source"
    recording(source / "a.wav")
    recording(source / "b.wav")
    lines(source / "1.csv", "file,text", "a.wav,", "b.wav,right")
    lines(source / "2.csv", "file,text", "a.wav,words", "b.wav,wrong")
    report, found = take(tmp_path)
    assert {key: each.text for key, each in found.items()} == {"a": "words", "b": "right"}
    (line,) = report.skipped
    assert "2.csv:3: says other words of b.wav than" in line


def test_nothing_but_faults(tmp_path: Path) -> None:
    """A corpus of which nothing can be taken makes no dataset, and says why."""
    lines(tmp_path / "source" / "wav.scp", "a sox x.wav -t wav - |")
    with pytest.raises(ConfigurationError, match="is a command, which is not run"):
        take(tmp_path)
    assert not (tmp_path / "target").exists()
