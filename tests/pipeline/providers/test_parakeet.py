"""The Parakeet plugin's streams: events, connections, what is sent and when."""

import asyncio
import logging
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.agents import APIConnectOptions, stt
from livekit.agents.metrics import STTMetrics

from harness.clock import Work
from harness.errors import ConfigurationError
from harness.pipeline.providers.parakeet.segments import EnergyOnset
from harness.pipeline.providers.parakeet.stt import ParakeetSTT
from harness.pipeline.providers.parakeet.wire import FINALIZE, environment_proxy
from harness.pipeline.recording.observer import SendLog, SttRecorder
from tests.pipeline.providers.parakeet_client import (
    KEY,
    ONCE,
    collect,
    frames,
    make_stt,
    next_event,
    push,
    texts,
    tone,
    types,
    until,
)
from tests.pipeline.providers.parakeet_server import (
    FINALIZED,
    Close,
    ParakeetScript,
    ParakeetServer,
    Say,
    Wait,
    accept_upgrade,
    final,
    interim,
    text_frame,
)

FINAL = stt.SpeechEventType.FINAL_TRANSCRIPT
END = stt.SpeechEventType.END_OF_SPEECH
SEGMENT = ["start_of_speech", "final_transcript", "end_of_speech", "recognition_usage"]


async def test_a_segment_has_its_events_in_the_order_that_livekit_commits_on() -> None:
    """START, interims, FINAL, END, USAGE: END_OF_SPEECH follows the FINAL_TRANSCRIPT."""
    script = ParakeetScript(
        after_samples={3200: (interim("hel"), interim("hello"), final("hello there"))}
    )
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        stream.end_input()
        events = await collect(stream)
        assert types(events) == [
            "start_of_speech",
            "interim_transcript",
            "interim_transcript",
            "final_transcript",
            "end_of_speech",
            "recognition_usage",
        ]
        assert len({event.request_id for event in events}) == 1
        usage = events[-1].recognition_usage
        assert usage is not None
        assert usage.audio_duration == pytest.approx(0.2)
        await stream.aclose()


async def test_every_metered_second_was_sent_and_livekit_counts_it() -> None:
    """RECOGNITION_USAGE adds up to the audio sent, and becomes livekit's STTMetrics."""
    script = ParakeetScript(
        after_samples={3200: (final("one"),), 9600: (final("two"),)},
        on_finalize=((final("three"), FINALIZED),),
    )
    seen: list[STTMetrics] = []
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        plugin.on("metrics_collected", seen.append)
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        await next_event(stream, FINAL)
        push(stream, 25)
        await next_event(stream, FINAL)
        stream.end_input()
        rest = await collect(stream)
        assert texts(rest) == ["three"]
        await stream.aclose()
        assert server.connections[0].samples == 35 * 320
    assert sum(each.audio_duration for each in seen) == pytest.approx(35 * 0.02)
    acquired = [each for each in seen if each.acquire_time]
    assert [each.connection_reused for each in acquired] == [False]


async def test_a_flush_finalizes_and_the_stream_goes_on() -> None:
    """Turn after turn over one connection: flush, finalize, final, more audio."""
    script = ParakeetScript(
        on_finalize=tuple((final(f"turn {n}"), FINALIZED) for n in range(4)),
    )
    recorder = SttRecorder()
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, finalize=True, observer=recorder) as plugin,
    ):
        assert plugin.capabilities.manual_flush
        stream = plugin.stream(conn_options=ONCE)
        for turn in range(3):
            push(stream, 5)
            stream.flush()
            push(stream, 2)
            event = await next_event(stream, FINAL)
            assert event.alternatives[0].text == f"turn {turn}"
            await next_event(stream, END)
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        assert len(server.connections) == 1
        assert server.connections[0].controls == [FINALIZE] * 4
        assert server.connections[0].samples == 21 * 320
    assert len(recorder.finalizes) == len(recorder.finalized_ns) == 4


