"""What an agent of the user's own is told of the run's gateway: variables that clients read."""

import contextlib
import os
from collections.abc import Iterator, Mapping

__all__ = ["agent_environment", "exported"]

DEFAULT_PROFILE = "exact"


def agent_environment(root: str, key: str) -> dict[str, str]:
    """Return the variables that lead an agent's clients to a gateway.

    ``TURNBENCH_GATEWAY_URL`` and ``TURNBENCH_GATEWAY_KEY`` are the gateway's own; any protocol and
    profile is under that address. The others are read by the clients of OpenAI, LiveKit Inference,
    OpenAdapter and Parakeet, and name the profile "exact".

    Args:
        root: the gateway's root, ``http://127.0.0.1:PORT``.
        key: what clients present.
    """
    base = f"{root}/{DEFAULT_PROFILE}"
    socket = base.replace("http", "ws", 1)
    return {
        "TURNBENCH_GATEWAY_URL": root,
        "TURNBENCH_GATEWAY_KEY": key,
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": key,
        "LIVEKIT_INFERENCE_URL": f"{base}/livekit/v1",
        "LIVEKIT_INFERENCE_API_KEY": key,
        "LIVEKIT_INFERENCE_API_SECRET": key,
        "OPENADAPTER_BASE_URL": f"{base}/v1",
        "OPENADAPTER_API_KEY": key,
        "PARAKEET_WS_URL": f"{socket}/parakeet/v1/audio/stream",
        "PARAKEET_API_KEY": key,
    }


@contextlib.contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process's environment, and put back what was there before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
