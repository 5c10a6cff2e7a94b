"""Combinations that were not run, standings and plans follow from what was run."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.standings import contenders, plan_run, standings
from harness.analysis.predict.combine import compose, composition_checks, stage_sample
from harness.analysis.statistics.estimate import Estimate, Unsupported
from harness.analysis.statistics.plan import TrialPlan
from harness.analysis.summary.samples import make_rows
from harness.analysis.summary.summary import summarise
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import FailureKind
from harness.domain.suite import Price, Suite
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
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(24)}


def grid() -> Suite:
    """Return two models times two voices, and a third STT."""

    def candidate(name: str, stt: str, model: str, voice: str) -> Candidate:
        return Candidate(
            name=name,
            stt=StageSettings(provider="openadapter", model=stt),
            llm=StageSettings(provider="openadapter", model=model),
            tts=StageSettings(provider="openadapter", model="tts-1", voice=voice),
        )

    return replace(
        make_suite(),
        candidates=(
            candidate("ka", "s", "kimi", "alloy"),
            candidate("kn", "s", "kimi", "nova"),
            candidate("ga", "s", "glm", "alloy"),
            candidate("gn", "s", "glm", "nova"),
            candidate("other", "t", "glm", "nova"),
        ),
    )


def played() -> list[Trial | FailedTrial]:
    """Return trials in which GLM takes 2 times and nova 1.5 times as long."""
    found: list[Trial | FailedTrial] = []
    for place, (name, llm, tts) in enumerate(
        (("ka", 1, 1), ("kn", 1, 1.5), ("ga", 2, 1), ("gn", 2, 1.5), ("other", 2, 1.5))
    ):
        scripts = draw_scripts(96, random.Random(place), llm_scale=llm, tts_scale=tts)
        found.extend(
            make_trial(
                script,
                candidate=name,
                utterance=f"u{number % 24 + 1}",
                repeat=number // 24,
                order=place * 1_000 + number,
            )
            for number, script in enumerate(scripts)
        )
    return found


def measured(trials: Sequence[Trial | FailedTrial], suite: Suite) -> MeasuredRun:
    """Return a run."""
    return MeasuredRun(name="run", suite=suite, utterances=UTTERANCES, trials=trials)


class TestCompose:
    """The response of a combination is the sum of its parts."""

    def test_thirds_sum_to_the_response(self) -> None:
        """The three thirds of a turn are its response."""
        rows = make_rows([make_trial(Script(endpointing=100 * MS, underrun=9 * MS))], UTTERANCES)
        thirds = [stage_sample(rows, third).values[0] for third in ("stt", "llm", "tts")]
        assert sum(thirds) == pytest.approx(rows[0].value("response"))

    def test_against_what_was_run(self) -> None:
        """Predicted from three others, a combination's median is near its own."""
        found = compose(measured(played(), grid()), stt="ka", llm="ga", tts="kn")
        assert found.candidate == "gn"
        errors = {each.share: each for each in found.errors}
        assert abs(errors[0.5].relative) < 0.05
        # The parts' own trials carry a p95, those of the combination really run do not.
        assert isinstance(found.prediction.quantiles[0.95], Estimate)
        assert 0.95 not in errors
        median = found.prediction.quantiles[0.5]
        assert isinstance(median, Estimate)
        assert median.low < median.point

    def test_checks(self) -> None:
        """Every combination whose parts others have is predicted from those others."""
        found = composition_checks(measured(played(), grid()))
        assert [each.candidate for each in found] == ["ka", "kn", "ga", "gn"]
        for each in found:
            assert each.candidate not in {each.stt, each.llm, each.tts}
            assert all(abs(error.relative) < 0.25 for error in each.errors)

    def test_not_run(self) -> None:
        """A combination that nobody ran has no error."""
        found = compose(measured(played(), grid()), stt="other", llm="ka", tts="ka")
        assert found.candidate is None
        assert found.errors == ()

    def test_failures(self) -> None:
        """A failure counts in its own third and is left out of the others."""
        rows = make_rows(
            [make_trial(), make_failed(stage=Stage.TTS, kind=FailureKind.RESET)], UTTERANCES
        )
        assert (stage_sample(rows, "tts").n, stage_sample(rows, "tts").failures) == (2, 1)
        assert (stage_sample(rows, "llm").n, stage_sample(rows, "llm").failures) == (1, 0)

    def test_stage_driver(self) -> None:
        """Stages measured alone are parts too; a voice on fixed texts is not paired."""
        trials = [
            make_trial(
                script,
                candidate="ka",
                driver="stage",
                utterance=f"u{number % 24 + 1}",
                repeat=number // 24,
                order=number,
            )
            for number, script in enumerate(draw_scripts(96, random.Random(1)))
        ]
        suite = replace(grid(), driver=type(grid().driver)("stage"))
        found = compose(measured(trials, suite), stt="ka", llm="ka", tts="ka")
        median = found.prediction.quantiles[0.5]
        assert isinstance(median, Estimate)
        assert 600 < median.point < 850
        assert found.errors == ()

    def test_refusals(self) -> None:
        """Overlapping stages do not add up; an unknown candidate is named."""
        run = measured(played(), grid())
        with pytest.raises(ConfigurationError, match="the candidates of run are ka"):
            compose(run, stt="zz", llm="ka", tts="ka")
        session = replace(run.suite.session, preemptive_generation=True)
        overlapping = replace(run, suite=replace(run.suite, session=session))
        with pytest.raises(ConfigurationError, match="preemptive_generation is on"):
            composition_checks(overlapping)
        defaults = replace(run.suite.session, preset="livekit-defaults")
        with pytest.raises(ConfigurationError, match="livekit-defaults"):
            composition_checks(replace(run, suite=replace(run.suite, session=defaults)))
        with pytest.raises(ConfigurationError, match="did not measure it"):
            compose(measured([], grid()), stt="ka", llm="ka", tts="ka")


