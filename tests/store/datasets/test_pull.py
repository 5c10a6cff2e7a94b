"""Public speech from a loopback server becomes a dataset; a hostile archive becomes nothing."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import main
from harness.errors import ConfigurationError
from harness.store.datasets.audio import write_flac
from harness.store.datasets.check import check_dataset
from harness.store.datasets.corpora import CORPORA
from harness.store.datasets.manifest import read_dataset
from harness.store.datasets.pull import ArchiveEntry, choose, list_archive
from tests.store.datasets.file_server import FileServer, serve
from tests.store.datasets.recordings import RATE, voice


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the loopback without a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def flac(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a recording of two seconds."""
    path = tmp_path_factory.mktemp("flac") / "x.flac"
    write_flac(path, voice(), RATE)
    return path.read_bytes()


def tarred(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Return a gzipped tar of files, and further members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member)
    return buffer.getvalue()


def librispeech(flac: bytes, *, speakers: int = 3, each: int = 4) -> dict[str, bytes]:
    """Return the files of a small corpus of LibriSpeech's layout."""
    files = {"LibriSpeech/README.TXT": b"hello", "LibriSpeech/SPEAKERS.TXT": b"; ..."}
    for speaker in range(1, speakers + 1):
        chapter = f"{speaker}-{speaker * 100}"
        folder = f"LibriSpeech/test-clean/{speaker}/{speaker * 100}"
        for number in range(each):
            files[f"{folder}/{chapter}-{number:04d}.flac"] = flac
        words = "".join(f"{chapter}-{n:04d} SPEAKER {speaker} SAYS {n}\n" for n in range(each))
        files[f"{folder}/{chapter}.trans.txt"] = words.encode()
    return files


def pull(tmp_path: Path, server: FileServer, *options: str) -> int:
    """Run the command against a server."""
    return main(
        [
            "datasets", "pull", "librispeech-test-clean", "--url", server.url,
            "--sha256", hashlib.sha256(server.body).hexdigest(),
            "--to", str(tmp_path / "made"), "--cache", str(tmp_path / "cache"), "--json", *options,
        ]
    )  # fmt: skip


def test_a_corpus_is_pulled(
    tmp_path: Path, flac: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a broken connection to a dataset that reads, checks and names licence and recipe."""
    body = tarred(librispeech(flac))
    with serve(FileServer(body, drops=[2_000])) as server:
        assert pull(tmp_path, server, "--yes", "--limit", "6", "--seed", "3") == 0
        assert server.asked == ["", "bytes=2000-"]
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["available"], told["imported"], told["speakers"]) == (12, 6, 3)
    assert "CC-BY-4.0" in err
    assert "V. Panayotov" in err
    dataset = read_dataset(tmp_path / "made")
    assert Counter(each.speaker for each in dataset.utterances) == {"1": 2, "2": 2, "3": 2}
    for each in dataset.utterances:
        speaker, _, number = each.id.split("-")
        assert each.text == f"SPEAKER {speaker} SAYS {int(number)}"
        assert (each.licence, each.timing, each.language) == ("CC-BY-4.0", "estimated", "en")
    assert dataset.name == "librispeech-test-clean"
    assert dataset.licence == "CC-BY-4.0"
    assert dataset.recipe is not None
    assert "6 of 12 utterances" in dataset.recipe
    assert "seed 3" in dataset.recipe
    assert check_dataset(tmp_path / "made").problems == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "made"]


def test_the_licence_has_to_be_accepted(
    tmp_path: Path, flac: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a person and without --yes nothing is fetched."""
    with serve(FileServer(tarred(librispeech(flac)))) as server:
        assert pull(tmp_path, server) == 2
        assert server.asked == []
    assert "accept it with --yes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_or_fetched_for_nothing(
    tmp_path: Path, flac: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target that holds something is refused before the download; unknown names are guessed."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").write_text("x")
    with serve(FileServer(tarred(librispeech(flac)))) as server:
        assert pull(tmp_path, server, "--yes") == 2
        assert server.asked == []
    assert main(["datasets", "pull", "librispeech-test-claen", "--yes"]) == 2
    err = capsys.readouterr().err
    assert "never overwritten" in err
    assert "did you mean librispeech-test-clean?" in err


