"""The harness's own error, measured against the gateway's truth.

Plays utterances through both drivers against the gateway's profile of constant delays and compares
what was marked with what the gateway did, on the same clock in the same run. The stages are asked
one after the other, as a run of one candidate asks them.
"""

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.analysis.summary.accuracy import AccuracyRow, Promise, accuracy
from harness.cli.shared.console import make_console
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance
from harness.domain.suite import DatasetChoice, Driver, Suite, Timeouts, Via
from harness.domain.trial import FailedTrial, Stall, Trial, TrialKey
from harness.lanes.manifest import Gateway, write_gateway_manifest
from harness.report.format import DASH, count, milliseconds, percent
from harness.store.datasets.selection import select_utterances
from harness.store.runs.environment import collect_environment
from harness.store.secrecy import redact

__all__ = ["QUICK", "THOROUGH", "Overhead", "Sizes", "document", "measure", "show"]


FORMAT = "turnbench-overhead-1"


# Short utterances with short scripted replies: what is measured does not depend on their length.
_SPOKEN = ("slt-clock", "slt-stop", "rms-greeting", "slt-repeat", "kal16-kitchen", "rms-pardon")


_HEARD = "slt-clock"


_ASKED = "slt-stop"


_SAID = "Done, it is cancelled."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Attributes:
        sessions: turns through a whole session.
        hearings: utterances through the STT alone.
        requests: pairs of a request to the LLM and one to the TTS.
    """

    sessions: int
    hearings: int
    requests: int


QUICK = Sizes(sessions=6, hearings=0, requests=14)
"""For ``turnbench doctor``: half a minute."""


THOROUGH = Sizes(sessions=36, hearings=220, requests=240)
"""Enough for the promised percentiles, with room for disturbed trials: about twelve minutes."""


@dataclass(slots=True)
class Overhead:
    """What was measured.

    Attributes:
        rows: the errors.
        trials: how many measured trials there were, by driver.
        disturbed: how many of them the machine disturbed, by driver.
        failed: one line for each trial that failed.
        stalls: the machine's stalls of more than 10 ms.
        seconds: how long all of it took.
        load_before, load_after: of the machine.
    """

    rows: tuple[AccuracyRow, ...] = ()
    trials: dict[str, int] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    stalls: tuple[Stall, ...] = ()
    seconds: float = 0.0
    load_before: float = 0.0
    load_after: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, and every trial answered."""
        return not self.failed and all(row.kept is not False for row in self.rows)


def _suite(driver: Driver, candidate: Candidate) -> Suite:
    return Suite(
        name="overhead",
        datasets=(DatasetChoice(path="starter", ids=_SPOKEN),),
        candidates=(candidate,),
        driver=driver,
        stage_texts=(_SAID,),
        timeouts=Timeouts(hang_up_s=0.1),
        keep_audio=False,
    )


def _candidate(*stages: str) -> Candidate:
    exact: dict[str, Any] = {
        stage: StageSettings(provider="openadapter", profile="exact") for stage in stages
    }
    return Candidate(name="+".join(stages), **exact)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One performer's share of the work; the first trial of each is a warm-up."""

    suite: Suite
    utterances: Sequence[PlayableUtterance]
    trials: int


def measure(sizes: Sizes, *, progress: Callable[[int, int], None] | None = None) -> Overhead:
    """Measure the harness on this machine.

    Raises:
        GatewayStartError: the gateway does not start.
    """
    from harness.gateway.calls.config import GatewayConfig
    from harness.gateway.calls.truth import read_rows
    from harness.gateway.process import start_gateway

    whole = _suite(Driver.SESSION, _candidate("stt", "llm", "tts"))
    selection = select_utterances(whole)
    playable = selection.playable()
    spoken = [playable[name] for name in _SPOKEN]
    parts = [
        _Part(suite=whole, utterances=spoken, trials=sizes.sessions),
        _Part(
            suite=_suite(Driver.STAGE, _candidate("llm", "tts")),
            utterances=[playable[_ASKED]],
            trials=sizes.requests,
        ),
        _Part(
            suite=_suite(Driver.STAGE, _candidate("stt")),
            utterances=[playable[_HEARD]],
            trials=sizes.hearings,
        ),
    ]
    found = Overhead(load_before=_load())
    begun = time.perf_counter_ns()
    with tempfile.TemporaryDirectory(prefix="turnbench-") as folder:
        truth, known = Path(folder) / "truth.jsonl", Path(folder) / "utterances.jsonl"
        write_gateway_manifest(
            known, {each.id: (selection.origin[each.id], each) for each in selection.utterances}
        )
        config = GatewayConfig(seed=1, truth=truth, utterances=known, recogniser="oracle")
        with start_gateway(config) as process:
            gateway = Gateway(url=f"http://127.0.0.1:{process.port}", key=process.key)
            trials, lateness, lags = asyncio.run(_play(parts, gateway, found, progress))
        rows = read_rows(truth)
    found.rows = accuracy(trials, rows, lateness=lateness, lags=lags)
    found.seconds = (time.perf_counter_ns() - begun) / 1e9
    found.load_after = _load()
    return found


def _load() -> float:
    machine = collect_environment()["machine"]
    return float(machine.get("load_average", [0.0])[0])


