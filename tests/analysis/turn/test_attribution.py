"""The waterfall: exact, contiguous, and honest about what has no cause."""

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.turn.attribution import (
    EARLY,
    UNATTRIBUTED,
    Part,
    Waterfall,
    unattributed_ns,
    waterfall,
)
from harness.analysis.turn.critical_path import critical_path
from harness.analysis.turn.edges import EDGES
from harness.analysis.turn.measurement import Missing
from harness.analysis.turn.metrics import measure_turn
from harness.analysis.turn.typical import (
    Typical,
    mean_parts,
    part_order,
    stage_totals,
    typical_turn,
)
from harness.clock import Work
from harness.domain.request import Cause, Idle, Request, Transcript, TranscriptKind, Wait, WaitCause
from harness.domain.timeline import ORDER, Mark, Stage
from harness.domain.trial import Turn
from harness.errors import InvariantError
from tests.synthetic import MS, Script, make_failed, make_trial, make_turn, make_utterance

CLIENT_STEPS = {
    "send": "speech_send",
    "stt_client": "stt_client",
    "commit": "commit",
    "llm_prepare": "llm_prepare",
    "llm_send": "llm_send",
    "gather": "gather",
    "tts_prepare": "tts_prepare",
    "tts_send": "tts_send",
    "decode": "decode",
    "playout": "output",
}


def split(turn: Turn) -> Waterfall:
    """Return a turn's waterfall, which it must have."""
    found = waterfall(turn)
    assert isinstance(found, Waterfall), found
    return found


def lengths(falls: Waterfall) -> dict[str, int]:
    """Return nanoseconds by the parts' names."""
    found: dict[str, int] = {}
    for part in falls.parts:
        found[part.name] = found.get(part.name, 0) + part.ns
    return found


def without(turn: Turn, *marks: Mark) -> Turn:
    """Return the turn as if some marks had not been recorded."""

    def kept(found: Mapping[Mark, int]) -> dict[Mark, int]:
        return {mark: at_ns for mark, at_ns in found.items() if mark not in marks}

    return replace(
        turn,
        marks=kept(turn.marks),
        requests=tuple(replace(each, marks=kept(each.marks)) for each in turn.requests),
    )


def shifted(turn: Turn, by_ns: int) -> Turn:
    """Return the turn on another clock."""

    def moved(marks: Mapping[Mark, int]) -> dict[Mark, int]:
        return {mark: at_ns + by_ns for mark, at_ns in marks.items()}

    def waits(found: tuple[Wait, ...]) -> tuple[Wait, ...]:
        return tuple(
            replace(each, start_ns=each.start_ns + by_ns, end_ns=each.end_ns + by_ns)
            for each in found
        )

    return replace(
        turn,
        marks=moved(turn.marks),
        waits=waits(turn.waits),
        transcripts=tuple(
            replace(
                each,
                at_ns=each.at_ns + by_ns,
                received_ns=None if each.received_ns is None else each.received_ns + by_ns,
            )
            for each in turn.transcripts
        ),
        requests=tuple(
            replace(each, marks=moved(each.marks), waits=waits(each.waits))
            for each in turn.requests
        ),
    )


# Arbitrary legal turns: any instants that obey the partial order, any marks missing.

# Fixed input is the stage driver's: its stages have no path in common.
SESSION_CAUSES = [cause for cause in Cause if cause is not Cause.FIXED]
TURN_MARKS = [
    Mark.SPEECH_START,
    Mark.SPEECH_END,
    Mark.SPEECH_SENT,
    Mark.TRANSCRIPT_FIRST,
    Mark.FINAL_RECEIVED,
    Mark.TRANSCRIPT_FINAL,
    Mark.VAD_END,
    Mark.TURN_COMMITTED,
    Mark.PLAYOUT_START,
    Mark.FIRST_AUDIBLE,
]
LLM_MARKS = [
    Mark.LLM_REQUEST,
    Mark.LLM_SENT,
    Mark.LLM_FIRST_BYTE,
    Mark.LLM_FIRST_REASONING,
    Mark.LLM_TEXT_RECEIVED,
    Mark.LLM_FIRST_TEXT,
    Mark.SENTENCE_RECEIVED,
    Mark.LLM_FIRST_SENTENCE,
    Mark.LLM_END,
]
TTS_MARKS = [
    Mark.TTS_REQUEST,
    Mark.TTS_SENT,
    Mark.TTS_HEADER,
    Mark.TTS_FIRST_BYTE,
    Mark.TTS_FRAME_RECEIVED,
    Mark.TTS_FIRST_FRAME,
]


