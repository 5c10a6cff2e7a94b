"""How a run's gateways are set up, and what they know of its recordings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.domain.suite import Suite
from harness.domain.utterance import Dataset, Utterance
from harness.gateway.calls.config import GatewayConfig
from harness.store.datasets.selection import readable_audio

__all__ = ["Gateway", "gateway_config", "write_gateway_manifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway.

    Attributes:
        url: its root, ``http://127.0.0.1:PORT``.
        key: what clients present.
    """

    url: str
    key: str


def write_gateway_manifest(
    path: Path,
    utterances: Mapping[str, tuple[Dataset, Utterance]],
    conditioned: Sequence[tuple[str, Path, Utterance]] = (),
) -> None:
    """Write the utterances that the gateway's oracle knows, of all datasets of a run in one.

    Args:
        path: the file, in the run's folder.
        utterances: by id.
        conditioned: the names and files of recordings under conditions, and whose they are.
    """
    lines = [
        json.dumps(
            {"id": name, "audio": str(file.resolve()), "text": utterance.text or ""},
            ensure_ascii=False,
        )
        for name, file, utterance in conditioned
    ]
    lines += [
        json.dumps(
            {
                "id": name,
                "audio": str(readable_audio(path.parent, dataset, utterance).resolve()),
                "text": utterance.text or "",
                **_bounds(utterance),
            },
            ensure_ascii=False,
        )
        for name, (dataset, utterance) in utterances.items()
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")


def _bounds(utterance: Utterance) -> dict[str, float]:
    """Return where the words lie, which noise around them would blur."""
    return {
        name: value / 1e9
        for name, value in (
            ("speech_start_s", utterance.speech_start_ns),
            ("speech_end_s", utterance.speech_end_ns),
        )
        if value is not None
    }


def gateway_config(suite: Suite, *, seed: int, truth: Path, utterances: Path) -> GatewayConfig:
    """Return how a suite's gateway is set up."""
    options = suite.gateway
    return GatewayConfig(
        seed=seed if options.seed is None else options.seed,
        truth=truth,
        utterances=utterances,
        profiles=None if options.profiles is None else Path(options.profiles),
        recogniser="oracle" if options.recogniser == "oracle" else None,
    )
