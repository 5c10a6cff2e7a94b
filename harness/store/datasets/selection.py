"""Which utterances a suite plays: datasets read, chosen, and decoded for the pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from harness.domain.condition import Condition
from harness.domain.driver import PlayableUtterance
from harness.domain.suite import DatasetChoice, Suite
from harness.domain.trial import recording_name
from harness.domain.utterance import Dataset, Utterance
from harness.errors import ConfigurationError
from harness.store.datasets.audio import PIPELINE_RATE, Samples, load_audio, to_pipeline, write_flac
from harness.store.datasets.conditions import HEARD, apply_condition, read_noises
from harness.store.datasets.manifest import audio_path, read_dataset
from harness.store.shipped import shipped_folder, shipped_names
from harness.store.table import nearest

__all__ = [
    "Selection",
    "dataset_folder",
    "playable_of",
    "readable_audio",
    "select_utterances",
]

_COMMON = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The utterances of a run and the datasets that they come from.

    Attributes:
        datasets: in the suite's order, whole.
        utterances: those chosen, in the suite's order; ids are unique.
        origin: the dataset of each utterance, by id.
    """

    datasets: tuple[Dataset, ...]
    utterances: tuple[Utterance, ...]
    origin: dict[str, Dataset]

    def playable(self, conditions: Sequence[Condition] = ()) -> dict[str, PlayableUtterance]:
        """Decode every utterance and put it under every condition.

        Args:
            conditions: of the suite; none plays the recordings as they are.

        Returns:
            By the name of the recording (``TrialKey.recording``). All stay in memory, 32 kB for a
            second, so that nothing is decoded while trials are timed.

        Raises:
            ConfigurationError: a line for each recording that cannot be played.
        """
        found: dict[str, PlayableUtterance] = {}
        problems: list[str] = []
        noises: dict[str, Samples] = {}
        try:
            noises = read_noises(tuple(conditions))
        except ConfigurationError as error:
            problems.extend(error.problems)
        for utterance in self.utterances:
            try:
                clean = playable_of(self.origin[utterance.id], utterance)
            except ConfigurationError as error:
                problems.extend(error.problems)
                continue
            if not conditions:
                found[utterance.id] = clean
            elif not problems:
                for each in conditions:
                    name = recording_name(utterance.id, each.name)
                    found[name] = apply_condition(clean, each, noises)
        if problems:
            raise ConfigurationError(problems)
        return found

    def durations(self, conditions: Sequence[Condition] = ()) -> dict[str, float]:
        """Return the seconds of each recording, by its name."""
        lengths = {each.id: each.duration_s or 0.0 for each in self.utterances}
        if not conditions:
            return lengths
        return {
            recording_name(name, each.name): length + each.silence_s
            for name, length in lengths.items()
            for each in conditions
        }


def dataset_folder(name: str) -> Path:
    """Find a dataset: a folder, a manifest file, or the bare name of a shipped one.

    Raises:
        ConfigurationError: there is none.
    """
    path = Path(name)
    if len(path.parts) == 1 and name in shipped_names("datasets"):
        return shipped_folder("datasets") / name
    if path.exists():
        return path
    # A suite's paths are absolute by now, so a bare name that is not shipped shows at its end.
    raise ConfigurationError(
        f"{name}: there is no such dataset; give a folder with a manifest.jsonl, or a shipped one: "
        f"{nearest(path.name, shipped_names('datasets'))}"
    )


def select_utterances(suite: Suite, *, limit: int | None = None) -> Selection:
    """Read the suite's datasets and choose its utterances.

    Args:
        suite: names the datasets.
        limit: at most so many utterances of all together, taken evenly from the choice.

    Raises:
        ConfigurationError: a line for each mistake: a dataset that is missing or cannot be read,
            an id that it does not have, an id in two datasets.
    """
    problems: list[str] = []
    datasets: list[Dataset] = []
    chosen: list[Utterance] = []
    origin: dict[str, Dataset] = {}
    for choice in suite.datasets:
        try:
            dataset = read_dataset(
                dataset_folder(choice.path), skip_unreadable=choice.skip_unreadable
            )
            picked = _pick(dataset, choice)
        except ConfigurationError as error:
            problems.extend(error.problems)
            continue
        datasets.append(dataset)
        for utterance in picked:
            if utterance.id in origin:
                problems.append(
                    f"{dataset.path}: utterance {utterance.id!r} is in "
                    f"{origin[utterance.id].path} as well; choose one of them by ids"
                )
            else:
                origin[utterance.id] = dataset
                chosen.append(utterance)
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    if limit is not None:
        chosen = spread(chosen, limit)
    return Selection(
        datasets=tuple(datasets),
        utterances=tuple(chosen),
        origin={each.id: origin[each.id] for each in chosen},
    )


def spread(utterances: Sequence[Utterance], limit: int) -> list[Utterance]:
    """Return at most ``limit`` utterances, evenly from the whole, in order.

    A manifest often lists one voice after another; its first few would be one speaker's.
    """
    count = len(utterances)
    if limit >= count:
        return list(utterances)
    return [utterances[index * count // limit] for index in range(limit)]


def _pick(dataset: Dataset, choice: DatasetChoice) -> list[Utterance]:
    picked = list(dataset.utterances)
    if choice.ids:
        known = {utterance.id: utterance for utterance in dataset.utterances}
        problems = [
            f"{dataset.path}: no utterance {each!r}; {nearest(each, known)}"
            for each in choice.ids
            if each not in known
        ]
        if problems:
            raise ConfigurationError(problems)
        picked = [known[each] for each in choice.ids]
    return picked if choice.limit is None else spread(picked, choice.limit)


def readable_audio(run: Path, dataset: Dataset, utterance: Utterance) -> Path:
    """Return a file of the recording that the gateway can read as the pipeline hears it.

    That is the recording itself, or, where it takes more than soundfile's common formats or one of
    several channels, what was decoded of it, written to the run's folder.

    Raises:
        ConfigurationError: it cannot be written.
    """
    path = audio_path(dataset, utterance)
    if path.suffix.lower() in _COMMON and utterance.channel is None:
        return path
    decoded = run / HEARD / f"{utterance.id}.flac"
    if not decoded.exists():
        samples = to_pipeline(load_audio(path, channel=utterance.channel))
        try:
            decoded.parent.mkdir(parents=True, exist_ok=True)
            write_flac(decoded, samples, PIPELINE_RATE)
        except (OSError, soundfile.LibsndfileError) as error:
            raise ConfigurationError(f"{decoded}: cannot be written: {error}") from error
    return decoded


def playable_of(dataset: Dataset, utterance: Utterance) -> PlayableUtterance:
    """Decode one utterance.

    Raises:
        ConfigurationError: it cannot be read.
    """
    audio = load_audio(audio_path(dataset, utterance), channel=utterance.channel)
    return PlayableUtterance(
        utterance=utterance,
        pcm=to_pipeline(audio).astype("<i2").tobytes(),
        speech_start_ns=utterance.speech_start_ns,
        speech_end_ns=utterance.speech_end_ns,
    )
