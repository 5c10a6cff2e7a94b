# ruff: noqa: INP001 - a script beside the data it writes
"""Measure the gate's false alarms and power by simulation; write bench/CALIBRATION.md.

    python bench/calibrate.py            full size, about half an hour on one core
    python bench/calibrate.py --quick    a tenth of it, prints only

Each row has its number of simulations; the interval behind a rate of k in n is Clopper-Pearson's.
"""

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.gate.evidence import baseline_evidence, paired_evidence
from harness.analysis.statistics.distributions import normal_quantile, student_quantile, student_sf
from harness.analysis.statistics.estimate import Estimate, estimate_rate
from harness.analysis.statistics.exchange import Blocks, exchange_tail, pair_up
from harness.analysis.statistics.gate_rule import GateResult, Limit, Ruling, Verdict, combine, rule
from harness.analysis.statistics.quantile import quantile
from harness.analysis.statistics.sequential import look_sizes, measure_until_clear
from harness.analysis.statistics.simulate import SCENARIOS, Plan, Twin, draw, slow_down

P50 = Limit(kind="ratio", limit=1.10, mde=1.20)
P95 = Limit(kind="ratio", limit=1.20, mde=1.50)
# With 24 budgets each is judged at a 24th of the level, so a run can promise less.
P50_OF_MANY = Limit(kind="ratio", limit=1.10, mde=1.35)
P95_OF_MANY = Limit(kind="ratio", limit=1.20, mde=2.00)
METRICS = 12
FAMILY = 2 * METRICS
SEED = 20_260_822

Array = NDArray[np.float64]
Estimator = Callable[[Array, Array], Array]


def verdict(twin: Twin, share: float, *, budgets: int = 1) -> Verdict:
    """Judge one budget of a gate with so many."""
    return ruling(twin, share, budgets=budgets).verdict


def ruling(twin: Twin, share: float, *, budgets: int) -> Ruling:
    """Rule on one budget of a gate with so many."""
    if budgets == 1:
        limit = P50 if share == 0.5 else P95
    else:
        limit = P50_OF_MANY if share == 0.5 else P95_OF_MANY
    evidence = paired_evidence(*twin.samples(), limit, share=share, budgets=budgets)
    return rule(limit, evidence)


def share_of(found: int, n: int) -> str:
    """Return a rate in percent with its 95 % interval."""
    estimate = estimate_rate(np.arange(n) < found)
    assert isinstance(estimate, Estimate)
    assert isinstance(estimate.high, float)
    return f"{100 * found / n:.2f} [{100 * estimate.low:.2f}–{100 * estimate.high:.2f}]"


def gate_of_one(scenario: str, n: int, seed: int) -> dict[str, dict[str, int]]:
    """Count verdicts of gates with a single budget, unchanged and slowed."""
    random = np.random.default_rng([seed, 1, SCENARIOS.index(scenario)])
    cases: dict[str, Callable[[Twin], Verdict]] = {
        "p50 unchanged": lambda t: verdict(t, 0.5),
        "p95 unchanged": lambda t: verdict(t, 0.95),
        "p50 +20 %": lambda t: verdict(slow_down(t, 1.2), 0.5),
        "p95 +50 %": lambda t: verdict(slow_down(t, 1.5), 0.95),
        "p95 +50 %, tail only": lambda t: verdict(slow_down(t, 1.5, "tail"), 0.95),
    }
    counts = {name: {v.value: 0 for v in Verdict} for name in cases}
    for _ in range(n):
        twin = draw(scenario, random)
        for name, case in cases.items():
            counts[name][case(twin).value] += 1
    return counts


def gate_of_many(scenario: str, n: int, seed: int) -> dict[str, dict[str, int]]:
    """Count verdicts of gates with 24 budgets: p50 and p95 of 12 metrics."""
    random = np.random.default_rng([seed, 2, SCENARIOS.index(scenario)])
    names = ("unchanged", "one p50 +20 %", "one p95 +50 %")
    counts = {name: {v.value: 0 for v in Verdict} for name in names}
    for _ in range(n):
        twins = [draw(scenario, random) for _ in range(METRICS)]
        rulings = [ruling(twin, share, budgets=FAMILY) for twin in twins for share in (0.5, 0.95)]
        counts["unchanged"][combine(rulings).verdict.value] += 1
        slow = verdict(slow_down(twins[0], 1.2), 0.5, budgets=FAMILY)
        counts["one p50 +20 %"][slow.value] += 1
        slow = verdict(slow_down(twins[0], 1.5), 0.95, budgets=FAMILY)
        counts["one p95 +50 %"][slow.value] += 1
    return counts


