"""A folder of recordings becomes a dataset that reads and checks without a problem."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigurationError
from harness.store.datasets.audio import load_audio, sha256_file, write_flac, write_wav
from harness.store.datasets.check import check_dataset
from harness.store.datasets.imports import ImportReport, import_dataset
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.datasets.speech_bounds import ESTIMATED_TOLERANCE_MS
from tests.store.datasets.recordings import RATE, noise, voice


def folder_of(path: Path, *names: str) -> Path:
    """Return a folder with a recording of each name."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(path / name, voice(), RATE)
    return path


def import_into(tmp_path: Path, source: Path, **options: bool | str) -> ImportReport:
    """Import ``source`` into ``tmp_path/target``."""
    return import_dataset(source, tmp_path / "target", name="mine", **options)  # type: ignore[arg-type]


def test_recordings_with_text_beside_them(tmp_path: Path) -> None:
    """WAV, FLAC and MP3 at any rate, with .txt beside them, are imported, read and checked."""
    source = folder_of(tmp_path / "source", "a.wav")
    (source / "deep").mkdir()
    soundfile.write(source / "deep" / "b.wav", voice(rate=22_050), 22_050, subtype="PCM_24")
    write_flac(source / "c.flac", voice(rate=48_000), 48_000)
    soundfile.write(source / "d.mp3", voice(rate=44_100), 44_100, format="MP3")
    for name in ("a", "deep/b", "c", "d"):
        (source / f"{name}.txt").write_text(f"words of\n{name[-1]} \n", encoding="utf-8")
    report = import_into(tmp_path, source, licence="CC0-1.0")
    assert (report.imported, report.estimated, report.skipped, report.cautions) == (4, 4, (), ())
    dataset = read_dataset(report.manifest)
    assert (dataset.name, dataset.synthetic) == ("mine", False)
    assert {u.id: u.text for u in dataset.utterances} == {
        name: f"words of {name}" for name in "abcd"
    }
    for utterance in dataset.utterances:
        assert utterance.timing == "estimated"
        assert utterance.tolerance_ms == ESTIMATED_TOLERANCE_MS
        assert utterance.licence == "CC0-1.0"
        assert utterance.speech_start_s == pytest.approx(0.5, abs=0.06)
        assert utterance.speech_end_s == pytest.approx(1.5, abs=0.06)
    copied = audio_path(dataset, dataset.utterance("c"))
    assert sha256_file(copied) == sha256_file(source / "c.flac")
    checked = check_dataset(report.manifest)
    assert (checked.problems, checked.cautions) == ((), ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", 'file,sentence,kind\na.wav,"Hello, you",one\nsub/b.wav,second,\n'),
        ("list.csv", 'file;sentence;kind\na.wav;"Hello, you";one\nsub/b.wav;second;\n'),
        ("list.csv", "a.wav|Hello, you|hello you\nb|second|second\n"),
        ("list.tsv", "path\tsentence\tkind\na.wav\tHello, you\tone\nb.wav\tsecond\t\n"),
        (
            "LIST.JSONL",
            '{"audio_filepath": "a.wav", "text": "Hello, you"}\n{"path": "b", "words": "second"}\n',
        ),
    ],
)  # fmt: skip
def test_tables_are_read_by_common_names(tmp_path: Path, name: str, content: str) -> None:
    """CSV, TSV and JSONL with common column names, with or without a header, give the words."""
    source = folder_of(tmp_path / "source", "a.wav", "sub/b.wav")
    (source / name).write_text("\ufeff" + content, encoding="utf-8")
    report = import_into(tmp_path, source)
    assert report.skipped == ()
    utterances = read_dataset(report.manifest).utterances
    assert {u.id: u.text for u in utterances} == {"a": "Hello, you", "b": "second"}
    if "kind" in content:
        assert utterances[0].tags == {"kind": "one"}
        assert utterances[1].tags == {}


