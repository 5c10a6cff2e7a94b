"""``turnbench doctor``: what stands between this machine and numbers that can be trusted.

Checks keys, endpoints, clock, machine, engines and disk, one line each, and then measures the
harness's own error here in half a minute. Only what makes a run impossible is a failure.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.cli.shared.endpoints import endpoint_findings
from harness.cli.shared.finding import Finding
from harness.cli.shared.key_checks import check_keys, lacking
from harness.cli.shared.suite_options import find_suite
from harness.clock import read_clock_pair
from harness.domain.boot import SCALE_TO_ZERO
from harness.domain.providers import PROVIDERS
from harness.domain.suite import Suite, Via
from harness.domain.timeline import Stage
from harness.errors import HarnessError
from harness.store.runs.environment import collect_environment, load_dotenv, missing_keys
from harness.store.secrecy import redact

__all__ = ["doctor"]

MISUSE = 2
SCARCE_BYTES = 1_000_000_000
IMPOSSIBLE_BYTES = 20_000_000


def doctor(options: argparse.Namespace) -> int:
    """Check, then measure the harness itself."""
    load_dotenv(Path.cwd())
    suite = None if options.suite is None else find_suite(options.suite)
    findings: list[Finding] = []
    for checks in (
        _keys(suite),
        endpoint_findings(suite),
        _proxies(),
        _sleepers(suite),
        check_keys(suite) if suite is None or suite.via is Via.LIVE else (),
        _clock(),
        _machine(),
        _engines(suite),
        _disk(Path(options.out)),
    ):
        for each in checks:
            findings.append(each)
            _tell(each, quiet=options.json)
    document: dict[str, Any] = {}
    if not options.no_measure:
        found, measured = _measured(quiet=options.json)
        findings.append(found)
        _tell(found, quiet=options.json)
        if measured is not None:
            document["overhead"] = measured
    if options.json:
        document["findings"] = [
            {"topic": each.topic, "state": each.state, "text": each.text} for each in findings
        ]
        print(json.dumps(document, ensure_ascii=False, indent=1))
    return MISUSE if any(each.state == "fail" for each in findings) else 0


def _proxies() -> Iterable[Finding]:
    """Say that proxies of the environment are passed by: one in the path would be measured too."""
    named = sorted(name for name in urllib.request.getproxies() if name != "no")
    if named:
        yield Finding(
            topic="endpoint",
            state="caution",
            text=f"proxies ({', '.join(named)}) of the environment are not used by our clients; "
            "where nothing is reached without one, name its address as base_url",
        )


def _tell(finding: Finding, *, quiet: bool) -> None:
    if not quiet:
        print(f"{finding.state:8} {finding.topic:9} {finding.text}", flush=True)


def _measured(*, quiet: bool) -> tuple[Finding, dict[str, Any] | None]:
    """Measure the harness's own error; print the table and return the upshot."""
    from harness.cli.shared.overhead import QUICK, document, measure, show

    if not quiet:
        print("measuring the harness's own error, half a minute …", file=sys.stderr, flush=True)
    try:
        found = measure(QUICK)
    except HarnessError as error:
        text = f"the harness could not be measured: {redact(str(error))}"
        return Finding(topic="accuracy", state="fail", text=text), None
    if not quiet:
        print()
        show(found)
        print()
    facts = document(found, QUICK)
    answered = sum(found.trials.values()) - len(found.failed)
    if not answered:
        text = f"no trial ended well: {redact(found.failed[0])}"
        return Finding(topic="accuracy", state="fail", text=text), facts
    missed = [f"{row.title} ({row.driver})" for row in found.rows if row.kept is False]
    if found.failed:
        text = f"{len(found.failed)} trials failed: {redact(found.failed[0])}"
    elif missed:
        text = f"beyond what is promised: {', '.join(missed)}; try again on a quieter machine"
    else:
        text = "the harness's own error is as promised"
        return Finding(topic="accuracy", state="ok", text=text), facts
    return Finding(topic="accuracy", state="caution", text=text), facts


