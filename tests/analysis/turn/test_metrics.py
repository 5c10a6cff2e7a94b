"""Every metric is what its definition says, for one turn."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.turn.measurement import Measurement, Missing
from harness.analysis.turn.metrics import METRICS, measure, measure_all, measure_turn
from harness.analysis.turn.reading import (
    finals_only,
    late_transcript,
    marks_of,
    transcript_text,
    word_score,
)
from harness.analysis.words.transcript import NoTranscript, Score
from harness.domain.reply import PlayoutSegment, Reply
from harness.domain.request import Arrival, Cause, Request, Transcript, TranscriptKind
from harness.domain.suite import Driver
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.domain.utterance import Utterance
from tests.synthetic import MS, Script, make_failed, make_trial, make_turn, make_utterance

IDS = [
    "stt_first_transcript",
    "stt_finalize",
    "stt_final",
    "endpointing",
    "llm_ttft",
    "llm_first_reasoning",
    "llm_sentence",
    "llm_tokens_per_second",
    "llm_intertoken_gap",
    "tts_first_byte",
    "tts_first_audible",
    "tts_realtime_factor",
    "tts_underruns",
    "agent_cpu",
    "response",
    "cut_ins",
    "greeting",
    "wer",
    "cer",
    "tts_wer",
    "llm_client_overhead",
    "tts_client_overhead",
    "stt_client_overhead",
    "interruption",
    "interruption_detection",
    "interruption_verdict",
    "missed_interruptions",
    "false_interruptions",
    "interruption_fallbacks",
]


def value(metric_id: str, turn: Turn, utterance: Utterance | None = None) -> float:
    """Return a value that must be there."""
    found = measure_turn(metric_id, turn, utterance or make_utterance())
    assert isinstance(found, Measurement), found
    return found.value


def with_request(turn: Turn, request_id: str, **changes: object) -> Turn:
    """Return the turn with one request changed."""
    requests = tuple(
        replace(each, **changes) if each.id == request_id else each  # type: ignore[arg-type]
        for each in turn.requests
    )
    return replace(turn, requests=requests)


class TestTheTable:
    """Every metric of the design stands in one literal table."""

    def test_ids(self) -> None:
        """The table has the metrics of the design and no others."""
        assert set(METRICS) == set(IDS)

    @pytest.mark.parametrize("metric_id", IDS)
    def test_definition(self, metric_id: str) -> None:
        """Each has a title, a definition, what it leaves out and a driver."""
        metric = METRICS[metric_id]
        assert metric.id == metric_id
        assert metric.title
        assert metric.definition
        assert metric.leaves_out
        assert metric.drivers
        assert (metric.start is None) == (metric.end is None)

    def test_stt_final_is_never_finalize(self) -> None:
        """No driver measures both the STT's own final and the one it was told to send."""
        assert not METRICS["stt_final"].drivers & METRICS["stt_finalize"].drivers

    def test_titles_differ(self) -> None:
        """No two metrics share a title."""
        assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


