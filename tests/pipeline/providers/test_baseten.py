"""Baseten through livekit's plugin, against the gateway."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.plugins import baseten
from livekit.plugins.baseten import stt as whisper_module
from livekit.plugins.baseten import tts as orpheus_module

from harness.clock import Work
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import TranscriptKind
from harness.domain.suite import SessionOptions, Timeouts, TurnDetection, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.gateway.protocols.speaking import Sentences
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.providers import make_client
from harness.pipeline.providers.baseten.listening import TurnEndingSTT
from harness.pipeline.providers.baseten.speaking import text_ready
from harness.pipeline.recording.recording import Sent, Stamp
from tests.pipeline.playing import play, playable, response_ns, total_ns, unattributed_ms
from tests.pipeline.virtual_gateway import EXACT_MS, answered

HANG_UP = Timeouts(hang_up_s=0.1)
ENDPOINT = "wss://example.invalid/websocket"
ENVIRON = {"BASETEN_API_KEY": "a-key"}
VOICES: Mapping[str, StageSettings] = {
    "orpheus": StageSettings(provider="baseten", model="orpheus"),
    "orpheus-http": StageSettings(
        provider="baseten", model="orpheus", options={"transport": "http"}
    ),
    "qwen3-tts": StageSettings(provider="baseten", model="qwen3-tts"),
}


def candidate(ears: str = "whisper", voice: str = "orpheus", **options: Any) -> Candidate:
    """Return a candidate of Baseten throughout."""
    return Candidate(
        name="baseten",
        stt=StageSettings(provider="baseten", model=ears, options=options),
        llm=StageSettings(provider="baseten", model="moonshotai/Kimi-K2-Instruct"),
        tts=VOICES[voice],
    )


def live(
    stage: Stage, environ: Mapping[str, str] = ENVIRON, *, model: str | None = None, **options: Any
) -> Any:
    """Return the client of a live run."""
    voice = options.pop("voice", None)
    place = Place(via=Via.LIVE, options=SessionOptions(), environ=environ)
    settings = StageSettings(provider="baseten", model=model, voice=voice, options=options)
    return make_client(stage, place, settings)


def sends(*texts: str) -> list[Sent]:
    """Return messages handed to a socket one after the other."""
    return [Sent(Stamp(index, Work(0, 0)), text) for index, text in enumerate(texts)]


async def dialect(stage: Stage, **settings: Any) -> Any:
    """Return the dialect that a client's transport is read with."""
    client = live(stage, endpoint=ENDPOINT, **settings)
    found = client._session._ws_response_class.args[0]._dialect
    await client.aclose()
    return found


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"endpoint": "wss://own.invalid/x"}, "wss://own.invalid/x"),
        (
            {"model_id": "abc"},
            "wss://model-abc.api.baseten.co/environments/production/websocket",
        ),
        (
            {"chain_id": "abc"},
            "wss://chain-abc.api.baseten.co/environments/production/websocket",
        ),
        ({}, "wss://from.invalid/environment"),
    ],
)
async def test_each_stage_has_a_deployment_of_its_own(
    options: dict[str, str], address: str
) -> None:
    """A stage's own address goes before the variable that recognition and synthesis share."""
    environ = {**ENVIRON, "BASETEN_MODEL_ENDPOINT": "wss://from.invalid/environment"}
    for stage in (Stage.STT, Stage.TTS):
        client = live(stage, environ, **options)
        assert client._model_endpoint == address
        await client.aclose()


@pytest.mark.parametrize(
    ("stage", "settings", "environ", "words"),
    [
        (Stage.STT, {"endpoint": ENDPOINT}, {}, "BASETEN_API_KEY"),
        (Stage.LLM, {}, {}, "BASETEN_API_KEY"),
        (Stage.STT, {}, ENVIRON, "endpoint, model_id or chain_id"),
        (Stage.TTS, {"endpoint": "https://x.invalid"}, ENVIRON, "wss://"),
        (Stage.TTS, {"endpoint": ENDPOINT, "transport": "http"}, ENVIRON, "https://"),
        (Stage.TTS, {"endpoint": ENDPOINT, "transport": "pigeon"}, ENVIRON, "pigeon"),
        (Stage.STT, {"endpoint": ENDPOINT, "dialect": "wisper"}, ENVIRON, "whisper"),
        (
            Stage.TTS,
            {"endpoint": ENDPOINT, "model": "qwen3-tts", "transport": "http", "voice": "x"},
            ENVIRON,
            "WebSockets",
        ),
        (Stage.TTS, {"endpoint": ENDPOINT, "model": "qwen3-tts"}, ENVIRON, "voice"),
    ],
)
async def test_mistakes_are_named(
    stage: Stage, settings: dict[str, Any], environ: dict[str, str], words: str
) -> None:
    """What cannot be run is refused before the run, with the mend."""
    with pytest.raises(ConfigurationError, match=words):
        live(stage, environ, **settings)


