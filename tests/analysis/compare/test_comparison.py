"""Sides are paired fairly, what cannot be compared is named, and no change is no change."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.analysis.compare.changes import Comparison, MetricChange
from harness.analysis.compare.comparable import MeasuredRun, changed_metrics, differences
from harness.analysis.compare.comparison import compare_runs, compare_within
from harness.analysis.compare.sides import is_correct, setting_of
from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.analysis.statistics.paired import Change
from harness.analysis.summary.samples import make_rows
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Suite, Via
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from tests.synthetic import (
    MS,
    Script,
    draw_scripts,
    make_failed,
    make_run,
    make_suite,
    make_trial,
    make_utterance,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(30)}
SHA = "a" * 64


def measured(
    trials: Sequence[Trial | FailedTrial], suite: Suite | None = None, name: str = "run"
) -> MeasuredRun:
    """Return a run of the synthetic dataset."""
    return MeasuredRun(
        name=name,
        suite=suite or make_suite(),
        utterances=UTTERANCES,
        trials=trials,
        datasets={"starter": SHA},
    )


def change_of(comparison: Comparison, metric: str, share: float = 0.5, pair: int = 0) -> Change:
    """Return a change that must be there."""
    found = entry_of(comparison, metric, share, pair).change
    assert isinstance(found, Change), found
    return found


def entry_of(
    comparison: Comparison, metric: str, share: float = 0.5, pair: int = 0
) -> MetricChange:
    """Return the comparison of one percentile."""
    return next(
        each
        for each in comparison.pairs[pair].metrics
        if each.metric == metric and each.share == share
    )


class TestWithin:
    """Candidates of one run against each other."""

    def test_planted_difference(self) -> None:
        """A slower LLM is found in LLM and response, and not in STT or TTS."""
        trials = make_run({"a": 1.0, "b": 1.5}, utterances=24, repeats=4)
        found = compare_within(measured(trials))
        assert [(each.candidate, each.reference) for each in found.pairs] == [("b", "a")]
        ratio = change_of(found, "llm_ttft").ratio
        assert isinstance(ratio, Estimate)
        assert ratio.point == pytest.approx(1.5, rel=0.1)
        assert entry_of(found, "llm_ttft").finding == "slower"
        assert entry_of(found, "response").finding == "slower"
        for metric in ("stt_final", "tts_first_byte"):
            assert entry_of(found, metric).finding == "no detectable difference"
        assert found.family == sum(
            not isinstance(each.change, Unsupported)
            for each in (*found.pairs[0].metrics, *found.pairs[0].rates, found.pairs[0].correct)
            if each is not None
        )
        p = entry_of(found, "llm_ttft").p
        assert p is not None
        assert p >= change_of(found, "llm_ttft").p_value

    def test_direction(self) -> None:
        """Named as reference, the slower one makes the other faster."""
        trials = make_run({"a": 1.0, "b": 1.5}, utterances=24, repeats=4)
        found = compare_within(measured(trials), reference="b")
        assert [(each.candidate, each.reference) for each in found.pairs] == [("a", "b")]
        assert entry_of(found, "llm_ttft").finding == "faster"

    def test_every_pair(self) -> None:
        """Three candidates make three pairs, or two against a reference."""
        run = measured(make_run(["a", "b", "c"], utterances=6), make_suite("a", "b", "c"))
        assert len(compare_within(run).pairs) == 3
        assert len(compare_within(run, reference="c").pairs) == 2

    def test_more_is_better(self) -> None:
        """An output rate is compared as time per token: above 1 is slower."""
        trials = [
            make_trial(
                replace(script, sentence=round(script.sentence * scale)),
                candidate=name,
                utterance=f"u{number % 24 + 1}",
                repeat=number // 24,
                order=number,
            )
            for name, scale, seed in (("a", 1.0, 1), ("b", 1.5, 2))
            for number, script in enumerate(draw_scripts(96, random.Random(seed)))
        ]
        entry = entry_of(compare_within(measured(trials)), "llm_tokens_per_second")
        assert entry.reciprocal
        assert entry.finding == "slower"
        assert isinstance(entry.change, Change)
        assert isinstance(entry.change.ratio, Estimate)
        assert entry.change.ratio.point == pytest.approx(1.5, rel=0.1)

    def test_failures(self) -> None:
        """A candidate that fails half the time is slower, and its failures are found."""
        trials = make_run(["a", "b"], utterances=24, repeats=4, failed={"b": 60})
        found = compare_within(measured(trials))
        change = change_of(found, "response")
        assert isinstance(change.difference, TimedOut)
        assert entry_of(found, "response").finding == "slower"
        rates = {each.rate: each for each in found.pairs[0].rates}
        assert rates["failures"].finding == "slower"
        assert rates["wer"].finding == "no detectable difference"

    def test_mistakes(self) -> None:
        """One side, an unknown reference and a missing stage are mistakes of the user."""
        with pytest.raises(ConfigurationError, match="one side only"):
            compare_within(measured(make_run(["a"]), make_suite("a")))
        with pytest.raises(ConfigurationError, match="the sides are a, b"):
            compare_within(measured(make_run()), reference="z")
        suite = make_suite()
        bare = replace(suite, candidates=tuple(replace(c, llm=None) for c in suite.candidates))
        with pytest.raises(ConfigurationError, match="has no llm"):
            compare_within(measured(make_run(), bare), by="llm")


def two_by_two(*, emulated: bool = False) -> Suite:
    """Return two models times two voices, and one candidate that differs in two things."""

    def candidate(name: str, model: str, voice: str, stt: str = "stt-1") -> Candidate:
        return Candidate(
            name=name,
            stt=StageSettings(provider="openadapter", model=stt),
            llm=StageSettings(
                provider="openadapter", model=model, profile=f"{model}@x" if emulated else None
            ),
            tts=StageSettings(provider="openadapter", model="tts-1", voice=voice),
        )

    suite = make_suite()
    return replace(
        suite,
        via=Via.GATEWAY if emulated else Via.LIVE,
        candidates=(
            candidate("ka", "kimi", "alloy"),
            candidate("kn", "kimi", "nova"),
            candidate("ga", "glm", "alloy"),
            candidate("gn", "glm", "nova"),
            candidate("odd", "glm", "onyx", "stt-2"),
        ),
    )


class TestEmulated:
    """Emulated is never compared with live, within a run either."""

    def test_an_agent_beside_the_gateway_s_candidates(self) -> None:
        """A live agent and an emulated candidate share a run, and no figure is compared."""
        suite = make_suite("a", "b")
        agent = Candidate(name="b", agent="module:make")
        suite = replace(suite, candidates=(suite.candidates[0], agent))
        trials = make_run(["a", "b"], utterances=12, repeats=2)

        def told(stages: frozenset[Stage]) -> Comparison:
            watched = [
                replace(each, emulated=stages) if each.key.candidate == "b" else each
                for each in trials
            ]
            return compare_within(measured(watched, suite))

        live = told(frozenset()).pairs[0]
        assert live.metrics == ()
        assert live.rates == ()
        assert any("response: EMULATED on one side" in each for each in live.refused)
        both = told(frozenset({Stage.STT, Stage.LLM, Stage.TTS})).pairs[0]
        assert both.metrics
        assert both.refused == ()


class TestBySetting:
    """By a setting, only candidates that differ in nothing else are partners."""

    def trials(self) -> tuple[Trial | FailedTrial, ...]:
        """GLM is 40 % slower, nova no slower than alloy."""
        return make_run(
            {"ka": 1.0, "kn": 1.0, "ga": 1.4, "gn": 1.4, "odd": 9.0}, utterances=24, repeats=2
        )

    def test_models(self) -> None:
        """Models are pooled over voices; the odd one has no partner and is named."""
        found = compare_within(measured(self.trials(), two_by_two()), by="llm")
        assert [(each.candidate, each.reference) for each in found.pairs] == [
            ("openadapter/glm", "openadapter/kimi")
        ]
        assert found.pairs[0].trials == (96, 96)
        ratio = change_of(found, "llm_ttft").ratio
        assert isinstance(ratio, Estimate)
        assert ratio.point == pytest.approx(1.4, rel=0.1)
        assert found.left_out == ("odd: no other candidate differs from it in the llm alone",)
        # Paired within utterance and voice.
        assert change_of(found, "llm_ttft").utterances == 48

    def test_voices(self) -> None:
        """Voices are pooled over models."""
        found = compare_within(measured(self.trials(), two_by_two()), by="voice")
        assert [(each.candidate, each.reference) for each in found.pairs] == [("nova", "alloy")]
        assert entry_of(found, "tts_first_byte").finding == "no detectable difference"
        assert found.left_out[0].startswith("odd")

    def test_no_partner(self) -> None:
        """Where no two candidates differ in the setting alone there is nothing to compare."""
        with pytest.raises(ConfigurationError, match="differ in the stt alone"):
            compare_within(measured(self.trials(), two_by_two()), by="stt")

    def test_emulated_name(self) -> None:
        """An emulated model is named after its profile, and so marked."""
        suite = two_by_two(emulated=True)
        found = compare_within(measured(self.trials(), suite), by="llm")
        assert found.pairs[0].candidate == "glm@x (emulated)"
        assert found.emulated
        assert entry_of(found, "response").emulated
        live = compare_within(measured(self.trials(), two_by_two()), by="llm")
        assert not live.emulated

    def test_options_are_part_of_the_model(self) -> None:
        """The same model with other options is another side."""
        plain = StageSettings(provider="openai", model="m")
        warm = replace(plain, options={"temperature": 0.9})
        one, other = Candidate(name="a", llm=plain), Candidate(name="b", llm=warm)
        assert setting_of(one, "llm", emulated=False)[0] == "openai/m"
        assert setting_of(other, "llm", emulated=False)[0] == "openai/m (temperature 0.9)"
        assert (
            setting_of(one, "llm", emulated=False)[1] == setting_of(other, "llm", emulated=False)[1]
        )


class TestRuns:
    """Two runs: the same candidates, or a named refusal."""

    def test_itself(self) -> None:
        """A run compared with itself is exactly no change."""
        run = measured(make_run(utterances=24, failed={"a": 2}))
        found = compare_runs(run, replace(run, name="again"))
        assert [each.candidate for each in found.pairs] == ["a in run", "b in run"]
        for pair in found.pairs:
            for entry in pair.metrics:
                if isinstance(entry.change, Unsupported):
                    continue
                assert entry.finding == "no detectable difference"
                assert entry.p == 1.0
                if isinstance(entry.change.difference, Estimate):
                    assert entry.change.difference.point == 0.0
            for rate in pair.rates:
                assert rate.finding == "no detectable difference"

    def test_regression(self) -> None:
        """A planted regression between two runs is found."""
        before = measured(make_run(["a"], utterances=24, repeats=4), make_suite("a"), "before")
        after = measured(
            make_run({"a": 1.4}, utterances=24, repeats=4, seed=2), make_suite("a"), "after"
        )
        found = compare_runs(after, before)
        assert found.pairs[0].candidate == "a in after"
        assert entry_of(found, "llm_ttft").finding == "slower"

    def test_refusals(self) -> None:
        """Everything that differs is named at once."""
        run = measured(make_run())
        suite = run.suite
        session = replace(suite.session, min_endpointing_delay_s=0.5, preemptive_generation=True)
        other = replace(
            run,
            name="other",
            suite=replace(suite, via=Via.LIVE, session=session, frame_ms=10),
            datasets={"mine": "b" * 64},
        )
        with pytest.raises(ConfigurationError) as error:
            compare_runs(run, other)
        text = str(error.value)
        for part in (
            "not comparable",
            "run is EMULATED, other is live",
            "starter (aaaaaaaaaaaa)",
            "mine (bbbbbbbbbbbb)",
            "session.min_endpointing_delay_s: 0.0 in run, 0.5 in other",
            "session.preemptive_generation: false in run, true in other",
            "frame_ms: 20 in run, 10 in other",
        ):
            assert part in text

    def test_despite(self) -> None:
        """An option may differ where it is what is measured, and only that one."""
        run = measured(make_run())
        session = replace(run.suite.session, min_endpointing_delay_s=0.5)
        other = replace(run, name="other", suite=replace(run.suite, session=session))
        assert differences(run, other)
        assert not differences(run, other, despite=("session.min_endpointing_delay_s",))
        assert compare_runs(run, other, despite=("session.min_endpointing_delay_s",)).pairs

    def test_changed_metric(self) -> None:
        """A metric that meant something else is refused by name, the others are compared."""
        run = measured(make_run(utterances=6))
        old = replace(
            run,
            name="old",
            definitions={**run.definitions, "llm_ttft": "000"},
            normaliser="0",
        )
        assert set(changed_metrics(run, old)) == {"llm_ttft", "wer", "cer", "tts_wer"}
        found = compare_runs(run, old).pairs[0]
        assert {each.metric for each in found.metrics} >= {"response", "tts_first_byte"}
        assert "llm_ttft" not in {each.metric for each in found.metrics}
        assert [each.rate for each in found.rates] == ["failures", "cut_ins"]
        assert found.correct is None
        assert any("llm_ttft: its definition changed" in each for each in found.refused)
        assert any("normaliser 2" in each for each in found.refused)

    def test_candidates(self) -> None:
        """Candidates of one run alone are named; without a common one it is a mistake."""
        left = measured(make_run(["a", "b"]), make_suite("a", "b"), "left")
        right = measured(make_run(["b", "c"]), make_suite("b", "c"), "right")
        found = compare_runs(left, right)
        assert len(found.pairs) == 1
        assert found.left_out == ("a: only in left", "c: only in right")
        third = measured(make_run(["z"]), make_suite("z"), "third")
        with pytest.raises(ConfigurationError, match="no candidate is in both"):
            compare_runs(left, third)


class TestCorrectTurns:
    """A fast wrong answer cannot win: latency of correct turns only."""

    def test_wrong_and_fast(self) -> None:
        """A candidate that is fast only where it misheard is not faster on correct turns."""
        trials: list[Trial | FailedTrial] = []
        scripts = draw_scripts(192, random.Random(5))
        for number in range(96):
            utterance, repeat = f"u{number % 24 + 1}", number // 24
            trials.append(
                make_trial(
                    scripts[number], candidate="a", utterance=utterance, repeat=repeat, order=number
                )
            )
            wrong = number % 24 < 14
            trials.append(
                make_trial(
                    replace(scripts[96 + number], llm=50 * MS) if wrong else scripts[96 + number],
                    candidate="b",
                    utterance=utterance,
                    repeat=repeat,
                    order=200 + number,
                    text="burn the chicken tights" if wrong else "turn on the kitchen lights",
                )
            )
        found = compare_within(measured(trials))
        assert entry_of(found, "response").finding == "faster"
        pair = found.pairs[0]
        assert pair.correct is not None
        assert pair.correct.finding == "no detectable difference"
        assert pair.correct_turns == (40, 96)
        assert {each.rate: each.finding for each in pair.rates}["wer"] == "slower"

    def test_judgement(self) -> None:
        """A turn is correct by its words and slots; a failure never is; without both: unknown."""
        slots = replace(make_utterance("s"), text=None, slots={"room": "kitchen"})
        none = replace(make_utterance("n"), text=None, slots={"x": "y"})
        known = {"u1": make_utterance(), "s": slots, "n": none}
        rows = make_rows(
            [
                make_trial(),
                make_trial(text="turn off the lamps"),
                make_failed(),
                make_trial(utterance="s"),
                make_trial(utterance="s", text="the bathroom"),
                make_trial(utterance="n"),
            ],
            known,
        )
        assert [is_correct(row, 0.2) for row in rows] == [True, False, False, True, False, False]
        silence = replace(
            make_utterance("q"), text=None, expect="none", speech_start_s=None, speech_end_s=None
        )
        quiet = make_rows([make_trial(utterance="q")], {"q": silence})[0]
        assert is_correct(quiet, 0.2) is False

    def test_script_is_silent(self) -> None:
        """The synthetic response is what its script says, so that the tests above hold."""
        row = make_rows([make_trial(Script())], UTTERANCES)[0]
        assert row.value("response") == pytest.approx(717.9)
