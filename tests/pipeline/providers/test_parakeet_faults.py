"""How the Parakeet plugin fails: as livekit's errors, once, with a kind, without the key."""

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    stt,
)
from livekit.agents.stt import STTError
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close as CloseFrame

from harness.pipeline.providers.parakeet.errors import ParakeetEndpoint, closed_error
from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from harness.pipeline.providers.parakeet.wire import MAX_MESSAGE_BYTES
from tests.pipeline.providers.parakeet_client import (
    KEY,
    ONCE,
    collect,
    make_stt,
    next_event,
    push,
    texts,
    until,
)
from tests.pipeline.providers.parakeet_server import (
    FINALIZED,
    Bytes,
    Close,
    Drop,
    ParakeetScript,
    ParakeetServer,
    Say,
    accept_upgrade,
    final,
    interim,
    text_frame,
)

FINAL = stt.SpeechEventType.FINAL_TRANSCRIPT
GOOD = ParakeetScript(on_finalize=((final("good"), FINALIZED),))
QUICK = APIConnectOptions(max_retry=0, timeout=0.3)
RETRY = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=5.0)


def family(error: BaseException) -> list[BaseException]:
    """An error and everything that hangs on it."""
    found: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is not None and each not in found:
            found.append(each)
            queue += [each.__cause__, each.__context__]
    return found


def assert_secret_free(error: BaseException) -> None:
    """Neither the error nor its chain nor its traceback shows the key."""
    for each in family(error):
        shown = f"{each} {each!r} {each.args!r} {vars(each)!r}"
        assert "secret" not in shown
        # livekit itself raises a stream's error while it handles the end of its events.
        assert isinstance(each, APIError | StopAsyncIteration)
    assert "secret" not in "".join(traceback.format_exception(error))


async def failure_of(
    server_url: str, *, options: APIConnectOptions = ONCE, count: int = 5, **settings: Any
) -> tuple[APIError, list[STTError]]:
    """Run one stream that must fail; return its error and the errors it emitted."""
    plugin = ParakeetSTT(api_key=KEY, ws_url=server_url, **settings)
    emitted: list[STTError] = []
    plugin.on("error", emitted.append)
    stream = plugin.stream(conn_options=options)
    with contextlib.suppress(RuntimeError):
        push(stream, count)
        stream.end_input()
    with pytest.raises(APIError) as caught:
        await collect(stream)
    await stream.aclose()
    await plugin.aclose()
    assert_secret_free(caught.value)
    return caught.value, emitted


def kind(error: APIError) -> Any:
    """How an error says that it failed."""
    assert isinstance(error.body, dict)
    return error.body["kind"]


@contextlib.asynccontextmanager
async def raw_server(
    answer: bytes | None, *, upgrade: bool = False, hang: bool = False
) -> AsyncIterator[str]:
    """A TCP server that reads a request, writes bytes and hangs up, or waits."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if upgrade:
                await accept_upgrade(reader, writer)
            else:
                await reader.readuntil(b"\r\n\r\n")
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            if hang:
                await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/audio/stream"
    finally:
        done.set()
        server.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("status", "expected", "retryable"),
    [
        (400, "bad_request", False),
        (401, "unauthorized", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "server_error", True),
        (200, "wrong_type", False),
        (302, "wrong_type", False),
    ],
)
async def test_a_refused_upgrade_is_a_status_error(
    status: int, expected: str, retryable: bool
) -> None:
    """The status is kept, 4xx is final, 429 and 5xx may be tried again, redirects are not taken."""
    script = ParakeetScript(
        status=status,
        body=f'{{"error": "no entry for {KEY}\\nat all"}}',
        headers={"Location": "ws://127.0.0.1:1/elsewhere"} if status == 302 else {},
    )
    async with ParakeetServer(script).running() as server:
        error, emitted = await failure_of(server.ws_url)
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert error.retryable is retryable
    assert kind(error) == expected
    assert "\n" not in error.message
    assert len(emitted) == 1
    assert not emitted[0].recoverable
    assert server.dialled == 1


async def test_retry_after_is_kept_and_told() -> None:
    """After a 429 nobody dials before the server wants it, however eager livekit's retries are."""
    refusal = ParakeetScript(status=429, headers={"Retry-After": "1"})
    async with ParakeetServer(refusal, GOOD).running() as server:
        error, _ = await failure_of(server.ws_url, options=QUICK)
        assert error.body == {"kind": "rate_limited", "retry_after_s": 1}


