"""Every fault of Speko's three routes, and of OpenAI's two ways to hear, by the real plugins.

Each case plays the same utterance twice with the same clients: the first request is struck, the
next is answered. Many cases run at once in one event loop, as trials do in a run.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.domain.suite import Candidate, SessionOptions, StageSettings, Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.domain.trial import FailureKind as K
from harness.gateway.config import GatewayConfig
from harness.gateway.faults import FaultKind as F
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.performer import Base
from harness.pipeline.session import SessionPerformer
from harness.pipeline.stage import StagePerformer
from tests.pipeline.playing import DATASET, Played, play, playable

pytestmark = [pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(300)]

AT_ONCE = 8
LIMIT_S = 25.0
ENDS_WELL = None

_STARTS: Mapping[F, K | None] = {
    F.UNAUTHORISED: K.UNAUTHORIZED,
    F.FORBIDDEN: K.FORBIDDEN,
    F.NOT_FOUND: K.NOT_FOUND,
    F.RATE_LIMITED: K.RATE_LIMITED,
    F.RATE_LIMITED_BARE: K.RATE_LIMITED,
    F.SERVER_ERROR: K.SERVER_ERROR,
    F.UNAVAILABLE: K.SERVER_ERROR,
    F.REFUSED: K.RESET,
    F.SLOW_HELLO: K.TIMEOUT,
}
_HEARD: Mapping[F, K | None] = {
    **_STARTS,
    F.MID_STREAM_ERROR: K.STREAM_ERROR,
    F.RESET: K.RESET,
    F.TRUNCATION: K.TRUNCATED,
    F.EMPTY: K.NO_TRANSCRIPT,
    F.STALL: K.TIMEOUT,
    F.MALFORMED: K.MALFORMED,
    F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
    F.OVERSIZED: K.MALFORMED,
    F.NONSENSE: ENDS_WELL,
    F.DUPLICATE_FINAL: ENDS_WELL,
    F.LATE_FINAL: ENDS_WELL,
    F.DROP_BETWEEN_TURNS: ENDS_WELL,
}
_ANSWERED: Mapping[F, K | None] = {
    **_STARTS,
    F.MID_STREAM_ERROR: K.STREAM_ERROR,
    F.RESET: K.RESET,
    F.TRUNCATION: K.TRUNCATED,
    F.EMPTY: K.EMPTY,
    F.STALL: K.TIMEOUT,
    F.MALFORMED: K.MALFORMED,
    F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
    F.OVERSIZED: K.MALFORMED,
    F.NONSENSE: ENDS_WELL,
}
_SPOKEN: Mapping[F, K | None] = {
    **_STARTS,
    F.MID_STREAM_ERROR: K.RESET,
    F.RESET: K.RESET,
    F.EMPTY: K.EMPTY,
    F.STALL: K.TIMEOUT,
    F.MALFORMED: K.MALFORMED,
    F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
    F.SILENT_AUDIO: K.SILENT,
    F.NONSENSE: K.MALFORMED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault of one stage of one provider."""

    provider: str
    stage: Stage
    fault: F
    kind: K | None
    options: Mapping[str, Any] = field(default_factory=dict)
    driver: type[Base] = StagePerformer

    @property
    def name(self) -> str:
        way = "-".join([*self.options, *(["session"] if self.driver is SessionPerformer else [])])
        return "-".join(
            each for each in (self.provider, way, self.stage.value, self.fault.value) if each
        )

    def candidate(self) -> Candidate:
        struck = StageSettings(
            provider=self.provider, profile=f"once-{self.name}", options=dict(self.options)
        )
        other = None
        if self.driver is SessionPerformer:
            # One sentence: a second would be struck as the first was.
            other = StageSettings(provider=self.provider, profile="brief")
        return Candidate(
            name=self.name,
            stt=struck if self.stage is Stage.STT else other,
            llm=struck if self.stage is Stage.LLM else other,
            tts=struck if self.stage is Stage.TTS else other,
        )


