"""What a run says of each candidate is what its trials say."""

import math
import random
from dataclasses import replace

import pytest

from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.analysis.summary.costs import cost_of, price_of
from harness.analysis.summary.figures import CandidateSummary, RunSummary
from harness.analysis.summary.samples import (
    cluster_of,
    failure_counts,
    make_rows,
    restored,
    sample_of,
)
from harness.analysis.summary.summary import emulated_stages, is_emulated, statistics_of, summarise
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import Cause, FailureKind, Request
from harness.domain.suite import Price, Suite, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from tests.synthetic import (
    MS,
    Script,
    make_failed,
    make_health,
    make_run,
    make_suite,
    make_trial,
    make_turn,
    make_utterance,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(400)}


def summary(trials: tuple[Trial | FailedTrial, ...], suite: Suite | None = None) -> RunSummary:
    """Summarise trials over the synthetic utterances."""
    return summarise(trials, UTTERANCES, suite or make_suite())


def of_a(trials: tuple[Trial | FailedTrial, ...], suite: Suite | None = None) -> CandidateSummary:
    """Return the summary of candidate a."""
    return summary(trials, suite).candidates["a"]


def alone(count: int, script: Script | None = None) -> list[Trial | FailedTrial]:
    """Return trials of candidate a, each of its own utterance, LLM times 1, 2, 3… ms."""
    plan = script or Script()
    return [
        make_trial(replace(plan, llm=(n + 1) * MS), utterance=f"u{n + 1}", order=n)
        for n in range(count)
    ]


class TestEstimates:
    """Percentiles are order statistics over the planned trials, failures last."""

    def test_percentiles(self) -> None:
        """Percentiles of known values are those values."""
        found = of_a(tuple(alone(400))).metrics["llm_ttft"].main
        extra = (Script().llm_send + Script().llm_client) / MS
        for name, rank in (("p50", 200), ("p90", 360), ("p95", 380), ("p99", 396)):
            estimate = found.get(name)
            assert isinstance(estimate, Estimate)
            assert estimate.point == pytest.approx(rank + extra)
            assert estimate.low < estimate.point < estimate.high  # type: ignore[operator]
        assert (found.n, found.failures) == (400, 0)
        assert isinstance(found.mean, Estimate)
        assert found.mean.point == pytest.approx(200.5 + extra)

    def test_order_does_not_matter(self) -> None:
        """The order of the trials changes nothing."""
        trials = list(make_run(failed={"a": 3}))
        before = summary(tuple(trials))
        random.Random(1).shuffle(trials)
        after = summary(tuple(trials))
        for name, each in before.candidates.items():
            for metric_id, metric in each.metrics.items():
                assert after.candidates[name].metrics[metric_id].main == metric.main

    def test_unsupported(self) -> None:
        """A percentile that n cannot carry is no number."""
        found = of_a(make_run(utterances=8, repeats=3)).metrics["response"].main
        assert isinstance(found.p99, Unsupported)
        with pytest.raises(KeyError):
            found.get("p42")

    def test_warmups_are_left_out(self) -> None:
        """A slow warm-up is in no view but counted."""
        trials = [
            make_trial(Script(llm=9_000 * MS), order=99, warmup=True, utterance="u1"),
            *alone(40),
        ]
        found = of_a(tuple(trials))
        assert found.warmups == 1
        assert found.planned == 40
        for view in ("main", "undisturbed", "everything"):
            assert getattr(found.metrics["llm_ttft"], view).n == 40

    def test_negative_responses_are_counted(self) -> None:
        """Negative values stay and are counted; a reply inside the speech is none, but a cut-in."""
        trials = tuple(
            replace(
                trial,
                turns=(
                    replace(
                        trial.turns[0],
                        marks={
                            mark: at_ns
                            for mark, at_ns in trial.turns[0].marks.items()
                            if mark.value != "audio_end"
                        }
                        | {type(mark)("speech_end"): 9 * 10**12 for mark in trial.turns[0].marks},
                    ),
                ),
            )
            for trial in alone(3)
            if isinstance(trial, Trial)
        )
        found = of_a(trials)
        assert found.metrics["stt_final"].negative == 3
        assert found.metrics["response"].negative == 0
        cut_ins = found.events["cut_ins"]
        assert isinstance(cut_ins, Estimate)
        assert (cut_ins.point, cut_ins.n) == (1.0, 3)


