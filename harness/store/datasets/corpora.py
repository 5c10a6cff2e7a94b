"""Public speech that ``turnbench datasets pull`` fetches: a literal table.

Sizes and SHA-256 are those of the files at OpenSLR; they agree with the MD5 sums that OpenSLR
publishes (https://www.openslr.org/resources/12/md5sum.txt) and with the checksums that TensorFlow
Datasets keeps for the same addresses. A mirror serves the same bytes, so ``--url`` changes nothing
about what is accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from harness.domain.utterance import is_language, is_sha256

__all__ = ["CORPORA", "Corpus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """One archive of public speech.

    Attributes:
        name: what a user asks for, and the dataset's name.
        title: for people.
        url: the archive, a gzipped tar of LibriSpeech's layout.
        size: of the archive, in bytes.
        sha256: of the archive.
        utterances: how many it holds.
        language: of all of them.
        licence: by its SPDX name.
        licence_url: its text.
        attribution: whom the licence asks to be named.
        note: what a reader of word error rates has to know.
    """

    name: str
    title: str
    url: str
    size: int
    sha256: str
    utterances: int
    language: str
    licence: str
    licence_url: str
    attribution: str
    note: str

    def __post_init__(self) -> None:
        """Refuse an entry that cannot be fetched or checked."""
        if not is_sha256(self.sha256) or not is_language(self.language) or self.size <= 0:
            raise ValueError(f"{self.name}: sha256, language or size is wrong")


def _librispeech(
    part: str, size: int, sha256: str, utterances: int, kind: str
) -> tuple[str, Corpus]:
    name = f"librispeech-{part}"
    corpus = Corpus(
        name=name,
        title=f"LibriSpeech {part}",
        url=f"https://www.openslr.org/resources/12/{part}.tar.gz",
        size=size,
        sha256=sha256,
        utterances=utterances,
        language="en",
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        attribution="LibriSpeech: V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015, "
        "https://www.openslr.org/12; read by volunteers of LibriVox",
        note=f"Audiobooks, {kind}: read sentences of up to 35 s, in capitals without punctuation. "
        "Most recognisers have been trained or tuned on this corpus, so their word error rates "
        "here are lower than those of your callers.",
    )
    return name, corpus


CORPORA: Final[Mapping[str, Corpus]] = MappingProxyType(
    dict(
        (
            _librispeech(
                "test-clean",
                346_663_984,
                "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
                2_620,
                "clear speakers",
            ),
            _librispeech(
                "test-other",
                328_757_843,
                "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
                2_939,
                "harder speakers",
            ),
            _librispeech(
                "dev-clean",
                337_926_286,
                "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
                2_703,
                "clear speakers",
            ),
            _librispeech(
                "dev-other",
                314_305_928,
                "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
                2_864,
                "harder speakers",
            ),
        )
    )
)