async def test_audio_flows_while_a_finalize_is_unanswered() -> None:
    """A finalize does not stop the sending: the server has the later audio before it answers."""
    script = ParakeetScript(
        after_samples={20 * 320: (final("late answer"), FINALIZED)}, on_finalize=((), (FINALIZED,))
    )
    async with ParakeetServer(script).running() as server, make_stt(server, finalize=True) as p:
        stream = p.stream(conn_options=ONCE)
        push(stream, 5)
        stream.flush()
        push(stream, 15)
        event = await next_event(stream, FINAL)
        assert event.alternatives[0].text == "late answer"
        stream.end_input()
        await collect(stream)
        await stream.aclose()


async def test_without_finalize_a_flush_is_silent_but_the_end_of_input_is_not() -> None:
    """The capability is off by default; the last words are still asked for at the end."""
    script = ParakeetScript(on_finalize=((final("the end"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        assert not plugin.capabilities.manual_flush
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 5)
        stream.flush()
        push(stream, 5)
        stream.flush()
        stream.end_input()
        assert texts(await collect(stream)) == ["the end"]
        await stream.aclose()
        assert server.connections[0].controls == [FINALIZE]


async def test_a_stream_without_audio_ends_at_once() -> None:
    """Nothing was sent, so nothing is owed."""
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        stream.end_input()
        assert await collect(stream) == []
        await stream.aclose()


async def test_the_language_is_the_callers() -> None:
    """The plugin's language labels a transcript, a stream's own language comes first."""
    script = ParakeetScript(on_finalize=((final("hallo"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server, language="de") as p:
        for asked, expected in (({}, "de"), ({"language": "nl"}, "nl")):
            stream = p.stream(conn_options=ONCE, **asked)
            push(stream, 2)
            stream.end_input()
            events = await collect(stream)
            heard = next(event for event in events if event.type is FINAL)
            assert heard.alternatives[0].language == expected
            await stream.aclose()


async def test_an_empty_final_is_no_transcript_but_ends_the_segment() -> None:
    """Silence never reaches the agent as text; an open segment is closed by it."""
    script = ParakeetScript(
        after_samples={1600: (final(""),), 3200: (interim("um"), final("  "))},
        on_finalize=((final(""), FINALIZED),),
    )
    recorder = SttRecorder()
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, observer=recorder) as plugin,
    ):
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        stream.end_input()
        events = await collect(stream)
        await stream.aclose()
    kinds = [kind for kind in types(events) if kind != "recognition_usage"]
    assert kinds == ["start_of_speech", "interim_transcript", "end_of_speech"]
    assert recorder.finals == []
    assert [drop.reason for drop in recorder.dropped] == ["empty"] * 3


async def test_a_repeated_final_is_dropped_and_told() -> None:
    """The same text with no audio in between is one transcript; the observer hears of both."""
    script = ParakeetScript(after_samples={3200: (final("yes"), final("yes"), final("yes"))})
    recorder = SttRecorder()
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, observer=recorder) as plugin,
    ):
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        stream.end_input()
        assert texts(await collect(stream)) == ["yes"]
        await stream.aclose()
    assert [drop.reason for drop in recorder.dropped] == ["duplicate"] * 2


async def test_the_same_words_after_new_audio_are_said_again() -> None:
    """A second "yes" after a tenth of a second of audio is another segment."""
    script = ParakeetScript(after_samples={3200: (final("yes"),), 6400: (final("yes"),)})
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        await next_event(stream, FINAL)
        push(stream, 10)
        await next_event(stream, FINAL)
        stream.end_input()
        await collect(stream)
        await stream.aclose()


async def test_late_extra_finals_are_segments_of_their_own() -> None:
    """A final after "finalized" is not lost: it opens and ends a segment."""
    script = ParakeetScript(
        on_finalize=((final("first"), FINALIZED, final("second")), (FINALIZED,))
    )
    async with ParakeetServer(script).running() as server, make_stt(server, finalize=True) as p:
        stream = p.stream(conn_options=ONCE)
        push(stream, 5)
        stream.flush()
        events = [await asyncio.wait_for(anext(stream), 5) for _ in range(7)]
        assert types(events) == [*SEGMENT, *SEGMENT[:3]]
        assert texts(events) == ["first", "second"]
        assert events[1].request_id != events[5].request_id
        await stream.aclose()


async def test_unknown_messages_are_let_pass() -> None:
    """A server may say more than we know of."""
    script = ParakeetScript(
        hello=(Say(message={"status": "listening", "session": 7}),),
        on_finalize=(
            (
                Say(message={"status": "processing"}),
                Say(message={"vad": {"speech": True}}),
                Say(message={}),
                final("still here"),
                FINALIZED,
            ),
        ),
    )
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 2)
        stream.end_input()
        assert texts(await collect(stream)) == ["still here"]
        await stream.aclose()


async def test_streams_share_a_connection_one_after_the_other() -> None:
    """Five streams, one connection: opened once, handed on when the server owes nothing."""
    script = ParakeetScript(on_finalize=((final("ok"), FINALIZED),))
    recorder = SttRecorder()
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, observer=recorder) as plugin,
    ):
        for _ in range(5):
            stream = plugin.stream(conn_options=ONCE)
            push(stream, 3)
            stream.end_input()
            assert texts(await collect(stream)) == ["ok"]
            await stream.aclose()
        assert server.dialled == 1
    assert [each.reused for each in recorder.connections] == [False, True, True, True, True]
    opened, kept = recorder.connections[:2]
    assert opened.connect_ns is not None
    assert opened.tcp_rtt_ns is not None
    assert 0 < opened.tcp_rtt_ns <= opened.connect_ns
    assert opened.hello_ns is not None
    assert opened.hello_ns > 0
    assert opened.tls_ns is None
    assert (kept.connect_ns, kept.hello_ns, kept.tcp_rtt_ns) == (None, None, None)