async def _play(
    parts: Sequence[_Part],
    gateway: Gateway,
    found: Overhead,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Trial], dict[int, Sequence[int]], dict[int, Sequence[int]]]:
    from harness.analysis.turn.disturbance import disturbance
    from harness.pipeline.drivers.session import SessionPerformer
    from harness.pipeline.drivers.stage import StagePerformer
    from harness.pipeline.place import Place
    from harness.pipeline.recording.health import Watch

    watch = Watch(keep=True)
    await watch.start()
    trials: list[Trial] = []
    begun = time.perf_counter_ns()
    total = sum(part.trials for part in parts)
    done = 0
    try:
        for part in parts:
            if not part.trials:
                continue
            suite = part.suite
            candidate = suite.candidates[0]
            chosen = SessionPerformer if suite.driver is Driver.SESSION else StagePerformer
            place = Place(
                via=Via.GATEWAY,
                options=suite.session,
                gateway=gateway.url,
                gateway_key=gateway.key,
            )
            performer = chosen(candidate, suite, place=place, watch=watch, redact=redact)
            await performer.start()
            try:
                for order in range(part.trials + 1):
                    utterance = part.utterances[order % len(part.utterances)]
                    key = TrialKey(
                        candidate=candidate.name,
                        utterance=utterance.utterance.id,
                        repeat=order,
                        order=order,
                        warmup=order == 0,
                    )
                    trial, _ = await performer.perform(key, candidate, utterance)
                    if key.warmup:
                        continue
                    done += 1
                    if progress is not None:
                        progress(done, total)
                    name = suite.driver.value
                    found.trials[name] = found.trials.get(name, 0) + 1
                    if isinstance(trial, FailedTrial):
                        found.failed.append(f"{candidate.name}: {trial.failure.message}")
                        continue
                    trials.append(trial)
                    found.disturbed.setdefault(name, 0)
                    found.disturbed[name] += disturbance(trial) is not None
            finally:
                await performer.aclose()
        found.stalls, _ = watch.between(begun, time.perf_counter_ns())
    finally:
        await watch.aclose()
    return (
        trials,
        {each.started_ns: each.lateness for each in watch.kept},
        {each.started_ns: each.lags for each in watch.kept},
    )


def document(found: Overhead, sizes: Sizes) -> dict[str, Any]:
    """Return the result as JSON values; times in milliseconds."""
    environment = collect_environment()
    longest = max((each.end_ns - each.start_ns for each in found.stalls), default=0)
    return {
        "format": FORMAT,
        "measured_utc": environment["started_utc"],
        "machine": environment["machine"],
        "python": environment["python"],
        "packages": environment["packages"],
        "git": environment["git"],
        "sizes": dataclasses.asdict(sizes),
        "seconds": round(found.seconds, 1),
        "load": {"before": found.load_before, "after": found.load_after},
        "trials": found.trials,
        "disturbed": found.disturbed,
        "failed": found.failed,
        "stalls": {
            "over_10_ms": len(found.stalls),
            "per_minute": round(len(found.stalls) / max(found.seconds, 1e-9) * 60, 2),
            "longest_ms": round(longest / 1e6, 1),
        },
        "kept": found.kept,
        "rows": [_row_facts(row) for row in found.rows],
    }


def _row_facts(row: AccuracyRow) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    return {
        "what": row.what,
        "driver": row.driver,
        "n": row.n,
        "p50_ms": rounded(row.p50),
        "p99_ms": rounded(row.p99),
        "max_ms": rounded(row.largest),
        "disturbed": round(row.disturbed, 4),
        "promised_p50_ms": None if row.promise is None else row.promise.p50,
        "promised_p99_ms": None if row.promise is None else row.promise.p99,
        "kept": row.kept,
    }


def show(found: Overhead) -> None:
    """Print the table, and beneath it what stands beside every figure."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("The harness's own error")
    table.add_column("Driver")
    for heading in ("n", "p50", "p99", "max", "promised p50 / p99", "disturbed"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in found.rows:
        table.add_row(
            row.title,
            row.driver,
            count(row.n),
            *(_shown(each) for each in (row.p50, row.p99, row.largest)),
            _promised(row.promise),
            percent(row.disturbed),
            {True: "kept", False: "missed", None: ""}[row.kept],
            style="yellow" if row.kept is False else "",
        )
    out = make_console()
    out.print(table)
    longest = max((each.end_ns - each.start_ns for each in found.stalls), default=0)
    trials, disturbed = sum(found.trials.values()), sum(found.disturbed.values())
    out.print(
        f"{trials} trials in {found.seconds:.0f} s, {disturbed} disturbed and left out; "
        f"{len(found.stalls)} stalls over 10 ms"
        + (f", the longest {longest / 1e6:.0f} ms" if longest else "")
        + f"; load {found.load_before:g} before, {found.load_after:g} after"
    )
    if any(0 < row.n < 100 for row in found.rows):
        out.print("of fewer than 100 values the p99 is their largest")
    for line in found.failed[:5]:
        out.print(f"failed: {redact(line)}", style="red")


def _shown(value: float | None) -> str:
    return DASH if value is None else milliseconds(round(value * 1e6))


def _promised(promise: Promise | None) -> str:
    if promise is None:
        return DASH
    return f"{promise.p50:g} / {DASH if promise.p99 is None else format(promise.p99, 'g')} ms"