async def test_options_reach_the_plugin() -> None:
    """Each setting arrives where the plugin keeps it, also what its constructor leaves out."""
    ears = live(
        Stage.STT,
        endpoint=ENDPOINT,
        language="de",
        language_options=["de", "en"],
        vad_min_silence_ms=200,
        partials=False,
    )
    mind = live(Stage.LLM, model="openai/gpt-oss-120b", extra_body={"a": 1}, temperature=0.2)
    mouth = live(
        Stage.TTS, model="qwen3-tts", endpoint=ENDPOINT, voice="mine", extra={"new_field": 2}
    )
    assert isinstance(ears, TurnEndingSTT)
    assert (str(ears._opts.language), ears._opts.vad_min_silence_duration_ms) == ("de", 200)
    assert [str(each) for each in ears._opts.language_options] == ["de", "en"]
    assert not ears._opts.enable_partial_transcripts
    assert (mind._opts.extra_body, mind._opts.temperature) == ({"a": 1}, 0.2)
    assert mind._opts.reasoning_effort == "low"
    assert type(mouth) is baseten.TTS
    assert mouth._qwen3 is not None
    config = mouth._qwen3._build_session_config()
    assert (config["voice"], config["new_field"]) == ("mine", 2)
    for client in (ears, mouth):
        await client.aclose()
    await mind._client.close()


def test_certificates_are_checked() -> None:
    """The key goes to nobody who cannot show Baseten's certificate."""
    for module in (whisper_module, orpheus_module):
        assert vars(module)["ssl_context"] is True


PIECES = st.lists(
    st.sampled_from(
        ["Hello", " there", ".", " ", "! ", "How are", " you? ", "fine", "3.5 ", "“So.” "]
    ),
    max_size=14,
)


@given(pieces=PIECES, longest=st.one_of(st.none(), st.integers(1, 6)))
def test_client_and_server_agree_when_a_text_is_ready(
    pieces: list[str], longest: int | None
) -> None:
    """The piece that lets a server speak is the one with which the gateway does speak."""
    server = Sentences(longest_words=longest)
    spoken = next((index for index, each in enumerate(pieces) if server.feed(each)), None)
    assert text_ready(pieces, longest) == spoken


async def test_the_send_that_lets_a_synthesis_begin() -> None:
    """It is the one that completes the first text, or the end."""
    orpheus = await dialect(Stage.TTS, buffer_size=4)
    head = '{"voice": "tara"}'
    assert orpheus.released(sends(head, "One", " two")) is None
    assert orpheus.released(sends(head, "One", " two.", " Three")) == 3
    assert orpheus.released(sends(head, "a b", " c d", " e")) == 2
    assert orpheus.released(sends(head, "One", " two", "__END__")) == 3
    qwen3 = await dialect(Stage.TTS, model="qwen3-tts", voice="x")
    text = [json.dumps({"type": "input.text", "text": each}) for each in ("Hi", " you. ", "And")]
    done = json.dumps({"type": "input.done"})
    assert qwen3.released(sends("{}", *text)) == 2
    assert qwen3.released(sends("{}", text[0], done)) == 2
    assert qwen3.released(sends(text[0], text[2])) is None


