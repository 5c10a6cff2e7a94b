"""LiveKit Inference through livekit's own clients, against the gateway."""

import base64
import json
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from livekit.agents import inference

from harness.clock import Work
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import FailureKind as K
from harness.domain.request import TranscriptKind
from harness.domain.suite import SessionOptions, Timeouts, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.errors import ConfigurationError
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.providers import make_client
from harness.pipeline.recording.recording import (
    Exchange,
    Message,
    Recorder,
    Sent,
    Stamp,
    TranscriptEvent,
)
from harness.pipeline.transport.listening import join_transcripts
from harness.pipeline.transport.socket_reading import read_spoken, spoken_failure
from tests.pipeline.playing import play, playable, response_ns, total_ns, unattributed_ms
from tests.pipeline.virtual_gateway import EXACT_MS, answered

HANG_UP = Timeouts(hang_up_s=0.1)
ENVIRON = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "a-secret-of-more-than-32-characters"}


def candidate(**profiles: str) -> Candidate:
    """Return a candidate of livekit's clients throughout, by these gateway profiles."""

    def stage(name: str, **more: Any) -> StageSettings:
        return StageSettings(provider="livekit", profile=profiles.get(name), **more)

    return Candidate(
        name="livekit",
        stt=stage("stt"),
        llm=stage("llm"),
        tts=stage("tts", options={"extra": {"add_timestamps": True}}),
    )


def live(stage: Stage, environ: dict[str, str], **settings: Any) -> Any:
    """Return the client of a live run."""
    place = Place(via=Via.LIVE, options=SessionOptions(), environ=environ)
    return make_client(stage, place, StageSettings(provider="livekit", **settings))


def at(ns: int) -> Stamp:
    """Return a stamp without work."""
    return Stamp(ns, Work(0, 0))


async def test_clients_are_livekits_own() -> None:
    """What is measured is what users run: livekit's classes, told nothing but the suite's words."""
    ears = live(
        Stage.STT,
        ENVIRON,
        model="deepgram/flux-general:de",
        options={"extra": {"eot_threshold": 0.7}, "fallback": ["cartesia/ink-whisper"]},
    )
    mind = live(Stage.LLM, ENVIRON, model="zai/glm-5.1", options={"temperature": 0.3})
    mouth = live(Stage.TTS, ENVIRON, model="rime/coda:luna", options={"fallback": ["xai/tts-1:a"]})
    try:
        assert [type(each) for each in (ears, mind, mouth)] == [
            inference.STT,
            inference.LLM,
            inference.TTS,
        ]
        assert (ears.model, str(ears._opts.language)) == ("deepgram/flux-general", "de")
        assert ears._opts.extra_kwargs == {"eot_threshold": 0.7}
        assert ears._opts.fallback == [{"model": "cartesia/ink-whisper"}]
        assert ears._opts.conn_options.max_retry == 0
        assert mind._opts.extra_kwargs == {"temperature": 0.3}
        assert (mouth.model, mouth._opts.voice) == ("rime/coda", "luna")
        assert mouth._opts.fallback == [{"model": "xai/tts-1", "voice": "a"}]
    finally:
        for client in (ears, mind, mouth):
            await client.aclose()
    assert ears._session.closed
    assert mouth._session.closed


async def test_keys_of_inference_alone_come_first() -> None:
    """A key for inference alone is read in place of the account's."""
    ears = live(
        Stage.STT,
        {
            **ENVIRON,
            "LIVEKIT_INFERENCE_API_KEY": "own",
            "LIVEKIT_INFERENCE_API_SECRET": "another-secret-of-32-characters!!",
            "LIVEKIT_INFERENCE_URL": "https://example.invalid/v1",
        },
    )
    assert (ears._opts.api_key, ears._opts.base_url) == ("own", "https://example.invalid/v1")
    await ears.aclose()


@pytest.mark.parametrize("missing", sorted(ENVIRON))
@pytest.mark.parametrize("stage", [Stage.STT, Stage.LLM, Stage.TTS])
async def test_a_missing_key_is_named(stage: Stage, missing: str) -> None:
    """Without key or secret there is no client, and the variable is named."""
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    with pytest.raises(ConfigurationError, match=missing):
        live(stage, environ)


async def test_a_fallback_that_names_no_model_is_refused() -> None:
    """A fallback is a model's name or names a model."""
    with pytest.raises(ConfigurationError, match="fallback"):
        live(Stage.STT, ENVIRON, options={"fallback": [{"voice": "x"}]})


