"""The recordings that are spoken over replies: found, drawn for each utterance, decoded."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from harness.domain.barge_in import BargeIn, assign_recordings
from harness.domain.condition import Condition
from harness.domain.driver import PlayableBargeIn, PlayableUtterance
from harness.domain.suite import Suite
from harness.domain.trial import recording_name
from harness.domain.utterance import Dataset, Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import PIPELINE_RATE, write_flac
from harness.store.datasets.conditions import HEARD, apply_condition, read_noises
from harness.store.datasets.manifest import read_dataset
from harness.store.datasets.selection import dataset_folder, playable_of

__all__ = ["store_barge_ins", "with_barge_ins", "with_dataset_hash"]

OVER = "over"


def with_dataset_hash(barge_in: BargeIn) -> BargeIn:
    """Return the barge-in with the hash of its dataset, and see that it has recordings.

    Raises:
        ConfigurationError: the dataset is missing or no longer the one of the run, or none of its
            recordings is meant.
    """
    dataset, _ = _chosen(barge_in)
    known = barge_in.dataset_sha256
    if known is not None and known != dataset.sha256:
        raise ConfigurationError(
            f"barge_in {barge_in.name!r}: {barge_in.path} is another dataset than at the start; "
            "start a new run"
        )
    return dataclasses.replace(barge_in, dataset_sha256=dataset.sha256)


def _chosen(barge_in: BargeIn) -> tuple[Dataset, dict[str, Utterance]]:
    where = f"barge_in {barge_in.name!r}"
    dataset = read_dataset(dataset_folder(barge_in.path))
    known = {each.id: each for each in dataset.utterances}
    problems = [
        f"{where}: {dataset.path} has no utterance {each!r}"
        for each in barge_in.ids
        if each not in known
    ]
    wanted = barge_in.ids or tuple(known)
    found = {
        name: known[name]
        for name in wanted
        if name in known
        and all(known[name].tags.get(key) == value for key, value in barge_in.tags.items())
    }
    if not found and not problems:
        problems.append(f"{where}: no utterance of {dataset.path} has these tags")
    problems += [
        f"{where}: {name} has no speech bounds; give speech_start_s and speech_end_s"
        for name, each in found.items()
        if each.speech_start_ns is None or each.speech_end_ns is None
    ]
    if problems:
        raise ConfigurationError(problems)
    return dataset, found


def _played(suite: Suite) -> dict[str, dict[str, PlayableUtterance]]:
    """Return the recordings of each barge-in, decoded and under each condition.

    By the barge-in's name, then by the recording's name under the condition.
    """
    conditions: Sequence[Condition | None] = suite.conditions or (None,)
    noises = read_noises(tuple(suite.conditions))
    found: dict[str, dict[str, PlayableUtterance]] = {}
    for barge_in in suite.barge_ins:
        dataset, chosen = _chosen(barge_in)
        mine = found.setdefault(barge_in.name, {})
        for name, utterance in chosen.items():
            clean = playable_of(dataset, utterance)
            for condition in conditions:
                if condition is None:
                    mine[name] = clean
                else:
                    # What a condition puts around a recording is silence of the line.
                    bare = dataclasses.replace(condition, lead_silence_s=0.0, trail_silence_s=0.0)
                    heard = apply_condition(clean, bare, noises)
                    mine[recording_name(name, condition.name)] = heard
    return found


def with_barge_ins(
    utterances: Mapping[str, PlayableUtterance], suite: Suite, *, order: Sequence[str], seed: int
) -> dict[str, PlayableUtterance]:
    """Return the utterances with what is said over the replies to them.

    Args:
        utterances: by the name of the recording.
        suite: whose barge-ins are meant.
        order: the utterances' ids, in the order in which recordings are dealt out.
        seed: of the run.

    Raises:
        ConfigurationError: a line for each recording that cannot be played.
    """
    if not suite.barge_ins:
        return dict(utterances)
    played = _played(suite)
    said: dict[str, dict[str, PlayableBargeIn]] = {name: {} for name in utterances}
    for barge_in in suite.barge_ins:
        recordings = sorted({each.utterance.id for each in played[barge_in.name].values()})
        dealt = assign_recordings(barge_in, recordings, order, seed)
        for condition in suite.condition_names:
            for utterance, (recording, after_ns) in dealt.items():
                clip = played[barge_in.name][recording_name(recording, condition)]
                assert clip.speech_start_ns is not None
                assert clip.speech_end_ns is not None
                said[recording_name(utterance, condition)][barge_in.name] = PlayableBargeIn(
                    recording=recording,
                    expects=barge_in.expect,
                    pcm=clip.pcm,
                    speech_start_ns=clip.speech_start_ns,
                    speech_end_ns=clip.speech_end_ns,
                    after_ns=after_ns,
                )
    return {
        name: dataclasses.replace(each, barge_ins=said[name]) for name, each in utterances.items()
    }


def store_barge_ins(run: Path, suite: Suite) -> list[tuple[str, Path, Utterance]]:
    """Write what is said over replies to a run's folder, as ``heard/over/…``.

    A person can hear it there, and the gateway's oracle knows it by it.

    Returns:
        A name of its own for each recording, its file and its utterance.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    found: dict[str, tuple[str, Path, Utterance]] = {}
    for mine in _played(suite).values() if suite.barge_ins else ():
        for name, played in mine.items():
            path = run / HEARD / OVER / f"{name}.flac"
            samples = np.frombuffer(played.pcm, dtype="<i2").astype(np.int16)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_flac(path, samples, PIPELINE_RATE)
            except (OSError, soundfile.LibsndfileError) as error:
                raise ConfigurationError(f"{path}: cannot be written: {error}") from error
            found[name] = (f"{OVER}/{name}", path, played.utterance)
    return list(found.values())
