"""The harness's own error is its marks minus the gateway's truth."""

from dataclasses import replace

import pytest

from harness.analysis.summary.selferror import MarkError, TruthRow, join_truth, self_errors
from harness.domain.request import Cause
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from tests.synthetic import MS, Script, make_health, make_trial


def known(trial: Trial, plan: Script, late: int) -> tuple[Trial, list[TruthRow]]:
    """Return a trial with truth ids, and a truth in which each message left ``late`` earlier."""
    turn = trial.turns[0]
    name = trial.key.id
    requests = tuple(
        replace(each, facts={**each.facts, "truth_id": f"{name}-{each.id}"})
        for each in turn.requests
    )
    llm, tts = requests[0].marks, requests[1].marks
    read = 100_000
    rows: list[TruthRow] = [
        (f"{name}-llm", "request_received", llm[Mark.LLM_SENT] + read, None),
        (f"{name}-llm", "text_sent", llm[Mark.LLM_TEXT_RECEIVED] - late, plan.llm - read - late),
        (
            f"{name}-llm",
            "text_sent",
            llm[Mark.SENTENCE_RECEIVED] - late,
            plan.llm + plan.sentence - read - late,
        ),
        (f"{name}-llm", "text_sent", llm[Mark.SENTENCE_RECEIVED] + 50 * MS, 10**12),
        (f"{name}-tts-0", "request_received", tts[Mark.TTS_SENT] + read, None),
        (f"{name}-tts-0", "audio_sent", tts[Mark.TTS_FIRST_BYTE] - late, plan.tts - read - late),
        (f"{name}-tts-0", "audio_sent", tts[Mark.TTS_FIRST_BYTE] + 9 * MS, 10**12),
        (
            "socket",
            "final_sent",
            turn.marks[Mark.FINAL_RECEIVED] - late,
            plan.stt - read - late,
        ),
    ]
    return replace(trial, turns=(replace(turn, requests=requests),)), rows


def errors_of(plan: Script, late: int, count: int = 1) -> tuple[MarkError, ...]:
    """Return the errors of trials whose messages came ``late`` after they left."""
    trials: list[Trial] = []
    truth: list[TruthRow] = []
    for number in range(count):
        trial, rows = known(
            make_trial(plan, order=number, start_ns=10**10 + number * 10**10), plan, late
        )
        trials.append(trial)
        truth.extend(rows)
    return join_truth(trials, truth[::-1])


class TestJoin:
    """Marks meet the message that caused them."""

    def test_marks(self) -> None:
        """Each mark's error is the message's way plus what the client took."""
        plan = Script()
        found = {each.what: each.error_ns for each in errors_of(plan, 300_000)}
        read = 100_000
        # What reading and the way took at STT, LLM and TTS, and all of the client's work.
        client = (
            plan.send
            + plan.stt_client
            + plan.commit
            + plan.llm_prepare
            + plan.llm_send
            + plan.gather
            + plan.tts_prepare
            + plan.tts_send
            + plan.tts_pacing
            + plan.decode
            + plan.playout
        )
        assert found == {
            "llm_sent": -read,
            "llm_text_received": 300_000,
            "llm_first_text": 300_000 + plan.llm_client,
            "tts_sent": -read,
            "tts_first_byte": 300_000,
            "tts_first_frame": 300_000 + plan.tts_pacing + plan.decode,
            "final_received": 300_000,
            "transcript_final": 300_000 + plan.stt_client,
            "response": client + 3 * (read + 300_000),
        }

    def test_named_waits_are_no_error(self) -> None:
        """A known wait is no error of the harness's."""
        plain = next(e for e in errors_of(Script(), 0) if e.what == "response")
        waits = Script(endpointing=400 * MS, underrun=60 * MS, leading_silence=200 * MS)
        found = next(e for e in errors_of(waits, 0) if e.what == "response")
        assert found.error_ns == plain.error_ns

    def test_several_trials(self) -> None:
        """Finals are joined to the turn in which they came."""
        found = errors_of(Script(), 250_000, count=5)
        finals = [each.error_ns for each in found if each.what == "final_received"]
        assert finals == [250_000] * 5

    def test_other_paths_have_no_response_error(self) -> None:
        """With a tool or a hidden LLM the sum of injected delays is not the response."""
        for plan in (Script(preemptive=900 * MS), Script(transport=False)):
            trial = make_trial(plan)
            truth: list[TruthRow] = [("x", "final_sent", 1, 1)]
            assert not [e for e in join_truth([trial], truth) if e.what == "response"]

    def test_nothing_to_join(self) -> None:
        """Without truth, or for a cancelled request, there is no error."""
        trial, rows = known(make_trial(), Script(), 0)
        assert join_truth([trial], []) == ()
        turn = trial.turns[0]
        cancelled = replace(
            turn.requests[0], id="old", cancelled=True, cause=Cause.PREEMPTIVE, parent=None
        )
        more = replace(trial, turns=(replace(turn, requests=(cancelled, *turn.requests)),))
        texts = [e for e in join_truth([more], rows) if e.what == "llm_text_received"]
        assert len(texts) == 1

    def test_a_final_long_ago_is_another(self) -> None:
        """A final that left more than two seconds earlier is not this turn's."""
        trial, rows = known(make_trial(), Script(), 0)
        old = [(a, b, t - 3_000 * MS if b == "final_sent" else t, i) for a, b, t, i in rows]
        assert not [e for e in join_truth([trial], old) if e.what == "final_received"]


