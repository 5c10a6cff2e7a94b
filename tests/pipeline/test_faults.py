"""Every fault of every stage, through the real plugins, ends as the right kind of failed trial.

Each case plays the same utterance twice with the same clients: the first request is struck by the
fault, the next is answered. So the second trial shows that nothing of the first is left behind.
Many cases run at once in one event loop, as trials do in a run, and must not harm each other.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.domain.suite import Candidate, SessionOptions, StageSettings, Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.domain.trial import FailureKind as K
from harness.gateway.config import GatewayConfig
from harness.gateway.faults import STAGE_FAULTS
from harness.gateway.faults import FaultKind as F
from harness.gateway.process import GatewayProcess, start_gateway
from harness.pipeline.session import SessionPerformer
from harness.pipeline.stage import StagePerformer
from tests.pipeline.playing import DATASET, Played, play, playable

pytestmark = [pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(300)]

UTTERANCE = "slt-umbrella"
TIMEOUTS = Timeouts(connect_s=5, transcript_s=4, reply_s=6, playout_s=20)
LIMIT_S = 20.0
"""No trial may last longer: the utterance, its time-outs one after the other, and the playout."""
AT_ONCE = 12
DRIVERS = {"session": SessionPerformer, "stage": StagePerformer}

ENDS_WELL = None
"""The trial answers: the fault is no failure of the turn, or nothing but a recogniser can tell."""

_STARTS: dict[F, K | None] = {
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

EXPECTED: Mapping[Stage, Mapping[F, K | None]] = {
    Stage.STT: {
        **_STARTS,
        F.MID_STREAM_ERROR: K.STREAM_ERROR,
        F.RESET: K.RESET,
        F.TRUNCATION: K.TRUNCATED,
        F.EMPTY: K.NO_TRANSCRIPT,
        F.STALL: K.NO_TRANSCRIPT,
        F.MALFORMED: K.MALFORMED,
        F.WRONG_CONTENT_TYPE: K.MALFORMED,
        F.OVERSIZED: K.MALFORMED,
        F.NONSENSE: ENDS_WELL,  # the words are wrong: that is what WER is for
        F.DUPLICATE_FINAL: ENDS_WELL,
        F.LATE_FINAL: ENDS_WELL,
        F.DROP_BETWEEN_TURNS: ENDS_WELL,
    },
    Stage.LLM: {
        **_STARTS,
        F.MID_STREAM_ERROR: K.STREAM_ERROR,
        F.RESET: K.RESET,
        F.TRUNCATION: K.TRUNCATED,
        F.EMPTY: K.EMPTY,
        F.STALL: K.TIMEOUT,
        F.MALFORMED: K.MALFORMED,
        F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
        F.OVERSIZED: K.MALFORMED,
        F.NONSENSE: ENDS_WELL,  # what the reply says is another question than when it came
    },
    Stage.TTS: {
        **_STARTS,
        F.MID_STREAM_ERROR: K.RESET,  # bytes of audio have no words for an error
        F.RESET: K.RESET,
        F.TRUNCATION: K.TRUNCATED,
        F.EMPTY: K.EMPTY,
        F.STALL: K.TIMEOUT,
        F.MALFORMED: K.MALFORMED,
        F.WRONG_CONTENT_TYPE: K.WRONG_TYPE,
        F.SILENT_AUDIO: K.SILENT,
        F.NONSENSE: K.MALFORMED,
        F.WRONG_RATE: ENDS_WELL,  # headerless samples: only a recogniser could tell
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault of one stage of one provider, by one driver."""

    driver: str
    provider: str
    stage: Stage
    fault: F
    kind: K | None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0

    @property
    def name(self) -> str:
        more = [self.model, *self.options.values(), f"{self.retries} retries" * bool(self.retries)]
        named = [self.driver, self.provider, self.stage.value, self.fault.value, *more]
        return "-".join(str(each).replace(" ", "-") for each in named if each)

    def candidate(self) -> Candidate:
        def settings(stage: Stage) -> StageSettings:
            struck = stage is self.stage
            provider = self.provider if struck else "openadapter"
            return StageSettings(
                provider=provider,
                model=self.model if struck else None,
                profile=profile_name(self) if struck else "brief",
                options=dict(self.options) if struck else {},
            )

        return Candidate(
            name=self.name,
            stt=settings(Stage.STT),
            llm=settings(Stage.LLM),
            tts=settings(Stage.TTS),
        )


def profile_name(case: Case) -> str:
    """Return the name of the gateway profile that fails once."""
    return f"once-{case.name}"


TOLD_SOONER: Mapping[tuple[str, Stage, F], K] = {
    # Who asks for the final notices that no answer comes.
    ("stage", Stage.STT, F.STALL): K.TIMEOUT,
}


