"""Where a deployment is, how it is spoken to, and what both its protocols say of errors."""

from typing import Any, Final

from livekit.agents import NOT_GIVEN

from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.pipeline.place import Place
from harness.pipeline.transport.socket_reading import Payload, json_object

__all__ = ["SPEC", "dialect_of", "endpoint_of", "error_in", "given", "key_of"]

SPEC: Final = PROVIDERS["baseten"]
_SOCKET = "wss://{kind}-{id}.api.baseten.co/environments/production/websocket"
_PREDICT = "https://{kind}-{id}.api.baseten.co/environments/production/predict"


def dialect_of(settings: StageSettings, stage: Stage) -> str:
    """Return the wire protocol: ``dialect``, or the model where it bears a dialect's name.

    Raises:
        ConfigurationError: there is no such dialect.
    """
    spec = SPEC.stages[stage]
    named = settings.options.get("dialect")
    if named is None:
        return settings.model if settings.model in spec.models else str(spec.default_model)
    if named not in spec.models:
        known = ", ".join(spec.models)
        raise ConfigurationError(f"{stage.value}.dialect: {named!r} is unknown; known: {known}")
    return str(named)


def key_of(place: Place) -> str:
    """Return the key that is sent."""
    if place.emulated:
        return place.gateway_key or ""
    return place.required("BASETEN_API_KEY", "Baseten key")


def endpoint_of(place: Place, settings: StageSettings, stage: Stage, dialect: str) -> str:
    """Return the deployment's address.

    Raises:
        ConfigurationError: none is given, or it is of the wrong kind.
    """
    options = settings.options
    transport = options.get("transport", "websocket")
    if transport not in ("websocket", "http"):
        raise ConfigurationError(
            f'{stage.value}.transport: {transport!r} is neither "websocket" nor "http"'
        )
    over_http = transport == "http"
    if over_http and dialect != "orpheus":
        raise ConfigurationError(f"{stage.value}.transport: {dialect} is spoken over WebSockets")
    if place.emulated:
        root = place.gateway_root(settings, "exact")
        if over_http:
            return f"{root}/baseten/{dialect}/predict"
        return f"ws{root.removeprefix('http')}/baseten/{dialect}/websocket"
    template = _PREDICT if over_http else _SOCKET
    given = options.get("endpoint")
    if given is None and options.get("model_id"):
        given = template.format(kind="model", id=options["model_id"])
    if given is None and options.get("chain_id"):
        given = template.format(kind="chain", id=options["chain_id"])
    given = given or place.variable("BASETEN_MODEL_ENDPOINT")
    if not given:
        raise ConfigurationError(
            f"{stage.value}: name the deployment by endpoint, model_id or chain_id, or set "
            "BASETEN_MODEL_ENDPOINT"
        )
    schemes = ("https://", "http://") if over_http else ("wss://", "ws://")
    if not str(given).startswith(schemes):
        raise ConfigurationError(
            f"{stage.value}.endpoint: {given} must begin with {schemes[0]} for this transport"
        )
    return str(given)


def given(options: Any, name: str) -> Any:
    """Return an option, or livekit's word for none."""
    return options.get(name, NOT_GIVEN)


def error_in(data: Payload) -> str | None:
    """Return a message's words of an error, None where it tells of none."""
    message = json_object(data) if isinstance(data, str) else None
    if message is None:
        return None
    if message.get("type") == "audio.done" and message.get("error"):
        return str(message["error"])
    if message.get("type") != "error":
        return None
    body = message.get("body")
    inner = body.get("message") if isinstance(body, dict) else body
    return str(message.get("message") or inner or "an error")
