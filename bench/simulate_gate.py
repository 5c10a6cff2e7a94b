# ruff: noqa: INP001, T201 - a script beside what it explains
"""How often the shipped gate is wrong, simulated with its own budgets, profiles and statistics.

``python bench/simulate_gate.py [SUITE] --gates 2000`` draws what ``bench/gate.toml`` would measure
from the gateway profiles that it names, judges every draw by its budgets as ``turnbench gate``
does, and prints how many gates PASS, FAIL or are INCONCLUSIVE: unchanged, and with a planted
slowdown of the language model. The sizes and ``mde`` in ``bench/gate.toml`` were chosen by it.

A draw is a turn: the endpoint's silence, the recogniser's compute, the model's first text and the
gaps to its first sentence, the voice's first byte and leading silence, and the machine's own delay
(lognormal, some milliseconds; one turn in fifty is hit by a stall of up to 60 ms). On the virtual
clock both sides of a turn meet the same draws, and the machine delays nothing. Word errors are not
simulated: the oracle makes none. A share of turns may be lost, as failures.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.gate.budgets import SHARES, limit_of
from harness.analysis.gate.draws import DrawPairs, drawn_evidence
from harness.analysis.gate.evidence import absolute_evidence, failure_evidence, paired_evidence
from harness.analysis.statistics.distributions import beta_quantile
from harness.analysis.statistics.estimate import Sample, Unsupported, estimate_rate
from harness.analysis.statistics.gate_rule import ALPHA, Ruling, Verdict, combine, rule
from harness.analysis.statistics.sequential import gate_alpha, look_sizes
from harness.domain.candidate import Candidate
from harness.domain.suite import Budget, BudgetKind, Clock, Suite
from harness.gateway.profiles.distributions import Constant, Distribution
from harness.gateway.profiles.profiles import PROFILES
from harness.store.datasets.selection import select_utterances
from harness.store.suites.suite import read_suite

__all__ = ["Figures", "Side", "draw_side", "judge_sides", "main", "simulate"]

TOKENS_TO_SENTENCE = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """What one side would measure, in milliseconds, utterance after utterance.

    Attributes:
        values: by metric id.
        failed: which turns were lost.
        clusters: the utterance of each.
    """

    values: Mapping[str, NDArray[np.float64]]
    failed: NDArray[np.bool_]
    clusters: NDArray[np.int64]

    def sample(self, metric: str, repeats: int) -> Sample:
        """Return the first repeats of a metric."""
        keep = np.arange(self.failed.size) // len(np.unique(self.clusters)) < repeats
        return Sample.of(
            self.values[metric][keep], failed=self.failed[keep], clusters=self.clusters[keep]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How simulated gates ended.

    Attributes:
        gates: how many.
        verdicts: how many of each.
        blamed: by budget that was not kept, how often.
        repeats: mean number of repeats that were measured.
    """

    gates: int
    verdicts: Mapping[Verdict, int]
    blamed: Mapping[str, int]
    repeats: float

    def share(self, verdict: Verdict) -> str:
        """Return a verdict's share in percent with its exact 95 % interval."""
        hits = self.verdicts.get(verdict, 0)
        low = beta_quantile(0.025, hits, self.gates - hits + 1) if hits else 0.0
        high = beta_quantile(0.975, hits + 1, self.gates - hits) if hits < self.gates else 1.0
        return f"{100 * hits / self.gates:.2f} [{100 * low:.2f}-{100 * high:.2f}]"


