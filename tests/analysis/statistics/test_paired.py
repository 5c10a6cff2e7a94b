"""What changed between two sides: the laws, the tests' levels, and failures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics.estimate import Estimate, Sample, Statistic, TimedOut, Unsupported
from harness.analysis.statistics.exchange import (
    exchange_tail,
    middle,
    pair_up,
    swap_signs,
    swap_tail,
    tail_rank,
)
from harness.analysis.statistics.paired import Change, RateChange, compare, compare_rates, holm
from harness.analysis.statistics.shifting import shift_of
from harness.analysis.statistics.simulate import Plan, draw, slow_down


def changed(result: Change | Unsupported) -> Change:
    """Return what must be a change."""
    assert isinstance(result, Change)
    return result


def number(value: Statistic) -> Estimate:
    """Return what must be an estimate."""
    assert isinstance(value, Estimate)
    return value


def sample(seed: int, utterances: int = 12, repeats: int = 6, failures: float = 0.0) -> Sample:
    """Draw a sample with utterance effects and failures."""
    random = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(utterances), repeats)
    logs = random.normal(0, 0.2, utterances)[clusters] + random.normal(0, 0.3, clusters.size)
    failed = random.random(clusters.size) < failures
    return Sample.of(500 * np.exp(logs), failed=failed, clusters=clusters)


def altered(one: Sample, values: object) -> Sample:
    """Return the sample with other values."""
    return Sample.of(np.asarray(values), failed=one.failed, clusters=one.clusters)


shares = st.sampled_from([0.5, 0.9, 0.95])


class TestLaws:
    """Laws that hold for any two sides."""

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), share=shares, failures=st.sampled_from([0.0, 0.03]))
    def test_a_run_against_itself_is_exactly_no_change(
        self, seed: int, share: float, failures: float
    ) -> None:
        """compare(x, x): difference 0, ratio 1, p 1, to the last bit."""
        one = sample(seed, failures=failures)
        change = changed(compare(one, one, share=share))
        assert change.p_value == 1.0
        if isinstance(change.ratio, Estimate):
            assert change.ratio.point == 1.0
            assert number(change.difference).point == 0.0
            assert change.ratio.low <= 1.0
        else:
            assert isinstance(change.ratio, TimedOut)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), share=shares, scale=st.sampled_from([0.001, 4.0, 1e6]))
    def test_the_unit_changes_no_ratio(self, seed: int, share: float, scale: float) -> None:
        """Scaling both sides keeps ratio and p-value, and scales the difference."""
        a, b = sample(seed), sample(seed + 1)
        one = changed(compare(a, b, share=share))
        other = changed(
            compare(altered(a, a.values * scale), altered(b, b.values * scale), share=share)
        )
        assert number(other.ratio).point == pytest.approx(number(one.ratio).point)
        assert number(other.ratio).low == pytest.approx(number(one.ratio).low, rel=1e-3)
        assert other.p_value == pytest.approx(one.p_value, abs=1e-3)
        assert number(other.difference).point == pytest.approx(
            scale * number(one.difference).point, rel=1e-6, abs=1e-9 * scale
        )

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), share=shares)
    def test_swapping_the_sides_inverts_the_ratio(self, seed: int, share: float) -> None:
        """A against B at 1.25 is B against A at 0.8."""
        a, b = sample(seed), sample(seed + 1)
        one, other = changed(compare(a, b, share=share)), changed(compare(b, a, share=share))
        assert number(one.ratio).point * number(other.ratio).point == pytest.approx(1.0)
        assert one.p_value == pytest.approx(other.p_value, abs=0.05)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), share=shares, order=st.integers(0, 99))
    def test_the_order_of_the_trials_decides_nothing(
        self, seed: int, share: float, order: int
    ) -> None:
        """Shuffled rows give the same change, exactly."""
        a, b = sample(seed), sample(seed + 1)
        shuffled = np.random.default_rng(order).permutation(a.n)
        again = Sample.of(
            a.values[shuffled], failed=a.failed[shuffled], clusters=a.clusters[shuffled]
        )
        assert compare(a, b, share=share) == compare(again, b, share=share)

    @settings(deadline=None, max_examples=40)
    @given(
        seed=st.integers(0, 10_000),
        share=shares,
        which=st.integers(0, 71),
        slower=st.sampled_from([1.01, 1.5, 40.0, math.inf]),
    )
    def test_a_slower_trial_never_lowers_the_change(
        self, seed: int, share: float, which: int, slower: float
    ) -> None:
        """Making any trial of the candidate slower, or failing it, cannot help the candidate."""
        a, b = sample(seed, failures=0.02), sample(seed + 1)
        values, failed = a.ranked.copy(), a.failed.copy()
        values[which] *= slower
        failed |= np.isinf(values)
        worse = Sample.of(np.where(failed, 0.0, values), failed=failed, clusters=a.clusters)
        before, after = (shift_of(s, b, share=share) for s in (a, worse))
        assert not isinstance(before, Unsupported)
        assert not isinstance(after, Unsupported)
        assert after.point >= before.point
        if share == 0.5:
            assert after.p_exchange() <= before.p_exchange()

    @given(data=st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 2.0, math.inf]), min_size=1))
    def test_the_middle_is_never_nan_and_antisymmetric(self, data: list[float]) -> None:
        """The median of gaps is defined among infinities, and turns with its sign."""
        ordered = np.sort(np.array(data))
        assert not math.isnan(middle(ordered))
        assert middle(ordered) == -middle(np.sort(-ordered))


class TestTypical:
    """The typical change is the stratified Hodges-Lehmann estimate."""

    def test_one_utterance_is_the_mann_whitney_test(self) -> None:
        """With a single utterance, p-value and point are the textbook's."""
        random = np.random.default_rng(1)
        a, b = random.lognormal(0.3, 0.5, 30), random.lognormal(0.0, 0.5, 25)
        shift = shift_of(
            Sample.of(a, clusters=np.zeros(30)), Sample.of(b, clusters=np.zeros(25)), share=0.5
        )
        assert not isinstance(shift, Unsupported)
        expected = stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic")
        assert shift.p_above() == pytest.approx(expected.pvalue)
        pairs = np.log(a)[:, None] - np.log(b)[None, :]
        assert shift.point == pytest.approx(np.median(pairs))

    def test_its_deviation_is_the_one_that_repetition_shows(self) -> None:
        """The stated deviation agrees with the spread over repeated runs within 10 %."""
        for share in (0.5, 0.95):
            points, deviations = [], []
            random = np.random.default_rng(2)
            for _ in range(150):
                shift = shift_of(*draw("lognormal-1.8", random).samples(), share=share)
                assert not isinstance(shift, Unsupported)
                points.append(shift.point)
                deviations.append(shift.deviation)
            assert np.mean(deviations) == pytest.approx(np.std(points), rel=0.2)

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_the_interval_covers_a_planted_change(self, share: float) -> None:
        """+30 % lies in the 90 % interval of 90 % of runs: of 150, at least 123."""
        random = np.random.default_rng(3)
        hits = 0
        for _ in range(150):
            twin = slow_down(draw("lognormal-1.8", random), 1.3)
            shift = shift_of(*twin.samples(), share=share)
            assert not isinstance(shift, Unsupported)
            hits += shift.low(0.05) <= math.log(1.3) <= -shift.reversed().low(0.05)
        assert hits >= 123

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_the_interval_and_the_p_value_agree(self, share: float) -> None:
        """The interval excludes no change exactly when the p-value is below its level."""
        random = np.random.default_rng(4)
        seen = set()
        for factor in (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5):
            change = changed(
                compare(*slow_down(draw("lognormal-1.8", random), factor).samples(), share=share)
            )
            if not 0.03 < change.p_value < 0.07:  # sampled draws blur the edge
                excludes = number(change.ratio).low > 1.0
                assert excludes == (change.p_value < 0.05)
                seen.add(excludes)
        assert seen == {True, False}

    def test_many_repeats_are_thinned_without_moving_the_answer(self) -> None:
        """24 utterances x 600 repeats give the point and deviation that theory gives."""
        random = np.random.default_rng(5)
        twin = slow_down(draw("lognormal-1.8", random, Plan(repeats=600)), 1.05)
        shift = shift_of(*twin.samples(), share=0.5)
        assert not isinstance(shift, Unsupported)
        assert shift.weight > 1.5
        assert shift.point == pytest.approx(math.log(1.05), abs=0.012)
        assert shift.deviation == pytest.approx(0.297 * math.sqrt(2 / 14_400) * 1.023, rel=0.15)
        assert shift.p_above() < 1e-9

    def test_repeats_that_hang_together_call_for_whole_utterances(self) -> None:
        """When one side likes some utterances and not others, utterances are exchanged."""
        random = np.random.default_rng(6)
        twin = draw("lognormal-1.8", random)
        liking = np.exp(random.normal(0, 0.5, (24, 1)))
        a, b = twin.samples()
        a = altered(a, (twin.candidate * liking).ravel())
        shift = shift_of(a, b, share=0.5)
        assert not isinstance(shift, Unsupported)
        assert shift.blocks == "utterances"
        trials = shift_of(a, b, share=0.5, blocks="trials")
        assert not isinstance(trials, Unsupported)
        assert shift.deviation > 1.3 * trials.deviation
        calm = shift_of(*twin.samples(), share=0.5)
        assert not isinstance(calm, Unsupported)
        assert calm.blocks == "trials"

    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_recordings_of_one_utterance_are_swapped_together(self, share: float) -> None:
        """Six utterances that a side likes under four conditions each are six swaps, not 24."""
        random = np.random.default_rng(8)
        recordings = np.repeat(np.arange(24), 6)
        wholes = {each: 100 + each // 4 for each in range(24)}
        slower = Sample.of(random.normal(900, 20, 144), clusters=recordings)
        other = Sample.of(random.normal(500, 20, 144), clusters=recordings)
        alone = shift_of(slower, other, share=share, blocks="utterances")
        whole = shift_of(slower, other, share=share, blocks="utterances", wholes=wholes)
        assert not isinstance(alone, Unsupported)
        assert not isinstance(whole, Unsupported)
        assert whole.point == alone.point
        assert alone.p_above() < 1e-3
        assert whole.p_above() == pytest.approx(0.5**6, abs=0.008)
        assert whole.least_p == 0.5**6
        liked = random.normal(0, 60, 6)[recordings // 4]
        mixed = altered(slower, slower.values - 400 + liked)
        few = changed(compare(mixed, other, share=share, wholes=wholes))
        many = changed(compare(mixed, other, share=share))
        assert few.p_value > many.p_value
        assert few.method.endswith("exchange of utterances in 6 utterances")
        assert few.utterances == 24

    def test_a_liking_too_weak_for_a_recording_shows_in_their_sum(self) -> None:
        """What a side likes of an utterance calls for whole ones though no recording shows it."""
        chosen = []
        for seed in range(20):
            random = np.random.default_rng(seed)
            recordings = np.repeat(np.arange(72), 2)
            liked = random.normal(0, 18, 12)[recordings // 6]
            one = Sample.of(500 + liked + random.normal(0, 20, 144), clusters=recordings)
            other = Sample.of(500 + random.normal(0, 20, 144), clusters=recordings)
            wholes = {each: 100 + each // 6 for each in range(72)}
            found = [shift_of(one, other, share=0.5, wholes=each) for each in ({}, wholes)]
            chosen.append([each.blocks for each in found if not isinstance(each, Unsupported)])
        alone, summed = zip(*chosen, strict=True)
        assert summed.count("utterances") > alone.count("utterances")
        assert summed.count("utterances") >= 18

    def test_values_before_the_end_of_speech_have_a_difference_only(self) -> None:
        """A negative latency is legal; its ratio is unsupported, its difference is not."""
        a, b = sample(1), sample(2)
        early = changed(compare(altered(a, a.values - 900), altered(b, b.values - 950)))
        assert isinstance(early.ratio, Unsupported)
        assert number(early.difference).point == pytest.approx(50, abs=60)
        assert early.p_value < 1.0

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_one_answer_before_the_end_of_speech_disables_no_ratio(self, share: float) -> None:
        """Of 72 trials one at -5 ms is the fastest, and twice as slow stays twice as slow."""
        a, b = sample(1), sample(2)
        slow = 2 * a.values
        slow[3] = -5.0
        change = changed(compare(altered(a, slow), b, share=share))
        whole = changed(compare(altered(a, 2 * a.values), b, share=share))
        assert number(change.ratio).point == pytest.approx(number(whole.ratio).point, rel=0.05)
        assert change.p_slower < 0.01


class TestTail:
    """Percentiles are compared by exchange, failures last."""

    def test_the_exchange_is_that_of_a_plain_permutation(self) -> None:
        """Drawing the tail only gives the distribution that shuffling all names gives."""
        a, b = sample(10, 8, 10), sample(11, 8, 12)
        sides = pair_up(a, b)
        drawn = exchange_tail(sides, 0.9, draws=4_000, blocks="trials")
        random = np.random.default_rng(0)
        values = np.concatenate((sides.candidate, sides.reference))
        owner = np.concatenate((sides.candidate_of, sides.reference_of))
        plain = []
        for _ in range(4_000):
            keys = random.random(values.size)
            ours = np.zeros(values.size, dtype=bool)
            for u in range(8):
                members = np.flatnonzero(owner == u)
                ours[members[np.argsort(keys[members])[:10]]] = True
            gap = (
                np.sort(values[ours])[-tail_rank(80, 0.9)]
                - np.sort(values[~ours])[-tail_rank(96, 0.9)]
            )
            plain.append(gap)
        assert stats.ks_2samp(drawn, plain).pvalue > 0.001

    def test_the_exchange_of_utterances_swaps_them_whole(self) -> None:
        """With two utterances there are four outcomes, each in a quarter of the draws."""
        a = Sample.of([1.0, 2.0, 10.0, 20.0], clusters=[0, 0, 1, 1])
        b = Sample.of([3.0, 4.0, 50.0, 60.0], clusters=[0, 0, 1, 1])
        drawn = exchange_tail(pair_up(a, b), 0.9, draws=4_000, blocks="utterances")
        outcomes, counts = np.unique(drawn, return_counts=True)
        assert set(outcomes) == {-40.0, 40.0}
        assert counts / 4_000 == pytest.approx([0.5, 0.5], abs=0.04)

    def test_a_large_tail_is_judged_by_its_normal_limit(self) -> None:
        """With 24 x 100 trials a side the deviation is that of theory, and the levels are kept."""
        random = np.random.default_rng(7)
        alarms, points, deviations = 0, [], []
        for _ in range(60):
            shift = shift_of(
                *draw("lognormal-1.8", random, Plan(repeats=100)).samples(), share=0.95
            )
            assert not isinstance(shift, Unsupported)
            points.append(shift.point)
            deviations.append(shift.deviation)
            alarms += shift.p_above() <= 0.05
        assert np.mean(deviations) == pytest.approx(np.std(points), rel=0.25)
        assert alarms <= 9

    def test_too_few_trials_carry_no_tail(self) -> None:
        """58 trials a side do not carry a p95, 60 do."""
        few = compare(sample(1, 29, 2), sample(2, 29, 2), share=0.95)
        assert isinstance(few, Unsupported)
        assert few.needed == 59
        assert isinstance(compare(sample(1, 30, 2), sample(2, 30, 2), share=0.95), Change)

    def test_a_tail_among_failures_is_timed_out_and_significant(self) -> None:
        """10 % of failures against none: the p95 is no number, and the change is certain."""
        a, b = sample(1, 24, 10), sample(2, 24, 10)
        failed = np.zeros(a.n, dtype=bool)
        failed[::10] = True
        worse = Sample.of(a.values, failed=failed, clusters=a.clusters)
        change = changed(compare(worse, b, share=0.95))
        assert change.ratio == TimedOut(n=240, failures=24)
        assert change.p_slower < 0.001
        better = changed(compare(b, worse, share=0.95))
        assert isinstance(better.ratio, Unsupported)
        assert better.p_slower > 0.9
        assert better.p_value < 0.001

    def test_utterances_of_one_side_alone_are_left_out_and_counted(self) -> None:
        """Pairing drops what has no partner, and says how much."""
        a, b = sample(1, 12, 6), sample(2, 11, 6)
        assert changed(compare(a, b)).unpaired == 6
        nothing = compare(a, Sample.of([1.0, 2.0], clusters=[90, 91]))
        assert isinstance(nothing, Unsupported)


def rates(errors: object, words: object, utterances: object) -> tuple[object, object, object]:
    """Make one side of a rate comparison."""
    return errors, words, utterances


class TestRates:
    """Word errors and failures are compared by swapping whole utterances."""

    def test_a_run_against_itself_has_the_same_rate(self) -> None:
        """compare_rates(x, x) is exactly no change."""
        random = np.random.default_rng(1)
        side = (random.integers(0, 3, 60), np.full(60, 8), np.repeat(np.arange(12), 5))
        result = compare_rates(side, side)
        assert isinstance(result, RateChange)
        assert (result.difference.point, result.p_value) == (0.0, 1.0)
        assert result.difference.low < 0.0 < float(str(result.difference.high))

    def test_one_utterance_alone_proves_nothing(self) -> None:
        """One utterance that fails in all of 20 repeats is one observation, not 20."""
        groups = np.repeat(np.arange(12), 20)
        errors = (groups == 3).astype(float)
        result = compare_rates(
            (errors, np.ones(240), groups), (np.zeros(240), np.ones(240), groups)
        )
        assert isinstance(result, RateChange)
        assert result.difference.point == pytest.approx(1 / 12)
        assert result.p_higher == 0.5

    def test_many_utterances_together_prove_it(self) -> None:
        """Ten utterances that all became worse are significant: 2**-10."""
        groups = np.repeat(np.arange(12), 2)
        errors = (groups < 10).astype(float)
        result = compare_rates((errors, np.ones(24), groups), (np.zeros(24), np.ones(24), groups))
        assert isinstance(result, RateChange)
        assert result.p_higher == pytest.approx(2.0**-10)
        assert result.candidate == pytest.approx(10 / 12)

    def test_the_level_is_kept(self) -> None:
        """Of runs without a change at most 5 % are significant at 5 %."""
        random = np.random.default_rng(2)
        groups = np.repeat(np.arange(14), 3)
        alarms = 0
        for _ in range(300):
            difficulty = random.beta(1, 9, 14)[groups]
            a, b = (random.binomial(9, difficulty) for _ in range(2))
            result = compare_rates((a, np.full(42, 9), groups), (b, np.full(42, 9), groups))
            assert isinstance(result, RateChange)
            alarms += result.p_value <= 0.05
        assert alarms <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)

    def test_few_utterances_detect_nothing(self) -> None:
        """With four utterances no sign pattern is rare enough: nothing is detectable."""
        side = (np.zeros(4), np.full(4, 9), np.arange(4))
        result = compare_rates(side, side)
        assert isinstance(result, RateChange)
        assert math.isinf(result.detectable)
        alone = (np.zeros(1), np.full(1, 9), np.arange(1))
        assert isinstance(compare_rates(alone, alone), Unsupported)


class TestHolm:
    """The corrected p-values keep the family's error rate."""

    def test_the_textbook_example(self) -> None:
        """0.01, 0.04, 0.03 become 0.03, 0.06, 0.06."""
        assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))

    @given(values=st.lists(st.floats(0, 1), max_size=12))
    def test_it_only_makes_larger_and_keeps_the_order(self, values: list[float]) -> None:
        """No correction below the raw value, none above 1, and the order stays."""
        corrected = holm(values)
        assert all(0 <= raw <= c <= 1 for raw, c in zip(values, corrected, strict=True))
        order = np.argsort(values, kind="stable")
        assert all(np.diff(np.array(corrected)[order]) >= 0)


@pytest.mark.parametrize("utterances", [17, 24, 25, 100])
def test_drawn_swaps_are_those_of_the_plain_product(utterances: int) -> None:
    """Eight utterances at a time give the sums, and so the p, of one sign for each utterance."""
    random = np.random.default_rng(utterances)
    scores = random.normal(0.2, 1.0, utterances)
    total = float(scores.sum())
    sums = swap_signs(utterances, 49_999) @ scores
    expected = (1 + int(np.count_nonzero(sums >= total - 1e-9 * np.abs(scores).sum()))) / 50_000
    assert 0.0 < expected < 1.0
    assert swap_tail(scores, total) == expected
