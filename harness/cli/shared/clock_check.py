"""A small suite, played on both clocks with the same draws."""

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.analysis.summary.clock_check import ClockCheck, ClockGap, check_clocks
from harness.cli.shared.console import make_console
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import ReplyAudio
from harness.domain.plan import make_plan
from harness.domain.suite import Clock, DatasetChoice, GatewayOptions, Suite, Timeouts
from harness.domain.trial import FailedTrial, Trial
from harness.lanes.job import LaneJob
from harness.lanes.manifest import gateway_config, write_gateway_manifest
from harness.lanes.pool import Lanes
from harness.report.format import milliseconds
from harness.runner.running import run_suite
from harness.store.datasets.selection import select_utterances
from harness.store.secrecy import redact

__all__ = ["TRIALS", "check_document", "measure_clocks", "show_check"]

TRIALS = 12
SEED = 1

CAUSES = {
    "response": "response",
    "client": "Python's own work: plugin, framework, event loop",
    "provider": "the gateway's process, sockets, loopback",
    "wait": "known waits",
    "unattributed": "nothing that is known",
}


def _suite() -> Suite:
    return Suite(
        name="clock-check",
        datasets=(DatasetChoice(path="starter", limit=TRIALS),),
        candidates=(
            Candidate(
                name="agent",
                stt=StageSettings(provider="openadapter", profile="parakeet-tdt-0.6b-v3@together"),
                llm=StageSettings(provider="openadapter", profile="kimi-k2.6@baseten"),
                tts=StageSettings(provider="openadapter", profile="kokoro-82m@polargrid"),
            ),
        ),
        # The first trial of a process imports and connects: it is none of those compared.
        warmups=1,
        gateway=GatewayOptions(recogniser="oracle"),
        timeouts=Timeouts(hang_up_s=0.1),
        keep_audio=False,
    )


def measure_clocks(*, progress: Callable[[int, int], None] | None = None) -> ClockCheck:
    """Play the same draws on the virtual clock and on the real one, a trial at a time."""
    with tempfile.TemporaryDirectory(prefix="turnbench-") as folder:
        virtual, real = (
            _played(_suite(), clock, Path(folder) / clock.value, progress)
            for clock in (Clock.VIRTUAL, Clock.REAL)
        )
    return check_clocks(real, virtual)


def _played(
    suite: Suite, clock: Clock, folder: Path, progress: Callable[[int, int], None] | None
) -> list[Trial | FailedTrial]:
    suite = dataclasses.replace(suite, clock=clock)
    selection = select_utterances(suite)
    folder.mkdir()
    known = folder / "utterances.jsonl"
    write_gateway_manifest(
        known, {each.id: (selection.origin[each.id], each) for each in selection.utterances}
    )
    config = gateway_config(suite, seed=SEED, truth=folder / "truth.jsonl", utterances=known)
    keys = make_plan(suite, [each.id for each in selection.utterances], SEED)
    found: list[Trial | FailedTrial] = []

    def keep(trial: Trial | FailedTrial, _: ReplyAudio | None) -> None:
        found.append(trial)

    async def play() -> None:
        lanes = Lanes(LaneJob(suite=suite, run="clock-check", gateway=config), suite.concurrency)
        lanes.open()
        try:
            await run_suite(
                suite,
                keys,
                performers=lanes.performers(),
                utterances=selection.playable(),
                sink=keep,
                redact=redact,
                progress=None
                if progress is None
                else lambda each: progress(each.done, each.total) if each.last else None,
            )
        finally:
            await lanes.aclose()

    asyncio.run(play())
    return found


def check_document(found: ClockCheck) -> dict[str, Any]:
    """Return the result as JSON values; times in milliseconds."""
    return dataclasses.asdict(found)


def show_check(found: ClockCheck) -> None:
    """Print the differences, and what they are made of."""
    from rich import box
    from rich.table import Table

    out = make_console()
    if not found.gaps:
        out.print(f"no turn can be compared: {_left_out(found)}", style="red")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Real minus virtual, same draws")
    for heading in ("p50", "p95", "largest"):
        table.add_column(heading, justify="right")
    for gap in found.gaps:
        table.add_row(
            CAUSES[gap.what], *_cells(gap), style="bold" if gap.what == "response" else ""
        )
    out.print(table)
    out.print(f"{found.turns} turns; {_left_out(found)}")


def _cells(gap: ClockGap) -> tuple[str, ...]:
    return tuple(milliseconds(round(each * 1e6)) for each in (gap.p50, gap.p95, gap.largest))


def _left_out(found: ClockCheck) -> str:
    return (
        f"{found.disturbed} left out because the machine disturbed them, {found.unpaired} because "
        "a side has no response that can be split"
    )
