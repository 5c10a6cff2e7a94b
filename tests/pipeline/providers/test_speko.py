"""Speko's plugins in the real pipeline, against the gateway's Speko."""

import asyncio
import json
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectOptions, APIError, APIStatusError, llm

from harness.analysis.turn.attribution import waterfall
from harness.analysis.turn.measurement import Missing
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance
from harness.domain.request import FailureKind, Request
from harness.domain.suite import SessionOptions, Timeouts, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.errors import ConfigurationError
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import TruthEvent, read_truth
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.providers import make_client
from harness.pipeline.providers.speko.llm import speko_messages
from harness.pipeline.providers.speko.tts import WavReader
from tests.pipeline.playing import (
    DATASET,
    SILENCE,
    Played,
    part_ms,
    play,
    playable,
    unattributed_ms,
)
from tests.pipeline.virtual_gateway import EXACT_MS, answered

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

PROFILES = """
["packed"]
base = "exact"
[packed.routing]
tts = [{ provider = "elm", model = "waves", audio = "wav" }]

["pressed"]
base = "exact"
[pressed.routing]
tts = [{ provider = "elm", model = "layers", audio = "mpeg" }]

["once-failing"]
base = "exact"
[once-failing.routing]
failover = 70
stt = [
    { provider = "ash", model = "down", weight = 1000000, failure = 1.0 },
    { provider = "oak", model = "ear" },
]
llm = [
    { provider = "ash", model = "down", weight = 1000000, failure = 1.0 },
    { provider = "oak", model = "mind" },
]
tts = [
    { provider = "ash", model = "down", weight = 1000000, failure = 1.0 },
    { provider = "oak", model = "mouth" },
]
"""
UTTERANCE = "slt-clock"
SPOKEN = [playable(UTTERANCE)] * 2
HANG_UP = Timeouts(hang_up_s=0.1)
CONNECT = APIConnectOptions(max_retry=0, timeout=5.0)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway's truth goes."""
    return tmp_path_factory.mktemp("speko") / "truth.jsonl"


@pytest.fixture(scope="module")
def speko(truth: Path) -> Iterator[GatewayProcess]:
    """A gateway with routers, faults and a truth file."""
    profiles = truth.parent / "profiles.toml"
    profiles.write_text(PROFILES, encoding="utf-8")
    config = GatewayConfig(
        seed=11,
        utterances=DATASET / "manifest.jsonl",
        recogniser="oracle",
        profiles=profiles,
        truth=truth,
    )
    with start_gateway(config) as process:
        yield process


def candidate(
    profile: str = "exact", *, voice: str | None = None, **options: Mapping[str, Any]
) -> Candidate:
    """Return a candidate whose three stages are Speko's."""
    return Candidate(
        name="speko",
        stt=StageSettings(provider="speko", profile=profile, options=options.get("stt", {})),
        llm=StageSettings(provider="speko", profile=profile, options=options.get("llm", {})),
        tts=StageSettings(
            provider="speko", profile=profile, voice=voice, options=options.get("tts", {})
        ),
    )


async def performed(
    gateway: GatewayProcess,
    chosen: Candidate,
    *,
    times: int = 1,
    performer: type[Base] = SessionPerformer,
    session: SessionOptions | None = None,
    utterance: PlayableUtterance | None = None,
    hang_up_s: float | None = None,
) -> list[Played]:
    """Play an utterance to a candidate."""
    return await play(
        f"http://127.0.0.1:{gateway.port}",
        gateway.key,
        chosen,
        [utterance or playable(UTTERANCE)] * times,
        performer=performer,
        session=session,
        timeouts=Timeouts(
            connect_s=5, transcript_s=4, reply_s=8, playout_s=20, hang_up_s=hang_up_s
        ),
    )


def requests(trial: Played, stage: Stage) -> list[Request]:
    """Return a trial's requests of one stage."""
    return [each for each in trial.turns[0].requests if each.stage is stage]


async def asked(truth: Path, protocol: str) -> list[dict[str, Any]]:
    """Return what the gateway was asked for by a protocol, once it has been written."""
    await asyncio.sleep(0.4)
    events: tuple[TruthEvent, ...] = read_truth(truth)
    return [
        json.loads(each.detail or "{}")
        for each in events
        if each.event == "asked" and each.protocol == protocol
    ]


def client(gateway: GatewayProcess, stage: Stage, profile: str = "exact", **more: Any) -> Any:
    """Return a client alone."""
    place = Place(
        via=Via.GATEWAY,
        options=SessionOptions(),
        gateway=f"http://127.0.0.1:{gateway.port}",
        gateway_key=gateway.key,
    )
    return make_client(stage, place, StageSettings(provider="speko", profile=profile, **more))