def small_gates(n: int, seed: int) -> dict[str, dict[str, int]]:
    """Count verdicts on +20 % (p50) and +50 % (p95) where trials are far too few."""
    counts: dict[str, dict[str, int]] = {}
    for scenario in SCENARIOS:
        for utterances, repeats in ((6, 3), (12, 3)):
            random = np.random.default_rng([seed, 3, SCENARIOS.index(scenario), utterances])
            row = {v.value: 0 for v in Verdict}
            for _ in range(n):
                twin = draw(scenario, random, Plan(utterances=utterances, repeats=repeats))
                row[verdict(slow_down(twin, 1.2), 0.5).value] += 1
            counts[f"{scenario}, {utterances} x {repeats}"] = row
    return counts


def usual_rules(scenario: str, n: int, seed: int) -> dict[str, tuple[int, int]]:
    """Count alarms of the usual rules on the gate's data: (unchanged, +20 %)."""
    random = np.random.default_rng([seed, 1, SCENARIOS.index(scenario)])
    counts = {name: [0, 0] for name in ("mean 10 % worse", "p95 10 % worse", "t-test on means")}
    for _ in range(n):
        twin = draw(scenario, random)
        for case, each in enumerate((twin, slow_down(twin, 1.2))):
            a, b = each.candidate.ravel(), each.reference.ravel()
            counts["mean 10 % worse"][case] += a.mean() > 1.1 * b.mean()
            counts["p95 10 % worse"][case] += quantile(a, 0.95) > 1.1 * quantile(b, 0.95)
            error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
            t = (a.mean() - b.mean()) / error
            counts["t-test on means"][case] += student_sf(t, a.size + b.size - 2) < 0.025
    return {name: (int(k[0]), int(k[1])) for name, k in counts.items()}


def estimators(scenario: str, n: int, seed: int, level: float = 0.01) -> dict[str, tuple[int, int]]:
    """Count alarms of the estimators tried for p50 at one level: (unchanged, +20 %)."""
    random = np.random.default_rng([seed, 4, SCENARIOS.index(scenario)])
    per_utterance: dict[str, Estimator] = {
        "mean of mean log-ratios, t": lambda a, b: a.mean(1) - b.mean(1),
        "mean of median log-ratios, t": lambda a, b: np.median(a, 1) - np.median(b, 1),
        "mean of Hodges-Lehmann, t": lambda a, b: np.median(_gaps(a, b), 1),
        "mean of trimmed pair gaps, t": lambda a, b: _trimmed(_gaps(a, b)),
    }
    counts = {name: [0, 0] for name in (*per_utterance, "pairs, exchange of trials (chosen)")}
    counts["pairs, exchange of utterances"] = [0, 0]
    for _ in range(n):
        twin = draw(scenario, random)
        for case, each in enumerate((twin, slow_down(twin, 1.2))):
            a, b = np.log(each.candidate), np.log(each.reference)
            for name, estimator in per_utterance.items():
                effects = estimator(a, b)
                error = effects.std(ddof=1) / math.sqrt(effects.size)
                bar = max(math.log(1.1), student_quantile(1 - level, effects.size - 1) * error)
                counts[name][case] += effects.mean() > bar
            exchanges: tuple[tuple[str, Blocks], ...] = (
                ("pairs, exchange of trials (chosen)", "trials"),
                ("pairs, exchange of utterances", "utterances"),
            )
            for name, blocks in exchanges:
                evidence = paired_evidence(
                    *each.samples(),
                    P50,
                    alpha=level,
                    blocks=blocks,
                )
                counts[name][case] += rule(P50, evidence).verdict is Verdict.FAIL
    return {name: (int(k[0]), int(k[1])) for name, k in counts.items()}


