"""A stored run as DataFrames: what is in the run is in the tables, and nothing else."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.analysis.statistics.estimate import Estimate
from harness.analysis.summary.summary import summarise
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.definitions import EVENTS, METRICS
from harness.cli.shared.run_view import view_of
from harness.domain.request import FailureKind
from harness.domain.suite import Via
from harness.domain.timeline import Mark
from harness.errors import ConfigurationError
from harness.frames.columns import TABLES, TableName
from harness.frames.records import Records
from harness.frames.tables import RunTables, frame_of
from harness.report.export import trial_records
from harness.store.runs.run import Run
from tests.frames.stored import every_kind, store_run
from tests.synthetic import Script, make_failed, make_trial

NAMES = tuple(TABLES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run with trials of every status."""
    return store_run(tmp_path_factory.mktemp("reports"), every_kind())


@pytest.fixture(scope="module")
def tables(run: Run) -> RunTables:
    """Return its tables."""
    return harness.load(run.path)


@pytest.mark.parametrize("name", NAMES)
def test_columns_and_types_are_those_of_the_definition(tables: RunTables, name: TableName) -> None:
    """Each table has the columns, the types and the unique index that its definition states."""
    table, frame = TABLES[name], getattr(tables, name)()
    kinds = {key: value for key, value in table.kinds.items() if key not in table.index}
    assert {key: str(kind) for key, kind in frame.dtypes.items()} == kinds
    assert tuple(frame.index.names) == table.index
    assert frame.index.is_unique
    assert not frame.empty


@pytest.mark.parametrize("name", NAMES)
def test_no_record_has_a_column_that_is_not_defined(run: Run, name: TableName) -> None:
    """What is computed for a row is shown: no value goes lost for want of a column."""
    assert {key for each in Records(run).of(name) for key in each} <= set(TABLES[name].kinds)


def test_every_column_says_something(tables: RunTables) -> None:
    """What providers tell and what the plan says stand in the tables."""
    trials, requests = tables.trials(), tables.requests()
    for name in ("run", "candidate", "voice", "status", "failure", "note", "tags", "llm_endpoint"):
        assert trials[name].notna().any(), name
    for name in (
        "model",
        "served_by",
        "request_id",
        "reused",
        "rtt_ms",
        "cached_tokens",
        "audio_s",
    ):
        assert requests[name].notna().any(), name
    llm = requests.query("stage == 'llm' and model == 'llm-2'")
    assert set(llm["input_tokens"]) == {40}
    assert set(llm["output_tokens"]) == {9}
    assert set(llm["cached_tokens"]) == {32}


def test_the_report_s_records_are_the_table_s(run: Run) -> None:
    """The report's JSON and the table say the same of every trial, to the last digit."""
    records = trial_records(view_of(run))
    frame = RunTables(run).trials().reset_index()
    for record, (_, row) in zip(records, frame.iterrows(), strict=True):
        for name, value in record.items():
            shown = None if pd.isna(row[name]) else row[name]
            assert shown == (None if value == "" else value), (record["trial"], name)


def test_what_counts_is_what_the_summary_counts(run: Run, tables: RunTables) -> None:
    """The trials that are marked as counted are those behind the report's figures."""
    trials = tables.trials()
    summary = summarise(run.trials(), {u.id: u for u in run.plan.utterances}, run.plan.suite)
    for name, candidate in summary.candidates.items():
        mine = trials[(trials["candidate"] == name) & trials["counted"]]
        assert len(mine) == candidate.planned
        assert (mine["status"] == "failed").sum() == candidate.failed
    assert set(trials["status"]) == {"answered", "disturbed", "failed", "warm-up", "re-run"}


def test_what_failed_has_no_response(tables: RunTables) -> None:
    """A failed trial's response is missing: no 0, no -1, no NaN that passes for a number."""
    failed = tables.trials().query("status == 'failed'")
    assert len(failed) == 2
    assert failed["response_ms"].isna().all()
    assert all(value is pd.NA for value in failed["response_ms"])
    assert set(failed["failure"]) == {"llm · timeout", "stt · timeout"}


