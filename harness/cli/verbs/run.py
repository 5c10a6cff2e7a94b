"""``turnbench run``: check, estimate, perform, report."""

import argparse
import asyncio
import dataclasses
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.turn.definitions import definition_digests
from harness.cli.shared.estimates import print_estimate
from harness.cli.shared.looks import LOOKS, looks_of, plan_looks
from harness.cli.shared.measured import DEFINITIONS
from harness.cli.shared.progress import ProgressLine
from harness.cli.shared.suite_options import find_suite, override, with_hashes
from harness.domain.costs import PlanEstimate, estimate, trial_cost
from harness.domain.driver import PlayableUtterance
from harness.domain.plan import make_plan
from harness.domain.suite import Clock, Driver, Suite, Via
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.lanes.job import LaneJob
from harness.lanes.manifest import gateway_config, write_gateway_manifest
from harness.lanes.pool import Lanes
from harness.runner import End, Outcome, run_suite
from harness.store.datasets.barge_ins import store_barge_ins, with_barge_ins
from harness.store.datasets.conditions import store_conditioned
from harness.store.datasets.selection import Selection, select_utterances
from harness.store.runs.encode import encode_boot
from harness.store.runs.environment import collect_environment, missing_keys, redact
from harness.store.runs.plans import DatasetSummary, RunPlan
from harness.store.runs.run import Run, find_run
from harness.store.runs.writer import RunWriter, create_run, resume_run
from harness.store.suites.suite import suite_path

__all__ = ["run"]

