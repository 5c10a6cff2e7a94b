"""``run --verify``: two plays of one plan are equal, or it is said where they are not."""

from dataclasses import replace

from harness.cli.shared.verifying import verify
from harness.domain.timeline import Mark
from tests.synthetic import make_run


def test_equal_trials_are_verified_in_any_order() -> None:
    """The same trials in another order differ nowhere; what is measured in real time may differ."""
    trials = make_run()
    other = [
        replace(
            trial,
            lane_bytes=1,
            turns=tuple(replace(turn, agent_cpu_ns=7) for turn in trial.turns),
        )
        for trial in reversed(trials)
    ]
    found = verify(trials, other)
    assert not found.differences
    assert found.trials == len(trials)
    assert found.values > 10 * len(trials)
    assert found.text.startswith("verified: played twice, all ")


def test_a_nanosecond_is_a_difference() -> None:
    """One mark that is one nanosecond later is found, and named with both values."""
    trials = list(make_run())
    turn = trials[0].turns[0]
    marks = {**turn.marks, Mark.SPEECH_END: turn.marks[Mark.SPEECH_END] + 1}
    changed = replace(trials[0], turns=(replace(turn, marks=marks), *trials[0].turns[1:]))
    found = verify(trials, [changed, *trials[1:]])
    assert len(found.differences) == 1
    assert "speech_end" in found.differences[0]
    assert found.text.startswith("not verified: 1 of ")


def test_a_missing_trial_is_a_difference() -> None:
    """A trial that one of the runs lacks is no equality."""
    trials = list(make_run())
    assert verify(trials, trials[1:]).differences