def legal_instants(draw: st.DrawFn, marks: list[Mark]) -> dict[Mark, int]:
    """Draw instants that obey the partial order, some of them missing."""
    instants = {mark: draw(st.integers(0, 3_000)) for mark in marks}
    changed = True
    while changed:
        changed = False
        for earlier, later in ORDER:
            if earlier in instants and later in instants and instants[later] < instants[earlier]:
                instants[later] = instants[earlier]
                changed = True
    gone = draw(st.sets(st.sampled_from(marks)))
    return {mark: at_ns for mark, at_ns in instants.items() if mark not in gone}


@st.composite
def legal_turns(draw: st.DrawFn) -> Turn:
    """Turns with any order that is legal, whatever the pipeline may have done."""
    mine = legal_instants(draw, TURN_MARKS)
    mine[Mark.SPEECH_END] = draw(st.integers(0, 2_000))
    mine.pop(Mark.SPEECH_START, None)
    floor = max(mine.get(Mark.PLAYOUT_START, 0), 0)
    mine[Mark.FIRST_AUDIBLE] = max(floor, draw(st.integers(0, 6_000)))

    def work(marks: Mapping[Mark, int]) -> dict[Mark, Work]:
        if draw(st.booleans()):
            return {}
        return {
            mark: Work(draw(st.integers(0, 3_000)), draw(st.integers(0, 300))) for mark in marks
        }

    def waits() -> tuple[Wait, ...]:
        found = []
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(0, 6_000))
            found.append(
                Wait(
                    cause=draw(st.sampled_from(list(WaitCause))),
                    start_ns=start,
                    end_ns=start + draw(st.integers(0, 3_000)),
                )
            )
        return tuple(found)

    requests: list[Request] = []
    parent = None
    for number in range(draw(st.integers(0, 3))):
        marks = legal_instants(draw, LLM_MARKS)
        requests.append(
            Request(
                id=f"llm-{number}",
                stage=Stage.LLM,
                cause=draw(st.sampled_from([each for each in Cause if each is not Cause.FIXED])),
                parent=parent if draw(st.booleans()) else None,
                cancelled=draw(st.booleans()),
                marks=marks,
                work=work(marks),
                waits=waits(),
            )
        )
        parent = f"llm-{number}"
    audible = None
    for number in range(draw(st.integers(0, 2))):
        marks = legal_instants(draw, TTS_MARKS)
        audible = f"tts-{number}"
        requests.append(
            Request(
                id=audible,
                stage=Stage.TTS,
                cause=draw(st.sampled_from([each for each in Cause if each is not Cause.FIXED])),
                parent=draw(st.sampled_from([None, *(each.id for each in requests)])),
                marks=marks,
                work=work(marks),
                waits=waits(),
            )
        )
    transcripts = tuple(
        Transcript(
            kind=draw(st.sampled_from(list(TranscriptKind))),
            text="word",
            at_ns=at_ns,
            received_ns=draw(st.sampled_from([None, at_ns, max(0, at_ns - 10)])),
        )
        for at_ns in sorted(draw(st.lists(st.integers(0, 5_000), max_size=4)))
    )
    return Turn(
        index=0,
        utterance="u1",
        marks=mine,
        work=work(mine),
        transcripts=transcripts,
        requests=tuple(requests),
        audible_request=audible,
        waits=waits(),
    )


