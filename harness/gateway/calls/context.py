"""What the protocols share: the gateway's state, and one call's identity, deadlines and truth."""

import contextlib
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.prompt_cache import PromptMemory
from harness.gateway.calls.refusals import Refusal
from harness.gateway.calls.truth import TruthEvent, TruthLog
from harness.gateway.engines.oracle import Oracle, OracleSession
from harness.gateway.engines.recogniser import EmbeddedRecogniser, Recogniser, RecogniserPool
from harness.gateway.engines.synthesiser import Synthesiser
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import FaultKind, Stage
from harness.gateway.profiles.profiles import Profile, SttProfile
from harness.pacing import Pacer

__all__ = [
    "NS_PER_S",
    "PURPOSE_HEADER",
    "REPLY",
    "Call",
    "Gateway",
    "Trial",
    "begin",
]

NS_PER_S = 1_000_000_000

REPLY = "reply"
"""What a request is for that nobody says anything else of."""
PURPOSE_HEADER = "x-turnbench-purpose"
"""Says what a request is for, where the client knows."""


class Boots:
    """Which deployments are up: each stage of a profile is one, and sleeps until it is asked."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._ready_ns: dict[tuple[str, str], int] = {}
        self._used_ns: dict[tuple[str, str], int] = {}

    @contextlib.asynccontextmanager
    async def used(self, request: web.Request, path: str) -> AsyncIterator[None]:
        """Begin when what a request asks for has booted, and keep it awake to its end.

        A client that goes before that stops no boot.
        """
        name = request.match_info.get("profile") or self._gateway.config.default_profile
        profile = self._gateway.profiles.get(name)
        if profile is None or profile.boot is None:
            yield
            return
        deployment = (name, path)
        now = time.perf_counter_ns()
        ready = self._ready_ns.get(deployment)
        idle_ns = now - max(self._used_ns.get(deployment, 0), ready or 0)
        if ready is None or idle_ns > profile.sleeps_after_s * NS_PER_S:
            draws = self._gateway.draws(
                name, profile.stages[0], b"boot " + path.encode(), f"boot {path}"
            )
            ready = now + draws.delay_ns(profile.boot, "boot")
            self._ready_ns[deployment] = ready
        await self._gateway.pacer.until(ready)
        try:
            yield
        finally:
            self._used_ns[deployment] = time.perf_counter_ns()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The trial that a gateway is used for, one at a time.

    Attributes:
        name: what its draws depend on: equal for candidates that are compared.
        id: its own.
        instructions: what a prompt cache knows from the trials before; None for nothing.
    """

    name: str
    id: str
    instructions: str | None = None


