"""The stored form of a trial: exact, and readable by other versions."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clock import Work
from harness.domain.reply import PlayoutSegment, Reply
from harness.domain.request import (
    Arrival,
    Attempt,
    Cause,
    Connection,
    Failure,
    FailureKind,
    Idle,
    Request,
    Transcript,
    TranscriptKind,
    Wait,
    WaitCause,
)
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Health, Stall, Trial, TrialKey, Turn
from harness.store.runs.decode import WireError, decode_trial
from harness.store.runs.encode import FORMAT_VERSION, encode_trial

instants = st.integers(0, 2**62)
counts = st.integers(0, 2**40)
# Whatever a provider may send, line ends, quotes and lone surrogates included.
texts = st.text(max_size=20)
maybe = st.none() | instants
keys = st.builds(
    TrialKey,
    candidate=texts,
    utterance=texts,
    repeat=counts,
    order=counts,
    warmup=st.booleans(),
    attempt=st.integers(0, 2),
)
works = st.builds(Work, instants, instants)
failures = st.builds(
    Failure,
    stage=st.sampled_from(Stage),
    kind=st.sampled_from(FailureKind),
    message=texts,
    status=st.none() | st.integers(100, 4999),
)
# One mark at a time breaks no order.
marks = st.dictionaries(st.sampled_from(Mark), instants, max_size=1)
idles = st.tuples(st.integers(0, 10**15), st.integers(0, 10**9)).map(
    lambda each: Idle(start_ns=each[0], end_ns=each[0] + each[1])
)
waits = st.builds(
    lambda cause, start, length: Wait(cause=cause, start_ns=start, end_ns=start + length),
    st.sampled_from(WaitCause),
    instants,
    counts,
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
facts = st.dictionaries(
    texts, scalars | st.dictionaries(texts, scalars, max_size=2) | st.lists(scalars, max_size=2)
)
connections = st.builds(Connection, reused=st.booleans(), rtt_ns=maybe, path_rtt_ns=maybe)
attempts = st.builds(
    lambda number, start, length, **rest: Attempt(
        number=number,
        start_ns=start,
        end_ns=None if length is None else start + length,
        **rest,
    ),
    counts,
    instants,
    st.none() | counts,
    marks=marks,
    failure=st.none() | failures,
    connection=st.none() | connections,
    facts=facts,
)
requests = st.builds(
    Request,
    id=texts,
    stage=st.sampled_from(Stage),
    cause=st.sampled_from(Cause),
    cancelled=st.booleans(),
    text=texts,
    marks=marks,
    work=st.dictionaries(st.sampled_from(Mark), works, max_size=2),
    arrivals=st.lists(
        st.builds(Arrival, received_ns=maybe, at_ns=maybe, text=texts, size=counts), max_size=3
    ).map(tuple),
    waits=st.lists(waits, max_size=2).map(tuple),
    connection=st.none() | connections,
    facts=facts,
    failure=st.none() | failures,
    attempts=st.lists(attempts, max_size=2).map(tuple),
)
replies = st.builds(
    Reply,
    sample_rate=st.integers(8000, 48000),
    samples=counts,
    segments=st.lists(
        st.builds(PlayoutSegment, start_ns=instants, offset=counts, samples=counts), max_size=3
    ).map(tuple),
    leading_silence=counts,
    interrupted=st.booleans(),
    audio=st.none() | texts,
)


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    """Draw a legal turn."""
    found = draw(st.lists(requests, max_size=3, unique_by=lambda each: each.id))
    ids = [each.id for each in found]
    return Turn(
        index=draw(counts),
        utterance=draw(texts),
        marks=draw(marks),
        work=draw(st.dictionaries(st.sampled_from(Mark), works, max_size=2)),
        transcripts=tuple(
            draw(
                st.lists(
                    st.builds(
                        Transcript,
                        kind=st.sampled_from(TranscriptKind),
                        text=texts,
                        at_ns=instants,
                        received_ns=maybe,
                        late=st.booleans(),
                    ),
                    max_size=3,
                )
            )
        ),
        requests=tuple(found),
        audible_request=draw(st.none() | st.sampled_from(ids)) if ids else None,
        waits=tuple(draw(st.lists(waits, max_size=2))),
        idle=tuple(draw(st.lists(idles, max_size=2))),
        reply=draw(st.none() | replies),
        reported=draw(st.dictionaries(texts, st.floats(allow_nan=False), max_size=3)),
    )


healths = st.builds(
    Health,
    frames=counts,
    lateness_p50_ns=instants,
    lateness_p99_ns=instants,
    lateness_max_ns=instants,
    late_frames=counts,
    loop_lag_p99_ns=instants,
    loop_lag_max_ns=instants,
    stalls=st.lists(st.builds(Stall, start_ns=instants, end_ns=instants), max_size=2).map(tuple),
)
common: dict[str, Any] = {
    "key": keys,
    "driver": texts,
    "started_ns": instants,
    "ended_ns": instants,
    "health": st.none() | healths,
    "cold": st.booleans(),
    "emulated": st.none() | st.frozensets(st.sampled_from(Stage)),
}
trials = st.builds(Trial, turns=st.lists(turns(), min_size=1, max_size=2).map(tuple), **common)
failed = st.builds(
    FailedTrial, failure=failures, turns=st.lists(turns(), max_size=1).map(tuple), **common
)


@settings(max_examples=300, deadline=None)
@given(trials | failed)
def test_round_trip(trial: Trial | FailedTrial) -> None:
    """A trial that is written and read again is equal, to the nanosecond and the character."""
    line = encode_trial(trial)
    assert "\n" not in line
    assert decode_trial(line) == trial
    assert decode_trial(line.encode("utf-8", "surrogatepass")) == trial


def small() -> FailedTrial:
    """Return a failed trial with little in it."""
    return FailedTrial(
        key=TrialKey(candidate="a", utterance="u", repeat=1, order=7, attempt=1),
        driver="session",
        started_ns=1,
        ended_ns=2,
        failure=Failure(
            stage=Stage.LLM, kind=FailureKind.RATE_LIMITED, message="slow down", status=429
        ),
        turns=(Turn(index=0, utterance="u", marks={Mark.SPEECH_END: 5}),),
    )


def test_the_format_is_pinned() -> None:
    """Version 1 is what files hold: a change of this line needs a new version."""
    assert FORMAT_VERSION == 1
    assert encode_trial(small()) == (
        '{"v":1,"kind":"failed","key":{"candidate":"a","utterance":"u","repeat":1,"order":7,'
        '"attempt":1},"driver":"session","started":1,"ended":2,"failure":{"stage":"llm","kind":'
        '"rate_limited","message":"slow down","status":429},"turns":[{"index":0,"utterance":"u",'
        '"marks":{"speech_end":5}}]}'
    )


def test_unknown_fields_are_ignored() -> None:
    """Keys and marks that a later version has added are ignored at every level."""
    document = json.loads(encode_trial(small()))
    document["novel"] = 1
    document["key"]["novel"] = 1
    document["failure"]["novel"] = 1
    document["turns"][0]["novel"] = {"a": 1}
    document["turns"][0]["marks"]["novel_mark"] = 3
    assert decode_trial(json.dumps(document)) == small()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "not JSON"),
        ('{"v":1', "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no format version"),
        ('{"v":2,"kind":"trial"}', "newer than 1"),
        ('{"v":1,"kind":"trial"}', "not a trial"),
        (encode_trial(small()).replace('"failed"', '"neither"'), "kind is 'neither'"),
        (encode_trial(small()).replace('"llm"', '"none"'), "not a trial"),
    ],
)
def test_what_is_no_trial(line: str, told: str) -> None:
    """Anything else is refused with the reason."""
    with pytest.raises(WireError, match=told):
        decode_trial(line)
