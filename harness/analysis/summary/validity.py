"""Whether a run can be believed: cautions, each with advice."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from harness.analysis.statistics.quantile import quantile, trials_needed
from harness.analysis.summary.caution import Caution, RunFacts
from harness.analysis.summary.drift import drift
from harness.analysis.summary.samples import make_rows
from harness.analysis.turn.disturbance import Disturbance, Selection, disturbance, select
from harness.analysis.turn.formulas import FINALS_ONLY
from harness.analysis.turn.measurement import MILLISECOND, Measurement
from harness.analysis.turn.reading import finals_only, word_score
from harness.analysis.words.transcript import NoTranscript, Score
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance

__all__ = ["LATENESS_LIMIT_NS", "Disturbance", "Selection", "cautions", "disturbance", "select"]

LATENESS_LIMIT_NS = 5 * MILLISECOND
DISTURBED_SHARE = 0.2


def cautions(
    trials: Iterable[Trial | FailedTrial],
    utterances: Mapping[str, Utterance],
    facts: RunFacts | None = None,
) -> tuple[Caution, ...]:
    """Return what a reader must know before believing a run, the gravest first.

    Args:
        trials: all of the run.
        utterances: by id.
        facts: of the environment.
    """
    known = RunFacts() if facts is None else facts
    by_candidate: dict[str, list[Trial | FailedTrial]] = {}
    for trial in trials:
        by_candidate.setdefault(trial.key.candidate, []).append(trial)
    found: list[Caution] = []
    for name, reason in known.ended_early.items():
        found.append(
            Caution(
                code="ended_early",
                text=f"{name} ended early: {reason}",
                advice="mend the cause and run again; its figures rest on fewer trials",
                candidate=name,
            )
        )
    for name, mine in by_candidate.items():
        found.extend(_of_candidate(name, mine, utterances, known))
    heard = {trial.key.utterance for mine in by_candidate.values() for trial in mine}
    played = [utterances[each] for each in sorted(heard) if each in utterances]
    found.extend(_of_run(played, by_candidate, known))
    ranks = {code: rank for rank, code in enumerate(_GRAVITY)}
    return tuple(sorted(found, key=lambda each: ranks[each.code]))


_GRAVITY = (
    "ended_early",
    "emulated",
    "failures",
    "disturbed",
    "boots",
    "lateness",
    "unwatched",
    "drift",
    "wer",
    "too_few",
    "unread",
    "retries",
    "caches",
    "cold",
    "finals_only",
    "skipped",
    "estimated_bounds",
    "other_machine",
    "git_dirty",
    "synthetic",
)


def _of_run(heard: Sequence[Utterance], names: Collection[str], facts: RunFacts) -> list[Caution]:
    found: list[Caution] = []
    emulated = sorted(name for name, stages in facts.emulated.items() if stages)
    if emulated:
        found.append(
            Caution(
                code="emulated",
                text=f"EMULATED: {', '.join(emulated)} ran through the gateway's latency profiles",
                advice='no provider was measured; set via = "live" in the suite to measure one',
            )
        )
    estimated = [each for each in heard if each.timing == "estimated"]
    if estimated:
        worst = max(each.tolerance_ms for each in estimated)
        found.append(
            Caution(
                code="estimated_bounds",
                text=f"the end of speech is estimated in {len(estimated)} of {len(heard)} "
                f"utterances, to within {worst:g} ms",
                advice="differences between candidates stand; for absolute values give "
                "speech_start_s and speech_end_s in the manifest",
            )
        )
    if facts.skipped:
        count = len(facts.skipped)
        what = (
            "1 recording cannot be played and was"
            if count == 1
            else (f"{count} recordings cannot be played and were")
        )
        more = f" and {count - 3} more" if count > 3 else ""
        found.append(
            Caution(
                code="skipped",
                text=f"{what} left out: " + "; ".join(facts.skipped[:3]) + more,
                advice="mend or remove them: `turnbench datasets check` lists all",
            )
        )
    ways = {name: way for name, way in facts.caches.items() if name in names}
    if len(set(ways.values())) > 1:
        listed = ", ".join(f"{name} {way}" for name, way in ways.items())
        found.append(
            Caution(
                code="caches",
                text=f"candidates meet prompt caches in different ways: {listed}",
                advice="their LLMs' difference is the caches' as well; set cache alike to compare "
                "models",
            )
        )
    if facts.other_machine:
        found.append(
            Caution(
                code="other_machine",
                text=f"measured on another machine: {facts.other_machine}",
                advice="measure both on one machine, interleaved",
            )
        )
    if facts.git_dirty:
        found.append(
            Caution(
                code="git_dirty",
                text="the work tree had changes that no commit names",
                advice="commit before a run that others are to repeat",
            )
        )
    if facts.synthetic:
        found.append(
            Caution(
                code="synthetic",
                text="the recordings are synthetic speech",
                advice="word error rates are not those of your callers: import recordings",
            )
        )
    return found


def _of_candidate(
    name: str,
    mine: Sequence[Trial | FailedTrial],
    utterances: Mapping[str, Utterance],
    facts: RunFacts,
) -> list[Caution]:
    chosen = select(mine)
    good = [trial for trial in chosen.main if isinstance(trial, Trial)]
    failed = len(chosen.main) - len(good)
    virtual = any(trial.health is not None and trial.health.virtual for trial in good)
    found: list[Caution] = []

    def add(code: str, text: str, advice: str) -> None:
        found.append(Caution(code=code, text=text, advice=advice, candidate=name))

    met = sum(bool(trial.boots) for trial in chosen.everything)
    if met:
        lost = f", and {chosen.booted} planned trials met nothing else" if chosen.booted else ""
        add(
            "boots",
            f"{name}: {met} attempts found a deployment scaled to zero and are left out of the "
            f"figures{lost}",
            "keep a replica up while you measure; the boots stand with the trials",
        )
    if not chosen.main:
        return found
    needed = trials_needed(0.95)
    if len(chosen.main) < needed:
        add(
            "too_few",
            f"{name}: {len(chosen.main)} trials cannot carry a p95, which needs {needed}",
            "raise repeats, or take more utterances",
        )
    if failed:
        share = failed / len(chosen.main)
        add(
            "failures",
            f"{name}: {failed} of {len(chosen.main)} trials failed ({share:.1%})",
            "see the failures by stage and kind; percentiles count them as slower than all",
        )
    hit = sum(not trial.boots and disturbance(trial) is not None for trial in chosen.everything)
    if hit > DISTURBED_SHARE * len(chosen.everything):
        add(
            "disturbed",
            f"{name}: the machine disturbed {hit} of {len(chosen.everything)} attempts",
            "close other programs or take a quieter machine; compare with and without them",
        )
    lateness = [each.health.lateness_p99_ns for each in good if each.health is not None]
    if len(lateness) < len(good):
        add(
            "unwatched",
            f"{name}: {len(good) - len(lateness)} trials have no record of the machine's health",
            "run with the watchdog on",
        )
    if lateness:
        p90 = quantile(np.asarray(lateness, dtype=np.float64), 0.9)
        if p90 > LATENESS_LIMIT_NS:
            add(
                "lateness",
                f"{name}: audio frames were up to {p90 / MILLISECOND:.1f} ms late (p99 of a trial)"
                + (", held up by the agent's own code" if virtual else ""),
                "give what blocks to a thread: while it does, the agent neither hears nor speaks"
                if virtual
                else "lower the concurrency: what the STT hears late it answers late",
            )
    found.extend(_of_speech(name, good, utterances, facts))
    if facts.warm:
        cold = sum(trial.cold for trial in good)
        if cold:
            add(
                "cold",
                f"{name}: {cold} measured trials were the first on their connection",
                "raise warmups to at least 1",
            )
    retried = sum("retry" in _note("llm_ttft", trial, utterances) for trial in good)
    if retried:
        add(
            "retries",
            f"{name}: {retried} replies came from a repeated request",
            "set max_retries = 0 when measuring",
        )
    unread = sum(any("unread" in each.facts for each in trial.turns[0].requests) for trial in good)
    if unread:
        add(
            "unread",
            f"{name}: {unread} replies were heard of which the evidence could not be read whole",
            "their latencies stand; what was read at the socket (tokens, usage) may lack parts",
        )
    if not virtual:
        # Trials on a virtual clock know nothing of each other.
        found.extend(drift(name, good, utterances))
    return found


def _note(metric_id: str, trial: Trial, utterances: Mapping[str, Utterance]) -> str:
    if trial.key.utterance not in utterances:
        return ""
    found = make_rows((trial,), utterances)[0].found[metric_id]
    return found.note if isinstance(found, Measurement) else ""


def _of_speech(
    name: str, good: Sequence[Trial], utterances: Mapping[str, Utterance], facts: RunFacts
) -> list[Caution]:
    errors = words = 0
    for trial in good:
        utterance = utterances.get(trial.key.utterance)
        if utterance is None or utterance.expect == "none":
            continue
        score = word_score(trial.turns[0], utterance)
        if isinstance(score, Score):
            errors, words = errors + score.errors, words + score.reference_units
        elif isinstance(score, NoTranscript):
            errors, words = errors + score.reference_units, words + score.reference_units
    found: list[Caution] = []
    if words and errors / words > facts.wer_limit:
        found.append(
            Caution(
                code="wer",
                text=f"{name}: the STT got {errors / words:.0%} of the words wrong "
                f"(limit {facts.wer_limit:.0%})",
                advice="read latencies of correct turns only; check the language and the audio",
                candidate=name,
            )
        )
    turns = [turn for trial in good for turn in trial.turns if turn.transcripts]
    if turns and all(finals_only(turn) for turn in turns):
        found.append(
            Caution(
                code="finals_only",
                text=f"{name}: its STT sends {FINALS_ONLY}; time to first transcript is that of "
                "the final",
                advice="do not compare its first transcript with that of a streaming STT",
                candidate=name,
            )
        )
    return found