def tail_estimators(
    scenario: str, n: int, seed: int, level: float = 0.01
) -> dict[str, tuple[int, int, int]]:
    """Count alarms of the tests tried for p95: (unchanged, +50 %, +50 % of the tail only)."""
    random = np.random.default_rng([seed, 8, SCENARIOS.index(scenario)])
    names = (
        "exchange of trials (chosen)",
        "exchange, sides centred first",
        "exchange of utterances",
    )
    counts = {name: [0, 0, 0] for name in (*names, "bootstrap of utterances, normal interval")}
    bar = math.log(P95.limit)
    z = normal_quantile(1.0 - level)
    for _ in range(n):
        twin = draw(scenario, random)
        cases = (twin, slow_down(twin, 1.5), slow_down(twin, 1.5, "tail"))
        for case, each in enumerate(cases):
            logs = Twin(candidate=np.log(each.candidate), reference=np.log(each.reference))
            sides = pair_up(*logs.samples())
            point = quantile(sides.candidate, 0.95) - quantile(sides.reference, 0.95)
            if point <= bar:
                continue
            centred = sides.map_candidate(sides.candidate - point)
            nulls = (
                exchange_tail(sides, 0.95, draws=1_999, blocks="trials"),
                exchange_tail(centred, 0.95, draws=1_999, blocks="trials"),
                exchange_tail(sides, 0.95, draws=1_999, blocks="utterances"),
            )
            for name, null in zip(names, nulls, strict=True):
                p_value = (1 + np.count_nonzero(null >= point - 1e-12)) / 2_000
                counts[name][case] += bool(p_value <= level)
            drawn = random.integers(0, 24, (400, 24))
            ends = [
                np.quantile(side[drawn].reshape(400, -1), 0.95, axis=1, method="inverted_cdf")
                for side in (logs.candidate, logs.reference)
            ]
            deviation = float(np.std(ends[0] - ends[1]))
            counts["bootstrap of utterances, normal interval"][case] += point > z * deviation
    return {name: (int(k[0]), int(k[1]), int(k[2])) for name, k in counts.items()}


def _gaps(a: Array, b: Array) -> Array:
    gaps: Array = a[:, :, None] - b[:, None, :]
    return gaps.reshape(a.shape[0], -1)


def _trimmed(gaps: Array) -> Array:
    ordered = np.sort(gaps, 1)
    cut = ordered.shape[1] // 4
    means: Array = ordered[:, cut:-cut].mean(1)
    return means


def sequential(scenario: str, n: int, seed: int) -> dict[str, tuple[dict[str, int], float]]:
    """Count verdicts of the sequential gate up to 10 repeats, and its mean share of the trials."""
    random = np.random.default_rng([seed, 5, SCENARIOS.index(scenario)])
    sizes = look_sizes(10)
    result: dict[str, tuple[dict[str, int], float]] = {}
    for name, share, factor in (
        ("p50 unchanged", 0.5, 1.0),
        ("p50 +20 %", 0.5, 1.2),
        ("p95 unchanged", 0.95, 1.0),
        ("p95 +50 %", 0.95, 1.5),
    ):
        limit = P50 if share == 0.5 else P95
        counts, used = {v.value: 0 for v in Verdict}, 0
        for _ in range(n):
            twin = slow_down(draw(scenario, random, Plan(repeats=sizes[-1])), factor)

            def judge(
                repeats: int,
                alpha: float,
                twin: Twin = twin,
                share: float = share,
                limit: Limit = limit,
            ) -> GateResult:
                part = Twin(
                    candidate=twin.candidate[:, :repeats], reference=twin.reference[:, :repeats]
                )
                evidence = paired_evidence(*part.samples(), limit, share=share, alpha=alpha)
                return combine([rule(limit, evidence)])

            gate, repeats = measure_until_clear(sizes, judge)
            counts[gate.verdict.value] += 1
            used += repeats
        result[name] = (counts, used / n / sizes[-1])
    return result