class TestFailures:
    """Failures are counted by stage and kind and rank slower than every success."""

    def test_table(self) -> None:
        """The table names stage, kind and an example, the most frequent first."""
        trials = [
            *alone(10),
            *(make_failed(utterance="u20", repeat=n, order=20 + n) for n in range(3)),
            make_failed(utterance="u21", order=30, stage=Stage.TTS, kind=FailureKind.RATE_LIMITED),
        ]
        found = of_a(tuple(trials))
        assert [(f.stage, f.kind, f.count) for f in found.failures] == [
            (Stage.LLM, FailureKind.TIMEOUT, 3),
            (Stage.TTS, FailureKind.RATE_LIMITED, 1),
        ]
        assert found.failures[0].example
        assert (found.planned, found.failed) == (14, 4)
        assert isinstance(found.failure_rate, Estimate)
        assert found.failure_rate.point == pytest.approx(4 / 14)

    def test_rank(self) -> None:
        """With one failure in ten, the p95 timed out and the median moved up."""
        trials = [*alone(360), *(make_failed(utterance=f"u{361 + n}", order=n) for n in range(40))]
        found = of_a(tuple(trials)).metrics["response"].main
        assert (found.n, found.failures) == (400, 40)
        assert isinstance(found.p95, TimedOut)
        assert isinstance(found.p50, Estimate)
        assert isinstance(found.mean, Estimate)
        assert not found.mean.gateable

    def test_blame(self) -> None:
        """A time-out of the LLM is no failure of STT or TTS."""
        trials = [*alone(20), *(make_failed(utterance=f"u{30 + n}", order=n) for n in range(5))]
        metrics = of_a(tuple(trials)).metrics
        assert metrics["llm_ttft"].main.failures == 5
        assert metrics["response"].main.failures == 5
        assert metrics["stt_final"].main.failures == 0
        assert metrics["tts_first_byte"].main.failures == 0
        assert metrics["tts_first_byte"].missing == {"failed: llm timeout": 5}

    def test_what_was_measured_before(self) -> None:
        """A trial that failed at the TTS still gives its STT and LLM figures."""
        failed = replace(make_failed(stage=Stage.TTS), turns=(make_turn(),))
        rows = make_rows([failed], UTTERANCES)
        assert rows[0].value("stt_final") is not None
        assert rows[0].value("llm_ttft") is not None
        assert rows[0].value("tts_first_byte") is None
        assert rows[0].value("response") is None
        assert rows[0].value("wer") == 0.0

    def test_which_failures_count(self) -> None:
        """The decision contains the transcript, so the STT's failures count for it."""
        assert failure_counts(Stage.STT, "endpointing")
        assert failure_counts(Stage.HARNESS, "response")
        assert not failure_counts(Stage.LLM, "endpointing")
        assert not failure_counts(Stage.TTS, "llm_ttft")

    def test_only_failures(self) -> None:
        """A candidate that always failed has estimates that say so and no number."""
        found = of_a(tuple(make_failed(utterance=f"u{n + 1}", order=n) for n in range(80)))
        assert found.failed == 80
        assert isinstance(found.metrics["response"].main.p50, TimedOut)
        assert isinstance(found.metrics["response"].main.mean, Unsupported)


