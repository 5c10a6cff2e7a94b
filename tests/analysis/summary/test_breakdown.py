"""Trials split by condition, language or route."""

from dataclasses import replace

import pytest

from harness.analysis.compare.comparable import MeasuredRun, differences, option_values
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.breakdown import (
    UNROUTED,
    breakdown,
    by_condition,
    by_language,
    by_route,
)
from harness.analysis.summary.samples import Row, make_rows
from harness.analysis.summary.summary import statistics_of, summarise
from harness.analysis.turn.disturbance import select
from harness.domain.condition import Condition, Telephony
from harness.domain.suite import Price
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.report.breakdowns import breakdown_tables
from tests.synthetic import (
    MS,
    Script,
    make_failed,
    make_run,
    make_suite,
    make_trial,
    make_utterance,
    make_utterances,
)

NAMES = ("clean", "phone")
CONDITIONS = (Condition(name="clean"), Condition(name="phone", telephony=Telephony.MULAW))


def heard_run() -> tuple[Trial | FailedTrial, ...]:
    """Return ten utterances under two conditions; the STT is 200 ms slower on the phone."""
    trials = []
    for order in range(20):
        name = NAMES[order % 2]
        trial = make_trial(
            Script(stt=(100 + 200 * (order % 2) + order) * MS),
            utterance=f"u{order // 2 + 1}",
            order=order,
            text="turn on the kitchen lights" if name == "clean" else "turn on the kitten lights",
        )
        trials.append(replace(trial, key=replace(trial.key, condition=name)))
    return tuple(trials)


def rows_of(trials: tuple[Trial | FailedTrial, ...]) -> tuple[Row, ...]:
    """Return measured trials."""
    return make_rows(trials, {each.id: each for each in make_utterances(10)})


def test_groups_have_the_figures_of_their_trials_alone() -> None:
    """A group's estimates are those of a run that had performed its trials alone."""
    rows = rows_of(heard_run())
    clean, phone = breakdown(rows, by_condition, order=NAMES)
    assert (clean.key, phone.key) == NAMES
    for group in (clean, phone):
        mine = [row for row in rows if row.trial.key.condition == group.key]
        assert (group.trials, group.failed) == (10, 0)
        assert group.metrics["stt_final"] == statistics_of("stt_final", mine)
    assert isinstance(clean.metrics["stt_final"].p50, Estimate)
    assert isinstance(phone.metrics["stt_final"].p50, Estimate)
    shift = phone.metrics["stt_final"].p50.point - clean.metrics["stt_final"].p50.point
    assert 200 <= shift <= 202
    assert clean.words is not None
    assert phone.words is not None
    assert (clean.words.substitutions, phone.words.substitutions) == (0, 10)


def test_conditions_of_one_utterance_are_trials_of_their_own() -> None:
    """Another condition of an utterance is no re-run of it; a re-run of the same one is."""
    trials = heard_run()
    assert select(trials).reruns == 0
    assert len(select(trials).main) == 20
    again = replace(trials[0], key=replace(trials[0].key, attempt=1))
    assert select((*trials, again)).reruns == 1


def test_the_utterance_stays_the_cluster() -> None:
    """Twenty trials of ten utterances under two conditions are worth at most twenty, paired."""
    samples = summarise(
        heard_run(), {each.id: each for each in make_utterances(10)}, make_suite("a")
    )
    p50 = samples.candidates["a"].metrics["stt_final"].main.p50
    assert isinstance(p50, Estimate)
    assert p50.n == 20
    assert p50.effective_n <= 20


def routed(order: int, route: dict[str, object]) -> Trial:
    """Return a trial whose LLM request was answered by a route."""
    trial = make_trial(utterance=f"u{order + 1}", order=order)
    turn = trial.turns[0]
    requests = tuple(
        replace(each, facts={**each.facts, **route}) if each.stage is Stage.LLM else each
        for each in turn.requests
    )
    return replace(trial, turns=(replace(turn, requests=requests),))


