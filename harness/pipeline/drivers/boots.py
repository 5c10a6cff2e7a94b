"""Waking deployments that scale to zero, before anything is measured.

A dedicated deployment that nobody has used for a while is gone, and boots for minutes when it is
asked again. No time-out of a trial is made for that, and one of livekit's clients gives up after
30 s whatever it is told. So the deployment is asked by the same clients that will be measured, for
next to nothing, again and again until it answers, under a limit of its own.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from livekit import rtc
from livekit.agents import APIConnectOptions, llm

from harness.domain.boot import SCALE_TO_ZERO, Boot, Tell
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import WaitCause
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.pipeline.drivers.clients import Clients
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.recording.recording import CURRENT_RECORDER, Recorder

__all__ = ["boots_seen", "sleepers", "wake"]

_NS_PER_S: Final = 1_000_000_000
_POLL_S: Final = 1.0
_TELL_EVERY_S: Final = 1.0
# Until then it is not worth a word.
_PATIENCE_S: Final = 3.0
_SLOW_S: Final = 2.0
_TIMES: Final = 3.0
_UPGRADED: Final = 101
# Refused for good: the next question would be answered alike.
_FINAL: Final = frozenset({400, 401, 403, 404, 422})
_RATE: Final = 16_000
_FRAME: Final = 320
_TEXT: Final = "Hello."

Ask = Callable[[Callable[[], None]], Awaitable[None]]
"""Asks, and calls what it is given when the answer is there; cleaning up comes after that."""


def sleepers(candidate: Candidate, *, emulated: bool) -> dict[Stage, StageSettings]:
    """Return the stages of a candidate whose deployments may be scaled to zero."""
    found = {}
    for stage, settings in (
        (Stage.STT, candidate.stt),
        (Stage.LLM, candidate.llm),
        (Stage.TTS, candidate.tts),
    ):
        if settings is None or settings.provider not in SCALE_TO_ZERO:
            continue
        # The shared models are always up; a deployment of one's own has an address of its own.
        if stage is Stage.LLM and not emulated and "base_url" not in settings.options:
            continue
        found[stage] = settings
    return found


def boots_seen(trial: Trial | FailedTrial, asleep: dict[Stage, StageSettings]) -> tuple[Boot, ...]:
    """Return the boots that a trial waited out itself.

    Told by a socket whose opening took over 2 s: no synthesis or recognition is part of that. Over
    HTTP a boot cannot be told from a slow answer, and is not guessed at.
    """
    found = []
    for turn in trial.turns:
        for request in turn.requests:
            settings = asleep.get(request.stage)
            if settings is None:
                continue
            waits = [w for w in request.waits if w.cause is WaitCause.CONNECT]
            took = max((w.end_ns - w.start_ns for w in waits), default=0)
            if took > _SLOW_S * _NS_PER_S:
                found.append(
                    Boot(stage=request.stage, provider=settings.provider, took_ns=took, cold=True)
                )
    return tuple(found)


async def wake(
    clients: Clients,
    stages: dict[Stage, StageSettings],
    *,
    limit_s: float,
    ask_s: float,
    tell: Tell,
) -> tuple[Boot, ...]:
    """Ask each stage until it answers, all of them at once; return how long that took.

    Args:
        clients: what will be measured.
        stages: which of them to ask.
        limit_s: gives up after so long.
        ask_s: how long an answer is waited for before it is asked for again.
        tell: told once a second what is still waited for.
    """
    asks: dict[Stage, Ask] = {
        Stage.STT: lambda done: _hear(clients.stt, ask_s, done),
        Stage.LLM: lambda done: _chat(clients.llm, ask_s, done),
        Stage.TTS: lambda done: _speak(clients.tts, ask_s, done),
    }
    waiting = {stage: settings.provider for stage, settings in stages.items()}
    began = time.perf_counter_ns()

    async def one(stage: Stage, settings: StageSettings) -> Boot:
        try:
            return await _wake_one(stage, settings.provider, asks[stage], limit_s, ask_s)
        finally:
            waiting.pop(stage, None)

    async def report() -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            waited = (time.perf_counter_ns() - began) / _NS_PER_S
            if waiting and waited >= _PATIENCE_S:
                who = ", ".join(f"{name} {stage.value}" for stage, name in waiting.items())
                tell(f"waiting for {who} to boot, {waited:.0f} s of {limit_s:.0f} s")

    reporter = asyncio.create_task(report())
    try:
        found = await asyncio.gather(*(one(*each) for each in stages.items()))
    finally:
        reporter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporter
    return tuple(found)


async def _wake_one(stage: Stage, provider: str, ask: Ask, limit_s: float, ask_s: float) -> Boot:
    began = time.perf_counter_ns()
    asks = 0

    while True:
        asks += 1
        left_s = limit_s - (time.perf_counter_ns() - began) / _NS_PER_S
        answered_ns, final = await _asked(ask, min(left_s, ask_s))
        if answered_ns is not None:
            took = answered_ns - began
            cold = asks > 1
            if not cold and took > _SLOW_S * _NS_PER_S:
                again = time.perf_counter_ns()
                warm_ns, _ = await _asked(ask, ask_s)
                cold = warm_ns is not None and took > _TIMES * (warm_ns - again)
            return Boot(stage=stage, provider=provider, took_ns=took, cold=cold, asks=asks)
        took = time.perf_counter_ns() - began
        if final or took / _NS_PER_S + _POLL_S >= limit_s:
            return Boot(
                stage=stage,
                provider=provider,
                took_ns=took,
                cold=not final,
                ready=False,
                asks=asks,
            )
        await asyncio.sleep(_POLL_S)


async def _asked(ask: Ask, limit_s: float) -> tuple[int | None, bool]:
    """Ask once; return when the answer came, and without one whether to ask again is of no use."""
    answered: list[int] = []

    def done() -> None:
        answered.append(time.perf_counter_ns())

    try:
        async with asyncio.timeout(max(limit_s, 0.1)):
            # A task of its own: what it puts into its context touches no trial's.
            await asyncio.create_task(_unrecorded(ask, done))
    except Exception as error:  # noqa: BLE001  (a plugin may raise anything, and it is a question)
        if answered and isinstance(error, TimeoutError):
            # It was the cleaning up that took too long.
            return answered[0], False
        return None, _status_of(error) in _FINAL
    return (answered[0] if answered else None), False


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error: livekit wraps a refused upgrade in its own."""
    seen: BaseException | None = error
    while seen is not None:
        for name in ("status_code", "status"):
            value = getattr(seen, name, None)
            if isinstance(value, int) and value > 0:
                return value
        seen = seen.__cause__ or seen.__context__
    return None


