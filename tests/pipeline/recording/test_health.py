"""How the machine's time-keeping is told of one trial."""

import asyncio
import time

import pytest

from harness.pipeline.recording.health import Watch, health

MS = 1_000_000


@pytest.mark.realtime
@pytest.mark.timing
async def test_what_was_done_before_a_trial_is_not_its_lag() -> None:
    """A pause of the loop that ended as the trial began is no lag of the trial; a later one is."""
    watch = Watch(keep=True)
    await watch.start()
    try:
        await asyncio.sleep(0.05)
        time.sleep(0.08)  # noqa: ASYNC251  (what holds the loop up)
        first = time.perf_counter_ns()
        await asyncio.sleep(0.05)
        second = time.perf_counter_ns()
        time.sleep(0.08)  # noqa: ASYNC251
        await asyncio.sleep(0.05)
        before = health([1 * MS], watch, first, second)
        within = health([2 * MS, 30 * MS], watch, second, time.perf_counter_ns())
        everything = health([], watch, first - 85 * MS, second)
    finally:
        await watch.aclose()
    assert everything.loop_lag_max_ns > 60 * MS > before.loop_lag_max_ns
    assert within.loop_lag_max_ns > 60 * MS
    assert (within.frames, within.late_frames, within.lateness_max_ns) == (2, 1, 30 * MS)
    assert [each.lateness for each in watch.kept] == [(1 * MS,), (2 * MS, 30 * MS), ()]
    assert max(watch.kept[1].lags) == within.loop_lag_max_ns


@pytest.mark.realtime
@pytest.mark.timing
async def test_nothing_is_kept_unasked() -> None:
    """A run's watch keeps no trial's values: a run may be of any length."""
    watch = Watch()
    await watch.start()
    start = time.perf_counter_ns()
    await asyncio.sleep(0.03)
    found = health([1], watch, start, time.perf_counter_ns())
    await watch.aclose()
    assert found.frames == 1
    assert watch.kept == []