class TestTable:
    """Percentiles rest on undisturbed trials, the share of the others stands beside them."""

    def test_percentiles(self) -> None:
        """p50, p99 and the largest of known errors."""
        errors = [
            MarkError(what="llm_sent", kind="transport", error_ns=n * MS, disturbed=False)
            for n in range(1, 101)
        ]
        errors += [
            MarkError(what="llm_sent", kind="transport", error_ns=10**12, disturbed=True)
            for _ in range(25)
        ]
        (found,) = self_errors(errors)
        assert (found.n, found.p50, found.p99, found.largest) == (100, 50.0, 99.0, 100.0)
        assert found.disturbed == pytest.approx(0.2)

    def test_all_disturbed(self) -> None:
        """Where every trial was disturbed there is no percentile."""
        (found,) = self_errors(
            [MarkError(what="response", kind="response", error_ns=1, disturbed=True)]
        )
        assert (found.n, found.p50, found.p99, found.largest) == (0, None, None, None)
        assert found.disturbed == 1.0

    def test_order_and_disturbance(self) -> None:
        """Marks stand in the order of the timeline; a disturbed trial is told apart."""
        trial, rows = known(make_trial(health=make_health(late_frames=1)), Script(), 0)
        found = self_errors(join_truth([trial], rows))
        assert all(each.disturbed == 1.0 for each in found)
        names = [each.what for each in found]
        assert names.index("final_received") < names.index("llm_sent") < names.index("response")
        assert {each.kind for each in found} == {"transport", "framework", "response"}
        assert Stage.LLM in {each.stage for each in trial.turns[0].requests}


class TestWhereMarksStand:
    """A mark is found with the request that took it, whichever request that is."""

    def test_the_sentence_is_the_synthesis_request_s(self) -> None:
        """The delay of the whole first sentence counts, where the TTS request has its mark."""
        plan = Script()
        trial, rows = known(make_trial(plan), plan, 0)
        before = next(e for e in join_truth([trial], rows) if e.what == "response")
        llm, *others = trial.turns[0].requests
        marks = dict(llm.marks)
        received = marks.pop(Mark.SENTENCE_RECEIVED)
        tts = replace(others[0], marks={**others[0].marks, Mark.SENTENCE_RECEIVED: received})
        moved = replace(
            trial,
            turns=(
                replace(trial.turns[0], requests=(replace(llm, marks=marks), tts, *others[1:])),
            ),
        )
        after = next(e for e in join_truth([moved], rows) if e.what == "response")
        assert after.error_ns == before.error_ns

    def test_the_first_frame_is_the_turn_s(self) -> None:
        """The first frame of the audible reply is compared with that request's audio."""
        trial, rows = known(make_trial(), Script(), 0)
        turn = trial.turns[0]
        tts = next(each for each in turn.requests if each.id == turn.audible_request)
        marks = dict(tts.marks)
        frame = marks.pop(Mark.TTS_FIRST_FRAME)
        moved = replace(
            turn,
            marks={**turn.marks, Mark.TTS_FIRST_FRAME: frame},
            requests=tuple(
                replace(each, marks=marks) if each is tts else each for each in turn.requests
            ),
        )

        def frames(one: Trial) -> list[int]:
            found = join_truth([one], rows)
            return [each.error_ns for each in found if each.what == "tts_first_frame"]

        assert frames(replace(trial, turns=(moved,))) == frames(trial) != []

    def test_a_reply_that_was_hung_up_on_counts(self) -> None:
        """A request whose beginning was heard is compared though its rest was cancelled."""
        trial, rows = known(make_trial(), Script(), 0)
        turn = trial.turns[0]
        cut = replace(
            turn,
            requests=tuple(
                replace(each, cancelled=each.stage is Stage.LLM) for each in turn.requests
            ),
        )
        found = {e.what for e in join_truth([replace(trial, turns=(cut,))], rows)}
        assert "llm_text_received" in found

    def test_finals_that_left_together_are_not_told_apart(self) -> None:
        """Of trials at once, a final is left out where another left within 50 ms of it."""
        trial, rows = known(make_trial(), Script(), 0)
        final = next(row for row in rows if row[1] == "final_sent")
        near: TruthRow = ("other", "final_sent", final[2] - 20 * MS, None)
        far: TruthRow = ("other", "final_sent", final[2] - 60 * MS, None)
        assert "final_received" not in {e.what for e in join_truth([trial], [*rows, near])}
        assert "final_received" in {e.what for e in join_truth([trial], [*rows, far])}

    def test_an_id_of_two_requests_joins_nothing(self) -> None:
        """Where two requests bear one id, neither is compared with the other's truth."""
        trial, rows = known(make_trial(), Script(), 0)
        name = next(row[0] for row in rows if row[1] == "request_received")
        again: TruthRow = (name, "request_received", 1, None)
        found = {e.what for e in join_truth([trial], [*rows, again])}
        assert "llm_sent" not in found
        assert "tts_sent" in found