class TestTheParts:
    """The parts are contiguous and sum to the response to the nanosecond, for every legal order."""

    @given(legal_turns())
    @settings(max_examples=600, deadline=None)
    def test_parts_fill_the_response(self, turn: Turn) -> None:
        """Parts of any legal turn begin at the end of speech and end at the first audible."""
        falls = split(turn)
        assert falls.start_ns == turn.marks[Mark.SPEECH_END]
        assert falls.end_ns == turn.marks[Mark.FIRST_AUDIBLE]
        assert sum(part.ns for part in falls.parts) == falls.response_ns
        cursor = falls.start_ns
        for part in falls.parts:
            assert part.start_ns == cursor
            assert part.ns > 0 or part.name == EARLY
            cursor = part.end_ns
        assert sum(stage_totals(falls).values()) == falls.response_ns
        assert 0 <= unattributed_ns(falls) <= max(0, falls.response_ns)

    @given(legal_turns(), st.integers(-(10**15), 10**15))
    @settings(max_examples=200, deadline=None)
    def test_shift(self, turn: Turn, by_ns: int) -> None:
        """Shifting every instant changes no part."""
        before = [(part.name, part.kind, part.ns) for part in split(turn).parts]
        after = [(part.name, part.kind, part.ns) for part in split(shifted(turn, by_ns)).parts]
        assert before == after

    @given(legal_turns())
    @settings(max_examples=200, deadline=None)
    def test_path_never_goes_back(self, turn: Turn) -> None:
        """The legs of the path touch each other and never go back in time."""
        legs = critical_path(turn)
        if isinstance(legs, Missing):
            assert turn.marks[Mark.FIRST_AUDIBLE] < turn.marks[Mark.SPEECH_END]
            return
        for before, after in pairwise(legs):
            assert before.end == after.start
        for leg in legs:
            assert leg.start.at_ns <= leg.end.at_ns
        assert legs[0].start.at_ns <= turn.marks[Mark.SPEECH_END]
        assert legs[-1].end.at_ns == turn.marks[Mark.FIRST_AUDIBLE]

    @given(legal_turns())
    @settings(max_examples=200, deadline=None)
    def test_names(self, turn: Turn) -> None:
        """Every part has a place in the order of the path."""
        for part in split(turn).parts:
            assert part.name == EARLY or part_order(part.name)[0] >= 0

    def test_law_is_checked(self) -> None:
        """A waterfall whose parts leave a hole cannot be made."""
        part = Part(name="llm", title="", stage=Stage.LLM, kind="provider", start_ns=0, end_ns=5)
        with pytest.raises(InvariantError):
            Waterfall(start_ns=0, end_ns=6, parts=(part,))
        with pytest.raises(InvariantError):
            Waterfall(start_ns=-1, end_ns=5, parts=(part,))