async def _unrecorded(ask: Ask, done: Callable[[], None]) -> None:
    CURRENT_RECORDER.set(Recorder())
    await ask(done)


def _once(ask_s: float) -> APIConnectOptions:
    return APIConnectOptions(max_retry=0, timeout=ask_s)


async def _hear(client: Any, ask_s: float, done: Callable[[], None]) -> None:
    """Open a stream and give it a second of noise; return when its socket is open."""
    recorder = CURRENT_RECORDER.get()
    assert recorder is not None
    stream = client.stream(conn_options=_once(ask_s))
    frame = rtc.AudioFrame(
        data=b"\x40\x01\xc0\xfe" * (_FRAME // 2),
        sample_rate=_RATE,
        num_channels=1,
        samples_per_channel=_FRAME,
    )

    async def listen() -> None:
        async for _ in stream:
            pass

    listening = asyncio.create_task(listen())
    try:
        for _ in range(_RATE // _FRAME):
            with contextlib.suppress(RuntimeError):
                stream.push_frame(frame)
        while not any(each.status == _UPGRADED for each in recorder.sockets):
            if listening.done():
                await listening
                raise ConnectionError("the stream ended before its socket was open")
            await asyncio.sleep(0.01)
        done()
        # What is refused is refused at once, after the upgrade.
        ended, _ = await asyncio.wait({listening}, timeout=0.2)
        if ended:
            await listening
    finally:
        listening.cancel()
        with contextlib.suppress(BaseException):
            await listening
        await close_within(stream.aclose)


async def _chat(client: Any, ask_s: float, done: Callable[[], None]) -> None:
    """Ask for a word; return with the first of the answer."""
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=_TEXT)
    stream = client.chat(chat_ctx=context, conn_options=_once(ask_s))
    try:
        async for _ in stream:
            done()
            return
    finally:
        await close_within(stream.aclose)


async def _speak(client: Any, ask_s: float, done: Callable[[], None]) -> None:
    """Have a word spoken; return with its first sound."""
    if client.capabilities.streaming:
        stream = client.stream(conn_options=_once(ask_s))
        stream.push_text(_TEXT)
        stream.end_input()
    else:
        stream = client.synthesize(_TEXT, conn_options=_once(ask_s))
    try:
        async for _ in stream:
            done()
            return
    finally:
        await close_within(stream.aclose)
    raise ConnectionError("no sound came")
