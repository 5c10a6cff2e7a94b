"""A suite as a command line has it: read, checked against what is known, overridden."""

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from harness.analysis.gate.verdict import limit_of
from harness.analysis.turn.definitions import METRICS
from harness.domain.candidate import Candidate
from harness.domain.secrecy import clear_secrets
from harness.domain.suite import Clock, Driver, Suite, Via
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.gateway.profiles.files import read_profiles
from harness.gateway.profiles.profiles import PROFILES
from harness.store.datasets.barge_ins import with_dataset_hash
from harness.store.datasets.conditions import with_hash
from harness.store.runs.environment import load_dotenv
from harness.store.suites.suite import read_suite, suite_path
from harness.store.table import nearest

__all__ = ["BUDGET_METRICS", "find_suite", "known_profiles", "override", "with_hashes"]

# What a budget may name: the metrics of a turn, and the failures of a whole run.
BUDGET_METRICS = frozenset(METRICS) | {"failures"}


def known_profiles(file: Path | None) -> Mapping[str, Collection[Stage]]:
    """Return every gateway profile and what it serves, those of the user's file included."""
    profiles = PROFILES if file is None else read_profiles(file, PROFILES)
    return {name: [Stage(each) for each in profile.stages] for name, profile in profiles.items()}


def _held_in_clear(suite: Suite) -> Iterator[str]:
    """Yield a line for each secret that stands in the suite itself."""
    for candidate in suite.candidates:
        for stage in (Stage.STT, Stage.LLM, Stage.TTS):
            settings = candidate.stage(stage)
            held = () if settings is None else clear_secrets(settings.options)
            for place in dict.fromkeys(place for place, _ in held):
                yield (
                    f"candidate {candidate.name!r}: {stage.value}.{place}: a secret stands in the "
                    'suite; put it into the environment or a .env, and write "$NAME" here'
                )


def find_suite(name: str) -> Suite:
    """Read a suite; a ``.env`` beside it or in the current folder is honoured.

    Raises:
        ConfigurationError: one line for each mistake.
    """
    path = suite_path(name)
    load_dotenv(path.resolve().parent, Path.cwd())
    suite = read_suite(path, profiles=known_profiles, metrics=BUDGET_METRICS)
    for line in _held_in_clear(suite):
        print(f"turnbench: {path}: {line}", file=sys.stderr)
    problems: list[str] = []
    for number, budget in enumerate(suite.budgets, start=1):
        try:
            limit_of(budget)
        except ConfigurationError as error:
            problems.extend(f"{path}: budget[{number}]: {line}" for line in error.problems)
    if problems:
        raise ConfigurationError(problems)
    return suite


def override(suite: Suite, options: argparse.Namespace) -> Suite:
    """Return the suite with what the command line says instead.

    Raises:
        ConfigurationError: an unknown candidate, or what the suite's own laws forbid.
    """
    changes: dict[str, object] = {}
    candidates = suite.candidates
    if options.candidate:
        known = [candidate.name for candidate in suite.candidates]
        problems = [
            f"--candidate {name}: the suite has none of that name; {nearest(name, known)}"
            for name in options.candidate
            if name not in known
        ]
        if problems:
            raise ConfigurationError(problems)
        candidates = tuple(each for each in candidates if each.name in options.candidate)
        names = {each.name for each in candidates}
        # A budget of a candidate that is left out cannot be judged, so it goes with it.
        changes["budgets"] = tuple(
            each for each in suite.budgets if {each.candidate, each.reference} - {None} <= names
        )
    if options.agent is not None:
        candidates = (_agent_candidate(options.agent, candidates[0]),)
        changes["budgets"] = tuple(each for each in suite.budgets if each.candidate is None)
    changes["candidates"] = candidates
    if options.via is not None:
        changes["via"] = Via(options.via)
    if options.clock is not None:
        changes["clock"] = Clock(options.clock)
    if changes.get("via", suite.via) is Via.LIVE:
        if options.clock == Clock.VIRTUAL.value:
            raise ConfigurationError("--clock virtual: live providers take real time")
        changes["clock"] = Clock.REAL
    if options.driver is not None:
        changes["driver"] = Driver(options.driver)
    for key in ("repeats", "seed", "concurrency"):
        value = getattr(options, key)
        if value is not None:
            changes[key] = value
    changed = dataclasses.replace(suite, **changes)  # type: ignore[arg-type]
    if changed.driver is Driver.SESSION:
        problems = [
            f"candidate {each.name!r}: a session needs stt, llm and tts; it has no {stage.value}"
            for each in changed.candidates
            if each.agent is None
            for stage in (Stage.STT, Stage.LLM, Stage.TTS)
            if each.stage(stage) is None
        ]
    else:
        problems = [
            f'candidate {each.name!r}: an agent needs driver = "session"'
            for each in changed.candidates
            if each.agent is not None
        ]
    for each in changed.candidates:
        if each.agent is not None:
            problems.extend(_agent_problems(each))
    if problems:
        raise ConfigurationError(problems)
    return changed


def with_hashes(suite: Suite) -> Suite:
    """Return the suite with the hashes of its conditions' noises and its barge-ins' datasets.

    Raises:
        ConfigurationError: a line for each that is missing, or no longer the one of the run.
    """
    problems: list[str] = []
    conditions = []
    for each in suite.conditions:
        try:
            conditions.append(with_hash(each))
        except ConfigurationError as error:
            problems.extend(error.problems)
    barge_ins = []
    for said in suite.barge_ins:
        try:
            barge_ins.append(with_dataset_hash(said))
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    return dataclasses.replace(suite, conditions=tuple(conditions), barge_ins=tuple(barge_ins))


def _agent_candidate(agent: str, base: Candidate) -> Candidate:
    return dataclasses.replace(base, name=agent.rpartition(":")[2] or agent, agent=agent)


def _agent_problems(candidate: Candidate) -> list[str]:
    """Say what is wrong with an agent's name, without importing it."""
    agent = candidate.agent or ""
    module, colon, function = agent.partition(":")
    where = f"candidate {candidate.name!r}: agent {agent!r}"
    if not colon or not module or not function.isidentifier():
        return [f'{where}: not of the form "module:function"']
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        return [f"{where}: {error}"]
    if found is None:
        return [f"{where}: there is no module {module!r}; start turnbench in its folder"]
    return []
