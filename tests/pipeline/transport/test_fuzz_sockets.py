"""However messages of a socket are damaged, reading them neither raises nor finds what is not said.

``TURNBENCH_FUZZ`` sets how many damages of each protocol there are.
"""

import json
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from harness.clock import Work
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import SessionOptions, Via
from harness.domain.timeline import Stage
from harness.pipeline.drivers.interruption import judge_requests
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
from harness.pipeline.transport.listening import join_transcripts, listen_request
from harness.pipeline.transport.socket_reading import read_spoken, sent_at, spoken_failure
from tests.pipeline.damage import Act, Close, Garbage, Reset, Said, damaged
from tests.pipeline.wire_scripts import EARS, VOICES, Ear, Voice, loads

ROUNDS = int(os.environ.get("TURNBENCH_FUZZ", "3000"))

pytestmark = pytest.mark.timeout(3600)

SHORT = (bytes(range(80)),) * 3
"""Samples of three messages."""
ASKING = {
    "livekit-tts": ('{"type": "session.create"}', '{"type": "input_transcript"}'),
    "orpheus-socket": ('{"voice": "tara"}', "What time is it?", "__END__"),
    "qwen3-tts": ('{"type": "session.config"}', '{"type": "input.text", "text": "What is it?"}'),
}
"""What a client sends before the answer."""


def _plain(text: str) -> str:
    return text


def _at(instant: int) -> Stamp:
    return Stamp(instant, Work(0, 0))


async def _dialect(stage: Stage, protocol: Ear | Voice) -> Any:
    """Return how a client's transport reads a protocol."""
    place = Place(
        via=Via.GATEWAY, options=SessionOptions(), gateway="http://127.0.0.1:1", gateway_key="k"
    )
    client = make_client(stage, place, protocol.settings)
    backend = getattr(client, "_qwen3", None) or client
    sessions: list[Any] = [
        getattr(each, name, None)
        for each in (client, backend)
        for name in ("_session", "_http_session")
    ]
    session = next(each for each in sessions if hasattr(each, "_ws_response_class"))
    found = session._ws_response_class.args[0]._dialect
    await client.aclose()
    return found


def _received(acts: Sequence[Act], exchange: Exchange, start: int) -> list[Said]:
    """Put what a client would receive of a conversation into an exchange; return the messages."""
    got: list[Said] = []
    ended = getattr(exchange.dialect, "ended", None)
    for number, act in enumerate(acts):
        at = _at(start + number)
        if isinstance(act, Said):
            data: str | bytes = act.data
            if act.text:
                try:
                    data = act.data.decode()
                except UnicodeDecodeError:
                    exchange.closed, exchange.close_code = at, 1007
                    break
            got.append(act)
            exchange.messages.append(Message(at, at, data))
            if ended is not None and ended(data):
                # The plugin reads no further.
                break
        elif isinstance(act, Close):
            exchange.closed, exchange.close_code = at, act.code
            break
        elif isinstance(act, Reset | Garbage):
            exchange.closed, exchange.close_code = at, 1006
            break
        else:
            break
    return got


SOCKET_EARS = tuple(each for each in EARS if each.name != "parakeet")


@pytest.mark.parametrize("ear", SOCKET_EARS, ids=lambda each: each.name)
async def test_damaged_recognition(ear: Ear) -> None:
    """A message is a final for the reader only if a strict one finds the same text in it."""
    dialect = await _dialect(Stage.STT, ear)
    rng = random.Random(21)
    damages = finals = 0
    while damages < ROUNDS:
        acts, count = damaged([*ear.greeting, *ear.answer], rng)
        damages += count
        exchange = Exchange(url="ws://x", opened=_at(0), status=101, dialect=dialect)
        got = _received(acts, exchange, 10)
        recorder = Recorder()
        recorder.sockets.append(exchange)
        for said, message in zip(got, exchange.messages, strict=True):
            told = dialect.transcript(message.data)
            if told is None or not told[1].strip():
                continue
            kind, text = told
            recorder.transcripts.append(TranscriptEvent(_at(10**6), None, kind, text))
            if kind == "final":
                finals += 1
                assert said.text, said
                assert ear.final(said.data) == text, said
        if rng.random() < 0.1:
            # A plugin that reads more into a message than it says.
            recorder.transcripts.append(TranscriptEvent(_at(10**6), None, "final", "unsaid"))
        join_transcripts(recorder)
        request = listen_request(recorder, _plain)
        assert request is not None
        json.dumps(dict(request.facts), allow_nan=False)
        if any(each.received is None for each in recorder.transcripts if each.kind == "final"):
            assert isinstance(request.failure, Failure)
    assert finals > 0.1 * ROUNDS