async def test_what_a_stream_leaves_unfinished_never_reaches_the_next() -> None:
    """A stream closed in mid-speech is settled: its late final is thrown away, its socket kept."""
    script = ParakeetScript(
        on_finalize=((final("words of the first"), FINALIZED), (final("second"), FINALIZED))
    )
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        first = plugin.stream(conn_options=ONCE)
        push(first, 5)
        await until(lambda: bool(server.connections) and server.connections[0].samples == 5 * 320)
        await first.aclose()
        second = plugin.stream(conn_options=ONCE)
        push(second, 5)
        second.end_input()
        assert texts(await collect(second)) == ["second"]
        await second.aclose()
        assert server.dialled == 1


async def test_every_answer_that_is_owed_is_awaited_before_a_connection_is_handed_on() -> None:
    """A finalize of the first stream, answered late, costs the second stream no stray text."""
    script = ParakeetScript(
        after_samples={10 * 320: (final("mine"),)},
        on_finalize=tuple((Wait(seconds=0.02), final(f"{n}"), FINALIZED) for n in range(3)),
    )
    async with ParakeetServer(script).running() as server, make_stt(server, finalize=True) as p:
        first = p.stream(conn_options=ONCE)
        push(first, 5)
        first.flush()
        await until(lambda: bool(server.connections) and bool(server.connections[0].controls))
        await first.aclose()
        second = p.stream(conn_options=ONCE)
        push(second, 5)
        second.end_input()
        assert texts(await collect(second)) == ["mine", "2"]
        await second.aclose()
        assert server.dialled == 1
        assert server.connections[0].controls == [FINALIZE] * 3


async def test_a_connection_with_an_unread_text_is_not_handed_on() -> None:
    """A final that arrives while the socket is idle belongs to nobody."""
    script = ParakeetScript(on_finalize=((FINALIZED, final("stray")),))
    fresh = ParakeetScript(on_finalize=((final("fresh"), FINALIZED),))
    async with ParakeetServer(script, fresh).running() as server, make_stt(server) as plugin:
        first = plugin.stream(conn_options=ONCE)
        push(first, 2)
        first.end_input()
        await collect(first)
        await first.aclose()
        await until(lambda: plugin.pool._idle[0].waiting == 1)
        second = plugin.stream(conn_options=ONCE)
        push(second, 2)
        second.end_input()
        assert texts(await collect(second)) == ["fresh"]
        await second.aclose()
        assert server.dialled == 2


