"""The parts that a run is put together from: gateway process, performers, their common watch."""

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.domain.candidate import Candidate
from harness.domain.driver import Performer
from harness.domain.secrecy import with_variables
from harness.domain.suite import Driver, Suite, Via
from harness.domain.timeline import Stage
from harness.gateway.process import start_gateway
from harness.lanes.agent_environment import agent_environment, exported
from harness.lanes.manifest import Gateway, gateway_config
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.store.secrecy import redact, redact_values, remember_secrets, secret_values

__all__ = ["Performing", "gateway_for", "performer_for", "performers_for", "performing"]


@contextlib.contextmanager
def gateway_for(
    suite: Suite, *, seed: int, truth: Path, utterances: Path
) -> Iterator[Gateway | None]:
    """Run a gateway for a suite that goes through one; None for a live suite."""
    if suite.via is Via.LIVE:
        yield None
        return
    config = gateway_config(suite, seed=seed, truth=truth, utterances=utterances)
    with start_gateway(config) as process:
        yield Gateway(url=f"http://127.0.0.1:{process.port}", key=process.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performing:
    """What the performers of one loop share.

    Attributes:
        place: where providers are reached.
        watch: over the machine and the loop.
        redact: takes secrets out of a text.
    """

    place: Place
    watch: Watch
    redact: Callable[[str], str]


@contextlib.asynccontextmanager
async def performing(
    suite: Suite, gateway: Gateway | None, *, run: str = "", machine: bool = True
) -> AsyncIterator[Performing]:
    """Keep watch and lead agents of the user's own to the gateway while trials are performed.

    Args:
        suite: names the candidates.
        gateway: stands in for providers; None for a live suite.
        run: the run's name.
        machine: watch for stalls of the machine, which a virtual clock does not know.
    """
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
    remember_secrets(suite)
    hidden = secret_values(suite)

    def masked(text: str) -> str:
        return redact(redact_values(text, hidden))

    watch = Watch(machine=machine)
    await watch.start()
    try:
        with exported(variables):
            yield Performing(place=place, watch=watch, redact=masked)
    finally:
        await watch.aclose()


def performer_for(candidate: Candidate, suite: Suite, parts: Performing) -> Base:
    """Return what performs a candidate's trials, as the suite's driver does."""
    here = {
        stage: None
        if (found := candidate.stage(stage)) is None
        else with_variables(found, os.environ)
        for stage in (Stage.STT, Stage.LLM, Stage.TTS)
    }
    candidate = dataclasses.replace(
        candidate, stt=here[Stage.STT], llm=here[Stage.LLM], tts=here[Stage.TTS]
    )
    chosen = SessionPerformer if suite.driver is Driver.SESSION else StagePerformer
    return chosen(candidate, suite, place=parts.place, watch=parts.watch, redact=parts.redact)


@contextlib.asynccontextmanager
async def performers_for(
    suite: Suite, gateway: Gateway | None, *, run: str = ""
) -> AsyncIterator[dict[str, Performer]]:
    """Make a performer for each candidate, all on the running loop.

    Args:
        suite: names the candidates.
        gateway: stands in for providers; None for a live suite.
        run: the run's name.
    """
    async with performing(suite, gateway, run=run) as parts:
        yield {each.name: performer_for(each, suite, parts) for each in suite.candidates}