class TestViews:
    """Summaries stand with and without disturbed trials, and exclusions are counted."""

    def test_rerun(self) -> None:
        """A re-run takes the place of its disturbed predecessor in the main view."""
        slow = make_trial(
            Script(llm=5_000 * MS),
            utterance="u1",
            order=0,
            health=make_health(late_frames=1),
        )
        again = make_trial(Script(llm=1 * MS), utterance="u1", order=0, attempt=1)
        found = of_a((slow, again, *alone(40)[1:]))
        metric = found.metrics["llm_ttft"]
        assert (metric.main.n, metric.undisturbed.n, metric.everything.n) == (40, 40, 41)
        assert (found.disturbed, found.reruns, found.excluded) == (1, 1, 0)

    def test_excluded(self) -> None:
        """A trial that stayed disturbed is in the main view and not in the undisturbed one."""
        bad = make_trial(utterance="u1", order=0, health=make_health(late_frames=1))
        found = of_a((bad, *alone(40)[1:]))
        metric = found.metrics["llm_ttft"]
        assert (metric.main.n, metric.undisturbed.n, metric.everything.n) == (40, 39, 40)
        assert (found.disturbed, found.reruns, found.excluded) == (1, 0, 1)


class TestAccuracy:
    """Word errors are pooled; silence is not success."""

    def test_pooled(self) -> None:
        """Errors over words, silence deletes its words, nonsense in silence is counted apart."""
        silence = replace(
            make_utterance("quiet"),
            text=None,
            expect="none",
            speech_start_s=None,
            speech_end_s=None,
        )
        known = {**UTTERANCES, "quiet": silence}
        mute = make_trial(utterance="u3", order=2)
        trials: list[Trial | FailedTrial] = [
            make_trial(utterance="u1", order=0),
            make_trial(utterance="u2", order=1, text="turn off the kitchen light please"),
            replace(mute, turns=(replace(mute.turns[0], transcripts=()),)),
            make_failed(utterance="u4", order=3, stage=Stage.STT, kind=FailureKind.NO_TRANSCRIPT),
            make_failed(utterance="u5", order=4),
            make_trial(utterance="quiet", order=5, text="um yes hello"),
        ]
        found = summarise(trials, known, make_suite()).candidates["a"]
        words = found.words
        assert words is not None
        assert (words.substitutions, words.deletions, words.insertions) == (2, 10, 1)
        assert words.reference_words == 20
        assert words.silent == 2
        assert words.unexpected > 0
        assert isinstance(words.rate, Estimate)
        assert words.rate.point == pytest.approx(13 / 20)
        assert words.rate.gateable
        assert (found.correct, found.judged) == (1, 2)

    def test_no_text(self) -> None:
        """Without texts there are no word errors, not zero."""
        known = {"u1": replace(make_utterance(), text=None, slots={"room": "kitchen"})}
        found = summarise([make_trial()], known, make_suite()).candidates["a"]
        assert found.words is None
        assert "wer" not in found.metrics

    def test_notes(self) -> None:
        """Finals-only values are counted."""
        trials = tuple(alone(5, Script(first_transcript=None)))
        assert of_a(trials).metrics["stt_first_transcript"].notes == {"finals only": 5}


class TestEmulated:
    """Whatever a gateway profile stood behind is marked."""

    def test_by_stage(self) -> None:
        """An emulated stage marks its metrics, the decision and the response."""
        stages = frozenset({Stage.LLM})
        assert is_emulated("llm_ttft", stages)
        assert is_emulated("response", stages)
        assert is_emulated("endpointing", stages)
        assert not is_emulated("stt_final", stages)
        assert not is_emulated("response", frozenset())

    def test_by_suite(self) -> None:
        """The gateway emulates every stage of a candidate, live none."""
        suite = make_suite("a")
        assert emulated_stages(suite, suite.candidates[0], ()) == {Stage.STT, Stage.LLM, Stage.TTS}
        live = replace(suite, via=Via.LIVE)
        assert emulated_stages(live, live.candidates[0], ()) == frozenset()
        part = Candidate(name="llm only", llm=StageSettings(provider="openai"))
        assert emulated_stages(suite, part, ()) == {Stage.LLM}
        agent = Candidate(name="mine", agent="my:agent")
        assert emulated_stages(suite, agent, ()) == {Stage.STT, Stage.LLM, Stage.TTS}
        metrics = of_a(tuple(alone(3))).metrics
        assert all(each.emulated for each in metrics.values())
        assert not any(each.emulated for each in of_a(tuple(alone(3)), live).metrics.values())

    def test_an_agent_of_one_s_own(self) -> None:
        """What a gateway answered of a user's agent is EMULATED, and nothing else, via or not."""
        agent = Candidate(name="mine", agent="module:make")
        for via in (Via.GATEWAY, Via.LIVE):
            suite = replace(make_suite("a"), candidates=(agent,), via=via)
            base = make_trial(Script(), candidate="mine")

            def told(*stages: frozenset[Stage], base: Trial = base) -> list[Trial]:
                return [replace(base, emulated=each) for each in stages]

            live = told(frozenset(), frozenset())
            assert emulated_stages(suite, agent, live) == frozenset()
            mixed = told(frozenset(), frozenset({Stage.LLM}))
            assert emulated_stages(suite, agent, mixed) == {Stage.LLM}
            others = [replace(each, key=replace(each.key, candidate="other")) for each in mixed]
            assert Stage.LLM not in emulated_stages(suite, agent, [*live, *others])


