"""The seam between the runner and what performs a trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from harness.domain.barge_in import Expects
from harness.domain.candidate import Candidate
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.domain.utterance import Utterance

__all__ = ["Performer", "PlayableBargeIn", "PlayableUtterance", "ReplyAudio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayableBargeIn:
    """A recording that is played over the reply.

    Attributes:
        recording: its utterance's id in its dataset.
        expects: what the agent should make of it.
        pcm: little-endian 16-bit mono samples at 16 kHz.
        speech_start_ns, speech_end_ns: bounds of the speech from the recording's first sample.
        after_ns: from the reply's first audible sample to the first speech sample.
    """

    recording: str
    expects: Expects
    pcm: bytes
    speech_start_ns: int
    speech_end_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayableUtterance:
    """An utterance with its audio, as a driver plays it.

    Attributes:
        utterance: the dataset's entry; its bounds are known, given or estimated, unless it expects
            no speech.
        pcm: little-endian 16-bit mono samples at 16 kHz.
        speech_start_ns, speech_end_ns: bounds of the speech from the recording's first sample;
            None where no speech is expected.
        barge_ins: what is said over the reply, by the barge-in's name.
    """

    utterance: Utterance
    pcm: bytes
    speech_start_ns: int | None
    speech_end_ns: int | None
    # Left out of the hash because a mapping has none.
    barge_ins: Mapping[str, PlayableBargeIn] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyAudio:
    """The reply as it was played, for the run's folder.

    Attributes:
        pcm: little-endian 16-bit mono samples.
        sample_rate: in hertz.
    """

    pcm: bytes
    sample_rate: int


class Performer(Protocol):
    """What performs trials of one candidate; made for one run, used by one event loop."""

    async def start(self) -> Mapping[str, Any]:
        """Open clients and connections; return what is known of the endpoints, free of secrets.

        Raises:
            ConfigurationError: a key is missing or a setting cannot be used.
            ProviderError: an endpoint cannot be reached.
        """
        ...

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        """Play one utterance and return what happened; provider failures never raise."""
        ...

    async def aclose(self) -> None:
        """Close clients and connections; never raises."""
        ...