@pytest.mark.realtime
async def test_the_next_dial_waits_out_retry_after() -> None:
    """Retry-After is ignored by livekit; the plugin waits for it before it dials again."""
    refusal = ParakeetScript(status=429, headers={"Retry-After": "1"})
    async with ParakeetServer(refusal, GOOD).running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=RETRY)
        push(stream, 2)
        stream.end_input()
        started = asyncio.get_running_loop().time()
        assert texts(await collect(stream)) == ["good"]
        assert asyncio.get_running_loop().time() - started >= 0.9
        assert server.dialled == 2
        await stream.aclose()


async def test_a_wait_beyond_the_time_out_fails_at_once() -> None:
    """A rate limit of an hour is not waited for in silence."""
    refusal = ParakeetScript(status=429, headers={"Retry-After": "3600"})
    async with ParakeetServer(refusal, GOOD).running() as server, make_stt(server) as plugin:
        for _ in range(2):
            stream = plugin.stream(conn_options=ONCE)
            with pytest.raises(APIStatusError) as caught:
                await collect(stream)
            assert caught.value.status_code == 429
            await stream.aclose()
        assert server.dialled == 1


async def test_nobody_listens() -> None:
    """A refused TCP connection is a retryable connection error that names the host."""
    async with raw_server(b"") as url:
        pass
    error, _ = await failure_of(url)
    assert isinstance(error, APIConnectionError)
    assert kind(error) == "refused"
    assert "127.0.0.1" in error.message
    assert error.retryable


@pytest.mark.parametrize("answer", [b"HTTP/1.1 101 Switching", None], ids=["half", "nothing"])
async def test_a_silent_upgrade_times_out(answer: bytes | None) -> None:
    """Connecting is bounded by livekit's own time-out."""
    async with raw_server(answer, hang=True) as url:
        error, _ = await failure_of(url, options=QUICK)
    assert isinstance(error, APITimeoutError)
    assert kind(error) == "timeout"


async def test_a_silent_hello_times_out() -> None:
    """So is the hello."""
    async with ParakeetServer(ParakeetScript(hello=())).running() as server:
        error, _ = await failure_of(server.ws_url, options=QUICK)
    assert isinstance(error, APITimeoutError)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "reset"),
        (b"220 smtp.example ESMTP\r\n\r\n", "malformed"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x00\x00", "reset"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "malformed"),
    ],
    ids=["hangs up", "not http", "binary", "no websocket"],
)
async def test_what_is_no_websocket_is_said_to_be_none(answer: bytes, expected: str) -> None:
    """A peer that hangs up or speaks something else ends as an error of livekit's family."""
    async with raw_server(answer) as url:
        error, _ = await failure_of(url)
    assert kind(error) in (expected, "malformed")
    assert error.retryable


@pytest.mark.parametrize(
    "hello",
    [
        Say(message={"status": "busy"}),
        Say(message={"text": "early", "is_final": True}),
        Say(message=["listening"]),  # type: ignore[arg-type]
        Say(message="not json"),
        Bytes(data=b'{"status":"listening"}'),
        Say(message={"error": f"unknown key {KEY}"}),
    ],
    ids=["status", "text", "list", "nonsense", "binary", "error"],
)
async def test_a_wrong_hello_is_an_error(hello: Say | Bytes) -> None:
    """Only {"status": "listening"} is a hello."""
    async with ParakeetServer(ParakeetScript(hello=(hello,))).running() as server:
        error, emitted = await failure_of(server.ws_url)
        assert not server.connections[0].audio
    assert kind(error) in ("malformed", "stream_error")
    assert error.retryable
    assert len(emitted) == 1