def test_turns_are_measured_down_to_the_socket(virtually: ProcessPoolExecutor) -> None:
    """Each stage's transport is seen, in the first trial and on sockets that the next reuses."""
    trials = answered(virtually, candidate(), [playable()] * 2)
    heard_first = set()
    for trial in trials:
        turn = trial.turns[0]
        marks = turn.marks
        # livekit packs 50 ms, so the last speech may leave that much after it was due.
        assert 0 <= marks[Mark.SPEECH_SENT] - marks[Mark.SPEECH_END] < 500_000_000
        assert marks[Mark.SPEECH_SENT] < marks[Mark.FINAL_RECEIVED] <= marks[Mark.TRANSCRIPT_FINAL]
        assert all(each.received_ns is not None for each in turn.transcripts)
        ears, mind, mouth = turn.requests
        assert (ears.stage, mind.stage, mouth.stage) == (Stage.STT, Stage.LLM, Stage.TTS)
        assert mouth.marks[Mark.TTS_REQUEST] <= mouth.marks[Mark.TTS_SENT]
        assert mouth.marks[Mark.TTS_SENT] < mouth.marks[Mark.TTS_FIRST_BYTE]
        assert mouth.marks[Mark.TTS_FIRST_BYTE] <= mouth.marks[Mark.TTS_FRAME_RECEIVED]
        assert mouth.marks[Mark.SENTENCE_RECEIVED] <= mouth.marks[Mark.TTS_REQUEST]
        assert turn.reply is not None
        # livekit may end a reply with 10 ms of silence of its own.
        assert 0 <= turn.reply.samples * 2 - mouth.facts["bytes"] <= 480
        assert ears.facts["audio_seconds"] > 1
        assert mind.facts["finish_reason"] == "stop"
        heard_first.add(mouth.facts["truth_id"])
        assert total_ns(trial) == response_ns(trial)
    # The reply's own id, though one socket carried both.
    assert len(heard_first) == len(trials)
    last = trials[-1].turns[0].requests[-1]
    assert last.connection is not None
    assert last.connection.reused


def test_undisturbed_turns_are_explained(virtually: ProcessPoolExecutor) -> None:
    """No turn leaves time without a cause."""
    for trial in answered(virtually, candidate(), [playable()] * 2, timeouts=HANG_UP):
        assert unattributed_ms(trial) == pytest.approx(0, abs=EXACT_MS)


@pytest.mark.realtime
async def test_interims_and_preflights_are_kept_apart(address: tuple[str, str]) -> None:
    """Interim, preflight and final transcripts keep their kinds, each with its message's stamp."""
    trials = await play(*address, candidate(stt="exact-interims"), [playable()], timeouts=HANG_UP)
    (trial,) = trials
    assert isinstance(trial, Trial), trial.failure
    transcripts = trial.turns[0].transcripts
    assert {each.kind for each in transcripts} == set(TranscriptKind)
    assert transcripts[-1].kind is TranscriptKind.FINAL
    received = [each.received_ns for each in transcripts]
    assert None not in received
    assert received == sorted(each for each in received if each is not None)


@pytest.mark.realtime
async def test_trials_at_once_do_not_mix(address: tuple[str, str]) -> None:
    """Trials that share the clients at the same time keep their own transcripts and sockets."""
    names = ["slt-alarm", "kal16-christmas", "rms-forecast"]
    utterances = [playable(name) for name in names if _shipped(name)] or [playable()]
    trials = await play(*address, candidate(), utterances, together=True, timeouts=HANG_UP)
    ids = set()
    for trial, utterance in zip(trials, utterances, strict=True):
        assert isinstance(trial, Trial), trial.failure
        turn = trial.turns[0]
        finals = [each.text for each in turn.transcripts if each.kind is TranscriptKind.FINAL]
        assert finals == [utterance.utterance.text]
        ids.add(turn.requests[0].facts["truth_id"])
    assert len(ids) == len(utterances)


def _shipped(name: str) -> bool:
    try:
        playable(name)
    except (KeyError, ConfigurationError):
        return False
    return True


@pytest.mark.realtime
async def test_stages_alone(address: tuple[str, str]) -> None:
    """The stage driver drives each of the three clients, too."""
    (trial,) = await play(*address, candidate(), [playable()], performer=StagePerformer)
    assert isinstance(trial, Trial), trial.failure
    stages = {each.stage for each in trial.turns[0].requests}
    assert stages == {Stage.STT, Stage.LLM, Stage.TTS}


# What the messages say.


