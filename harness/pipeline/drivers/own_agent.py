"""A user's own agent: found by its name, made, and probed."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from livekit.agents import llm, stt, tts, voice

from harness.errors import ConfigurationError
from harness.pipeline.probes.activity import probe_tools
from harness.pipeline.probes.clients import probe_llm, probe_stt, probe_tts

__all__ = ["load_agent", "make_own"]


def load_agent(reference: str) -> Callable[[], Any]:
    """Return the function that makes the user's session and agent.

    Args:
        reference: ``module:function``; the function returns ``(AgentSession, Agent)``, or an
            awaitable of that.

    Raises:
        ConfigurationError: there is no such module or function.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(f"agent: {reference!r} is not of the form module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"agent: {module_name} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(f"agent: {module_name} has no function {name!r}")
    return function  # type: ignore[no-any-return]


async def make_own(reference: str) -> tuple[voice.AgentSession[Any], voice.Agent]:
    """Return a fresh session and agent of the user's, with their clients probed.

    Args:
        reference: ``module:function``.

    Raises:
        ConfigurationError: there is no such function, or it returns something else.
    """
    made = load_agent(reference)()
    if inspect.isawaitable(made):
        made = await made
    pair = made if isinstance(made, tuple) and len(made) == 2 else (None, None)
    session, agent = pair
    if not isinstance(session, voice.AgentSession) or not isinstance(agent, voice.Agent):
        raise ConfigurationError(
            f"agent: {reference} has to return (AgentSession, Agent), not {type(made).__name__}"
        )
    probe_tools()
    for owner in (session, agent):
        if isinstance(owner.stt, stt.STT):
            probe_stt(owner.stt)
        if isinstance(owner.llm, llm.LLM):
            probe_llm(owner.llm)
        if isinstance(owner.tts, tts.TTS):
            probe_tts(owner.tts)
    return session, agent