def _keys(suite: Suite | None) -> Iterable[Finding]:
    if suite is not None:
        lines = missing_keys(suite)
        live = suite.via is Via.LIVE
        for line in lines:
            yield Finding(
                topic="keys",
                state="fail" if live else "caution",
                text=line if live else f"{line} (only when live)",
            )
        if not lines:
            yield Finding(topic="keys", state="ok", text=f"{suite.name}: all keys are set")
        return
    for spec in PROVIDERS.values():
        missing = lacking(spec, spec.stages)
        text = f"{spec.name}: " + (
            f"not set: {', '.join(missing)} (for live runs)" if missing else "ready"
        )
        yield Finding(topic="keys", state="caution" if missing else "ok", text=text)


def _sleepers(suite: Suite | None) -> Iterable[Finding]:
    """Name what may have to boot, so that the wait before a run surprises nobody."""
    for candidate in () if suite is None else suite.candidates:
        stages = [
            stage.value
            for stage in (Stage.STT, Stage.LLM, Stage.TTS)
            if (settings := candidate.stage(stage)) is not None
            and settings.provider in SCALE_TO_ZERO
        ]
        if suite is not None and stages:
            yield Finding(
                topic="boot",
                state="ok",
                text=f"{candidate.name}: {', '.join(stages)} may be scaled to zero; woken before "
                f"anything is measured, for up to {suite.timeouts.boot_s:g} s (boot_s)",
            )


def _clock() -> Iterable[Finding]:
    info = time.get_clock_info("perf_counter")
    pair = read_clock_pair()
    steps = []
    for _ in range(2000):
        first = time.perf_counter_ns()
        second = time.perf_counter_ns()
        if second > first:
            steps.append(second - first)
    smallest = min(steps, default=0)
    good = info.monotonic and smallest < 10_000
    yield Finding(
        topic="clock",
        state="ok" if good else "fail",
        text=f"{info.implementation}, smallest step {smallest} ns, "
        f"wall clock paired within {pair.uncertainty_ns} ns",
    )


def _machine() -> Iterable[Finding]:
    machine = collect_environment()["machine"]
    cores, load = machine["usable_cores"], machine.get("load_average", [0.0])[0]
    text = f"{machine['cpu']}, {cores} cores, load {load:g}"
    busy = load > 0.7 * cores
    yield Finding(
        topic="machine",
        state="caution" if busy or cores < 2 else "ok",
        text=text
        + ("; busy: stop what else runs, or expect disturbed trials" if busy else "")
        + ("; one core: the gateway and the pipeline take it from each other" * (cores < 2)),
    )
    governor = machine.get("governor")
    if governor not in (None, "performance", "schedutil"):
        yield Finding(
            topic="machine",
            state="caution",
            text=f"CPU governor {governor}: set performance for steadier figures",
        )


def _engines(suite: Suite | None) -> Iterable[Finding]:
    """Say which of the gateway's engines are here; each has something that stands in."""
    if suite is not None and suite.via is Via.LIVE:
        return
    for module, name, instead in (
        ("pocketsphinx", "speech recognition by pocketsphinx", "the oracle recogniser stands in"),
        ("espeakng_loader", "speech synthesis by espeak-ng", "a plainer voice stands in"),
    ):
        here = importlib.util.find_spec(module) is not None
        yield Finding(
            topic="engine",
            state="ok" if here else "caution",
            text=name if here else f"{name} is not installed: {instead}",
        )


def _disk(reports: Path) -> Iterable[Finding]:
    """Say whether runs can be written, and how much room there is for them."""
    folder = reports.absolute()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            topic="disk", state="fail", text=f"{folder}: runs cannot be written; give --out DIR"
        )
        return
    free = shutil.disk_usage(existing).free
    state = "fail" if free < IMPOSSIBLE_BYTES else "caution" if free < SCARCE_BYTES else "ok"
    more = "" if state == "ok" else "; a run of 100 turns takes some 20 MB"
    yield Finding(topic="disk", state=state, text=f"{folder}: {free / 1e9:.1f} GB free{more}")