class TestSpans:
    """A time is the difference of two marks: the injected delays, to the nanosecond."""

    def test_injected(self) -> None:
        """Each span equals the sum of the steps between its marks."""
        plan = Script(endpointing=200 * MS, reasoning=150 * MS, underrun=30 * MS)
        turn = make_turn(plan)
        final = plan.frame + plan.send + plan.stt + plan.stt_client
        spans = {
            "stt_first_transcript": 400 * MS,
            "stt_finalize": final,
            "stt_final": final,
            "endpointing": final + plan.endpointing + plan.commit,
            "llm_ttft": plan.llm_send + 150 * MS + plan.llm + plan.llm_client,
            "llm_first_reasoning": plan.llm_send + 150 * MS,
            "llm_sentence": plan.sentence - plan.llm_client + plan.gather,
            "llm_intertoken_gap": plan.sentence / 8,
            "tts_first_byte": plan.tts_send + plan.tts,
            "tts_first_audible": plan.tts_send + plan.tts + plan.leading_silence + plan.underrun,
            "llm_client_overhead": plan.llm_send + plan.llm_client,
            "tts_client_overhead": plan.tts_send + plan.decode,
            "stt_client_overhead": plan.stt_client,
        }
        for metric_id, ns in spans.items():
            assert value(metric_id, turn) == pytest.approx(ns / MS, abs=1e-9), metric_id

    @given(st.integers(-(10**15), 10**15))
    def test_shift(self, by_ns: int) -> None:
        """Shifting every mark changes no metric."""
        turn = make_turn(start_ns=10**16)
        other = make_turn(start_ns=10**16 + by_ns)
        for metric_id in METRICS:
            before = measure_turn(metric_id, turn, make_utterance())
            after = measure_turn(metric_id, other, make_utterance())
            assert before == after

    def test_negative_is_kept(self) -> None:
        """A final before the end of speech and an answer before it are negative, not 0."""
        turn = make_turn()
        marks = dict(turn.marks)
        del marks[Mark.AUDIO_END]
        marks[Mark.SPEECH_END] = marks[Mark.FIRST_AUDIBLE] + 5 * MS
        early = replace(turn, marks=marks)
        # Within the tolerance of the bounds it is no cut-in.
        assert value("response", early, replace(make_utterance(), tolerance_ms=10.0)) == -5.0
        assert value("stt_final", early) < -5.0

    def test_ttft_is_of_the_request_that_was_heard(self) -> None:
        """A cancelled preemptive request and a tool's request do not give the TTFT."""
        plan = Script(tool=100 * MS)
        turn = make_turn(plan)
        cancelled = Request(
            id="llm-old",
            stage=Stage.LLM,
            cause=Cause.PREEMPTIVE,
            cancelled=True,
            marks={Mark.LLM_REQUEST: 1, Mark.LLM_FIRST_TEXT: 2},
        )
        turn = replace(turn, requests=(cancelled, *turn.requests))
        assert value("llm_ttft", turn) == (plan.llm_send + plan.llm + plan.llm_client) / MS

    def test_gaps_are_not_filled_from_a_tools_request(self) -> None:
        """Reasoning of the tool's request is not the answer's."""
        turn = make_turn(Script(tool=100 * MS, reasoning=50 * MS))
        answer = turn.request("llm")
        assert answer is not None
        marks = dict(answer.marks)
        del marks[Mark.LLM_FIRST_REASONING]
        found = measure_turn(
            "llm_first_reasoning", with_request(turn, "llm", marks=marks), make_utterance()
        )
        assert found == Missing(reason="no llm_first_reasoning")

    def test_retry_is_marked(self) -> None:
        """A TTFT after a failed attempt is marked so."""
        turn = with_request(make_turn(), "llm", cause=Cause.RETRY)
        found = measure_turn("llm_ttft", turn, make_utterance())
        assert isinstance(found, Measurement)
        assert found.note == "after a retry"
        turn = with_request(make_turn(), "llm", facts={"attempts": 2})
        again = measure_turn("llm_ttft", turn, make_utterance())
        assert isinstance(again, Measurement)
        assert again.note == "after a retry"

    def test_stage_alone(self) -> None:
        """Each stage alone has its marks though nothing was played."""
        llm = make_turn().request("llm")
        tts = make_turn().request("tts-0")
        assert llm is not None
        assert tts is not None
        turn = Turn(
            index=0,
            utterance="u1",
            requests=(replace(llm, cause=Cause.FIXED), replace(tts, parent=None)),
        )
        assert set(llm.marks) | set(tts.marks) == set(marks_of(turn))
        assert value("llm_ttft", turn) > 0
        assert value("tts_first_byte", turn) > 0


