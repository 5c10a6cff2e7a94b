"""Stored trials read back: the format of :mod:`harness.store.runs.encode`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.clock import Work
from harness.domain.barge_in import Expects
from harness.domain.boot import Boot
from harness.domain.reply import Overlap, PlayoutSegment, Reply
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
from harness.errors import HarnessError
from harness.store.runs.encode import COUNTS, FORMAT_VERSION, HEALTH

__all__ = ["NewerFormatError", "WireError", "decode_boot", "decode_key", "decode_trial"]


_MARKS = {mark.value: mark for mark in Mark}


class WireError(HarnessError):
    """A stored line is not a trial of a version that can be read."""


class NewerFormatError(WireError):
    """A stored line is of a version that only a newer turnbench reads."""


_DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    HarnessError,
)
"""What reading a damaged line raises, the laws of timelines included."""


def decode_boot(document: Mapping[str, Any]) -> Boot:
    """Return the boot that a JSON object describes."""
    return Boot(
        stage=Stage(document["stage"]),
        provider=str(document["provider"]),
        took_ns=round(document["seconds"] * 1e9),
        cold=bool(document["cold"]),
        ready=bool(document["ready"]),
        asks=int(document["asks"]),
    )


def _decode_overlap(document: Mapping[str, Any]) -> Overlap:
    return Overlap(
        recording=document["recording"],
        expects=Expects(document["expects"]),
        detector=document.get("detector", ""),
        fell_back=document.get("fell_back", ""),
    )


def decode_trial(line: str | bytes) -> Trial | FailedTrial:
    """Read one stored line.

    Raises:
        WireError: the line is not a trial, or of a newer version of the format.
    """
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WireError("not a JSON object")
    version = document.get("v")
    if not isinstance(version, int):
        raise WireError("no format version")
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"format version {version} is newer than {FORMAT_VERSION}, which this turnbench reads; "
            "upgrade turnbench"
        )
    try:
        return _decode(document)
    except _DAMAGE as error:
        raise WireError(f"not a trial: {type(error).__name__}: {str(error)[:300]}") from error


def _decode(document: Mapping[str, Any]) -> Trial | FailedTrial:
    health = document.get("health")
    emulated = document.get("emulated")
    common: dict[str, Any] = {
        "key": decode_key(document["key"]),
        "driver": document["driver"],
        "started_ns": document["started"],
        "ended_ns": document["ended"],
        "turns": tuple(_decode_turn(each) for each in document.get("turns", ())),
        "health": None if health is None else _decode_health(health),
        "cold": document.get("cold", False),
        "boots": tuple(decode_boot(each) for each in document.get("boots", ())),
        "lane_bytes": document.get("memory"),
        "emulated": None if emulated is None else frozenset(Stage(each) for each in emulated),
    }
    if document["kind"] == "trial":
        return Trial(**common)
    if document["kind"] == "failed":
        return FailedTrial(failure=_decode_failure(document["failure"]), **common)
    raise ValueError(f"kind is {document['kind']!r}")


def decode_key(document: Mapping[str, Any]) -> TrialKey:
    """Read a trial's key.

    Raises:
        KeyError: a field is missing.
    """
    return TrialKey(
        candidate=document["candidate"],
        utterance=document["utterance"],
        repeat=document["repeat"],
        order=document["order"],
        warmup=document.get("warmup", False),
        attempt=document.get("attempt", 0),
        condition=document.get("condition", ""),
        barge_in=document.get("barge_in", ""),
        expects=Expects(document["expects"]) if "expects" in document else None,
    )


def _decode_failure(document: Mapping[str, Any]) -> Failure:
    return Failure(
        stage=Stage(document["stage"]),
        kind=FailureKind(document["kind"]),
        message=document["message"],
        status=document.get("status"),
    )


def _decode_marks(document: Mapping[str, Any]) -> dict[Mark, int]:
    marks = document.get("marks", {})
    return {_MARKS[name]: instant for name, instant in marks.items() if name in _MARKS}


def _decode_work(document: Mapping[str, Any]) -> dict[Mark, Work]:
    work = document.get("work", {})
    return {_MARKS[name]: Work(each[0], each[1]) for name, each in work.items() if name in _MARKS}


def _decode_waits(document: Mapping[str, Any]) -> tuple[Wait, ...]:
    return tuple(
        Wait(cause=WaitCause(each[0]), start_ns=each[1], end_ns=each[2])
        for each in document.get("waits", ())
    )


def _decode_turn(document: Mapping[str, Any]) -> Turn:
    reply = document.get("reply")
    return Turn(
        index=document["index"],
        utterance=document["utterance"],
        marks=_decode_marks(document),
        work=_decode_work(document),
        transcripts=tuple(
            Transcript(
                kind=TranscriptKind(each[0]),
                text=each[1],
                at_ns=each[2],
                received_ns=each[3],
                late=each[4],
            )
            for each in document.get("transcripts", ())
        ),
        requests=tuple(_decode_request(each) for each in document.get("requests", ())),
        audible_request=document.get("audible"),
        waits=_decode_waits(document),
        idle=tuple(Idle(start_ns=each[0], end_ns=each[1]) for each in document.get("idle", ())),
        reply=None if reply is None else _decode_reply(reply),
        reported=document.get("reported", {}),
        overlap=_decode_overlap(document["overlap"]) if "overlap" in document else None,
        agent_cpu_ns=document.get("agent_cpu"),
    )


def _decode_connection(stored: Sequence[Any] | None) -> Connection | None:
    """Read how a connection was had; the path's round trip came later than the rest."""
    if stored is None:
        return None
    path = stored[2] if len(stored) > 2 else None
    return Connection(reused=stored[0], rtt_ns=stored[1], path_rtt_ns=path)


