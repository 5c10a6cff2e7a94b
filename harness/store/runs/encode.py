"""The stored form of trials: its own format, with a version and a history.

One trial is one line of JSON. Instants and lengths are integer nanoseconds on the run's clock
(:mod:`harness.clock`), texts are as the provider wrote them, and what is absent is left out.

Version 1 (0.1.0):

``v``
    the version of the format.
``kind``
    "trial" or "failed".
``key``
    ``candidate``, ``utterance``, ``repeat``, ``order``, and ``warmup``, ``attempt``,
    ``condition``, ``barge_in`` and ``expects`` where set.
``driver``, ``started``, ``ended``, ``cold``, ``boots``, ``emulated`` (a list of stages), ``memory``
    as in :class:`~harness.domain.trial.Trial`.
``failure``
    ``stage``, ``kind``, ``message``, ``status``.
``turns``
    each with ``index``, ``utterance``, ``marks`` (mark to instant), ``work`` (mark to [cpu,
    queued]), ``transcripts`` ([kind, text, at, received or null, late]), ``requests``, ``audible``,
    ``waits`` ([cause, start, end]), ``idle`` ([start, end]), ``reply``, ``reported``,
    ``agent_cpu`` and ``overlap`` (``recording``, ``expects``, ``detector``, ``fell_back``).
a request
    ``id``, ``stage``, ``cause``, ``parent``, ``cancelled``, ``text``, ``marks``, ``work``,
    ``arrivals`` ([received or null, at or null, text, size]), ``waits``, ``connection``
    ([reused, rtt or null, path rtt or null]), ``facts``, ``failure``, ``attempts`` (each with
    ``number``, ``start``, ``end``, ``marks``, ``failure``, ``connection``, ``facts``).
``reply``
    ``rate``, ``samples``, ``segments`` ([start, offset, samples]), ``leading_silence``,
    ``interrupted``, ``audio``.
``health``
    the fields of :class:`~harness.domain.trial.Health` without ``_ns``; ``stalls`` ([start, end]);
    ``virtual`` where it is.

A reader ignores keys, marks and reported numbers that it does not know, so a later version may
add them; a change of meaning raises the version, and a reader refuses a version that is newer than
its own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.clock import Work
from harness.domain.boot import Boot
from harness.domain.reply import Overlap, Reply
from harness.domain.request import Attempt, Connection, Failure, Request, Wait
from harness.domain.timeline import Mark
from harness.domain.trial import FailedTrial, Health, Trial, TrialKey, Turn

__all__ = ["COUNTS", "FORMAT_VERSION", "HEALTH", "encode_boot", "encode_key", "encode_trial"]

FORMAT_VERSION = 1

HEALTH = (
    "frames",
    "lateness_p50",
    "lateness_p99",
    "lateness_max",
    "late_frames",
    "loop_lag_p99",
    "loop_lag_max",
)
COUNTS = frozenset({"frames", "late_frames"})


def encode_trial(trial: Trial | FailedTrial) -> str:
    """Return a trial as one line of JSON without its line end."""
    document: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "kind": "trial" if isinstance(trial, Trial) else "failed",
        "key": encode_key(trial.key),
        "driver": trial.driver,
        "started": trial.started_ns,
        "ended": trial.ended_ns,
    }
    if trial.cold:
        document["cold"] = True
    if trial.boots:
        document["boots"] = [encode_boot(each) for each in trial.boots]
    if trial.lane_bytes is not None:
        document["memory"] = trial.lane_bytes
    if trial.emulated is not None:
        document["emulated"] = sorted(stage.value for stage in trial.emulated)
    if isinstance(trial, FailedTrial):
        document["failure"] = _failure(trial.failure)
    document["turns"] = [_turn(turn) for turn in trial.turns]
    if trial.health is not None:
        document["health"] = _health(trial.health)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """Write mappings that are not dictionaries; anything else in facts becomes text."""
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def encode_boot(boot: Boot) -> dict[str, Any]:
    """Return a boot as a JSON object."""
    return {
        "stage": boot.stage.value,
        "provider": boot.provider,
        "seconds": round(boot.seconds, 3),
        "cold": boot.cold,
        "ready": boot.ready,
        "asks": boot.asks,
    }


def encode_key(key: TrialKey) -> dict[str, Any]:
    """Return a trial's key as a JSON object."""
    document: dict[str, Any] = {
        "candidate": key.candidate,
        "utterance": key.utterance,
        "repeat": key.repeat,
        "order": key.order,
    }
    if key.warmup:
        document["warmup"] = True
    if key.attempt:
        document["attempt"] = key.attempt
    if key.condition:
        document["condition"] = key.condition
    if key.barge_in:
        document["barge_in"] = key.barge_in
    if key.expects is not None:
        document["expects"] = key.expects.value
    return document


