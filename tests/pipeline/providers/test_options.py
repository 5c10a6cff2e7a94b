"""Every option of every provider: taken from a suite, through the real client, onto the wire."""

import asyncio
import json
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import llm

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.suite import SessionOptions, Via
from harness.domain.timeline import Stage
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import read_truth
from harness.gateway.process import start_gateway
from harness.pipeline.place import Place
from harness.pipeline.providers import make_client
from harness.store.suites.stages import read_stage
from harness.store.table import Table

CASES: list[tuple[str, Stage, str, dict[str, Any]]] = [
    (
        "deepgram behind livekit, with models to fall back on",
        Stage.STT,
        """
        provider = "livekit"
        model = "deepgram/nova-3"
        language = "de"
        extra = { smart_format = true, keyterm = ["Kimi"], endpointing = 10 }
        fallback = [
            "cartesia/ink-whisper",
            { model = "assemblyai/u3-rt-pro", extra = { mode = "min_latency" } },
        ]
        """,
        {
            "model": "deepgram/nova-3",
            "settings": {
                "language": "de",
                "extra": {"smart_format": True, "keyterm": ["Kimi"], "endpointing": 10},
            },
            "fallback": {
                "models": [
                    {"model": "cartesia/ink-whisper", "extra": None},
                    {"model": "assemblyai/u3-rt-pro", "extra": {"mode": "min_latency"}},
                ]
            },
            "connection": {"retries": 0},
        },
    ),
    (
        "flux behind livekit",
        Stage.STT,
        """
        provider = "livekit"
        model = "deepgram/flux-general:en"
        extra = { eot_threshold = 0.7, eager_eot_threshold = 0.4, eot_timeout_ms = 3000 }
        """,
        {
            "model": "deepgram/flux-general",
            "settings": {
                "extra": {"eot_threshold": 0.7, "eager_eot_threshold": 0.4, "eot_timeout_ms": 3000}
            },
        },
    ),
    (
        "a vendor that livekit's version does not know",
        Stage.STT,
        """
        provider = "livekit"
        model = "elevenlabs/scribe-v2"
        extra = { anything = 1 }
        """,
        {"model": "elevenlabs/scribe-v2", "settings": {"extra": {"anything": 1}}},
    ),
    (
        "cartesia's voice behind livekit",
        Stage.TTS,
        """
        provider = "livekit"
        model = "cartesia/sonic-3"
        voice = "katie"
        language = "en"
        extra = { speed = 0.9, emotion = "calm", add_timestamps = true }
        [[fallback]]
        model = "inworld/inworld-tts-2"
        voice = "olivia"
        extra = { delivery_mode = "STABLE" }
        """,
        {
            "model": "cartesia/sonic-3",
            "voice": "katie",
            "language": "en",
            "extra": {"speed": 0.9, "emotion": "calm", "add_timestamps": True},
            "fallback": {
                "models": [
                    {
                        "model": "inworld/inworld-tts-2",
                        "voice": "olivia",
                        "extra": {"delivery_mode": "STABLE"},
                    }
                ]
            },
        },
    ),
    (
        "rime's voice behind livekit",
        Stage.TTS,
        """
        provider = "livekit"
        model = "rime/coda:astra"
        extra = { speed_alpha = 1.1 }
        """,
        {"model": "rime/coda", "voice": "astra", "extra": {"speed_alpha": 1.1}},
    ),
    (
        "xai's voice behind livekit",
        Stage.TTS,
        """
        provider = "livekit"
        model = "xai/tts-1"
        extra = { optimize_streaming_latency = 2 }
        """,
        {"model": "xai/tts-1", "extra": {"optimize_streaming_latency": 2}},
    ),
    (
        "a chat model behind livekit",
        Stage.LLM,
        """
        provider = "livekit"
        model = "moonshotai/kimi-k2.6"
        inference_class = "priority"
        temperature = 0.3
        reasoning_effort = "low"
        max_completion_tokens = 64
        extra = { seed = 7, verbosity = "low" }
        """,
        {
            "model": "moonshotai/kimi-k2.6",
            "x-livekit-inference-priority": "priority",
            "temperature": 0.3,
            "reasoning_effort": "low",
            "max_completion_tokens": 64,
            "seed": 7,
            "verbosity": "low",
        },
    ),
    (
        "whisper on baseten",
        Stage.STT,
        """
        provider = "baseten"
        language = "en"
        language_options = ["en", "de"]
        partials = true
        partial_interval_s = 0.5
        max_duration_s = 20
        word_timestamps = false
        vad_threshold = 0.6
        vad_min_silence_ms = 400
        vad_speech_pad_ms = 40
        """,
        {
            "whisper_params": {
                "audio_language": "en",
                "show_word_timestamps": False,
                "language_options": ["en", "de"],
            },
            "streaming_params": {
                "enable_partial_transcripts": True,
                "partial_transcript_interval_s": 0.5,
                "final_transcript_max_duration_s": 20,
            },
            "streaming_vad_config": {
                "threshold": 0.6,
                "min_silence_duration_ms": 400,
                "speech_pad_ms": 40,
            },
        },
    ),
    (
        "qwen3-asr on baseten",
        Stage.STT,
        """
        provider = "baseten"
        dialect = "qwen3-asr"
        language = "auto"
        """,
        {"whisper_params": {"audio_language": "auto"}},
    ),
    (
        "orpheus on baseten over a WebSocket",
        Stage.TTS,
        """
        provider = "baseten"
        voice = "leah"
        max_tokens = 1500
        buffer_size = 6
        """,
        {"voice": "leah", "max_tokens": 1500, "buffer_size": 6},
    ),
    (
        "orpheus on baseten over HTTP",
        Stage.TTS,
        """
        provider = "baseten"
        transport = "http"
        voice = "leah"
        temperature = 0.4
        language = "en"
        """,
        {"voice": "leah", "temperature": 0.4, "language": "en"},
    ),
    (
        "qwen3-tts on baseten",
        Stage.TTS,
        """
        provider = "baseten"
        model = "qwen3-tts"
        voice = "mine"
        language = "English"
        task_type = "Base"
        instructions = "calmly"
        max_new_tokens = 900
        """,
        {
            "voice": "mine",
            "language": "English",
            "task_type": "Base",
            "instructions": "calmly",
            "max_new_tokens": 900,
        },
    ),
    (
        "a model of baseten's",
        Stage.LLM,
        """
        provider = "baseten"
        model = "moonshotai/Kimi-K2-Instruct"
        temperature = 0.2
        top_p = 0.9
        reasoning_effort = "low"
        max_completion_tokens = 50
        service_tier = "default"
        extra_headers = { "x-tenant" = "a" }
        extra_body = { chat_template_args = { enable_thinking = false } }
        """,
        {
            "temperature": 0.2,
            "top_p": 0.9,
            "reasoning_effort": "low",
            "max_completion_tokens": 50,
            "service_tier": "default",
            "x-tenant": "a",
            "chat_template_args": {"enable_thinking": False},
        },
    ),
    (
        "speko's ears",
        Stage.STT,
        """
        provider = "speko"
        language = "de-DE"
        region = "europe-west3"
        optimize_for = "accuracy"
        keywords = ["Kimi"]
        stt_language = "de"
        allowed_providers = { stt = ["alder"] }
        """,
        {
            "intent": {
                "language": "de-DE",
                "region": "europe-west3",
                "optimizeFor": "accuracy",
            },
            "constraints": {"allowedProviders": {"stt": ["alder"]}},
            "options": {"keywords": ["Kimi"], "language": "de"},
        },
    ),
    (
        "speko's mind",
        Stage.LLM,
        """
        provider = "speko"
        model = "alder:chat-fast"
        language = "en"
        optimize_for = "cost"
        temperature = 0.1
        max_tokens = 80
        reasoning_effort = "low"
        max_tool_hops = 3
        parallel_tool_calls = false
        buffered = true
        """,
        {
            "intent": {"language": "en", "optimizeFor": "cost"},
            "constraints": {"allowedProviders": {"llm": ["alder:chat-fast"]}},
            "temperature": 0.1,
            "maxTokens": 80,
            "reasoningEffort": "low",
            "maxToolHops": 3,
            "parallelToolCalls": False,
        },
    ),
    (
        "speko's voice",
        Stage.TTS,
        """
        provider = "speko"
        language = "en-US"
        voice = "alloy"
        speed = 1.2
        instructions = "calmly"
        spoken_form = true
        """,
        {
            "intent": {"language": "en-US"},
            "voice": "alloy",
            "speed": 1.2,
            "instructions": "calmly",
            "spokenForm": True,
        },
    ),
    (
        "transcription behind openai's protocol",
        Stage.STT,
        """
        provider = "openai"
        model = "whisper-1"
        language = "fr"
        prompt = "Kimi, GLM"
        temperature = 0.1
        extra_headers = { "x-tenant" = "a" }
        extra_body = { vad_filter = "true" }
        """,
        {
            "model": "whisper-1",
            "language": "fr",
            "prompt": "Kimi, GLM",
            "temperature": "0.1",
            "x-tenant": "a",
            "vad_filter": "true",
        },
    ),
    (
        "realtime transcription behind openai's protocol",
        Stage.STT,
        """
        provider = "openai"
        realtime = true
        language = "en"
        noise_reduction = "near_field"
        turn_detection = { type = "server_vad", threshold = 0.4, silence_duration_ms = 300 }
        """,
        {
            "transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        },
    ),
    (
        "chat behind openai's protocol",
        Stage.LLM,
        """
        provider = "openai"
        model = "qwen3:8b"
        temperature = 0
        reasoning_effort = "minimal"
        service_tier = "priority"
        extra_headers = { "x-tenant" = "a" }
        extra_body = { top_k = 20, chat_template_kwargs = { enable_thinking = false } }
        """,
        {
            "temperature": 0,
            "reasoning_effort": "minimal",
            "service_tier": "priority",
            "x-tenant": "a",
            "top_k": 20,
            "chat_template_kwargs": {"enable_thinking": False},
        },
    ),
    (
        "speko's OpenAI-like router",
        Stage.LLM,
        """
        provider = "openai"
        model = "auto"
        extra_headers = { X-Speko-Objective = "latency", X-Speko-Allow = "alder" }
        """,
        {"model": "auto", "x-speko-objective": "latency", "x-speko-allow": "alder"},
    ),
    (
        "speech behind openai's protocol",
        Stage.TTS,
        """
        provider = "openai"
        model = "kokoro"
        voice = "af_heart"
        speed = 1.1
        instructions = "calmly"
        response_format = "wav"
        extra_headers = { "x-tenant" = "a" }
        extra_body = { lang_code = "a" }
        """,
        {
            "model": "kokoro",
            "voice": "af_heart",
            "speed": 1.1,
            "instructions": "calmly",
            "response_format": "wav",
            "stream_format": "sse",
            "x-tenant": "a",
            "lang_code": "a",
        },
    ),
    (
        "openadapter's whisper, by its name",
        Stage.STT,
        """
        provider = "openadapter"
        model = "whisper-large-v3-turbo"
        language = "es"
        """,
        {"model": "whisper-large-v3-turbo", "language": "es", "response_format": "json"},
    ),
    (
        "openadapter's voice",
        Stage.TTS,
        """
        provider = "openadapter"
        voice = "nova"
        speed = 0.9
        extra_body = { lang_code = "b" }
        """,
        {"voice": "nova", "speed": 0.9, "stream_format": "audio", "lang_code": "b"},
    ),
]

VOICES = """
["any-voice"]
base = "exact"
["any-voice".tts]
voices = ["alloy", "nova", "af_heart", "astra", "katie", "leah", "mine", "tara"]
["any-voice".routing]
stt = [{ provider = "alder", model = "ear-fast" }]
llm = [{ provider = "alder", model = "chat-fast" }]
tts = [{ provider = "alder", model = "voice-fast" }]
"""


class Gateway:
    """A gateway whose truth can be asked what it was last asked for."""

    def __init__(self, address: str, key: str, truth: Path) -> None:
        self.address = address
        self.key = key
        self._truth = truth
        self._seen = 0

    def place(self) -> Place:
        """Return where clients find it."""
        return Place(
            via=Via.GATEWAY, options=SessionOptions(), gateway=self.address, gateway_key=self.key
        )

    def mark(self) -> None:
        """Begin a case: what was asked so far is another's."""
        self._seen = len(self._events())

    async def asked(self, wanted: Mapping[str, Any]) -> None:
        """Return when this case has asked for all that is wanted."""
        until = time.monotonic() + 10
        found: list[dict[str, Any]] = []
        while time.monotonic() < until:
            found = self._events()[self._seen :]
            if any(holds(each, wanted) for each in found):
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"the gateway was asked {found}")

    def _events(self) -> list[dict[str, Any]]:
        events = read_truth(self._truth)
        return [json.loads(each.detail or "{}") for each in events if each.event == "asked"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for this module."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "profiles.toml").write_text(VOICES, encoding="utf-8")
    truth = folder / "truth.jsonl"
    config = GatewayConfig(
        seed=3, truth=truth, profiles=folder / "profiles.toml", recogniser="oracle"
    )
    with start_gateway(config) as process:
        yield Gateway(f"http://127.0.0.1:{process.port}", process.key, truth)


def settings_of(text: str, stage: Stage) -> tuple[StageSettings, list[str]]:
    """Return a stage's settings as a suite has them, and what is wrong with them."""
    problems: list[str] = []
    values = {**tomllib.loads(text), "profile": "any-voice"}
    return read_stage(Table(values, stage.value, problems), stage, strict=True), problems


def holds(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a message has all that is wanted, tables within it likewise."""
    return all(
        name in told
        and (
            holds(told[name], value)
            if isinstance(value, Mapping) and isinstance(told[name], Mapping)
            else told[name] == value
        )
        for name, value in wanted.items()
    )


def murmur() -> rtc.AudioFrame:
    """Return half a second of a tone."""
    tone = (3000 * np.sin(np.arange(8000) * 0.1)).astype("<i2")
    return rtc.AudioFrame(tone.tobytes(), 16_000, 1, len(tone))


async def ask(client: Any, stage: Stage, asked: Callable[[], Awaitable[None]]) -> None:
    """Have a client make one call, and wait until the gateway was asked what it should be."""
    if stage is Stage.LLM:
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="Hello.")
        async with client.chat(chat_ctx=context) as answer:
            async for _ in answer:
                pass
        await asked()
    elif not client.capabilities.streaming:
        if stage is Stage.STT:
            await client.recognize(murmur())
        else:
            async with client.synthesize("Hello.") as spoken:
                async for _ in spoken:
                    pass
        await asked()
    else:
        stream = client.stream()
        try:
            if stage is Stage.STT:
                stream.push_frame(murmur())
            else:
                stream.push_text("Hello there, how are you today? ")
                stream.flush()
            await asked()
        finally:
            await stream.aclose()


@pytest.mark.parametrize(
    ("stage", "text", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
async def test_options_reach_the_wire(
    gateway: Gateway, stage: Stage, text: str, wanted: dict[str, Any]
) -> None:
    """What a suite says of a stage is taken, and stands in what the provider is asked."""
    settings, problems = settings_of(text, stage)
    assert problems == []
    client = make_client(stage, gateway.place(), settings)
    gateway.mark()
    try:
        await ask(client, stage, lambda: gateway.asked(wanted))
    finally:
        await client.aclose()
        # livekit leaves a client that it was given to who gave it.
        inner = getattr(client, "_client", None)
        if inner is not None:
            await inner.close()


@pytest.mark.parametrize(
    ("stage", "text", "told"),
    [
        (Stage.STT, 'model = "deepgram/nova-3"\nextra = { smart_fromat = true }', "'smart_format'"),
        (Stage.STT, 'model = "deepgram/flux-general"\nextra = { smart_format = true }', "no such"),
        (
            Stage.STT,
            'fallback = [{ model = "xai/stt-1", extra = { diarise = true } }]',
            "stt.fallback[1].extra.diarise: xai/stt-1 has no such option; did you mean 'diarize'?",
        ),
        (Stage.STT, 'fallback = [{ modle = "xai/stt-1" }]', "did you mean 'model'"),
        (Stage.STT, 'langauge = "en"', "did you mean 'language'"),
        (Stage.TTS, 'model = "rime/coda:x"\nextra = { speed_alfa = 1 }', "'speed_alpha'"),
        (Stage.LLM, "extra = { temprature = 1 }", "'temperature'"),
        (Stage.LLM, 'inference_class = "hi"', "inference_class: 'hi' is unknown"),
    ],
)
def test_what_a_vendor_does_not_know_is_refused(stage: Stage, text: str, told: str) -> None:
    """An option that a vendor behind LiveKit lacks is told before a run, with the nearest name."""
    _, problems = settings_of('provider = "livekit"\n' + text, stage)
    assert len(problems) == 1
    assert told in problems[0]


@pytest.mark.parametrize(
    ("provider", "stage", "text", "told"),
    [
        ("speko", Stage.LLM, 'optimize_for = "latancy"', "did you mean 'latency'?"),
        ("speko", Stage.STT, 'region = "moon"', "known: asia-southeast1"),
        ("speko", Stage.STT, 'optimise_for = "cost"', "did you mean 'optimize_for'?"),
        ("baseten", Stage.TTS, 'transport = "htp"', "did you mean 'http'?"),
        ("baseten", Stage.STT, 'dialect = "wisper"', "did you mean 'whisper'?"),
        ("openadapter", Stage.STT, 'mode = "batch"', "known: rest, stream"),
        ("openai", Stage.TTS, 'response_format = "pmc"', "did you mean 'pcm'?"),
        ("openai", Stage.LLM, "temperature = 'warm'", "a number is needed"),
        ("openai", Stage.LLM, "extra_body = 3", "has to be a table"),
    ],
)
def test_a_word_that_is_no_choice_is_refused(
    provider: str, stage: Stage, text: str, told: str
) -> None:
    """A value that an option cannot have is told before a run, with the nearest that it can."""
    _, problems = settings_of(f'provider = "{provider}"\n{text}', stage)
    assert len(problems) == 1
    assert told in problems[0]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_misspelt_option_is_refused(provider: str) -> None:
    """Each option of each provider is meant where one of its letters is missing."""
    for stage, spec in PROVIDERS[provider].stages.items():
        for name in spec.options:
            wrong = name[:-2] + name[-1]
            if wrong in spec.options:
                continue
            _, problems = settings_of(f'provider = "{provider}"\n{wrong} = 1', stage)
            assert problems, (stage, wrong)
            assert "did you mean" in problems[0], problems


def test_what_vendors_know_is_what_livekit_types() -> None:
    """The names that pass are those of the installed livekit-agents' typed options."""
    from livekit.agents.inference import llm as chat
    from livekit.agents.inference import stt, tts

    livekit = PROVIDERS["livekit"].stages
    for stage, typed in (
        (
            Stage.STT,
            {
                "deepgram/nova-3": stt.DeepgramOptions,
                "deepgram/flux-general": stt.DeepgramFluxOptions,
                "cartesia/ink-2": stt.CartesiaOptions,
                "assemblyai/u3-rt-pro": stt.AssemblyaiOptions,
                "speechmatics/enhanced": stt.SpeechmaticsOptions,
                "xai/stt-1": stt.XaiOptions,
                "inworld/inworld-stt-1": stt.InworldOptions,
                "google/gemini-3.5-transcribe-live": stt.GoogleOptions,
                "openai/gpt-live-transcribe": stt.OpenAIOptions,
            },
        ),
        (
            Stage.TTS,
            {
                "cartesia/sonic-3": tts.CartesiaOptions,
                "deepgram/aura-2": tts.DeepgramOptions,
                "rime/coda": tts.RimeOptions,
                "inworld/inworld-tts-2": tts.InworldOptions,
                "xai/tts-1": tts.XaiOptions,
                "fishaudio/s2-pro": tts.FishAudioOptions,
            },
        ),
        (Stage.LLM, {"zai/glm-5.1": chat.ChatCompletionOptions}),
    ):
        extra_options = livekit[stage].extra_options
        assert extra_options is not None
        for model, options in typed.items():
            assert model in livekit[stage].models
            assert extra_options(model) == frozenset(options.__annotations__), model