def _cases() -> list[Case]:
    cases = [
        Case(
            driver=driver,
            provider="openadapter",
            stage=stage,
            fault=fault,
            kind=TOLD_SOONER.get((driver, stage, fault), kind),
        )
        for driver in DRIVERS
        for stage, kinds in EXPECTED.items()
        for fault, kind in kinds.items()
    ]
    for container in ("wav", "mp3"):
        cases += [
            Case(
                driver="stage",
                provider="openadapter",
                stage=Stage.TTS,
                fault=fault,
                # A decoder skips what it cannot read; that the rest is missing shows.
                kind=K.TRUNCATED if fault is F.MALFORMED else kind,
                options={"response_format": container},
            )
            for fault, kind in EXPECTED[Stage.TTS].items()
            if fault not in _STARTS
        ]
    # A model that livekit's plugin asks for server-sent events, where an error has words.
    cases += [
        Case(
            driver="stage",
            provider="openai",
            stage=Stage.TTS,
            fault=fault,
            kind=K.STREAM_ERROR if fault is F.MID_STREAM_ERROR else kind,
            model="gpt-4o-mini-tts",
        )
        for fault, kind in EXPECTED[Stage.TTS].items()
        if fault not in _STARTS
    ]
    cases += [
        Case(
            driver=driver,
            provider="openadapter",
            stage=stage,
            fault=fault,
            kind=ENDS_WELL,
            retries=2,
        )
        for driver in DRIVERS
        for stage in EXPECTED
        for fault in (F.UNAVAILABLE, F.REFUSED)
    ]
    return cases


CASES = _cases()


def _profiles() -> str:
    """Return a profile for each case whose first request alone is struck."""
    tables = ['["brief"]\nbase = "exact"\n["brief".llm]\nmax_sentences = 1\n']
    for case in CASES:
        stage = case.stage.value
        more = "\nmax_sentences = 1" if case.stage is Stage.LLM else ""
        # A session opens its socket ahead of the first stream, which has its own chance then.
        ahead = case.driver == "session" and stage == "stt" and case.fault in _STARTS
        first = 2 if ahead and not case.retries else 1
        tables.append(
            f'["{profile_name(case)}"]\nbase = "exact"\n'
            f'["{profile_name(case)}".{stage}]\n'
            f"faults = {{ rates = {{ {case.fault.value} = 1.0 }}, first = {first}, "
            f"retry_after_s = 1 }}{more}\n"
        )
    return "\n".join(tables)


@dataclass(slots=True)
class Told:
    """What two trials in a row came to, and how long the longer lasted."""

    trials: list[Played]
    longest_s: float


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that knows the profiles of all cases."""
    path = tmp_path_factory.mktemp("faults") / "profiles.toml"
    path.write_text(_profiles(), encoding="utf-8")
    with start_gateway(
        GatewayConfig(
            seed=5, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=path
        )
    ) as process:
        yield process


async def perform(gateway: GatewayProcess, case: Case) -> Told:
    """Play the utterance twice with the same clients."""
    utterance = playable(UTTERANCE)
    options = SessionOptions(request_timeout_s=3.0, max_retries=case.retries)
    played = await play(
        f"http://127.0.0.1:{gateway.port}",
        gateway.key,
        case.candidate(),
        [utterance, utterance],
        performer=DRIVERS[case.driver],
        session=options,
        timeouts=TIMEOUTS,
        stage_texts=("I have added apples, bread and milk to your list.",),
    )
    return Told(played, max((each.ended_ns - each.started_ns) / 1e9 for each in played))


@pytest.fixture(scope="module")
def told(failing: GatewayProcess) -> dict[str, Told]:
    """Play all cases, many at once in one loop."""

    async def all_of_them() -> dict[str, Told]:
        limit = asyncio.Semaphore(AT_ONCE)
        found: dict[str, Told] = {}

        async def one(case: Case) -> None:
            async with limit:
                found[case.name] = await perform(failing, case)

        # livekit's tokenizers hold the loop for more than a second over a word of four mebibytes,
        # which is the neighbours' time-out here: those come last.
        heavy = [each for each in CASES if (each.stage, each.fault) == (Stage.LLM, F.OVERSIZED)]
        await asyncio.gather(*(one(case) for case in CASES if case not in heavy))
        for case in heavy:
            await one(case)
        return found

    return asyncio.run(all_of_them())


def _described(trial: Played) -> str:
    return str(trial.failure) if isinstance(trial, FailedTrial) else "a trial that answers"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_ends_right(told: dict[str, Told], case: Case) -> None:
    """The struck trial fails at its stage in its kind; the next one, on the same clients, ends."""
    struck, after = told[case.name].trials
    if case.kind is ENDS_WELL:
        assert isinstance(struck, Trial), _described(struck)
    else:
        assert isinstance(struck, FailedTrial), _described(struck)
        found = (struck.failure.stage, struck.failure.kind)
        assert found == (case.stage, case.kind), _described(struck)
        assert struck.failure.message
    assert isinstance(after, Trial), _described(after)
    assert told[case.name].longest_s < LIMIT_S


def test_the_table_is_complete() -> None:
    """Each fault that a profile can have stands in the table."""
    for stage, kinds in STAGE_FAULTS.items():
        assert set(EXPECTED[Stage(stage.value)]) == set(kinds), stage