class TestStandings:
    """Faster, cheaper, more reliable: a candidate is off the front if another is all of it."""

    def test_front(self) -> None:
        """A slower candidate that is nowhere better is dominated."""
        trials = make_run({"a": 1.0, "b": 3.0}, utterances=24)
        summary = summarise(trials, UTTERANCES, make_suite())
        found = {each.name: each for each in standings(summary)}
        assert found["a"].on_front
        assert not found["b"].on_front
        assert found["b"].dominated_by == ("a",)
        assert set(contenders(summary)[0].objectives) == {"response", "failures", "wer"}

    def test_cost(self) -> None:
        """A slower candidate that costs less stays on the front."""
        prices = {
            "openadapter/stt-1": Price(per_audio_minute=0.1),
            "openadapter/tts-1": Price(per_million_characters=1.0),
            "openadapter/llm-a": Price(per_million_output_tokens=9.0),
            "openadapter/llm-b": Price(per_million_output_tokens=1.0),
        }
        suite = replace(make_suite(), prices=prices)
        summary = summarise(make_run({"a": 1.0, "b": 3.0}, utterances=24), UTTERANCES, suite)
        assert all(each.on_front for each in standings(summary))
        part = replace(suite, prices={"openadapter/stt-1": Price(per_audio_minute=0.1)})
        partial = summarise(make_run(utterances=24), UTTERANCES, part)
        assert "cost" not in contenders(partial)[0].objectives

    def test_missing_latency(self) -> None:
        """A latency that a candidate lacks is a mistake."""
        summary = summarise(make_run(), UTTERANCES, make_suite())
        with pytest.raises(ConfigurationError, match="stt_finalize: a, b"):
            standings(summary, latency="stt_finalize")


class TestPlan:
    """A pilot says how many trials a change needs."""

    def test_plan(self) -> None:
        """A smaller change needs more repeats, about with its square."""
        run = measured(make_run(["a"], utterances=24, repeats=4), make_suite("a"))
        coarse, fine = (plan_run(run, "a", "llm_ttft", wanted) for wanted in (1.4, 1.1))
        assert isinstance(coarse, TrialPlan)
        assert isinstance(fine, TrialPlan)
        assert coarse.utterances == 24
        assert 4 < fine.repeats / coarse.repeats < 25

    def test_order_of_trials(self) -> None:
        """The plan does not depend on the order in which trials are given."""
        trials = list(make_run(["a"], utterances=24, repeats=4))
        one = plan_run(measured(trials, make_suite("a")), "a", "response", 1.1)
        other = plan_run(measured(trials[::-1], make_suite("a")), "a", "response", 1.1)
        assert one == other

    def test_mistakes(self) -> None:
        """Four utterances played once show no spread; what is misstated is a mistake."""
        run = measured(make_run(["a"], utterances=4, repeats=1), make_suite("a"))
        assert isinstance(plan_run(run, "a", "response", 1.2), Unsupported)
        for arguments, text in (
            (("z", "response", 1.2), "no trial of candidate 'z'"),
            (("a", "ttfs", 1.2), "no metric 'ttfs'"),
            (("a", "stt_finalize", 1.2), "has stt_finalize"),
            (("a", "response", 0.9), "lies above the limit"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                plan_run(run, *arguments)
        with pytest.raises(ConfigurationError, match="'p42' is none of"):
            plan_run(run, "a", "response", 1.2, statistic="p42")
