"""``turnbench run``: check, estimate, perform, report."""

import argparse
import dataclasses
import secrets
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.turn.definitions import definition_digests
from harness.cli.shared.concluding import conclude, discard, gated, report
from harness.cli.shared.estimates import print_estimate
from harness.cli.shared.looks import LOOKS, looks_of, plan_looks
from harness.cli.shared.measured import DEFINITIONS
from harness.cli.shared.performing import drive, performed
from harness.cli.shared.progress import ProgressLine
from harness.cli.shared.suite_options import find_suite, override, with_hashes
from harness.cli.shared.verifying import verify
from harness.domain.costs import PlanEstimate, estimate
from harness.domain.driver import PlayableUtterance
from harness.domain.plan import make_plan
from harness.domain.suite import Clock, Driver, Suite, Via
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.errors import ConfigurationError
from harness.lanes.manifest import write_gateway_manifest
from harness.runner.outcome import End, Outcome
from harness.store.datasets.barge_ins import store_barge_ins, with_barge_ins
from harness.store.datasets.conditions import store_conditioned
from harness.store.datasets.selection import Selection, select_utterances
from harness.store.runs.environment import missing_keys
from harness.store.runs.plans import DatasetSummary, RunPlan
from harness.store.runs.run import Run, find_run, open_run
from harness.store.runs.writer import RunWriter, create_run, resume_run
from harness.store.secrecy import redact
from harness.store.suites.suite import suite_path

__all__ = ["run"]

MISUSE = 2
REGRESSION = 1


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
    if options.verify and job.plan.suite.clock is not Clock.VIRTUAL:
        raise ConfigurationError(
            "run: --verify: two runs on the real clock are never equal; add --clock virtual"
        )
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
        code = _perform(writer, job.selection, utterances, options)
        if options.verify:
            return _verified(writer, job, utterances, options) or code
        return code


def _verified(
    writer: RunWriter,
    job: _Job,
    utterances: Mapping[str, PlayableUtterance],
    options: argparse.Namespace,
) -> int:
    """Play the run once more, elsewhere, and say whether every value is the same."""
    with (
        tempfile.TemporaryDirectory() as folder,
        create_run(job.plan, reports=Path(folder)) as again,
    ):
        outcome = _measure(again, job.selection, utterances, options)
        if outcome.end is not End.FINISHED:
            raise ConfigurationError(
                f"run: --verify: the second play ended early, so nothing was compared: "
                f"{outcome.reason or outcome.end.value}"
            )
        found = verify(writer.run.trials(), again.run.trials())
    print(found.text, file=sys.stderr)
    return REGRESSION if found.differences else 0


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
    if gated(options) and not suite.budgets:
        raise ConfigurationError(
            f"{options.suite}: has no [[budget]]; an empty gate would pass anything"
        )
    if gated(options):
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
    if options.dry_run:
        return _rehearse(open_run(path), options)
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
            return report(writer, options)
        if plan.suite.via is Via.LIVE:
            from harness.store.runs.environment import load_dotenv

            load_dotenv(Path(plan.source).parent, Path.cwd())
            lacking = missing_keys(plan.suite)
            if lacking:
                raise ConfigurationError(lacking)
            _check_endpoints(plan.suite)
        selection = _same_selection(plan)
        utterances = _playable(selection, plan)
        return _perform(writer, selection, utterances, options)


def _rehearse(run: Run, options: argparse.Namespace) -> int:
    """Say what going on with a run would take; nothing is written, and its lock is not taken."""
    missing = run.missing()
    if not missing:
        print(f"{run.path}: every trial has been performed", file=sys.stderr)
        return 0
    expected = _estimate(run.plan.suite, missing, _same_selection(run.plan))
    print_estimate(run.plan, expected, (), as_json=options.json)
    return 0


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
    """Perform what is missing, and say how it ended."""
    for skipped in (each for dataset in writer.run.plan.datasets for each in dataset.skipped):
        print(f"turnbench: left out: {skipped}", file=sys.stderr)
    print(f"turnbench: writing {writer.run.path}", file=sys.stderr)
    outcome = _measure(writer, selection, utterances, options)
    return conclude(writer, outcome, options)


def _measure(
    writer: RunWriter,
    selection: Selection,
    utterances: Mapping[str, PlayableUtterance],
    options: argparse.Namespace,
) -> Outcome:
    """Perform what is missing of a run, and keep in its status how it ended."""
    plan, path = writer.run.plan, writer.run.path
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
    try:
        with ProgressLine(_estimate_left(plan, stored, selection)) as line:
            outcome = drive(
                performed(writer, stored, utterances=utterances, line=line, options=options)
            )
    except ConfigurationError as error:
        writer.set_status("failed", reason=redact(str(error)), done=len(stored))
        if not stored:
            discard(path)
        raise
    except KeyboardInterrupt:
        writer.set_status("interrupted", done=len(stored))
        if not stored:
            discard(path)
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
    return outcome


def _estimate_left(
    plan: RunPlan, stored: tuple[Trial | FailedTrial, ...], selection: Selection
) -> float:
    done = {each.key.order for each in stored}
    left = tuple(key for key in plan.keys if key.order not in done)
    return _estimate(plan.suite, left, selection).seconds
