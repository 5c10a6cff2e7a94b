"""What would have been agrees with what is, when it is."""

from dataclasses import replace

import pytest

from harness.analysis.predict.whatif import (
    NOTHING_TO_START_ON,
    response_with_delay,
    response_with_preemption,
    what_if_delay,
    what_if_preemptive,
    what_if_voice,
)
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.samples import make_rows
from harness.analysis.turn.measurement import Measurement, Missing
from harness.domain.request import TranscriptKind
from harness.domain.timeline import Mark
from harness.domain.trial import Turn
from tests.synthetic import (
    MS,
    Script,
    make_failed,
    make_run,
    make_trial,
    make_turn,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(60)}


def response(turn: Turn) -> float:
    """Return the measured response in milliseconds."""
    return (turn.marks[Mark.FIRST_AUDIBLE] - turn.marks[Mark.SPEECH_END]) / MS


def predicted(found: Measurement | Missing) -> float:
    """Return a prediction that must be there."""
    assert isinstance(found, Measurement), found
    return found.value


class TestDelay:
    """Another endpointing delay gives the response of a turn that was played with it."""

    @pytest.mark.parametrize("was", [0, 100, 500])
    @pytest.mark.parametrize("becomes", [0, 100, 300, 500])
    def test_against_the_turn_itself(self, was: int, becomes: int) -> None:
        """From any delay to any other, to the nanosecond."""
        turn = make_turn(Script(endpointing=was * MS))
        truth = make_turn(Script(endpointing=becomes * MS))
        assert predicted(response_with_delay(turn, becomes)) == pytest.approx(response(truth))

    def test_same_delay(self) -> None:
        """The delay that was gives the response that was."""
        turn = make_turn(Script(endpointing=250 * MS, vad=90 * MS))
        assert predicted(response_with_delay(turn, 250)) == pytest.approx(response(turn))

    def test_hidden_llm(self) -> None:
        """With preemptive generation a longer delay costs only what the LLM does not hide."""
        plan = Script(preemptive=0, endpointing=300 * MS)
        turn = make_turn(plan)
        truth = make_turn(Script(preemptive=0, endpointing=700 * MS))
        assert predicted(response_with_delay(turn, 700)) == pytest.approx(response(truth))
        assert predicted(response_with_delay(turn, 300)) == pytest.approx(response(turn))
        assert predicted(response_with_delay(turn, 0)) == pytest.approx(
            response(make_turn(Script(preemptive=0)))
        )


class TestPreemption:
    """Asking on the transcript or on the commit gives the response of a turn played so."""

    def test_on(self) -> None:
        """The endpointing delay is hidden behind the LLM."""
        turn = make_turn(Script(endpointing=300 * MS))
        plan = Script(endpointing=300 * MS)
        # On the final: the LLM starts 300.4 ms (delay and commit) earlier and is the later one.
        saved = (plan.endpointing + plan.commit) / MS
        assert predicted(response_with_preemption(turn, preemptive=True)) == pytest.approx(
            response(turn) - saved
        )
        slow = make_turn(Script(endpointing=2_000 * MS))
        # The LLM is hidden entirely: what is left is the gathering after the commit.
        hidden = (plan.llm_prepare + plan.llm_send + plan.llm + plan.sentence) / MS
        assert predicted(response_with_preemption(slow, preemptive=True)) == pytest.approx(
            response(slow) - hidden
        )

    def test_where_the_stt_commits(self) -> None:
        """There only a preflight of what was finally heard starts early; without one, nothing."""
        turn = make_turn(Script(endpointing=300 * MS))
        found = response_with_preemption(turn, preemptive=True, on_final=False)
        assert found == Measurement(value=response(turn), note=NOTHING_TO_START_ON)
        final = next(each for each in turn.transcripts if each.kind is TranscriptKind.FINAL)
        early = replace(final, kind=TranscriptKind.PREFLIGHT, at_ns=final.at_ns - 40 * MS)
        other = replace(early, text="turn on the kitchen", at_ns=final.at_ns - 90 * MS)
        sent = replace(turn, transcripts=(other, early, *turn.transcripts))
        by_stt = response_with_preemption(sent, preemptive=True, on_final=False)
        by_vad = response_with_preemption(turn, preemptive=True)
        assert predicted(by_stt) == pytest.approx(predicted(by_vad) - 40)
        run = what_if_preemptive(
            make_rows([make_trial(Script())], UTTERANCES), preemptive=True, on_final=False
        )
        assert run.unchanged == {NOTHING_TO_START_ON: 1}
        assert run.left_out == {}

    def test_off(self) -> None:
        """Without preemption the LLM follows the commit."""
        turn = make_turn(Script(preemptive=100 * MS))
        truth = make_turn(Script())
        assert predicted(response_with_preemption(turn, preemptive=False)) == pytest.approx(
            response(truth)
        )

    def test_as_it_was(self) -> None:
        """The setting that was gives the response that was."""
        for plan, on in ((Script(), False), (Script(preemptive=50 * MS), True)):
            turn = make_turn(plan)
            found = response_with_preemption(turn, preemptive=on)
            assert predicted(found) == pytest.approx(response(turn))

    def test_not_recomputable(self) -> None:
        """A turn with a tool, or without a commit, says why it cannot be recomputed."""
        found = response_with_preemption(make_turn(Script(tool=MS)), preemptive=True)
        assert found == Missing(reason="the LLM was asked because of tool")
        empty = Turn(index=0, utterance="u1")
        assert isinstance(response_with_delay(empty, 100), Missing)


class TestRuns:
    """Over a run, failures stay failures and turns left out are counted."""

    def test_delay(self) -> None:
        """The median moves by the delay; failures are in both views."""
        rows = make_rows(make_run(["a"], utterances=24, repeats=3, failed={"a": 4}), UTTERANCES)
        rows = tuple(row for row in rows if not row.trial.key.warmup)
        found = what_if_delay(rows, 400)
        assert found.turns == 68
        assert (found.actual.n, found.predicted.failures) == (72, 4)
        assert isinstance(found.actual.p50, Estimate)
        assert isinstance(found.predicted.p50, Estimate)
        assert found.predicted.p50.point == pytest.approx(found.actual.p50.point + 400)
        assert found.left_out == {}
        assert "400 ms" in found.change

    def test_left_out(self) -> None:
        """What cannot be recomputed is counted by its reason."""
        rows = make_rows([make_trial(Script(tool=MS)), make_failed(utterance="u2")], UTTERANCES)
        found = what_if_preemptive(rows, preemptive=True)
        assert found.left_out == {"the LLM was asked because of tool": 1}
        assert (found.turns, found.predicted.failures) == (0, 1)

    def test_voice(self) -> None:
        """Another voice's first audible sample takes the place of the one measured."""
        mine = [make_trial(Script(tts=150 * MS), utterance=f"u{n + 1}", order=n) for n in range(40)]
        theirs = [
            make_trial(
                Script(tts=400 * MS, leading_silence=100 * MS),
                candidate="b",
                utterance=f"u{n + 1}",
                order=n,
            )
            for n in range(39)
        ]
        found = what_if_voice(make_rows(mine, UTTERANCES), make_rows(theirs, UTTERANCES), "onyx")
        assert isinstance(found.actual.p50, Estimate)
        assert isinstance(found.predicted.p50, Estimate)
        assert found.predicted.p50.point == pytest.approx(found.actual.p50.point + 250 + 60)
        assert found.left_out == {"the other voice did not answer this utterance": 1}
