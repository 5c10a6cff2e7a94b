"""Playing every fault of a socket's provider: the first request is struck, the next is answered.

The same clients play both trials, so the second shows that nothing of the first is left behind.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.domain.suite import Candidate, SessionOptions, StageSettings, Timeouts
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.domain.trial import FailureKind as K
from harness.gateway.config import GatewayConfig
from harness.gateway.faults import FaultKind as F
from harness.gateway.process import GatewayProcess, start_gateway
from tests.pipeline.playing import DATASET, Played, play, playable

__all__ = ["ENDS_WELL", "STARTS", "Case", "check", "play_all", "striking"]

ENDS_WELL = None
STARTS: Mapping[F, K | None] = {
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
"""How faults of a connection end."""

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault of one stage, and how the trial ends.

    Attributes:
        label: of the protocol.
        settings: the struck stage's.
        stage, fault: what is struck, and how.
        kind: of the failure; None where the trial answers.
        strikes: how many connections or requests are struck: livekit may open one ahead.
    """

    label: str
    settings: StageSettings
    stage: Stage
    fault: F
    kind: K | None
    strikes: int = 1

    @property
    def name(self) -> str:
        return f"{self.label}-{self.fault.value}"

    def candidate(self) -> Candidate:
        struck = StageSettings(
            provider=self.settings.provider,
            model=self.settings.model,
            profile=f"once-{self.name}",
            options=self.settings.options,
        )
        plain = {
            stage: StageSettings(provider="openadapter", profile="brief")
            for stage in (Stage.STT, Stage.LLM, Stage.TTS)
        }
        plain[self.stage] = struck
        return Candidate(
            name=self.name, stt=plain[Stage.STT], llm=plain[Stage.LLM], tts=plain[Stage.TTS]
        )


@contextmanager
def striking(cases: Sequence[Case], folder: Path) -> Iterator[GatewayProcess]:
    """Run a gateway with a profile for each case."""
    tables = ['["brief"]\nbase = "exact"\n["brief".llm]\nmax_sentences = 1\n']
    tables += [
        f'["once-{case.name}"]\nbase = "exact"\n["once-{case.name}".{case.stage.value}]\n'
        f"faults = {{ rates = {{ {case.fault.value} = 1.0 }}, first = {case.strikes} }}\n"
        for case in cases
    ]
    path = folder / "profiles.toml"
    path.write_text("\n".join(tables), encoding="utf-8")
    with start_gateway(
        GatewayConfig(
            seed=3, utterances=DATASET / "manifest.jsonl", recogniser="oracle", profiles=path
        )
    ) as process:
        yield process


def play_all(gateway: GatewayProcess, cases: Sequence[Case]) -> dict[str, list[Played]]:
    """Play each case's two trials, several cases at once in one loop."""
    utterance = playable("slt-alarm")

    async def run() -> dict[str, list[Played]]:
        limit = asyncio.Semaphore(_AT_ONCE)
        found: dict[str, list[Played]] = {}

        async def one(case: Case) -> None:
            async with limit:
                found[case.name] = await play(
                    f"http://127.0.0.1:{gateway.port}",
                    gateway.key,
                    case.candidate(),
                    [utterance, utterance],
                    session=SessionOptions(request_timeout_s=2.0),
                    timeouts=Timeouts(connect_s=5, transcript_s=4, reply_s=8, playout_s=20),
                )

        await asyncio.gather(*(one(case) for case in cases))
        return found

    return asyncio.run(run())


def check(case: Case, trials: Sequence[Played]) -> None:
    """Assert how both trials ended."""
    struck, after = trials
    told = struck.failure if isinstance(struck, FailedTrial) else "a trial that answers"
    if case.kind is ENDS_WELL:
        assert isinstance(struck, Trial), told
    else:
        assert isinstance(struck, FailedTrial), told
        assert (struck.failure.stage, struck.failure.kind) == (case.stage, case.kind), told
        assert struck.failure.message
    assert isinstance(after, Trial), after.failure
