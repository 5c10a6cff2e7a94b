"""What a client takes we can read, and where it was fooled we are not."""

import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx2
import pytest

from harness.domain.request import FailureKind
from harness.domain.timeline import Stage
from harness.pipeline.line.sink import leading_silence
from harness.pipeline.line.wav import wav_header
from harness.pipeline.recording.recording import (
    CURRENT_CALL,
    Call,
    Chunk,
    Exchange,
    stamp,
)
from harness.pipeline.transport.bodies import ChatBody, read_chat, read_speech
from harness.pipeline.transport.decoding import LARGEST_BODY, LONGEST_LINE
from harness.pipeline.transport.events import lines_of
from harness.pipeline.transport.failures import chat_failure, speech_failure
from harness.pipeline.transport.transport import TimedTransport
from harness.pipeline.transport.uploads import read_heard

WORDS = ("Sure, ", "the timer ", "is set.")


def _answered(pieces: Iterable[bytes], content_type: str | None = "text/event-stream") -> Exchange:
    headers = {} if content_type is None else {"content-type": content_type}
    found = Exchange(
        url="http://x/v1", opened=stamp(), headers_at=stamp(), status=200, headers=headers
    )
    found.chunks = [Chunk(stamp(), each) for each in pieces]
    found.ended = stamp()
    return found


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


def _stream(end: bytes = b"\n", finish: str = "stop") -> list[bytes]:
    events = [_event({"content": each}) for each in WORDS] + [_event({}, finish)]
    return [b"data: " + each + end * 2 for each in (*events, b"[DONE]")]


def _good(exchange: Exchange) -> ChatBody:
    body = read_chat(exchange)
    assert chat_failure(exchange, body, str) is None
    assert body.text == "".join(WORDS)
    return body


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_end_of_a_line(end: bytes) -> None:
    """Lines end by CR, LF or both, wherever the pieces are cut."""
    _good(_answered(_stream(end)))
    whole = b"".join(_stream(end))
    _good(_answered([whole[at : at + 1] for at in range(len(whole))]))


@pytest.mark.parametrize(
    "content_type",
    ["Text/Event-Stream; Charset=UTF-8", "text/plain", "application/x-ndjson", None],
)
def test_any_content_type_of_a_stream(content_type: str | None) -> None:
    """A client reads a stream whatever its type says; so do we."""
    _good(_answered(_stream(), content_type))


def test_a_mark_of_byte_order_is_no_text() -> None:
    """One leading mark is dropped, in streams and in transcripts."""
    _good(_answered([b"\xef\xbb\xbf", *_stream()]))
    heard = read_heard(_answered([b'\xef\xbb\xbf{"text": "hello"}'], "application/json"))
    assert (heard.text, heard.malformed) == ("hello", 0)


def test_data_over_several_lines_is_one_event() -> None:
    """The data of an event's lines is joined."""
    lines = json.dumps(json.loads(_event({"content": "Hi."})), indent=1).encode().split(b"\n")
    data = b"".join(b"data: " + each + b"\n" for each in lines)
    body = read_chat(_answered([data + b"\n", b"data: [DONE]\n\n"]))
    assert (body.text, body.malformed) == ("Hi.", 0)


@pytest.mark.parametrize(
    "deltas",
    [
        [{"content": "<think>"}, {"content": "Let me see."}, {"content": "</think>"}],
        [{"content": "<thi"}, {"content": "nk>Let me"}, {"content": " see.</think>"}],
        [{"reasoning_content": "Let me see."}],
        [{"reasoning": "Let me see."}],
        [{"reasoning_details": [{"type": "reasoning.text", "text": "Let me see."}]}],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me"}]}]}],
    ],
)
def test_thoughts_are_reasoning(deltas: list[dict[str, Any]]) -> None:
    """Thoughts are no answer, however a server marks them, and the first text comes after them."""
    thoughts = [b"data: " + _event(each) + b"\n\n" for each in deltas]
    body = _good(_answered([*thoughts, *_stream()]))
    assert any("Let me" in each.reasoning for each in body.deltas)
    assert next(each for each in body.deltas if each.text).text == WORDS[0]


@pytest.mark.parametrize(
    ("pieces", "kind", "words"),
    [
        (
            [b"data: " + _event({"content": each}, "") + b"\n\n" for each in WORDS],
            FailureKind.TRUNCATED,
            "finish reason",
        ),
        (_stream(finish="error"), FailureKind.STREAM_ERROR, "finish reason"),
        (
            [b'data: {"object": "error", "message": "context length is 4096"}\n\n'],
            FailureKind.STREAM_ERROR,
            "context length is 4096",
        ),
        (
            [*_stream()[:2], b'event: error\ndata: {"message": "upstream died"}\n\n'],
            FailureKind.STREAM_ERROR,
            "upstream died",
        ),
        ([b'data: {"detail": "model is loading"}\n\n'], FailureKind.STREAM_ERROR, "is loading"),
        ([b"<html>sign in</html>"], FailureKind.WRONG_TYPE, "text/html"),
    ],
)
def test_where_the_client_is_fooled_we_are_not(
    pieces: list[bytes], kind: FailureKind, words: str
) -> None:
    """What is no whole answer fails, with the server's own words where it has any."""
    html = b"html" in pieces[0]
    exchange = _answered(pieces, "text/html" if html else "text/event-stream")
    failure = chat_failure(exchange, read_chat(exchange), str)
    assert failure is not None
    assert failure.kind is kind
    assert words in failure.message


def test_a_reader_that_left_at_the_error_leaves_its_words() -> None:
    """An error that came in one packet with the first words is told as the server told it."""
    exchange = _answered([_stream()[0] + b'data: {"error": {"message": "overloaded"}}\n\n'])
    exchange.error = GeneratorExit()
    failure = chat_failure(exchange, read_chat(exchange), str)
    assert failure is not None
    assert "overloaded" in failure.message