def _decode_attempt(document: Mapping[str, Any]) -> Attempt:
    failure = document.get("failure")
    return Attempt(
        number=document["number"],
        start_ns=document["start"],
        end_ns=document.get("end"),
        marks=_decode_marks(document),
        failure=None if failure is None else _decode_failure(failure),
        connection=_decode_connection(document.get("connection")),
        facts=document.get("facts", {}),
    )


def _decode_request(document: Mapping[str, Any]) -> Request:
    failure = document.get("failure")
    return Request(
        id=document["id"],
        stage=Stage(document["stage"]),
        cause=Cause(document["cause"]),
        parent=document.get("parent"),
        cancelled=document.get("cancelled", False),
        text=document.get("text", ""),
        marks=_decode_marks(document),
        work=_decode_work(document),
        arrivals=tuple(
            Arrival(received_ns=each[0], at_ns=each[1], text=each[2], size=each[3])
            for each in document.get("arrivals", ())
        ),
        waits=_decode_waits(document),
        connection=_decode_connection(document.get("connection")),
        facts=document.get("facts", {}),
        failure=None if failure is None else _decode_failure(failure),
        attempts=tuple(_decode_attempt(each) for each in document.get("attempts", ())),
    )


def _decode_reply(document: Mapping[str, Any]) -> Reply:
    return Reply(
        sample_rate=document["rate"],
        samples=document["samples"],
        segments=tuple(
            PlayoutSegment(start_ns=each[0], offset=each[1], samples=each[2])
            for each in document["segments"]
        ),
        leading_silence=document["leading_silence"],
        interrupted=document.get("interrupted", False),
        audio=document.get("audio"),
    )


def _decode_health(document: Mapping[str, Any]) -> Health:
    values = {name if name in COUNTS else f"{name}_ns": document[name] for name in HEALTH}
    return Health(
        **values,
        stalls=tuple(
            Stall(start_ns=each[0], end_ns=each[1]) for each in document.get("stalls", ())
        ),
        virtual=document.get("virtual", False),
    )