def _delays(
    source: Distribution, random: np.random.Generator, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    if isinstance(source, Constant):
        return np.full(shape, source.ms)
    flat = [source.quantile_ns(p) / 1e6 for p in random.uniform(1e-12, 1 - 1e-12, np.prod(shape))]
    return np.asarray(flat).reshape(shape)


def draw_side(
    candidate: Candidate,
    utterances: int,
    repeats: int,
    random: np.random.Generator,
    *,
    llm: float = 1.0,
    lost: float = 0.0,
    clock: Clock = Clock.REAL,
) -> Side:
    """Draw what a candidate would measure.

    Args:
        candidate: names the profiles.
        utterances: how many.
        repeats: of each.
        random: a seeded generator.
        llm: factor on the time to the model's first text.
        lost: share of turns that fail.
        clock: whether the machine's own delay comes on top.
    """
    n = (repeats * utterances,)
    assert candidate.stt is not None
    assert candidate.llm is not None
    assert candidate.tts is not None
    stt = PROFILES[str(candidate.stt.profile)].stt
    model = PROFILES[str(candidate.llm.profile)].llm
    voice = PROFILES[str(candidate.tts.profile)].tts
    assert stt is not None
    assert model is not None
    assert voice is not None
    ttft = llm * _delays(model.first_text, random, n)
    gaps = _delays(model.gap, random, (*n, TOKENS_TO_SENTENCE)).sum(axis=1)
    own: NDArray[np.float64] = 12.0 * np.exp(random.normal(0.0, 0.5, n))
    stalled = random.random(n) < 0.02
    own += np.where(stalled, random.uniform(10.0, 60.0, n), 0.0)
    own *= clock is Clock.REAL
    heard = _delays(stt.endpoint_silence, random, n) + _delays(stt.compute, random, n)
    first = _delays(voice.first_byte, random, n)
    response = heard + ttft + gaps + first + voice.leading_silence_ms + own
    return Side(
        values={
            "response": response,
            "llm_ttft": ttft,
            "tts_first_byte": first,
            "stt_final": heard,
        },
        failed=random.random(n) < lost,
        clusters=np.tile(np.arange(utterances), repeats),
    )


def _pairs(side: Side, other: Side, metric: str, repeats: int) -> DrawPairs:
    """Return two sides draw for draw."""
    keep = np.arange(side.failed.size) // len(np.unique(side.clusters)) < repeats
    ours, theirs = (
        np.where(each.failed, np.inf, each.values[metric])[keep] for each in (side, other)
    )
    return DrawPairs(
        turns=ours.size,
        differing=int(np.count_nonzero(ours != theirs)),
        median=None,
        least=None,
        most=None,
        one_sided=int(np.count_nonzero(np.isinf(ours) != np.isinf(theirs))),
        candidate=tuple(ours.tolist()),
        reference=tuple(theirs.tolist()),
        clusters=tuple(side.clusters[keep].tolist()),
    )


def judge_sides(
    suite: Suite, sides: Mapping[str, Side], *, repeats: int, alpha: float = ALPHA
) -> tuple[Verdict, tuple[tuple[Budget, Ruling], ...]]:
    """Judge simulated sides by a suite's budgets, those that are not simulated left out.

    They still count among the budgets that share the level.
    """
    count = len(suite.budgets)
    found: list[tuple[Budget, Ruling]] = []
    for budget in suite.budgets:
        stored = budget.kind is BudgetKind.RELATIVE and budget.reference is None
        if budget.metric == "wer" or stored:
            continue
        limit = limit_of(budget)
        side = sides[str(budget.candidate)]
        if budget.metric == "failures":
            sample = side.sample("response", repeats)
            rate = estimate_rate(sample.failed.tolist(), clusters=sample.clusters.tolist())
            evidence = (
                rate
                if isinstance(rate, Unsupported)
                else failure_evidence(rate, limit, alpha=alpha, budgets=count)
            )
        elif budget.kind is BudgetKind.ABSOLUTE:
            evidence = absolute_evidence(
                side.sample(budget.metric, repeats),
                limit,
                share=SHARES[budget.statistic],
                alpha=alpha,
                budgets=count,
            )
        else:
            other = sides[str(budget.reference)]
            share = SHARES[budget.statistic]
            drawn = None
            if suite.clock is Clock.VIRTUAL:
                pairs = _pairs(side, other, budget.metric, repeats)
                drawn = drawn_evidence(pairs, limit, share=share, alpha=alpha / count)
            evidence = drawn or paired_evidence(
                side.sample(budget.metric, repeats),
                other.sample(budget.metric, repeats),
                limit,
                share=share,
                alpha=alpha,
                budgets=count,
            )
        found.append((budget, rule(limit, evidence)))
    return combine([each for _, each in found], alpha=alpha).verdict, tuple(found)


def simulate(
    suite: Suite,
    *,
    gates: int,
    seed: int,
    llm: float = 1.0,
    lost: float = 0.0,
    most_repeats: int | None = None,
    utterances: int | None = None,
) -> Figures:
    """Simulate gates of a suite; the slowdown is the second candidate's.

    Args:
        suite: its candidates, repeats and budgets.
        gates: how many to simulate.
        seed: of the draws.
        llm: factor on the candidate's time to first text.
        lost: share of turns that fail, on both sides.
        most_repeats: measure until the verdict is clear, at most so many; None takes the suite's.
        utterances: None takes the suite's.
    """
    random = np.random.default_rng(seed)
    heard = utterances or len(select_utterances(suite).utterances)
    sizes = (suite.repeats,) if most_repeats is None else look_sizes(most_repeats)
    verdicts: Counter[Verdict] = Counter()
    blamed: Counter[str] = Counter()
    used = 0
    virtual = suite.clock is Clock.VIRTUAL
    for _ in range(gates):
        draws = int(random.integers(2**63))
        sides = {
            each.name: draw_side(
                each,
                heard,
                sizes[-1],
                np.random.default_rng(draws) if virtual else random,
                llm=llm if position else 1.0,
                lost=lost,
                clock=suite.clock,
            )
            for position, each in enumerate(suite.candidates)
        }
        verdict = Verdict.INCONCLUSIVE
        rulings: Sequence[tuple[Budget, Ruling]] = ()
        for look, size in enumerate(sizes):
            alpha = (
                ALPHA
                if most_repeats is None
                else gate_alpha(look, sizes, budgets=len(suite.budgets))
            )
            verdict, rulings = judge_sides(suite, sides, repeats=size, alpha=alpha)
            if verdict is not Verdict.INCONCLUSIVE:
                break
        verdicts[verdict] += 1
        used += size
        blamed.update(
            f"{budget.metric} {budget.statistic} {ruling.verdict.value}"
            for budget, ruling in rulings
            if ruling.verdict is not Verdict.PASS
        )
    return Figures(gates=gates, verdicts=verdicts, blamed=blamed, repeats=used / gates)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite", nargs="?", default=str(Path(__file__).with_name("gate.toml")))
    parser.add_argument("--gates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--max-repeats", type=int, help="sequential: at most so many repeats")
    parser.add_argument("--slower", type=float, action="append", help="factors on the LLM's TTFT")
    options = parser.parse_args()
    suite = read_suite(options.suite)
    print("| LLM slower by | PASS % [95 %] | FAIL % | INCONCLUSIVE % | mean repeats | not kept |")
    print("|---|---|---|---|---|---|")
    for factor in options.slower or [1.0, 1.2, 1.3, 1.5]:
        found = simulate(
            suite,
            gates=options.gates,
            seed=options.seed,
            llm=factor,
            most_repeats=options.max_repeats,
        )
        row = [found.share(each) for each in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)]
        blamed = ", ".join(f"{what}: {count}" for what, count in sorted(found.blamed.items()))
        print(f"| {factor:.2f} | {' | '.join(row)} | {found.repeats:.2f} | {blamed} |", flush=True)


if __name__ == "__main__":
    main()
