"""What is compared: candidates, their stages, and how they tell that they are interrupted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.domain.timeline import Stage
from harness.errors import ConfigurationError

__all__ = ["CACHES", "INTERRUPTION_MODES", "Candidate", "InterruptionSettings", "StageSettings"]


CACHES = ("as-is", "bust")
"""How prompt caches are met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """One stage of a candidate.

    Attributes:
        provider: a provider's name in ``harness.domain.providers``.
        model: the provider's model name; None for the provider's default.
        voice: for the TTS.
        profile: the gateway profile that stands in when the suite runs via the gateway.
        cache: of an LLM: "as-is" sends the prompt as the agent wrote it, and a provider may serve
            its beginning from a cache; "bust" begins every prompt with a few characters of its own,
            so that no cache can.
        options: further settings, by the provider's own names.
    """

    provider: str
    model: str | None = None
    voice: str | None = None
    profile: str | None = None
    cache: str = "as-is"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Refuse a way with caches that there is not.

        Raises:
            ConfigurationError: it is neither "as-is" nor "bust".
        """
        if self.cache not in CACHES:
            raise ConfigurationError(f'cache: {self.cache!r} is neither "as-is" nor "bust"')


INTERRUPTION_MODES = ("vad", "adaptive")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionSettings:
    """How a candidate tells that it is being interrupted.

    Attributes:
        mode: "vad" for livekit's rule over voice activity, "adaptive" for LiveKit Inference's
            detector, which tells interruptions from backchannels.
        profile: the gateway profile of the adaptive detector when the suite runs via the gateway.
        threshold: of the adaptive detector's probability; None leaves it to the service.
        min_duration_s: how long speech has to last for the "vad" rule, and after a fall back to it.
    """

    mode: str = "vad"
    profile: str | None = None
    threshold: float | None = None
    min_duration_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that livekit does not know.

        Raises:
            ConfigurationError: with a line for each mistake, which starts with the field's name.
        """
        problems = []
        if self.mode not in INTERRUPTION_MODES:
            problems.append(f'mode: {self.mode!r} is neither "vad" nor "adaptive"')
        if self.threshold is not None and not 0 < self.threshold < 1:
            problems.append(f"threshold: {self.threshold:g} has to lie between 0 and 1")
        if not 0 <= self.min_duration_s <= 60:
            problems.append(f"min_duration_s: {self.min_duration_s:g} lies outside 0…60")
        if problems:
            raise ConfigurationError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One pipeline under test.

    Attributes:
        name: unique within the suite; shown in tables.
        stt, llm, tts: its stages.
        agent: "module:function" that returns the user's own session and agent, in place of the
            stages.
        instructions: the agent's system prompt.
        interruption: how it tells that it is being interrupted; None takes the session's mode.
    """

    name: str
    stt: StageSettings | None = None
    llm: StageSettings | None = None
    tts: StageSettings | None = None
    agent: str | None = None
    instructions: str = "You are a helpful voice assistant. Answer in one or two short sentences."
    interruption: InterruptionSettings | None = None

    def __post_init__(self) -> None:
        """Refuse a candidate with nothing to measure."""
        if self.agent is None and not any((self.stt, self.llm, self.tts)):
            raise ConfigurationError(
                f"candidate {self.name!r}: name at least one stage or an agent"
            )

    def stage(self, stage: Stage) -> StageSettings | None:
        """Return the settings of STT, LLM or TTS."""
        return {Stage.STT: self.stt, Stage.LLM: self.llm, Stage.TTS: self.tts}.get(stage)
