"""Batch recognition by Parakeet's REST interface."""

import asyncio
import io
import math
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
)
from livekit.agents.stt import STTError

from harness.pipeline.providers.parakeet.rest import rest_url, wav_of
from harness.pipeline.recording.observer import SttRecorder
from tests.pipeline.providers.parakeet_client import KEY, ONCE, make_stt, tone
from tests.pipeline.providers.parakeet_server import ParakeetServer

QUICK = APIConnectOptions(max_retry=0, timeout=0.3)


def samples_of(file: bytes) -> tuple[np.ndarray[Any, np.dtype[np.int16]], int, int]:
    """A WAV file's samples, rate and channels."""
    with wave.open(io.BytesIO(file)) as wav:
        data = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
        return data, wav.getframerate(), wav.getnchannels()


@pytest.mark.parametrize(
    ("ws_url", "expected"),
    [
        (
            "wss://edge.openadapter.in/parakeet/v1/audio/stream",
            "https://edge.openadapter.in/parakeet/v1/audio/transcriptions",
        ),
        ("ws://127.0.0.1:80/v1/audio/stream/", "http://127.0.0.1:80/v1/audio/transcriptions"),
        ("ws://h/v1?tier=a", "http://h/v1/audio/transcriptions?tier=a"),
    ],
)
def test_the_rest_address_follows_the_websockets(ws_url: str, expected: str) -> None:
    """Plain stays plain, encrypted stays encrypted, and the path's last part is exchanged."""
    assert rest_url(ws_url) == expected


@pytest.mark.parametrize("several", [False, True], ids=["one frame", "a list"])
async def test_a_recording_becomes_a_form_with_a_wav_file(*, several: bool) -> None:
    """One frame or many: the server gets audio.wav, the JSON format and the key in a header."""
    recorder = SttRecorder()
    frame = tone(0.5)
    async with ParakeetServer().running() as server, make_stt(server, observer=recorder) as plugin:
        event = await plugin.recognize(
            [tone(0.25), tone(0.25)] if several else frame, conn_options=ONCE, language="de"
        )
    heard = event.alternatives[0]
    assert (heard.text, heard.language) == ("hello there", "de")
    assert recorder.finals == [((heard.metadata or {})["received_ns"], "hello there")]
    (request,) = server.batch_requests
    assert request["authorization"] == f"Bearer {KEY}"
    assert request["filename"] == "audio.wav"
    assert request["response_format"] == "json"
    samples, rate, channels = samples_of(request["file"])
    assert (rate, channels, len(samples)) == (16_000, 1, 8_000)
    if not several:
        assert samples.tobytes() == bytes(frame.data)


def test_resampling_for_a_batch_does_not_alias() -> None:
    """10 kHz at 48 kHz is gone at 16 kHz; 1 kHz keeps its level; the length is right."""

    def level(hertz: float) -> float:
        samples, rate, _ = samples_of(wav_of(tone(1.0, hertz=hertz, rate=48_000), 16_000))
        assert rate == 16_000
        assert len(samples) == pytest.approx(16_000, abs=320)
        return float(np.sqrt(np.mean(samples[1_000:-1_000].astype(float) ** 2)))

    assert level(1_000.0) == pytest.approx(8_000 / math.sqrt(2), rel=0.02)
    assert level(10_000.0) < 8.0


def test_channels_are_averaged_before_resampling() -> None:
    """Stereo keeps its length and its level."""
    samples, _, channels = samples_of(wav_of(tone(0.5, rate=48_000, channels=2), 16_000))
    assert channels == 1
    assert len(samples) == pytest.approx(8_000, abs=320)


@pytest.mark.parametrize("buffer", [[], [rtc.AudioFrame(b"", 16_000, 1, 0)]])
async def test_no_audio_is_the_callers_mistake(buffer: list[rtc.AudioFrame]) -> None:
    """Nothing is sent for nothing."""
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        with pytest.raises(ValueError, match="no audio"):
            await plugin.recognize(buffer, conn_options=ONCE)
        assert server.batch_requests == []