def link(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    """Return a member that is no file."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


EVIL_NAMES = ("../evil.flac", "/tmp/evil.flac", "LibriSpeech/../../evil", "a\\..\\evil")


@pytest.mark.parametrize(
    "member",
    [
        *(tarfile.TarInfo(name) for name in EVIL_NAMES),
        link(tarfile.SYMTYPE, "LibriSpeech/test-clean/1/100/1-100-0009.flac", "/etc/passwd"),
        link(tarfile.LNKTYPE, "LibriSpeech/x", "/etc/passwd"),
        link(tarfile.CHRTYPE, "LibriSpeech/zero"),
        link(tarfile.FIFOTYPE, "LibriSpeech/pipe"),
    ],
    ids=lambda member: str(member.name),
)
def test_a_hostile_archive_makes_nothing(
    tmp_path: Path,
    flac: bytes,
    member: tarfile.TarInfo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A member that points elsewhere, a link or a device: the archive is refused whole."""
    with serve(FileServer(tarred(librispeech(flac), member))) as server:
        assert pull(tmp_path, server, "--yes") == 2
    assert "nothing was taken" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not Path("/tmp/evil.flac").exists()


def test_damaged_archives(tmp_path: Path, flac: bytes) -> None:
    """A truncated, a foreign, an empty and a doubled archive are told in one line each."""
    whole = tarred(librispeech(flac))
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w:gz") as tar:
        for _ in range(2):
            member = tarfile.TarInfo("LibriSpeech/test-clean/1/100/1-100-0000.flac")
            member.size = len(flac)
            tar.addfile(member, io.BytesIO(flac))
    for name, body, words in (
        ("truncated", whole[: len(whole) // 2], "cannot be read"),
        ("foreign", b"<html>", "cannot be read"),
        ("empty", tarred({}), "holds no recording"),
        ("other", tarred({"x/readme.md": b"x"}), "holds no recording"),
        ("twice", twice.getvalue(), "stands twice"),
        ("damaged", whole[:500] + bytes(200) + whole[700:], "cannot be read|holds no recording"),
    ):
        path = tmp_path / name
        path.write_bytes(body)
        with pytest.raises(ConfigurationError, match=words) as caught:
            list_archive(path)
        assert len(caught.value.problems) == 1


def test_lengths_come_from_the_head_of_each_file(tmp_path: Path, flac: bytes) -> None:
    """A recording's length is read without decoding it; a damaged head has none."""
    path = tmp_path / "a"
    files = librispeech(flac, speakers=1, each=1)
    files["LibriSpeech/test-clean/1/100/1-100-0001.flac"] = b"fLaC, nearly"
    path.write_bytes(tarred(files))
    first, second = list_archive(path)
    assert first == ArchiveEntry(id="1-100-0000", speaker="1", seconds=2.0, text="SPEAKER 1 SAYS 0")
    assert (second.seconds, second.text) == (None, None)
    assert choose((first, second), max_seconds=10) == (first,)
    with pytest.raises(ConfigurationError, match="--max-seconds"):
        choose((first, second), max_seconds=1)


entries = st.dictionaries(st.integers(1, 30), st.integers(1, 6), min_size=1, max_size=10).map(
    lambda counts: tuple(
        ArchiveEntry(id=f"{speaker}-1-{number}", speaker=str(speaker), seconds=1.0, text="x")
        for speaker, count in counts.items()
        for number in range(count)
    )
)


@given(entries, st.integers(1, 70), st.integers(0, 2**32))
def test_a_choice_is_even_seeded_and_grows(
    found: tuple[ArchiveEntry, ...], limit: int, seed: int
) -> None:
    """No speaker has two more than another who has more to give; the seed alone decides."""
    chosen = choose(found, limit=limit, seed=seed)
    assert len(chosen) == min(limit, len(found)) == len(set(chosen))
    assert choose(tuple(reversed(found)), limit=limit, seed=seed) == chosen
    assert choose(found, limit=limit + 1, seed=seed)[: len(chosen)] == chosen
    has, there = Counter(e.speaker for e in chosen), Counter(e.speaker for e in found)
    for speaker, count in there.items():
        if has[speaker] < count:
            assert max(has.values()) <= has[speaker] + 1


def test_the_table_of_corpora() -> None:
    """Every corpus is named by its key, from https, with a size that fits its name."""
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert corpus.url.startswith("https://")
        assert corpus.size > 10**8
    assert len({corpus.sha256 for corpus in CORPORA.values()}) == len(CORPORA)