class TestAbsence:
    """Absence is Missing with its reason, never 0."""

    @pytest.mark.parametrize("metric_id", IDS)
    def test_empty_turn(self, metric_id: str) -> None:
        """A turn without anything has no metric."""
        found = measure_turn(metric_id, Turn(index=0, utterance="u1"), make_utterance())
        assert isinstance(found, Missing)
        assert found.reason
        assert found.failure is None

    @pytest.mark.parametrize("metric_id", IDS)
    def test_failed_trial(self, metric_id: str) -> None:
        """A failed trial gives its failure."""
        failed = make_failed()
        found = measure(metric_id, failed, make_utterance())
        assert isinstance(found, Missing)
        assert found.failure == failed.failure
        assert found.reason == "failed: llm timeout"

    def test_driver(self) -> None:
        """A driver that cannot measure a metric does not."""
        assert isinstance(measure("stt_finalize", make_trial(), make_utterance()), Missing)
        stage = make_trial(driver="stage")
        assert isinstance(measure("stt_final", stage, make_utterance()), Missing)
        assert isinstance(measure("response", stage, make_utterance()), Missing)
        assert isinstance(measure("stt_finalize", stage, make_utterance()), Measurement)
        assert METRICS["response"].drivers == {Driver.SESSION}

    def test_all_at_once(self) -> None:
        """Measuring all metrics at once gives what measuring each gives."""
        for trial in (make_trial(Script(tool=MS)), make_trial(driver="stage"), make_failed()):
            found = measure_all(trial, make_utterance())
            assert found == {each: measure(each, trial, make_utterance()) for each in METRICS}

    def test_unknown(self) -> None:
        """An unknown metric is an error, not a missing value."""
        with pytest.raises(KeyError):
            measure_turn("ttfs", make_turn(), make_utterance())


class TestStt:
    """Transcripts: finals up to the commit, joined."""

    def test_finals_only_is_marked(self) -> None:
        """An STT that sends finals only is marked, for its first transcript is its final."""
        turn = make_turn(Script(first_transcript=None))
        assert finals_only(turn)
        found = measure_turn("stt_first_transcript", turn, make_utterance())
        assert isinstance(found, Measurement)
        assert found.note == "finals only"
        interim = measure_turn("stt_first_transcript", make_turn(), make_utterance())
        assert isinstance(interim, Measurement)
        assert interim.note == ""

    def test_join_and_late(self) -> None:
        """Finals are joined; those after the commit are kept apart and not scored."""
        pieces = [("turn on", False), (" ", False), ("the lights", False), ("please", True)]
        turn = replace(
            make_turn(),
            transcripts=tuple(
                Transcript(kind=TranscriptKind.FINAL, text=text, at_ns=number, late=late)
                for number, (text, late) in enumerate(pieces)
            ),
        )
        assert transcript_text(turn) == "turn on the lights"
        assert late_transcript(turn) == "please"
        errors = word_score(turn, make_utterance())
        assert isinstance(errors, Score)
        assert (errors.deletions, errors.errors) == (1, 1)
        assert value("wer", turn) == pytest.approx(1 / 5)

    def test_perfect(self) -> None:
        """A right transcript has no error in words or characters."""
        assert value("wer", make_turn(text="Turn on the kitchen lights!")) == 0.0
        assert value("cer", make_turn(text="Turn on the kitchen lights!")) == 0.0

    def test_cer(self) -> None:
        """One wrong letter is one word but few characters."""
        turn = make_turn(text="turn on the kitchen lightz")
        assert value("wer", turn) == pytest.approx(1 / 5)
        assert value("cer", turn) == pytest.approx(1 / 26)

    def test_nothing_to_score(self) -> None:
        """Without a text, a transcript or expected words there is no rate."""
        no_text = replace(make_utterance(), text=None, slots={"room": "kitchen"})
        silence = replace(
            make_utterance(), text=None, expect="none", speech_start_s=None, speech_end_s=None
        )
        silent = replace(make_turn(), transcripts=())
        for metric_id in ("wer", "cer"):
            assert isinstance(measure_turn(metric_id, make_turn(), no_text), Missing)
            assert isinstance(measure_turn(metric_id, make_turn(), silence), Missing)
            assert isinstance(measure_turn(metric_id, silent, make_utterance()), Missing)
        assert isinstance(word_score(silent, make_utterance()), NoTranscript)
        heard = word_score(make_turn(), silence)
        assert isinstance(heard, Score)
        assert heard.insertions == 5