def stored(scenario: str, n: int, seed: int, runs: int) -> dict[str, int]:
    """Count false alarms against a stored baseline: one run taken as truth, and the prediction."""
    random = np.random.default_rng([seed, 6, SCENARIOS.index(scenario), runs])
    counts = {"one run, paired": 0, "prediction p50": 0, "prediction p95": 0, "found p50 +50 %": 0}
    for _ in range(n):
        single = draw(scenario, random, days="different")
        counts["one run, paired"] += verdict(single, 0.5) is Verdict.FAIL
        # The utterances are the same in all runs, so one draw makes them all.
        wide = draw(scenario, random, Plan(utterances=24, repeats=5 * (runs + 1))).candidate
        days = np.exp(random.normal(0.0, 0.05, runs + 1))
        for share, name in ((0.5, "prediction p50"), (0.95, "prediction p95")):
            values = [
                quantile(wide[:, 5 * i : 5 * i + 5].ravel() * days[i], share)
                for i in range(runs + 1)
            ]
            limit = P50 if share == 0.5 else P95
            evidence = baseline_evidence(values[-1], values[:-1], limit)
            counts[name] += rule(limit, evidence).verdict is Verdict.FAIL
            if share == 0.5:
                evidence = baseline_evidence(1.5 * values[-1], values[:-1], limit)
                counts["found p50 +50 %"] += rule(limit, evidence).verdict is Verdict.FAIL
    return counts


def correlated(n: int, seed: int) -> dict[str, int]:
    """Count false alarms where the repeats of one side hang together (not the exchange of trials).

    Each side draws an effect of its own for each utterance (0.10), as with a cached prompt.
    """
    random = np.random.default_rng([seed, 7])
    counts = {"auto p50": 0, "trials p50": 0, "auto p95": 0, "trials p95": 0}
    for _ in range(n):
        twin = draw("lognormal-1.8", random)
        effect = np.exp(random.normal(0.0, 0.10, (2, 24, 1)))
        twin = Twin(candidate=twin.candidate * effect[0], reference=twin.reference * effect[1])
        kinds: tuple[Blocks, ...] = ("auto", "trials")
        for blocks in kinds:
            for share, limit in ((0.5, P50), (0.95, P95)):
                evidence = paired_evidence(
                    *twin.samples(),
                    limit,
                    share=share,
                    blocks=blocks,
                )
                failed = rule(limit, evidence).verdict is Verdict.FAIL
                counts[f"{blocks} p{100 * share:g}"] += failed
    return counts


def tail_rows(n: int) -> list[str]:
    """Return Markdown lines of the tests tried for p95."""
    lines = [
        f"### Tests tried for p95, all at 1 % and the 20 % budget ({n} simulations)",
        "",
        "| scenario | test | alarms, unchanged % | found, +50 % % | found, +50 % of the tail % |",
        "|---|---|---|---|---|",
    ]
    for scenario in SCENARIOS:
        for name, counts in tail_estimators(scenario, n, SEED).items():
            lines.append(
                f"| {scenario} | {name} | " + " | ".join(share_of(k, n) for k in counts) + " |"
            )
    return [*lines, ""]


def verdict_rows(title: str, table: dict[str, dict[str, dict[str, int]]], n: int) -> list[str]:
    """Return Markdown lines of verdict shares by scenario and case."""
    lines = [
        f"### {title}",
        "",
        "| scenario | case | FAIL % [95 % interval] | PASS % | INCONCLUSIVE % |",
        "|---|---|---|---|---|",
    ]
    for scenario, cases in table.items():
        for case, counts in cases.items():
            lines.append(
                f"| {scenario} | {case} | {share_of(counts['FAIL'], n)} "
                f"| {100 * counts['PASS'] / n:.1f} | {100 * counts['INCONCLUSIVE'] / n:.1f} |"
            )
    return [*lines, ""]


def alarm_rows(title: str, table: dict[str, dict[str, tuple[int, int]]], n: int) -> list[str]:
    """Return Markdown lines of alarms by scenario and rule."""
    lines = [
        f"### {title}",
        "",
        "| scenario | rule | alarms, unchanged % | found, +20 % everywhere % |",
        "|---|---|---|---|",
    ]
    for scenario, rules in table.items():
        for name, (false, found) in rules.items():
            lines.append(f"| {scenario} | {name} | {share_of(false, n)} | {share_of(found, n)} |")
    return [*lines, ""]