class TestASession:
    def test_a_turn_through_speko_is_explained(self, virtually: ProcessPoolExecutor) -> None:
        """Recognition, answer and speech; each millisecond has a cause, the detector's silence too.

        The third part of the wait is what Speko took: the injected 100, 200 and 120 ms.
        """
        trials = answered(virtually, candidate(), SPOKEN, timeouts=HANG_UP)
        for trial in trials:
            marks = trial.turns[0].timeline()
            assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)
            assert trial.turns[0].transcripts[-1].text == playable(UTTERANCE).utterance.text
            assert part_ms(trial, "vad_silence") > 250
            for start, end, injected in (
                (Mark.SPEECH_SENT, Mark.FINAL_RECEIVED, 100),
                (Mark.LLM_SENT, Mark.LLM_TEXT_RECEIVED, 200),
                (Mark.TTS_SENT, Mark.TTS_FIRST_BYTE, 120),
            ):
                span = marks.span(start, end)
                assert span is not None
                assert span.ns / 1e6 == pytest.approx(injected, abs=EXACT_MS)
        assert requests(trials[1], Stage.STT)[0].connection is not None
        assert requests(trials[1], Stage.STT)[0].connection.reused  # type: ignore[union-attr]

    async def test_the_route_is_kept_with_every_request(self, speko: GatewayProcess) -> None:
        """Provider, model, failovers and scores of each answer stand in its facts."""
        (trial,) = await performed(speko, candidate("once-failing"))
        assert isinstance(trial, Trial), trial.failure
        for stage, model in ((Stage.STT, "ear"), (Stage.LLM, "mind"), (Stage.TTS, "mouth")):
            for request in requests(trial, stage):
                assert request.facts["route.provider"] == "oak"
                assert request.facts["route.model"] == model
                assert request.facts["route.failover_count"] == 1
                assert request.facts["route.scores_run_id"] == "gateway-scores-1"

    async def test_usage_and_the_reply_s_text_are_kept(self, speko: GatewayProcess) -> None:
        """Tokens under the names that costs are computed from; the finish; what was said."""
        (trial,) = await performed(speko, candidate())
        (answer,) = requests(trial, Stage.LLM)
        assert answer.facts["usage.prompt_tokens"] > 0
        assert answer.facts["usage.completion_tokens"] > 0
        assert answer.facts["finish_reason"] == "stop"
        assert answer.facts["done"] is True
        assert answer.text
        assert all(each.received_ns is not None for each in answer.arrivals)
        assert part_ms(trial, "upload") > 0

    def test_buffering_costs_the_rest_of_the_answer(self, virtually: ProcessPoolExecutor) -> None:
        """What Speko's JavaScript adapter does makes the first text as late as the last."""
        streamed, buffered = [
            answered(
                virtually,
                candidate(llm={"buffered": whole}),
                # Its answer is long enough to show it.
                [playable("kal16-timer")] * 2,
                timeouts=HANG_UP,
            )[1]
            for whole in (False, True)
        ]
        spans = []
        for trial in (streamed, buffered):
            span = trial.turns[0].timeline().span(Mark.LLM_REQUEST, Mark.LLM_FIRST_TEXT)
            assert span is not None
            spans.append(span.ns / 1e6)
            received = trial.turns[0].timeline().span(Mark.LLM_SENT, Mark.LLM_TEXT_RECEIVED)
            assert received is not None
            assert received.ns < 300e6
        deltas = len(requests(buffered, Stage.LLM)[0].arrivals)
        assert deltas > 10
        # The gateway sends a delta each 15 ms.
        assert spans[1] - spans[0] == pytest.approx((deltas - 1) * 15, abs=15)
        assert not isinstance(waterfall(buffered.turns[0]), Missing)

    async def test_options_reach_the_wire(self, speko: GatewayProcess, truth: Path) -> None:
        """Language, region, objective, allow-lists, keywords, voice, speed: all were seen."""
        shared = {
            "language": "en",
            "region": "us-east4",
            "optimize_for": "latency",
            "allowed_providers": {"stt": ["alder"], "llm": ["birch:chat-slow"], "tts": ["alder"]},
        }
        chosen = candidate(
            "routed",
            voice="nova",
            stt={**shared, "keywords": ["timer", "ten"], "stt_language": "en-US"},
            llm={**shared, "temperature": 0.3, "max_tokens": 99, "reasoning_effort": "low"},
            tts={**shared, "speed": 1.2, "instructions": "calmly"},
        )
        found = await performed(speko, chosen)
        intent = {"language": "en", "region": "us-east4", "optimizeFor": "latency"}
        constraints = {"allowedProviders": shared["allowed_providers"]}
        heard = (await asked(truth, "speko-stt"))[-1]
        assert (heard["intent"], heard["constraints"]) == (intent, constraints)
        assert heard["options"] == {"keywords": ["timer", "ten"], "language": "en-US"}
        assert heard["contentType"] == "audio/wav"
        said = (await asked(truth, "speko-llm"))[-1]
        assert (said["intent"], said["constraints"]) == (intent, constraints)
        assert (said["temperature"], said["maxTokens"], said["reasoningEffort"]) == (0.3, 99, "low")
        spoken = (await asked(truth, "speko-tts"))[-1]
        assert (spoken["intent"], spoken["constraints"]) == (intent, constraints)
        assert (spoken["voice"], spoken["speed"], spoken["instructions"]) == ("nova", 1.2, "calmly")
        assert requests(found[0], Stage.LLM)[0].facts["route.model"] == "chat-slow"

    @pytest.mark.parametrize("profile", ["packed", "pressed"])
    async def test_wav_and_mp3_are_heard(self, speko: GatewayProcess, profile: str) -> None:
        """Whatever the upstream packs its audio into, the reply is speech."""
        (trial,) = await performed(speko, candidate(profile))
        assert isinstance(trial, Trial), trial.failure
        assert trial.turns[0].reply is not None
        assert trial.turns[0].reply.samples > 24_000

    async def test_silence_is_no_turn(self, speko: GatewayProcess) -> None:
        """Nothing is uploaded where nothing is said."""
        silent = playable(None, SILENCE)
        (trial,) = await performed(speko, candidate(), utterance=silent)
        assert isinstance(trial, Trial), trial.failure
        assert not requests(trial, Stage.STT)

    @pytest.mark.parametrize(
        "session",
        [
            SessionOptions(turn_detection="vad"),  # type: ignore[arg-type]
            SessionOptions(preemptive_generation=True),
            SessionOptions(min_endpointing_delay_s=0.5),
        ],
        ids=["vad", "preemptive", "delay"],
    )
    def test_other_turn_handling_is_explained_too(
        self, virtually: ProcessPoolExecutor, session: SessionOptions
    ) -> None:
        """By livekit's detector, with preemption, with a delay: no time without a cause."""
        for trial in answered(virtually, candidate(), SPOKEN, timeouts=HANG_UP, session=session):
            assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)