class TestTruth:
    """Each part is the delay that the script injected."""

    def test_every_step(self) -> None:
        """On a plain turn every part equals its step and nothing is unattributed."""
        plan = Script(pacing=3 * MS, endpointing=250 * MS, connect=40 * MS, underrun=70 * MS)
        falls = split(make_turn(plan))
        assert lengths(falls) == {
            "frame": plan.frame,
            "pacing": plan.pacing,
            "speech_send": plan.send,
            "stt": plan.stt,
            "stt_client": plan.stt_client,
            "endpointing_delay": plan.endpointing,
            "commit": plan.commit,
            "llm_prepare": plan.llm_prepare,
            "connect": plan.connect,
            "llm_send": plan.llm_send,
            "llm": plan.llm,
            "sentence": plan.sentence,
            "gather": plan.gather,
            "tts_prepare": plan.tts_prepare,
            "tts_send": plan.tts_send,
            "tts": plan.tts,
            "tts_pacing": plan.tts_pacing,
            "decode": plan.decode,
            "output": plan.playout,
            "leading_silence": plan.leading_silence,
            "underrun": plan.underrun,
        }
        assert unattributed_ns(falls) == 0
        measured = measure_turn("response", make_turn(plan), make_utterance())
        assert not isinstance(measured, Missing)
        assert falls.response_ns == round(measured.value * MS)

    @pytest.mark.parametrize(("step", "edge"), CLIENT_STEPS.items())
    def test_planted_gap(self, step: str, edge: str) -> None:
        """50 ms planted where no work was done come back as 50 ms unattributed, there."""
        falls = split(make_turn(Script(idle={step: 50 * MS})))
        assert unattributed_ns(falls) == 50 * MS
        assert lengths(falls)[f"{edge}.{UNATTRIBUTED}"] == 50 * MS
        assert lengths(falls)[edge] == lengths(split(make_turn()))[edge]

    def test_wait_explains_its_own_interval_only(self) -> None:
        """An endpointing delay beside a planted gap leaves the gap unattributed."""
        falls = split(make_turn(Script(endpointing=300 * MS, idle={"commit": 50 * MS})))
        assert lengths(falls)["endpointing_delay"] == 300 * MS
        assert unattributed_ns(falls) == 50 * MS

    def test_work_elsewhere_explains_nothing(self) -> None:
        """Work beyond an edge's length explains the edge and no other."""
        turn = make_turn(Script(idle={"decode": 50 * MS}))
        assert unattributed_ns(split(turn)) == 50 * MS
        early = {mark: Work(0, 0) for mark in turn.work}
        assert unattributed_ns(split(replace(turn, work=early))) >= 50 * MS

    def test_without_work(self) -> None:
        """Where no work was recorded, client time is unattributed and waits are still named."""
        plan = Script(work=False, endpointing=100 * MS)
        falls = split(make_turn(plan))
        assert {part.kind for part in falls.parts} == {"provider", "wait", UNATTRIBUTED}
        assert lengths(falls)["endpointing_delay"] == 100 * MS
        assert unattributed_ns(falls) == sum(getattr(plan, step) for step in CLIENT_STEPS)

    def test_queueing_counts_as_explained(self) -> None:
        """Time ready to run without a processor is the client's, not unattributed."""
        turn = make_turn()
        queued = {mark: Work(0, work.cpu_ns + work.queued_ns) for mark, work in turn.work.items()}
        requests = tuple(
            replace(
                each,
                work={m: Work(0, w.cpu_ns + w.queued_ns) for m, w in each.work.items()},
            )
            for each in turn.requests
        )
        assert unattributed_ns(split(replace(turn, work=queued, requests=requests))) == 0