HEARD = "heard.jsonl"
"""What the embedded recogniser heard on the virtual clock, kept by and for the lanes."""
INTERRUPTED = 130
INCONCLUSIVE = 3
MISUSE = 2
FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A checked run that can start."""

    plan: RunPlan
    selection: Selection
    expected: PlanEstimate


def run(options: argparse.Namespace) -> int:
    """Perform a suite, or go on with a run; return the exit code."""
    if options.resume is not None:
        return _resume(options)
    if options.suite is None:
        raise ConfigurationError(
            "run: name a suite: a TOML file or a shipped one, such as `turnbench run quick`"
        )
    job = _prepare(options)
    lacking = missing_keys(job.plan.suite) if job.plan.suite.via is Via.LIVE else ()
    if options.dry_run:
        print_estimate(job.plan, job.expected, lacking, as_json=options.json)
        return MISUSE if lacking else 0
    if lacking:
        raise ConfigurationError(lacking)
    _check_endpoints(job.plan.suite)
    utterances = _playable(job.selection, job.plan)
    if not _confirmed(job, options):
        return MISUSE
    with create_run(job.plan, reports=Path(options.out)) as writer:
        return _perform(writer, job.selection, utterances, options)


def _playable(selection: Selection, plan: RunPlan) -> dict[str, PlayableUtterance]:
    """Decode what is played, with what is said over the replies."""
    return with_barge_ins(
        selection.playable(plan.suite.conditions),
        plan.suite,
        order=[each.id for each in plan.utterances],
        seed=plan.seed,
    )


def _check_endpoints(suite: Suite) -> None:
    """Refuse a live run whose endpoints take no connection, before anything starts."""
    if suite.via is Via.LIVE:
        from harness.cli.shared.endpoints import dead_endpoints

        dead = dead_endpoints(suite)
        if dead:
            raise ConfigurationError(dead)


def _prepare(options: argparse.Namespace) -> _Job:
    suite = with_hashes(override(find_suite(options.suite), options))
    selection = select_utterances(suite, limit=options.limit)
    facts = _facts(suite)
    if options.max_trials is not None:
        looks = plan_looks(suite, len(selection.utterances), options.max_trials)
        suite = dataclasses.replace(suite, repeats=looks[-1])
        facts[LOOKS] = {"repeats": list(looks), "most_trials": options.max_trials}
    if _gated(options) and not suite.budgets:
        raise ConfigurationError(
            f"{options.suite}: has no [[budget]]; an empty gate would pass anything"
        )
    if _gated(options):
        from harness.cli.shared.verdicts import held_baseline

        # A baseline that is missing is said now, not when all has been measured.
        held_baseline(suite, options.baseline)
    seed = suite.seed if suite.seed is not None else secrets.randbelow(2**31)
    keys = make_plan(suite, [each.id for each in selection.utterances], seed)
    _warn_of_unheard(suite)
    places = {id(dataset): index for index, dataset in enumerate(selection.datasets)}
    plan = RunPlan(
        suite=suite,
        source=str(suite_path(options.suite).resolve()),
        seed=seed,
        keys=keys,
        utterances=selection.utterances,
        origin={name: places[id(dataset)] for name, dataset in selection.origin.items()},
        datasets=tuple(DatasetSummary.of(each) for each in selection.datasets),
        facts=facts,
    )
    return _Job(plan=plan, selection=selection, expected=_estimate(suite, keys, selection))


def _warn_of_unheard(suite: Suite) -> None:
    """Say that replies which are cut short are not heard again."""
    hang_up_s = suite.timeouts.hang_up_s
    if suite.intelligibility is None or hang_up_s is None or suite.driver is Driver.STAGE:
        return
    print(
        f"turnbench: timeouts.hang_up_s: [intelligibility] hears no reply longer than "
        f"{hang_up_s:g} s, since the caller hangs up; leave hang_up_s out to have all heard",
        file=sys.stderr,
    )


def _gated(options: argparse.Namespace) -> bool:
    return bool(options.gate) or options.max_trials is not None


def _estimate(suite: Suite, keys: tuple[TrialKey, ...], selection: Selection) -> PlanEstimate:
    return estimate(
        suite,
        keys,
        selection.durations(suite.conditions),
        characters={each.id: len(each.text or "") for each in selection.utterances},
    )


def _facts(suite: Suite) -> dict[str, Any]:
    """Return what metrics mean and what the gateway profiles in use were fitted to."""
    facts: dict[str, Any] = {DEFINITIONS: definition_digests()}
    if suite.via is Via.LIVE:
        return facts
    from harness.gateway.profiles.profiles import PROFILES

    used = {
        settings.profile
        for candidate in suite.candidates
        for settings in (candidate.stt, candidate.llm, candidate.tts, candidate.interruption)
        if settings is not None and settings.profile is not None
    }
    found = {}
    for name in sorted(used & set(PROFILES)):
        published = PROFILES[name].published
        found[name] = {
            "note": PROFILES[name].note,
            **(
                {
                    "measures": published.measures,
                    "p50_ms": published.p50_ms,
                    "p95_ms": published.p95_ms,
                    "max_ms": published.max_ms,
                    "source": published.source,
                    "assumed": published.assumed,
                }
                if published is not None
                else {}
            ),
        }
    return {**facts, "profiles": found}


def _confirmed(job: _Job, options: argparse.Namespace) -> bool:
    """Ask before a live run that a person started; programs have said what they want."""
    live = job.plan.suite.via is Via.LIVE
    if not live or options.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print_estimate(job.plan, job.expected, (), as_json=False, file=sys.stderr)
    print("This asks live providers. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().casefold()
    if answer in {"y", "yes"}:
        return True
    print("Nothing was asked.", file=sys.stderr)
    return False


def _resume(options: argparse.Namespace) -> int:
    if options.suite is not None:
        raise ConfigurationError("run: --resume goes on with its own suite; leave SUITE out")
    given = [
        f"--{key.replace('_', '-')}"
        for key in (
            "via", "driver", "candidate", "repeats", "limit", "seed", "concurrency", "clock",
            "agent", "max_trials",
        )
        if getattr(options, key) is not None
    ]  # fmt: skip
    if given:
        raise ConfigurationError(
            f"run: --resume keeps the run's own plan; leave {', '.join(given)} out"
        )
    path = find_run(options.resume, reports=Path(options.out))
    with resume_run(path) as writer:
        plan = writer.run.plan
        missing = writer.run.missing()
        status = writer.run.status()
        clear = bool(looks_of(plan)) and status.get("state") == End.FINISHED.value
        if not missing or clear:
            why = str(status.get("reason", "")) if missing else "every trial has been performed"
            print(f"{path}: {why}", file=sys.stderr)
            writer.set_status(
                End.FINISHED.value,
                done=len(plan.keys) - len(missing),
                **_kept(status, "ended", "reason"),
            )
            return _report(writer, options)
        if plan.suite.via is Via.LIVE:
            from harness.store.runs.environment import load_dotenv

            load_dotenv(Path(plan.source).parent, Path.cwd())
            lacking = missing_keys(plan.suite)
            if lacking:
                raise ConfigurationError(lacking)
            _check_endpoints(plan.suite)
        selection = _same_selection(plan)
        if options.dry_run:
            expected = _estimate(plan.suite, missing, selection)
            print_estimate(plan, expected, (), as_json=options.json)
            return 0
        utterances = _playable(selection, plan)
        return _perform(writer, selection, utterances, options)


def _kept(status: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: status[name] for name in names if name in status}


def _same_selection(plan: RunPlan) -> Selection:
    """Read the run's datasets again, and refuse recordings that are no longer the same."""
    with_hashes(plan.suite)
    selection = select_utterances(plan.suite)
    found = {each.id: each for each in selection.utterances}
    problems = []
    for utterance in plan.utterances:
        now = found.get(utterance.id)
        if now is None:
            problems.append(f"utterance {utterance.id!r} is no longer in its dataset")
        elif now.sha256 != utterance.sha256:
            problems.append(f"utterance {utterance.id!r} is another recording than at the start")
    if problems:
        raise ConfigurationError(f"{plan.source}: {line}; start a new run" for line in problems)
    return Selection(
        datasets=selection.datasets,
        utterances=plan.utterances,
        origin={each.id: selection.origin[each.id] for each in plan.utterances},
    )