def _message(ns: int, **content: Any) -> Message:
    return Message(at(ns), at(ns + 1), json.dumps(content))


async def _dialects() -> tuple[Any, Any]:
    ears, mouth = live(Stage.STT, ENVIRON), live(Stage.TTS, ENVIRON)
    keepers = []
    for client in (ears, mouth):
        partial = client._session._ws_response_class
        keepers.append(partial.args[0]._dialect)
        await client.aclose()
    return keepers[0], keepers[1]


async def test_samples_are_counted_by_message() -> None:
    """Only audio counts, at the recogniser's rate, whatever the wire's."""
    ears, _ = await _dialects()
    sent = json.dumps({"type": "input_audio", "audio": base64.b64encode(bytes(1600)).decode()})
    assert ears.samples(sent) == 800
    assert ears.samples(json.dumps({"type": "session.finalize"})) == 0
    fast = live(Stage.STT, ENVIRON, model="openai/gpt-live-transcribe")
    dialect = fast._session._ws_response_class.args[0]._dialect
    assert dialect.samples(sent) == 800 * 16_000 // 24_000
    await fast.aclose()


async def test_transcripts_find_their_messages_in_order() -> None:
    """Two equal texts are two messages, and each transcript gets its own."""
    ears, _ = await _dialects()
    recorder = Recorder()
    exchange = Exchange(url="ws://x", opened=at(0), dialect=ears)
    exchange.messages += [
        _message(10, type="session.created"),
        _message(20, type="interim_transcript", transcript="yes"),
        _message(30, type="interim_transcript", transcript="yes"),
        _message(40, type="final_transcript", transcript="yes"),
    ]
    recorder.sockets.append(exchange)
    for ns, kind in ((25, "interim"), (35, "interim"), (45, "final")):
        recorder.transcripts.append(TranscriptEvent(at(ns), None, kind, "yes"))
    join_transcripts(recorder)
    received = [each.received.ns if each.received else None for each in recorder.transcripts]
    assert received == [21, 31, 41]


async def test_a_synthesis_is_read_from_its_messages() -> None:
    """Envelope, first sample and last come from the messages that carried them."""
    _, mouth = await _dialects()
    audio = base64.b64encode(bytes(960)).decode()
    exchange = Exchange(url="ws://x", opened=at(0), dialect=mouth, status=101)
    exchange.sends.append(Sent(at(5), '{"type": "input_transcript"}'))
    exchange.messages += [
        _message(10, type="session.created", session_id="s"),
        _message(20, type="output_audio", audio=audio, session_id="s"),
        _message(30, type="output_audio", audio=audio, session_id="s"),
        _message(40, type="done", session_id="s"),
    ]
    body = read_spoken(exchange)
    assert body.header is not None
    assert body.frame is not None
    assert body.last is not None
    assert (body.header.ns, body.frame.ns, body.last.ns, body.size) == (20, 21, 31, 1920)
    assert spoken_failure(exchange, body, str) is None


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([{"type": "done"}], K.EMPTY),
        ([{"type": "error", "message": "no"}], K.STREAM_ERROR),
        ([{"type": "output_audio", "audio": "!"}], K.MALFORMED),
    ],
)
async def test_a_synthesis_that_is_none(messages: list[dict[str, Any]], kind: K) -> None:
    """What a provider says in place of speech becomes the right kind of failure."""
    _, mouth = await _dialects()
    exchange = Exchange(url="ws://x", opened=at(0), dialect=mouth, status=101)
    exchange.sends.append(Sent(at(-1), '{"type": "input_transcript"}'))
    exchange.messages += [_message(number, **each) for number, each in enumerate(messages)]
    found = spoken_failure(exchange, read_spoken(exchange), str)
    assert found is not None
    assert found.kind is kind


async def test_the_piece_that_lets_the_first_sentence_go() -> None:
    """The plugin's own tokenizer says which token ended the wait; None is the end of the text."""
    _, mouth = await _dialects()
    pieces = [
        "Okay, your ",
        "timer ",
        "for ten ",
        "minutes ",
        "is running.",
        " I",
        " will",
        " say.",
    ]
    index = mouth.trigger(pieces)
    assert index is not None
    assert index > 4
    assert mouth.trigger(["Just one ", "sentence."]) is None
    sends = [Sent(at(1), '{"type": "session.create"}')]
    assert mouth.released(sends) is None
    sends.append(Sent(at(2), '{"type": "input_transcript", "transcript": "a "}'))
    assert mouth.released(sends) == 1