class TestThePath:
    """The path runs through what the reply had to wait for."""

    def test_vad_later_than_the_final(self) -> None:
        """A VAD that ends after the final hides the STT."""
        found = lengths(split(make_turn(Script(vad=500 * MS))))
        assert found["vad"] == 500 * MS
        assert "stt" not in found

    def test_vad_earlier_than_the_final(self) -> None:
        """A VAD that ends before the final is hidden by the STT."""
        found = lengths(split(make_turn(Script(vad=50 * MS))))
        assert "vad" not in found
        assert found["stt"] == 120 * MS

    def test_preemptive_llm_hidden(self) -> None:
        """Asked early enough, the LLM is hidden: the path goes through the commit."""
        plan = Script(preemptive=900 * MS)
        found = lengths(split(make_turn(plan)))
        assert found["release"] == plan.gather
        assert found["stt"] == plan.stt
        assert not any(name.startswith("llm") or name == "sentence" for name in found)

    def test_preemptive_llm_late(self) -> None:
        """Asked on a transcript before the end of speech, the LLM hides STT and commit."""
        plan = Script(preemptive=100 * MS)
        falls = split(make_turn(plan))
        found = lengths(falls)
        assert not {"stt", "commit", "release", "speech_send"} & set(found)
        # What of the LLM lies before the end of speech is no part of the response.
        assert found["llm"] == plan.llm - (100 * MS - plan.llm_send)

    def test_preemptive_on_the_final(self) -> None:
        """A preemptive request on the final waits for the STT, not for the endpointing delay."""
        plain = make_turn(Script(endpointing=100 * MS))
        final = plain.marks[Mark.TRANSCRIPT_FINAL]
        llm = plain.request("llm")
        assert llm is not None
        moved = final + MS - llm.marks[Mark.LLM_REQUEST]
        held: Mark = Mark.LLM_FIRST_SENTENCE
        early = replace(
            llm,
            cause=Cause.PREEMPTIVE,
            marks={
                mark: at_ns if mark == held else at_ns + moved
                for mark, at_ns in llm.marks.items()
                if mark is not Mark.LLM_END
            },
        )
        turn = replace(plain, requests=(early, *plain.requests[1:]))
        found = lengths(split(turn))
        assert found["stt"] == 120 * MS
        assert "endpointing_delay" not in found
        assert found["llm"] == 300 * MS

    def test_preemptive_tts(self) -> None:
        """A reply synthesised before the commit waited for the commit alone."""
        turn = make_turn(Script(preemptive=1_200 * MS))
        commit = turn.marks[Mark.TURN_COMMITTED]
        moved = 300 * MS
        requests = tuple(
            replace(each, marks={m: t - moved for m, t in each.marks.items()})
            if each.stage is Stage.TTS
            else replace(
                each,
                marks={
                    m: t - moved if m in {Mark.LLM_FIRST_SENTENCE, Mark.LLM_END} else t
                    for m, t in each.marks.items()
                },
            )
            for each in turn.requests
        )
        marks = dict(turn.marks)
        marks[Mark.PLAYOUT_START] = commit + MS
        marks[Mark.FIRST_AUDIBLE] = commit + 41 * MS
        waits = tuple(w for w in turn.waits if w.cause is not WaitCause.LEADING_SILENCE)
        found = lengths(split(replace(turn, marks=marks, requests=requests, waits=waits)))
        assert found["commit"] == 400_000
        assert "tts" not in found
        assert "llm" not in found

    def test_tool(self) -> None:
        """A tool call shows both LLM requests and the tool by name."""
        plan = Script(tool=250 * MS)
        found = lengths(split(make_turn(plan)))
        assert found["tool"] == 250 * MS
        assert found["around_tool"] == plan.llm_prepare
        assert found["tool_llm"] == plan.llm
        assert found["tool_llm_rest"] == plan.sentence
        assert found["llm"] == plan.llm
        assert "llm_prepare" not in found

    def test_tools_reasoning_stays_with_the_tool(self) -> None:
        """Reasoning before the tool call does not leak into the answer's request."""
        turn = make_turn(Script(tool=250 * MS, reasoning=400 * MS))
        answer = turn.request("llm")
        assert answer is not None
        marks = dict(answer.marks)
        del marks[Mark.LLM_FIRST_REASONING]
        requests = tuple(
            replace(each, marks=marks) if each.id == "llm" else each for each in turn.requests
        )
        found = lengths(split(replace(turn, requests=requests)))
        assert found["tool_llm"] == 400 * MS
        assert found["tool_llm_reasoning"] == 300 * MS
        assert found["llm"] == 700 * MS
        assert "llm_reasoning" not in found

    def test_reasoning(self) -> None:
        """Reasoning is a part of its own."""
        found = lengths(split(make_turn(Script(reasoning=400 * MS))))
        assert found["llm"] == 400 * MS
        assert found["llm_reasoning"] == 300 * MS

    def test_several_sentences(self) -> None:
        """Later sentences lie off the path."""
        assert lengths(split(make_turn(Script(sentences=4)))) == lengths(split(make_turn()))

    def test_retry(self) -> None:
        """The time of a failed attempt is named and is no part of the answer's LLM time."""
        turn = make_turn()
        llm = turn.request("llm")
        assert llm is not None
        asked = llm.marks[Mark.LLM_REQUEST]
        delay = 2_000 * MS
        failed = Request(
            id="llm-failed",
            stage=Stage.LLM,
            cause=Cause.TURN,
            marks={Mark.LLM_REQUEST: asked},
        )
        late = shifted(replace(turn, marks={}, transcripts=(), waits=()), delay)
        marks: dict[Mark, int] = {
            mark: at_ns + delay if mark in {Mark.PLAYOUT_START, Mark.FIRST_AUDIBLE} else at_ns
            for mark, at_ns in turn.marks.items()
            if mark is not Mark.PLAYOUT_END
        }
        requests = tuple(
            replace(each, cause=Cause.RETRY, parent="llm-failed") if each.id == "llm" else each
            for each in late.requests
        )
        found = lengths(split(replace(turn, marks=marks, requests=(failed, *requests))))
        assert found["llm_failed"] == delay
        assert found["llm"] == 300 * MS

    def test_transport_unseen(self) -> None:
        """Without marks at the socket the provider's parts hold the client's."""
        plan = Script(transport=False)
        falls = split(make_turn(plan))
        found = lengths(falls)
        assert found["stt"] == plan.send + plan.stt + plan.stt_client
        assert found["llm"] == plan.llm_send + plan.llm + plan.llm_client
        assert found["tts"] == plan.tts_send + plan.tts + plan.tts_pacing + plan.decode
        assert found["frame"] == plan.frame
        assert unattributed_ns(falls) == 0

    def test_one_mark_missing(self) -> None:
        """Any one mark may be missing: its two edges become one."""
        turn = make_turn(Script(reasoning=200 * MS, endpointing=50 * MS, vad=20 * MS))
        for mark in Mark:
            if mark in {Mark.SPEECH_END, Mark.FIRST_AUDIBLE}:
                continue
            falls = split(without(turn, mark))
            assert falls.response_ns == split(turn).response_ns

    def test_nothing_but_the_ends(self) -> None:
        """With no mark between, the response is no stage's fault alone: one provider's part."""
        turn = without(make_turn(), *(set(Mark) - {Mark.SPEECH_END, Mark.FIRST_AUDIBLE}))
        falls = split(replace(turn, waits=()))
        assert len(falls.parts) == 1

    def test_early_answer(self) -> None:
        """A reply before the end of speech is one negative part."""
        turn = make_turn()
        marks = dict(turn.marks)
        marks[Mark.SPEECH_END] = marks[Mark.FIRST_AUDIBLE] + 30 * MS
        marks.pop(Mark.AUDIO_END)
        falls = split(replace(turn, marks=marks))
        assert [(part.name, part.ns) for part in falls.parts] == [(EARLY, -30 * MS)]
        assert stage_totals(falls) == {"endpointing": -30 * MS}

    def test_missing_ends(self) -> None:
        """Without an end of speech or anything audible there is no waterfall, and it says why."""
        turn = make_turn()
        assert waterfall(without(turn, Mark.FIRST_AUDIBLE)) == Missing(reason="no first_audible")
        assert waterfall(without(turn, Mark.SPEECH_END)) == Missing(reason="no speech_end")

    def test_parents_in_a_circle(self) -> None:
        """Requests that name each other as parents do not hang the walk."""
        turn = make_turn(Script(tool=10 * MS))
        requests = tuple(
            replace(each, parent="llm", cause=Cause.TOOL) if each.id == "llm-call" else each
            for each in turn.requests
        )
        assert split(replace(turn, requests=requests)).response_ns > 0