def _perform(
    writer: RunWriter,
    selection: Selection,
    utterances: Mapping[str, PlayableUtterance],
    options: argparse.Namespace,
) -> int:
    """Start the gateway, perform what is missing, and say how it ended."""
    plan, path = writer.run.plan, writer.run.path
    for skipped in (each for dataset in plan.datasets for each in dataset.skipped):
        print(f"turnbench: left out: {skipped}", file=sys.stderr)
    stored = writer.run.trials()
    known = path / "utterances.jsonl"
    write_gateway_manifest(
        known,
        {each.id: (selection.origin[each.id], each) for each in plan.utterances},
        [
            *store_conditioned(path, utterances, plan.suite.conditions),
            *store_barge_ins(path, plan.suite),
        ],
    )
    writer.set_status("running", done=len({each.key.order for each in stored}))
    print(f"turnbench: writing {path}", file=sys.stderr)
    try:
        with ProgressLine(_estimate_left(plan, stored, selection)) as line:
            outcome = _drive(
                _performed(writer, stored, utterances=utterances, line=line, options=options)
            )
    except ConfigurationError as error:
        writer.set_status("failed", reason=redact(str(error)), done=len(stored))
        if not stored:
            _discard(path)
        raise
    except KeyboardInterrupt:
        writer.set_status("interrupted", done=len(stored))
        if not stored:
            _discard(path)
        raise
    writer.set_status(
        outcome.end.value,
        reason=outcome.reason,
        done=len(plan.keys) - outcome.remaining,
        failed=outcome.failed,
        reruns=outcome.reruns,
        ended=dict(outcome.ended),
        spent=outcome.spent,
    )
    return _conclude(writer, outcome, options)


def _estimate_left(
    plan: RunPlan, stored: tuple[Trial | FailedTrial, ...], selection: Selection
) -> float:
    done = {each.key.order for each in stored}
    left = tuple(key for key in plan.keys if key.order not in done)
    return _estimate(plan.suite, left, selection).seconds


def _discard(path: Path) -> None:
    """Remove the folder of a run that has measured nothing."""
    shutil.rmtree(path, ignore_errors=True)


def _drive(work: Coroutine[Any, Any, Outcome]) -> Outcome:
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


async def _performed(
    writer: RunWriter,
    stored: tuple[Trial | FailedTrial, ...],
    *,
    utterances: Mapping[str, PlayableUtterance],
    line: ProgressLine,
    options: argparse.Namespace,
) -> Outcome:
    from harness.analysis.turn.disturbance import disturbance

    plan = writer.run.plan
    virtual = plan.suite.clock is Clock.VIRTUAL
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
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
            plan.keys,
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
        await lanes.aclose()


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
    return LaneJob(suite=plan.suite, run=run.name, gateway=gateway, heard=run.path / HEARD)


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