class TestEachStageAlone:
    def test_recognition_is_asked_at_the_known_end(self, virtually: ProcessPoolExecutor) -> None:
        """No detector waits: the recording goes out with the frame that ends the speech."""
        for trial in answered(virtually, candidate(), SPOKEN, performer=StagePerformer):
            line = trial.turns[0].timeline()
            sent = line.span(Mark.SPEECH_END, Mark.SPEECH_SENT)
            heard = line.span(Mark.SPEECH_SENT, Mark.FINAL_RECEIVED)
            assert sent is not None
            assert heard is not None
            # A frame is 20 ms.
            assert 0 <= sent.ns <= 20e6
            assert heard.ns / 1e6 == pytest.approx(100, abs=EXACT_MS)
            assert not any(wait.cause.value == "vad_silence" for wait in trial.turns[0].waits)

    async def test_silence_is_no_transcript(self, speko: GatewayProcess) -> None:
        """An empty transcript of an empty recording is what was to be expected."""
        silent = playable(None, SILENCE)
        chosen = Candidate(name="s", stt=StageSettings(provider="speko", profile="exact"))
        (trial,) = await performed(speko, chosen, performer=StagePerformer, utterance=silent)
        assert isinstance(trial, Trial), trial.failure
        assert not [each for each in trial.turns[0].transcripts if each.text]


class TestTools:
    @staticmethod
    def _tool() -> llm.Tool:
        @llm.function_tool
        async def get_weather(city: str) -> str:
            """Tell the weather.

            Args:
                city: where
            """
            return f"rain in {city}"

        return get_weather

    async def test_a_tool_call_comes_back_whole(self, speko: GatewayProcess) -> None:
        """A tool is offered, called with JSON, and its result answered."""
        mind = client(speko, Stage.LLM)
        context = llm.ChatContext.empty()
        context.add_message(role="developer", content="Be brief.")
        context.add_message(role="user", content="what is the weather in London")
        tool = self._tool()
        first = await mind.chat(
            chat_ctx=context, tools=[tool], tool_choice="required", conn_options=CONNECT
        ).collect()
        (call,) = first.tool_calls
        assert call.name == "get_weather"
        assert "city" in json.loads(call.arguments)
        context.items.append(
            llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
        )
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="rain, 12 degrees", is_error=True
            )
        )
        messages = speko_messages(context)
        assert [each["role"] for each in messages] == ["system", "user", "assistant", "tool"]
        assert messages[2]["toolCalls"][0]["args"] == call.arguments
        assert messages[3] == {
            "role": "tool",
            "content": "rain, 12 degrees",
            "toolCallId": call.call_id,
            "isError": True,
        }
        second = await mind.chat(chat_ctx=context, tools=[tool], conn_options=CONNECT).collect()
        assert "rain, 12 degrees" in second.text
        assert second.usage is not None
        assert second.usage.total_tokens > 0
        await mind.aclose()

    async def test_a_picture_is_refused_before_it_is_sent(self, speko: GatewayProcess) -> None:
        """Speko takes text alone."""
        mind = client(speko, Stage.LLM)
        context = llm.ChatContext.empty()
        context.add_message(
            role="user", content=[llm.ImageContent(image="https://example.com/cat.png")]
        )
        with pytest.raises(APIError) as caught:
            await mind.chat(chat_ctx=context, conn_options=CONNECT).collect()
        assert caught.value.body == {"kind": "bad_request"}
        assert not caught.value.retryable
        await mind.aclose()