def test_parts_sum_to_the_response(run: Run, tables: RunTables) -> None:
    """The parts of each turn meet end to end and sum to its response."""
    parts, trials = tables.parts(), tables.trials()
    sums = parts["length_ms"].groupby(level="trial").sum()
    assert len(sums) == sum(
        isinstance(waterfall(each.turns[0]), Waterfall) for each in run.trials() if each.turns
    )
    for trial, total in sums.items():
        assert total == pytest.approx(trials.loc[str(trial), "response_ms"], abs=1e-6)
        mine = parts.xs(trial, level="trial")
        assert list(mine["start_ms"])[1:] == list(mine["end_ms"])[:-1]
        assert mine["start_ms"].iloc[0] == 0


def test_marks_count_from_the_end_of_speech(tables: RunTables) -> None:
    """A turn's first audible sample, from the end of speech, is the trial's response."""
    turns, trials = tables.turns(), tables.trials()
    heard = turns["first_audible_ms"].dropna().droplevel("turn")
    assert len(heard) > 10
    assert heard.equals(trials.loc[heard.index, "response_ms"].rename("first_audible_ms"))
    assert (turns["speech_end_ms"].dropna() == 0).all()
    assert {f"{mark.value}_ms" for mark in Mark} <= set(turns.columns)


def test_requests_join_with_their_trials(tables: RunTables) -> None:
    """From a request's start to its turn's first text is its trial's time to first token."""
    requests, trials = tables.requests(), tables.trials()
    joined = requests.query("stage == 'llm'").join(trials[["candidate", "llm_ttft_ms"]], on="trial")
    assert joined["candidate"].notna().all()
    turns = tables.turns().droplevel("turn")
    llm = joined.droplevel(["turn", "request"])
    found = turns.loc[llm.index, "llm_first_text_ms"] - llm["start_ms"]
    assert found.to_numpy(float) == pytest.approx(llm["llm_ttft_ms"].to_numpy(float))


def test_the_summary_s_estimates_are_the_report_s(run: Run, tables: RunTables) -> None:
    """Each estimate stands under candidate, metric and statistic; what has none says why."""
    frame = tables.summary()
    rows = {key: row for key, (_, row) in zip(frame.index, frame.iterrows(), strict=True)}
    summary = summarise(run.trials(), {u.id: u for u in run.plan.utterances}, run.plan.suite)
    seen = 0
    for name, candidate in summary.candidates.items():
        failures = rows[name, "failures", "rate"]
        assert failures["point"] == pytest.approx(candidate.failed / candidate.planned)
        for metric, found in candidate.metrics.items():
            if metric in EVENTS:
                continue
            row, estimate = rows[name, metric, "p50"], found.main.p50
            assert row["n"] == found.main.n
            assert row["unit"] == METRICS[metric].unit
            if isinstance(estimate, Estimate):
                assert (row["point"], row["low"]) == (estimate.point, estimate.low)
                seen += 1
            else:
                assert pd.isna(row["point"])
                assert row["reason"]
    assert seen > 5
    assert frame.loc[frame["point"].isna(), "reason"].notna().all()
    assert frame.loc[frame["high"].isna(), "reason"].notna().all()


def test_what_is_emulated_says_so(tmp_path: Path) -> None:
    """A candidate that a gateway answered for bears it in its name wherever it is named."""
    run = store_run(tmp_path, every_kind(), via=Via.GATEWAY)
    tables = RunTables(run)
    assert set(tables.trials()["candidate"]) == {"a (emulated)", "b (emulated)"}
    assert tables.trials()["emulated"].all()
    assert set(tables.summary().index.unique("candidate")) == {"a (emulated)", "b (emulated)"}


