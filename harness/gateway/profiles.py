"""Named latency profiles: how long each stage of an emulated provider takes, and how it fails.

A profile that bears a model's name states the published figures that it was fitted to and their
source. Everything else about it is an assumption and its `assumed` says which; whatever is measured
through any profile is emulated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from harness.gateway.distributions import ZERO, Constant, Distribution, Lognormal
from harness.gateway.faults import STAGE_FAULTS, FaultKind, FaultMix, Stage
from harness.gateway.routing import Routing, Upstream

__all__ = [
    "PROFILES",
    "VOICES",
    "Interims",
    "LlmProfile",
    "Profile",
    "Publication",
    "Reasoning",
    "RecogniserName",
    "SttProfile",
    "TtsProfile",
    "fault_profile_name",
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
        faults: what goes wrong, and how often.
    """

    headers: Distribution = ZERO
    role_chunk: Literal["early", "with-text", "none"] = "early"
    first_text: Distribution = ZERO
    reasoning: Reasoning | None = None
    gap: Distribution = ZERO
    max_sentences: int = 3
    tool_calls: bool = True
    faults: FaultMix = field(default_factory=FaultMix)

    def __post_init__(self) -> None:
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
        stt, llm, tts: the stages that the profile serves; None for the others.
        published: the figures behind a profile that bears a model's name.
        note: one line about a profile that bears none.
        routing: the upstreams of a router; None where the profile answers for itself.
    """

    name: str
    stt: SttProfile | None = None
    llm: LlmProfile | None = None
    tts: TtsProfile | None = None
    published: Publication | None = None
    note: str = ""
    routing: Routing | None = None

    def __post_init__(self) -> None:
        _require(bool(self.name) and self.name.isprintable(), "a profile needs a name")
        _require(not set(self.name) & set("/?#% "), f"{self.name!r}: no '/', '?', '#', '%', space")
        _require(
            self.stt is not None or self.llm is not None or self.tts is not None,
            f"{self.name}: a profile serves at least one of stt, llm and tts",
        )
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
            )
            if settings is not None
        )


def fault_profile_name(stage: Stage, kind: FaultKind) -> str:
    """Return the name of the profile that always suffers one fault."""
    return f"fault-{stage}-{kind}"


_AIEWF = "the aiewf-eval repository of kwindla (GitHub), as measured by its client"
_GAPS_ASSUMED = "time between answer tokens, headers, role chunk; the client's network is inside"

_INSTANT = Profile(
    name="instant",
    stt=SttProfile(recogniser="oracle"),
    llm=LlmProfile(),
    tts=TtsProfile(),
    note="no delay but the 300 ms of silence that end an utterance",
)

_EXACT = Profile(
    name="exact",
    stt=SttProfile(
        hello=Constant(ms=20.0),
        endpoint_silence=Constant(ms=300.0),
        compute=Constant(ms=100.0),
        recogniser="oracle",
    ),
    llm=LlmProfile(
        headers=Constant(ms=50.0),
        first_text=Constant(ms=200.0),
        gap=Constant(ms=15.0),
    ),
    tts=TtsProfile(
        headers=Constant(ms=60.0),
        first_byte=Constant(ms=120.0),
        realtime_factor=0.2,
    ),
    note="constant delays, for measuring the harness itself",
)

_EXACT_THINKING = Profile(
    name="exact-thinking",
    llm=LlmProfile(
        headers=Constant(ms=50.0),
        first_text=Constant(ms=400.0),
        reasoning=Reasoning(first=Constant(ms=150.0), gap=Constant(ms=20.0)),
        gap=Constant(ms=15.0),
    ),
    note="constant delays with reasoning from 150 ms to the first text at 400 ms",
)

_EXACT_INTERIMS = Profile(
    name="exact-interims",
    stt=SttProfile(
        hello=Constant(ms=20.0),
        endpoint_silence=Constant(ms=300.0),
        compute=Constant(ms=100.0),
        interims=Interims(),
        recogniser="oracle",
    ),
    note="constant delays with interim transcripts",
)

_EXACT_SILENCE = Profile(
    name="exact-leading-silence",
    tts=TtsProfile(
        headers=Constant(ms=60.0),
        first_byte=Constant(ms=120.0),
        realtime_factor=0.2,
        leading_silence_ms=120.0,
    ),
    note="constant delays with 120 ms of silence before the speech",
)

_EMBEDDED = Profile(
    name="embedded",
    stt=SttProfile(recogniser="pocketsphinx", interims=Interims()),
    note="the embedded recogniser with interim transcripts, as fast as it goes",
)

_ORACLE_10 = Profile(
    name="oracle-wer-10",
    stt=SttProfile(recogniser="oracle", word_error_rate=0.1, compute=Constant(ms=100.0)),
    note="an oracle that errs in one word of ten",
)


def _llm(
    name: str,
    figures: tuple[float, float, float],
    *,
    gap: Distribution,
    measures: str,
    reasoning: Reasoning | None = None,
    assumed: str = _GAPS_ASSUMED,
) -> Profile:
    p50, p95, maximum = figures
    return Profile(
        name=name,
        llm=LlmProfile(
            headers=Constant(ms=40.0),
            first_text=Lognormal(p50_ms=p50, p95_ms=p95, max_ms=maximum),
            reasoning=reasoning,
            gap=gap,
        ),
        published=Publication(
            measures=measures,
            p50_ms=p50,
            p95_ms=p95,
            max_ms=maximum,
            source=_AIEWF,
            assumed=assumed,
        ),
    )


_NAMED: tuple[Profile, ...] = (
    _llm(
        "kimi-k2.6@baseten",
        (475, 842, 4458),
        gap=Lognormal(p50_ms=12, p95_ms=30, max_ms=200),
        measures="time to first text, thinking off",
    ),
    _llm(
        "kimi-k2.6-thinking@baseten",
        (1560, 5404, 13622),
        gap=Lognormal(p50_ms=12, p95_ms=30, max_ms=200),
        measures="time to first text, thinking on",
        reasoning=Reasoning(
            first=Lognormal(p50_ms=475, p95_ms=842, max_ms=4458),
            gap=Lognormal(p50_ms=12, p95_ms=30, max_ms=200),
        ),
        assumed="first reasoning as the first text without thinking; " + _GAPS_ASSUMED,
    ),
    _llm(
        "kimi-k2.6@cerebras",
        (256, 480, 1639),
        gap=Lognormal(p50_ms=3, p95_ms=8, max_ms=60),
        measures="time to first text, instant mode",
    ),
    _llm(
        "kimi-k2.6-thinking@cerebras",
        (452, 1350, 3483),
        gap=Lognormal(p50_ms=3, p95_ms=8, max_ms=60),
        measures="time to first text, thinking on; first reasoning token 241 / 472 ms",
        reasoning=Reasoning(
            first=Lognormal(p50_ms=241, p95_ms=472),
            gap=Lognormal(p50_ms=3, p95_ms=8, max_ms=60),
        ),
    ),
    _llm(
        "glm-5.2@baseten",
        (936, 2140, 7567),
        gap=Lognormal(p50_ms=14, p95_ms=35, max_ms=200),
        measures="time to first text, no thinking",
    ),
    _llm(
        "glm-5.1@lilac",
        (822, 1524, 4229),
        gap=Lognormal(p50_ms=14, p95_ms=35, max_ms=200),
        measures="time to first text, warm",
    ),
    Profile(
        name="parakeet-tdt-0.6b-v3@together",
        stt=SttProfile(
            hello=Constant(ms=40.0),
            endpoint_silence=Constant(ms=300.0),
            compute=Lognormal(p50_ms=55, p95_ms=132, max_ms=170),
            recogniser="pocketsphinx",
        ),
        published=Publication(
            measures="final transcript after a forced finalisation at the end of speech",
            p50_ms=55,
            p95_ms=132,
            max_ms=170,
            source="coval-ai/benchmarks, the 7 days to 2026-08-22",
            assumed="greeting, 300 ms of silence before an endpoint; the words are the embedded "
            "recogniser's and say nothing about the model's accuracy",
        ),
    ),
    Profile(
        name="kokoro-82m@polargrid",
        tts=TtsProfile(
            headers=Constant(ms=40.0),
            first_byte=Lognormal(p50_ms=158, p95_ms=196),
            realtime_factor=0.1,
            first_chunk_ms=100.0,
            chunk_ms=100.0,
            leading_silence_ms=40.0,
        ),
        published=Publication(
            measures="time to first audio",
            p50_ms=158,
            p95_ms=196,
            max_ms=None,
            source="PolarGrid's model page for Kokoro-82M",
            assumed="the figures are the median and the 95th percentile of the first byte; "
            "real-time factor, chunks, leading silence; the voice is the gateway's own",
        ),
    ),
)

_ROUTED = Profile(
    name="routed",
    stt=_EXACT.stt,
    llm=_EXACT.llm,
    tts=_EXACT.tts,
    note="a router before two upstreams for each stage, one fast and one slow, with failover",
    routing=Routing(
        stt=(
            Upstream(provider="alder", model="ear-fast", weight=3.0, failure=0.1),
            Upstream(provider="birch", model="ear-slow", profile="routed-slow"),
        ),
        llm=(
            Upstream(provider="alder", model="chat-fast", weight=3.0, failure=0.1),
            Upstream(provider="birch", model="chat-slow", profile="routed-slow"),
        ),
        tts=(
            Upstream(provider="alder", model="voice-fast", weight=3.0, failure=0.1),
            Upstream(provider="birch", model="voice-slow", profile="routed-slow"),
        ),
    ),
)

_ROUTED_SLOW = Profile(
    name="routed-slow",
    stt=SttProfile(
        endpoint_silence=Constant(ms=300.0), compute=Constant(ms=250.0), recogniser="oracle"
    ),
    llm=LlmProfile(headers=Constant(ms=50.0), first_text=Constant(ms=450.0), gap=Constant(ms=15.0)),
    tts=TtsProfile(headers=Constant(ms=60.0), first_byte=Constant(ms=300.0), realtime_factor=0.2),
    note="the slow upstream of `routed`",
)

_FAULT_NOTE = "suffers {} at every request, otherwise as `exact`"


def _fault_profiles() -> tuple[Profile, ...]:
    profiles = []
    for stage, kinds in STAGE_FAULTS.items():
        for kind in sorted(kinds):
            faults = FaultMix(rates=((kind, 1.0),))
            stages: dict[str, SttProfile | LlmProfile | TtsProfile] = {}
            for name, settings in (
                (Stage.STT, _EXACT.stt),
                (Stage.LLM, _EXACT.llm),
                (Stage.TTS, _EXACT.tts),
            ):
                if name is stage and settings is not None:
                    stages[name.value] = replace(settings, faults=faults)
            profiles.append(
                Profile(
                    name=fault_profile_name(stage, kind),
                    note=_FAULT_NOTE.format(kind),
                    **stages,  # type: ignore[arg-type]  # one stage, by its own name
                )
            )
    return tuple(profiles)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _INSTANT,
            _EXACT,
            _EXACT_THINKING,
            _EXACT_INTERIMS,
            _EXACT_SILENCE,
            _EMBEDDED,
            _ORACLE_10,
            _ROUTED,
            _ROUTED_SLOW,
            *_NAMED,
            *_fault_profiles(),
        )
    }
)
"""The profiles that the gateway ships, by name."""
