"""What a latency profile says: how long each stage of a provider takes, and how it fails."""

from dataclasses import dataclass, field
from typing import Literal

from harness.gateway.profiles.distributions import ZERO, Constant, Distribution
from harness.gateway.profiles.faults import STAGE_FAULTS, FaultMix, Stage
from harness.gateway.profiles.routing import Routing

__all__ = [
    "VOICES",
    "Interims",
    "InterruptionProfile",
    "LlmProfile",
    "Profile",
    "PromptCache",
    "Publication",
    "Reasoning",
    "RecogniserName",
    "SttProfile",
    "TtsProfile",
]

RecogniserName = Literal["pocketsphinx", "oracle"]

VOICES: tuple[str, ...] = (
    "alloy",
    "echo",
    "fable",
    "onyx",
    "nova",
    "shimmer",
    "af_heart",
    "am_adam",
)
"""The voices that every TTS profile knows unless it names its own."""


_MS_300 = Constant(ms=300.0)
_MS_15 = Constant(ms=15.0)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The published figures that a profile was fitted to, in milliseconds.

    Attributes:
        measures: what the figures measure, in the source's sense.
        p50_ms, p95_ms: percentiles as published.
        max_ms: the maximum as published; None where there was none.
        source: who published them, where, and when.
        assumed: which settings of the profile the source does not cover.
    """

    measures: str
    p50_ms: float
    p95_ms: float
    max_ms: float | None
    source: str
    assumed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interims:
    """Interim transcripts while the utterance lasts.

    Attributes:
        first: from the first speech sample's arrival to the first look at the hypothesis.
        interval_ms: between looks; a look sends an interim when there is new text.
        stable: send only words on which two successive hypotheses agree, so that interims are
            never taken back; otherwise the raw hypothesis, which rewrites itself.
    """

    first: Distribution = _MS_300
    interval_ms: float = 100.0
    stable: bool = True

    def __post_init__(self) -> None:
        _require(self.interval_ms >= 10, "interval_ms must be at least 10")


@dataclass(frozen=True, slots=True, kw_only=True)
class SttProfile:
    """How a speech-to-text service behaves.

    A final leaves `endpoint_silence + compute + compute_ms_per_audio_s * audio` after the last
    speech sample arrived, or `compute + ...` after `finalize`; `audio` is the utterance's speech in
    seconds.

    Attributes:
        hello: from the upgrade request to the greeting.
        endpoint_silence: the silence that ends an utterance; at least 100 ms.
        compute: the constant part of the final computation.
        compute_ms_per_audio_s: the part that grows with the utterance.
        interims: None where the service sends finals only.
        recogniser: what stands behind it: "pocketsphinx" hears, "oracle" knows the text of the
            gateway's utterances and errs at a stated rate.
        word_error_rate: the oracle's rate, within 0 and 1.
        says_closed: where the protocol can say that a session has ended, it does.
        faults: what goes wrong, and how often.
    """

    hello: Distribution = ZERO
    endpoint_silence: Distribution = _MS_300
    compute: Distribution = ZERO
    compute_ms_per_audio_s: float = 0.0
    interims: Interims | None = None
    recogniser: RecogniserName = "pocketsphinx"
    word_error_rate: float = 0.0
    says_closed: bool = True
    faults: FaultMix = field(default_factory=FaultMix)

    def __post_init__(self) -> None:
        _require(
            self.endpoint_silence.quantile_ns(1e-6) >= 100_000_000,
            "endpoint_silence must be at least 100 ms: a shorter one splits words",
        )
        _require(self.compute_ms_per_audio_s >= 0, "compute_ms_per_audio_s must be at least 0")
        _require(0 <= self.word_error_rate <= 1, "word_error_rate must lie within 0 and 1")
        _check_faults(self.faults, Stage.STT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """Reasoning deltas before the answer; they fill the time until the first text.

    Attributes:
        first: from the request to the first reasoning delta; never later than the first text.
        gap: between reasoning deltas.
        max_tokens: no more deltas than this.
    """

    first: Distribution
    gap: Distribution = _MS_15
    max_tokens: int = 2000

    def __post_init__(self) -> None:
        _require(1 <= self.max_tokens <= 100_000, "max_tokens must lie within 1 and 100000")
        _require(self.gap.quantile_ns(1e-6) > 0, "the gap of reasoning must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCache:
    """A cache of prompts: what a prompt begins with need not be computed twice.

    Attributes:
        saving: by which share the time to the first text shrinks for a prompt that is known whole;
            for one that is known in part, by as much of it.
        min_tokens: a shorter beginning is not served.
        block_tokens: beginnings are known in steps of so many tokens.
    """

    saving: float = 0.5
    min_tokens: int = 16
    block_tokens: int = 4

    def __post_init__(self) -> None:
        _require(0 <= self.saving <= 1, "saving must lie within 0 and 1")
        _require(1 <= self.block_tokens <= 1024, "block_tokens must lie within 1 and 1024")
        _require(0 <= self.min_tokens <= 1_000_000, "min_tokens must lie within 0 and 1000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmProfile:
    """How a chat service behaves; every delay counts from the request's arrival.

    Attributes:
        headers: to the response's headers; never later than the first event.
        role_chunk: "early" sends the role-only chunk with the headers, "with-text" right before the
            first event, "none" never.
        first_text: to the first delta with answer text (or of a tool call).
        reasoning: None where the model does not think aloud.
        gap: between answer deltas.
        max_sentences: the scripted reply is cut to this length.
        tool_calls: whether the script may answer with a tool call when tools are offered.
        prompt_cache: None where the service keeps no prompts.
        prefill_ms_per_1000_tokens: what reading the prompt takes on top, an assumption: 0 unless a
            profile of the user's own states it.
        faults: what goes wrong, and how often.
    """

    headers: Distribution = ZERO
    role_chunk: Literal["early", "with-text", "none"] = "early"
    first_text: Distribution = ZERO
    reasoning: Reasoning | None = None
    gap: Distribution = ZERO
    max_sentences: int = 3
    tool_calls: bool = True
    prompt_cache: PromptCache | None = None
    prefill_ms_per_1000_tokens: float = 0.0
    faults: FaultMix = field(default_factory=FaultMix)

    def __post_init__(self) -> None:
        _require(
            0 <= self.prefill_ms_per_1000_tokens <= 100_000,
            "prefill_ms_per_1000_tokens must lie within 0 and 100000",
        )
        _require(1 <= self.max_sentences <= 20, "max_sentences must lie within 1 and 20")
        _check_faults(self.faults, Stage.LLM)


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsProfile:
    """How a text-to-speech service behaves; every delay counts from the request's arrival.

    Audio sample `n` leaves no earlier than `first_byte + n * realtime_factor / rate`.

    Attributes:
        headers: to the response's headers; never later than the first byte.
        first_byte: to the first byte of audio.
        realtime_factor: seconds of synthesis for a second of audio; 0 sends all at once.
        first_chunk_ms: audio in the first chunk.
        chunk_ms: audio in each further chunk.
        leading_silence_ms: digital silence before the speech.
        voices: the voices that are known; others are refused.
        faults: what goes wrong, and how often.
    """

    headers: Distribution = ZERO
    first_byte: Distribution = ZERO
    realtime_factor: float = 0.0
    first_chunk_ms: float = 40.0
    chunk_ms: float = 40.0
    leading_silence_ms: float = 0.0
    voices: tuple[str, ...] = VOICES
    faults: FaultMix = field(default_factory=FaultMix)

    def __post_init__(self) -> None:
        _require(0 <= self.realtime_factor <= 10, "realtime_factor must lie within 0 and 10")
        for name in ("first_chunk_ms", "chunk_ms"):
            value = getattr(self, name)
            _require(1 <= value <= 10_000, f"{name} must lie within 1 and 10000")
        _require(
            0 <= self.leading_silence_ms <= 10_000,
            "leading_silence_ms must lie within 0 and 10000",
        )
        _require(bool(self.voices), "voices must name at least one voice")
        _check_faults(self.faults, Stage.TTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionProfile:
    """How a detector of interruptions behaves.

    Attributes:
        hello: from the upgrade request to the greeting.
        compute: from a window's arrival to its verdict.
        sustained_ms: how long somebody has to speak over the reply to want the floor; the
            probability is one half there (see :mod:`harness.gateway.engines.overlap`).
        threshold: what the greeting recommends, and what counts where the client names none.
        faults: what goes wrong, and how often.
    """

    hello: Distribution = ZERO
    compute: Distribution = ZERO
    sustained_ms: float = 400.0
    threshold: float = 0.5
    faults: FaultMix = field(default_factory=FaultMix)

    def __post_init__(self) -> None:
        _require(50 <= self.sustained_ms <= 2_500, "sustained_ms must lie within 50 and 2500")
        _require(0 < self.threshold < 1, "threshold must lie between 0 and 1")
        _check_faults(self.faults, Stage.INTERRUPTION)


def _check_faults(faults: FaultMix, stage: Stage) -> None:
    for kind, _ in faults.rates:
        _require(
            kind in STAGE_FAULTS[stage],
            f"a {stage} profile cannot suffer {kind}; it can: "
            + ", ".join(sorted(STAGE_FAULTS[stage])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One named behaviour for one or more stages.

    Attributes:
        name: as it stands in URLs; no slash.
        stt, llm, tts, interruption: the stages that the profile serves; None for the others.
        published: the figures behind a profile that bears a model's name.
        note: one line about a profile that bears none.
        routing: the upstreams of a router; None where the profile answers for itself.
        boot: from the first request to a sleeping deployment to its being there, each stage for
            itself; requests wait for it. None where the deployments never sleep.
        sleeps_after_s: without a request for so long, a deployment sleeps again.
    """

    name: str
    stt: SttProfile | None = None
    llm: LlmProfile | None = None
    tts: TtsProfile | None = None
    interruption: InterruptionProfile | None = None
    published: Publication | None = None
    note: str = ""
    routing: Routing | None = None
    boot: Distribution | None = None
    sleeps_after_s: float = 900.0

    def __post_init__(self) -> None:
        _require(bool(self.name) and self.name.isprintable(), "a profile needs a name")
        _require(not set(self.name) & set("/?#% "), f"{self.name!r}: no '/', '?', '#', '%', space")
        _require(
            bool(self.stages),
            f"{self.name}: a profile serves at least one of {', '.join(Stage)}",
        )
        _require(self.sleeps_after_s > 0, f"{self.name}: sleeps_after_s must be above 0")
        for stage in Stage:
            routed = self.routing is not None and bool(self.routing.of(stage))
            _require(
                not routed or stage in self.stages,
                f"{self.name}: routes {stage}, which it does not serve",
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages that the profile serves."""
        return tuple(
            stage
            for stage, settings in (
                (Stage.STT, self.stt),
                (Stage.LLM, self.llm),
                (Stage.TTS, self.tts),
                (Stage.INTERRUPTION, self.interruption),
            )
            if settings is not None
        )