def report(scale: float) -> str:
    """Run every simulation and return the Markdown."""
    started = time.perf_counter()
    one, many, few = (max(20, round(scale * k)) for k in (4_000, 2_000, 1_000))

    def note(text: str) -> None:
        print(f"{time.perf_counter() - started:6.0f} s  {text}", file=sys.stderr, flush=True)  # noqa: T201

    singles, family, usual, tried, looks, kept = {}, {}, {}, {}, {}, {}
    for scenario in SCENARIOS:
        singles[scenario] = gate_of_one(scenario, one, SEED)
        note(f"gate of 1, {scenario}: {singles[scenario]}")
        usual[scenario] = usual_rules(scenario, one, SEED)
        note(f"usual rules, {scenario}: {usual[scenario]}")
        family[scenario] = gate_of_many(scenario, many, SEED)
        note(f"gate of {FAMILY}, {scenario}: {family[scenario]}")
        tried[scenario] = estimators(scenario, few, SEED)
        note(f"estimators, {scenario}: {tried[scenario]}")
        looks[scenario] = sequential(scenario, few, SEED)
        note(f"sequential, {scenario}: {looks[scenario]}")
        kept[scenario] = {k: stored(scenario, few, SEED, k) for k in (5, 10)}
        note(f"stored, {scenario}: {kept[scenario]}")
    small = small_gates(few, SEED)
    note(f"small gates: {small}")
    together = correlated(few, SEED)
    note(f"correlated: {together}")
    lines = [
        (
            f"Seed {SEED}; 24 utterances x 5 repeats a side; {platform.machine()}, Python "
            f"{platform.python_version()}, numpy {np.__version__}; "
            f"{(time.perf_counter() - started) / 60:.0f} minutes on one core."
        ),
        "",
        *verdict_rows(f"Gate of 1 budget ({one} simulations a row)", singles, one),
        *verdict_rows(f"Gate of {FAMILY} budgets ({many} simulations a row)", family, many),
        *alarm_rows(f"The usual rules on the same data ({one} simulations)", usual, one),
        *alarm_rows(
            f"Estimators tried for p50, all at 1 % and the 10 % budget ({few} simulations)",
            tried,
            few,
        ),
        *tail_rows(few),
        f"### Sequential: up to 10 repeats, four looks ({few} simulations a row)",
        "",
        "| scenario | case | FAIL % | PASS % | INCONCLUSIVE % | trials used, of the most % |",
        "|---|---|---|---|---|---|",
        *(
            f"| {scenario} | {case} | {share_of(counts['FAIL'], few)} "
            f"| {100 * counts['PASS'] / few:.1f} | {100 * counts['INCONCLUSIVE'] / few:.1f} "
            f"| {100 * used:.0f} |"
            for scenario, cases in looks.items()
            for case, (counts, used) in cases.items()
        ),
        "",
        f"### Against a stored baseline, days differing by 5 % ({few} simulations a row)",
        "",
        (
            "| scenario | stored runs | false alarms: one run taken as truth % | of the prediction "
            "interval, p50 % | p95 % | found, p50 +50 % |"
        ),
        "|---|---|---|---|---|---|",
        *(
            f"| {scenario} | {runs} | {share_of(c['one run, paired'], few)} "
            f"| {share_of(c['prediction p50'], few)} | {share_of(c['prediction p95'], few)} "
            f"| {share_of(c['found p50 +50 %'], few)} |"
            for scenario, by_runs in kept.items()
            for runs, c in by_runs.items()
        ),
        "",
        f"### Undersized gates, p50 slower by 20 % ({few} simulations a row)",
        "",
        "| scenario, utterances x repeats | FAIL % | PASS % | INCONCLUSIVE % |",
        "|---|---|---|---|",
        *(
            f"| {name} | {share_of(c['FAIL'], few)} | {100 * c['PASS'] / few:.1f} "
            f"| {100 * c['INCONCLUSIVE'] / few:.1f} |"
            for name, c in small.items()
        ),
        "",
        f"### Repeats that hang together ({few} simulations): false alarms",
        "",
        "| exchange | p50 % | p95 % |",
        "|---|---|---|",
        *(
            f"| {blocks} | {share_of(together[f'{blocks} p50'], few)} "
            f"| {share_of(together[f'{blocks} p95'], few)} |"
            for blocks in ("auto", "trials")
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the tables, or print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulations")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="simulations against the full size"
    )
    parser.add_argument("--output", type=Path, help="where to write the tables; printed if absent")
    options = parser.parse_args()
    text = report(0.1 if options.quick else options.scale)
    if options.output is None:
        print(text)  # noqa: T201
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
