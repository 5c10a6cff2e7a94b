"""Every fault of every provider's stage, through the real plugins, ends in the right failed trial.

Each cell of the table plays the same utterance with the same clients until the fault has struck
once and a trial has followed it: so the last trial shows that nothing of the fault is left behind.
Time is virtual, so that no time-out depends on how busy the machine is. The stage driver plays
every row; sessions play one row of each kind of protocol, and all of them where there is time
(``nox -s faults``).
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from harness.domain.providers import PROVIDERS
from harness.gateway.profiles.faults import STAGE_FAULTS, FaultKind
from harness.gateway.profiles.faults import Stage as GatewayStage
from tests.pipeline.crooked import Manner
from tests.pipeline.fault_player import play_case, striking
from tests.pipeline.fault_table import CASES, ROWS, Case, NotApplicable, Row

Verdicts = Callable[[Case], str | None]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory, virtually: ProcessPoolExecutor) -> Verdicts:
    """Say what is wrong with a cell."""
    config = striking(tmp_path_factory.mktemp("faults"))
    return lambda case: virtually.submit(play_case, config, case.name).result()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            each,
            id=each.name,
            marks=[pytest.mark.long] if each.long else [],
        )
        for each in CASES
    ],
)
def test_a_fault_ends_right(wrong: Verdicts, case: Case) -> None:
    """The struck trial fails at its stage, in its kind and time; the next, on its clients, ends."""
    told = wrong(case)
    assert told is None, told


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_fault_stands_in_every_row(row: Row) -> None:
    """Each fault has a cell, and none that the gateway can play is left out without a reason."""
    assert set(row.cells) == {*FaultKind, *Manner}
    assert set(row.in_session or ()) <= set(row.cells)
    playable = {*STAGE_FAULTS[GatewayStage(row.stage.value)], *Manner}
    for fault, cell in row.cells.items():
        if isinstance(cell, NotApplicable):
            assert cell.why
        else:
            assert fault in playable


def test_no_kind_of_protocol_is_left_for_the_night() -> None:
    """Every fault of every row is played alone, and in a session by a row of its kind."""
    daily = [case for case in CASES if not case.long]
    alone = {(case.row.name, case.fault) for case in daily if case.driver == "stage"}
    assert alone == {(case.row.name, case.fault) for case in CASES}
    kinds = {(case.row.stage, case.row.wire) for case in daily if case.driver == "session"}
    assert kinds == {(row.stage, row.wire) for row in ROWS}


def test_every_stage_of_every_provider_has_a_row() -> None:
    """Whoever adds a provider adds its rows, each of them for both drivers at least once."""
    for provider in PROVIDERS.values():
        for stage in provider.stages:
            rows = [
                row for row in ROWS if (row.settings.provider, row.stage) == (provider.name, stage)
            ]
            assert rows, (provider.name, stage)
