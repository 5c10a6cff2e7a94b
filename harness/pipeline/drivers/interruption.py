"""livekit's detection of interruptions: where it is asked, and what it was seen to do.

livekit 1.8 makes the adaptive detector itself and lets nobody hand it one: the service's address
and keys come from the environment, which belongs to the whole process. Here the detector's class is
extended by one that takes them from the trial's context, so that candidates of one run can reach
different services, and whose socket is stamped like every other. Without such a context it is
livekit's own, unchanged.
"""

import contextlib
import contextvars
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from livekit.agents import NOT_GIVEN, inference, voice

from harness.domain.candidate import InterruptionSettings, StageSettings
from harness.domain.request import Arrival, Cause, Failure, FailureKind, Request
from harness.domain.timeline import Mark, Stage
from harness.pipeline.place import Place
from harness.pipeline.providers.livekit_inference import account
from harness.pipeline.recording.recording import Exchange, Message, Recorder, Sent, Stamp, stamp
from harness.pipeline.transport.bodies import scalars
from harness.pipeline.transport.socket_reading import (
    closed_failure,
    dial_failure,
    json_object,
    socket_connection,
)
from harness.pipeline.transport.socket_transport import timed_session

__all__ = ["Detector", "judge_requests", "probe_interruption"]

_HEADER: Final = struct.Struct("<Q")
_VERDICTS: Final[Mapping[str, str]] = {
    "bargein_detected": "interruption",
    "inference_done": "backchannel",
}