def test_given_fields_are_kept(tmp_path: Path) -> None:
    """Ids, bounds, language, speaker, slots and expectations of a table reach the dataset."""
    source = folder_of(tmp_path / "source", "a.wav", "b.wav", "c.wav")
    write_wav(source / "n.wav", noise(), RATE)
    write_wav(source / "m.wav", noise(seconds=1), RATE)
    stereo = np.stack([noise(), voice()], axis=1)
    soundfile.write(source / "two.wav", stereo, RATE)
    rows = [
        {"id": "first", "audio": "a.wav", "text": "x", "speech_start_s": 0.51, "lang": "de-AT",
         "speech_end_s": 1.49, "timing_tolerance_ms": 20, "speaker_id": 7, "speech_end": "tag",
         "sha256": sha256_file(source / "a.wav"), "licence": "MIT", "tags": {"room": "hall"}},
        {"audio": "b.wav", "slots": {"size": "large"}, "speech_end_s": 1.5},
        {"audio": "n.wav", "expect": "none"},
        {"audio": "m.wav", "text": ""},
        {"audio": "two.wav", "text": "x", "channel": 1},
    ]  # fmt: skip
    (source / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = import_into(tmp_path, source, licence="CC0-1.0", language="de")
    dataset = read_dataset(report.manifest)
    first, second = dataset.utterance("first"), dataset.utterance("b")
    assert (first.speech_start_s, first.speech_end_s, first.timing) == (0.51, 1.49, "given")
    assert (first.tolerance_ms, first.language, first.speaker) == (20.0, "de-AT", "7")
    assert (first.licence, second.licence, second.language) == ("MIT", "CC0-1.0", "de")
    assert first.tags == {"speech_end": "tag", "room": "hall"}
    assert (second.slots, second.text, second.timing) == ({"size": "large"}, None, "estimated")
    assert second.speech_end_s == 1.5
    assert dataset.utterance("n").expect == dataset.utterance("m").expect == "none"
    assert (dataset.utterance("two").channel, dataset.utterance("c").text) == (1, None)
    assert (report.imported, report.estimated) == (6, 3)
    assert report.skipped == ()
    (caution,) = report.cautions
    assert caution.startswith(f"{source}/c.wav: no words are given")


def test_what_cannot_be_taken_is_said_in_a_line(tmp_path: Path) -> None:
    """Each recording or row left out has one line with its place, the reason and the mend."""
    source = folder_of(tmp_path / "source", "good.wav", "blank.wav", "latin.wav", "raw.wav")
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        folder_of(source, f"{name}.wav")
    (source / "blank.txt").write_text("  \n")
    (source / "latin.txt").write_bytes("größe".encode("latin-1"))
    (source / "broken.wav").write_bytes(b"RIFF")
    (source / "raw.pcm").write_bytes(bytes(100))
    (source / "notes.csv").write_text("topic,when\nspeech,today\n")
    write_wav(source / "still.wav", noise(), RATE)
    (source / ".hidden.wav").write_bytes(b"x")
    rows = [
        {"audio": "a.wav", "text": "x", "speech_start_s": 0.5, "speech_end_s": 9},
        {"audio": "b.wav", "text": "x", "speech_start_s": 1.2, "speech_end_s": 1},
        {"audio": "c.wav", "text": "x", "speech_start_s": "soon"},
        {"audio": "d.wav", "text": "x", "sha256": "0" * 64},
        {"audio": "e.wav", "text": "x", "language": "German, Austria"},
        {"audio": "f.wav", "text": "x", "id": "a/b"},
        {"audio": "g.wav", "text": "x", "expect": "none"},
        {"audio": "h.wav", "text": "x", "channel": 3},
        {"audio": "gone.wav", "text": "x"},
        {"text": "x"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows) + "not json\n[]\n"
    (source / "list.jsonl").write_text(text)
    report = import_into(tmp_path, source)
    assert [u.id for u in read_dataset(report.manifest).utterances] == ["good", "raw"]
    place = f"{source}/list.jsonl:"
    reasons = [
        (f"{place}1: ", "speech_end_s 9 lies outside the file (2 s)"),
        (f"{place}2: ", "speech_start_s 1.2 is not before 1"),
        (f"{place}3: ", "speech_start_s is 'soon'"),
        (f"{place}4: ", "d.wav does not have the sha256 given"),
        (f"{place}5: ", "is no BCP 47 tag"),
        (f"{place}6: ", "cannot name a file"),
        (f"{place}7: ", 'expect "none" contradicts the words'),
        (f"{place}8: ", "channel 3 does not exist"),
        (f"{place}9: ", "gone.wav is not in the folder"),
        (f"{place}10: ", "names no recording"),
        (f"{place}11: ", "not JSON"),
        (f"{place}12: ", "no object"),
        (f"{source}/notes.csv:1: ", "has no column for the recording"),
        (f"{source}/blank.txt: ", "empty: write the words"),
        (f"{source}/latin.txt: ", "not UTF-8"),
        (f"{source}/broken.wav: ", "cannot be decoded"),
        (f"{source}/raw.pcm: ", "headerless samples"),
        (f"{source}/still.wav: ", "no speech can be told from noise (even noise)"),
    ]
    assert len(report.skipped) == len(reasons)
    for start, reason in reasons:
        (line,) = [line for line in report.skipped if line.startswith(start)]
        assert reason in line
        assert "\n" not in line


def test_equal_names_get_ids_of_their_own(tmp_path: Path) -> None:
    """Recordings of one name in several folders, or of names that differ in case, all come in."""
    source = folder_of(tmp_path / "source", "x/a.wav", "y/a.wav", "z/A.wav")
    report = import_into(tmp_path, source)
    ids = [u.id for u in read_dataset(report.manifest).utterances]
    assert ids == ["a", "a-2", "A-3"]


def test_flac_on_request(tmp_path: Path) -> None:
    """With to_flac each recording is stored as mono FLAC at its own rate, of the channel meant."""
    source = tmp_path / "source"
    source.mkdir()
    soundfile.write(
        source / "two.wav", np.stack([noise(rate=44_100), voice(rate=44_100)], 1), 44_100
    )
    (source / "list.csv").write_text("audio,text,channel\ntwo.wav,hello,1\n")
    report = import_into(tmp_path, source, to_flac=True)
    dataset = read_dataset(report.manifest)
    (utterance,) = dataset.utterances
    assert (utterance.audio, utterance.channel) == ("audio/two.flac", None)
    audio = load_audio(audio_path(dataset, utterance))
    assert (audio.sample_rate, audio.channels) == (44_100, 1)
    assert np.array_equal(audio.samples, voice(rate=44_100))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A target that holds something is refused and left as it is; an empty one is taken."""
    source = folder_of(tmp_path / "source", "a.wav")
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        import_into(tmp_path, source)
    assert [path.name for path in target.iterdir()] == ["precious"]
    (target / "precious").unlink()
    assert import_into(tmp_path, source).imported == 1
    with pytest.raises(ConfigurationError, match="never overwritten"):
        import_into(tmp_path, source)


def test_a_failed_import_leaves_nothing(tmp_path: Path) -> None:
    """When nothing can be taken there is no target, no partial folder, and all lines are told."""
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ConfigurationError, match="holds no recording"):
        import_into(tmp_path, source)
    (source / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ConfigurationError) as caught:
        import_into(tmp_path, source)
    assert "no recording can be imported" in caught.value.problems[0]
    assert "broken.wav" in caught.value.problems[1]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("name", "language", "message"), [("x", "e", "language"), (" ", "en", "name")]
)
def test_wrong_options_are_refused(tmp_path: Path, name: str, language: str, message: str) -> None:
    """A language that is none, an empty name and a missing source are refused at once."""
    source = folder_of(tmp_path / "source", "a.wav")
    with pytest.raises(ConfigurationError, match=message):
        import_dataset(source, tmp_path / "t", name=name, language=language)
    with pytest.raises(ConfigurationError, match="no such folder"):
        import_dataset(tmp_path / "gone", tmp_path / "t", name="x")


def test_a_dataset_imports_as_itself(tmp_path: Path) -> None:
    """Importing a dataset's own folder keeps its words, bounds, tags and hashes."""
    first = import_into(tmp_path, folder_of(tmp_path / "source", "a.wav", "b.wav"))
    again = import_dataset(first.manifest.parent, tmp_path / "again", name="mine")
    old, new = read_dataset(first.manifest), read_dataset(again.manifest)
    assert old.utterances == new.utterances
    assert old.sha256 == new.sha256


# Names that a file system and a manifest can both hold, and others.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\x00", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
)


@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), text=st.text(max_size=30))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_import_then_read_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], text: str
) -> None:
    """Whatever the files are called and whatever is said, read gives what was imported."""
    base = tmp_path_factory.mktemp("import")
    source = base / "source"
    source.mkdir()
    rows = []
    for number, name in enumerate(names):
        write_wav(source / f"{number}{name}.wav", voice(), RATE)
        rows.append({"audio": f"{number}{name}.wav", "text": text + "x"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (source / "list.jsonl").write_text(lines, encoding="utf-8")
    report = import_dataset(source, base / "target", name="x")
    assert (report.imported, report.skipped) == (len(names), ())
    dataset = read_dataset(base / "target")
    assert [u.text for u in dataset.utterances] == [text + "x"] * len(names)
    assert check_dataset(base / "target").is_sound