def test_routes_are_told_by_the_request_that_was_heard() -> None:
    """A route is provider/model of the LLM request behind the reply; untold ones stand apart."""
    fast: dict[str, object] = {"route.provider": "groq", "route.model": "k2"}
    rows = rows_of(
        (routed(0, fast), routed(1, {"route.provider": "baseten"}), routed(2, {}), routed(3, fast))
    )
    found = breakdown(rows, by_route(Stage.LLM))
    assert [(each.key, each.trials) for each in found] == [
        ("baseten", 1),
        ("groq/k2", 2),
        (UNROUTED, 1),
    ]


def test_a_trial_without_a_request_has_no_route() -> None:
    """A trial that failed before it asked is left out of the routes, and not of the conditions."""
    rows = rows_of((make_failed(stage=Stage.STT), make_trial(utterance="u2", order=1)))
    assert sum(each.trials for each in breakdown(rows, by_route(Stage.LLM))) == 1
    (only,) = breakdown(rows, by_condition)
    assert (only.key, only.trials, only.failed) == ("clean", 2, 1)


def test_languages_have_their_own_unit() -> None:
    """Japanese is scored by character beside English by word; pooled, only words count."""
    japanese = replace(make_utterance("u2", text="今日は晴れ"), language="ja")
    trials = (
        make_trial(utterance="u1"),
        make_trial(utterance="u2", order=1, text="今日は雨れ"),
    )
    rows = make_rows(trials, {"u1": make_utterance("u1"), "u2": japanese})
    english, other = breakdown(rows, by_language)
    assert english.words is not None
    assert other.words is not None
    assert (english.words.unit, other.words.unit) == ("word", "character")
    assert (other.words.substitutions, other.words.reference_words) == (1, 5)
    suite = make_suite("a")
    summary = summarise(trials, {"u1": make_utterance("u1"), "u2": japanese}, suite)
    pooled = summary.candidates["a"].words
    assert pooled is not None
    assert (pooled.unit, pooled.left_out, pooled.reference_words) == ("word", 1, 5)
    (table,) = breakdown_tables({"a": rows}, summary, suite)
    assert table.title == "By language"
    assert [row[0] for row in table.rows] == ["en", "ja"]


def test_tables_appear_where_there_is_something_to_split() -> None:
    """A plain run has no breakdown; conditions give a table that says what each does."""
    utterances = {each.id: each for each in make_utterances(10)}
    plain = make_run(("a",), utterances=10)
    suite = make_suite("a")
    summary = summarise(plain, utterances, suite)
    assert breakdown_tables({"a": make_rows(plain, utterances)}, summary, suite) == ()
    heard = heard_run()
    suite = replace(suite, conditions=CONDITIONS)
    summary = summarise(heard, utterances, suite)
    (table,) = breakdown_tables({"a": make_rows(heard, utterances)}, summary, suite)
    assert [row[0] for row in table.rows] == list(NAMES)
    assert "phone: g711-mulaw at 8 kHz" in table.note


def test_added_silence_is_paid_for() -> None:
    """What a condition adds to a recording is sent, and so billed, with it."""
    utterances = {each.id: each for each in make_utterances(10)}
    suite = replace(make_suite("a"), prices={"openadapter/stt-1": Price(per_audio_minute=60.0)})
    slow = replace(
        suite,
        conditions=(CONDITIONS[0], replace(CONDITIONS[1], lead_silence_s=1, trail_silence_s=2)),
    )
    plain, longer = (
        summarise(heard_run(), utterances, each).candidates["a"].cost for each in (suite, slow)
    )
    assert plain is not None
    assert longer is not None
    assert plain.total == pytest.approx(20 * 1.75)
    assert longer.total == pytest.approx(20 * 1.75 + 10 * 3)


def test_runs_under_other_conditions_are_not_compared() -> None:
    """Conditions are an option that moves latency: runs differ where theirs differ."""
    suite = make_suite("a")
    assert option_values(suite)["conditions"] == "none"
    phone = replace(suite, conditions=CONDITIONS)
    mine, theirs = (
        MeasuredRun(name=name, suite=each, utterances={}, trials=())
        for name, each in (("left", suite), ("right", phone))
    )
    assert differences(mine, mine) == ()
    (line,) = differences(mine, theirs)
    assert line == (
        "conditions: none in left, clean (as recorded), phone (g711-mulaw at 8 kHz) in right"
    )