class TestErrors:
    @pytest.mark.parametrize(
        ("fault", "kind", "retryable"),
        [
            ("unauthorised", "unauthorized", False),
            ("not-found", "not_found", False),
            ("rate-limited", "rate_limited", True),
            ("server-error", "server_error", True),
            ("unavailable", "server_error", True),
        ],
    )
    async def test_a_status_is_an_error_of_its_kind(
        self, speko: GatewayProcess, fault: str, kind: str, retryable: bool
    ) -> None:
        """It says whether to try again, and after how long; the key is never in it."""
        mind = client(speko, Stage.LLM, f"fault-llm-{fault}")
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="hi")
        with pytest.raises(APIStatusError) as caught:
            await mind.chat(chat_ctx=context, conn_options=CONNECT).collect()
        error = caught.value
        assert isinstance(error.body, dict)
        assert error.body["kind"] == kind
        assert error.retryable is retryable
        assert error.body.get("retry_after_s") == (2 if fault == "rate-limited" else None)
        assert speko.key not in f"{error!r} {error}"
        await mind.aclose()

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"language": "english"}, "language"),
            ({"region": "mars"}, "region"),
            ({"optimize_for": "speed"}, "optimize_for"),
            ({"allowed_providers": {"llm": "groq"}}, "allowed_providers"),
        ],
    )
    def test_a_setting_that_cannot_be_is_refused(
        self, speko: GatewayProcess, options: dict[str, Any], says: str
    ) -> None:
        """One line that names the setting, before anything is sent."""
        with pytest.raises(ConfigurationError) as caught:
            client(speko, Stage.LLM, options=options)
        assert says in str(caught.value)

    def test_live_needs_a_key(self) -> None:
        """The variable is named."""
        place = Place(via=Via.LIVE, options=SessionOptions(), environ={})
        with pytest.raises(ConfigurationError, match="SPEKO_API_KEY"):
            make_client(Stage.TTS, place, StageSettings(provider="speko"))


class TestWav:
    @staticmethod
    def _file(rate: int = 16_000, channels: int = 1, bits: int = 16, extra: bytes = b"") -> bytes:
        form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2, 2, bits)
        chunks = b"fmt " + struct.pack("<I", 16) + form + extra
        return b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data" + struct.pack("<I", 8) + b"abcdefghIJ"

    @pytest.mark.parametrize("step", [1, 3, 7, 1000])
    @pytest.mark.parametrize("extra", [b"", b"LIST\x03\x00\x00\x00xyz\x00"])
    def test_samples_come_out_however_the_bytes_come_in(self, step: int, extra: bytes) -> None:
        """Whatever the pieces, the samples are the data chunk's and nothing after it."""
        reader, data = WavReader(), self._file(extra=extra)
        found = b"".join(
            reader.feed(data[start : start + step]) for start in range(0, len(data), step)
        )
        assert found == b"abcdefgh"
        assert reader.rate == 16_000

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (b"\x00" * 64, FailureKind.MALFORMED),
            (b"RIFF\x00\x00\x00\x00WAVE" + b"junk\xff\xff\x00\x00" * 9000, FailureKind.MALFORMED),
        ],
    )
    def test_what_is_no_wav_is_an_error(self, data: bytes, kind: FailureKind) -> None:
        """Neither a wrong name nor an endless header passes."""
        with pytest.raises(APIError) as caught:
            WavReader().feed(data)
        assert caught.value.body == {"kind": kind.value}

    @pytest.mark.parametrize("wrong", [{"channels": 2}, {"bits": 24}])
    def test_what_is_not_mono_of_16_bits_is_an_error(self, wrong: dict[str, Any]) -> None:
        """Two channels or 24 bits would sound wrong silently."""
        with pytest.raises(APIError) as caught:
            WavReader().feed(self._file(**wrong))
        assert caught.value.body == {"kind": "wrong_type"}
