"""Which runs may be compared, and what stands against it.

Two numbers compare models only where everything else was equal. What differs is named, never
averaged over: another dataset, another driver, another option that moves latency, emulated against
live, a metric that meant something else.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from harness.analysis.turn.definitions import METRICS, definition_digests
from harness.analysis.words.transcript import NORMALISER_VERSION
from harness.domain.barge_in import describe_barge_in
from harness.domain.condition import describe_condition
from harness.domain.suite import Clock, Suite, Via
from harness.domain.trial import FailedTrial, Trial
from harness.domain.utterance import Utterance

__all__ = ["MeasuredRun", "changed_metrics", "differences", "option_values", "recogniser_of"]

# Options of the suite that move a latency, beside those of the session and of the gateway.
_OPTIONS = ("frame_ms", "trailing", "concurrency", "stage_texts")
# These change nothing where nobody may interrupt.
_OF_INTERRUPTIONS = ("interruption_mode", "backchannel_boundary_s")
_GATEWAY = ("recogniser", "word_error_rate", "profiles")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """A run as comparison and gate read it.

    Attributes:
        name: as the user knows it.
        suite: its plan.
        utterances: by id; those of all trials.
        trials: all of the run.
        datasets: the sha256 of each dataset, by its name.
        machine: what identifies the machine ("cpu", "cores", …), as text.
        definitions: the digest of each metric's definition when the run was measured.
        normaliser: version of the normaliser of transcripts, as the reader has it.
    """

    name: str
    suite: Suite
    utterances: Mapping[str, Utterance]
    trials: Sequence[Trial | FailedTrial]
    datasets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    machine: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    definitions: Mapping[str, str] = field(default_factory=definition_digests)
    normaliser: str = NORMALISER_VERSION


def _plain(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_plain(each) for each in value) or "none"
    return str(value)


def option_values(suite: Suite) -> dict[str, str]:
    """Return every option of a suite that moves a latency, by its key, as text."""
    found = {key: _plain(getattr(suite, key)) for key in ("driver", "via", "clock")}
    found.update({name: _plain(getattr(suite, name)) for name in _OPTIONS})
    if suite.clock is Clock.VIRTUAL:
        # Each trial has a clock of its own: how many are under way changes nothing.
        del found["concurrency"]
    found["conditions"] = _plain(
        tuple(f"{each.name} ({describe_condition(each)})" for each in suite.conditions)
    )
    if suite.barge_ins:
        found["barge_ins"] = _plain(
            tuple(f"{each.name} ({describe_barge_in(each)})" for each in suite.barge_ins)
        )
    for each in dataclasses.fields(suite.session):
        if each.name in _OF_INTERRUPTIONS and not suite.session.interruptions:
            continue
        found[f"session.{each.name}"] = _plain(getattr(suite.session, each.name))
    # A cached prompt answers sooner, whatever the model.
    ways = {each.name: each.llm.cache for each in suite.candidates if each.llm is not None}
    alike = len(set(ways.values())) <= 1
    found["llm.cache"] = (
        next(iter(ways.values()), "as-is")
        if alike
        else ", ".join(f"{name} {way}" for name, way in ways.items())
    )
    if suite.via is Via.GATEWAY:
        found.update({f"gateway.{name}": _plain(getattr(suite.gateway, name)) for name in _GATEWAY})
    return found


def differences(
    left: MeasuredRun, right: MeasuredRun, *, despite: Collection[str] = ()
) -> tuple[str, ...]:
    """Return what forbids to compare two runs, one line each; none where nothing does.

    Args:
        left: one run.
        right: the other.
        despite: keys of options (``session.min_endpointing_delay_s``) whose difference is the very
            thing to be measured.
    """
    found: list[str] = []
    if left.suite.via is not right.suite.via:
        kinds = {Via.GATEWAY: "EMULATED", Via.LIVE: "live"}
        found.append(
            f"via: {left.name} is {kinds[left.suite.via]}, {right.name} is "
            f"{kinds[right.suite.via]}; emulated is never compared with live"
        )
    elif left.suite.clock is not right.suite.clock:
        found.append(
            f"clock: {left.name} is on the {left.suite.clock.value} clock, {right.name} on the "
            f"{right.suite.clock.value} one, and on the virtual clock Python's own work takes no "
            "time; `turnbench overhead --clock-check` says what that makes"
        )
    mine, theirs = sorted(left.datasets.values()), sorted(right.datasets.values())
    if mine != theirs:
        found.append(
            f"dataset: {left.name} heard {_named(left)}, {right.name} heard {_named(right)}"
        )
    ours, others = option_values(left.suite), option_values(right.suite)
    for key in (*ours, *(each for each in others if each not in ours)):
        if key in {"via", "clock"} or key in despite or ours.get(key) == others.get(key):
            continue
        # What else only one side has belongs to the gateway or to interruptions, whose difference
        # is named already.
        if key == "barge_ins" or (key in ours and key in others):
            here, there = ours.get(key, "none"), others.get(key, "none")
            found.append(f"{key}: {here} in {left.name}, {there} in {right.name}")
    return tuple(found)


def _named(run: MeasuredRun) -> str:
    return ", ".join(f"{name} ({digest[:12]})" for name, digest in run.datasets.items()) or "none"


def recogniser_of(run: MeasuredRun) -> str:
    """Return which recogniser heard the run's replies again; "" where none did."""
    for trial in run.trials:
        for turn in trial.turns:
            if turn.reply is not None and turn.reply.again is not None:
                return turn.reply.again.recogniser
    return ""


def changed_metrics(left: MeasuredRun, right: MeasuredRun) -> dict[str, str]:
    """Return the metrics whose definition differs between two runs, with the reason."""
    found = {
        metric_id: f"{metric_id}: its definition changed between {left.name} and {right.name}"
        for metric_id in METRICS
        # A metric that is younger than a run is measured now, from the same marks.
        if metric_id in left.definitions
        and metric_id in right.definitions
        and left.definitions[metric_id] != right.definitions[metric_id]
    }
    if left.normaliser != right.normaliser:
        for metric_id in ("wer", "cer", "tts_wer"):
            found[metric_id] = (
                f"{metric_id}: normaliser {left.normaliser} in {left.name}, {right.normaliser} in "
                f"{right.name}"
            )
    ours, theirs = recogniser_of(left), recogniser_of(right)
    if ours and theirs and ours != theirs:
        found["tts_wer"] = (
            f"tts_wer: replies heard by {ours} in {left.name}, by {theirs} in {right.name}"
        )
    return found