class TestManyTurns:
    """What is said of many turns is an actual turn or sums exactly."""

    def test_typical_turn(self) -> None:
        """The typical turn is the order statistic of the response, failures last."""
        rng = random.Random(3)
        trials = [
            make_trial(Script(llm=rng.randrange(100, 900) * MS), order=order) for order in range(19)
        ]
        responses = sorted(split(trial.turns[0]).response_ns for trial in trials)
        median = typical_turn(trials, 0.5)
        assert isinstance(median, Typical)
        assert median.waterfall.response_ns == responses[9]
        failed = [make_failed(order=order) for order in range(20, 40)]
        worse = typical_turn([*trials, *failed], 0.48)
        assert isinstance(worse, Typical)
        assert worse.waterfall.response_ns == responses[18]
        timed_out = typical_turn([*trials, *failed], 0.95)
        assert isinstance(timed_out, Missing)
        assert "timed out" in timed_out.reason

    def test_no_turn(self) -> None:
        """Without a response there is no typical turn."""
        assert isinstance(typical_turn([make_failed()], 0.5), Missing)

    def test_mean_parts(self) -> None:
        """Mean parts sum to the mean response, in the order of the path."""
        falls = [
            split(make_turn(Script(llm=llm * MS, underrun=under * MS)))
            for llm, under in ((200, 0), (300, 30), (700, 0))
        ]
        parts = mean_parts(falls)
        assert sum(part.mean_ns for part in parts) == pytest.approx(
            sum(each.response_ns for each in falls) / 3
        )
        under = next(part for part in parts if part.name == "underrun")
        assert (under.mean_ns, under.turns) == (10 * MS, 1)
        keys = [part_order(part.name) for part in parts]
        assert keys == sorted(keys)

    def test_no_turns(self) -> None:
        """The mean of no turn is no part."""
        assert mean_parts([]) == ()

    def test_names_are_unique(self) -> None:
        """No wait bears the name of an edge, so that sums by name never mix causes."""
        assert not set(EDGES) & {cause.value for cause in WaitCause}