@pytest.mark.parametrize(
    ("code", "error_type", "expected", "retryable", "status"),
    [
        (1000, APIConnectionError, "truncated", True, None),
        (1008, APIStatusError, "forbidden", False, 1008),
        (1011, APIStatusError, "server_error", True, 1011),
        (1013, APIStatusError, "server_error", True, 1013),
        (3000, APIStatusError, "unauthorized", False, 3000),
        (4401, APIStatusError, "unauthorized", False, 401),
        (4429, APIStatusError, "rate_limited", True, 429),
        (4503, APIStatusError, "server_error", True, 503),
        (4999, APIConnectionError, "truncated", True, None),
    ],
)
async def test_a_close_before_the_hello_says_why(
    code: int, error_type: type[APIError], expected: str, retryable: bool, status: int | None
) -> None:
    """Close codes are read as their registry and common usage read them; the reason is scrubbed."""
    script = ParakeetScript(hello=(Close(code=code, reason=f"bad {KEY}"),))
    async with ParakeetServer(script).running() as server:
        error, _ = await failure_of(server.ws_url)
    assert type(error) is error_type
    assert kind(error) == expected
    assert error.retryable is retryable
    assert "***" in error.message
    if isinstance(error, APIStatusError):
        assert error.status_code == status


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Say(message="{not json"), "malformed"),
        (Say(message="[1, 2]"), "malformed"),
        (Say(message="[" * 100_000), "malformed"),
        (Say(message={"text": 7, "is_final": True}), "malformed"),
        (Say(message={"text": None, "is_final": True}), "malformed"),
        (Say(message={"text": "x", "is_final": "yes"}), "malformed"),
        (Bytes(data=bytes(range(256))), "malformed"),
        (Bytes(data=b'{"text":"x","is_final":true}'), "malformed"),
        (Say(message={"text": "x" * MAX_MESSAGE_BYTES, "is_final": True}), "malformed"),
        (Say(message={"error": f"model crashed for {KEY}"}), "stream_error"),
        (Close(code=1011, reason="internal"), "server_error"),
        (Close(code=1000), "truncated"),
        (Drop(), "reset"),
    ],
    ids=[
        "broken",
        "list",
        "deep",
        "number",
        "null",
        "flag",
        "binary",
        "binary json",
        "oversized",
        "error",
        "1011",
        "1000",
        "reset",
    ],
)
async def test_nonsense_in_mid_session_surfaces_exactly_once(
    step: Say | Bytes | Close | Drop, expected: str
) -> None:
    """With no retries the consumer gets one error, and one "error" event goes out."""
    script = ParakeetScript(on_finalize=((step,),))
    async with ParakeetServer(script).running() as server:
        error, emitted = await failure_of(server.ws_url)
    assert kind(error) == expected
    assert len(emitted) == 1
    assert not emitted[0].recoverable
    assert emitted[0].error is error


async def test_text_that_is_no_utf8_is_malformed() -> None:
    """Invalid UTF-8 in a text frame does not escape as a UnicodeDecodeError."""
    nonsense = text_frame(b'{"status":"listening"}') + text_frame(b'{"text":"\xff\xfe"}')
    async with raw_server(nonsense, upgrade=True, hang=True) as url:
        error, _ = await failure_of(url)
    assert kind(error) == "malformed"


async def test_frames_that_break_the_protocol_are_malformed() -> None:
    """A reserved opcode is the server's mistake, and says so."""
    async with raw_server(
        text_frame(b'{"status":"listening"}') + b"\x83\x01x", upgrade=True, hang=True
    ) as url:
        error, _ = await failure_of(url)
    assert kind(error) == "malformed"


@pytest.mark.parametrize("drop", [Close(code=1011), Close(code=1012), Drop()])
async def test_after_a_drop_in_mid_session_the_next_turn_works(drop: Close | Drop) -> None:
    """One recoverable error, a new connection, and the stream goes on."""
    bad = ParakeetScript(after_samples={1600: (interim("I was say"), drop)})
    emitted: list[STTError] = []
    async with ParakeetServer(bad, GOOD).running() as server, make_stt(server, finalize=True) as p:
        p.on("error", emitted.append)
        stream = p.stream(conn_options=RETRY)
        push(stream, 5)
        # The interrupted segment is closed, so that nobody waits for its end.
        await next_event(stream, stt.SpeechEventType.END_OF_SPEECH)
        push(stream, 5)
        stream.flush()
        event = await next_event(stream, FINAL)
        assert event.alternatives[0].text == "good"
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        assert server.dialled == 2
        assert server.connections[1].samples == 1600
    assert [each.recoverable for each in emitted] == [True]


async def test_frames_pushed_while_the_connection_is_away_are_sent_later() -> None:
    """What is pushed during livekit's retry delay is not lost."""
    refused = ParakeetScript(status=503)
    async with ParakeetServer(refused, refused, GOOD).running() as server, make_stt(server) as p:
        stream = p.stream(conn_options=RETRY)
        push(stream, 8)
        stream.end_input()
        assert texts(await collect(stream)) == ["good"]
        await stream.aclose()
        assert server.dialled == 3
        assert server.connections[0].samples == 8 * 320


async def test_audio_lost_after_the_end_of_input_is_not_reported_as_success() -> None:
    """A retry could hear nothing any more, so there is none and the stream fails."""
    dropping = ParakeetScript(on_finalize=((Drop(),),))
    async with ParakeetServer(dropping, GOOD).running() as server:
        error, emitted = await failure_of(server.ws_url, options=RETRY)
        assert server.dialled == 1
    assert kind(error) == "reset"
    assert len(emitted) == 1


