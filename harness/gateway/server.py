"""The gateway's application: routes to protocols, keys, and the engines' lives.

Another protocol is one module with handlers and its rows in `ROUTES`. Each path is served as it
stands and below ``/<profile>``, where the name of a profile selects its latencies.
"""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from harness.errors import ConfigurationError
from harness.gateway.baseten_stt import qwen3_asr, whisper
from harness.gateway.baseten_tts import orpheus_http, orpheus_websocket, qwen3_tts
from harness.gateway.config import GatewayConfig
from harness.gateway.context import Gateway, Refusal, error_body
from harness.gateway.engines.oracle import Oracle
from harness.gateway.engines.recogniser import RecogniserPool, embedded_recogniser_exists
from harness.gateway.engines.synthesiser import Synthesiser
from harness.gateway.engines.worker import Worker
from harness.gateway.inference_chat import inference_chat, inference_models, stamp_quota
from harness.gateway.inference_stt import inference_stt
from harness.gateway.inference_tts import inference_tts
from harness.gateway.models import model, models
from harness.gateway.openai_chat import chat_completions
from harness.gateway.openai_realtime import realtime
from harness.gateway.openai_speech import speech
from harness.gateway.openai_transcriptions import parakeet_transcriptions, transcriptions
from harness.gateway.parakeet import audio_stream
from harness.gateway.profile_files import read_profiles
from harness.gateway.profiles import PROFILES
from harness.gateway.speko import SPEKO_ROUTES
from harness.gateway.truth import TruthEvent, TruthLog
from harness.gateway.utterances import read_utterances
from harness.pacing import Pacer

__all__ = ["ROUTES", "Handler", "Route", "build_app"]

Handler = Callable[[Gateway, web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of a protocol.

    Attributes:
        method: the HTTP method.
        path: the path below ``/`` and below ``/<profile>``.
        handler: what answers.
        checks_key: whether the gateway's key is asked for before the handler runs; False for a
            protocol that proves who it is in its own way.
    """

    method: str
    path: str
    handler: Handler
    checks_key: bool = True


ROUTES: Final[tuple[Route, ...]] = (
    Route(method="GET", path="/parakeet/v1/audio/stream", handler=audio_stream),
    Route(
        method="POST",
        path="/parakeet/v1/audio/transcriptions",
        handler=parakeet_transcriptions,
    ),
    Route(method="POST", path="/v1/chat/completions", handler=chat_completions),
    Route(method="POST", path="/v1/audio/speech", handler=speech),
    Route(method="POST", path="/v1/audio/transcriptions", handler=transcriptions),
    Route(method="GET", path="/v1/realtime", handler=realtime),
    Route(method="GET", path="/v1/models", handler=models),
    Route(method="GET", path="/v1/models/{model}", handler=model),
    Route(method="GET", path="/livekit/v1/stt", handler=inference_stt, checks_key=False),
    Route(method="GET", path="/livekit/v1/tts", handler=inference_tts, checks_key=False),
    Route(
        method="POST",
        path="/livekit/v1/chat/completions",
        handler=inference_chat,
        checks_key=False,
    ),
    Route(method="GET", path="/livekit/v1/models", handler=inference_models, checks_key=False),
    Route(method="GET", path="/baseten/whisper/websocket", handler=whisper, checks_key=False),
    Route(method="GET", path="/baseten/qwen3-asr/websocket", handler=qwen3_asr, checks_key=False),
    Route(
        method="GET",
        path="/baseten/orpheus/websocket",
        handler=orpheus_websocket,
        checks_key=False,
    ),
    Route(method="POST", path="/baseten/orpheus/predict", handler=orpheus_http, checks_key=False),
    Route(method="GET", path="/baseten/qwen3-tts/websocket", handler=qwen3_tts, checks_key=False),
    Route(method="POST", path="/baseten/v1/chat/completions", handler=chat_completions),
    Route(method="GET", path="/baseten/v1/models", handler=models),
    *(
        Route(method=method, path=path, handler=handler, checks_key=False)
        for method, path, handler in SPEKO_ROUTES
    ),
)


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


def build_app(config: GatewayConfig) -> web.Application:
    """Return the application; its engines start and stop with it.

    Raises:
        ConfigurationError: a file that the configuration names is not what it should be.
    """
    profiles = PROFILES if config.profiles is None else read_profiles(config.profiles, PROFILES)
    if config.default_profile not in profiles:
        raise ConfigurationError(f"--default-profile: no profile {config.default_profile!r}")
    utterances = () if config.utterances is None else read_utterances(config.utterances)
    oracle_worker = None
    if utterances:
        oracle_worker = Worker("harness.gateway.engines.oracle_worker", str(config.utterances))
    wants_embedded = config.recogniser != "oracle" and embedded_recogniser_exists()
    running: list[Gateway] = []
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_as_json])

    async def life(app: web.Application) -> AsyncIterator[None]:
        del app
        gateway = Gateway(
            config=config,
            profiles=profiles,
            truth=TruthLog(config.truth),
            pacer=Pacer(),
            synthesiser=Synthesiser(allow_espeak=config.espeak),
            pool=RecogniserPool(config.recogniser_workers) if wants_embedded else None,
            oracle=Oracle(utterances, oracle_worker),
        )
        pool = gateway.pool
        try:
            await asyncio.gather(
                gateway.synthesiser.start(),
                gateway.oracle.start(),
                *(() if pool is None else (pool.start(),)),
            )
            gateway.truth.start()
            gateway.truth.add(
                TruthEvent(
                    t_ns=time.perf_counter_ns(),
                    event="gateway_started",
                    detail=json.dumps(_health(gateway)),
                )
            )
            running.append(gateway)
            # What is loaded now stays: the collector need not walk it while requests are timed.
            gc.collect()
            gc.freeze()
            yield
        finally:
            running.clear()
            await gateway.truth.stop()
            gateway.pacer.close()
            await asyncio.gather(
                gateway.synthesiser.stop(),
                gateway.oracle.stop(),
                *(() if pool is None else (pool.stop(),)),
            )

    async def health(request: web.Request) -> web.Response:
        del request
        return web.Response(text=json.dumps(_health(running[0])), content_type="application/json")

    app.cleanup_ctx.append(life)
    app.on_response_prepare.append(stamp_quota)
    app.router.add_get("/", health)
    app.router.add_get("/healthz", health)
    for route in ROUTES:
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
