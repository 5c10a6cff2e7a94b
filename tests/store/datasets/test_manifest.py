"""A manifest is read as it is meant, or every mistake in it is named with its mend."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigurationError
from harness.store.datasets.audio import sha256_file
from harness.store.datasets.manifest import audio_path, manifest_path, read_dataset
from harness.store.datasets.speech_bounds import ESTIMATED_TOLERANCE_MS
from tests.store.datasets.recordings import RATE, write_dataset

ROW: dict[str, Any] = {"id": "a", "audio": "voice.wav", "text": "hello"}


def problems(folder: Path, **options: bool) -> tuple[str, ...]:
    """Return the lines with which a dataset is refused."""
    with pytest.raises(ConfigurationError) as caught:
        read_dataset(folder, **options)
    return caught.value.problems


def test_a_full_row_is_read(tmp_path: Path) -> None:
    """Every field of the format reaches the utterance; what is unknown is kept as a tag."""
    digest = sha256_file(write_dataset(tmp_path) / "voice.wav")
    write_dataset(
        tmp_path,
        {
            **ROW,
            "language": "pt-BR",
            "speaker": "anna",
            "channel": 0,
            "speech_start_s": 0.5,
            "speech_end_s": 1.5,
            "tolerance_ms": 12,
            "timing": "given",
            "licence": "CC0-1.0",
            "sha256": digest.upper(),
            "slots": {"count": 2, "size": "large"},
            "text_norm": "hallo",
            "segments": [{"start_s": 1}],
            "derived": None,
            "tags": {"room": "kitchen"},
        },
        header='name = "kitchen"\nversion = "3"\nsynthetic = true\nlicense = "CC0-1.0"\n',
    )
    dataset = read_dataset(tmp_path)
    (utterance,) = dataset.utterances
    assert (dataset.name, dataset.version, dataset.synthetic) == ("kitchen", "3", True)
    assert dataset.licence == "CC0-1.0"
    assert (utterance.language, utterance.speaker, utterance.channel) == ("pt-BR", "anna", 0)
    assert (utterance.speech_start_s, utterance.speech_end_s) == (0.5, 1.5)
    assert (utterance.tolerance_ms, utterance.timing) == (12.0, "given")
    assert (utterance.duration_s, utterance.sha256) == (2.0, digest)
    assert utterance.slots == {"count": "2", "size": "large"}
    assert (utterance.text, utterance.reference) == ("hello", "hallo")
    assert utterance.tags == {
        "text_norm": "hallo",
        "segments": '[{"start_s": 1}]',
        "room": "kitchen",
    }
    assert audio_path(dataset, utterance) == tmp_path / "voice.wav"


def test_aliases_are_read(tmp_path: Path) -> None:
    """The names license and timing_tolerance_ms are read as ours, and null is absent."""
    write_dataset(
        tmp_path,
        {**ROW, "license": "MIT", "timing_tolerance_ms": 80, "language": None, "speaker": None},
        {**ROW, "id": "b", "timing_tolerance_ms": None, "speech_start_s": 0.5, "speech_end_s": 1},
    )
    first, second = read_dataset(tmp_path).utterances
    assert (first.licence, first.tolerance_ms, first.language) == ("MIT", 80.0, "en")
    assert (second.tolerance_ms, second.timing, second.speaker) == (30.0, "given", None)


def test_missing_bounds_are_estimated_and_marked(tmp_path: Path) -> None:
    """Bounds that nobody gave come from the energy, and say so; given ones are kept."""
    write_dataset(
        tmp_path,
        ROW,
        {**ROW, "id": "end", "speech_end_s": 1.499},
        {**ROW, "id": "both", "speech_start_s": 0.5, "speech_end_s": 1.5},
    )
    estimated, end, both = read_dataset(tmp_path).utterances
    assert estimated.timing == end.timing == "estimated"
    assert estimated.tolerance_ms == ESTIMATED_TOLERANCE_MS
    assert estimated.speech_start_s == pytest.approx(0.5, abs=0.03)
    assert estimated.speech_end_s == pytest.approx(1.5, abs=0.03)
    assert end.speech_end_s == 1.499
    assert both.timing == "given"
    unestimated = read_dataset(tmp_path, estimate_missing=False).utterances[0]
    assert unestimated.speech_start_s is unestimated.speech_end_s is None


def test_what_was_spoken_is_said_in_one_of_four_ways(tmp_path: Path) -> None:
    """A text, slots, expect none, or a null text for words nobody wrote down."""
    audio = {"audio": "voice.wav"}
    write_dataset(
        tmp_path,
        {"id": "text", **audio, "text": "hello"},
        {"id": "slots", **audio, "slots": {"size": "large"}},
        {"id": "unknown", **audio, "text": None},
        {"id": "speech", **audio, "expect": "speech"},
        {"id": "norm", **audio, "text_norm": "hello"},
        {"id": "none", "audio": "noise.wav", "expect": "none"},
        {"id": "empty", "audio": "noise.wav", "text": "", "text_norm": "", "language": None},
        {"id": "empty-none", "audio": "noise.wav", "text": "", "expect": "none"},
    )
    dataset = read_dataset(tmp_path)
    found = {u.id: (u.expect, u.reference, u.slots is not None) for u in dataset.utterances}
    assert found == {
        "text": ("speech", "hello", False),
        "slots": ("speech", None, True),
        "unknown": ("speech", None, False),
        "speech": ("speech", None, False),
        "norm": ("speech", "hello", False),
        "none": ("none", None, False),
        "empty": ("none", None, False),
        "empty-none": ("none", None, False),
    }
    assert all(
        u.speech_start_s is None and u.speech_end_s is None
        for u in dataset.utterances
        if u.expect == "none"
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"id": None}, "id is missing: give every utterance an id of its own"),
        ({"id": "a/b"}, 'id is "a/b": give a name without slashes'),
        ({"id": 1.5}, "id is 1.5: give a name"),
        ({"audio": None}, "audio is missing: give the recording's path"),
        ({"audio": 3}, "audio is 3: give a string"),
        ({"audio": "gone.wav"}, "gone.wav: no such audio file"),
        ({"audio": "manifest.jsonl"}, "manifest.jsonl: cannot be decoded"),
        ({"text": ""}, None),
        ({"text": 5}, "text is 5: give a string"),
        ({"text": "", "speech_end_s": 1.5}, "text is empty, but speech is there"),
        ({"text": "", "expect": "speech"}, "text is empty, but speech is there"),
        ({"expect": "none"}, 'expect "none" contradicts the text or slots'),
        ({"expect": "quiet"}, 'expect is "quiet": give "speech" or "none"'),
        ({"text": None, "expect": "none", "speech_end_s": 1}, "contradicts the speech bounds"),
        ({"slots": ["large"]}, 'slots is ["large"]: give an object'),
        ({"slots": {"size": ["large"]}}, "give an object of slot names and their words"),
        ({"language": "en_US"}, 'language "en_US" is no BCP 47 tag: write en-US'),
        ({"language": "english, UK"}, "is no BCP 47 tag: give one such as"),
        ({"channel": "left"}, 'channel is "left": give a whole number'),
        ({"channel": True}, "channel is true: give a whole number"),
        ({"channel": 1}, "channel 1 does not exist"),
        ({"speech_end_s": 4.2}, "speech_end_s 4.2 lies outside the file (2 s): give an instant"),
        ({"speech_start_s": 2.5}, "speech_start_s 2.5 lies outside the file"),
        ({"speech_start_s": 1, "speech_end_s": 0.5}, "speech_end_s 0.5 is not after"),
        ({"speech_start_s": "0.5"}, 'speech_start_s is "0.5": give a number'),
        ({"speech_start_s": -1}, "speech_start_s is -1: give a number that is not negative"),
        ({"speech_start_s": True}, "speech_start_s is true: give a number"),
        ({"tolerance_ms": -1}, "tolerance_ms is -1"),
        ({"timing": "manual"}, 'timing is "manual": give "given" or "estimated"'),
        ({"sha256": "0" * 64}, "sha256 000000000000… is not that of voice.wav"),
        ({"sha256": "abc"}, 'sha256 is "abc": give 64 hexadecimal digits'),
        ({"tags": "kind"}, 'tags is "kind": give an object of strings'),
        ({"speech_end": 1.5}, "speech_end is unknown: did you mean speech_end_s?"),
        ({"speech_end_ms": 1500}, "speech_end_ms is unknown: did you mean speech_end_s?"),
        ({"Language": "de"}, "Language is unknown: did you mean language?"),
        ({"lang": "de"}, "lang is unknown: did you mean language?"),
        ({"tolerence_ms": 5}, "tolerence_ms is unknown: did you mean tolerance_ms?"),
        ({"license": "MIT", "licence": "CC0"}, "license contradicts licence: give one of them"),
    ],
)
def test_each_mistake_has_its_line(
    tmp_path: Path, changes: dict[str, Any], line: str | None
) -> None:
    """Each mistake in a row names the manifest, the line, the field and the mend, once."""
    good = {**ROW, "id": "good"}
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not None}
    if changes.get("text", "") is None and "expect" not in changes:
        row["text"] = None
    write_dataset(tmp_path, good, row)
    if line is None:
        assert read_dataset(tmp_path).utterances[1].expect == "none"
        return
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{tmp_path}/manifest.jsonl:2: ")
    assert line in problem
    assert "\n" not in problem


def test_a_row_without_words_is_a_mistake(tmp_path: Path) -> None:
    """Neither text, slots nor expect is a mistake, and a common other name is guessed."""
    write_dataset(tmp_path, {"id": "a", "audio": "voice.wav"})
    (problem,) = problems(tmp_path)
    assert "text is missing, and so are slots and expect" in problem
    write_dataset(tmp_path, {"id": "a", "audio": "voice.wav", "transcript": "hello"})
    assert "transcript is unknown: did you mean text?" in problems(tmp_path)[0]


def test_an_id_is_given_once(tmp_path: Path) -> None:
    """A repeated id names both places."""
    write_dataset(tmp_path, ROW, {**ROW, "id": "b"}, ROW)
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{tmp_path}/manifest.jsonl:3: id a is that of line 1 too")


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    """Mistakes of header, lines, fields and audio come in one error, each with its line."""
    write_dataset(
        tmp_path,
        {**ROW, "id": "long", "speech_end_s": 9},
        {**ROW, "audio": "gone.wav"},
        {"id": "b", "audio": "voice.wav"},
        header='name = 5\nversoin = "1"\n',
    )
    manifest = tmp_path / "manifest.jsonl"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text + '{"id": "c",}\n[1]\n{"id": "d", "id": "e"}\n{"id": NaN}\n')
    found = problems(tmp_path)
    assert len(found) == 9
    assert sum("dataset.toml: " in line for line in found) == 2
    assert any("versoin is no key of a dataset: did you mean version?" in line for line in found)
    for number in range(1, 8):
        assert sum(f"manifest.jsonl:{number}: " in line for line in found) == 1, number


def test_several_mistakes_of_one_row_are_all_named(tmp_path: Path) -> None:
    """A row with several mistakes gives a line for each."""
    write_dataset(tmp_path, {**ROW, "language": "e", "timing": "x", "speech_end_s": 9})
    assert [line.split(": ")[1].split()[0] for line in problems(tmp_path)] == [
        "language",
        "timing",
        "speech_end_s",
    ]


def test_unreadable_rows_can_be_skipped(tmp_path: Path) -> None:
    """With skip_unreadable the rest is read, and each row left out has its line."""
    write_dataset(
        tmp_path,
        ROW,
        {**ROW, "id": "gone", "audio": "gone.wav"},
        {**ROW, "id": "still", "audio": "noise.wav"},
    )
    dataset = read_dataset(tmp_path, skip_unreadable=True)
    assert [utterance.id for utterance in dataset.utterances] == ["a"]
    gone, still = dataset.skipped
    assert "manifest.jsonl:2: audio " in gone
    assert "no such audio file" in gone
    assert "manifest.jsonl:3: audio noise.wav has no speech" in still
    assert problems(tmp_path) == dataset.skipped
    write_dataset(tmp_path, {**ROW, "audio": "gone.wav"}, {**ROW, "id": "b", "timing": "x"})
    assert len(problems(tmp_path, skip_unreadable=True)) == 1


def test_nothing_to_play_is_a_mistake(tmp_path: Path) -> None:
    """An empty manifest, an empty folder and a missing one say what to do."""
    write_dataset(tmp_path)
    assert "the manifest has no rows" in problems(tmp_path)[0]
    write_dataset(tmp_path, {**ROW, "audio": "gone.wav"})
    assert "no row can be played" in problems(tmp_path, skip_unreadable=True)[0]
    (tmp_path / "empty").mkdir()
    assert "has no manifest.jsonl" in problems(tmp_path / "empty")[0]
    assert "no such dataset" in problems(tmp_path / "gone")[0]
    (tmp_path / "manifest.jsonl").write_bytes(b'{"id": "a"}\n\xff\xfe\n')
    assert f"{tmp_path}/manifest.jsonl:2: not UTF-8" in problems(tmp_path)[0]


def test_names_come_from_the_header_or_the_folder(tmp_path: Path) -> None:
    """Without a header the folder names the dataset, and another manifest adds its own name."""
    folder = write_dataset(tmp_path / "orders", ROW)
    assert manifest_path(folder) == folder / "manifest.jsonl"
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.version, dataset.synthetic) == ("orders", "unversioned", False)
    other = folder / "manifest_slots.jsonl"
    other.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    assert read_dataset(other).name == "orders-slots"


def test_windows_files_are_read(tmp_path: Path) -> None:
    """A byte order mark, carriage returns and blank lines are no mistakes."""
    write_dataset(tmp_path)
    text = "\ufeff" + json.dumps(ROW) + "\r\n\r\n" + json.dumps({**ROW, "id": "b"}) + "\r\n"
    (tmp_path / "manifest.jsonl").write_bytes(text.encode())
    assert [utterance.id for utterance in read_dataset(tmp_path).utterances] == ["a", "b"]


def test_half_characters_are_refused(tmp_path: Path) -> None:
    """A lone surrogate, which no file can hold, is refused where it stands."""
    write_dataset(tmp_path)
    (tmp_path / "manifest.jsonl").write_text(json.dumps({**ROW, "text": "\ud800"}) + "\n")
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{tmp_path}/manifest.jsonl:1: half a character")


def test_the_hash_covers_manifest_and_audio(tmp_path: Path) -> None:
    """Equal bytes give the same hash elsewhere; another text or another sample changes it."""
    first = read_dataset(write_dataset(tmp_path / "one", ROW))
    second = read_dataset(write_dataset(tmp_path / "two", ROW))
    assert first.sha256 == second.sha256
    other = read_dataset(write_dataset(tmp_path / "three", {**ROW, "text": "hallo"}))
    path = tmp_path / "two" / "voice.wav"
    content = bytearray(path.read_bytes())
    content[2 * RATE] ^= 1
    path.write_bytes(content)
    changed = read_dataset(tmp_path / "two")
    assert len({first.sha256, other.sha256, changed.sha256}) == 3
    assert changed.utterances[0].sha256 == hashlib.sha256(content).hexdigest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["id", "audio", "text", "language", "speaker", "channel", "speech_start_s", "speech_end_s",
     "tolerance_ms", "timing", "licence", "license", "sha256", "expect", "slots", "tags", "kind"]
)  # fmt: skip


@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=6), min_size=1, max_size=3))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_is_read_or_refused(tmp_path: Path, changes: list[dict[str, Any]]) -> None:
    """Whatever JSON a manifest holds, it is read, or refused with one line a mistake."""
    if not (tmp_path / "voice.wav").exists():
        write_dataset(tmp_path)
    rows = [{**ROW, "id": str(number), **change} for number, change in enumerate(changes)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "manifest.jsonl").write_text(text, encoding="utf-8")
    found: tuple[str, ...] = ()
    read = 0
    try:
        read = len(read_dataset(tmp_path).utterances)
    except ConfigurationError as error:
        found = error.problems
    assert bool(found) != (read == len(rows))
    assert all("\n" not in line and ": " in line for line in found)


@pytest.mark.parametrize("name", ["../outside.wav", "link.wav", "ABSOLUTE"])
def test_a_recording_stays_inside(tmp_path: Path, name: str) -> None:
    """A recording elsewhere, be it by a link, is refused: a dataset may be a stranger's."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    write_dataset(folder)
    (folder / "voice.wav").rename(tmp_path / "outside.wav")
    (folder / "link.wav").symlink_to("../outside.wav")
    write_row = {**ROW, "audio": str(tmp_path / "outside.wav") if name == "ABSOLUTE" else name}
    (folder / "manifest.jsonl").write_text(json.dumps(write_row) + "\n", encoding="utf-8")
    assert "leads out of the manifest's folder" in problems(folder)[0]