@pytest.mark.parametrize("voice", VOICES, ids=lambda each: each.name)
async def test_damaged_synthesis(voice: Voice) -> None:
    """A synthesis is good only if a strict reader finds as many samples and an end."""
    dialect = await _dialect(Stage.TTS, voice)
    rng = random.Random(22)
    damages = good = 0
    while damages < ROUNDS:
        acts, count = damaged(voice.answer("s1", SHORT), rng)
        damages += count
        exchange = Exchange(url="ws://x", opened=_at(0), status=101, dialect=dialect)
        sends = ASKING[voice.name]
        exchange.sends = [Sent(_at(10 + number), text) for number, text in enumerate(sends)]
        _received(acts, exchange, 100)
        body = read_spoken(exchange)
        failure = spoken_failure(exchange, body, _plain)
        at = sent_at(exchange)
        assert at is None or body.first_audio is None or at.ns <= body.first_audio.ns
        for message in exchange.messages:
            json.dumps(dict(dialect.facts(message.data)), allow_nan=False)
        if failure is not None:
            assert failure.message
            continue
        ended = dialect.ended
        over = (
            exchange.closed is not None
            if ended is None
            else any(ended(message.data) for message in exchange.messages)
        )
        if not over:
            # The plugin waits on, until its time is out.
            continue
        good += 1
        samples = voice.samples(acts)
        assert samples is not None, acts
        assert body.size == len(samples), acts
    assert 0.02 * ROUNDS < good < 0.7 * ROUNDS


@pytest.mark.parametrize("voice", VOICES, ids=lambda each: each.name)
async def test_an_answer_from_before_its_question(voice: Voice) -> None:
    """Audio, or an end, that came before the text was sent is no part of the reply."""
    dialect = await _dialect(Stage.TTS, voice)
    exchange = Exchange(url="ws://x", opened=_at(0), status=101, dialect=dialect)
    _received(voice.answer("s1", SHORT), exchange, 5)
    sends = ASKING[voice.name]
    exchange.sends = [Sent(_at(10**6 + number), text) for number, text in enumerate(sends)]
    body = read_spoken(exchange)
    assert (body.size, body.first_audio) == (0, None)
    failure = spoken_failure(exchange, body, _plain)
    assert failure is not None
    assert failure.kind is FailureKind.MALFORMED
    assert "before its text was sent" in failure.message


def test_damaged_verdicts() -> None:
    """A window has a verdict only if a message of the detector names it, after it was sent."""
    rng = random.Random(23)
    damages = judged = 0
    while damages < ROUNDS:
        windows = [rng.randrange(1, 1 << 62) for _ in range(3)]
        told: list[dict[str, Any]] = [
            {"type": "session.created", "default_threshold": 0.5},
            *(
                {
                    "type": rng.choice(("inference_done", "bargein_detected")),
                    "created_at": window,
                    "prediction_duration": 0.02,
                    "probabilities": [0.1, 0.9],
                }
                for window in windows
            ),
            {"type": "session.closed"},
        ]
        acts, count = damaged([Said(json.dumps(each).encode()) for each in told], rng)
        damages += count
        exchange = Exchange(url="ws://x", opened=_at(0), status=101)
        exchange.sends = [
            Sent(_at(10 + number), window.to_bytes(8, "little") + bytes(64))
            for number, window in enumerate(windows)
        ]
        got = _received(acts, exchange, 100)
        recorder = Recorder()
        recorder.detectors.append(exchange)
        recorder.fell_back = rng.choice(("", "lost"))
        found = judge_requests(recorder, _plain)
        assert len(found) == len(windows)
        named = [loads(each.data) for each in got if each.text]
        for window, request in zip(windows, found, strict=True):
            json.dumps(dict(request.facts), allow_nan=False)
            if "verdict" not in request.facts:
                continue
            judged += 1
            assert any(
                each is not None
                and each.get("created_at") == window
                and each.get("type") in ("inference_done", "bargein_detected")
                for each in named
            )
    assert judged > 0.2 * ROUNDS


async def test_audio_of_two_sessions() -> None:
    """A reply whose audio says that it is of two sessions is none."""
    (voice,) = [each for each in VOICES if each.name == "livekit-tts"]
    dialect = await _dialect(Stage.TTS, voice)
    exchange = Exchange(url="ws://x", opened=_at(0), status=101, dialect=dialect)
    exchange.sends = [Sent(_at(1), text) for text in ASKING[voice.name]]
    _received([*voice.answer("s1", SHORT)[:1], *voice.answer("s2", SHORT)], exchange, 5)
    failure = spoken_failure(exchange, read_spoken(exchange), _plain)
    assert failure is not None
    assert "more than one session" in failure.message


def test_strict_readers_take_what_is_good() -> None:
    """The conversations that are damaged are whole to begin with."""
    for ear in EARS:
        finals = [ear.final(act.data) for act in ear.answer if isinstance(act, Said)]
        assert [each for each in finals if each] == ["what time is it"]
    for voice in VOICES:
        samples = voice.samples(voice.answer("s1", SHORT))
        assert samples is not None
        assert len(samples) == 240
    assert loads(b"[1]") is None
