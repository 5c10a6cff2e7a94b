"""The parts that a run is put together from: gateway process, performers, their common watch."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli.shared.agent_environment import agent_environment, exported
from harness.domain.driver import Performer
from harness.domain.suite import Driver, Suite, Via
from harness.domain.utterance import Dataset, Utterance
from harness.gateway.calls.config import GatewayConfig
from harness.store.datasets.selection import readable_audio
from harness.store.runs.environment import redact, redact_values, secret_values

__all__ = ["Gateway", "gateway_for", "performers_for", "write_gateway_manifest"]


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


@contextlib.contextmanager
def gateway_for(
    suite: Suite, *, seed: int, truth: Path, utterances: Path
) -> Iterator[Gateway | None]:
    """Run a gateway for a suite that goes through one; None for a live suite."""
    if suite.via is Via.LIVE:
        yield None
        return
    from harness.gateway.process import start_gateway

    options = suite.gateway
    config = GatewayConfig(
        seed=seed if options.seed is None else options.seed,
        truth=truth,
        utterances=utterances,
        profiles=None if options.profiles is None else Path(options.profiles),
        recogniser="oracle" if options.recogniser == "oracle" else None,
        recogniser_workers=max(2, min(8, suite.concurrency)),
    )
    with start_gateway(config) as process:
        yield Gateway(url=f"http://127.0.0.1:{process.port}", key=process.key)


@contextlib.asynccontextmanager
async def performers_for(
    suite: Suite, gateway: Gateway | None, *, run: str = ""
) -> AsyncIterator[dict[str, Performer]]:
    """Make a performer for each candidate, and keep watch over the machine while they are used.

    Agents of the user's own find the way to the gateway in the environment meanwhile.

    Args:
        suite: names the candidates.
        gateway: stands in for providers; None for a live suite.
        run: the run's name.
    """
    from harness.pipeline.place import Place
    from harness.pipeline.recording.health import Watch

    place = Place(
        via=suite.via,
        options=suite.session,
        gateway=None if gateway is None else gateway.url,
        gateway_key=None if gateway is None else gateway.key,
        run=run,
    )
    led = gateway is not None and any(each.agent is not None for each in suite.candidates)
    variables = agent_environment(gateway.url, gateway.key) if gateway is not None and led else {}
    # What the gateway's variables stand in for meanwhile is as secret as before.
    hidden = secret_values()

    def masked(text: str) -> str:
        return redact(redact_values(text, hidden))

    watch = Watch()
    await watch.start()
    try:
        if suite.driver is Driver.SESSION:
            from harness.pipeline.drivers.session import SessionPerformer as Chosen
        else:
            from harness.pipeline.drivers.stage import (  # type: ignore[assignment]
                StagePerformer as Chosen,
            )
        with exported(variables):
            yield {
                candidate.name: Chosen(candidate, suite, place=place, watch=watch, redact=masked)
                for candidate in suite.candidates
            }
    finally:
        await watch.aclose()
