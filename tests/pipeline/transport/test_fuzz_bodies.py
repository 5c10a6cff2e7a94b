"""However a response is damaged, reading it neither raises nor takes it for what it is not."""

import base64
import json
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from livekit.agents import APIConnectionError, APIError, APIStatusError

from harness.domain.request import Failure
from harness.domain.timeline import Stage
from harness.pipeline.recording.recording import Chunk, Exchange, stamp
from harness.pipeline.transport.bodies import read_chat, read_speech
from harness.pipeline.transport.failures import (
    chat_failure,
    failure_of,
    speech_failure,
    status_kind,
)
from harness.pipeline.transport.uploads import read_heard
from tests.pipeline.damage import Said, damaged
from tests.pipeline.mutations import cut, mutate, strictly
from tests.pipeline.wire_scripts import BODIES

ROUNDS = int(os.environ.get("TURNBENCH_FUZZ", "3000"))

pytestmark = pytest.mark.timeout(3600)


def _plain(text: str) -> str:
    return text


def _sse(*events: Mapping[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "Kimi-K2.5",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


USAGE = {
    "prompt_tokens": 4,
    "completion_tokens": 5,
    "total_tokens": 9,
    "completion_tokens_details": {"reasoning_tokens": 1},
}
CHAT = (
    b": keep-alive\n\n"
    + _sse(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"reasoning_content": "Hm."}),
        *(_chunk({"content": each}) for each in ("Your ", "lights ", "are ", "on.")),
        _chunk({}, "stop"),
        {"id": "chatcmpl-1", "choices": [], "model": "Kimi-K2.5", "usage": USAGE},
    )
    + b"data: [DONE]\n\n"
)
SAMPLES = bytes(range(256)) * 8
SPEECH = _sse(
    *(
        {"type": "speech.audio.delta", "audio": base64.b64encode(SAMPLES).decode()}
        for _ in range(3)
    ),
    {"type": "speech.audio.done", "usage": {"input_tokens": 4, "total_tokens": 9}},
)
HEARD = json.dumps(
    {"text": "what time is it", "usage": {"type": "duration", "seconds": 3}}
).encode()


def exchange(
    data: bytes, content_type: str, rng: random.Random, url: str = "http://x/v1"
) -> Exchange:
    """Return a finished response of status 200 with this body, in random pieces."""
    found = Exchange(
        url=url,
        opened=stamp(),
        headers_at=stamp(),
        status=200,
        headers={"content-type": content_type},
        ended=stamp(),
    )
    found.chunks = [Chunk(stamp(), piece) for piece in cut(data, rng)]
    return found


def test_whole_bodies_are_good() -> None:
    """What is not damaged is no failure, in whatever pieces it comes."""
    rng = random.Random(0)
    for _ in range(200):
        chat = exchange(CHAT, "text/event-stream", rng)
        assert chat_failure(chat, read_chat(chat), _plain) is None
        assert read_chat(chat).text == "Your lights are on."
        speech = exchange(SPEECH, "text/event-stream", rng)
        assert speech_failure(speech, read_speech(speech), _plain) is None
        assert read_speech(speech).size == 3 * len(SAMPLES)


def test_damaged_chats() -> None:
    """A damaged chat stream is read without raising, and good only if a strict client agrees."""
    rng = random.Random(1)
    good = 0
    for _ in range(ROUNDS):
        data = mutate(CHAT, rng)
        found = exchange(data, "text/event-stream", rng)
        body = read_chat(found)
        json.dumps([dict(body.usage), body.model, body.finish_reason], allow_nan=False)
        failure = chat_failure(found, body, _plain)
        if failure is not None:
            assert failure.message
            continue
        good += 1
        events = strictly(data)
        assert events is not None, data
        assert not any(event.get("error") for event in events), data
        ends = [
            event
            for event in events
            if "done" in event
            or any(
                isinstance(each.get("finish_reason"), str) for each in event.get("choices") or ()
            )
        ]
        assert ends, data
        assert body.text.strip(), data
    assert 0.02 * ROUNDS < good < 0.7 * ROUNDS


def test_damaged_speech_events() -> None:
    """Damaged events of speech are good only if they end, decode, and hold audio."""
    rng = random.Random(2)
    good = 0
    for _ in range(ROUNDS):
        data = mutate(SPEECH, rng)
        found = exchange(data, "text/event-stream", rng)
        body = read_speech(found)
        json.dumps(dict(body.usage), allow_nan=False)
        if speech_failure(found, body, _plain) is not None:
            continue
        good += 1
        events = strictly(data)
        assert events is not None, data
        assert any("done" in each or each.get("type") == "speech.audio.done" for each in events)
        for event in events:
            if event.get("type") == "speech.audio.delta":
                base64.b64decode(event.get("delta") or event.get("audio") or "", validate=True)
        assert body.size > 0
    assert 0.02 * ROUNDS < good < 0.7 * ROUNDS