async def test_retries_end() -> None:
    """A dead server costs max_retry + 1 dials and one unrecoverable error."""
    async with ParakeetServer(ParakeetScript(status=503)).running() as server:
        plugin = make_stt(server)
        emitted: list[STTError] = []
        plugin.on("error", emitted.append)
        stream = plugin.stream(conn_options=RETRY)
        with pytest.raises(APIConnectionError) as caught:
            await collect(stream)
        assert_secret_free(caught.value)
        assert isinstance(caught.value.__cause__, APIStatusError)
        await stream.aclose()
        await plugin.aclose()
        assert server.dialled == 3
    assert [each.recoverable for each in emitted] == [True, True, False]


async def test_a_finalize_without_an_answer_times_out() -> None:
    """The wait for "finalized" is bounded."""
    script = ParakeetScript(on_finalize=((final("words"),),))
    async with ParakeetServer(script).running() as server:
        error, emitted = await failure_of(server.ws_url, finalize_timeout_s=0.1)
    assert isinstance(error, APITimeoutError)
    assert len(emitted) == 1


@pytest.mark.realtime
async def test_an_answered_finalize_is_not_overdue_later() -> None:
    """The answer ends the wait: a stream may be quiet for as long as it likes."""
    async with ParakeetServer(GOOD).running() as server:
        plugin = make_stt(server, finalize=True, finalize_timeout_s=0.15)
        stream = plugin.stream(conn_options=ONCE)
        for _ in range(2):
            push(stream, 10)
            stream.flush()
            await next_event(stream, FINAL)
            await asyncio.sleep(0.3)
        await stream.aclose()
        await plugin.aclose()
        assert server.dialled == 1


async def test_a_server_that_closes_every_new_connection_is_not_dialled_for_ever() -> None:
    """A clean close is forgiven once in a row."""
    script = ParakeetScript(after_samples={320: (Close(code=1000),)})
    async with ParakeetServer(script).running() as server:
        plugin = make_stt(server)
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 1)
        with pytest.raises(APIConnectionError):
            await collect(stream)
        await stream.aclose()
        await plugin.aclose()
        assert server.dialled == 2


async def test_a_clean_close_with_much_audio_unanswered_is_an_error() -> None:
    """More than two seconds are not kept, so their loss is told."""
    script = ParakeetScript(after_samples={150 * 320: (Close(code=1000),)})
    async with ParakeetServer(script).running() as server:
        plugin = make_stt(server)
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 150)
        with pytest.raises(APIConnectionError):
            await collect(stream)
        await stream.aclose()
        await plugin.aclose()
        assert server.dialled == 1


async def test_a_finalize_timeout_of_a_closed_stream_bothers_nobody() -> None:
    """Closing a stream cancels its timers."""
    script = ParakeetScript(on_finalize=((),))
    async with ParakeetServer(script).running() as server, make_stt(server, finalize=True) as p:
        stream = p.stream(conn_options=ONCE)
        push(stream, 2)
        stream.flush()
        await until(lambda: bool(server.connections and server.connections[0].controls))
        await stream.aclose()


async def test_closing_the_plugin_closes_its_streams_and_sockets() -> None:
    """Nothing is left open, and closing twice is harmless."""
    async with ParakeetServer(GOOD).running() as server:
        plugin = make_stt(server)
        streams = [plugin.stream(conn_options=ONCE) for _ in range(3)]
        await until(lambda: server.dialled == 3)
        await plugin.aclose()
        await plugin.aclose()
        for connected in server.connections:
            await asyncio.wait_for(connected.closed.wait(), 5)
        for stream in streams:
            assert await collect(stream) == []


def test_a_close_that_this_end_began_is_read_by_its_cause() -> None:
    """1009 and 1002 sent by us are the server's nonsense, 1011 is a dead peer."""
    endpoint = ParakeetEndpoint(ws_url="ws://host/", api_key=KEY)
    kinds = {}
    for code in (1009, 1002, 1007, 1011):
        ours = CloseFrame(code, "")
        for echo in (None, CloseFrame(code, "")):
            exc = ConnectionClosedError(echo, ours, None if echo is None else False)
            kinds[code, echo is not None] = kind(closed_error(exc, endpoint))
    assert {key: value for key, value in kinds.items() if value != "malformed"} == {
        (1011, False): "timeout",
        (1011, True): "timeout",
    }
