"""A file arrives whole or not at all, whatever the server does."""

import fcntl
import hashlib
import random
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigurationError
from harness.store.datasets.download import ATTEMPTS, DownloadError, download
from tests.store.datasets.file_server import FileServer, serve

BODY = random.Random(5).randbytes(700_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the loopback without a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def fetch(
    server: FileServer, target: Path, *, sha256: str | None = SHA256, size: int | None = len(BODY)
) -> list[float]:
    """Fetch the file; return the waits between attempts."""
    waits: list[float] = []
    download(server.url, target, sha256=sha256, size=size, timeout_s=5.0, sleep=waits.append)
    return waits


def test_a_file_arrives_and_is_not_fetched_again(tmp_path: Path) -> None:
    """The file is there under its name alone, progress ends at its size, one fetch is enough."""
    told: list[tuple[int, int | None]] = []
    with serve(FileServer(BODY)) as server:
        target = tmp_path / "deep" / "speech.tar.gz"
        for _ in range(2):
            download(
                server.url,
                target,
                sha256=SHA256,
                size=len(BODY),
                progress=lambda there, whole: told.append((there, whole)),
            )
        assert server.asked == [""]
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["speech.tar.gz"]
    assert told[-1] == (len(BODY), len(BODY))
    assert told == sorted(told)


def test_a_broken_download_goes_on(tmp_path: Path) -> None:
    """After each drop the rest alone is asked for; what has arrived is kept."""
    with serve(FileServer(BODY, drops=[300_000, 1, 0, 100_000])) as server:
        assert len(fetch(server, tmp_path / "f")) == 4
        assert server.asked == [
            "", "bytes=300000-", "bytes=300001-", "bytes=300001-", "bytes=400001-",
        ]  # fmt: skip
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_later_call_goes_on_as_well(tmp_path: Path) -> None:
    """A call that gave up leaves its part, and the next one asks for the rest."""
    with serve(FileServer(BODY, drops=[500_000] + [0] * ATTEMPTS)) as server:
        with pytest.raises(DownloadError, match=f"{ATTEMPTS} attempts in a row"):
            fetch(server, tmp_path / "f")
        assert (tmp_path / "f.part").stat().st_size == 500_000
        server.asked.clear()
        fetch(server, tmp_path / "f")
        assert server.asked == ["bytes=500000-"]
    assert (tmp_path / "f").read_bytes() == BODY
    assert not (tmp_path / "f.part").exists()


@given(st.lists(st.integers(0, len(BODY)), max_size=4), st.booleans(), st.booleans())
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_drops_end_well(
    tmp_path_factory: pytest.TempPathFactory, drops: list[int], ranges: bool, sized: bool
) -> None:
    """With or without Range and a known size, few drops anywhere still bring the whole file."""
    target = tmp_path_factory.mktemp("drops") / "f"
    with serve(FileServer(BODY, drops=list(drops), ranges=ranges)) as server:
        fetch(server, target, size=len(BODY) if sized else None)
    assert target.read_bytes() == BODY


def test_no_range_starts_over(tmp_path: Path) -> None:
    """A server that ignores Range sends all again, and nothing is doubled."""
    with serve(FileServer(BODY, drops=[400_000], ranges=False)) as server:
        fetch(server, tmp_path / "f")
        assert server.asked == ["", "bytes=400000-"]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_wrong_range_is_not_believed(tmp_path: Path) -> None:
    """A server that goes on elsewhere than asked is asked from the beginning."""
    with serve(FileServer(BODY, drops=[400_000], wrong_range=True)) as server:
        fetch(server, tmp_path / "f")
        assert server.asked == ["", "bytes=400000-", ""]
    assert (tmp_path / "f").read_bytes() == BODY


def test_another_file_is_refused_and_removed(tmp_path: Path) -> None:
    """A file with another hash never gets the name, and does not spoil the next attempt."""
    with serve(FileServer(BODY[:-1] + b"x")) as server:
        with pytest.raises(DownloadError, match="SHA-256"):
            fetch(server, tmp_path / "f")
        assert list(tmp_path.iterdir()) == []
        server.body = BODY
        fetch(server, tmp_path / "f")


@pytest.mark.parametrize("extra", [0, 5_000_000])
def test_another_size_is_refused_early(tmp_path: Path, extra: int) -> None:
    """A larger file is refused by its length, or cut off where it passes the size."""
    server = FileServer(BODY + b"x") if not extra else FileServer(BODY, extra=bytes(extra))
    with serve(server), pytest.raises(DownloadError, match=r"expected"):
        fetch(server, tmp_path / "f")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_part_that_is_complete_or_too_long(tmp_path: Path) -> None:
    """A part of the whole length is checked as it is; a longer one is thrown away."""
    with serve(FileServer(BODY)) as server:
        (tmp_path / "f.part").write_bytes(BODY)
        fetch(server, tmp_path / "f")
        assert server.asked == []
        (tmp_path / "g.part").write_bytes(BODY)
        fetch(server, tmp_path / "g", size=None)
        assert server.asked == [f"bytes={len(BODY)}-"]
        (tmp_path / "h.part").write_bytes(BODY + b"more")
        fetch(server, tmp_path / "h")
        (tmp_path / "i.part").write_bytes(BODY + b"more")
        fetch(server, tmp_path / "i", size=None)
    for name in "fghi":
        assert (tmp_path / name).read_bytes() == BODY


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(tmp_path: Path, status: int) -> None:
    """What another attempt cannot mend is told at once."""
    with (
        serve(FileServer(BODY, statuses=[status])) as server,
        pytest.raises(DownloadError, match=f"HTTP {status}"),
    ):
        fetch(server, tmp_path / "f")
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    """Overload is waited out, longer each time."""
    with serve(FileServer(BODY, statuses=[503, 429, 500])) as server:
        waits = fetch(server, tmp_path / "f")
    assert waits == sorted(set(waits))
    assert len(waits) == 3


def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is tried a few times and then told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(DownloadError, match="no connection"):
        fetch(FileServer(BODY, url=url), tmp_path / "f")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "speech.tar.gz"])
def test_only_the_web_is_fetched(tmp_path: Path, url: str) -> None:
    """Other schemes are refused before anything is opened."""
    with pytest.raises(ConfigurationError, match="not an http or https address"):
        fetch(FileServer(BODY, url=url), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_its_place_is_kept(tmp_path: Path) -> None:
    """A file that is there but another one is told, and neither used nor overwritten."""
    (tmp_path / "f").write_bytes(b"mine")
    with serve(FileServer(BODY)) as server, pytest.raises(ConfigurationError, match="remove it"):
        fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"mine"
    assert server.asked == []


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    """While another process writes the part, nobody else touches it."""
    with (tmp_path / "f.part").open("ab") as other, serve(FileServer(BODY)) as server:
        fcntl.flock(other.fileno(), fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another process"):
            fetch(server, tmp_path / "f")
        assert server.asked == []


def test_the_disk_is_asked_first(tmp_path: Path) -> None:
    """What cannot fit is refused before the first byte."""
    with serve(FileServer(BODY)) as server, pytest.raises(ConfigurationError, match="MB are free"):
        fetch(server, tmp_path / "f", size=10**15)
    assert server.asked == []
