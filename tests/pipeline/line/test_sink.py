"""The caller's ear: what is a reply, and when it begins to sound."""

from livekit import rtc

from harness.pipeline.line.sink import PlayoutClock

RATE = 24_000
_MS = 1_000_000


def _frame(ms: int, *, loud: bool) -> rtc.AudioFrame:
    samples = RATE * ms // 1000
    data = (b"\0\x40" if loud else b"\0\0") * samples
    return rtc.AudioFrame(data, RATE, 1, samples)


async def test_what_began_before_the_caller_spoke_is_no_reply() -> None:
    """However long a greeting goes on, it is told apart, and the next speech is the reply."""
    sink = PlayoutClock()
    await sink.capture_frame(_frame(10, loud=False))
    await sink.capture_frame(_frame(10, loud=True))
    begun = sink.started_ns
    assert begun is not None
    sink.listens_from_ns = begun + 1
    await sink.capture_frame(_frame(10, loud=True))
    assert (sink.started_ns, sink.audible_ns, sink.reply()) == (None, None, None)
    assert sink.greeted_ns == begun + 10 * _MS
    sink.flush()
    await sink.capture_frame(_frame(10, loud=True))
    reply = sink.reply()
    assert reply is not None
    assert reply.samples == RATE // 100
    assert sink.started_ns is not None
    assert sink.started_ns >= sink.listens_from_ns
    assert sink.greeted_ns == begun + 10 * _MS
    await sink.aclose()


async def test_silence_before_the_reply_is_not_its_sound() -> None:
    """The first audible sample is known as soon as it came, and not before."""
    sink = PlayoutClock()
    await sink.capture_frame(_frame(300, loud=False))
    assert [sink.audible_ns] == [None]
    await sink.capture_frame(_frame(20, loud=True))
    assert sink.started_ns is not None
    assert sink.audible_ns == sink.started_ns + 300 * _MS
    reply = sink.reply()
    assert reply is not None
    assert reply.leading_silence == RATE * 300 // 1000
    await sink.aclose()


async def test_who_begins_anew_has_heard_nothing() -> None:
    """What was heard out leaves no sample, and no interruption."""
    sink = PlayoutClock()
    await sink.capture_frame(_frame(20, loud=True))
    sink.clear_buffer()
    sink.forget()
    assert (sink.started_ns, sink.reply(), sink.stopped) == (None, None, None)
    assert not sink.playing
    assert not sink.interrupted
    assert not sink.pcm()