@pytest.mark.parametrize("content_type", ["audio/pcm", "audio/wav", "audio/mpeg"])
def test_damaged_samples(content_type: str) -> None:
    """Damaged samples are audio still, but never an odd number of bytes, and never none."""
    rng = random.Random(3)
    whole = SAMPLES if content_type == "audio/pcm" else b"RIFF" + bytes(40) + SAMPLES
    for _ in range(ROUNDS // 5):
        data = b"" if rng.random() < 0.02 else mutate(whole, rng)
        # Samples may come without a word of their format.
        plain = content_type == "audio/pcm" and rng.random() < 0.3
        other = "application/octet-stream" if plain else content_type
        found = exchange(data, other, rng)
        body = read_speech(found)
        if speech_failure(found, body, _plain) is None and not body.container:
            assert body.size > 0
            assert "pcm" not in content_type + other or body.size % 2 == 0


def test_damaged_transcripts() -> None:
    """A damaged transcription is read without raising, and has a text only if it holds one."""
    rng = random.Random(4)
    for _ in range(ROUNDS):
        data = mutate(HEARD, rng)
        body = read_heard(exchange(data, "application/json", rng))
        json.dumps(dict(body.usage), allow_nan=False)
        if body.text is not None:
            assert json.loads(data)["text"] == body.text


@pytest.mark.parametrize("end", ["complete", "synthesize", "transcribe"])
def test_damaged_events_of_a_router(end: str) -> None:
    """Named events are read without raising, whatever happened to them."""
    rng = random.Random(5)
    whole = b"".join(
        b"event: " + name + b"\ndata: " + json.dumps(value).encode() + b"\n\n"
        for name, value in (
            (b"meta", {"provider": "alder", "model": "m", "failoverCount": 0, "scoresRunId": "r"}),
            (b"delta", {"text": "Your lights are on."}),
            (b"transcript", {"text": "lights on", "isFinal": True}),
            (b"done", {"usage": {"promptTokens": 4, "completionTokens": 5}}),
        )
    )
    for _ in range(ROUNDS // 2):
        data = mutate(whole, rng)
        found = exchange(data, "text/event-stream", rng, f"http://x/v1/{end}")
        chat = read_chat(found)
        json.dumps([dict(chat.usage), dict(chat.route)], allow_nan=False)
        if chat_failure(found, chat, _plain) is None and end == "complete":
            assert chat.done_at is not None
            assert chat.text.strip()
        speech_failure(found, read_speech(found), _plain)
        heard = read_heard(found)
        json.dumps([dict(heard.usage), dict(heard.route)], allow_nan=False)


_READ: Mapping[str, tuple[Callable[[Exchange], Any], Callable[..., Failure | None] | None]] = {
    "openadapter-chat": (read_chat, chat_failure),
    "speko-complete": (read_chat, chat_failure),
    "speko-transcribe": (read_heard, None),
    "openai-transcriptions": (read_heard, None),
}


@pytest.mark.parametrize("name", sorted(_READ))
def test_bent_answers(name: str) -> None:
    """An answer of which a value, an event or the end is out of place says what it holds, or fails.

    The strict readings of the live fuzz decide; what a client reads beyond them is no success.
    """
    (body,) = [each for each in BODIES if each.name == name]
    read, judge = _READ[name]
    rng = random.Random(8)
    damages = good = 0
    while damages < ROUNDS:
        acts, count = damaged(body.answer, rng)
        damages += count
        data = b"".join(act.data for act in acts if isinstance(act, Said))
        if not data:
            continue
        url = f"http://x{body.path}"
        found = exchange(data, body.content_type, rng, url)
        got = read(found)
        json.dumps([dict(got.usage), dict(got.route)], allow_nan=False)
        whole = judge is None or judge(found, got, _plain) is None
        if not whole or got.malformed or got.error or not got.text or not got.text.strip():
            continue
        good += 1
        meant = body.means(data, body.content_type)
        assert meant is not None, data
        assert got.text.strip() == meant.strip(), data
    assert good > 0.05 * ROUNDS


def test_odd_headers() -> None:
    """Whatever a header says, it raises nothing."""
    rng = random.Random(6)
    long = "9" * 5000
    values = (
        *("", "²", long, "-1", "12", "\x00", "application/json", "text/event-stream; charset=\xff"),
        *(f"audio/pcm;rate={rate}" for rate in ("", "²", long)),
    )
    for _ in range(ROUNDS // 2):
        data = mutate(rng.choice((CHAT, SPEECH, SAMPLES)), rng)
        found = exchange(data, rng.choice(values), rng)
        found.headers = {
            rng.choice(("content-type", "content-length", "x-route")): rng.choice(values)
            for _ in range(3)
        }
        found.status = rng.choice((200, 200, 204, 302, 401, 429, 500, 599, None))
        for failure in (
            chat_failure(found, read_chat(found), _plain),
            speech_failure(found, read_speech(found), _plain),
        ):
            assert failure is None or isinstance(failure, Failure)
        read_heard(found)


class _Odd(Exception):  # noqa: N818
    def __str__(self) -> str:
        return "\n\n"


def test_odd_errors() -> None:
    """Whatever is raised, by whatever caused, is described in one line."""
    rng = random.Random(7)
    texts = ("", "\n", "a\nb", "\ud800", "x" * 5000, "\x1c\x1d", "\u2028")
    bodies: tuple[Any, ...] = (None, {}, {"kind": "reset"}, {"kind": []}, {"kind": "no"}, "x", [1])

    def one() -> BaseException:
        kind = rng.randrange(7)
        if kind == 0:
            status = rng.choice((-1, 0, 99, 404, 503, 10**9))
            return APIStatusError(rng.choice(texts), status_code=status, body=rng.choice(bodies))
        if kind == 1:
            return APIConnectionError(rng.choice(texts))
        if kind == 2:
            return APIError(rng.choice(texts), body=rng.choice(bodies))
        words = rng.choice(texts)
        return (_Odd(), OSError(words), TimeoutError(), ValueError(words))[kind - 3]

    for _ in range(ROUNDS):
        error, cause = one(), one()
        error.__cause__ = cause
        cause.__context__ = error
        failure = failure_of(rng.choice(list(Stage)), error, _plain)
        assert failure.message
        assert "\n" not in failure.message
    for status in range(-5, 1100):
        assert status_kind(status)
