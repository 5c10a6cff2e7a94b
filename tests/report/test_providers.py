"""What providers told of each request, in the tables, the trial's details and the exports."""

from dataclasses import replace

from harness.analysis.summary.samples import make_rows
from harness.analysis.turn.disturbance import select
from harness.domain.candidate import StageSettings
from harness.domain.request import Attempt, Connection, Failure, FailureKind, Request
from harness.domain.suite import Price
from harness.domain.timeline import Stage
from harness.domain.trial import Trial
from harness.report.format import Cell
from harness.report.providers import (
    caches_table,
    cost_line,
    endpoints_table,
    provider_facts,
    request_lines,
)
from tests.synthetic import MS, Script, make_suite, make_trial, make_utterances

TOLD = {
    Stage.LLM: {
        "endpoint": "llm.example",
        "model": "llm-a-2",
        "served_by": "alder",
        "request_id": "req-1",
        "usage.prompt_tokens": 40,
        "usage.completion_tokens": 9,
        "usage.prompt_tokens_details.cached_tokens": 32,
    },
    Stage.TTS: {"endpoint": "tts.example", "audio_seconds": 2.5},
}
UTTERANCES = {each.id: each for each in make_utterances(3)}
WARM = Connection(reused=True, path_rtt_ns=12 * MS)


def _spaced(text: str) -> str:
    """Return a text with plain spaces between numbers and units."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def trial() -> Trial:
    """Return a trial whose requests tell of themselves."""
    base = make_trial(Script(), candidate="a")
    turn = base.turns[0]
    requests = tuple(
        replace(each, facts=TOLD.get(each.stage, {}), connection=WARM) for each in turn.requests
    )
    return replace(base, turns=(replace(turn, requests=requests),))


def test_a_trial_s_columns() -> None:
    """Names, distance, usage and cost stand under names that are the same for every trial."""
    prices = {"openadapter/llm-a": Price(per_million_input_tokens=1e6)}
    suite = replace(make_suite("a"), prices=prices)
    (row,) = make_rows([trial()], UTTERANCES)
    found = dict(provider_facts(row, suite))
    assert found["llm_model"] == "llm-a-2"
    assert found["llm_served_by"] == "alder"
    assert found["llm_request_id"] == "req-1"
    assert found["llm_endpoint"] == "llm.example"
    assert found["llm_reused"] is True
    assert found["llm_rtt_ms"] == 12.0
    assert found["llm_connect_ms"] is None
    assert found["llm_attempts"] == 1
    assert (found["llm_input_tokens"], found["llm_output_tokens"]) == (40, 9)
    assert found["llm_cached_tokens"] == 32
    assert found["tts_audio_s"] == 2.5
    assert found["tts_characters"] == sum(
        len(each.text) for each in row.trial.turns[0].requests if each.stage is Stage.TTS
    )
    assert found["cost"] == 40.0
    assert list(cost_line(tuple(found.items()))) == [("cost by the suite's prices", "40.000000")]
    plain = dict(provider_facts(make_rows([make_trial(Script())], UTTERANCES)[0], make_suite()))
    assert list(plain) == list(found)
    assert plain["cost"] is None


def test_a_request_s_lines() -> None:
    """The connection with its round trip, and each earlier attempt with its cause and length."""
    failure = Failure(stage=Stage.LLM, kind=FailureKind.SERVER_ERROR, message="busy", status=503)
    request = Request(
        id="llm0",
        stage=Stage.LLM,
        cause=next(each.cause for each in trial().turns[0].requests if each.stage is Stage.LLM),
        connection=Connection(reused=False, rtt_ns=20 * MS, path_rtt_ns=18 * MS),
        attempts=(Attempt(number=1, start_ns=0, end_ns=250 * MS, failure=failure),),
    )
    lines = dict(request_lines(request))
    assert _spaced(lines["connection"]) == "opened, TCP's handshake 20 ms, round trip 18 ms"
    assert _spaced(lines["attempt 1"]) == "after 250 ms: server_error: busy (503)"


def test_the_way_to_each_endpoint() -> None:
    """The trust panel says how far each stage's endpoint is, and marks what was emulated."""
    again = replace(trial(), key=replace(trial().key, order=1, repeat=1))
    selections = {"a": select([trial(), again])}
    table = endpoints_table(selections, {"a": {Stage.LLM}})
    assert table is not None
    (llm,) = [row for row in table.rows if row[1] == "LLM"]
    assert llm[2] == "llm.example"
    assert isinstance(llm[3], Cell)
    assert llm[3].text.startswith("12")
    assert llm[3].emulated
    assert llm[6] == "2 of 2"
    (tts,) = [row for row in table.rows if row[1] == "TTS"]
    assert isinstance(tts[3], Cell)
    assert not tts[3].emulated
    assert endpoints_table({"a": select([make_trial(Script())])}, {}) is None


def test_how_much_a_cache_served() -> None:
    """Requests with cached tokens are counted, with the way the suite meets caches."""
    suite = make_suite("a")
    (candidate,) = suite.candidates
    assert candidate.llm is not None
    busted = replace(candidate, llm=StageSettings(provider="openadapter", cache="bust"))
    selections = {"a": select([trial()])}
    for each, way in ((candidate, "as-is"), (busted, "bust")):
        table = caches_table(selections, replace(suite, candidates=(each,)))
        assert table is not None
        (cells,) = table.rows
        assert [_spaced(str(each)) for each in cells] == ["a", way, "1 of 1", "80.0 %"]
    assert caches_table({"a": select([make_trial(Script())])}, suite) is None
