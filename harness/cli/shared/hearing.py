"""A run's replies heard again by a recogniser."""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.summary.intelligibility import HeardReply, spoken_text
from harness.analysis.turn.measurement import Missing
from harness.analysis.turn.reading import transcript_text
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.plan import make_plan
from harness.domain.request import FailureKind
from harness.domain.suite import Driver, Limits, Suite, Via
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance
from harness.errors import ConfigurationError
from harness.lanes.manifest import Gateway
from harness.lanes.parts import gateway_for, performers_for
from harness.runner.outcome import End, Progress
from harness.runner.running import run_suite
from harness.store.datasets.audio import Audio, load_audio, to_pipeline
from harness.store.runs.environment import load_dotenv, missing_keys
from harness.store.runs.heard_replies import append_heard, read_heard
from harness.store.runs.replies import reply_bytes
from harness.store.runs.run import Run
from harness.store.secrecy import redact

__all__ = ["hear_again", "hear_missing", "recogniser_suite"]


NAME = "tts_wer"


NANOSECONDS = 1_000_000_000


RATE = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A reply to be heard: its trial, the text, and its audio as something to play."""

    trial: Trial | FailedTrial
    spoken: str
    language: str
    played: PlayableUtterance


def hear_again(run: Run, *, spend: float | None = None) -> None:
    """Have a run's replies heard by the recogniser that its suite names; nothing without one.

    What was heard already is not heard again.

    Args:
        run: finished, or as far as it came.
        spend: what is left of the suite's limit, in its currency; None is no limit.

    Raises:
        ConfigurationError: a key is missing, or what was heard cannot be stored.
    """
    settings = run.plan.suite.intelligibility
    if settings is None:
        return
    suite = recogniser_suite(run.plan.suite, settings, spend=spend)
    wanted = hear_missing(run, suite, settings)
    if not wanted:
        print(
            "turnbench: no reply could be heard again: none was stored and played to its end",
            file=sys.stderr,
        )


def hear_missing(run: Run, suite: Suite, stt: StageSettings) -> int:
    """Hear what this recogniser has not heard yet; return how many replies it was to have heard."""
    recogniser = {
        "provider": stt.provider,
        "model": stt.model,
        "profile": stt.profile if suite.via is Via.GATEWAY else None,
        "via": suite.via.value,
    }
    known, used = read_heard(run.path)
    done = {each.trial for each in known if each.reason is None} if used == recogniser else set()
    jobs = _jobs(run, done)
    if jobs:
        if suite.via is Via.LIVE:
            load_dotenv(Path(run.plan.source).parent, Path.cwd())
            lacking = missing_keys(suite)
            if lacking:
                raise ConfigurationError(lacking)
        _hear(run, suite, jobs, recogniser)
    return len(done) + len(jobs)


def recogniser_suite(base: Suite, settings: StageSettings, *, spend: float | None = None) -> Suite:
    """Return the suite of one recogniser alone, under the circumstances of a run's own."""
    return Suite(
        name=NAME,
        datasets=base.datasets,
        candidates=(Candidate(name=NAME, stt=settings),),
        driver=Driver.STAGE,
        via=base.via,
        warmups=0,
        concurrency=base.concurrency,
        session=base.session,
        gateway=base.gateway,
        timeouts=base.timeouts,
        limits=Limits(trials_per_minute=base.limits.trials_per_minute, spend=spend),
        prices=base.prices,
        keep_audio=False,
    )


def _jobs(run: Run, done: set[str]) -> dict[str, _Job]:
    """Return the replies to be heard, by the trial's id; the longest attempt of none is lost."""
    found: dict[str, _Job] = {}
    for trial in run.trials():
        name = trial.key.id
        spoken = spoken_text(trial)
        if trial.key.warmup or name in done or isinstance(spoken, Missing):
            continue
        turn, text = spoken
        if turn.reply is None or turn.reply.audio is None:
            continue
        try:
            reply_bytes(run.path, turn.reply.audio)
            audio = load_audio(run.path / turn.reply.audio)
        except ConfigurationError as error:
            print(f"turnbench: left out: {error}", file=sys.stderr)
            continue
        language = run.plan.utterance(trial.key.utterance).language
        found[name] = _Job(
            trial=trial, spoken=text, language=language, played=_played(name, audio, text, language)
        )
    return found


def _played(name: str, audio: Audio, text: str, language: str) -> PlayableUtterance:
    """Return a reply as an utterance: all of it is speech, and its end is known."""
    pcm = to_pipeline(audio).astype("<i2").tobytes()
    return PlayableUtterance(
        utterance=Utterance(id=name, audio=f"{name}.flac", text=text, language=language),
        pcm=pcm,
        speech_start_ns=0,
        speech_end_ns=len(pcm) // 2 * NANOSECONDS // RATE,
    )


def _hear(run: Run, suite: Suite, jobs: Mapping[str, _Job], recogniser: Mapping[str, Any]) -> None:
    def store(trial: Trial | FailedTrial, audio: ReplyAudio | None) -> None:
        del audio
        job = jobs[trial.key.utterance]
        append_heard(run.path, _heard(job, trial), recogniser)

    def show(progress: Progress) -> None:
        if progress.last is not None:
            print(f"\r{progress.done}/{progress.total} replies", end="", file=sys.stderr)

    async def perform(gateway: Gateway | None) -> End:
        async with performers_for(suite, gateway) as performers:
            outcome = await run_suite(
                suite,
                make_plan(suite, list(jobs), run.plan.seed),
                performers=performers,
                utterances={name: job.played for name, job in jobs.items()},
                sink=store,
                redact=redact,
                progress=show,
            )
        if outcome.ended:
            reasons = "; ".join(redact(reason) for reason in outcome.ended.values())
            print(f"\nturnbench: the recogniser was given up: {reasons}", file=sys.stderr)
        return outcome.end

    with tempfile.TemporaryDirectory(prefix="turnbench-") as folder:
        # The oracle would look the replies up among the callers' utterances; it knows none here.
        known = Path(folder) / "utterances.jsonl"
        known.write_text("", encoding="utf-8")
        truth = Path(folder) / "truth.jsonl"
        with gateway_for(suite, seed=run.plan.seed, truth=truth, utterances=known) as gateway:
            end = asyncio.run(perform(gateway))
    print(file=sys.stderr)
    if end is End.FAILED:
        raise ConfigurationError(f"{run.path}: what was heard could not be stored")


def _heard(job: _Job, trial: Trial | FailedTrial) -> HeardReply:
    heard = transcript_text(trial.turns[0]) if trial.turns else None
    reason = None
    if isinstance(trial, FailedTrial) and trial.failure.kind is not FailureKind.NO_TRANSCRIPT:
        heard, reason = None, f"{trial.failure.stage.value} {trial.failure.kind.value}"
    return HeardReply(
        trial=job.trial.key.id,
        candidate=job.trial.key.candidate,
        utterance=job.trial.key.utterance,
        spoken=job.spoken,
        heard=heard,
        language=job.language,
        reason=reason,
    )
