"""An archive of public speech becomes a dataset.

The archive is read twice as a stream. The first time finds what it holds: names, lengths (from the
head of each FLAC file) and words. The second time takes the chosen recordings. Nothing is ever
extracted by the archive's own paths: a member whose name has LibriSpeech's form is written under a
name of ours, and an archive with a member that points elsewhere (an absolute path, a ``..``, a
link, a device) is refused whole.
"""

import contextlib
import gzip
import random
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from harness.errors import ConfigurationError
from harness.store.datasets.corpora import Corpus
from harness.store.datasets.imports import ImportReport, import_dataset

__all__ = ["ArchiveEntry", "choose", "list_archive", "make_corpus_dataset"]

_Value = TypeVar("_Value")

_RECORDING: Final = re.compile(r"(?:[\w.-]+/)*(\d+)/(\d+)/((?:\1-\2)-\d+)\.flac")
_TRANSCRIPT: Final = re.compile(r"(?:[\w.-]+/)*(\d+)/(\d+)/(\1-\2)\.trans\.txt")
_FLAC_HEAD: Final = 42
_MOST_BYTES: Final = 64 << 20
_MOST_MEMBERS: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """One recording of an archive.

    Attributes:
        id: its name.
        speaker: who reads.
        seconds: its length; None where its head is damaged.
        text: its words; None where no transcript has them.
    """

    id: str
    speaker: str
    seconds: float | None
    text: str | None


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; a damaged one is told wherever in the reading it shows.

    Raises:
        ConfigurationError: it is damaged.
    """
    try:
        with gzip.open(archive) as whole:
            with tarfile.open(fileobj=whole, mode="r|") as tar:
                yield tar
            # tarfile takes a cut within a header for the end; the sum at gzip's end knows better.
            while whole.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ConfigurationError(f"{archive}: cannot be read as a gzipped tar: {error}") from error


def _files(archive: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an archive.

    Raises:
        ConfigurationError: a member points elsewhere, or is larger than any recording.
    """
    for number, member in enumerate(tar):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            fault = "points out of the archive"
        elif not (member.isfile() or member.isdir()):
            fault = "is a link or a device"
        elif member.size > _MOST_BYTES or number >= _MOST_MEMBERS:
            fault = "is too much for a recording"
        else:
            if member.isfile():
                yield member
            continue
        raise ConfigurationError(
            f"{archive}: member {member.name!r} {fault}: it is not the corpus; nothing was taken"
        )


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int = -1) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read(limit)


def list_archive(archive: Path) -> tuple[ArchiveEntry, ...]:
    """Return what an archive of LibriSpeech's layout holds, by id.

    Raises:
        ConfigurationError: it is damaged, unsafe, or holds no recording.
    """
    found: dict[str, tuple[str, float | None]] = {}
    words: dict[str, str] = {}
    with _reading(archive) as tar:
        for member in _files(archive, tar):
            recording = _RECORDING.fullmatch(member.name.removeprefix("./"))
            if recording is not None:
                if recording[3] in found:
                    raise ConfigurationError(
                        f"{archive}: {recording[3]} stands twice: it is not the corpus"
                    )
                found[recording[3]] = recording[1], _seconds(_content(tar, member, _FLAC_HEAD))
            elif _TRANSCRIPT.fullmatch(member.name.removeprefix("./")) is not None:
                text = _content(tar, member).decode("utf-8", errors="replace")
                for line in text.splitlines():
                    name, _, spoken = line.strip().partition(" ")
                    words[name] = spoken.strip()
    if not found:
        raise ConfigurationError(
            f"{archive}: holds no recording of the form SPEAKER/CHAPTER/ID.flac: it is not the"
            " corpus"
        )
    return tuple(
        ArchiveEntry(id=name, speaker=speaker, seconds=seconds, text=words.get(name) or None)
        for name, (speaker, seconds) in sorted(found.items())
    )


def _seconds(head: bytes) -> float | None:
    """Return the length that a FLAC file's STREAMINFO states (RFC 9639, section 8.2)."""
    if len(head) < _FLAC_HEAD or head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    packed = int.from_bytes(head[18:26], "big")
    rate, samples = packed >> 44, packed & ((1 << 36) - 1)
    return samples / rate if rate and samples else None


def choose(
    entries: Sequence[ArchiveEntry],
    *,
    limit: int | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
) -> tuple[ArchiveEntry, ...]:
    """Return a subset in which speakers are as even as can be.

    Speakers are put into a random order and each one's utterances as well; then each speaker gives
    one after the other until there are enough. A smaller limit gives a part of a larger one's.

    Args:
        entries: of the archive.
        limit: at most so many; None takes all.
        max_seconds: leaves out longer recordings and those of unknown length.
        seed: of the orders (Mersenne Twister).

    Raises:
        ConfigurationError: nothing is left.
    """
    kept = [
        each
        for each in entries
        if max_seconds is None or (each.seconds is not None and each.seconds <= max_seconds)
    ]
    if not kept:
        raise ConfigurationError(
            f"--max-seconds {max_seconds:g}: no recording is that short; give more"
        )
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret
    by_speaker: dict[str, list[ArchiveEntry]] = {}
    for each in sorted(kept, key=lambda entry: entry.id):
        by_speaker.setdefault(each.speaker, []).append(each)
    queues = [_shuffled(mine, generator) for mine in by_speaker.values()]
    order = _shuffled(queues, generator)
    deepest = max(len(queue) for queue in order)
    chosen = [queue[depth] for depth in range(deepest) for queue in order if depth < len(queue)]
    return tuple(chosen[:limit])


def _shuffled(values: Sequence[_Value], generator: random.Random) -> list[_Value]:
    """Return the values in random order (Fisher and Yates)."""
    result = list(values)
    for index in range(len(result) - 1, 0, -1):
        other = int(generator.random() * (index + 1))
        result[index], result[other] = result[other], result[index]
    return result


def make_corpus_dataset(
    corpus: Corpus,
    archive: Path,
    target: Path,
    chosen: Iterable[ArchiveEntry],
    *,
    recipe: str,
) -> ImportReport:
    """Make a dataset of the chosen recordings of an archive.

    Args:
        corpus: what the archive is.
        archive: the file, checked.
        target: must not exist, or be empty.
        chosen: from :func:`choose`.
        recipe: how they were chosen, for ``dataset.toml``.

    Raises:
        ConfigurationError: the archive is damaged or unsafe, or the target holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            f"{target}: exists already and is never overwritten: give another folder with --to"
        )
    wanted = {each.id: each for each in chosen}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        with _reading(archive) as tar:
            for member in _files(archive, tar):
                recording = _RECORDING.fullmatch(member.name.removeprefix("./"))
                if recording is not None and recording[3] in wanted:
                    (source / f"{recording[3]}.flac").write_bytes(_content(tar, member))
        lines = [f"{each.id} {each.text}\n" for each in wanted.values() if each.text]
        (source / "all.trans.txt").write_text("".join(lines), encoding="utf-8")
        return import_dataset(
            source,
            target,
            name=corpus.name,
            language=corpus.language,
            licence=corpus.licence,
            about={
                "version": corpus.sha256[:12],
                "licence": corpus.licence,
                "description": f"{corpus.title}. {corpus.note} {corpus.attribution}.",
                "recipe": recipe,
            },
        )