def _conclude(writer: RunWriter, outcome: Outcome, options: argparse.Namespace) -> int:
    """Print how the run ended and return the exit code."""
    path, suite = writer.run.path, writer.run.plan.suite
    for name, reason in outcome.ended.items():
        print(f"turnbench: candidate {name!r} ended early: {redact(reason)}", file=sys.stderr)
    go_on = f"go on with: turnbench run --resume {path}"
    if outcome.end is End.INTERRUPTED:
        if not writer.run.trials():
            _discard(path)
            print("turnbench: interrupted before the first trial ended", file=sys.stderr)
        else:
            kept = len(writer.run.plan.keys) - outcome.remaining
            print(
                f"turnbench: interrupted; {kept} of {len(writer.run.plan.keys)} trials are kept; "
                f"{go_on}",
                file=sys.stderr,
            )
        # Nothing that hangs in a library may keep the prompt from coming back.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    if outcome.end is End.FAILED:
        raise ConfigurationError(outcome.reason)
    if outcome.end is End.STOPPED:
        print(f"turnbench: stopped: {outcome.reason}; {go_on}", file=sys.stderr)
    trials = writer.run.trials()
    answered = {
        trial.key.candidate for trial in trials if isinstance(trial, Trial) and not trial.key.warmup
    }
    code = _report(writer, options, outcome)
    if outcome.end is End.STOPPED:
        return code or INCONCLUSIVE
    silent = [each.name for each in suite.candidates if each.name not in answered]
    return code or (FAILED if silent or outcome.ended else 0)


def _hear_again(run: Run, outcome: Outcome | None) -> None:
    """Have the replies heard by the recogniser that the suite names; a mishap costs tts_wer alone.

    Before the verdict, since a budget may rest on it.
    """
    suite = run.plan.suite
    if suite.intelligibility is None:
        return
    from harness.cli.shared.hearing import hear_again

    left = suite.limits.spend
    if left is not None and outcome is not None and outcome.spent is not None:
        left = max(0.0, left - outcome.spent)
    try:
        hear_again(run, spend=left)
    except ConfigurationError as error:
        again = f"`turnbench intelligibility {run.path}` tries again"
        print(f"turnbench: tts_wer is missing: {redact(str(error))}; {again}", file=sys.stderr)


def _report(writer: RunWriter, options: argparse.Namespace, outcome: Outcome | None = None) -> int:
    """Print the run's table, write its report, and judge it where a gate was asked for.

    Returns:
        The gate's exit code; 0 without one.
    """
    from harness.cli.shared.outputs import print_view, write_html
    from harness.cli.shared.run_view import view_of
    from harness.report.verdicts import verdict_view

    _hear_again(writer.run, outcome)
    verdict, code = None, 0
    if _gated(options) or looks_of(writer.run.plan):
        from harness.analysis.gate.judged import exit_code
        from harness.cli.shared.verdicts import (
            gate_document,
            judge_run,
            print_verdict,
            write_outputs,
        )

        verdict = judge_run(writer.run, options.baseline)
        code = exit_code(verdict, allow_inconclusive=options.allow_inconclusive)
    shown = None if verdict is None else verdict_view(verdict)
    report: Path | None = None
    if options.no_report:
        view = view_of(writer.run, verdict=shown)
    else:
        report, view = write_html(writer.run, verdict=shown)
    if verdict is not None:
        write_outputs(view, options)
    if options.json:
        facts: dict[str, Any] = {
            "run": str(writer.run.path),
            "report": None if report is None else str(report),
            "emulated": writer.run.plan.emulated,
            "clock": writer.run.plan.suite.clock.value,
            "planned": len(writer.run.plan.keys),
        }
        if outcome is not None:
            facts.update(
                end=outcome.end.value,
                reason=outcome.reason,
                performed=outcome.performed,
                failed=outcome.failed,
                reruns=outcome.reruns,
                remaining=outcome.remaining,
                ended=dict(outcome.ended),
                spent=outcome.spent,
            )
        if verdict is not None:
            facts["gate"] = gate_document(verdict, code)
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return code
    print_view(view)
    if verdict is not None:
        print_verdict(view, verdict)
    print(f"run     {writer.run.path}")
    if report is not None:
        print(f"report  {report}")
    return code