class TestLlm:
    """Rates count tokens as the provider does, at the instants of the socket."""

    def test_rate(self) -> None:
        """Tokens after the first over the time after the first."""
        plan = Script()
        assert value("llm_tokens_per_second", make_turn(plan)) == pytest.approx(8e9 / plan.sentence)

    def test_reasoning_is_not_output(self) -> None:
        """Reasoning tokens are taken off, wherever the provider puts them."""
        for usage in (
            {"completion_tokens": 29, "completion_tokens_details": {"reasoning_tokens": 20}},
            {"completion_tokens": 29, "reasoning_tokens": 20},
            {"output_tokens": 9, "reasoning_tokens": 20},
            {"output_tokens": 29, "output_tokens_details": {"reasoning_tokens": 20}},
        ):
            turn = with_request(make_turn(), "llm", facts={"usage": usage})
            assert value("llm_tokens_per_second", turn) == pytest.approx(8e9 / (90 * MS))
        flat = {"usage.completion_tokens": 9, "usage.prompt_tokens": 40, "status": 200}
        turn = with_request(make_turn(), "llm", facts=flat)
        assert value("llm_tokens_per_second", turn) == pytest.approx(8e9 / (90 * MS))

    @pytest.mark.parametrize("usage", [None, "9", {}, {"completion_tokens": "9"}])
    def test_no_usage(self, usage: object) -> None:
        """Without usage there is no rate: pieces are not tokens."""
        turn = with_request(make_turn(), "llm", facts={"usage": usage})
        assert isinstance(measure_turn("llm_tokens_per_second", turn, make_utterance()), Missing)

    def test_one_piece(self) -> None:
        """A reply in one piece has neither rate nor gap."""
        turn = with_request(
            make_turn(), "llm", arrivals=(Arrival(received_ns=1, at_ns=2, text="all"),)
        )
        for metric_id in ("llm_tokens_per_second", "llm_intertoken_gap"):
            assert isinstance(measure_turn(metric_id, turn, make_utterance()), Missing)


class TestTts:
    """Audio: silence is not speech, and gaps are counted."""

    def test_realtime_factor(self) -> None:
        """Every synthesis counts against the whole reply."""
        plan = Script(sentences=2)
        turn = make_turn(plan)
        first = plan.tts_send + plan.tts + plan.tts_pacing + plan.decode + 200 * MS
        second = plan.tts + 200 * MS - 0
        total = first + (second)
        reply = plan.leading_silence + plan.reply
        assert value("tts_realtime_factor", turn) == pytest.approx((total) / reply, rel=1e-3)

    def test_interrupted(self) -> None:
        """An interrupted reply has no real-time factor."""
        turn = make_turn()
        assert turn.reply is not None
        turn = replace(turn, reply=replace(turn.reply, interrupted=True))
        assert isinstance(measure_turn("tts_realtime_factor", turn, make_utterance()), Missing)

    def test_underruns(self) -> None:
        """Gaps in playout are counted."""
        assert value("tts_underruns", make_turn()) == 0.0
        assert value("tts_underruns", make_turn(Script(underrun=20 * MS))) == 1.0

    def test_silent_reply(self) -> None:
        """A reply of silence has no first audible sample."""
        silent = Reply(
            sample_rate=24_000,
            samples=2_400,
            segments=(PlayoutSegment(start_ns=0, offset=0, samples=2_400),),
            leading_silence=2_400,
        )
        turn = replace(make_turn(), reply=silent)
        assert isinstance(measure_turn("tts_first_audible", turn, make_utterance()), Missing)