def _failure(failure: Failure) -> dict[str, Any]:
    document: dict[str, Any] = {
        "stage": failure.stage.value,
        "kind": failure.kind.value,
        "message": failure.message,
    }
    if failure.status is not None:
        document["status"] = failure.status
    return document


def _turn(turn: Turn) -> dict[str, Any]:
    document: dict[str, Any] = {"index": turn.index, "utterance": turn.utterance}
    _add_marks(document, turn.marks, turn.work)
    if turn.transcripts:
        document["transcripts"] = [
            [each.kind.value, each.text, each.at_ns, each.received_ns, each.late]
            for each in turn.transcripts
        ]
    if turn.requests:
        document["requests"] = [_request(each) for each in turn.requests]
    if turn.audible_request is not None:
        document["audible"] = turn.audible_request
    if turn.waits:
        document["waits"] = _waits(turn.waits)
    if turn.idle:
        document["idle"] = [[each.start_ns, each.end_ns] for each in turn.idle]
    if turn.reply is not None:
        document["reply"] = _reply(turn.reply)
    if turn.reported:
        document["reported"] = dict(turn.reported)
    if turn.overlap is not None:
        document["overlap"] = _overlap(turn.overlap)
    if turn.agent_cpu_ns is not None:
        document["agent_cpu"] = turn.agent_cpu_ns
    return document


def _overlap(overlap: Overlap) -> dict[str, Any]:
    document = {"recording": overlap.recording, "expects": overlap.expects.value}
    if overlap.detector:
        document["detector"] = overlap.detector
    if overlap.fell_back:
        document["fell_back"] = overlap.fell_back
    return document


def _add_marks(
    document: dict[str, Any], marks: Mapping[Mark, int], work: Mapping[Mark, Work]
) -> None:
    if marks:
        document["marks"] = {mark.value: instant for mark, instant in marks.items()}
    if work:
        document["work"] = {mark.value: list(each) for mark, each in work.items()}


def _waits(waits: Sequence[Wait]) -> list[list[Any]]:
    return [[each.cause.value, each.start_ns, each.end_ns] for each in waits]


def _request(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": request.id,
        "stage": request.stage.value,
        "cause": request.cause.value,
    }
    if request.parent is not None:
        document["parent"] = request.parent
    if request.cancelled:
        document["cancelled"] = True
    if request.text:
        document["text"] = request.text
    _add_marks(document, request.marks, request.work)
    if request.arrivals:
        document["arrivals"] = [
            [each.received_ns, each.at_ns, each.text, each.size] for each in request.arrivals
        ]
    if request.waits:
        document["waits"] = _waits(request.waits)
    if request.connection is not None:
        document["connection"] = _connection(request.connection)
    if request.facts:
        document["facts"] = dict(request.facts)
    if request.failure is not None:
        document["failure"] = _failure(request.failure)
    if request.attempts:
        document["attempts"] = [_attempt(each) for each in request.attempts]
    return document


def _connection(connection: Connection) -> list[Any]:
    return [connection.reused, connection.rtt_ns, connection.path_rtt_ns]


def _attempt(attempt: Attempt) -> dict[str, Any]:
    document: dict[str, Any] = {"number": attempt.number, "start": attempt.start_ns}
    if attempt.end_ns is not None:
        document["end"] = attempt.end_ns
    _add_marks(document, attempt.marks, {})
    if attempt.failure is not None:
        document["failure"] = _failure(attempt.failure)
    if attempt.connection is not None:
        document["connection"] = _connection(attempt.connection)
    if attempt.facts:
        document["facts"] = dict(attempt.facts)
    return document


def _reply(reply: Reply) -> dict[str, Any]:
    document: dict[str, Any] = {
        "rate": reply.sample_rate,
        "samples": reply.samples,
        "segments": [[each.start_ns, each.offset, each.samples] for each in reply.segments],
        "leading_silence": reply.leading_silence,
    }
    if reply.interrupted:
        document["interrupted"] = True
    if reply.audio is not None:
        document["audio"] = reply.audio
    return document


def _health(health: Health) -> dict[str, Any]:
    document: dict[str, Any] = {
        name: getattr(health, name if name in COUNTS else f"{name}_ns") for name in HEALTH
    }
    if health.stalls:
        document["stalls"] = [[each.start_ns, each.end_ns] for each in health.stalls]
    if health.virtual:
        document["virtual"] = True
    return document