async def test_silence_is_an_empty_transcript() -> None:
    """A recording without speech is no error, and the observer hears why there is no final."""
    recorder = SttRecorder()
    async with ParakeetServer().running() as server, make_stt(server, observer=recorder) as plugin:
        server.batch = lambda _: web.json_response({"text": " "})
        event = await plugin.recognize(tone(0.1, amplitude=0), conn_options=ONCE)
    assert event.alternatives[0].text == ""
    assert [drop.reason for drop in recorder.dropped] == ["empty"]


def reset(request: web.Request) -> web.Response:
    """Cut the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": "500"}
    )
    await response.prepare(request)
    await response.write(b'{"text": "hel')
    assert request.transport is not None
    request.transport.close()
    return response


async def stall(_: web.Request) -> web.Response:
    """Answer too late."""
    await asyncio.sleep(30)
    return web.Response()


def refusal(status: int, **headers: str) -> Callable[[Any], web.Response]:
    """Answer with a status and the key in the body."""
    return lambda _: web.json_response({"error": KEY}, status=status, headers=headers)


@pytest.mark.parametrize(
    ("answer", "error_type", "kind", "retryable"),
    [
        (refusal(401), APIStatusError, "unauthorized", False),
        (refusal(404), APIStatusError, "not_found", False),
        (refusal(429, **{"Retry-After": "7"}), APIStatusError, "rate_limited", True),
        (refusal(503), APIStatusError, "server_error", True),
        (refusal(302, Location="http://127.0.0.1:1/"), APIStatusError, "wrong_type", False),
        (refusal(204), APIStatusError, "wrong_type", False),
        (refusal(200), APIError, "stream_error", True),
        (
            lambda _: web.Response(text="<html>", content_type="text/html"),
            APIError,
            "wrong_type",
            True,
        ),
        (
            lambda _: web.Response(body=b"{", content_type="application/json"),
            APIError,
            "malformed",
            True,
        ),
        (
            lambda _: web.Response(body=b"\xff\xfe\x00", content_type="application/json"),
            APIError,
            "malformed",
            True,
        ),
        (lambda _: web.json_response({"words": []}), APIError, "malformed", True),
        (lambda _: web.json_response({"text": None}), APIError, "malformed", True),
        (lambda _: web.json_response({"text": "x" * (1 << 20)}), APIError, "malformed", True),
        (cut, APIConnectionError, "truncated", True),
        (reset, APIConnectionError, "reset", True),
        (stall, APITimeoutError, "timeout", True),
    ],
    ids=[
        "401",
        "404",
        "429",
        "503",
        "302",
        "204",
        "error in 200",
        "html",
        "broken json",
        "no utf-8",
        "no text",
        "null text",
        "oversized",
        "cut",
        "reset",
        "stall",
    ],
)
async def test_a_failed_recognition_says_how(
    answer: Callable[[web.Request], Any],
    error_type: type[APIError],
    kind: str,
    retryable: bool,
) -> None:
    """The status, the content type and the shape are checked; no failure is an empty transcript."""
    emitted: list[STTError] = []
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        plugin.on("error", emitted.append)
        server.batch = answer
        with pytest.raises(APIError) as caught:
            await plugin.recognize(tone(0.1), conn_options=QUICK)
    error = caught.value
    assert type(error) is error_type
    assert isinstance(error.body, dict)
    assert error.body["kind"] == kind
    assert error.retryable is retryable
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "secret" not in f"{error} {error!r}"
    assert len(emitted) == 1
    if kind == "rate_limited":
        assert error.body["retry_after_s"] == 7


async def test_nobody_listens() -> None:
    """A refused connection is a connection error."""
    async with ParakeetServer().running() as server:
        plugin = make_stt(server)
    with pytest.raises(APIConnectionError) as caught:
        await plugin.recognize(tone(0.1), conn_options=QUICK)
    assert caught.value.body == {"kind": "refused"}
    await plugin.aclose()


async def test_livekit_retries_a_recognition() -> None:
    """A 503 and then a transcript: one recoverable error, one transcript."""
    answers = [lambda: refusal(503)(None), lambda: web.json_response({"text": "at last"})]
    emitted: list[STTError] = []
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        plugin.on("error", emitted.append)
        server.batch = lambda _: answers.pop(0)()
        event = await plugin.recognize(
            tone(0.1), conn_options=APIConnectOptions(max_retry=1, timeout=5)
        )
    assert event.alternatives[0].text == "at last"
    assert [each.recoverable for each in emitted] == [True]
