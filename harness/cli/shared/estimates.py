"""What ``run --dry-run`` prints."""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from harness.cli.shared.progress import clock_text
from harness.domain.costs import PlanEstimate
from harness.domain.suite import Clock, Via
from harness.store.runs.plans import RunPlan

__all__ = ["print_estimate"]


def print_estimate(
    plan: RunPlan,
    expected: PlanEstimate,
    lacking: Sequence[str],
    *,
    as_json: bool,
    file: TextIO | None = None,
) -> None:
    """Print trials, time, tokens, audio and money that a plan will take, and what it lacks."""
    stream = sys.stdout if file is None else file
    if as_json:
        print(json.dumps(_document(plan, expected, lacking), ensure_ascii=False, indent=1))
        return
    suite = plan.suite
    where = "via the gateway (EMULATED)" if suite.via is Via.GATEWAY else "live"
    if suite.clock is Clock.VIRTUAL:
        where += ", on the virtual clock"
    trials = f"{expected.trials} trials ({expected.measured} measured)"
    length = f"about {clock_text(expected.seconds)} minutes at concurrency {suite.concurrency}"
    lines = [
        f"{suite.name}: {trials} of {len(plan.utterances)} utterances, {where}, {length}",
        "",
    ]
    rows = [("candidate", "trials", "speech in", "speech out", "tokens in", "out", "cost")]
    for each in expected.candidates:
        rows.append(
            (
                each.candidate,
                str(each.trials),
                f"{each.audio_in_s:.0f} s",
                f"{each.audio_out_s:.0f} s",
                str(each.input_tokens),
                str(each.output_tokens),
                "no price" if each.cost is None else f"{each.cost:.4f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    unpriced = sorted({stage.value for each in expected.candidates for stage in each.unpriced})
    lines.append("")
    if expected.cost is not None:
        lines.append(f"cost: {expected.cost:.4f} in the suite's currency")
        if unpriced:
            lines.append(f"      without a price for some {', '.join(unpriced)}")
    if suite.limits.spend is not None:
        lines.append(f"spending limit: {suite.limits.spend:g}")
    if suite.limits.trials_per_minute is not None:
        lines.append(f"rate limit: {suite.limits.trials_per_minute:g} trials a minute")
    lines.append("assumed: " + ";\n         ".join(expected.assumptions))
    lines.extend(f"missing: {line}" for line in lacking)
    print("\n".join(lines), file=stream)


def _document(plan: RunPlan, expected: PlanEstimate, lacking: Sequence[str]) -> dict[str, Any]:
    return {
        "suite": plan.suite.name,
        "via": plan.suite.via.value,
        "driver": plan.suite.driver.value,
        "seed": plan.seed,
        "utterances": len(plan.utterances),
        "trials": expected.trials,
        "measured": expected.measured,
        "seconds": round(expected.seconds, 1),
        "cost": expected.cost,
        "candidates": [
            {
                "candidate": each.candidate,
                "trials": each.trials,
                "audio_in_s": round(each.audio_in_s, 2),
                "audio_out_s": round(each.audio_out_s, 2),
                "input_tokens": each.input_tokens,
                "output_tokens": each.output_tokens,
                "characters": each.characters,
                "cost": each.cost,
                "unpriced": [stage.value for stage in each.unpriced],
            }
            for each in expected.candidates
        ],
        "assumptions": list(expected.assumptions),
        "missing": list(lacking),
    }
