"""The gateway's application: routes to protocols, keys, and the engines' lives.

Another protocol is one module of ``protocols`` with handlers and their rows in ``ROUTES``, found by
its place. Each path is served as it stands and below ``/<profile>``, where the name of a profile
selects its latencies.
"""

import asyncio
import gc
import json
import pkgutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Self

from aiohttp import web

from harness.errors import ConfigurationError
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.context import Gateway, Trial
from harness.gateway.calls.prompt_cache import PromptMemory
from harness.gateway.calls.refusals import Refusal, error_body
from harness.gateway.calls.route import Route
from harness.gateway.calls.truth import TruthEvent, TruthLog
from harness.gateway.engines.oracle import Oracle
from harness.gateway.engines.recogniser import RecogniserPool, embedded_recogniser_exists
from harness.gateway.engines.synthesiser import Synthesiser
from harness.gateway.engines.utterances import read_utterances
from harness.gateway.engines.worker import Worker
from harness.gateway.profiles.files import read_profiles
from harness.gateway.profiles.profiles import PROFILES, Profile
from harness.gateway.protocols.inference.chat import stamp_quota
from harness.pacing import Pacer

__all__ = ["TRIAL_PATH", "Engines", "build_app", "routes"]

_MAX_BODY = 64 * 1024 * 1024
TRIAL_PATH = "/turnbench/trial"
"""Where a run tells which trial comes next: ``{"name": …, "id": …}``."""


@cache
def routes(package: str = "harness.gateway.protocols") -> tuple[Route, ...]:
    """Return every path of every protocol, as the modules of a package and its folders list them.

    Raises:
        ConfigurationError: a line for each file that cannot be imported, whose ``ROUTES`` are none,
            or that answers where another does.
    """
    problems: list[str] = []
    owners: dict[tuple[str, str], str] = {}
    found: list[Route] = []
    for each in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if each.ispkg:
            continue
        file = f"{each.name.replace('.', '/')}.py"
        try:
            listed = tuple(getattr(import_module(each.name), "ROUTES", ()))
        except Exception as error:  # noqa: BLE001 - an unfinished file may raise anything
            problems.append(f"{file}: cannot be imported: {type(error).__name__}: {error}")
            continue
        for route in listed:
            if not isinstance(route, Route):
                problems.append(f"{file}: ROUTES holds {route!r}, which is no Route")
                continue
            other = owners.setdefault((route.method, route.path), file)
            if other != file or route in found:
                problems.append(f"{file}: {route.method} {route.path} is answered by {other}")
            found.append(route)
    if problems:
        raise ConfigurationError(problems)
    return tuple(found)


def _presents_key(request: web.Request, key: str) -> bool:
    authorization = request.headers.get("Authorization", "")
    return authorization == f"Bearer {key}" or request.query.get("token") == key


def _refuse(refusal: Refusal) -> web.Response:
    return web.Response(
        status=refusal.status, text=json.dumps(refusal.body), content_type="application/json"
    )


