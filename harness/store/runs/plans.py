"""The stored plan of a run: ``plan.json``, all that is needed to go on with it or to report it.

Version 1 (0.1.0): ``v``; ``suite`` (the document of ``harness.store.suites.suite``, with its
defaults); ``source`` (the suite's file); ``seed``; ``emulated``; ``order`` ([candidate, utterance,
repeat, warmup], by position, then the condition's name where there is one ("" before a barge-in
without one), then the barge-in's name and what it expects); ``utterances`` (the
fields of :class:`~harness.domain.utterance.Utterance` that are known, and ``dataset``, the index of
its dataset); ``datasets`` (``name``, ``version``, ``path``, ``sha256``, ``synthetic``, ``licence``,
``description``, ``recipe``, ``skipped``); ``facts`` (what else was settled before the first trial:
the gateway's profiles with their sources).
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.domain.barge_in import Expects
from harness.domain.suite import Suite, Via
from harness.domain.trial import TrialKey
from harness.domain.utterance import Dataset, Utterance
from harness.errors import ConfigurationError, InvariantError
from harness.store.suites.suite import parse_suite, suite_document

__all__ = ["PLAN_VERSION", "DatasetSummary", "RunPlan", "decode_plan", "encode_plan"]

PLAN_VERSION = 1

_UTTERANCE_FIELDS = tuple(each.name for each in dataclasses.fields(Utterance))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """A dataset as a run remembers it; its recordings stay where they are.

    Attributes:
        name, version: as reports show it.
        path: the manifest.
        sha256: over the manifest and the audio; equal hashes mean equal recordings.
        synthetic: made by speech synthesis.
        licence, description, recipe: where stated.
        skipped: a line for each recording that cannot be played and was left out.
    """

    name: str
    version: str
    path: str
    sha256: str
    synthetic: bool = False
    licence: str | None = None
    description: str | None = None
    recipe: str | None = None
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetSummary":
        """Return the summary of a dataset."""
        return cls(**{each.name: getattr(dataset, each.name) for each in dataclasses.fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run is going to do, fixed before its first trial.

    Attributes:
        suite: with its defaults and what the command line has changed.
        source: the suite's file.
        seed: of the order.
        keys: every trial in its order.
        utterances: those played.
        origin: the index in ``datasets`` of each utterance, by id.
        datasets: where they come from.
        facts: what else was settled, as JSON values.
    """

    suite: Suite
    source: str
    seed: int
    keys: tuple[TrialKey, ...]
    utterances: tuple[Utterance, ...]
    origin: Mapping[str, int]
    datasets: tuple[DatasetSummary, ...]
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def emulated(self) -> bool:
        """Whether any figure of the run comes from a gateway profile."""
        return self.suite.via is Via.GATEWAY

    def utterance(self, utterance_id: str) -> Utterance:
        """Return a played utterance.

        Raises:
            KeyError: none has that id.
        """
        for each in self.utterances:
            if each.id == utterance_id:
                return each
        raise KeyError(utterance_id)


def encode_plan(plan: RunPlan) -> str:
    """Return the plan as indented JSON."""
    document = {
        "v": PLAN_VERSION,
        "suite": suite_document(plan.suite),
        "source": plan.source,
        "seed": plan.seed,
        "emulated": plan.emulated,
        "facts": dict(plan.facts),
        "datasets": [_present(each) for each in plan.datasets],
        "utterances": [
            {**_present(each), "dataset": plan.origin[each.id]} for each in plan.utterances
        ],
        "order": [
            [key.candidate, key.utterance, key.repeat, key.warmup]
            + ([key.condition] if key.condition or key.barge_in else [])
            + ([key.barge_in, key.expects] if key.barge_in else [])
            for key in plan.keys
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _present(value: Any) -> dict[str, Any]:
    found = {}
    for each in dataclasses.fields(value):
        content = getattr(value, each.name)
        if content is not None:
            found[each.name] = dict(content) if isinstance(content, Mapping) else content
    return found


def decode_plan(text: str, *, source: Path) -> RunPlan:
    """Read a stored plan.

    Raises:
        ConfigurationError: it is no plan, or of a newer version of the format.
    """
    try:
        document = json.loads(text)
        version = document["v"]
        if version > PLAN_VERSION:
            raise ConfigurationError(
                f"{source}: format version {version} is newer than {PLAN_VERSION}, which this "
                "turnbench reads; upgrade turnbench"
            )
        suite = parse_suite(document["suite"], source=str(source), strict=False)
        return RunPlan(
            suite=suite,
            source=document["source"],
            seed=document["seed"],
            keys=tuple(
                TrialKey(
                    candidate=each[0],
                    utterance=each[1],
                    repeat=each[2],
                    order=order,
                    warmup=each[3],
                    condition=each[4] if len(each) > 4 else "",
                    barge_in=each[5] if len(each) > 6 else "",
                    expects=Expects(each[6]) if len(each) > 6 else None,
                )
                for order, each in enumerate(document["order"])
            ),
            utterances=tuple(
                Utterance(**{name: each[name] for name in _UTTERANCE_FIELDS if name in each})
                for each in document["utterances"]
            ),
            origin={each["id"]: each["dataset"] for each in document["utterances"]},
            datasets=tuple(
                DatasetSummary(
                    **{
                        field.name: each[field.name]
                        for field in dataclasses.fields(DatasetSummary)
                        if field.name in each and field.name != "skipped"
                    },
                    skipped=tuple(each.get("skipped", ())),
                )
                for each in document["datasets"]
            ),
            facts=document.get("facts", {}),
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
        InvariantError,
    ) as error:
        raise ConfigurationError(
            f"{source}: not a run's plan: {type(error).__name__}: {str(error)[:300]}"
        ) from error
