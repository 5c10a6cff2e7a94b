"""What both drivers share: clients, the recorder's context, failures, health."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from livekit.agents import APIConnectOptions, llm, stt, tts

from harness.domain.driver import PlayableUtterance
from harness.domain.suite import Candidate, Suite
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import (
    Failure,
    FailureKind,
    Request,
    TrialKey,
    Turn,
    Wait,
    WaitCause,
)
from harness.pacing import Pacer
from harness.pipeline.failures import failure_of
from harness.pipeline.health import Watch
from harness.pipeline.place import Place
from harness.pipeline.probes import probe_llm, probe_tts
from harness.pipeline.providers import make_client
from harness.pipeline.recording import Recorder, Stamp
from harness.pipeline.reply_check import reply_fault
from harness.pipeline.source import PIPELINE_RATE, Line, PacedInput, room_tone

__all__ = [
    "Base",
    "Clients",
    "audio_failure",
    "connect_options",
    "line_for",
    "note_speech_sent",
    "primary_failure",
    "quiet_livekit",
    "wait_until",
]

LEAD_IN_MS = 300
"""Open line before the recording: connections are made in it, as before a caller's first word."""


def quiet_livekit() -> None:
    """Keep livekit's log off the terminal and off the timed path; errors become failed trials."""
    for name in ("livekit", "livekit.agents", "livekit.plugins", "asyncio", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Clients:
    """One candidate's livekit clients, probed, shared by its trials while warm."""

    def __init__(self, candidate: Candidate, place: Place) -> None:
        self._candidate = candidate
        self._place = place
        self.stt: stt.STT[Any] | None = None
        self.llm: llm.LLM[Any] | None = None
        self.tts: tts.TTS[Any] | None = None
        self.used = False

    def open(self) -> None:
        """Build the clients that the candidate names."""
        candidate = self._candidate
        if candidate.stt is not None:
            self.stt = make_client(Stage.STT, self._place, candidate.stt)
        if candidate.llm is not None:
            self.llm = make_client(Stage.LLM, self._place, candidate.llm)
            probe_llm(self.llm)
        if candidate.tts is not None:
            self.tts = make_client(Stage.TTS, self._place, candidate.tts)
            probe_tts(self.tts)
        self.used = False

    def describe(self) -> Mapping[str, Any]:
        """Return model and provider of each client, as livekit tells them."""
        return {
            name: {"provider": client.provider, "model": client.model}
            for name, client in (("stt", self.stt), ("llm", self.llm), ("tts", self.tts))
            if client is not None
        }

    async def aclose(self) -> None:
        """Close the clients; what fails in closing is of no consequence."""
        for client in (self.stt, self.llm, self.tts):
            if client is None:
                continue
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await client.aclose()
            inner = getattr(client, "_client", None)
            if inner is not None and hasattr(inner, "close"):
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(5):
                        await inner.close()
        self.stt = self.llm = self.tts = None


def connect_options(suite: Suite) -> APIConnectOptions:
    """Return livekit's retry and time-out options as the suite has them."""
    return APIConnectOptions(
        max_retry=suite.session.max_retries, timeout=suite.session.request_timeout_s
    )


def line_for(utterance: PlayableUtterance, suite: Suite) -> Line:
    """Return the caller's line for an utterance."""
    trailing = room_tone(PIPELINE_RATE) if suite.trailing == "room" else b""
    return Line(
        pcm=utterance.pcm,
        frame_ms=suite.frame_ms,
        lead_in_frames=LEAD_IN_MS // suite.frame_ms,
        trailing=trailing,
    )


def note_speech_sent(recorder: Recorder, source: PacedInput) -> None:
    """Write down when the message with the last speech sample went to the STT's transport.

    A client may send larger packets than the frames it is given: then it waits for the frame that
    fills the packet, which is known to the nanosecond and no work of its own.
    """
    sample = source.sample_of_speech_end
    entry = recorder.stt.log.entry(sample - 1) if sample is not None else None
    if sample is None or entry is None:
        return
    recorder.speech_sent = Stamp(entry[0], entry[1])
    own, last = source.release_of(sample), source.release_of(entry[2])
    if own is None or last is None:
        return
    (_, before), (due, released) = own, last
    if due > before:
        recorder.waits.append(Wait(cause=WaitCause.FRAME, start_ns=before, end_ns=due))
        if released > due:
            recorder.waits.append(Wait(cause=WaitCause.PACING, start_ns=due, end_ns=released))


def settle_garbage(*, first: bool) -> None:
    """Collect garbage between trials, so that a collection's pause seldom falls into one.

    What survives the first collection is the program itself; freezing it makes later collections
    short. The collector stays on: an agent's own garbage is part of what is measured.
    """
    gc.collect()
    if first:
        gc.freeze()


def primary_failure(recorder: Recorder, turn: Turn, redact: Callable[[str], str]) -> Failure | None:
    """Return the first cause of a trial's failure.

    A request that failed tells more than livekit's error of it; errors that no request explains
    come next.
    """
    failed = [each for each in turn.requests if each.failure is not None and not each.cancelled]
    if failed:
        first = min(failed, key=_begin)
        assert first.failure is not None
        # A reset that livekit's own time-out caused is a time-out.
        for problem in recorder.turn_problems():
            described = failure_of(problem.stage, problem.error, redact)
            if problem.stage is first.stage and described.kind is FailureKind.TIMEOUT:
                return described
        return first.failure
    problems = recorder.turn_problems()
    if problems:
        first_problem = min(problems, key=lambda problem: problem.at_ns)
        return failure_of(first_problem.stage, first_problem.error, redact)
    return None


def audio_failure(turn: Turn, pcm: bytes) -> Failure | None:
    """Return why the reply's audio cannot be speech, or None."""
    reply = turn.reply
    if reply is None or reply.interrupted:
        return None
    if reply.leading_silence >= reply.samples:
        return Failure(
            stage=Stage.TTS, kind=FailureKind.SILENT, message="the reply's audio is silent"
        )
    text = "".join(
        each.text for each in turn.requests if each.stage is Stage.TTS and not each.cancelled
    )
    found = reply_fault(pcm, reply.sample_rate, text)
    if found is None:
        return None
    kind, message = found
    return Failure(stage=Stage.TTS, kind=FailureKind(kind), message=message)


def _begin(request: Request) -> int:
    return request.marks.get(Mark.LLM_REQUEST) or request.marks.get(Mark.TTS_REQUEST) or 0


async def wait_until(
    condition: Callable[[], bool], *, until_ns: int, poll_s: float = 0.005
) -> bool:
    """Poll a condition until an instant; return whether it came true.

    Polling, because what is waited for happens inside livekit, which offers no event for it.
    """
    while not condition():
        if time.perf_counter_ns() >= until_ns:
            return False
        await asyncio.sleep(poll_s)
    return True


class Base:
    """The part of a performer that does not depend on how a turn is played."""

    driver = ""

    def __init__(
        self,
        candidate: Candidate,
        suite: Suite,
        *,
        place: Place,
        watch: Watch,
        redact: Callable[[str], str],
    ) -> None:
        self._candidate = candidate
        self._suite = suite
        self._place = place
        self._watch = watch
        self._redact = redact
        self._clients = Clients(candidate, place)
        self._settled = False
        self._running = 0
        self._pacer: Pacer | None = None

    async def start(self) -> Mapping[str, Any]:
        """Open the clients."""
        quiet_livekit()
        self._pacer = Pacer()
        if self._candidate.agent is None:
            self._clients.open()
        return self._clients.describe()

    async def aclose(self) -> None:
        """Close the clients."""
        await self._clients.aclose()
        if self._pacer is not None:
            self._pacer.close()
            self._pacer = None

    def line(self, utterance: PlayableUtterance) -> PacedInput:
        """Return the caller's microphone for an utterance."""
        assert self._pacer is not None, "start() comes first"
        return PacedInput(line_for(utterance, self._suite), self._pacer, utterance.speech_end_ns)

    async def before(self, key: TrialKey) -> bool:
        """Prepare a trial; return whether its connections are cold."""
        if self._suite.session.connection == "cold" and not key.warmup and self._clients.used:
            await self._clients.aclose()
            self._clients.open()
        cold = not self._clients.used
        self._clients.used = True
        if self._running == 0:
            settle_garbage(first=not self._settled)
            self._settled = True
        return cold