def test_each_stage_alone_has_no_waterfall(tmp_path: Path) -> None:
    """Trials of each stage alone are in the other tables, and have no parts."""
    run = store_run(tmp_path, [make_trial(Script(), driver="stage")])
    tables = RunTables(run)
    assert (len(tables.trials()), len(tables.turns()), len(tables.parts())) == (1, 1, 0)


def test_a_run_without_trials_has_empty_tables(tmp_path: Path) -> None:
    """Tables of nothing have no rows and all columns with their types."""
    tables = RunTables(store_run(tmp_path, []))
    for name in ("trials", "turns", "requests", "parts"):
        frame = getattr(tables, name)()
        assert frame.empty
        assert str(frame.dtypes.iloc[-1]) == list(TABLES[name].kinds.values())[-1]


def test_runs_are_found_as_the_command_line_finds_them(tmp_path: Path) -> None:
    """A run is found by its path, its name, and "latest"; an unknown one is told in a line."""
    run = store_run(tmp_path, [make_trial(Script())])
    for asked in (run.path, str(run.path), run.name, run.name[-4:], "latest"):
        assert harness.load(asked, reports=tmp_path).name == run.name
    assert run.name in repr(harness.load(reports=tmp_path))
    with pytest.raises(ConfigurationError, match="no run"):
        harness.load("nonesuch", reports=tmp_path)


def test_a_part_of_an_index_is_asked_for_without_a_warning(tables: RunTables) -> None:
    """All rows of one trial, and all statistics of one metric, are one ``loc`` away."""
    trial = str(tables.parts().index.unique("trial")[3])
    assert set(tables.parts().loc[trial]["name"]) > {"stt", "llm", "tts"}
    assert len(tables.turns().loc[trial]) == 1
    assert len(tables.requests().loc[trial]) == 2
    response = tables.summary().loc["a"].loc["response"]
    assert {"p50", "p95", "mean"} <= set(response.index)


def test_each_call_returns_a_frame_of_its_own(tables: RunTables) -> None:
    """What a notebook does to a frame is not in the next one."""
    first = tables.trials()
    first["status"] = "changed"
    assert "changed" not in set(tables.trials()["status"])


VALUES = {
    "string": st.none() | st.text(max_size=8),
    "Float64": st.none() | st.floats(),
    "Int64": st.none() | st.integers(-(2**53), 2**53),
    "boolean": st.none() | st.booleans(),
}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_absence_stays_absence(data: st.DataObject) -> None:
    """What is None, empty or not finite is missing in the frame; everything else is unchanged."""
    table = TABLES["requests"]
    record: dict[str, Any] = {
        name: data.draw(VALUES[kind])
        for name, kind in table.kinds.items()
        if data.draw(st.booleans())
    }
    # No row lacks its name.
    record |= {"trial": "t00000", "turn": 0, "request": "llm0"}
    frame = frame_of(table, [record]).reset_index()
    for name in table.kinds:
        given_value = record.get(name)
        absent = given_value is None or given_value == ""
        if isinstance(given_value, float) and not math.isfinite(given_value):
            absent = True
        shown = frame[name].iloc[0]
        assert (shown is pd.NA) if absent else (shown == given_value), (name, shown, given_value)


def test_a_failure_of_a_request_stands_in_its_row(tmp_path: Path) -> None:
    """What a provider said of a failed request is in its row, beside the trial's own failure."""
    base = make_trial(Script())
    failure = replace(make_failed(kind=FailureKind.SERVER_ERROR).failure, status=503)
    (turn,) = base.turns
    first, *rest = turn.requests
    broken = replace(turn, requests=(replace(first, failure=failure), *rest))
    run = store_run(tmp_path, [replace(base, turns=(broken,))])
    row = RunTables(run).requests().iloc[0]
    assert (row["failure"], row["http_status"]) == ("server_error", 503)
    assert row["message"] == "no answer within 30 s"