class TestBeside:
    """LiveKit's numbers and the cost stand beside ours."""

    def test_reported(self) -> None:
        """LiveKit's numbers are compared turn by turn, under any side's name."""
        trials = [
            replace(
                trial,
                turns=(
                    replace(
                        trial.turns[0],
                        reported={
                            "assistant.e2e_latency": 0.5,
                            "user.transcription_delay": 0.0,
                            "assistant.started_speaking_at": 1.0,
                        },
                    ),
                ),
            )
            for trial in alone(9)
            if isinstance(trial, Trial)
        ]
        found = {each.name: each for each in of_a(tuple(trials)).reported}
        assert set(found) == {"assistant.e2e_latency", "user.transcription_delay"}
        response = found["assistant.e2e_latency"]
        ours = 717.9 - 300 + 5
        assert response.ours_p50 == pytest.approx(ours)
        assert response.theirs_p50 == 500.0
        assert response.p50 == pytest.approx(500 - ours)
        assert response.largest == pytest.approx(500 - ours + 4)

    def test_cost(self) -> None:
        """Every request is billed: audio minutes, tokens, characters."""
        prices = {
            "openadapter/stt-1": Price(per_audio_minute=0.6),
            "openadapter/llm-a": Price(per_million_input_tokens=1.0, per_million_output_tokens=2.0),
        }
        suite = replace(make_suite(), prices=prices)
        cost = of_a(tuple(alone(4)), suite).cost
        assert cost is not None
        stt = 4 * 1.75 / 60 * 0.6
        llm = 4 * (40 * 1.0 + 9 * 2.0) / 1e6
        assert cost.stages == {Stage.STT: pytest.approx(stt), Stage.LLM: pytest.approx(llm)}
        assert cost.total == pytest.approx(stt + llm)
        assert cost.per_trial == pytest.approx(cost.total / 4)
        assert cost.unpriced == (Stage.TTS,)
        assert cost.uncounted == 0

    def test_cost_of_cached_tokens(self) -> None:
        """Tokens that a cache served cost what the price says of them, or the full price."""
        told = {"usage": {"prompt_tokens": 40, "completion_tokens": 9, "cached_tokens": 32}}
        trial = make_trial(Script())
        requests = tuple(
            replace(each, facts=told) if each.stage is Stage.LLM else each
            for each in trial.turns[0].requests
        )
        rows = make_rows(
            [replace(trial, turns=(replace(trial.turns[0], requests=requests),))], UTTERANCES
        )
        for cached, expected in ((None, 40 * 1.0 + 9 * 2.0), (0.1, 8 * 1.0 + 32 * 0.1 + 9 * 2.0)):
            price = Price(
                per_million_input_tokens=1.0,
                per_million_output_tokens=2.0,
                per_million_cached_input_tokens=cached,
            )
            cost = cost_of(rows, make_suite("a").candidates[0], {"openadapter/llm-a": price})
            assert cost is not None
            assert cost.total == pytest.approx(expected / 1e6)

    def test_cost_of_the_audio_that_was_sent(self) -> None:
        """An STT is billed for what went out where that was counted, else for the recording."""
        trial = make_trial(Script())
        heard = Request(
            id="stt0", stage=Stage.STT, cause=Cause.STREAM, facts={"audio_seconds": 6.0}
        )
        turn = trial.turns[0]
        others = tuple(each for each in turn.requests if each.stage is not Stage.STT)
        price = {"openadapter/stt-1": Price(per_audio_minute=0.6)}
        for requests, seconds in (((heard, *others), 6.0), (others, 1.75)):
            rows = make_rows(
                [replace(trial, turns=(replace(turn, requests=requests),))], UTTERANCES
            )
            cost = cost_of(rows, make_suite().candidates[0], price)
            assert cost is not None
            assert cost.total == pytest.approx(seconds / 60 * 0.6)

    def test_cost_unknown(self) -> None:
        """Without prices there is no cost; without usage a request is uncounted, not free."""
        assert of_a(tuple(alone(4))).cost is None
        candidate = make_suite("a").candidates[0]
        rows = make_rows([make_trial(Script(tool=MS))], UTTERANCES)
        cost = cost_of(rows, candidate, {"openadapter/llm-a": Price(per_million_output_tokens=1.0)})
        assert cost is not None
        assert cost.uncounted == 1

    def test_default_model(self) -> None:
        """A candidate that names no model is priced as the provider's default."""
        candidate = Candidate(name="a", llm=StageSettings(provider="openadapter"))
        price = Price(per_million_output_tokens=1.0)
        assert price_of(candidate, Stage.LLM, {"openadapter/Kimi-K2.5": price}) == price
        assert price_of(candidate, Stage.TTS, {"openadapter/tts-1": price}) is None

    def test_parts(self) -> None:
        """The mean parts sum to the mean response."""
        found = of_a(make_run(utterances=8, repeats=3))
        mean = found.metrics["response"].main.mean
        assert isinstance(mean, Estimate)
        assert sum(part.mean_ns for part in found.parts) / MS == pytest.approx(mean.point)


