"""A run's trials, performed in its lanes."""

import argparse
import asyncio
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from harness.cli.shared.looks import looks_of
from harness.cli.shared.progress import ProgressLine
from harness.domain.costs import trial_cost
from harness.domain.driver import PlayableUtterance
from harness.domain.plan import each_recording_first
from harness.domain.suite import Clock, Via
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.lanes.job import LaneJob
from harness.lanes.manifest import gateway_config
from harness.lanes.pool import Lanes
from harness.runner.outcome import End, Outcome
from harness.runner.running import run_suite
from harness.store.runs.encode import encode_boot
from harness.store.runs.environment import collect_environment
from harness.store.runs.plans import RunPlan
from harness.store.runs.run import Run
from harness.store.runs.writer import RunWriter
from harness.store.secrecy import redact

__all__ = ["drive", "performed"]


def drive(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run the event loop; after an interruption, leave it without waiting for what hangs."""
    runner = asyncio.Runner()
    try:
        outcome = runner.run(work)
    except BaseException:
        runner.close()
        raise
    if outcome.end is not End.INTERRUPTED:
        runner.close()
    return outcome


async def performed(
    writer: RunWriter,
    stored: tuple[Trial | FailedTrial, ...],
    *,
    utterances: Mapping[str, PlayableUtterance],
    line: ProgressLine,
    options: argparse.Namespace,
) -> Outcome:
    """Perform what is missing of a run, and store each trial as it ends."""
    from harness.analysis.turn.disturbance import disturbance

    plan = writer.run.plan
    virtual = plan.suite.clock is Clock.VIRTUAL
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What the user has silenced, as `nohup` does, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)

    def started(endpoints: Mapping[str, Mapping[str, Any]]) -> None:
        writer.add_environment(
            {
                **collect_environment(),
                "endpoints": {
                    name: {
                        key: [encode_boot(each) for each in value] if key == "boots" else value
                        for key, value in facts.items()
                    }
                    for name, facts in endpoints.items()
                },
                "first_trial": len(stored),
            }
        )

    lanes = Lanes(_lane_job(writer.run), plan.suite.concurrency)
    lanes.open()
    try:
        return await run_suite(
            plan.suite,
            each_recording_first(plan.keys) if virtual else plan.keys,
            performers=lanes.performers(),
            utterances=utterances,
            sink=writer.append,
            done=[trial.key for trial in stored],
            spent=_spent(plan, stored, utterances),
            # On a virtual clock nothing disturbs, and once more would be the same once more.
            disturbed=None if options.no_rerun or virtual else disturbance,
            redact=redact,
            progress=line.update,
            tell=line.tell,
            started=started,
            stop=stop,
            keep_going=options.keep_going,
            max_reruns=max(2, len(plan.keys) // 6),
            looks=looks_of(plan),
            enough=_Looker(writer.run, line, options) if looks_of(plan) else None,
        )
    finally:
        await lanes.aclose(at_once=stop.is_set())


def _lane_job(run: Run) -> LaneJob:
    """Return the run as its lanes need to know it."""
    plan = run.plan
    gateway = None
    if plan.suite.via is Via.GATEWAY:
        gateway = gateway_config(
            plan.suite,
            seed=plan.seed,
            truth=run.truth_path,
            utterances=run.path / "utterances.jsonl",
        )
    return LaneJob(suite=plan.suite, run=run.name, gateway=gateway, folder=run.path)


@dataclass(frozen=True, slots=True)
class _Looker:
    """Says whether the verdict is clear after a look."""

    run: Run
    line: ProgressLine
    options: argparse.Namespace

    def __call__(self, repeats: int) -> str:
        """Return the verdict where it is clear."""
        from harness.analysis.statistics.gate_rule import Verdict
        from harness.cli.shared.verdicts import judge_run

        try:
            verdict = judge_run(self.run, self.options.baseline)
        except ConfigurationError:
            # Said at the end, when all that can be measured has been.
            return ""
        clear = verdict.verdict is not Verdict.INCONCLUSIVE
        self.line.say(f"after {repeats} repeats: {verdict.verdict.value}: {verdict.reason}")
        return f"clear after {repeats} repeats: {verdict.verdict.value}" if clear else ""


def _spent(
    plan: RunPlan,
    stored: tuple[Trial | FailedTrial, ...],
    utterances: Mapping[str, PlayableUtterance],
) -> float | None:
    """Return what the stored trials have cost."""
    candidates = {each.name: each for each in plan.suite.candidates}
    costs = [
        trial_cost(
            plan.suite,
            candidates[trial.key.candidate],
            trial,
            len(utterances[trial.key.recording].pcm) / 2 / 16_000,
        )
        for trial in stored
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
