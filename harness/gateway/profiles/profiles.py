"""Named latency profiles: how long each stage of an emulated provider takes, and how it fails.

A profile that bears a model's name states the published figures that it was fitted to and their
source. Everything else about it is an assumption and its `assumed` says which; whatever is measured
through any profile is emulated.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from harness.gateway.profiles.distributions import Constant, Distribution, Lognormal
from harness.gateway.profiles.faults import STAGE_FAULTS, FaultKind, FaultMix, Stage
from harness.gateway.profiles.routing import Routing, Upstream
from harness.gateway.profiles.types import (
    VOICES,
    Interims,
    InterruptionProfile,
    LlmProfile,
    Profile,
    PromptCache,
    Publication,
    Reasoning,
    RecogniserName,
    SttProfile,
    TtsProfile,
)

__all__ = [
    "PROFILES",
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
    "fault_profile_name",
]


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
    interruption=InterruptionProfile(),
    note="no delay but the 300 ms of silence that end an utterance",
)

_EXACT_STT = SttProfile(
    hello=Constant(ms=20.0),
    endpoint_silence=Constant(ms=300.0),
    compute=Constant(ms=100.0),
    recogniser="oracle",
)
_EXACT_TTS = TtsProfile(
    headers=Constant(ms=60.0), first_byte=Constant(ms=120.0), realtime_factor=0.2
)
_EXACT = Profile(
    name="exact",
    stt=_EXACT_STT,
    llm=LlmProfile(
        headers=Constant(ms=50.0),
        first_text=Constant(ms=200.0),
        gap=Constant(ms=15.0),
    ),
    tts=_EXACT_TTS,
    interruption=InterruptionProfile(hello=Constant(ms=20.0), compute=Constant(ms=40.0)),
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
    stt=replace(_EXACT_STT, interims=Interims()),
    note="constant delays with interim transcripts",
)

_EXACT_SILENCE = Profile(
    name="exact-leading-silence",
    tts=replace(_EXACT_TTS, leading_silence_ms=120.0),
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

_COLD_BOOT = Profile(
    name="cold-boot",
    stt=_EXACT.stt,
    llm=_EXACT.llm,
    tts=_EXACT.tts,
    note="as `exact`, of deployments that boot for about 250 s when they are first asked",
    boot=Lognormal(p50_ms=250_000, p95_ms=280_000),
)

_FAULT_NOTE = "suffers {} at every request, otherwise as `exact`"


def _fault_profiles() -> tuple[Profile, ...]:
    profiles = []
    for stage, kinds in STAGE_FAULTS.items():
        for kind in sorted(kinds):
            faults = FaultMix(rates=((kind, 1.0),))
            stages: dict[str, SttProfile | LlmProfile | TtsProfile | InterruptionProfile] = {}
            for name, settings in (
                (Stage.STT, _EXACT.stt),
                (Stage.LLM, _EXACT.llm),
                (Stage.TTS, _EXACT.tts),
                (Stage.INTERRUPTION, _EXACT.interruption),
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
            _COLD_BOOT,
            *_NAMED,
            *_fault_profiles(),
        )
    }
)
"""The profiles that the gateway ships, by name."""