async def test_transcriptions_are_read_as_the_plugin_reads_them() -> None:
    """What the plugin makes a transcript of is one; what it ignores is none."""
    ears = await dialect(Stage.STT)
    told = {"type": "transcription", "is_final": False, "segments": [{"text": "a"}, {"text": "b"}]}
    assert ears.transcript(json.dumps(told)) == ("interim", "a b")
    assert ears.transcript('{"transcript": "whole"}') == ("final", "whole")
    assert ears.transcript('{"type": "transcription", "segments": []}') is None
    assert ears.transcript('{"type": "end_audio", "body": {"status": "finished"}}') is None
    assert ears.error('{"type": "error", "body": {"message": "no"}}') == "no"
    assert ears.error('{"type": "error", "message": "no"}') == "no"
    assert ears.samples(bytes(1024)) == 512
    assert ears.samples('{"type": "end_audio"}') == 0


@pytest.mark.parametrize("ears", ["whisper", "qwen3-asr"])
@pytest.mark.parametrize("voice", list(VOICES))
def test_turns_are_measured_down_to_the_socket(
    virtually: ProcessPoolExecutor, ears: str, voice: str
) -> None:
    """Every recogniser commits turns, with every voice, and each transport is seen."""
    chosen = candidate(ears, voice)
    for trial in answered(virtually, chosen, [playable()] * 2, timeouts=HANG_UP):
        turn = trial.turns[0]
        marks = turn.marks
        assert marks[Mark.SPEECH_END] <= marks[Mark.SPEECH_SENT] < marks[Mark.FINAL_RECEIVED]
        assert marks[Mark.FINAL_RECEIVED] <= marks[Mark.TRANSCRIPT_FINAL]
        finals = [each for each in turn.transcripts if each.kind is TranscriptKind.FINAL]
        assert [each.text for each in finals] == [playable().utterance.text]
        mouth = turn.request(turn.audible_request)
        assert mouth is not None
        assert mouth.marks[Mark.TTS_REQUEST] <= mouth.marks[Mark.TTS_SENT]
        assert mouth.marks[Mark.TTS_SENT] < mouth.marks[Mark.TTS_FIRST_BYTE]
        assert total_ns(trial) == response_ns(trial)
        assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)


def test_a_finalized_utterance_needs_no_silence(virtually: ProcessPoolExecutor) -> None:
    """Alone, qwen3-asr is told when the speech has ended, and does not wait for the silence."""
    chosen = Candidate(name="x", stt=StageSettings(provider="baseten", model="qwen3-asr"))
    (trial,) = answered(virtually, chosen, [playable()], performer=StagePerformer)
    marks = trial.turns[0].marks
    waited_ms = (marks[Mark.FINAL_RECEIVED] - marks[Mark.SPEECH_SENT]) / 1e6
    # 100 ms of computing; the client's silence would add 500.
    assert 100 <= waited_ms < 400


@pytest.mark.realtime
async def test_the_plugin_alone_commits_no_turn(address: tuple[str, str]) -> None:
    """Without an end of speech a turn that the STT is to commit fails, and says where."""
    (trial,) = await play(
        *address,
        candidate(end_of_speech=False),
        [playable()],
        timeouts=Timeouts(reply_s=2.0),
    )
    assert isinstance(trial, FailedTrial)
    assert trial.failure.stage is Stage.ENDPOINTING


@pytest.mark.realtime
async def test_a_detector_commits_the_plugins_turns(address: tuple[str, str]) -> None:
    """With a detector the plugin's own stream does."""
    (trial,) = await play(
        *address,
        candidate(end_of_speech=False),
        [playable()],
        session=SessionOptions(turn_detection=TurnDetection.VAD, vad=True),
        timeouts=HANG_UP,
    )
    assert isinstance(trial, Trial), trial.failure


@pytest.mark.realtime
async def test_a_stream_without_end_ends_with_the_trial(address: tuple[str, str]) -> None:
    """The whisper stream outlives its input; closing it does not take long all the same."""
    root, key = address
    place = Place(via=Via.GATEWAY, options=SessionOptions(), gateway=root, gateway_key=key)
    client = make_client(Stage.STT, place, StageSettings(provider="baseten"))
    stream = client.stream()
    stream.end_input()
    await asyncio.sleep(0.3)
    async with asyncio.timeout(5):
        await stream.aclose()
        await client.aclose()


async def test_a_session_of_ours_is_closed_with_its_client() -> None:
    """Livekit closes no session that it was given; the client that we hand out does."""
    client = live(Stage.STT, endpoint=ENDPOINT)
    session = client._session
    assert isinstance(session, aiohttp.ClientSession)
    await client.aclose()
    assert session.closed