async def test_two_streams_at_once_have_a_connection_each() -> None:
    """A connection serves one stream at a time, and both are kept afterwards."""
    script = ParakeetScript(on_finalize=((final("ok"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        streams = [plugin.stream(conn_options=ONCE) for _ in range(2)]
        for stream in streams:
            push(stream, 3)
            stream.end_input()
        heard = await asyncio.gather(*(collect(stream) for stream in streams))
        assert [texts(events) for events in heard] == [["ok"], ["ok"]]
        await asyncio.gather(*(stream.aclose() for stream in streams))
        assert server.dialled == 2
        assert plugin.pool.idle == 2


async def test_a_connection_dropped_between_streams_is_opened_again_without_an_error() -> None:
    """An idle socket that the server has closed costs the next stream a connect, nothing more."""
    script = ParakeetScript(on_finalize=((final("ok"), FINALIZED),))
    errors: list[object] = []
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        plugin.on("error", errors.append)
        for code in (1000, 1011, None):
            stream = plugin.stream(conn_options=ONCE)
            push(stream, 3)
            stream.end_input()
            assert texts(await collect(stream)) == ["ok"]
            await stream.aclose()
            await server.close_all(code)
            await asyncio.wait_for(server.connections[-1].closed.wait(), 5)
            await until(lambda: not plugin.pool._idle[-1].healthy)
        assert server.dialled == 3
    assert errors == []


async def test_a_server_that_closes_after_each_finalize_is_served_all_the_same() -> None:
    """A clean close with little audio unanswered: that audio goes to the next connection."""
    script = ParakeetScript(on_finalize=((final("turn"), FINALIZED, Close(code=1000)),))
    errors: list[object] = []
    async with ParakeetServer(script).running() as server, make_stt(server, finalize=True) as p:
        p.on("error", errors.append)
        stream = p.stream(conn_options=ONCE)
        for turn in range(3):
            push(stream, 5)
            stream.flush()
            push(stream, 3)
            await next_event(stream, FINAL)
            await asyncio.wait_for(server.connections[turn].closed.wait(), 5)
        await stream.aclose()
        assert server.dialled >= 3
        # What followed the first flush went out twice, because the first server hung up on it.
        assert server.connections[1].samples == 8 * 320
    assert errors == []


async def test_prewarm_opens_the_connection_that_the_first_stream_takes() -> None:
    """A prewarm and a stream right after it make one connection, not two."""
    script = ParakeetScript(on_finalize=((final("ok"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        plugin.prewarm()
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 2)
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        assert server.dialled == 1


async def test_frames_pushed_before_the_hello_are_sent_after_it() -> None:
    """Nothing is sent before the server listens, and nothing is lost."""
    script = ParakeetScript(before_hello_s=0.05, on_finalize=((final("all"), FINALIZED),))
    async with ParakeetServer(script).running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        sent = frames(10)
        for frame in sent:
            stream.push_frame(frame)
        stream.end_input()
        assert texts(await collect(stream)) == ["all"]
        await stream.aclose()
        assert bytes(server.connections[0].audio) == b"".join(bytes(f.data) for f in sent)


async def test_frames_go_out_as_they_come() -> None:
    """A 20 ms frame is a message of its own: no batching."""
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 12)
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        assert [size for _, size in server.connections[0].arrivals] == [640] * 12


async def test_no_compression_is_offered() -> None:
    """permessage-deflate doubles a client's work on audio, so it is not even offered."""
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        assert "Sec-WebSocket-Extensions" not in server.connections[0].headers


async def test_channels_are_averaged() -> None:
    """Stereo is not taken for twice the length of mono."""
    async with ParakeetServer().running() as server, make_stt(server) as plugin:
        stream = plugin.stream(conn_options=ONCE)
        stereo = tone(0.1, channels=2)
        stream.push_frame(stereo)
        stream.end_input()
        await collect(stream)
        await stream.aclose()
        expected = np.frombuffer(stereo.data, dtype=np.int16)[::2]
        assert np.array_equal(np.frombuffer(server.connections[0].audio, np.int16), expected)


async def test_a_stream_resamples_without_aliasing() -> None:
    """10 kHz at 48 kHz cannot exist at 16 kHz; 1 kHz passes."""
    async with ParakeetServer().running() as server, make_stt(server, max_idle=0) as plugin:
        for hertz in (10_000.0, 1_000.0):
            stream = plugin.stream(conn_options=ONCE)
            stream.push_frame(tone(1.0, hertz=hertz, rate=48_000))
            stream.end_input()
            await collect(stream)
            await stream.aclose()
    high, low = (
        float(np.sqrt(np.mean(np.frombuffer(c.audio, np.int16).astype(float)[800:-800] ** 2)))
        for c in server.connections
    )
    assert high < 0.01 * low
    assert low == pytest.approx(8_000 / 2**0.5, rel=0.02)


async def test_the_observer_can_join_transcripts_with_messages() -> None:
    """A transcript's stamp is its message's, taken at the socket after the server sent it."""
    script = ParakeetScript(after_samples={3200: (interim("he"), final("hello"))})
    recorder = SttRecorder()
    async with (
        ParakeetServer(script).running() as server,
        make_stt(server, observer=recorder) as plugin,
    ):
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 10)
        stream.end_input()
        events = await collect(stream)
        at_ns = time.perf_counter_ns()
        await stream.aclose()
    truth = [sent_ns for sent_ns, message in server.connections[0].sent if "text" in message]
    heard = next(event for event in events if event.type is FINAL)
    stamp = (heard.alternatives[0].metadata or {})["received_ns"]
    assert recorder.finals == [(stamp, "hello")]
    assert recorder.interims[0].text == "he"
    assert stamp in [message.received_ns for message in recorder.messages]
    assert truth[1] < stamp < at_ns
    assert recorder.interims[0].received_ns <= stamp
    assert sum(message.size for message in recorder.messages) > 0


async def test_a_fragmented_message_has_the_stamp_of_its_last_fragment() -> None:
    """Message and stamp stay together through fragments and several messages in one read."""
    whole = b'{"text":"in pieces","is_final":true}'
    pieces = [
        bytes([0x01, 10]) + whole[:10],
        bytes([0x80, len(whole) - 10]) + whole[10:],
    ]
    last_ns = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal last_ns
        await accept_upgrade(reader, writer)
        writer.write(text_frame(b'{"status":"listening"}') + pieces[0])
        await reader.readexactly(4)
        await asyncio.sleep(0.03)
        last_ns = time.perf_counter_ns()
        writer.write(pieces[1] + text_frame(b'{"status":"finalized"}'))
        await reader.read(1 << 16)
        await reader.read(1 << 16)
        writer.close()

    recorder = SttRecorder()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        plugin = ParakeetSTT(
            api_key=KEY, ws_url=f"ws://127.0.0.1:{port}/", observer=recorder, finalize=True
        )
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 1)
        event = await next_event(stream, FINAL)
        assert event.alternatives[0].text == "in pieces"
        assert recorder.finals[0].received_ns > last_ns
        await stream.aclose()
        await plugin.aclose()


async def test_the_harness_learns_when_a_sample_was_handed_to_the_socket() -> None:
    """``sent_at`` gives the frame that holds the sample, and None before it is sent."""
    recorder = SttRecorder()
    async with (
        ParakeetServer().running() as server,
        make_stt(server, observer=recorder) as plugin,
    ):
        before_ns = time.perf_counter_ns()
        stream = plugin.stream(conn_options=ONCE)
        push(stream, 3)
        stream.end_input()
        await collect(stream)
        after_ns = time.perf_counter_ns()
        await stream.aclose()
    instants = [recorder.sent_at(k) for k in (0, 319, 320, 639, 640, 959)]
    assert instants[0] == instants[1]
    assert instants[2] == instants[3]
    assert all(t is not None and before_ns < t < after_ns for t in instants)
    assert instants == sorted(t for t in instants if t is not None)
    assert recorder.sent_at(960) is None
    assert recorder.log.samples == 960


@given(st.lists(st.integers(min_value=1, max_value=2_000), max_size=40), st.data())
def test_the_send_log_finds_the_frame_of_every_sample(
    sizes: list[int], data: st.DataObject
) -> None:
    """A sample belongs to the frame that begins at or before it and ends after it."""
    log = SendLog()
    end = 0
    owner: list[int] = []
    for number, size in enumerate(sizes):
        end += size
        owner += [number] * size
        log.append(number, Work(0, 0), end)
    assert log.sent_at(end) is None
    if owner:
        sample = data.draw(st.integers(min_value=0, max_value=end - 1))
        assert log.sent_at(sample) == owner[sample]
    with pytest.raises(ValueError, match="negative"):
        log.sent_at(-1)


@pytest.mark.realtime
async def test_loudness_may_open_a_segment_before_any_text() -> None:
    """START_OF_SPEECH comes with the voice, and quiet closes what has no text."""
    script = ParakeetScript(on_finalize=((Wait(seconds=0.05), final("spoken"), FINALIZED),))
    onset = EnergyOnset(threshold_dbfs=-40.0, after_s=0.06, release_s=0.5)
    async with ParakeetServer(script).running() as server, make_stt(server, onset=onset) as p:
        stream = p.stream(conn_options=ONCE)
        for frame in [*frames(10, amplitude=0), *frames(10), *frames(30, amplitude=0)]:
            stream.push_frame(frame)
        assert types([await anext(stream), await anext(stream)]) == [
            "start_of_speech",
            "end_of_speech",
        ]
        push(stream, 10)
        assert types([await asyncio.wait_for(anext(stream), 5)]) == ["start_of_speech"]
        stream.end_input()
        kinds = types(await collect(stream))
        assert kinds == ["final_transcript", "end_of_speech", "recognition_usage"]
        await stream.aclose()


async def test_the_token_can_travel_in_a_header() -> None:
    """With key_in="header" no access log sees it; by default it is in the documented place."""
    async with ParakeetServer().running() as server:
        for key_in in ("query", "header"):
            async with make_stt(server, key_in=key_in) as plugin:
                stream = plugin.stream(conn_options=ONCE)
                stream.end_input()
                await collect(stream)
                await stream.aclose()
        query, header = server.connections
    assert query.path.endswith("?token=sk-cv-very%2Bsecret%2Fkey")
    assert "Authorization" not in query.headers
    assert "token" not in header.path
    assert header.headers["Authorization"] == f"Bearer {KEY}"


async def test_the_token_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Not even with every logger at DEBUG, websockets' own included."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.DEBUG)
    script = ParakeetScript(on_finalize=((final("ok"), FINALIZED),))
    async with ParakeetServer(script).running() as server:
        for key_in in ("query", "header"):
            async with make_stt(server, key_in=key_in) as plugin:
                stream = plugin.stream(conn_options=APIConnectOptions(max_retry=0))
                push(stream, 2)
                stream.end_input()
                await collect(stream)
                await stream.aclose()
                shown = f"{plugin!r} {plugin.endpoint!r} {plugin.label} {plugin.provider}"
                assert "secret" not in shown
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "key", "problem"),
    [
        ("http://host/x", KEY, "no ws:// or wss://"),
        ("ws://", KEY, "no ws:// or wss://"),
        ("ws://host:99999/", KEY, "no ws:// or wss://"),
        ("wss://host/x?token=sk-cv-very-secret", KEY, "put the token into"),
        ("wss://user:secret@host/x", KEY, "a user name"),
        ("wss://host/x", "", "empty"),
        ("wss://host/x", "secret key", "blanks"),
        ("wss://host/x", "secret\r\nX: y", "blanks"),
        ("wss://host/x", "sëcret", "non-ASCII"),
    ],
)
def test_what_cannot_be_dialled_is_refused_by_name(url: str, key: str, problem: str) -> None:
    """One line names the variable and the mend, without the secret."""
    with pytest.raises(ConfigurationError) as caught:
        ParakeetSTT(api_key=key, ws_url=url)
    assert problem in str(caught.value)
    assert "PARAKEET_" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_proxy_is_used_only_if_the_environment_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without variables there is none; no_proxy and loopback are respected."""
    for name in ("http", "https", "ws", "wss", "socks", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    assert environment_proxy("wss://edge.example/x") is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert environment_proxy("wss://edge.example/x") == "http://proxy.example:3128"
    for loopback in ("ws://127.0.0.1:1/x", "ws://localhost/x", "wss://[::1]/x"):
        assert environment_proxy(loopback) is None
    monkeypatch.setenv("no_proxy", "edge.example")
    assert environment_proxy("wss://edge.example/x") is None


def test_numbers_out_of_range_are_refused_together() -> None:
    """All mistakes are reported at once."""
    with pytest.raises(ConfigurationError) as caught:
        ParakeetSTT(api_key=KEY, sample_rate=100, language="", max_idle=-1, finalize_timeout_s=0.0)
    assert len(caught.value.problems) == 4