class TestIdleness:
    """A step of the program is done without the loop going idle."""

    @staticmethod
    def _turn(idle: tuple[Idle, ...]) -> Turn:
        turn = make_turn(Script())
        marks = turn.marks
        # All of the leg from the final to the commit is made to look worked through.
        busy = {
            **turn.work,
            Mark.TRANSCRIPT_FINAL: Work(cpu_ns=0, queued_ns=0),
            Mark.TURN_COMMITTED: Work(cpu_ns=10**9, queued_ns=0),
        }
        assert marks[Mark.TURN_COMMITTED] - marks[Mark.TRANSCRIPT_FINAL] > 300_000
        return replace(turn, work=busy, idle=idle)

    def test_work_during_a_wait_is_not_the_clients(self) -> None:
        """What ran between the first idleness and the last was about something else."""
        turn = self._turn(())
        start = turn.marks[Mark.TRANSCRIPT_FINAL]
        end = turn.marks[Mark.TURN_COMMITTED]
        found = lengths(
            split(replace(turn, idle=(Idle(start_ns=start + 100_000, end_ns=end - 150_000),)))
        )
        assert found["commit"] == 250_000
        assert found["commit.unattributed"] == end - start - 250_000

    def test_a_loop_that_never_idled_worked(self) -> None:
        """Without idleness the work itself is the evidence."""
        turn = self._turn((Idle(start_ns=0, end_ns=1),))
        found = lengths(split(turn))
        assert "commit.unattributed" not in found

    def test_a_blocking_sleep_leaves_no_work(self) -> None:
        """A loop that is blocked is not idle, and yet nothing was done."""
        turn = self._turn(())
        work = {**turn.work, Mark.TURN_COMMITTED: Work(cpu_ns=1_000, queued_ns=0)}
        found = lengths(split(replace(turn, work=work)))
        length = turn.marks[Mark.TURN_COMMITTED] - turn.marks[Mark.TRANSCRIPT_FINAL]
        assert found["commit.unattributed"] == length - 1_000

    def test_stages_alone_have_no_waterfall(self) -> None:
        """Requests with fixed input do not follow from one another."""
        turn = make_turn(Script())
        alone = tuple(replace(each, cause=Cause.FIXED) for each in turn.requests)
        assert isinstance(waterfall(replace(turn, requests=alone)), Missing)