@dataclass(slots=True, kw_only=True)
class Gateway:
    """The state of one gateway.

    Attributes:
        config: what it was started with.
        profiles: every profile by name, the user's included.
        truth: where events go.
        pacer: what waits for deadlines.
        synthesiser: speaks.
        pool: the embedded recogniser's workers; None where pocketsphinx is not installed.
        oracle: knows the utterances; with none it hears nothing.
        trial: what is being measured, where a run says so.
        prompts: what the profiles' prompt caches hold.
    """

    config: GatewayConfig
    profiles: Mapping[str, Profile]
    truth: TruthLog
    pacer: Pacer
    synthesiser: Synthesiser
    pool: RecogniserPool | None
    oracle: Oracle
    trial: Trial | None = None
    prompts: PromptMemory = field(default_factory=PromptMemory)
    boots: Boots = field(init=False)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Let every deployment sleep."""
        self.boots = Boots(self)

    def profile(self, request: web.Request, stage: Stage, model: object = None) -> Profile:
        """Return the profile that the path names, else the model, else the default.

        Raises:
            Refusal: 404 when there is no such profile, or it does not serve the stage.
        """
        name = request.match_info.get("profile")
        if name is None:
            name = model if isinstance(model, str) and model in self.profiles else None
        if name is None:
            name = self.config.default_profile
        profile = self.profiles.get(name)
        if profile is None:
            raise Refusal(404, f"The gateway has no profile '{name}'")
        if stage not in profile.stages:
            serves = ", ".join(profile.stages)
            raise Refusal(404, f"The profile '{name}' does not serve {stage}, only {serves}")
        return profile

    def begin_trial(self, trial: Trial) -> None:
        """Draw for a trial from now on; nothing of the one before reaches into it."""
        self.trial = trial
        self._numbers = itertools.count(1)
        self._seen.clear()

    def draws(  # the first three name the request
        self,
        profile: str,
        stage: Stage,
        content: bytes,
        purpose: str = REPLY,
        *,
        again: bool = False,
    ) -> Draws:
        """Return the random numbers of a request.

        Within a trial they depend on the trial, the stage, what the request is for, and how many
        requests were for that before: neither its content nor the profile's name matters, so an
        edited prompt and another candidate meet the same numbers, and one more request shifts no
        other. Without a trial the content stands for all that: the same content gives new numbers
        each time, in the same order in each run.

        Args:
            profile: the profile's name.
            stage: the stage.
            content: what makes the request what it is.
            purpose: what it is for.
            again: look at the next numbers without using them up.
        """
        if self.trial is None:
            digest = hashlib.sha256(content).hexdigest()[:16]
            group, name = (profile, stage, digest), digest
        else:
            group, name = (profile, stage, purpose), f"{self.trial.name}\0{purpose}"
        count = self._seen[group]
        if not again:
            self._seen[group] = count + 1
        return Draws(seed=self.config.seed, stage=stage, key=f"{name}-{count}", before=count)

    def recogniser(self, settings: SttProfile) -> Recogniser:
        """Return a new session of the recogniser that the configuration or the profile names."""
        name = self.config.recogniser or settings.recogniser
        if name == "pocketsphinx" and self.pool is not None:
            return EmbeddedRecogniser(self.pool)
        return OracleSession(self.oracle, settings.word_error_rate)

    def next_name(self, prefix: str) -> str:
        """Return a new id, unique within the run."""
        number = next(self._numbers)
        return f"{prefix}{number}" if self.trial is None else f"{prefix}{self.trial.id}-{number}"


@dataclass(slots=True, kw_only=True)
class Call:
    """One request being answered: its names for the truth, and when it arrived.

    Attributes:
        gateway: the gateway.
        stage: the stage that it serves.
        protocol: the wire protocol's name.
        profile: the profile's name.
        connection: the gateway's id of the connection.
        request: the gateway's id of the request.
        client_request: the client's own id; None if it sent none.
        received_ns: when the request had arrived.
        held_ns: by how much a fault delays the whole answer.
    """

    gateway: Gateway
    stage: Stage
    protocol: str
    profile: str
    connection: str
    request: str
    client_request: str | None
    received_ns: int
    held_ns: int = 0

    @property
    def base_ns(self) -> int:
        """Return the instant from which the profile's delays count."""
        return self.received_ns + self.held_ns

    def mark(  # noqa: D417  # the others are fields of TruthEvent
        self,
        event: str,
        t_ns: int,
        *,
        index: int | None = None,
        n_bytes: int | None = None,
        samples: int | None = None,
        injected_ns: int | None = None,
        due_ns: int | None = None,
        late_ns: int | None = None,
        kind: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Keep an event of this call.

        Args:
            event: its name, from the table in `truth`.
            t_ns: the instant.
        """
        self.gateway.truth.add(
            TruthEvent(
                t_ns=t_ns,
                event=event,
                stage=self.stage,
                protocol=self.protocol,
                profile=self.profile,
                connection=self.connection,
                request=self.request,
                client_request=self.client_request,
                index=index,
                bytes=n_bytes,
                samples=samples,
                injected_ns=injected_ns,
                due_ns=due_ns,
                late_ns=late_ns,
                kind=kind,
                detail=detail,
            )
        )

    def engine_ready(self, engine: str, due_ns: int, detail: str | None = None) -> None:
        """Keep that the engine's result is there, and how far it overran its deadline."""
        now = time.perf_counter_ns()
        self.mark("engine_ready", now, kind=engine, late_ns=max(0, now - due_ns), detail=detail)

    def fault(self, kind: FaultKind) -> None:
        """Keep that a fault strikes."""
        self.mark("fault", time.perf_counter_ns(), kind=kind)


def begin(
    gateway: Gateway,
    request: web.Request,
    stage: Stage,
    protocol: str,
    profile: str,
    *,
    received_ns: int,
) -> Call:
    """Return the call of a request that arrived whole at `received_ns`, and keep its arrival."""
    name = gateway.next_name(f"{stage}-")
    call = Call(
        gateway=gateway,
        stage=stage,
        protocol=protocol,
        profile=profile,
        connection=name,
        request=name,
        client_request=request.headers.get("x-turnbench-request") or request.query.get("turnbench"),
        received_ns=received_ns,
    )
    call.mark("request_received", received_ns)
    return call