_CURRENT: contextvars.ContextVar["Detector | None"] = contextvars.ContextVar(
    "turnbench_detector", default=None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    base_url: str
    key: str
    secret: str
    threshold: float | None


class _PlacedDetector(inference.AdaptiveInterruptionDetector):
    """livekit's detector, at the address of the trial that makes it."""

    def __init__(self, **given: Any) -> None:
        detector = _CURRENT.get()
        if detector is not None:
            given.setdefault("http_session", detector.session)
            if detector.account is not None:
                given["base_url"] = detector.account.base_url
                given["api_key"] = detector.account.key
                given["api_secret"] = detector.account.secret
                threshold = detector.account.threshold
                given["threshold"] = NOT_GIVEN if threshold is None else threshold
        super().__init__(**given)


def _install() -> None:
    module: Any = inference
    module.AdaptiveInterruptionDetector = _PlacedDetector


class Detector:
    """One candidate's way to the adaptive detector; opened in a running event loop.

    Args:
        settings: the candidate's; None for an agent of the user's own, whose detector goes where
            its environment says.
        place: where the service is.
        timeout_s: for opening a connection, with the upgrade's answer.
    """

    def __init__(
        self, settings: InterruptionSettings | None, place: Place, *, timeout_s: float
    ) -> None:
        self.account: _Account | None = None
        if settings is not None:
            stage = StageSettings(provider="livekit", profile=settings.profile)
            base_url, key, secret = account(place, stage)
            self.account = _Account(
                base_url=base_url, key=key, secret=secret, threshold=settings.threshold
            )
        self.session: aiohttp.ClientSession = timed_session(
            Stage.INTERRUPTION, None, label=place.request_label, timeout_s=timeout_s
        )
        _install()

    def use(self) -> None:
        """Let the detectors that this context makes from now on go this way."""
        _CURRENT.set(self)

    async def aclose(self) -> None:
        """Close the connections."""
        with contextlib.suppress(Exception):
            await self.session.close()


def probe_interruption(agent: voice.Agent, recorder: Recorder, *, asked: str) -> None:
    """Stamp the decision that the agent is being interrupted, and a fall back to voice activity.

    Args:
        agent: of a session that has started.
        recorder: the trial's.
        asked: "adaptive" or "vad"; "" takes what the session has.
    """
    activity: Any = agent._get_activity_or_raise()  # noqa: SLF001
    made = activity._interruption_detector is not None  # noqa: SLF001
    recorder.detector = asked or ("adaptive" if made else "vad")
    if recorder.detector == "adaptive" and not made:
        recorder.fell_back = "livekit made no adaptive detector for this session"
    elif made and not activity.interruption_enabled:
        recorder.fell_back = "the adaptive detector was lost before the first word"
    interrupt = activity._interrupt_by_audio_activity  # noqa: SLF001
    fall_back = activity._fallback_to_vad_interruption  # noqa: SLF001
    on_overlap_speech = activity.on_overlap_speech

    def interrupted() -> bool:
        speech = activity._current_speech  # noqa: SLF001
        return speech is not None and bool(speech.interrupted)

    def by_activity() -> None:
        at, before = stamp(), interrupted()
        interrupt()
        if interrupted() and not before:
            recorder.interruptions.append(at)

    def overlap_speech(event: Any) -> None:
        name = "interruption" if event.is_interruption else "overlap"
        recorder.reported[f"{name}.detection_delay"] = float(event.detection_delay)
        recorder.reported[f"{name}.total_duration"] = float(event.total_duration)
        recorder.reported[f"{name}.prediction_duration"] = float(event.prediction_duration)
        on_overlap_speech(event)

    def to_vad(error: Any = None) -> None:
        if activity.interruption_enabled and not recorder.fell_back:
            cause = getattr(error, "error", None)
            words = str(cause).splitlines()[0] if cause is not None and str(cause) else ""
            recorder.fell_back = words[:300] or "the adaptive detector failed"
        fall_back(error)

    activity._interrupt_by_audio_activity = by_activity  # noqa: SLF001
    activity._fallback_to_vad_interruption = to_vad  # noqa: SLF001
    activity.on_overlap_speech = overlap_speech


def judge_requests(recorder: Recorder, redact: Callable[[str], str]) -> list[Request]:
    """Return a request for each window that was sent to the detector, with its verdict.

    Where the detector could not be reached, one request without a window tells why.
    """
    found: list[Request] = []
    for exchange in recorder.detectors:
        found += _windows(exchange, len(found), redact, recorder.fell_back)
    return found


def _windows(
    exchange: Exchange, first: int, redact: Callable[[str], str], fell_back: str
) -> list[Request]:
    connection, waits = socket_connection(exchange)
    facts: dict[str, Any] = {"attempts": 1}
    if exchange.status is not None:
        facts["status"] = exchange.status
    if exchange.request_id is not None:
        facts["truth_id"] = exchange.request_id
    for message in exchange.messages:
        created = json_object(message.data) or {}
        if created.get("type") == "session.created":
            told = scalars({"default_threshold": created.get("default_threshold")})
            facts |= {key: value for key, value in told.items() if _is_number(value)}
    failure = _failure(exchange, redact)
    verdicts = _verdicts(exchange)
    sends = [
        (sent, _HEADER.unpack_from(sent.data)[0])
        for sent in exchange.sends
        if isinstance(sent.data, bytes) and len(sent.data) >= _HEADER.size
    ]
    found = [
        _window(f"overlap{first + number}", sent, verdicts.get(created_at), facts)
        for number, (sent, created_at) in enumerate(sends)
    ]
    if not found:
        if failure is None:
            return []
        return [
            Request(
                id=f"overlap{first}",
                stage=Stage.INTERRUPTION,
                cause=Cause.OVERLAP,
                waits=waits,
                connection=connection,
                facts=facts,
                failure=failure,
            )
        ]
    parts: dict[int, dict[str, Any]] = {0: {"waits": waits, "connection": connection}}
    unanswered = [
        number for number, each in enumerate(found) if Mark.VERDICT_RECEIVED not in each.marks
    ]
    if failure is None and fell_back and unanswered:
        # livekit waits 0.7 s for a verdict and then does without the detector.
        failure = Failure(
            stage=Stage.INTERRUPTION, kind=FailureKind.TIMEOUT, message=redact(fell_back)
        )
    if failure is not None:
        struck = unanswered[0] if unanswered else len(found) - 1
        parts.setdefault(struck, {})["failure"] = failure
        parts[struck]["cancelled"] = False
    return [_with(each, parts.get(number, {})) for number, each in enumerate(found)]


def _with(request: Request, changes: Mapping[str, Any]) -> Request:
    names = Request.__dataclass_fields__
    return Request(**{name: changes.get(name, getattr(request, name)) for name in names})


def _verdicts(exchange: Exchange) -> dict[int, tuple[Message, dict[str, Any]]]:
    found: dict[int, tuple[Message, dict[str, Any]]] = {}
    for message in exchange.messages:
        # livekit reads messages of text alone.
        said = (json_object(message.data) if isinstance(message.data, str) else None) or {}
        created_at = said.get("created_at")
        if str(said.get("type")) in _VERDICTS and type(created_at) is int:
            found.setdefault(created_at, (message, said))
    return found


def _is_number(value: Any) -> bool:
    """Whether a message's value is a number that a file can hold."""
    return type(value) in (int, float) and bool(scalars({"": value}))


def _window(
    name: str,
    sent: Sent,
    answer: tuple[Message, dict[str, Any]] | None,
    facts: Mapping[str, Any],
) -> Request:
    stamps: dict[Mark, Stamp] = {Mark.WINDOW_SENT: sent.at}
    own = dict(facts)
    own["samples"] = (len(sent.data) - _HEADER.size) // 2
    arrivals: tuple[Arrival, ...] = ()
    if answer is not None:
        message, said = answer
        # A message that is read before its send has returned cannot answer it.
        stamps[Mark.VERDICT_RECEIVED] = max(message.at, sent.at, key=lambda at: at.ns)
        own["verdict"] = _VERDICTS[said["type"]]
        for key in ("prediction_duration", "probability"):
            if _is_number(said.get(key)):
                own[key] = said[key]
        probabilities = said.get("probabilities")
        if isinstance(probabilities, list) and all(map(_is_number, probabilities)):
            own["probability_max"] = max(probabilities, default=0.0)
        arrivals = (Arrival(received_ns=message.at.ns, at_ns=None),)
    return Request(
        id=name,
        stage=Stage.INTERRUPTION,
        cause=Cause.OVERLAP,
        cancelled=answer is None,
        marks={mark: at.ns for mark, at in stamps.items()},
        work={mark: at.work for mark, at in stamps.items()},
        arrivals=arrivals,
        facts=own,
    )


def _failure(exchange: Exchange, redact: Callable[[str], str]) -> Failure | None:
    """Return why the detector's socket did not serve to the end, or None."""
    failed = dial_failure(Stage.INTERRUPTION, exchange, redact)
    if failed is not None:
        return failed

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(stage=Stage.INTERRUPTION, kind=kind, message=redact(message))

    for message in exchange.messages:
        said = json_object(message.data)
        if said is None or not isinstance(said.get("type"), str):
            return failure(FailureKind.MALFORMED, "a message that is no JSON object of a kind")
        if said["type"] == "error":
            return failure(
                FailureKind.STREAM_ERROR,
                f"{said.get('message') or 'an error'} (code {said.get('code')})"[:500],
            )
        if said["type"] == "session.created" and said.get("default_threshold") is None:
            return failure(FailureKind.EMPTY, "the session was created without a threshold")
    closed_by_us = any(
        isinstance(sent.data, str) and '"session.close"' in sent.data for sent in exchange.sends
    )
    if exchange.closed is not None and not closed_by_us:
        return closed_failure(Stage.INTERRUPTION, exchange, "while the detector was needed")
    return None
