"""The harness's error, judged against what is promised."""

from dataclasses import replace

import pytest

from harness.analysis.summary.accuracy import PROMISES, AccuracyRow, accuracy
from harness.analysis.turn.measurement import MILLISECOND as MS
from harness.domain.timeline import Mark
from harness.domain.trial import Trial
from tests.synthetic import Script, make_health, make_trial


def judged(
    lateness_ms: list[float], *, trial: Trial | None = None, lags_ms: tuple[float, ...] = ()
) -> dict[str, AccuracyRow]:
    """Return the rows of one trial whose frames were so late."""
    mine = make_trial() if trial is None else trial
    rows = accuracy(
        [mine],
        [],
        lateness={mine.started_ns: [round(each * MS) for each in lateness_ms]},
        lags={mine.started_ns: [round(each * MS) for each in lags_ms]},
    )
    return {row.what: row for row in rows}


def test_percentiles_of_the_frames() -> None:
    """Every frame counts once; percentiles are those of all frames together."""
    row = judged([each / 100 for each in range(1, 101)])["frame"]
    assert (row.n, row.p50, row.p99, row.largest) == (100, 0.5, 0.99, 1.0)
    assert row.kept is True


@pytest.mark.parametrize(
    ("lateness", "kept"),
    [([0.7] * 100, True), ([0.71] * 100, False), ([0.1] * 98 + [3.1] * 2, False)],
    ids=["at the promise", "p50 beyond", "p99 beyond"],
)
def test_a_promise_has_two_ends(lateness: list[float], kept: bool) -> None:
    """A promise is kept where both of its percentiles are; at the figure itself it is kept."""
    assert judged(lateness)["frame"].kept is kept


def test_nothing_promised() -> None:
    """The event loop's lag is shown and not judged."""
    row = judged([0.1], lags_ms=(1.0, 300.0))["loop_lag"]
    assert (row.n, row.largest, row.promise, row.kept) == (2, 300.0, None, None)


def test_disturbed_trials_are_left_out_and_counted() -> None:
    """A row of nothing but disturbed trials has a share of 1, no percentile and no judgement."""
    disturbed = make_trial(health=make_health(late_frames=1))
    row = judged([9.0, 9.0], trial=disturbed)["frame"]
    assert (row.n, row.p50, row.p99, row.largest, row.kept) == (0, None, None, None, None)
    assert row.disturbed == 1.0
    clean = replace(make_trial(), started_ns=disturbed.started_ns + 1)
    (frames,) = (
        row
        for row in accuracy(
            [clean, disturbed],
            [],
            lateness={clean.started_ns: [MS // 10] * 3, disturbed.started_ns: [9 * MS]},
            lags={},
        )
        if row.what == "frame"
    )
    assert (frames.n, frames.largest, frames.disturbed) == (3, 0.1, 0.25)


def test_drivers_stand_apart() -> None:
    """Rows of sessions and of stages alone are not mixed; without a whole turn no response."""
    stage = replace(make_trial(Script()), driver="stage", started_ns=1)
    session = replace(make_trial(Script()), driver="session", started_ns=2)
    rows = accuracy([session, stage], [], lateness={1: [MS], 2: [2 * MS]}, lags={})
    frames = {row.driver: row.largest for row in rows if row.what == "frame"}
    assert frames == {"session": 2.0, "stage": 1.0}
    assert [row.driver for row in rows if row.what == "unattributed"] == ["session"]


def test_early_counts_as_much_as_late() -> None:
    """A mark before its truth is as wrong as one behind it."""
    trial = make_trial()
    turn = trial.turns[0]
    llm = replace(turn.requests[0], facts={"truth_id": "x"})
    mine = replace(trial, turns=(replace(turn, requests=(llm, *turn.requests[1:])),))
    truth = [("x", "request_received", llm.marks[Mark.LLM_SENT] + 7 * MS, None)]
    row = next(
        row for row in accuracy([mine], truth, lateness={}, lags={}) if row.what == "llm_sent"
    )
    assert (row.p50, row.kept) == (7.0, False)


def test_promises_are_about_something() -> None:
    """What is promised is a mark or one of the rows that have no mark."""
    marks = {mark.value for mark in Mark}
    assert set(PROMISES) - marks == {"frame", "response", "unattributed"}
    for promise in PROMISES.values():
        assert promise.p99 is None or promise.p50 < promise.p99