def _wav(rate: int, channels: int = 1, *, extra: bytes = b"") -> bytes:
    form = b"fmt \x10\0\0\0\x01\0" + channels.to_bytes(2, "little") + rate.to_bytes(4, "little")
    form += (rate * 2 * channels).to_bytes(4, "little") + (2 * channels).to_bytes(2, "little")
    return b"RIFF\xff\xff\xff\xffWAVE" + form + b"\x10\0" + extra + b"data\xff\xff\xff\xff"


@pytest.mark.parametrize("extra", [b"", b"LIST\x05\0\0\0INFO!\0"])
def test_the_header_of_a_wav_is_no_audio(extra: bytes) -> None:
    """However long it is and however it is cut, its bytes are neither counted nor heard."""
    head = _wav(16_000, extra=extra)
    header = wav_header(head)
    assert header is not None
    assert (header.size, header.rate, header.frame) == (len(head), 16_000, 2)
    silence, tone = bytes(2400), b"\0\x40" * 2400
    whole = head + silence + tone
    for step in (7, 4096):
        pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
        body = read_speech(_answered(pieces, "audio/pcm"))
        assert body.size == len(silence + tone)
    assert leading_silence(whole, 24_000) == (len(head) + len(silence)) // 2


@pytest.mark.parametrize("content_type", ["audio/L16;rate=16000", "Audio/PCM; Rate=16000"])
def test_bare_samples_of_another_rate_are_no_success(content_type: str) -> None:
    """They play too fast, which nobody's client notices."""
    exchange = _answered([b"\0\x40" * 2400], content_type)
    failure = speech_failure(exchange, read_speech(exchange), str)
    assert failure is not None
    assert "16000" in failure.message


def test_a_long_line_takes_time_by_its_length() -> None:
    """Each byte is looked at once, so that ten times the line takes some ten times as long."""
    pieces = [b"x" * 65_536] * 512
    began = time.process_time()
    (only,) = lines_of(_answered(pieces))
    assert len(only[1]) == 512 * 65_536
    # Quadratic reading took 76 s of it.
    assert time.process_time() - began < 2


class _Said(httpx2.AsyncBaseTransport):
    """A transport that answers with these pieces."""

    def __init__(self, pieces: Iterable[bytes], headers: dict[str, str]) -> None:
        self._pieces = pieces
        self._headers = headers
        self.asked: httpx2.Request | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked = request
        pieces = self._pieces

        class Stream(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                for each in pieces:
                    yield each

        return httpx2.Response(200, headers=self._headers, stream=Stream())


async def _asked(pieces: Iterable[bytes], headers: dict[str, str]) -> tuple[Exchange, bytes, _Said]:
    call = Call(stage=Stage.LLM, index=0, opened=stamp())
    token = CURRENT_CALL.set(call)
    said = _Said(pieces, headers)
    read = b""
    try:
        async with (
            httpx2.AsyncClient(transport=TimedTransport(said)) as client,
            client.stream("POST", "http://x/v1") as response,
        ):
            async for piece in response.aiter_bytes():
                read += piece
    except Exception as error:  # noqa: BLE001  (what the agent would see)
        call.exchanges[-1].error = call.exchanges[-1].error or error
    finally:
        CURRENT_CALL.reset(token)
    return call.exchanges[-1], read, said


def _bare(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("encoding", "squeeze"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:])),
        ("deflate", zlib.compress),
        ("deflate", _bare),
    ],
)
async def test_compressed_answers_are_read_and_not_asked_for(
    encoding: str, squeeze: Callable[[bytes], bytes]
) -> None:
    """The agent and we read the same bytes, and compression is declined."""
    whole = b"".join(_stream())
    data = squeeze(whole)
    pieces = [data[at : at + 11] for at in range(0, len(data), 11)]
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    exchange, read, said = await _asked(pieces, headers)
    assert read == whole
    assert exchange.received == len(data)
    _good(exchange)
    assert said.asked is not None
    assert said.asked.headers["accept-encoding"] == "identity"


async def test_a_compressed_answer_that_breaks_off_is_truncated() -> None:
    """A client takes what it had for the whole; we do not."""
    data = gzip.compress(b"".join(_stream()))[:-9]
    exchange, _, _ = await _asked([data], {"content-encoding": "gzip"})
    failure = chat_failure(exchange, read_chat(exchange), str)
    assert failure is not None
    assert failure.kind is FailureKind.TRUNCATED


@pytest.mark.parametrize(
    ("pieces", "headers", "words"),
    [
        (
            [gzip.compress(bytes(LARGEST_BODY + 1))],
            {"content-encoding": "gzip"},
            "has more than 64 MiB",
        ),
        ([bytes(1 << 20)] * 80, {"content-type": "audio/pcm"}, "has more than 64 MiB"),
        (
            [b"data: "] + [b"x" * (1 << 20)] * (1 + (LONGEST_LINE >> 20)),
            {"content-type": "text/event-stream"},
            "a line of the answer",
        ),
        ([b"plain"], {"content-encoding": "gzip"}, "could not be read"),
    ],
)
async def test_an_answer_has_bounds(
    pieces: list[bytes], headers: dict[str, str], words: str
) -> None:
    """What would fill the memory ends with a sentence, and little more than the bound is kept."""
    exchange, read, _ = await _asked(pieces, headers)
    failure = chat_failure(exchange, read_chat(exchange), str)
    assert failure is not None
    assert failure.kind is FailureKind.MALFORMED
    assert words in failure.message
    assert len(read) <= LARGEST_BODY
