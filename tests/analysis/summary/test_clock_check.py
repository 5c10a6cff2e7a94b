"""The difference of two clocks is taken turn by turn, and split by its causes."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.summary.clock_check import CAUSES, check_clocks
from harness.domain.trial import FailedTrial, Trial
from tests.synthetic import MS, Script, draw_scripts, make_failed, make_health, make_trial

FRAMEWORK = ("send", "stt_client", "commit", "llm_prepare", "llm_send", "llm_client", "gather")
NO_WORK: dict[str, Any] = dict.fromkeys(
    (*FRAMEWORK, "tts_prepare", "tts_send", "decode", "playout", "pacing"), 0
)


def played(scripts: Sequence[Script]) -> list[Trial | FailedTrial]:
    """Return a trial of each script."""
    return [
        make_trial(script, utterance=f"u{number}", order=number, start_ns=(5 + 6 * number) * 10**9)
        for number, script in enumerate(scripts)
    ]


def both(turns: int = 12, seed: int = 3) -> tuple[list[Trial | FailedTrial], ...]:
    """Return trials of the same draws on the real clock, and where Python takes no time."""
    scripts = draw_scripts(turns, random.Random(seed))
    return played(scripts), played([replace(each, **NO_WORK) for each in scripts])


def test_same() -> None:
    """Two runs that agree lie 0 apart, in all causes."""
    real, _ = both()
    found = check_clocks(real, real)
    assert (found.turns, found.disturbed, found.unpaired) == (12, 0, 0)
    assert [each.what for each in found.gaps] == ["response", *CAUSES]
    assert all(each.p50 == each.p95 == each.largest == 0 for each in found.gaps)


@pytest.mark.parametrize("seed", range(5))
def test_python_is_the_difference(seed: int) -> None:
    """Where only Python's own work is left out, the client's parts are all of the difference."""
    real, virtual = both(seed=seed)
    gaps = {each.what: each for each in check_clocks(real, virtual).gaps}
    for response, client in (
        (gaps["response"].p50, gaps["client"].p50),
        (gaps["response"].p95, gaps["client"].p95),
    ):
        assert response > 0
        assert response == pytest.approx(client + gaps["provider"].p50, abs=2.5)
    assert gaps["unattributed"].largest == pytest.approx(0, abs=0.5)


def test_planted() -> None:
    """A provider that takes 7 ms longer on the real clock is the provider's 7 ms."""
    scripts = draw_scripts(8, random.Random(1))
    slower = [replace(each, llm=each.llm + 7 * MS) for each in scripts]
    gaps = {each.what: each for each in check_clocks(played(slower), played(scripts)).gaps}
    assert gaps["response"].p50 == gaps["provider"].p50 == pytest.approx(7)
    assert gaps["response"].largest == pytest.approx(7)
    assert gaps["client"].largest == pytest.approx(0)


def test_left_out() -> None:
    """Disturbed, failed and missing trials are counted and not compared."""
    real, virtual = both(4)
    assert isinstance(real[0], Trial)
    real[0] = replace(real[0], health=make_health(late_frames=1))
    real[1] = make_failed(utterance="u1", order=1)
    found = check_clocks(real, virtual[:3])
    assert (found.turns, found.disturbed, found.unpaired) == (1, 1, 2)
    none = check_clocks(real[:1], virtual)
    assert (none.turns, none.gaps, none.response) == (0, (), None)