class TestDirection:
    """Where more is better, the slow tail is the low one and failures lie there."""

    def test_rate(self) -> None:
        """The p95 of an output rate is what 95 % of trials reach."""
        trials = [
            make_trial(Script(sentence=(n + 1) * MS), utterance=f"u{n + 1}", order=n)
            for n in range(100)
        ]
        rows = make_rows(trials, UTTERANCES)
        found = statistics_of("llm_tokens_per_second", rows)
        assert isinstance(found.p95, Estimate)
        assert found.p95.point == pytest.approx(8e9 / (95 * MS))
        assert isinstance(found.p50, Estimate)
        assert found.p50.point > found.p95.point
        assert found.p50.low < found.p50.point < found.p50.high  # type: ignore[operator]

    def test_failures(self) -> None:
        """A failure has no output rate at all: the interval is open below."""
        trials: list[Trial | FailedTrial] = [
            *(
                make_trial(Script(sentence=(n + 1) * MS), utterance=f"u{n + 1}", order=n)
                for n in range(96)
            ),
            *(make_failed(utterance=f"u{97 + n}", order=97 + n) for n in range(4)),
        ]
        found = statistics_of("llm_tokens_per_second", make_rows(trials, UTTERANCES))
        assert found.failures == 4
        assert isinstance(found.p95, Estimate)
        assert found.p95.low == -math.inf

    def test_restored_unsupported(self) -> None:
        """What the sample shows is turned back as well."""
        rows = make_rows([make_trial()], UTTERANCES)
        found = restored("llm_tokens_per_second", statistics_of("llm_ttft", rows).p95)
        assert isinstance(found, Unsupported)
        assert found.observed is not None
        sample = sample_of("llm_tokens_per_second", rows)
        assert sample.values[0] < 0

    def test_clusters(self) -> None:
        """One utterance has one number in every run; two have two."""
        assert cluster_of("u1") == cluster_of("u1")
        assert len({cluster_of(f"u{n}") for n in range(2_000)}) == 2_000
