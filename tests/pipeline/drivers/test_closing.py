"""Every wait has an end, and nothing of one trial's reaches into another's."""

import asyncio
import functools
import gc
import time
import weakref
from typing import Any

import pytest

from harness.domain.candidate import Candidate
from harness.domain.driver import PlayableUtterance
from harness.domain.request import Failure, FailureKind
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Stage
from harness.domain.trial import TrialKey
from harness.pipeline.drivers import performer, stage
from harness.pipeline.drivers.clients import Clients
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.pipeline.recording.recording import Recorder
from tests.runner.scripted_performer import playable

WELL_WITHIN_S = 5.0


class _Stubborn:
    """A stream that does not close, even where it is cancelled."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.asked = 0

    async def aclose(self) -> None:
        self.asked += 1
        while not self.free.is_set():
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.asked += 1


def _made(driver: type[Any], **session: Any) -> Any:
    candidate = Candidate(name="mine", agent="some:agent")
    suite = Suite(
        name="closing",
        datasets=(DatasetChoice(path="starter"),),
        candidates=(candidate,),
        session=SessionOptions(**session),
        timeouts=Timeouts(reply_s=0.05),
    )
    place = Place(via=Via.LIVE, options=suite.session)
    return driver(candidate, suite, place=place, watch=Watch(), redact=str)


async def test_closing_has_an_end() -> None:
    """What does not close, what fails to, and what closes without waiting all let go in time."""
    stubborn = _Stubborn()
    begun = time.monotonic()
    await close_within(stubborn.aclose, 0.05)
    await asyncio.sleep(0)
    assert stubborn.asked == 2
    stubborn.free.set()

    def fails() -> None:
        raise RuntimeError("it was closed already")

    closed: list[int] = []
    await close_within(fails)
    await close_within(lambda: closed.append(1))
    assert closed == [1]
    assert time.monotonic() - begun < WELL_WITHIN_S


@pytest.mark.parametrize("answers", [False, True])
async def test_a_stage_ends_though_its_stream_does_not(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """A stage's time-out holds whatever closing takes, and closing is not blamed on the reply."""
    monkeypatch.setattr(stage, "close_within", functools.partial(close_within, limit_s=0.2))
    driver = _made(StagePerformer)
    stubborn = _Stubborn()

    async def run(opened: list[Any]) -> Failure | None:
        opened.append(stubborn)
        if not answers:
            await asyncio.Event().wait()
        return None

    begun = time.monotonic()
    failure = await driver._bounded(Stage.TTS, Recorder("t"), run)
    assert time.monotonic() - begun < WELL_WITHIN_S
    assert stubborn.asked
    stubborn.free.set()
    if answers:
        assert failure is None
    else:
        assert (failure.stage, failure.kind) == (Stage.TTS, FailureKind.TIMEOUT)
        assert failure.message == "did not end within 0.05 s"


def test_garbage_is_collected_while_nobody_plays() -> None:
    """A collection waits until no trial of any performer is under way."""

    class _Knot:
        def __init__(self) -> None:
            self.itself = self

    collector = performer._Collector(playing=1)
    gc.disable()
    try:
        seen = weakref.ref(_Knot())
        collector.settle(first=False)
        assert seen() is not None
        collector.playing = 0
        collector.settle(first=False)
        assert seen() is None
    finally:
        gc.enable()


async def test_trials_of_different_performers_count_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two candidates' trials at once are two under way, and none when both have ended."""
    monkeypatch.setattr(performer, "_COLLECTOR", performer._Collector())
    drivers = [_made(SessionPerformer) for _ in range(2)]
    both = asyncio.Event()
    seen: list[int] = []

    async def play(*_: Any, **__: Any) -> Any:
        seen.append(performer._COLLECTOR.playing)
        if len(seen) == len(drivers):
            both.set()
        await both.wait()

    for each in drivers:
        monkeypatch.setattr(each, "_perform", play)
    await _at_once(drivers)
    assert seen == [2, 2]
    assert performer._COLLECTOR.playing == 0


async def test_cold_trials_at_once_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cold trial has clients of its own, which are closed when it has ended."""
    driver = _made(SessionPerformer, connection="cold")
    all_there = asyncio.Event()
    begun: list[Clients] = []
    closed: list[Clients] = []
    close = Clients.aclose

    async def aclose(self: Clients) -> None:
        closed.append(self)
        await close(self)

    async def play(*given: Any, cold: bool) -> None:
        assert cold
        begun.append(given[3])
        if len(begun) == 3:
            all_there.set()
        await all_there.wait()
        assert given[3] not in closed

    monkeypatch.setattr(Clients, "aclose", aclose)
    monkeypatch.setattr(driver, "_perform", play)
    await _at_once([driver] * 3)
    assert len(set(map(id, begun))) == 3
    assert {id(each) for each in closed} == {id(each) for each in begun[1:]}


async def _at_once(drivers: list[Any]) -> None:
    utterance: PlayableUtterance = playable("u")["u"]
    await asyncio.gather(
        *(
            driver.perform(
                TrialKey(candidate="mine", utterance="u", repeat=number, order=number),
                driver._candidate,
                utterance,
            )
            for number, driver in enumerate(drivers)
        )
    )