def _endpoint(
    gateway_of: Callable[[], Gateway], route: Route
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        gateway = gateway_of()
        if route.checks_key and not _presents_key(request, gateway.config.key):
            return _refuse(Refusal(401))
        try:
            async with gateway.boots.used(request, route.path):
                return await route.handler(gateway, request)
        except Refusal as refusal:
            return _refuse(refusal)

    return answer


@web.middleware
async def _as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer unknown paths and methods in the providers' words."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return web.Response(
            status=error.status,
            text=json.dumps(error_body(error.status, error.reason)),
            content_type="application/json",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What stands behind the protocols, and outlives a gateway.

    Attributes:
        profiles: every profile by name, the user's included.
        synthesiser: speaks.
        pool: the embedded recogniser's workers; None where pocketsphinx is not wanted or installed.
        oracle: knows the utterances.
    """

    profiles: Mapping[str, Profile]
    synthesiser: Synthesiser
    pool: RecogniserPool | None
    oracle: Oracle

    @classmethod
    def of(
        cls,
        config: GatewayConfig,
        *,
        worker: type[Worker] = Worker,
        recogniser: Callable[[str], Worker] | None = None,
    ) -> Self:
        """Return the engines that a configuration names; nothing is started yet.

        Args:
            config: the configuration.
            worker: makes the worker processes.
            recogniser: makes those of the embedded recogniser, where they differ.

        Raises:
            ConfigurationError: a file that the configuration names is not what it should be.
        """
        profiles = PROFILES if config.profiles is None else read_profiles(config.profiles, PROFILES)
        if config.default_profile not in profiles:
            raise ConfigurationError(f"--default-profile: no profile {config.default_profile!r}")
        utterances = () if config.utterances is None else read_utterances(config.utterances)
        finder = None
        if utterances:
            finder = worker("harness.gateway.engines.oracle_worker", str(config.utterances))
        pool = None
        if config.recogniser != "oracle" and embedded_recogniser_exists():
            pool = RecogniserPool(config.recogniser_workers, worker=recogniser or worker)
        return cls(
            profiles=profiles,
            synthesiser=Synthesiser(allow_espeak=config.espeak, worker=worker),
            pool=pool,
            oracle=Oracle(utterances, finder),
        )

    async def start(self) -> None:
        """Start the workers and wait until they are ready."""
        await asyncio.gather(
            self.synthesiser.start(),
            self.oracle.start(),
            *(() if self.pool is None else (self.pool.start(),)),
        )

    async def stop(self) -> None:
        """End the workers."""
        await asyncio.gather(
            self.synthesiser.stop(),
            self.oracle.stop(),
            *(() if self.pool is None else (self.pool.stop(),)),
        )


def build_app(
    config: GatewayConfig, engines: Engines | None = None, trial: Trial | None = None
) -> web.Application:
    """Return the application.

    Args:
        config: its settings.
        engines: what stands behind it and is not its own, with ``trial``, the one trial that it is
            for; without them its engines start and stop with it.
        trial: see there.

    Raises:
        ConfigurationError: a file that the configuration names, or one of this package's, is not
            what it should be.
    """
    served = routes()
    behind = Engines.of(config) if engines is None else engines
    running: list[Gateway] = []
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_as_json])

    async def life(app: web.Application) -> AsyncIterator[None]:
        del app
        gateway = Gateway(
            config=config,
            profiles=behind.profiles,
            truth=TruthLog(config.truth),
            pacer=Pacer(),
            synthesiser=behind.synthesiser,
            pool=behind.pool,
            oracle=behind.oracle,
        )
        if trial is not None:
            gateway.begin_trial(trial)
            gateway.prompts = PromptMemory(trial.instructions)
        try:
            if engines is None:
                await behind.start()
                gateway.truth.start()
                gateway.truth.add(
                    TruthEvent(
                        t_ns=time.perf_counter_ns(),
                        event="gateway_started",
                        detail=json.dumps(_health(gateway)),
                    )
                )
                # What is loaded now stays: the collector need not walk it while requests are timed.
                gc.collect()
                gc.freeze()
            running.append(gateway)
            yield
        finally:
            running.clear()
            await gateway.truth.stop()
            gateway.pacer.close()
            if engines is None:
                await behind.stop()

    async def health(request: web.Request) -> web.Response:
        del request
        return web.Response(text=json.dumps(_health(running[0])), content_type="application/json")

    async def begin_trial(gateway: Gateway, request: web.Request) -> web.Response:
        told = await request.json()
        gateway.begin_trial(Trial(name=str(told["name"]), id=str(told["id"])))
        return web.Response()

    app.cleanup_ctx.append(life)
    app.on_response_prepare.append(stamp_quota)
    app.router.add_get("/", health)
    app.router.add_get("/healthz", health)
    own = Route(method="POST", path=TRIAL_PATH, handler=begin_trial)
    app.router.add_post(TRIAL_PATH, _endpoint(lambda: running[0], own))
    for route in served:
        answer = _endpoint(lambda: running[0], route)
        app.router.add_route(route.method, route.path, answer)
        app.router.add_route(route.method, "/{profile}" + route.path, answer)
    return app


def _health(gateway: Gateway) -> dict[str, Any]:
    """Return what the gateway is, with the engines that really stand behind it."""
    return {
        "service": "turnbench gateway",
        "status": "ok",
        "emulated": True,
        "seed": gateway.config.seed,
        "engines": {
            "recogniser": "none" if gateway.pool is None else "pocketsphinx",
            "recogniser_override": gateway.config.recogniser,
            "oracle_utterances": len(gateway.oracle.utterances),
            "synthesiser": gateway.synthesiser.engine,
        },
        "profiles": sorted(gateway.profiles),
    }
