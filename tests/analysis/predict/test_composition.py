"""Predicting a combination from stages measured alone."""

import numpy as np
import pytest

from harness.analysis.predict.composition import (
    Part,
    Prediction,
    predict_response,
    prediction_error,
)
from harness.analysis.statistics.estimate import Estimate, Sample, TimedOut, Unsupported


def spans(
    seed: int, typical: float, *, utterances: int = 24, repeats: int = 5, failures: float = 0.0
) -> Sample:
    """Draw spans with utterance effects."""
    random = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(utterances), repeats)
    logs = random.normal(0, 0.2, utterances)[clusters] + random.normal(0, 0.3, clusters.size)
    failed = random.random(clusters.size) < failures
    return Sample.of(typical * np.exp(logs), failed=failed, clusters=clusters)


def p(prediction: Prediction, share: float) -> Estimate:
    """Return a quantile that must be an estimate."""
    result = prediction.quantiles[share]
    assert isinstance(result, Estimate)
    return result


def test_constant_parts_add_up() -> None:
    """100 + 250 + 50 is 400 at every percentile, without any doubt."""
    parts = [
        Part(name=str(ms), spans=Sample.of(np.full(80, ms), clusters=np.arange(80)))
        for ms in (100.0, 250.0, 50.0)
    ]
    prediction = predict_response(parts)
    for share in (0.5, 0.9, 0.95):
        estimate = p(prediction, share)
        assert (estimate.point, estimate.low, estimate.high) == (400.0, 400.0, 400.0)


def test_negative_spans_are_added_as_they_are() -> None:
    """A transcript before the end of speech shortens the response."""
    early = Part(name="stt", spans=Sample.of(np.full(10, -80.0), clusters=np.arange(10)))
    answer = Part(name="llm", spans=Sample.of(np.full(10, 300.0), clusters=np.arange(10)))
    assert p(predict_response([early, answer]), 0.5).point == 220.0


def test_the_prediction_finds_the_combination_really_run() -> None:
    """Over 20 worlds, the 95 % interval holds what another run of the sum measures in 17."""
    covered = {0.5: 0, 0.9: 0}
    for seed in range(20):
        random = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(24), 5)
        effects = [random.normal(0, 0.2, 24) for _ in range(3)]

        def stage(
            k: int,
            random: np.random.Generator = random,
            clusters: np.ndarray = clusters,
            effects: list[np.ndarray] = effects,
        ) -> Sample:
            noise = random.normal(0, 0.3, 120)
            typical = (90.0, 480.0, 160.0)[k]
            return Sample.of(typical * np.exp(effects[k][clusters] + noise), clusters=clusters)

        prediction = predict_response(
            [Part(name=str(k), spans=stage(k)) for k in range(3)],
            shares=(0.5, 0.9),
            resamples=150,
            draws=600,
        )
        big = sum(np.stack([stage(k).values for _ in range(20)]) for k in range(3))
        truth = Sample.of(np.asarray(big).ravel())
        for error in prediction_error(prediction, truth):
            covered[error.share] += error.covered
            assert abs(error.relative) < 0.2
    assert min(covered.values()) >= 17


def test_recordings_of_one_utterance_are_drawn_together() -> None:
    """Twelve utterances under six conditions say no more than twelve, and the interval shows it."""
    recordings = np.repeat(np.arange(72), 4)
    wholes = {each: 1_000 + each // 6 for each in range(72)}
    random = np.random.default_rng(3)
    hard = random.normal(0, 80, 12)[recordings // 6]
    part = Part(
        name="llm",
        spans=Sample.of(500 + hard + random.normal(0, 10, 288), clusters=recordings),
    )
    alone = p(predict_response([part], shares=(0.5,)), 0.5)
    whole = p(predict_response([part], shares=(0.5,), wholes=wholes), 0.5)
    assert whole.point == alone.point
    assert whole.effective_n == 12
    assert isinstance(whole.high, float)
    assert isinstance(alone.high, float)
    assert whole.high - whole.low > 1.5 * (alone.high - alone.low)
    free = Part(name="tts", spans=part.spans, paired=False)
    assert p(predict_response([free], shares=(0.5,), wholes=wholes), 0.5).effective_n == 12


def test_a_long_question_is_long_for_every_stage() -> None:
    """Pairing by utterance keeps the tail that drawing the stages freely loses."""
    clusters = np.repeat(np.arange(160), 2)
    slow = np.where(clusters < 16, 900.0, 100.0) + np.arange(320) * 0.01
    sample = Sample.of(slow, clusters=clusters)
    together = predict_response([Part(name="a", spans=sample), Part(name="b", spans=sample)])
    apart = predict_response(
        [
            Part(name="a", spans=sample, paired=False),
            Part(name="b", spans=sample, paired=False),
        ]
    )
    assert p(together, 0.95).point > 1_700
    assert p(apart, 0.95).point < 1_100


def test_a_percentile_is_supported_as_a_measured_one_is() -> None:
    """With 20 trials of one part no p95 is predicted, however many the other has; the p50 is."""
    few = Part(name="llm", spans=Sample.of(np.arange(20.0), clusters=np.arange(20)))
    many = Part(name="tts", spans=spans(1, 100, utterances=20, repeats=50))
    found = predict_response([few, many], resamples=50)
    assert isinstance(found.quantiles[0.5], Estimate)
    tail = found.quantiles[0.95]
    assert isinstance(tail, Unsupported)
    assert tail.needed == 72
    assert tail.reason == "llm: p95 needs 72 independent trials, these are worth 20"
    assert isinstance(tail.observed, float)


def test_an_error_needs_trials_too() -> None:
    """Against ten trials of the combination the p50 has an error and the p95 has none."""
    parts = [Part(name="a", spans=Sample.of(np.arange(1.0, 101.0), clusters=np.arange(100)))]
    errors = prediction_error(predict_response(parts), Sample.of(np.arange(45.0, 55.0)))
    assert [each.share for each in errors] == [0.5]


def test_a_failure_of_any_part_fails_the_response() -> None:
    """5 % and 10 % of failures make 14.5 %, and a p90 that is no number."""
    parts = [
        Part(name="a", spans=spans(1, 100, utterances=100, repeats=20, failures=0.05)),
        Part(name="b", spans=spans(2, 100, utterances=100, repeats=20, failures=0.10)),
    ]
    prediction = predict_response(parts, resamples=50)
    assert prediction.failures == pytest.approx(0.145, abs=0.015)
    assert isinstance(prediction.quantiles[0.9], TimedOut)
    assert isinstance(prediction.quantiles[0.5], Estimate)


def test_the_same_parts_give_the_same_prediction() -> None:
    """The seed is the data's."""
    parts = [Part(name="a", spans=spans(1, 100)), Part(name="b", spans=spans(2, 300))]
    one, other = (predict_response(parts, resamples=50) for _ in range(2))
    assert one == other


def test_too_little_is_unsupported_or_refused() -> None:
    """Three utterances carry no interval; no part, or no utterance in common, is misuse."""
    few = predict_response([Part(name="a", spans=spans(1, 100, utterances=3))], resamples=20)
    assert isinstance(few.quantiles[0.5], Unsupported)
    with pytest.raises(ValueError, match="at least one part"):
        predict_response([])
    with pytest.raises(ValueError, match="no utterance in common"):
        predict_response(
            [
                Part(name="a", spans=Sample.of([1.0], clusters=[1])),
                Part(name="b", spans=Sample.of([1.0], clusters=[2])),
            ]
        )
    with pytest.raises(ValueError, match="never measured"):
        Part(name="a", spans=Sample.of([]))
