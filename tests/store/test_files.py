"""A folder from a stranger: what is read of it, and what is written into it."""

import os
import stat
from pathlib import Path

import pytest

from harness.store.files import (
    UnsafeFileError,
    append_line,
    append_to,
    cut_torn_line,
    foreign_entries,
    read_inside,
    replace_whole,
    write_output,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file, beside which lies one that is none of its business."""
    (tmp_path / "outside").write_text("mine", encoding="utf-8")
    inner = tmp_path / "run"
    (inner / "audio").mkdir(parents=True)
    (inner / "plain").write_text("plain", encoding="utf-8")
    (inner / "audio" / "one").write_text("one", encoding="utf-8")
    (inner / "link").symlink_to("../outside")
    (inner / "around").symlink_to("plain")
    (inner / "away").symlink_to("..")
    os.mkfifo(inner / "pipe")
    return inner


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "audio/../../outside",
        "/etc/passwd",
        "link",
        "around",
        "away/outside",
        "away/run/plain",
        "pipe",
        "audio",
        "",
        ".",
        "plain/below",
    ],
)
def test_only_regular_files_inside_are_read(folder: Path, name: str) -> None:
    """A link, a pipe, a folder and a way out are refused, and none of them is waited for."""
    with pytest.raises(UnsafeFileError):
        read_inside(folder, name)


def test_what_is_read(folder: Path) -> None:
    """Regular files are read, up to a size."""
    assert read_inside(folder, "plain") == b"plain"
    assert read_inside(folder, "audio/one") == b"one"
    with pytest.raises(UnsafeFileError, match="larger than 4 bytes"):
        read_inside(folder, "plain", limit=4)
    with pytest.raises(FileNotFoundError):
        read_inside(folder, "nothing")


@pytest.mark.parametrize("name", ["plain", "link", "around", "pipe", "new"])
def test_a_fresh_file_replaces_what_was_there(folder: Path, name: str) -> None:
    """Whatever has the name is replaced by a regular file; what a link led to is unharmed."""
    replace_whole(folder / name, b"fresh")
    assert read_inside(folder, name) == b"fresh"
    assert (folder.parent / "outside").read_bytes() == b"mine"
    assert (folder / "plain").read_bytes() == (b"fresh" if name == "plain" else b"plain")
    assert not list(folder.glob(".*"))


def test_what_cannot_be_written_harms_nothing(folder: Path) -> None:
    """Where the new file cannot take the place, the old one stays and nothing is left behind."""
    with pytest.raises(OSError, match="directory"):
        replace_whole(folder / "audio", b"fresh")
    assert (folder / "audio" / "one").read_bytes() == b"one"
    assert not list(folder.glob(".*"))


def test_an_output_is_the_users_own(folder: Path) -> None:
    """Where the user says to write, his link is followed and stays one; a device is written to."""
    write_output(folder / "link", b"his")
    assert (folder.parent / "outside").read_bytes() == b"his"
    assert (folder / "link").is_symlink()
    write_output(Path("/dev/null"), b"nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", ["link", "away", "pipe"])
def test_nothing_is_appended_through_a_link(folder: Path, name: str) -> None:
    """Appending refuses a link and a pipe."""
    with pytest.raises(OSError, match=r"link|regular|directory"):
        append_to(folder / name)
    assert (folder.parent / "outside").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("content", "left"), [(b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"ab", b"")]
)
def test_a_torn_line_is_cut(tmp_path: Path, content: bytes, left: bytes) -> None:
    """Only what stands after the last line end goes, and the next line stands on its own."""
    path = tmp_path / "lines"
    path.write_bytes(content)
    descriptor = append_to(path)
    cut_torn_line(descriptor)
    assert path.read_bytes() == left
    append_line(descriptor, b"next")
    os.close(descriptor)
    assert path.read_bytes() == left + b"next\n"


def test_foreign_entries(folder: Path) -> None:
    """Links and pipes are named, and no link is walked."""
    assert set(foreign_entries(folder)) == {"link", "around", "away", "pipe"}
    assert foreign_entries(folder / "audio") == ()