def _cases() -> list[Case]:
    tables = ((Stage.STT, _HEARD), (Stage.LLM, _ANSWERED), (Stage.TTS, _SPOKEN))
    cases = [
        Case(provider="speko", stage=stage, fault=fault, kind=kind)
        for stage, table in tables
        for fault, kind in table.items()
    ]
    cases += [
        Case(provider="speko", stage=stage, fault=fault, kind=table[fault], driver=SessionPerformer)
        for stage, table in tables
        for fault in (F.RATE_LIMITED, F.REFUSED, F.RESET, F.STALL, F.MALFORMED, F.MID_STREAM_ERROR)
    ]
    # One answer in JSON: half of it is no JSON, and no size limit is any part of OpenAI's client.
    rest = {**_HEARD, F.TRUNCATION: K.MALFORMED, F.OVERSIZED: ENDS_WELL}
    cases += [
        Case(provider="openai", stage=Stage.STT, fault=fault, kind=kind)
        for fault, kind in rest.items()
    ]
    # Over a socket nothing tells an answer that never comes from one that is late.
    socket = {
        **_HEARD,
        F.STALL: K.NO_TRANSCRIPT,
        F.WRONG_CONTENT_TYPE: K.MALFORMED,
    }
    cases += [
        Case(
            provider="openai",
            stage=Stage.STT,
            fault=fault,
            kind=kind,
            options={"realtime": True},
        )
        for fault, kind in socket.items()
    ]
    return cases


CASES = _cases()


def _profiles() -> str:
    tables = ['["brief"]\nbase = "exact"\n["brief".llm]\nmax_sentences = 1\n']
    for case in CASES:
        more = "\nmax_sentences = 1" if case.stage is Stage.LLM else ""
        tables.append(
            f'["once-{case.name}"]\nbase = "exact"\n["once-{case.name}".{case.stage.value}]\n'
            f"faults = {{ rates = {{ {case.fault.value} = 1.0 }}, first = 1, retry_after_s = 1 }}"
            f"{more}\n"
        )
    return "\n".join(tables)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that knows the profiles of all cases."""
    path: Path = tmp_path_factory.mktemp("faults") / "profiles.toml"
    path.write_text(_profiles(), encoding="utf-8")
    config = GatewayConfig(
        seed=5, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=path
    )
    with start_gateway(config) as process:
        yield process


@pytest.fixture(scope="module")
def told(failing: GatewayProcess) -> dict[str, list[Played]]:
    """Play all cases, many at once in one loop."""

    async def all_of_them() -> dict[str, list[Played]]:
        limit = asyncio.Semaphore(AT_ONCE)
        found: dict[str, list[Played]] = {}

        async def one(case: Case) -> None:
            async with limit:
                found[case.name] = await play(
                    f"http://127.0.0.1:{failing.port}",
                    failing.key,
                    case.candidate(),
                    [playable("kal16-timer")] * 2,
                    performer=case.driver,
                    session=SessionOptions(request_timeout_s=2.0),
                    timeouts=Timeouts(connect_s=5, transcript_s=4, reply_s=6, playout_s=20),
                    stage_texts=("I have added apples, bread and milk to your list.",),
                )

        await asyncio.gather(*(one(case) for case in CASES))
        return found

    return asyncio.run(all_of_them())


def _described(trial: Played) -> str:
    return str(trial.failure) if isinstance(trial, FailedTrial) else "a trial that ends well"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_ends_right(told: dict[str, list[Played]], case: Case) -> None:
    """The struck trial fails at its stage in its kind; the next, on the same clients, ends well."""
    struck, after = told[case.name]
    if case.kind is ENDS_WELL:
        assert isinstance(struck, Trial), _described(struck)
    else:
        assert isinstance(struck, FailedTrial), _described(struck)
        found = (struck.failure.stage, struck.failure.kind)
        assert found == (case.stage, case.kind), _described(struck)
        assert struck.failure.message
    assert isinstance(after, Trial), _described(after)
    assert max(each.ended_ns - each.started_ns for each in told[case.name]) / 1e9 < LIMIT_S
