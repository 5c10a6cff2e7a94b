"""Performers that are scripts in time: what they return, and how long they take for it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.reply import PlayoutSegment, Reply
from harness.domain.request import Cause, Failure, FailureKind, Request
from harness.domain.suite import DatasetChoice, Limits, Suite
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey, Turn
from harness.domain.utterance import Utterance

MS = 1_000_000
STAGE = StageSettings(provider="openadapter")


def suite_of(*names: str, **changes: Any) -> Suite:
    """Return a suite of candidates with these names."""
    fields: dict[str, Any] = {
        "name": "scripted",
        "datasets": (DatasetChoice(path="starter"),),
        "candidates": tuple(
            Candidate(name=name, stt=STAGE, llm=STAGE, tts=STAGE) for name in names or ("a",)
        ),
        "limits": Limits(),
        **changes,
    }
    return Suite(**fields)


def playable(*ids: str) -> dict[str, PlayableUtterance]:
    """Return utterances of a tenth of a second."""
    return {
        name: PlayableUtterance(
            utterance=Utterance(
                id=name,
                audio=f"{name}.wav",
                text=f"words of {name}",
                duration_s=0.1,
                speech_start_s=0.02,
                speech_end_s=0.08,
            ),
            pcm=bytes(3200),
            speech_start_ns=20 * MS,
            speech_end_ns=80 * MS,
        )
        for name in ids
    }


def trial_of(key: TrialKey, *, at_ns: int = 1_000 * MS, text: str = "Yes.") -> Trial:
    """Return a trial with one LLM request and a reply of half a second."""
    llm = Request(
        id="llm-1",
        stage=Stage.LLM,
        cause=Cause.TURN,
        text=text,
        marks={Mark.LLM_REQUEST: at_ns, Mark.LLM_FIRST_TEXT: at_ns + 300 * MS},
        facts={"usage": {"prompt_tokens": 100, "completion_tokens": 50}},
    )
    reply = Reply(
        sample_rate=24_000,
        samples=12_000,
        segments=(PlayoutSegment(start_ns=at_ns + 500 * MS, offset=0, samples=12_000),),
        leading_silence=0,
    )
    turn = Turn(
        index=0,
        utterance=key.utterance,
        marks={Mark.SPEECH_END: at_ns - 100 * MS, Mark.FIRST_AUDIBLE: at_ns + 500 * MS},
        requests=(llm,),
        reply=reply,
    )
    return Trial(
        key=key, driver="session", started_ns=at_ns - 200 * MS, ended_ns=at_ns + MS, turns=(turn,)
    )


def failed_of(
    key: TrialKey, stage: Stage = Stage.LLM, kind: FailureKind = FailureKind.TIMEOUT
) -> FailedTrial:
    """Return a trial that failed."""
    return FailedTrial(
        key=key,
        driver="session",
        started_ns=0,
        ended_ns=MS,
        failure=Failure(stage=stage, kind=kind, message="it took too long"),
    )


Script = Callable[[TrialKey], "Trial | FailedTrial | Exception | None"]


@dataclass(slots=True, kw_only=True)
class ScriptedPerformer:
    """Performs by a script.

    Attributes:
        script: gives what a trial returns or raises; None hangs until cancelled.
        takes_s: how long a trial takes.
        start_error: raised by ``start``.
        deaf: ignores its cancellation.
        pcm: the reply's audio.
    """

    script: Script = trial_of
    takes_s: float = 0.0
    start_error: Exception | None = None
    deaf: bool = False
    pcm: bytes = b""
    performed: list[TrialKey] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    started: int = 0
    closed: int = 0

    async def start(self) -> Mapping[str, Any]:
        self.started += 1
        if self.start_error is not None:
            raise self.start_error
        return {"llm": {"model": "scripted"}}

    async def perform(
        self, key: TrialKey, candidate: Candidate, utterance: PlayableUtterance
    ) -> tuple[Trial | FailedTrial, ReplyAudio | None]:
        assert candidate.name == key.candidate
        assert utterance.utterance.id == key.utterance
        self.performed.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            result = self.script(key)
            if result is None:
                await self._hang()
            await asyncio.sleep(self.takes_s)
            if isinstance(result, Exception):
                raise result
            assert result is not None
            return result, ReplyAudio(pcm=self.pcm, sample_rate=24_000) if self.pcm else None
        finally:
            self.at_once -= 1

    async def _hang(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise

    async def aclose(self) -> None:
        self.closed += 1
